"""Compiled: requests come, replicas are chosen, time passes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.simulator.compiled import compiled
from llmsizer.traffic.simulator.kernel_stats import bucket_of
from llmsizer.traffic.simulator.kernel_steps import advance
from llmsizer.traffic.simulator.layout import (
    ARRIVED,
    NONE,
    PREFIX_AFFINE,
    ROUND_ROBIN,
    Floats,
    Sim,
)


@compiled
def in_system(sim: Sim, replica: int) -> int:
    return int(sim.replicas[replica].seats + sim.replicas[replica].waiting)


@compiled
def next_in_turn(sim: Sim, time: float) -> int:
    """The next replica in turn that is up; the next in turn where none is."""
    count = sim.replicas.size
    turn = sim.state[0].next_replica
    chosen = turn
    for offset in range(count):
        candidate = (turn + offset) % count
        if sim.replicas[candidate].ready_at <= time:
            chosen = candidate
            break
    sim.state[0].next_replica = (chosen + 1) % count
    return int(chosen)


@compiled
def least_loaded(sim: Sim, time: float) -> int:
    """The replica with the fewest requests, one that is up before one that is not; ties go round."""
    count = sim.replicas.size
    turn = sim.state[0].next_replica
    chosen, fewest, chosen_is_up = turn, 0, False
    for offset in range(count):
        candidate = turn + offset
        candidate = candidate - count if candidate >= count else candidate
        advance(sim, candidate, time, False)
        load, is_up = in_system(sim, candidate), sim.replicas[candidate].ready_at <= time
        if offset == 0 or (is_up and not chosen_is_up) or (is_up == chosen_is_up and load < fewest):
            chosen, fewest, chosen_is_up = candidate, load, is_up
    sim.state[0].next_replica = (chosen + 1) % count
    return int(chosen)


@compiled
def choose_replica(sim: Sim, time: float, group: int) -> int:
    count = sim.replicas.size
    if count == 1:
        return 0
    state = sim.state[0]
    if state.routing == ROUND_ROBIN:
        return next_in_turn(sim, time)
    chosen = least_loaded(sim, time)
    if state.routing == PREFIX_AFFINE and group != NONE:
        preferred = group % count
        rep = sim.replicas[preferred]
        if rep.ready_at <= time and in_system(sim, preferred) <= state.spill * (in_system(sim, chosen) + 1):
            return int(preferred)
    return chosen


@compiled
def enqueue(sim: Sim, replica: int, slot_index: int) -> None:
    rep = sim.replicas[replica]
    sim.slots[slot_index].queue_next = NONE
    if rep.waiting_tail == NONE:
        rep.waiting_head = slot_index
    else:
        sim.slots[rep.waiting_tail].queue_next = slot_index
    rep.waiting_tail = slot_index
    rep.waiting += 1


@compiled
def feed(
    sim: Sim,
    arrivals: Floats,
    prompts: NDArray[np.int32],
    outputs: NDArray[np.int32],
    cached: NDArray[np.int32],
    groups: NDArray[np.int32],
    first_tokens: Floats,
    first_request: int,
) -> None:
    """Requests in order of arrival. ``cached``, ``groups`` and ``first_tokens`` (prefilled elsewhere) may be empty."""
    state = sim.state[0]
    for i in range(arrivals.size):
        time = arrivals[i]
        group = groups[i] if groups.size else NONE
        replica = choose_replica(sim, time, group)
        advance(sim, replica, time, True)
        state.free_slots -= 1
        slot_index = state.free_head
        slot = sim.slots[slot_index]
        state.free_head = slot.queue_next
        slot.arrival, slot.first_token, slot.last_token = time, -1.0, -1.0
        slot.request = first_request + i
        slot.target, slot.output_tokens, slot.left = prompts[i], outputs[i], outputs[i]
        slot.cached, slot.hit, slot.admitted = 0, 0, 0
        if cached.size:  # whole blocks are cached, and the last prompt token is always computed
            found = min(cached[i], prompts[i] - 1)
            slot.cached = found - found % state.block_tokens
        slot.group, slot.prefill_left = group, NONE
        if first_tokens.size:
            slot.first_token = first_tokens[i]
            slot.left, slot.prefill_left = outputs[i] - 1, 0
        state.arrived += 1
        state.series[bucket_of(state, time), ARRIVED] += 1.0
        enqueue(sim, replica, slot_index)


@compiled
def drain(sim: Sim) -> None:
    """No more arrivals: let every replica finish."""
    for replica in range(sim.replicas.size):
        advance(sim, replica, np.inf, False)
