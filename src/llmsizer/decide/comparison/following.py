"""Cash where demand grows or ramps up: what is owned comes in tranches, what is rented or called follows the month."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.bills import Rental, activity, replica_counts
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.workload import Growth, Workload
from llmsizer.money.cashflow import NOT_CASH, CashFlow, cash_flow
from llmsizer.money.cost import Cost, Path
from llmsizer.money.currency import shown
from llmsizer.money.drivers import OwnDrivers
from llmsizer.money.formulas import generations, lines_of, monthly_parts, residual_fraction
from llmsizer.money.owning import Activity, own_drivers
from llmsizer.money.prices import server_price
from llmsizer.money.ranges import mid
from llmsizer.money.renting import gpu_hour_price, rent_drivers
from llmsizer.traffic.closed_form.meanfield import Vector
from llmsizer.traffic.hours.elastic import Packing
from llmsizer.units import HOURS_PER_MONTH, MONTHS_PER_YEAR


@dataclass(frozen=True, kw_only=True)
class Way:
    """A path at the volume that was asked, with what its bill was made from."""

    path: Path
    cost: Cost
    sized: Sized | None = None
    rental: Rental | None = None
    billed_share: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Months:
    """Demand in each month of service over what is written: its mean, the most in it, and the most until then."""

    mean: Vector
    most: Vector

    @property
    def most_so_far(self) -> Vector:
        return cast(Vector, np.maximum.accumulate(self.most))


def months_of(growth: Growth, horizon_months: int) -> Months:
    """From the growth's first day on."""
    ends = np.array([growth.factor_after(month / MONTHS_PER_YEAR) for month in range(horizon_months + 1)])
    mean = np.array([growth.factor_after((month + 0.5) / MONTHS_PER_YEAR) for month in range(horizon_months)])
    return Months(mean=mean, most=np.maximum(ends[:-1], ends[1:]))


def flow_of(found: Study, way: Way, *, serves_from: int) -> CashFlow:
    """The way's payments by month: as ``money.cashflow`` has them, and month by month where demand grows."""
    scenario, book, growth = found.question.scenario, found.book, found.question.workload.growth
    rate, vat = mid(book.assumed["capital_charge_per_year"]), book.options.vat_rate
    flat = cash_flow(way.cost, scenario.horizon_months, rate, vat_rate=vat, serves_from=serves_from)
    if growth is None or flat.usd_by_month is None:
        return flat
    months = months_of(growth, scenario.horizon_months)
    first = len(flat.usd_by_month) - 1 - scenario.horizon_months
    usd = np.zeros(len(flat.usd_by_month))
    events: Sequence[str] = ()
    service = slice(first, first + scenario.horizon_months)
    if way.path == "own" and way.sized is not None:
        drivers, tranches = owned_by_month(found, way.sized, months)
        usd[service] += _running_usd(drivers, marginal=book.options.lens == "marginal")
        if way.cost.one_offs:
            events = _bought_and_sold(usd, drivers, tranches, mid(book.assumed["hardware_lead_months"]))
    elif way.path == "rent" and way.sized is not None and way.rental is not None:
        usd[service] += _rented_usd(found, way, months)
    else:
        usd[service] += (way.cost.usd_per_month.value or 0.0) * months.mean
    return replace(flat, usd_by_month=tuple(usd.tolist()), events=tuple(events))


def _held(workload: Workload, most: Vector) -> Vector:
    return workload.peak_requests_per_second * (1 + workload.headroom) * most


