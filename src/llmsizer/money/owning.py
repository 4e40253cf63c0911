"""What a fleet of one's own costs a month: hardware kept for a time and sold, capital, power, space, repair, people."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure, over_corners, unknown
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.provenance import Estimate
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart, stale_flags
from llmsizer.money.prices import PriceBook, is_whole_board, is_whole_machine, server_price
from llmsizer.units import HOURS_PER_MONTH, KILO

_MONTHS_PER_YEAR = 12
_RESIDUAL_MONTHS = 36  # the age at which the residual value is stated


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Whole servers for a number of replicas; a replica never spans two."""

    count: int
    gpus_each: int

    @property
    def gpus(self) -> int:
        return self.count * self.gpus_each


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """Tokens of an average month, and the share of engine time that goes to prompts."""

    input_tokens_per_month: float
    output_tokens_per_month: float
    input_share: float


def servers_for(gpu: GpuSpec, gpus_per_replica: int, replicas: int) -> Servers | None:
    """The servers to buy; None where a replica is larger than a server. Cards are bought singly, boards whole."""
    if gpus_per_replica > gpu.max_per_node:
        return None
    per_server = gpu.max_per_node // gpus_per_replica
    count = math.ceil(replicas / per_server)
    if is_whole_board(gpu):
        return Servers(count=count, gpus_each=gpu.max_per_node)
    return Servers(count=count, gpus_each=gpus_per_replica * math.ceil(replicas / count))


def own_cost(deployment: Deployment, servers: Servers, horizon_months: int, volume: Volume, book: PriceBook) -> Cost:
    """The monthly bill of owning these servers for the horizon; a part without a price leaves the total unknown."""
    gpu = deployment.gpu
    server = server_price(book, gpu, servers.gpus_each)
    parts = (
        *_hardware(server, servers, horizon_months, book),
        *_power(gpu, servers, book),
        people(book, "people_fte_own"),
    )
    return Cost(
        path="own",
        label=f"own {servers.count} × server with {servers.gpus_each}× {gpu.name}",
        parts=parts,
        input_tokens_per_month=volume.input_tokens_per_month,
        output_tokens_per_month=volume.output_tokens_per_month,
        input_share=volume.input_share,
        flags=stale_flags(parts),
    )


def residual_fraction(after_36_months: float, months: float) -> float:
    """Of the price, when sold: the same yearly decline before and after the age at which it is stated."""
    return float(after_36_months ** (months / _RESIDUAL_MONTHS))


def _hardware(server: Figure, servers: Servers, horizon_months: int, book: PriceBook) -> tuple[CostPart, ...]:
    count, net = servers.count, book.estimate("network_capex_share")
    residual, years = book.estimate("residual_after_36_months"), book.estimate("depreciation_years")

    def months(kept_years: float) -> float:
        return min(horizon_months, kept_years * _MONTHS_PER_YEAR)

    def depreciation(price: float, network: float, left: float, kept_years: float) -> float:
        kept = months(kept_years)
        return count * price * (1 + network) * (1 - residual_fraction(left, kept)) / kept

    def capital(price: float, network: float, left: float, kept_years: float, rate: float) -> float:
        worth = (1 + residual_fraction(left, months(kept_years))) / 2
        return count * price * (1 + network) * worth * rate / _MONTHS_PER_YEAR

    def repair(price: float, rate: float) -> float:
        return count * price * rate / _MONTHS_PER_YEAR

    rate = book.estimate("capital_charge_per_year")
    kept = months(years.value or 0.0)
    return (
        _part(
            "hardware",
            over_corners(depreciation, server.estimate, net, residual, years),
            server,
            f"{count} server{'s' if count > 1 else ''} with network, kept {kept:.0f} months and sold for what is left",
        ),
        _part(
            "capital",
            over_corners(capital, server.estimate, net, residual, years, rate),
            server,
            "interest on the mean of price and residual value",
        ),
        _part(
            "maintenance",
            over_corners(repair, server.estimate, book.estimate("maintenance_per_year")),
            server,
            "contract or repairs, as a share of the price per year",
        ),
    )


def _power(gpu: GpuSpec, servers: Servers, book: PriceBook) -> tuple[CostPart, ...]:
    if gpu.tdp_watts is None:
        reason = f"the power draw of {gpu.name} is not in the catalogue"
        gap = unknown(reason, USD_PER_MONTH)
        return (CostPart(name="electricity", usd_per_month=gap), CostPart(name="colocation", usd_per_month=gap))
    gpu_watts, count = gpu.tdp_watts * servers.gpus, servers.count
    host = Estimate(value=0.0, basis="datasheet") if is_whole_machine(gpu) else book.estimate("host_watts")

    def electricity(used: float, host_watts: float, network: float, pue: float, usd_per_kwh: float) -> float:
        watts = (gpu_watts * used + count * host_watts) * (1 + network) * pue
        return watts / KILO * HOURS_PER_MONTH * usd_per_kwh

    def space(host_watts: float, network: float, usd_per_kw_month: float) -> float:
        return (gpu_watts + count * host_watts) * (1 + network) / KILO * usd_per_kw_month

    network = book.estimate("network_power_share")
    energy = over_corners(
        electricity,
        book.estimate("sustained_power_fraction"),
        host,
        network,
        book.estimate("pue"),
        book.usd_per_kwh.estimate,
    )
    colocation = book.assumed["colocation_usd_per_kw_month"]
    rent = over_corners(space, host, network, colocation.estimate)
    return (
        _part(
            "electricity",
            energy,
            book.usd_per_kwh,
            f"{servers.gpus} GPUs of {gpu.tdp_watts:.0f} W, all hours",
        ),
        _part("colocation", rent, colocation, "space and cooling by reserved power"),
    )


def people(book: PriceBook, fte: str) -> CostPart:
    """Pay of those who keep it running; it does not shrink with the fleet."""
    cost = over_corners(
        lambda heads, usd: heads * usd / _MONTHS_PER_YEAR, book.estimate(fte), book.estimate("fte_usd_per_year")
    )
    return _part("people", cost, book.assumed[fte], "full-time people × pay")


def _part(name: str, estimate: Estimate, dated_by: Figure, how: str) -> CostPart:
    figure = Figure(
        estimate=estimate, unit=USD_PER_MONTH, source=dated_by.source, as_of=dated_by.as_of, stale=dated_by.stale
    )
    return CostPart(name=name, usd_per_month=figure, how=how)
