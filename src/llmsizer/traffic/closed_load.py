"""What the closed form says of a fleet under load: latency over the rate, the hours of a week, and parts gone.

The same questions as ``load_curves`` and ``availability`` ask of the simulator, answered at once by the formula that a
plan is sized with. At and beyond saturation (ρ ≥ 1) there is no latency: the point is OVERLOADED.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.facts.workload import Slo
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.traffic.closed_form.meanfield import Replica, saturation_rate
from llmsizer.traffic.closed_form.sizing import hold, load_at
from llmsizer.traffic.failing.failures import Domains

SHARES = (0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 0.99, 1.0, 1.1)  # of saturation


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPoint:
    """A fleet at one rate of all its requests; ``each`` is one replica under its share of them."""

    requests_per_second: float
    each: LoadPoint
    missed: str  # what of the SLO; empty where it is held


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedCurve:
    """A number of replicas over the rate; rates in requests per second of the whole fleet."""

    replicas: int
    held_requests_per_second: float
    saturated_requests_per_second: float
    points: tuple[FleetPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyHour:
    """One hour of the week as a steady demand.

    ``of_held``: its rate over the largest that these replicas hold within the SLO; infinite where they hold none.
    ``of_saturation``: ρ, its rate over the one at which requests arrive faster than they are served.
    """

    requests_per_second: float
    replicas: int  # that are up
    of_held: float
    of_saturation: float
    missed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoss:
    """The peak hour with a part of the fleet gone; ``point`` is None where nothing is left to serve."""

    what: str
    replicas_left: int
    point: FleetPoint | None

    @property
    def holds_slo(self) -> bool:
        return self.point is not None and not self.point.missed


def missed(point: LoadPoint, slo: Slo) -> str:
    """What is missed first; empty where all is met. Answers of one token have no TPOT to miss."""
    if point.verdict != "STABLE":
        return point.verdict
    limits = (("TTFT p95", point.ttft_p95, slo.ttft_p95_seconds), ("TPOT p95", point.tpot_p95, slo.tpot_p95_seconds))
    for name, figure, limit in limits:
        if figure.value is not None and figure.value > limit:
            return name
    return ""


def fleet_at(closed: Replica, replicas: int, requests_per_second: float, slo: Slo) -> FleetPoint:
    """Equal shares of the rate on every replica."""
    each = load_at(closed, requests_per_second / replicas)
    return FleetPoint(requests_per_second=requests_per_second, each=each, missed=missed(each, slo))


def closed_curve(closed: Replica, replicas: int, slo: Slo, also: Sequence[float] = ()) -> ClosedCurve:
    """From nearly idle to beyond saturation; ``also`` at these rates, such as the peak hour's."""
    held, saturated = hold(closed, slo).rate * replicas, saturation_rate(closed, closed.mid) * replicas
    rates = {share * saturated for share in SHARES} | {rate for rate in (held, *also) if 0 < rate <= 1.5 * saturated}
    return ClosedCurve(
        replicas=replicas,
        held_requests_per_second=held,
        saturated_requests_per_second=saturated,
        points=tuple(fleet_at(closed, replicas, rate, slo) for rate in sorted(rates)),
    )


def closed_week(closed: Replica, replicas: Sequence[int], slo: Slo, rates: Sequence[float]) -> tuple[SteadyHour, ...]:
    """Every hour of a week of rates, with the replicas that are up in it, as if it lasted; equal hours once."""
    each, saturated = hold(closed, slo).rate, saturation_rate(closed, closed.mid)
    said = {hour: _steady(closed, *hour, slo, each, saturated) for hour in set(zip(replicas, rates, strict=True))}
    return tuple(said[hour] for hour in zip(replicas, rates, strict=True))


def _steady(closed: Replica, replicas: int, rate: float, slo: Slo, each: float, saturated: float) -> SteadyHour:
    if rate == 0 or replicas == 0:
        late = rate > 0
        far = math.inf if late else 0.0
        return SteadyHour(
            requests_per_second=rate, replicas=replicas, of_held=far, of_saturation=far, missed="closed" * late
        )
    return SteadyHour(
        requests_per_second=rate,
        replicas=replicas,
        of_held=rate / (each * replicas) if each > 0 else math.inf,
        of_saturation=rate / (saturated * replicas),
        missed=fleet_at(closed, replicas, rate, slo).missed,
    )


def closed_losses(closed: Replica, domains: Domains, slo: Slo, requests_per_second: float) -> tuple[ClosedLoss, ...]:
    """All up, then without one replica and without the largest host."""
    gone = {"nothing": 0, "one replica": 1, "one host": domains.largest["one host"]}
    found = []
    for what, lost in gone.items():
        left = domains.replicas - lost
        point = fleet_at(closed, left, requests_per_second, slo) if left > 0 else None
        found.append(ClosedLoss(what=what, replicas_left=left, point=point))
    return tuple(found)


def hosts_that_may_be_down(closed: Replica, domains: Domains, slo: Slo, requests_per_second: float) -> int:
    """The most hosts, the fullest first, without which the rest still hold the rate; −1 where not even all do."""
    each = hold(closed, slo).rate
    down = -1
    while down + 1 < domains.hosts:
        left = domains.replicas - (down + 1) * domains.replicas_per_host
        if left < 1 or left * each < requests_per_second * (1 - 1e-9):
            break
        down += 1
    return down