def owned_by_month(found: Study, sized: Sized, months: Months) -> tuple[OwnDrivers, Vector]:
    """What the bill of each month depends on, and the servers that come in each; none is given back.

    Servers are those of the whole fleet from the start on, as many of them as the month needs.
    """
    bills, scenario, workload = found.pricer.bills, found.question.scenario, found.question.workload
    serving = replica_counts(_held(workload, months.most_so_far), sized.held.rate)
    whole = np.array([float(found.pricer.count(sized, workload))])
    (full,), (each,) = (np.ravel(one) for one in bills.servers_of([sized], whole))
    per_server = max(1, int(each) // sized.gpus)
    groups = np.ceil((serving + scenario.spare_replicas) / per_server)
    offered = found.book.offered
    servers = np.minimum(np.maximum(groups * sized.servers, 0 if offered is None else offered.servers), full)
    busy = activity([sized], workload.requests_per_second * months.mean, serving)
    gpus = servers * each
    gpu = sized.deployment.gpu
    record, _ = own_drivers(
        gpu,
        server_price(found.book, gpu, int(each)),
        scenario.horizon_months,
        Activity(busy_gpus=0.0),
        found.book,
        servers=servers,
        gpus=gpus,
    )
    drivers = replace(
        record, busy_gpus=np.minimum(np.ravel(busy.busy_gpus), gpus), busy_depth=np.ravel(busy.busy_depth)
    )
    return drivers, np.diff(servers, prepend=0.0)


def _running_usd(drivers: OwnDrivers, *, marginal: bool) -> Vector:
    """What is paid in each month beside purchases; a lease is."""
    parts = monthly_parts(drivers, marginal=marginal)
    paid = {line.name: line for line in lines_of(drivers) if line.name in parts and line.name not in NOT_CASH}
    taxed = sum((np.asarray(parts[name]) for name, line in paid.items() if line.taxed), start=np.zeros(1))
    usd = sum((np.asarray(parts[name]) for name in paid), start=np.zeros(1))
    return np.asarray(usd + drivers.vat_rate * taxed)


def _bought_and_sold(usd: Vector, drivers: OwnDrivers, tranches: Vector, lead_months: float) -> list[str]:
    """Adds each tranche's purchases, paid with the order, and its sales; says what is bought when."""
    beside = float((1 + drivers.network_capex_share + drivers.spare_parts_share) * (1 + drivers.vat_rate))
    events, last, sold = [], len(usd) - 1, dict[int, float]()
    for month in np.flatnonzero(tranches > 0).tolist():
        count = float(tranches[month])
        late = replace(drivers, horizon_months=float(drivers.horizon_months) - month)
        for bought, kept, price in generations(late):
            paid = (
                count * beside * float(price) * (1 - float(drivers.price_decline_per_year)) ** (month / MONTHS_PER_YEAR)
            )
            at = min(last, math.ceil(month + float(bought)))
            usd[at] += paid
            events.append(f"month {at}: {count:.0f} server{'s' if count > 1 else ''}, network, spare parts bought, "
                          f"{shown().exact_text(paid)}")  # fmt: skip
            left = paid * float(residual_fraction(drivers.residual_after_36_months, kept))
            gone = min(last, math.ceil(month + float(bought + kept) + lead_months))
            usd[gone] -= left
            sold[gone] = sold.get(gone, 0.0) - left
    return [
        *events,
        *(f"month {at}: sold for what is left, {shown().exact_text(back)}" for at, back in sorted(sold.items())),
    ]


def _rented_usd(found: Study, way: Way, months: Months) -> Vector:
    """Instances of the same contract for each month's peak, billed for the same share of its hours."""
    assert way.sized is not None and way.rental is not None
    sized, rental, book = way.sized, way.rental, found.book
    offer, workload = rental.contract.offer, found.question.workload
    packing = Packing(
        spare=found.question.scenario.spare_replicas,
        per_unit=max(1, offer.gpus_per_instance // sized.gpus),
        lost_share=mid(book.assumed["spot_lost_share"]) if offer.is_interruptible else 0.0,
    )
    instances = packing.of(replica_counts(_held(workload, months.most), sized.held.rate)) * sized.servers
    hourly = mid(gpu_hour_price(rental.contract, book)) * max(offer.gpus_per_instance, sized.gpus_per_server)
    drivers, _ = rent_drivers(
        book,
        instances=instances,
        usd_per_instance_hour=hourly,
        output_tokens_per_month=workload.output_tokens_per_month * rental.following.served_share * months.mean,
        hours=HOURS_PER_MONTH * way.billed_share,
    )
    parts = monthly_parts(drivers, marginal=book.options.lens == "marginal")
    return np.asarray(sum((np.asarray(usd) for usd in parts.values()), start=np.zeros(1)))
