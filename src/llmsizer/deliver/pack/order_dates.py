"""When hardware has to be ordered: the day the fleet is full under growth, less the time from order to service."""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass

from llmsizer.deliver.pack.decision import Decision
from llmsizer.facts.figure import Figure
from llmsizer.facts.workload import DAYS_PER_YEAR, Growth

DAYS_PER_MONTH = DAYS_PER_YEAR / 12
_FURTHEST_YEARS = 30.0
_STEPS_SHOWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Replicas that have to serve from a day on, and the days by which to order: usually, and with the longest lead."""

    replicas: int  # spares included
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


def order_dates(decision: Decision) -> OrderDates:
    """Of the fleet that is owned. The demand goes on growing at the same rate after the growth's last day."""
    lead = decision.found.book.assumed["hardware_lead_months"]
    own = decision.path("own")
    growth = decision.found.question.workload.growth
    if own is None or own.plan is None or own.sized is None:
        return _none(lead, "nothing is bought: no plan that owns hardware")
    ready = _after(decision.today, lead.value or 0.0)
    rate, workload = own.sized.held.rate, decision.found.question.workload
    peak = workload.peak_requests_per_second * (1 + workload.headroom)
    holds = own.plan.replicas * rate
    if growth is None or growth.yearly <= 0:
        spare = holds / peak - 1
        text = (
            f"Ordered on {decision.today}, it serves from about {ready} ({lead.low:g} to {lead.high:g} months). "
            f"No growth is given: the fleet is full when the peak has grown by {spare:.0%}"
        )
        return OrderDates(
            text=text, lead_months=lead, exhausted_on=None, order_by=None, steps=(), reason="no growth is given"
        )
    full = _day_of(growth, holds / peak)
    steps = tuple(_steps(decision, growth, peak, rate, lead))
    first = min((step.order_by for step in steps), default=_before(growth.start, lead.value or 0.0))
    late = f"; that day has passed: service begins {ready} at the earliest" if first < decision.today else ""
    if full is None:
        text = f"First order by {first}{late}. The fleet is not full within {_FURTHEST_YEARS:.0f} years."
        return OrderDates(text=text, lead_months=lead, exhausted_on=None, order_by=None, steps=steps,
                          reason="not within 30 years")  # fmt: skip
    following = _before(full, lead.value or 0.0)
    text = (
        f"First order by {first}{late}. The fleet of {own.plan.replicas} serving replicas is full on {full}; "
        f"order what follows it by {following}, by {_before(full, lead.high or 0.0)} if delivery takes its longest"
    )
    return OrderDates(text=text, lead_months=lead, exhausted_on=full, order_by=following, steps=steps)


def _steps(decision: Decision, growth: Growth, peak: float, rate: float, lead: Figure) -> list[Order]:
    """Further replicas, one or a few together, on the day from which the demand needs them, until the growth ends."""
    spare = decision.scenario.spare_replicas
    first = max(1, math.ceil(peak / rate - 1e-9))
    last = max(first, math.ceil(peak * growth.largest_factor / rate - 1e-9))
    stride = max(1, math.ceil((last - first) / _STEPS_SHOWN))
    orders = []
    shown = [*range(first, last, stride), last]
    for before, serving in zip([first, *shown], shown, strict=False):
        day = growth.start if serving <= first else _day_of(growth, before * rate / peak)
        if day is None or (serving > first and day > growth.until):
            continue
        orders.append(
            Order(
                replicas=serving + spare,
                needed_on=day,
                order_by=_before(day, lead.value or 0.0),
                order_by_at_longest_lead=_before(day, lead.high or 0.0),
            )
        )
    return list({order.replicas: order for order in orders}.values())


def _day_of(growth: Growth, factor: float) -> datetime.date | None:
    """The day on which demand has grown by a factor; None where that is beyond thirty years."""
    years = math.log(max(factor, 1.0)) / math.log1p(growth.yearly)
    return growth.start + datetime.timedelta(days=years * DAYS_PER_YEAR) if years <= _FURTHEST_YEARS else None


def _before(day: datetime.date, months: float) -> datetime.date:
    return day - datetime.timedelta(days=months * DAYS_PER_MONTH)


def _after(day: datetime.date, months: float) -> datetime.date:
    return day + datetime.timedelta(days=months * DAYS_PER_MONTH)


def _none(lead: Figure, reason: str) -> OrderDates:
    return OrderDates(
        text=reason[:1].upper() + reason[1:], lead_months=lead, exhausted_on=None, order_by=None, steps=(),
        reason=reason,
    )  # fmt: skip
