"""What rented GPUs cost a month: whole instances for the hours they are billed, storage, egress, people."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.money_options import RentTerm
from llmsizer.facts.offer import Offer
from llmsizer.facts.provenance import Estimate
from llmsizer.money.cost import Cost, stale_flags, through
from llmsizer.money.currency import shown
from llmsizer.money.drivers import UNKNOWN, Number, RentDrivers
from llmsizer.money.energy import Energy, energy_of, fleet_watts
from llmsizer.money.formulas import fte_renting
from llmsizer.money.owning import Activity, Volume
from llmsizer.money.prices import PriceBook, host_watts, is_whole_board
from llmsizer.money.ranges import bill_parts, mid
from llmsizer.traffic.hours.elastic import kept_up
from llmsizer.units import HOURS_PER_MONTH, MONTHS_PER_YEAR

# Marketplaces print the cheapest live host; their own notes say that what one gets is dearer.
_MARKET_WORDS = ("marketplace", "decentralized", "fluctuates")
_MARKET_HIGH = 3.0  # "actual provisioning price commonly 2–3× higher", as the price list itself notes
_ASSUMED = ("egress_bytes_per_token", "egress_usd_per_gb", "storage_usd_per_unit_month", "people_fte_rent",
            "people_fte_per_further_instance", "fte_usd_per_year")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """An offer at one term: as it is listed, or for a year, paid for every hour whether it runs or not."""

    offer: Offer
    is_reserved: bool = False

    @property
    def term(self) -> str:
        return "reserved for a year" if self.is_reserved else self.offer.term


def contracts(offers: Iterable[Offer], rent_term: RentTerm, horizon_months: float) -> tuple[Contract, ...]:
    """What the scenario's term makes of offers: each as listed, each on demand for a year instead, or both."""
    found = []
    for offer in offers:
        can_be = offer.term == "on-demand" and (rent_term == "reserved-1y" or horizon_months >= MONTHS_PER_YEAR)
        if not (can_be and rent_term == "reserved-1y"):
            found.append(Contract(offer=offer))
        if can_be and rent_term != "on-demand":
            found.append(Contract(offer=offer, is_reserved=True))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """So many replicas under a contract, and the share of the month that its instances are billed (1: always on)."""

    contract: Contract
    gpus_per_replica: int
    replicas: int
    billed_share: float = 1.0
    hours_note: str = ""
    servers_per_replica: int = 1

    @property
    def offer(self) -> Offer:
        return self.contract.offer

    @property
    def instances(self) -> int:
        return instances_for(self.offer, self.gpus_per_replica, self.replicas) * self.servers_per_replica

    @property
    def gpus_each(self) -> int:
        return max(self.offer.gpus_per_instance, self.gpus_per_replica // self.servers_per_replica)


def is_marketplace(offer: Offer) -> bool:
    """Whether the price is the lowest of many private hosts rather than what a provider sells at."""
    return any(word in offer.provenance.note.lower() for word in _MARKET_WORDS)


def instances_for(offer: Offer, gpus_per_replica: int, replicas: int) -> int:
    """Whole instances; those smaller than a replica are taken as sold in its size too (see ``assumes_larger``)."""
    if offer.gpus_per_instance <= gpus_per_replica:
        return replicas
    return math.ceil(replicas / (offer.gpus_per_instance // gpus_per_replica))


def assumes_larger(offer: Offer, gpus_per_replica: int) -> bool:
    """Whether a larger instance at the same price per GPU has to be assumed."""
    return offer.gpus_per_instance < gpus_per_replica


def rented_replicas(offer: Offer, serving: int, spare: int, book: PriceBook) -> int:
    """Replicas to rent: of interruptible ones so many that those that serve are up with 95 % probability."""
    lost = mid(book.assumed["spot_lost_share"]) if offer.is_interruptible else 0.0
    return int(kept_up(np.array([float(serving)]), lost)[0]) + spare


def rent_drivers(
    book: PriceBook,
    *,
    instances: Number,
    usd_per_instance_hour: Number,
    output_tokens_per_month: Number,
    hours: float = HOURS_PER_MONTH,
) -> tuple[RentDrivers, dict[str, Figure]]:
    """What the bill of an offer depends on; ``hours`` are those billed in a month. Counts and prices may be arrays."""
    figures = {name: book.assumed[name] for name in _ASSUMED}
    drivers = RentDrivers(
        instances=instances,
        instance_hours=instances * hours,
        usd_per_instance_hour=usd_per_instance_hour,
        output_tokens_per_month=output_tokens_per_month,
        vat_rate=book.options.vat_rate,
        **{name: mid(figure) for name, figure in figures.items()},
    )
    return drivers, figures


def gpu_hour_price(contract: Contract, book: PriceBook) -> Figure:
    """Dollars a GPU-hour: the cheapest printed, up to the provider's median; less the discount of a reserved term."""
    offer = contract.offer
    hourly = offer.usd_per_gpu_hour
    dearer = max(hourly, offer.median_usd_per_gpu_hour or hourly, hourly * _MARKET_HIGH if is_marketplace(offer) else 0)
    origin = offer.provenance
    estimate = Estimate(
        value=hourly,
        low=hourly,
        high=dearer,
        basis=origin.basis,
        reason=_why_dearer(offer) if dearer > hourly else "",
    )
    source, stale = origin.source, origin.is_stale(book.today)
    if contract.is_reserved:
        off = book.assumed["reserved_1y_discount"]
        least, most = off.low or 0.0, off.high or 0.0
        estimate = Estimate(
            value=hourly * (1 - mid(off)),
            low=hourly * (1 - most),
            high=dearer * (1 - least),
            basis="assumed",
            reason="on-demand list price less an assumed discount for a year's term",
        )
        source, stale = f"{source}; discount: {off.source}", stale or off.stale
    return Figure(estimate=estimate, unit="USD/GPU/h", source=source, as_of=origin.as_of, stale=stale)


def _why_dearer(offer: Offer) -> str:
    if is_marketplace(offer):
        return f"a marketplace's cheapest host; what one gets may be {_MARKET_HIGH:g} times as dear"
    return "cheapest printed; up to the provider's median in this zone"


def rent_cost(
    rented: Rented, gpu: GpuSpec | None, volume: Volume, book: PriceBook, *, activity: Activity | None = None
) -> Cost:
    """The monthly bill of an offer."""
    offer, instances = rented.offer, rented.instances
    price = gpu_hour_price(rented.contract, book)
    hourly = price.scaled(rented.gpus_each, "USD/instance/h")
    drivers, figures = rent_drivers(
        book,
        instances=float(instances),
        usd_per_instance_hour=mid(hourly),
        output_tokens_per_month=volume.output_tokens_per_month,
        hours=HOURS_PER_MONTH * rented.billed_share,
    )
    figures["usd_per_instance_hour"] = hourly
    if offer.gpu_only:
        reason = f"{offer.provider} bills the virtual machine on top, and its price is not known"
        figures["machine_usd_per_instance_hour"] = unknown(reason, "USD/h")
        drivers = replace(drivers, machine_usd_per_instance_hour=UNKNOWN)
    gpus = instances * rented.gpus_each
    billed = f"{HOURS_PER_MONTH * rented.billed_share:.4g} h{rented.hours_note and f' ({rented.hours_note})'}"
    how = {
        "instances": f"{gpus} GPUs × {shown().price_text(mid(price))}/h × {billed}",
        "storage": "disks for weights and logs by the instance",
        "egress": "answers sent out of the cloud",
        "people": f"{float(fte_renting(drivers)):.3g} full-time people × pay, growing with the instances",
    }
    parts = bill_parts(
        drivers,
        figures,
        how,
        vat_rate=book.options.vat_rate,
        written=book.written,
        whose=("rent", offer.id, offer.instance, rented.gpus_each),
    )
    bill = Cost(
        path="rent",
        label=f"rent {gpus}× {offer.gpu_as_listed} at {offer.provider} "
        f"({offer.zone}, {rented.contract.term}{rented.hours_note and f', {rented.hours_note}'})",
        parts=parts,
        input_tokens_per_month=volume.input_tokens_per_month,
        output_tokens_per_month=volume.output_tokens_per_month,
        input_share=volume.input_share,
        flags=stale_flags(parts),
        energy=_energy(gpu, rented, activity or Activity(busy_gpus=float(gpus)), volume, book),
    )
    return through(book.options.lens, bill, vat_rate=book.options.vat_rate)


def _energy(gpu: GpuSpec | None, rented: Rented, activity: Activity, volume: Volume, book: PriceBook) -> Energy | None:
    """As on one's own premises, at the scenario's area: where a provider's machines stand is rarely printed."""
    if gpu is None or gpu.tdp_watts is None:
        return None
    hosts = rented.instances * rented.billed_share
    gpus = hosts * rented.gpus_each
    watts = fleet_watts(
        book.assumed,
        Estimate(value=gpu.tdp_watts, basis="datasheet"),
        host_watts(book, gpu).estimate,
        gpus=gpus,
        hosts=hosts * (min(1.0, rented.gpus_each / gpu.max_per_node) if is_whole_board(gpu) else 1.0),
        busy_gpus=min(gpus, float(activity.busy_gpus)),
        busy_depth=float(activity.busy_depth),
    )
    return energy_of(watts, book.assumed["pue"], book.grams_per_kwh, volume.tokens_per_month, book.area)
