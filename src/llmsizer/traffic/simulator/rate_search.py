"""The largest request rate that a fleet holds within its latency targets: bisection on simulations.

Every simulation draws the same lengths and the same gaps, only faster or slower, so that chance moves all alike.
The first runs are nearly idle and far too busy: what a flooded fleet completes bounds every rate that it can hold,
which a run of finite length near saturation would not show, for its queue has had no time to grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.simulator.engine import simulate
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.results import SimulationResult

Miss = Literal["", "overload", "ttft", "tpot", "e2e"]
LEAST_SHARE = 0.005  # of saturation: a replica that misses its targets this empty misses them alone
WARM_UP_SHARE = 0.2
STAYS = 12  # of a full batch's requests, one after the other: a fifth of them warm up
FLOOD = 1.5  # times the rate that the step table gives a replica that is never idle


@dataclass(frozen=True, slots=True, kw_only=True)
class LargestRate:
    """``requests_per_second`` is 0 where a nearly idle fleet is too slow; ``missed``: what gives out beyond it."""

    requests_per_second: float
    missed: Miss
    at_rate: SimulationResult  # at the rate; at the least rate tried where it is 0
    simulations: int


def miss(result: SimulationResult, slo: Slo, e2e_p95_seconds: float | None = None) -> Miss:
    """What a run misses first: its stability, or the 95th percentile of a latency."""
    if result.verdict != "STABLE":
        return "overload"
    limits: tuple[tuple[Miss, float | None, float | None], ...] = (
        ("ttft", result.ttft.p95_seconds if result.ttft else None, slo.ttft_p95_seconds),
        ("tpot", result.tpot.p95_seconds if result.tpot else None, slo.tpot_p95_seconds),
        ("e2e", result.e2e.p95_seconds if result.e2e else None, e2e_p95_seconds),
    )
    for name, value, limit in limits:
        if value is not None and limit is not None and value > limit:
            return name
    return ""


def fullest_batch(replica: Replica, stream: Stream) -> int:
    """Sequences that seats and KV cache hold at once, each halfway through its answer."""
    context = stream.mean_prompt_tokens + _output_tokens(stream) / 2
    return max(1, min(replica.max_sequences, int(replica.kv_tokens / context)))


def _output_tokens(stream: Stream) -> float:
    return stream.output.mean_tokens + (stream.reasoning.mean_tokens if stream.reasoning else 0.0)


def saturation_rate(replica: Replica, stream: Stream) -> float:
    """Requests per second of a replica that is never idle, from its step table: full chunks and a full batch."""
    output = _output_tokens(stream)
    computed = stream.least_computed_tokens
    context = stream.mean_prompt_tokens + output / 2
    batch = fullest_batch(replica, stream)
    knots, steps = replica.steps.knots_tokens, replica.steps
    segment = max(int((knots <= context).sum()) - 1, 0)
    base, slope = steps.segments()[batch, min(segment, len(knots) - 2)]
    seconds_each_output = float(base + slope * batch * context) / batch
    seconds_each_prompt = float(steps.mixed_seconds[replica.max_batched_tokens]) / replica.max_batched_tokens
    return 1.0 / (max(computed, 1.0) * seconds_each_prompt + output * seconds_each_output)


def largest_rate(
    replica: Replica,
    stream: Stream,
    slo: Slo,
    *,
    fleet: Fleet | None = None,
    e2e_p95_seconds: float | None = None,
    requests: int = 4000,
    tolerance: float = 0.02,
    seed: int = 0,
) -> LargestRate:
    """The largest average rate of a steady stream within its targets, to a relative tolerance. Raises LlmSizerError.

    ``requests`` are simulated at each rate, and more where the batch is so full that they would not stay long enough.
    """
    if requests < 100 or not 0 < tolerance < 1:
        raise InputError(f"{requests} requests to a tolerance of {tolerance}; give 100 or more, and 0.001 to 0.5")
    used = fleet or Fleet()
    ceiling = saturation_rate(replica, stream) * used.replicas
    requests = max(requests, STAYS * fullest_batch(replica, stream) * used.replicas)

    def run(rate: float) -> SimulationResult:
        duration = requests / rate / (1 - WARM_UP_SHARE)
        return simulate(
            replica,
            stream.at_rate(rate),
            duration_seconds=duration,
            warmup_seconds=WARM_UP_SHARE * duration,
            seed=seed,
            fleet=used,
        )

    low, best = LEAST_SHARE * ceiling, run(LEAST_SHARE * ceiling)
    missed, count = miss(best, slo, e2e_p95_seconds), 1
    if missed:
        return LargestRate(requests_per_second=0.0, missed=missed, at_rate=best, simulations=count)
    missed = "overload"
    if stream.conversation:
        # A flood pushes conversations out of the prefix cache, and a calmer fleet may complete more than a flooded one.
        high = FLOOD * ceiling
        rate = high / 2
    else:
        high = min(run(FLOOD * ceiling).finished_per_second, FLOOD * ceiling)
        rate, count = high / (1 + tolerance), count + 1
    while high > low * (1 + tolerance) * (1 + 1e-9):
        result = run(rate)
        count += 1
        now = miss(result, slo, e2e_p95_seconds)
        if now:
            high, missed = rate, now
        else:
            low, best = rate, result
        # From above, halve first: most targets are missed well below saturation, few far below.
        rate = max(math.sqrt(low * high), high / 2 if low < high / 4 else 0.0)
    return LargestRate(requests_per_second=low, missed=missed, at_rate=best, simulations=count)
