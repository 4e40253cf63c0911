"""Replicas by month until the growth ends."""

from __future__ import annotations

import calendar
import datetime
from dataclasses import dataclass

from llmsizer.facts.workload import Growth, Workload
from llmsizer.traffic.hours.week import Sizing


@dataclass(frozen=True, slots=True, kw_only=True)
class Month:
    """The demand on a day, a month after the one before; ``replicas`` with spares."""

    day: datetime.date
    requests_per_month: float
    peak_requests_per_second: float
    replicas: int


def replicas_by_month(workload: Workload, growth: Growth, sizing: Sizing) -> tuple[Month, ...]:
    """From the first day of the growth, month by month, to its last."""
    days = [growth.start]
    while (following := _months_after(growth.start, len(days))) < growth.until:
        days.append(following)
    return tuple(_month(workload, growth, sizing, day) for day in [*days, growth.until])


def _month(workload: Workload, growth: Growth, sizing: Sizing, day: datetime.date) -> Month:
    factor = growth.factor(day)
    peak = workload.peak_requests_per_second * factor
    return Month(
        day=day,
        requests_per_month=workload.requests_per_month * factor,
        peak_requests_per_second=peak,
        replicas=sizing.replicas(peak) + sizing.spare_replicas,
    )


def _months_after(start: datetime.date, months: int) -> datetime.date:
    """The same day so many months later, or the last day of a month that is too short."""
    years, month = divmod(start.month - 1 + months, 12)
    year = start.year + years
    return start.replace(year=year, month=month + 1, day=min(start.day, calendar.monthrange(year, month + 1)[1]))
