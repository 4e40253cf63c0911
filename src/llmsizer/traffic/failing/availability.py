"""What a fleet holds, whole and with parts of it gone: rates, replicas for a peak hour, growth, and lost hosts.

Capacity with a host down is simulated with the replicas that are left, not multiplied: a smaller fleet shares load
worse, and near saturation a little less room is a lot more waiting.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.figure import over_corners
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import DAYS_PER_YEAR, Workload
from llmsizer.facts.workload import Growth as GrowthPlan
from llmsizer.traffic.closed_form.meanfield import Replica as ClosedReplica
from llmsizer.traffic.closed_form.sizing import replicas_for
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.failing.failures import Domains, Failures, Zone, first_true, hours_beyond, spared_for
from llmsizer.traffic.service import Goal, Service, at_speed, serve
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.rate_search import Miss, largest_rate
from llmsizer.units import HOURS_PER_YEAR

_MOST_REPLICAS = 100_000  # more than anyone has: a slip in a number
_FARTHEST_YEARS = 30.0  # growth beyond that says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRate:
    """The largest rate within the SLO; ``low`` and ``high`` at the slow and the fast end of the step times (90 %)."""

    requests_per_second: float
    low: float | None
    high: float | None
    limited_by: Miss
    simulations: int
    basis: Literal["simulated"] = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A fleet in its peak hour with a part of it gone; ``service`` is None where nothing is left to serve."""

    what: str
    replicas_left: int
    holds_slo: bool
    service: Service | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """The peak hour at a later date, and how long the fleet of today lasts: both with the workload's headroom kept free
    above the peak hour, and with the spares aside, as plans count replicas."""

    growth_per_year: float
    until: date
    peak_requests_per_second: float
    replicas: int  # that the peak hour and the headroom above it need then, without spares
    headroom: float  # 0.2 is 20 %
    spare_replicas: int  # that are kept spare, then and now
    exhausted_on: date | None  # None where demand does not outgrow the fleet within 30 years


@dataclass(frozen=True, slots=True, kw_only=True)
class Outages:
    """How many hosts may be down at once with the SLO still held, and how often more are."""

    hosts: int
    zones: tuple[Zone, ...]
    replicas_per_host: int
    gpus_per_host: int
    hosts_that_may_be_down: int
    hours_a_year_beyond: Estimate  # as if every hour were the peak hour: an upper bound
    share_of_the_year_held: Estimate  # the rest of the year: a lower bound
    failures: Failures
    spared: dict[
        str, int | None
    ]  # replicas that hold the peak with one domain of a kind gone (N+1); None: there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class RollingUpgrade:
    """Every replica replaced, one at a time; ``during`` is the peak hour with one replica fewer."""

    during: Loss
    seconds: Estimate  # replicas · (the last requests to end + start of the new one)
    seconds_to_drain: float | None  # E2E p99 (p95 where too few) of the peak hour with one fewer


@dataclass(frozen=True, kw_only=True)
class Site:
    """A fleet to be asked: one replica and how many there are, on which hosts, under which demand."""

    replica: Replica
    stream: Stream
    goal: Goal
    replicas: int
    replicas_per_host: int
    gpus_per_replica: int
    zones: int = 1
    routing_fleet: Fleet = field(default_factory=Fleet)  # only its routing counts
    replications: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.replicas > _MOST_REPLICAS:
            raise InputError(
                f"the fleet has {self.replicas:,} replicas; at most {_MOST_REPLICAS:,} are looked at: "
                "give less demand, or --replicas"
            )
        assert self.domains.hosts  # refuses what cannot be before anything is simulated

    @property
    def domains(self) -> Domains:
        return Domains(replicas=self.replicas, replicas_per_host=self.replicas_per_host, zones=self.zones)

    @property
    def hosts(self) -> int:
        return self.domains.hosts

    def fleet(self, replicas: int) -> Fleet:
        return replace(self.routing_fleet, replicas=replicas)

    def service(self, replicas: int, requests_per_second: float) -> Service:
        return serve(
            self.replica,
            self.stream.at_rate(requests_per_second),
            self.fleet(replicas),
            self.goal,
            replications=self.replications,
            seed=self.seed,
        )


def held_rate(site: Site, replicas: int, closed: ClosedReplica | None = None) -> HeldRate:
    """The largest rate that so many replicas hold, by bisection; with its interval where the closed form has one."""
    fleet = site.fleet(replicas)

    def search(replica: Replica) -> tuple[float, Miss, int]:
        found = largest_rate(
            replica,
            site.stream,
            site.goal.slo,
            fleet=fleet.sample,
            e2e_p95_seconds=site.goal.e2e_p95_seconds,
            seed=site.seed,
        )
        return found.requests_per_second * fleet.times_sample, found.missed, found.simulations

    rate, missed, simulations = search(site.replica)
    low = high = None
    if closed is not None:
        low = min(search(at_speed(site.replica, closed, "slow"))[0], rate)
        high = max(search(at_speed(site.replica, closed, "fast"))[0], rate)
    return HeldRate(requests_per_second=rate, low=low, high=high, limited_by=missed, simulations=simulations)


