"""The simulator's library functions: a stream or a trace of requests in, latencies and a verdict out.

What is simulated is vLLM's scheduler: every step carries one token of each decoding sequence and fills the rest of
``max_batched_tokens`` with prompt chunks, first come first served; a request is admitted when a seat and the KV blocks
of its whole prompt are free; when blocks run out, the newest sequence is dropped and computed anew. It goes from event
to event (``kernel_steps``), in memory that does not grow with the number of requests.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator import layout
from llmsizer.traffic.simulator.fleet import (
    ROUTINGS,
    Fleet,
    LatencyTargets,
    Observation,
    PowerCurve,
    Replica,
    Shape,
    Source,
    shape_of,
)
from llmsizer.traffic.simulator.layout import Sim
from llmsizer.traffic.simulator.results import SimulationResult

MOST_IN_FLIGHT = 500_000  # where demand has no end, nothing is learnt from more unfinished requests than these
_LEAST_MEASURED = 0.001  # of the duration
STRETCH = 65_536  # requests of a trace handed over at a time


def simulate(
    replica: Replica,
    source: Source,
    *,
    duration_seconds: float,
    warmup_seconds: float = 0.0,
    seed: int = 0,
    fleet: Fleet | None = None,
    targets: LatencyTargets | None = None,
    power: PowerCurve | None = None,
) -> SimulationResult:
    """Feed a fleet for a duration, let it finish, and measure what arrived after the warm-up. Raises LlmSizerError."""
    observation = Observation(
        duration_seconds=duration_seconds, warmup_seconds=warmup_seconds, targets=targets, power=power
    )
    check_room(replica, source.longest_prompt_tokens, source.longest_output_tokens)
    shape = Shape(longest_output_tokens=source.longest_output_tokens, prefix_groups=source.prefix_groups)
    result = run(replica, fleet or Fleet(), observation, source.stretches(duration_seconds, seed), shape)
    if result.duration_seconds > warmup_seconds + _LEAST_MEASURED * duration_seconds:
        return result
    # Given up before anything was measured: what there is to see lies in the warm-up.
    early = replace(observation, warmup_seconds=0.0)
    return run(replica, fleet or Fleet(), early, source.stretches(duration_seconds, seed), shape)


def replay(
    replica: Replica,
    requests: Requests,
    *,
    fleet: Fleet | None = None,
    targets: LatencyTargets | None = None,
    power: PowerCurve | None = None,
    keep_records: bool = False,
) -> SimulationResult:
    """Feed a trace from its own arrival times and let it finish. Raises LlmSizerError."""
    requests.checked("the trace")
    longest = int(np.argmax(requests.prompt_tokens.astype(np.int64) + requests.output_tokens))
    check_room(replica, int(requests.prompt_tokens[longest]), int(requests.output_tokens[longest]))
    observation = Observation(
        duration_seconds=max(float(requests.arrival_seconds[-1]), 1e-9),
        targets=targets,
        power=power,
        keep_records=keep_records,
        finite=True,
    )
    stretches = (requests.part(slice(at, at + STRETCH)) for at in range(0, len(requests), STRETCH))
    return run(replica, fleet or Fleet(), observation, stretches, shape_of(requests))


def check_room(replica: Replica, prompt_tokens: int, output_tokens: int) -> None:
    """Refuse a request that would never fit, in one line."""
    needed = prompt_tokens + output_tokens
    room = replica.kv_blocks * replica.block_tokens
    if needed > room:
        raise InputError(
            f"a request of {prompt_tokens:,} prompt and {output_tokens:,} output tokens needs more than the KV cache's "
            f"{room:,} tokens; shorten it or give the replica more memory"
        )


def run(
    replica: Replica,
    fleet: Fleet,
    observation: Observation,
    stretches: Iterable[Requests],
    shape: Shape,
    first_tokens: NDArray[np.float64] | None = None,
) -> SimulationResult:
    """Feed the kernel stretch by stretch. ``first_tokens``: requests were prefilled elsewhere and only decode here."""
    from llmsizer.traffic.simulator import kernel, summary

    nothing = np.empty(0)
    sim = new_sim(replica, fleet, observation, shape)
    fed, gave_up = 0, False
    for requests in stretches:
        sim = with_room_for(sim, len(requests), fed + len(requests) if observation.keep_records else 0)
        kernel.feed(
            sim,
            requests.arrival_seconds,
            requests.prompt_tokens,
            requests.output_tokens,
            requests.cached_tokens,
            requests.groups,
            nothing if first_tokens is None else first_tokens[fed : fed + len(requests)],
            fed,
        )
        fed += len(requests)
        if not observation.finite and sim.slots.size - int(sim.state["free_slots"][0]) > MOST_IN_FLIGHT:
            gave_up = True  # and what was measured ends here
            ended = max(float(requests.arrival_seconds[-1]), observation.warmup_seconds + 1e-9)
            observation = replace(observation, duration_seconds=ended)
            break
    if fed == 0:
        raise InputError(f"no request arrives in {observation.duration_seconds:g} s; simulate longer or raise the rate")
    if not gave_up:
        kernel.drain(sim)
    if sim.state["stuck"][0]:
        raise AssertionError("a request that fits was never admitted")
    sim = sim._replace(records=sim.records[:fed])
    return summary.summarise(sim, replica, observation, gave_up=gave_up)


def new_sim(replica: Replica, fleet: Fleet, observation: Observation, shape: Shape) -> Sim:
    """Empty replicas and counters."""
    size = max(64, 1 << math.ceil(math.log2(shape.longest_output_tokens + 1)))
    state = np.zeros(1, dtype=layout.STATE)
    targets = observation.targets or LatencyTargets()
    for name, value in {
        "max_sequences": replica.max_sequences,
        "max_batched_tokens": replica.max_batched_tokens,
        "kv_blocks": replica.kv_blocks,
        "block_tokens": replica.block_tokens,
        "cached_is_shared": int(replica.shared_prefix_tokens > 0),
        "wheel_mask": size - 1,
        "routing": ROUTINGS[fleet.routing],
        "spill": fleet.spill,
        "seconds_per_pair": replica.steps.seconds_per_pair,
        "mixed_context_factor": replica.steps.mixed_context_factor,
        "frontend_seconds": replica.frontend_seconds,
        "measure_from": observation.warmup_seconds,
        "buckets_per_second": layout.BUCKETS / observation.measured_seconds,
        "slo_ttft": targets.ttft_seconds,
        "slo_tpot": targets.tpot_seconds,
        "slo_e2e": targets.e2e_seconds,
        "keep_records": int(observation.keep_records),
    }.items():
        state[name] = value
    knots = replica.steps.segment_knots()
    state["knots"][0, : knots.size] = knots
    replicas = np.zeros(fleet.replicas, dtype=layout.REPLICA)
    for name in ("prefilling", "waiting_head", "waiting_tail", "newest"):
        replicas[name] = layout.NONE
    replicas["next_done"] = 1 << 62
    replicas["ready_at"] = replicas["clock"] = fleet.ready_at_seconds or 0.0
    return Sim(
        state=state,
        replicas=replicas,
        slots=np.zeros(0, dtype=layout.SLOT),
        wheel=np.full((fleet.replicas, size), layout.NONE, dtype=np.int32),
        wheel_map=np.zeros((fleet.replicas, size // layout.WORD_BITS), dtype=np.int64),
        prefix_seen=np.full((fleet.replicas, shape.prefix_groups), layout.NONE, dtype=np.int64),
        decode=replica.steps.segments(),
        mixed=replica.steps.mixed_seconds,
        records=np.full((0, 2), np.nan),
    )


def with_room_for(sim: Sim, more: int, records: int) -> Sim:
    """The same simulation with places for so many more requests in flight."""
    free = int(sim.state["free_slots"][0])
    if free < more:
        old = sim.slots.size
        new = max(2 * old, old + more)
        slots = np.zeros(new, dtype=layout.SLOT)
        slots[:old] = sim.slots
        slots["queue_next"][old:] = np.arange(old + 1, new + 1)
        slots["queue_next"][-1] = sim.state["free_head"][0]
        sim.state["free_head"] = old
        sim.state["free_slots"] = free + new - old
        sim = sim._replace(slots=slots)
    if records > len(sim.records):
        kept = np.full((max(records, 2 * len(sim.records)), 2), np.nan)
        kept[: len(sim.records)] = sim.records
        sim = sim._replace(records=kept)
    return sim
