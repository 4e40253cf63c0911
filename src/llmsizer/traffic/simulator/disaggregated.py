"""Prefill and decode on separate replicas: a prompt is computed here, its cache travels, its answer is decoded there.

The two pools do not slow each other, so they are simulated one after the other: the first tokens of the prefill pool,
later by the transfer, are the arrivals of the decode pool. All requests of the run are held in memory.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.traffic.demand.requests import Requests, joined
from llmsizer.traffic.simulator.engine import check_room, run
from llmsizer.traffic.simulator.fleet import (
    Fleet,
    LatencyTargets,
    Observation,
    PowerCurve,
    Replica,
    Source,
    shape_of,
)
from llmsizer.traffic.simulator.percentiles import counts_of
from llmsizer.traffic.simulator.results import Latency, SimulationResult, SimulationVerdict, latency


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Equal replicas that do one of the two parts."""

    replica: Replica
    fleet: Fleet
    power: PowerCurve | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KvTransfer:
    """What it takes to move a prompt's KV cache from one replica to another."""

    seconds_per_token: float
    latency_seconds: float = 0.0

    def __post_init__(self) -> None:
        if not self.seconds_per_token >= 0 or not self.latency_seconds >= 0:
            raise InputError("a KV transfer takes a negative time; give 0 or more")


@dataclass(frozen=True, kw_only=True)
class DisaggregatedResult:
    """Both pools, and the latencies of requests through both. ITL is the decode pool's; TPOT includes the hand-over."""

    verdict: SimulationVerdict
    ttft: Latency | None
    tpot: Latency | None
    itl: Latency | None
    e2e: Latency | None
    good_per_second: float | None
    prefill: SimulationResult
    decode: SimulationResult | None  # None where every answer is a single token


def simulate_disaggregated(
    prefill: Pool,
    decode: Pool,
    transfer: KvTransfer,
    source: Source,
    *,
    duration_seconds: float,
    warmup_seconds: float = 0.0,
    seed: int = 0,
    targets: LatencyTargets | None = None,
) -> DisaggregatedResult:
    """Feed both pools for a duration, let them finish, measure what arrived after the warm-up. Raises LlmSizerError."""
    observation = Observation(
        duration_seconds=duration_seconds, warmup_seconds=warmup_seconds, targets=targets, keep_records=True
    )
    check_room(prefill.replica, source.longest_prompt_tokens, 1)
    check_room(decode.replica, source.longest_prompt_tokens, source.longest_output_tokens)
    requests = gathered(source.stretches(duration_seconds, seed), duration_seconds)
    first = prefilled(prefill, requests, observation)
    assert first.first_token_seconds is not None
    ends = first.first_token_seconds.copy()
    decodes = np.flatnonzero(requests.output_tokens > 1)
    second = None
    if first.verdict != "OVERLOADED" and decodes.size:
        arrivals = (
            ends[decodes] + transfer.latency_seconds + transfer.seconds_per_token * requests.prompt_tokens[decodes]
        )
        order = decodes[np.argsort(arrivals, kind="stable")]
        second = decoded(decode, requests, np.sort(arrivals), ends, order, observation)
        assert second.end_seconds is not None
        ends[order] = second.end_seconds
    verdicts = [part.verdict for part in (first, second) if part is not None]
    verdict = max(verdicts, key=("STABLE", "BACKLOGGED", "OVERLOADED").index)
    return _joint(verdict, requests, observation, first, second, ends, prefill.replica.frontend_seconds)


def gathered(stretches: Iterable[Requests], duration_seconds: float) -> Requests:
    """All stretches in one."""
    parts = list(stretches)
    if not parts:
        raise InputError(f"no request arrives in {duration_seconds:g} s; simulate longer or raise the rate")
    return joined(parts)


def prefilled(pool: Pool, requests: Requests, observation: Observation) -> SimulationResult:
    """The prefill pool alone: every request ends with its first token."""
    single = replace(requests, output_tokens=np.ones_like(requests.output_tokens))
    own = replace(observation, power=pool.power)
    return run(pool.replica, pool.fleet, own, [single], shape_of(single))


def decoded(
    pool: Pool,
    requests: Requests,
    arrivals: NDArray[np.float64],
    first_tokens: NDArray[np.float64],
    order: NDArray[np.intp],
    observation: Observation,
) -> SimulationResult:
    """The decode pool alone, fed with the requests in the ``order`` in which their caches arrive."""
    later = Requests(
        arrival_seconds=arrivals,
        prompt_tokens=requests.prompt_tokens[order],
        output_tokens=requests.output_tokens[order],
    )
    own = replace(observation, power=pool.power)
    return run(pool.replica, pool.fleet, own, [later], shape_of(later), first_tokens[order])


def _joint(
    verdict: SimulationVerdict,
    requests: Requests,
    observation: Observation,
    first: SimulationResult,
    second: SimulationResult | None,
    ends: NDArray[np.float64],
    frontend_seconds: float,
) -> DisaggregatedResult:
    hidden = {"ttft": None, "tpot": None, "e2e": None, "good_per_second": None}  # a pool knows its part only
    shown = replace(second, **hidden) if second is not None else None  # type: ignore[arg-type]
    if verdict == "OVERLOADED":
        return DisaggregatedResult(verdict=verdict, ttft=None, tpot=None, itl=None, e2e=None, good_per_second=None,
                                   prefill=first, decode=shown)  # fmt: skip
    assert first.first_token_seconds is not None
    measured = requests.arrival_seconds >= observation.warmup_seconds
    many = requests.output_tokens > 1
    ttft = first.first_token_seconds - requests.arrival_seconds + frontend_seconds
    e2e = ends - requests.arrival_seconds + frontend_seconds
    tpot = np.where(many, (ends - first.first_token_seconds) / np.maximum(requests.output_tokens - 1, 1), 0.0)
    targets = observation.targets
    good = None
    if targets is not None:
        within = (ttft <= targets.ttft_seconds) & (tpot <= targets.tpot_seconds) & (e2e <= targets.e2e_seconds)
        good = int((within & measured).sum()) / observation.measured_seconds
    return DisaggregatedResult(
        verdict=verdict,
        ttft=_latency(ttft[measured]),
        tpot=_latency(tpot[measured & many]),
        itl=second.itl if second is not None else None,
        e2e=_latency(e2e[measured]),
        good_per_second=good,
        prefill=first,
        decode=shown,
    )


def _latency(values: NDArray[np.float64]) -> Latency | None:
    return latency(counts_of(values), float(values.sum()))
