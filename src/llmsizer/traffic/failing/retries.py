"""Clients that give up and ask again: how much load that adds, and whether a fleet that was pushed over comes back.

A client waits ``timeout_seconds`` for its first token (or for the whole answer) and asks again, at most
``most_retries`` times. The engine goes on with what was given up. Two answers: the fixed point of
load = demand · (1 + p + … + p^retries), p the share of requests at that load that take too long; and a simulation in
which every retry is a request of its own. The fixed point is looked for from the demand and from a storm in which all
retry: where the two differ, a fleet that is pushed over stays down after the push is gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.traffic.demand.requests import Requests, joined
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.service import hours_for, share_of
from llmsizer.traffic.simulator.engine import replay, simulate
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.layout import E2E, TTFT
from llmsizer.traffic.simulator.percentiles import bin_edges
from llmsizer.traffic.simulator.results import SimulationResult, SimulationVerdict
from llmsizer.units import SECONDS_PER_HOUR

_ROUNDS = 30
_SETTLED = 1e-3  # of the load


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """What clients do; ``waits_for`` says which latency their timeout is of."""

    timeout_seconds: float
    most_retries: int = 2
    pause_seconds: float = 0.0  # between giving up and asking again
    waits_for: Literal["first token", "answer"] = "first token"

    def __post_init__(self) -> None:
        if not 0 < self.timeout_seconds < math.inf or not 0 <= self.pause_seconds < math.inf:
            raise InputError(
                f"a timeout of {self.timeout_seconds} s and a pause of {self.pause_seconds} s; give more than 0 s, "
                "and 0 s or more"
            )
        if not 0 <= self.most_retries <= 20:
            raise InputError(f"most_retries = {self.most_retries}; give 0 to 20")


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """Load over demand: 1 means that nobody asks twice. Shares are of the requests that people meant."""

    load_from_calm: float  # fixed point, reached from the demand alone
    load_from_storm: float  # fixed point, reached from everybody retrying
    verdict_from_calm: SimulationVerdict
    verdict_from_storm: SimulationVerdict
    load_simulated: float  # every retry simulated as a request
    timed_out_share: float  # of the first tries, in that simulation
    given_up_share: float  # of the people: every try took too long
    verdict_simulated: SimulationVerdict
    settled: bool  # whether the simulated set of retries stopped changing

    @property
    def stays_down(self) -> bool:
        """Whether a storm keeps itself going although the demand alone would not start one."""
        return self.load_from_storm > self.load_from_calm * 1.05


def retries(
    replica: Replica, stream: Stream, fleet: Fleet, policy: RetryPolicy, *, seed: int = 0, hours: float | None = None
) -> Retries:
    """Amplification of a steady demand by its clients' retries. Raises LlmSizerError."""
    stream, fleet = share_of(stream, fleet), fleet.sample
    rate = stream.arrivals.requests_per_second
    duration = (hours if hours is not None else hours_for(rate)) * SECONDS_PER_HOUR

    def at(load: float) -> tuple[SimulationVerdict, float]:
        result = simulate(
            replica,
            stream.at_rate(rate * load),
            duration_seconds=duration,
            warmup_seconds=0.1 * duration,
            seed=seed,
            fleet=fleet,
        )
        return result.verdict, _share_beyond(result, policy)

    calm, verdict_calm = _fixed_point(at, policy.most_retries, 1.0)
    storm, verdict_storm = _fixed_point(at, policy.most_retries, 1.0 + policy.most_retries)
    requests = joined(list(stream.stretches(duration, seed)))
    result, late, settled = _replayed(replica, requests, fleet, policy)
    tries = 1 + np.cumprod(late, axis=0)[: policy.most_retries].sum(axis=0)
    return Retries(
        load_from_calm=calm,
        load_from_storm=storm,
        verdict_from_calm=verdict_calm,
        verdict_from_storm=verdict_storm,
        load_simulated=float(tries.mean()),
        timed_out_share=float(late[0].mean()),
        given_up_share=float(late.all(axis=0).mean()),
        verdict_simulated=result.verdict,
        settled=settled,
    )


def _fixed_point(
    at: Callable[[float], tuple[SimulationVerdict, float]], most_retries: int, start: float
) -> tuple[float, SimulationVerdict]:
    """Load over demand that reproduces itself; each step goes all the way, from below only up, from above only down."""
    load = start
    for _ in range(_ROUNDS):
        verdict, beyond = at(load)
        following = sum(beyond**tries for tries in range(most_retries + 1))
        if abs(following - load) <= _SETTLED * load:
            break
        load = following
    return load, verdict


def _share_beyond(result: SimulationResult, policy: RetryPolicy) -> float:
    """Of the requests; all of them where OVERLOADED, for their wait grows as long as the demand lasts."""
    if result.verdict == "OVERLOADED":
        return 1.0
    counts = result.histograms[TTFT if policy.waits_for == "first token" else E2E]
    return float(counts[bin_edges()[:-1] >= policy.timeout_seconds].sum() / counts.sum()) if counts.sum() else 0.0


def _replayed(
    replica: Replica, requests: Requests, fleet: Fleet, policy: RetryPolicy
) -> tuple[SimulationResult, NDArray[np.bool_], bool]:
    """The run with every retry in it, and which try [try, request] took too long; False for tries never made.

    Round by round: whoever timed out in one round asks again in the next. More load times out more, so from no
    retries on the set grows until it stays.
    """
    count, tries = len(requests), policy.most_retries + 1
    period = policy.timeout_seconds + policy.pause_seconds
    made = np.zeros((tries, count), dtype=np.bool_)
    made[0] = True
    settled = False
    for _ in range(_ROUNDS):
        attempt, who = np.nonzero(made)
        arrivals = requests.arrival_seconds[who] + attempt * period
        order = np.argsort(arrivals, kind="stable")
        columns = requests.part(who[order])
        fed = Requests(
            arrival_seconds=arrivals[order],
            prompt_tokens=columns.prompt_tokens,
            output_tokens=columns.output_tokens,
            cached_tokens=columns.cached_tokens,
            groups=columns.groups,
        )
        result = replay(replica, fed, fleet=fleet, keep_records=True)
        ends = result.first_token_seconds if policy.waits_for == "first token" else result.end_seconds
        assert ends is not None
        late = np.zeros_like(made)
        waited = ends - fed.arrival_seconds + replica.frontend_seconds
        late[attempt[order], who[order]] = waited > policy.timeout_seconds
        wanted = made.copy()
        wanted[1:] = np.cumprod(late, axis=0)[:-1].astype(np.bool_)
        settled = bool((wanted == made).all())
        if settled:
            break
        made = wanted
    return result, late, settled
