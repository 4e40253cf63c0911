"""What a plan promises, held against a simulation of its fleet in the busiest hour it is sized for.

The ranking of hundreds of candidates is the closed form's; here the few that are shown are simulated. Where one misses
the SLO, the fewest replicas that hold it are looked for, and the next plan that does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from llmsizer.decide.answer import Plan
from llmsizer.errors import LlmSizerError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Slo, Workload
from llmsizer.installed import optional
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.traffic.failing.failures import first_true
from llmsizer.traffic.service import Goal, Service, Simulated, serve, share_of, stream_within
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.rate_search import fullest_batch
from llmsizer.units import SECONDS_PER_HOUR, format_seconds

MOST_PLANS = 5  # that are simulated, the first included
_REQUESTS, _REPLICATIONS = 8_000, 3
_STAYS = 12  # of a full batch, one after the other: shorter than that a fleet has not settled
_MOST_TIMES = 2.0  # as many replicas; beyond that another plan is the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One plan's busiest hour, simulated with the replicas it needs and without its spares.

    ``holds_slo`` is None where nothing was simulated; ``reason`` then says why. Latencies are p95, in seconds.
    """

    label: str
    holds_slo: bool | None
    missed: str = ""  # what of the SLO; OVERLOADED where the queue has no end
    requests_per_second: float | None = None  # of the fleet, in that hour
    replicas: int = 0
    replicas_needed: int | None = None  # the fewest that hold it in the simulation; None: not within twice as many
    headroom_needed: float | None = (
        None  # above the busiest hour, with which the closed form takes so many; 0.2 is 20 %
    )
    ttft_p95: Simulated | None = None
    tpot_p95: Simulated | None = None
    requests: int = 0  # that were measured
    seed: int = 0
    reason: str = ""
    basis: Literal["simulated", "unknown"] = "simulated"

    def sentence(self, slo: Slo) -> str:
        """What was found, in one line."""
        if self.holds_slo is None:
            return f"not checked by simulation: {self.reason}"
        count = "1 replica" if self.replicas == 1 else f"{self.replicas} replicas"
        at = f"{count} at {self.requests_per_second:.4g} requests/s"
        if self.ttft_p95 is None or self.tpot_p95 is None or self.missed == "OVERLOADED":
            said = f"{at}: OVERLOADED"
        else:
            said = f"{at}: p95 TTFT {_of(self.ttft_p95, slo.ttft_p95_seconds)}"
            if self.tpot_p95.value is not None:
                said += f", p95 TPOT {_of(self.tpot_p95, slo.tpot_p95_seconds)}"
        if self.holds_slo:
            return f"checked by simulation, spares aside: {said}"
        more = "twice as many miss it too"
        if self.replicas_needed:
            more = (
                f"{self.replicas_needed} hold it, which headroom = {self.headroom_needed} in the scenario's fleet takes"
            )
        return f"the simulation disagrees: {said} misses the SLO ({self.missed}); {more}"


def _of(number: Simulated, limit_seconds: float) -> str:
    """``0.43 s of 2.00 s``."""
    assert number.value is not None
    return f"{format_seconds(number.value)} of {format_seconds(limit_seconds)}"


def check_plans(
    plans: Sequence[Plan],
    scenario: Scenario,
    workload: Workload,
    *,
    calibration: StoredCalibration | None = None,
    seed: int = 0,
) -> tuple[Check, ...]:
    """The first plan, and where it misses the SLO the following ones until one holds it. Never raises LlmSizerError."""
    checks: list[Check] = []
    fleets: list[tuple[Deployment, int]] = []
    for plan in plans[:MOST_PLANS]:
        fleet = (plan.deployment, plan.replicas)
        if fleet in fleets:  # owned or rented, it holds the same
            checks.append(replace(checks[fleets.index(fleet)], label=plan.label))
        else:
            checks.append(_checked(plan, scenario.slo, workload, calibration, seed))
        fleets.append(fleet)
        if checks[-1].holds_slo is not False:
            break
    return tuple(checks)


def _checked(plan: Plan, slo: Slo, workload: Workload, calibration: StoredCalibration | None, seed: int) -> Check:
    try:
        optional("numba", what="the event simulator", extra="simulate")
        # In conversations more than the prefix is in the cache, and it is not shared.
        prefix = workload.shared_prefix_tokens if workload.turns == 1 else 0
        replica = replica_of(plan.deployment, calibration=calibration, shared_prefix_tokens=prefix)
        return _simulated(plan, slo, workload, replica, seed)
    except LlmSizerError as error:
        return Check(label=plan.label, holds_slo=None, reason=str(error), basis="unknown")


def _simulated(plan: Plan, slo: Slo, workload: Workload, replica: Replica, seed: int) -> Check:
    rate = workload.sizing_requests_per_second / (1 + workload.headroom)
    stream = stream_within(workload, replica).at_rate(rate)

    def served(replicas: int) -> Service:
        fleet = Fleet(replicas=replicas)
        asked = max(_REQUESTS, _STAYS * fullest_batch(replica, stream) * fleet.sample.replicas)
        hours = asked / share_of(stream, fleet).arrivals.requests_per_second / SECONDS_PER_HOUR
        return serve(replica, stream, fleet, Goal(slo=slo), hours=hours, replications=_REPLICATIONS, seed=seed)

    found = served(plan.replicas)
    needed: int | None = plan.replicas
    if not found.meets_slo:
        most = int(_MOST_TIMES * plan.replicas) + 1
        needed = first_true(lambda count: served(count).meets_slo, plan.replicas, most)
        needed = needed if needed < most else None
    each = plan.capacity.requests_per_second.value
    more = None
    if needed is not None and needed > plan.replicas and each:
        # Just above what one replica fewer holds in the closed form.
        more = math.ceil(100 * ((needed - 1) * each / rate - 1) + 1e-6) / 100
    return Check(
        label=plan.label,
        holds_slo=found.meets_slo,
        missed=found.missed,
        requests_per_second=rate,
        replicas=plan.replicas,
        replicas_needed=needed,
        headroom_needed=more,
        ttft_p95=found.row("TTFT").p95,
        tpot_p95=found.row("TPOT").p95,
        requests=found.requests,
        seed=seed,
    )