def replicas_needed(site: Site, requests_per_second: float, rate_each: float) -> int:
    """The fewest replicas that hold a rate, each count simulated: many together hold more than as many alone."""
    if rate_each <= 0:
        raise InputError("even a nearly idle replica misses the SLO: no number of them helps; loosen it or change them")

    # Shared queues save a few of many: begin with one each, and look below before above.
    high = replicas_for(requests_per_second, rate_each)
    if high > _MOST_REPLICAS:
        raise InputError(
            f"{requests_per_second:,.4g} requests/s take about {high:,} replicas; at most {_MOST_REPLICAS:,} "
            "are looked at: give less demand or a nearer date"
        )

    def holds(replicas: int) -> bool:
        return site.service(replicas, requests_per_second).meets_slo

    while not holds(high):
        high += max(1, high // 10)
    low = high // 2
    while low > 0 and holds(low):
        low, high = low // 2, low
    return first_true(holds, low, high)


def loss(site: Site, what: str, replicas_lost: int, requests_per_second: float) -> Loss:
    """The peak hour with fewer replicas."""
    left = site.replicas - replicas_lost
    if left < 1:
        return Loss(what=what, replicas_left=0, holds_slo=False, service=None)
    service = site.service(left, requests_per_second)
    return Loss(what=what, replicas_left=left, holds_slo=service.meets_slo, service=service)


def losses(site: Site, requests_per_second: float) -> list[Loss]:
    """The peak hour without one replica, without the largest host and, where there are several, the largest zone."""
    lost = {f"{what} down": count for what, count in site.domains.largest.items()}
    if site.zones == 1:
        del lost["one zone down"]
    lost = {"one replica down" if what == "one GPU down" else what: count for what, count in lost.items()}
    return [loss(site, what, count, requests_per_second) for what, count in lost.items()]


def outages(site: Site, requests_per_second: float, failures: Failures, replicas_needed: int) -> Outages:
    """Simulate the fleet with more and more hosts down, and count how often that many are.

    ``replicas_needed``: the fewest that hold the rate, for what N+1 takes by GPU, host and zone.
    """

    def fails(hosts_down: int) -> bool:
        return not loss(site, "", hosts_down * site.replicas_per_host, requests_per_second).holds_slo

    may_be_down = first_true(fails, -1, site.hosts) - 1
    gpus = site.replicas_per_host * site.gpus_per_replica
    beyond = hours_beyond(site.domains, gpus, may_be_down, failures)
    return Outages(
        hosts=site.hosts,
        zones=site.domains.map,
        replicas_per_host=site.replicas_per_host,
        gpus_per_host=gpus,
        hosts_that_may_be_down=may_be_down,
        hours_a_year_beyond=beyond,
        share_of_the_year_held=over_corners(lambda hours: 1 - hours / HOURS_PER_YEAR, beyond, reason=beyond.reason),
        failures=failures,
        spared={
            kind: spared_for(replicas_needed, kind, site.replicas_per_host, site.zones)
            for kind in ("one GPU", "one host", "one zone")
        },
    )


def rolling_upgrade(during: Loss, replicas: int, start_seconds: Estimate) -> RollingUpgrade:
    """How long it takes to replace every replica, one after the other: each drains, and a new one starts."""
    if during.service is None:
        nothing = Estimate(value=None, basis="unknown", reason="the only replica is gone while it is replaced")
        return RollingUpgrade(during=during, seconds=nothing, seconds_to_drain=None)
    e2e = during.service.row("E2E")
    drain = e2e.p99.value or e2e.p95.value
    if drain is None:
        nothing = Estimate(value=None, basis="unknown", reason=f"{during.service.verdict} with one replica fewer")
        return RollingUpgrade(during=during, seconds=nothing, seconds_to_drain=None)
    seconds = over_corners(lambda start: replicas * (drain + start), start_seconds, reason="one replica at a time")
    return RollingUpgrade(during=during, seconds=seconds, seconds_to_drain=drain)


def growth(
    site: Site, workload: Workload, rate_each: float, fleet_rate: float, plan: GrowthPlan, *, spare_replicas: int = 0
) -> Growth:
    """The peak hour at the end of a growth or ramp, and the day on which the fleet no longer holds it.

    ``fleet_rate``: what the fleet holds within the SLO without its spares, requests per second.
    """
    peak, above = workload.peak_requests_per_second, 1 + workload.headroom
    later = peak * plan.factor(plan.until)
    years = plan.years_to(fleet_rate / (peak * above))
    lasts = years is None or years > _FARTHEST_YEARS
    exhausted = None if years is None or lasts else plan.start + timedelta(days=int(years * DAYS_PER_YEAR))
    return Growth(
        growth_per_year=plan.yearly,
        until=plan.until,
        peak_requests_per_second=later,
        replicas=replicas_needed(site, later * above, rate_each),
        headroom=workload.headroom,
        spare_replicas=spare_replicas,
        exhausted_on=exhausted,
    )
