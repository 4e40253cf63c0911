"""One plan under its load: by the closed form at once, and by simulation where that is asked for."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from llmsizer.decide.answer import Plan
from llmsizer.decide.fleets import ServedFleet, fleet_of_plan
from llmsizer.errors import InputError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Slo
from llmsizer.installed import optional
from llmsizer.progress import Progress, part_of, silent
from llmsizer.traffic.closed_load import (
    ClosedCurve,
    ClosedLoss,
    SteadyHour,
    closed_curve,
    closed_losses,
    closed_week,
    hosts_that_may_be_down,
)
from llmsizer.traffic.failing.availability import Loss, Site, held_rate, losses
from llmsizer.traffic.failing.failures import Domains, Failures, hours_beyond
from llmsizer.traffic.hours.week import Mode, Sizing, hour_name, hourly_rates, peak_hour, run_week
from llmsizer.traffic.load_curves import Distribution, Hour, LoadCurve, distributions, load_curve, week
from llmsizer.traffic.service import Goal, Service, observe, service_of, stream_within
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.fleet import Fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanLoad:
    """What the closed form says; rates in requests per second of the whole fleet."""

    fleet: ServedFleet
    slo: Slo
    peak_requests_per_second: float
    curve: ClosedCurve
    hours: tuple[SteadyHour, ...]  # of a week from Monday midnight; empty where nobody said when
    mode: Mode  # in which rented machines run: other replicas may be up in every hour
    losses: tuple[ClosedLoss, ...]
    domains: Domains
    hosts_that_may_be_down: int  # −1: the SLO is missed with all of them up
    hours_a_year_beyond: Estimate  # as if every hour were the peak hour: an upper bound

    @property
    def peak_name(self) -> str:
        """``tue 10:00``; empty where nobody said when."""
        weights = self.fleet.workload.hourly_weights
        return hour_name(peak_hour(hourly_rates(self.fleet.workload))) if weights else ""

    @property
    def all_up(self) -> ClosedLoss:
        return self.losses[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLoad:
    """The same by simulation, and the distributions of the peak hour; reproducible by its seed."""

    seed: int
    replications: int
    curve: LoadCurve
    peak: Service
    distributions: tuple[Distribution, ...]  # none where OVERLOADED
    losses: tuple[Loss, ...]
    hours: tuple[Hour, ...]


def plan_load(plan: Plan, scenario: Scenario, catalog: Catalog, *, today: datetime.date) -> PlanLoad:
    """The closed form's answer for a plan of the scenario's answer. Raises LlmSizerError."""
    fleet = fleet_of_plan(plan, scenario, catalog)
    workload, slo, closed = fleet.workload, scenario.slo, fleet.closed
    peak = workload.peak_requests_per_second
    domains = Domains(replicas=fleet.replicas, replicas_per_host=fleet.replicas_per_host)
    may_be_down = hosts_that_may_be_down(closed, domains, slo, peak)
    assumed = load_assumptions(scenario.assumptions, today, catalog.root)
    gpus_per_host = fleet.replicas_per_host * fleet.deployment.parallelism.gpus
    return PlanLoad(
        fleet=fleet,
        slo=slo,
        peak_requests_per_second=peak,
        curve=closed_curve(closed, fleet.replicas, slo, also=[peak]),
        hours=_hours(plan, scenario, fleet),
        mode=plan.mode,
        losses=closed_losses(closed, domains, slo, peak),
        domains=domains,
        hosts_that_may_be_down=may_be_down,
        hours_a_year_beyond=hours_beyond(domains, gpus_per_host, may_be_down, Failures.of(assumed)),
    )


def _hours(plan: Plan, scenario: Scenario, fleet: ServedFleet) -> tuple[SteadyHour, ...]:
    """Every hour with the replicas that the plan's mode keeps up in it, for the demand at the end of its growth."""
    workload = fleet.workload
    if not workload.hourly_weights:
        return ()
    sizing = Sizing(
        requests_per_second_each=fleet.closed_rate_each,
        headroom=workload.headroom,
        spare_replicas=plan.spare_replicas,
        window=scenario.fleet.window_hours,
    )
    rates = hourly_rates(workload)
    grown = workload.growth.largest_factor if workload.growth else 1.0
    counts = [fleet.replicas] * len(rates)
    if plan.mode != "always-on" and fleet.closed_rate_each > 0:
        counts = [min(n, fleet.replicas) for n in run_week(rates * grown, sizing, plan.mode).replicas_by_hour]
    return closed_week(fleet.closed, counts, scenario.slo, rates.tolist())


def simulate_load(
    load: PlanLoad, *, seed: int = 0, replications: int = 3, progress: Progress = silent
) -> SimulatedLoad:
    """Simulate the plan's fleet. ``progress`` is called between any two runs: what it raises ends the work.

    Raises LlmSizerError, also where the simulator is not installed.
    """
    optional("numba", what="the event simulator", extra="simulate")
    progress("step times of one replica", 0.0)
    site = _site(load, seed, replications)
    peak, workload = load.peak_requests_per_second, load.fleet.workload
    progress("the largest rate within the SLO", 0.05)
    held = held_rate(site, site.replicas)
    curve = load_curve(site, site.replicas, "simulated", held, progress=part_of(progress, 0.2, 0.5))
    progress("the peak hour", 0.5)
    fleet = site.fleet(site.replicas)
    runs = observe(
        site.replica, site.stream.at_rate(peak), fleet, site.goal, replications=replications, seed=seed
    )  # fmt: skip
    progress("the peak hour with a part gone", 0.6)
    gone = losses(site, peak)
    hours: tuple[Hour, ...] = ()
    if workload.hourly_weights:
        told = part_of(progress, 0.7, 1.0)
        hours = week(site, workload.hourly_weights, workload.requests_per_second, held, progress=told)
    progress("done", 1.0)
    return SimulatedLoad(
        seed=seed,
        replications=replications,
        curve=curve,
        peak=service_of(runs, site.replica, fleet, site.goal, peak),
        distributions=distributions(runs),
        losses=tuple(gone),
        hours=hours,
    )


def _site(load: PlanLoad, seed: int, replications: int) -> Site:
    fleet, workload = load.fleet, load.fleet.workload
    if seed < 0:
        raise InputError(f"seed = {seed}; give 0 or more")
    replica = replica_of(
        fleet.deployment,
        # In conversations more than the prefix is in the cache, and it is not shared.
        shared_prefix_tokens=workload.shared_prefix_tokens if workload.turns == 1 else 0,
    )
    return Site(
        replica=replica,
        stream=stream_within(workload, replica),
        goal=Goal(slo=load.slo),
        replicas=fleet.replicas,
        replicas_per_host=fleet.replicas_per_host,
        gpus_per_replica=fleet.deployment.parallelism.gpus,
        routing_fleet=Fleet(replicas=fleet.replicas),
        replications=replications,
        seed=seed,
    )
