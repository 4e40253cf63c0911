"""What a fleet of one's own costs a month: hardware kept for a time and sold, capital, power, space, repair, people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.facts.gpu import GpuSpec
from llmsizer.money.cost import Cost, OneOff, stale_flags, through
from llmsizer.money.drivers import Number, OwnDrivers
from llmsizer.money.energy import Energy, energy_of, fleet_watts
from llmsizer.money.formulas import fte_owning, generations, residual_fraction
from llmsizer.money.prices import PriceBook, host_watts, is_whole_board, server_price
from llmsizer.money.ranges import bill_parts, counted, mid

_ASSUMED = (
    "network_capex_share", "spare_parts_share", "price_decline_per_year", "residual_after_36_months",
    "depreciation_years", "capital_charge_per_year", "maintenance_per_year", "idle_power_share",
    "one_sequence_power_share", "full_batch_power_share", "host_watts", "network_power_share", "pue",
    "colocation_usd_per_kw_month", "storage_usd_per_unit_month", "software_usd_per_gpu_year", "people_fte_own",
    "people_fte_per_further_server", "fte_usd_per_year", "lease_rate_per_year",
)  # fmt: skip
DRIVERS_OF_GPU = ("gpu_watts", "host_watts", "one_sequence_power_share", "full_batch_power_share")
"""Beside the price of a server: what differs from GPU to GPU in one scenario's bills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Whole servers for a number of replicas; a replica larger than a server takes several for itself."""

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

    @property
    def tokens_per_month(self) -> float:
        return self.input_tokens_per_month + self.output_tokens_per_month

    def scaled(self, share: float) -> Volume:
        """So much of it: what is served where a window closes."""
        return replace(
            self,
            input_tokens_per_month=self.input_tokens_per_month * share,
            output_tokens_per_month=self.output_tokens_per_month * share,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """How busy GPUs are over a month: the mean number that step, and how full their batches are while they do."""

    busy_gpus: Number
    busy_depth: Number = 0.0  # ln(batch) / ln(256)


def servers_for(gpu: GpuSpec, gpus_per_replica: int, replicas: int) -> Servers | None:
    """The servers to buy; None where a replica does not fill servers evenly. Cards are bought singly, boards whole."""
    if gpus_per_replica > gpu.max_per_node:
        span = math.ceil(gpus_per_replica / gpu.max_per_node)
        if gpus_per_replica % span:
            return None
        each = gpu.max_per_node if is_whole_board(gpu) else gpus_per_replica // span
        return Servers(count=replicas * span, gpus_each=each)
    per_server = gpu.max_per_node // gpus_per_replica
    count = math.ceil(replicas / per_server)
    if is_whole_board(gpu):
        return Servers(count=count, gpus_each=gpu.max_per_node)
    return Servers(count=count, gpus_each=gpus_per_replica * math.ceil(replicas / count))


def own_drivers(
    gpu: GpuSpec,
    server_usd: Figure,
    horizon_months: int,
    activity: Activity,
    book: PriceBook,
    *,
    servers: Number,
    gpus: Number,
) -> tuple[OwnDrivers, dict[str, Figure]]:
    """What the bill of these servers depends on: the record to compute with, and the range and source of each driver.

    ``gpus`` counts those in all servers. Counts and activity may be arrays.
    """
    options = book.options
    figures = {name: book.assumed[name] for name in _ASSUMED}
    figures["server_usd"] = server_usd
    figures["usd_per_kwh"] = book.usd_per_kwh
    figures["gpu_watts"] = _tdp(gpu)
    figures["host_watts"] = host_watts(book, gpu)
    if options.gpu_watts_measured is not None and gpu.tdp_watts:
        share = exact(options.gpu_watts_measured / gpu.tdp_watts, "of TDP", "measured", "the scenario")
        figures |= {"one_sequence_power_share": share, "full_batch_power_share": share}
    if options.lease_usd_per_server_month is not None:
        figures["lease_usd_per_server_month"] = counted(options.lease_usd_per_server_month, "USD/server/month")
    drivers = OwnDrivers(
        servers=servers,
        gpus=gpus,
        busy_gpus=np.minimum(activity.busy_gpus, gpus),
        busy_depth=activity.busy_depth,
        horizon_months=float(horizon_months),
        is_leased=options.acquisition == "lease",
        vat_rate=options.vat_rate,
        **{name: mid(figure) for name, figure in figures.items()},
    )
    return drivers, figures


def _tdp(gpu: GpuSpec) -> Figure:
    """By the data sheet, whose date is no price's: it does not grow old."""
    if gpu.tdp_watts is None:
        return unknown(f"the power draw of {gpu.name} is not in the catalogue", "W")
    origin = gpu.provenance_by_field.get("tdp_watts", gpu.provenance)
    return exact(gpu.tdp_watts, "W", origin.basis, origin.source, origin.as_of)


def own_cost(
    gpu: GpuSpec,
    servers: Servers,
    horizon_months: int,
    volume: Volume,
    book: PriceBook,
    *,
    activity: Activity | None = None,
) -> Cost:
    """The monthly bill of owning these servers for the horizon; a part without a price leaves the total unknown.

    Without an activity every GPU steps all the time, one sequence each.
    """
    activity = activity or Activity(busy_gpus=float(servers.gpus))
    price = server_price(book, gpu, servers.gpus_each)
    drivers, figures = own_drivers(
        gpu, price, horizon_months, activity, book, servers=float(servers.count), gpus=float(servers.gpus)
    )
    lead_months = mid(book.assumed["hardware_lead_months"])
    parts = bill_parts(
        drivers,
        figures,
        _how(servers, drivers),
        vat_rate=book.options.vat_rate,
        written=book.written,
        whose=("own", gpu.id, servers.gpus_each),
    )
    verb = "lease" if drivers.is_leased else "own"
    bill = Cost(
        path="own",
        label=f"{verb} {servers.count} × server with {servers.gpus_each}× {gpu.name}",
        parts=parts,
        input_tokens_per_month=volume.input_tokens_per_month,
        output_tokens_per_month=volume.output_tokens_per_month,
        input_share=volume.input_share,
        flags=stale_flags(parts),
        energy=_energy(drivers, figures, volume.tokens_per_month, book),
        one_offs=() if drivers.is_leased else tuple(_one_offs(drivers, lead_months)),
        service_from_month=lead_months,
    )
    return through(book.options.lens, bill, vat_rate=book.options.vat_rate)


def _one_offs(drivers: OwnDrivers, lead_months: float) -> list[OneOff]:
    """Purchases, paid with the order, and sales after the months of service, counted from the first order."""
    if math.isnan(float(drivers.server_usd)):
        return []
    each = float(drivers.servers * (1 + drivers.network_capex_share + drivers.spare_parts_share))
    events = []
    for bought, months, price in generations(drivers):
        left = float(residual_fraction(drivers.residual_after_36_months, months))
        events.append(OneOff(month=float(bought), usd=each * float(price), what="servers, network, spare parts bought"))
        sold = -each * float(price) * left
        events.append(OneOff(month=float(bought + months) + lead_months, usd=sold, what="sold for what is left"))
    return events


def _energy(drivers: OwnDrivers, figures: Mapping[str, Figure], tokens_per_month: float, book: PriceBook) -> Energy:
    watts = fleet_watts(
        figures,
        figures["gpu_watts"].estimate,
        figures["host_watts"].estimate,
        gpus=float(drivers.gpus),
        hosts=float(drivers.servers),
        busy_gpus=float(drivers.busy_gpus),
        busy_depth=float(drivers.busy_depth),
    )
    return energy_of(watts, book.assumed["pue"], book.grams_per_kwh, tokens_per_month, book.area)


def _how(servers: Servers, drivers: OwnDrivers) -> dict[str, str]:
    kept = min(float(drivers.horizon_months), float(drivers.depreciation_years) * 12)
    many = "s" if servers.count > 1 else ""
    busy = float(drivers.busy_gpus)
    return {
        "hardware": f"{servers.count} server{many}, kept {kept:.0f} months and sold for what is left",
        "network": "switches, cables and their like, as a share of the servers",
        "spare parts": "parts on the shelf, as a share of the servers",
        "capital": "interest on the mean of price and residual value",
        "lease": f"{servers.count} server{many} with network, {kept:.0f} months",
        "maintenance": "contract or repairs, as a share of the price per year",
        "electricity": f"{servers.gpus} GPUs of {float(drivers.gpu_watts):.0f} W, {busy:.3g} at work on average",
        "colocation": "space and cooling by reserved power",
        "storage": "disks and backup by the server",
        "software licences": "by the GPU and year",
        "people": f"{float(fte_owning(drivers)):.3g} full-time people × pay, growing with the servers",
    }
