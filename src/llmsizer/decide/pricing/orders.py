"""When hardware has to be ordered: the day each part of a fleet is needed, less the time from order to service."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.facts.figure import Figure
from llmsizer.facts.workload import DAYS_PER_YEAR, Growth, Workload

DAYS_PER_MONTH = DAYS_PER_YEAR / 12
_FURTHEST_YEARS = 30.0
_STEPS_SHOWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Machines that have to serve from a day on, and the days by which to order: usually, and with the longest lead."""

    servers: int  # in all
    replicas: int  # that they hold, spares included
    needed_on: datetime.date
    order_by: datetime.date
    order_by_at_longest_lead: datetime.date


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderDates:
    """The first order, what is needed when if bought in steps, and the day on which the whole fleet is full."""

    text: str
    lead_months: Figure
    exhausted_on: datetime.date | None
    order_by: datetime.date | None  # of what has to follow that fleet
    steps: tuple[Order, ...]
    reason: str = ""  # why there is no day


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """An owned fleet as orders see it: serving replicas of equal rate, spares, and the whole servers that hold them."""

    serving: int
    spare: int
    rate_each: float  # requests a second within the SLO
    replicas_per_server: int = 1
    servers_per_replica: int = 1


def orders_for(workload: Workload, fleet: Fleet, lead: Figure, today: datetime.date) -> OrderDates:
    """Demand that compounds is taken to go on at the same rate after its last day; a ramp ends at full use."""
    growth = workload.growth
    ready = _after(today, lead.value or 0.0)
    peak = workload.peak_requests_per_second * (1 + workload.headroom)
    holds = fleet.serving * fleet.rate_each
    if growth is None or growth.yearly <= 0:
        text = (
            f"Ordered on {today}, it serves from about {ready} ({lead.low:g} to {lead.high:g} months). "
            f"No growth is given: the fleet is full when the peak has grown by {holds / peak - 1:.0%}"
        )
        return OrderDates(
            text=text, lead_months=lead, exhausted_on=None, order_by=None, steps=(), reason="no growth is given"
        )
    full = None if growth.is_ramp else _day_of(growth, holds / peak)
    steps = tuple(_steps(growth, peak, fleet, lead))
    first = min((step.order_by for step in steps), default=_before(growth.start, lead.value or 0.0))
    late = f"; that day has passed: service begins {ready} at the earliest" if first < today else ""
    in_steps = f" In steps: {_in_words(steps)}." if len(steps) > 1 else ""
    if full is None:
        end = (
            f"At full use, from {growth.until} on, its peak takes {peak / holds:.0%} of the fleet"
            if growth.is_ramp
            else f"The fleet is not full within {_FURTHEST_YEARS:.0f} years"
        )
        reason = "a ramp ends at full use" if growth.is_ramp else "not within 30 years"
        text = f"First order by {first}{late}.{in_steps} {end}."
        return OrderDates(text=text, lead_months=lead, exhausted_on=None, order_by=None, steps=steps, reason=reason)
    following = _before(full, lead.value or 0.0)
    text = (
        f"First order by {first}{late}.{in_steps} The fleet of {fleet.serving} serving replicas is full on {full}; "
        f"order what follows it by {following}, by {_before(full, lead.high or 0.0)} if delivery takes its longest"
    )
    return OrderDates(text=text, lead_months=lead, exhausted_on=full, order_by=following, steps=steps)


def first_orders(found: OrderDates) -> str:
    """By when the first is ordered, and the steps: without what is said of the fleet afterwards."""
    first = found.text.split(". ")[0].rstrip(".")
    return f"{first}. In steps: {_in_words(found.steps)}" if found.steps else first


def _in_words(steps: Sequence[Order], shown: int = 4) -> str:
    """``1 server by 2026-10-02, 2 in all by 2027-02-10``."""
    first, *further = steps
    said = [f"{first.servers} server{'s' if first.servers > 1 else ''} by {first.order_by}"]
    said += [f"{step.servers} in all by {step.order_by}" for step in further[:shown]]
    if len(further) > shown:
        said.append(f"… {further[-1].servers} in all by {further[-1].order_by}")
    return ", ".join(said)


def _steps(growth: Growth, peak: float, fleet: Fleet, lead: Figure) -> list[Order]:
    """Further servers, one or a few together, on the day from which the demand needs them, until the growth ends."""
    rate, each = fleet.rate_each, fleet.replicas_per_server

    def groups(factor: float) -> int:
        """Servers, or the servers that one replica spans, at so many times the peak."""
        serving = max(1, math.ceil(peak * factor / rate - 1e-9))
        return math.ceil((serving + fleet.spare) / each)

    first, last = groups(growth.factor_after(0.0)), groups(growth.largest_factor)
    stride = max(1, math.ceil((last - first) / _STEPS_SHOWN))
    orders: dict[int, Order] = {}
    before = 0
    for count in dict.fromkeys([first, *range(first + stride, last, stride), last]):
        # The day on which those before it are full, spares aside.
        held = (before * each - fleet.spare) * rate / peak
        day = growth.start if count == first else _day_of(growth, held)
        before = count
        if day is None or (count > first and day > growth.until):
            continue
        orders[count] = Order(
            servers=count * fleet.servers_per_replica,
            replicas=min(count * each, fleet.serving + fleet.spare),
            needed_on=day,
            order_by=_before(day, lead.value or 0.0),
            order_by_at_longest_lead=_before(day, lead.high or 0.0),
        )
    return list(orders.values())


def _day_of(growth: Growth, factor: float) -> datetime.date | None:
    """The day on which demand is so many times what is written; None where that is never or beyond thirty years."""
    years = growth.years_to(factor)
    if years is None or years > _FURTHEST_YEARS:
        return None
    return growth.start + datetime.timedelta(days=years * DAYS_PER_YEAR)


def _before(day: datetime.date, months: float) -> datetime.date:
    return day - datetime.timedelta(days=months * DAYS_PER_MONTH)


def _after(day: datetime.date, months: float) -> datetime.date:
    return day + datetime.timedelta(days=months * DAYS_PER_MONTH)
