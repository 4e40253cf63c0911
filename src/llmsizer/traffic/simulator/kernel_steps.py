"""Compiled: what one replica does between two moments.

A step with prompt tokens in it is done singly. Between such steps the batch is constant: its decode steps last
``first + i * growth`` seconds, because the step time is linear in the context within a segment of the table and the
context grows by one token per sequence and step. A whole run of them, to the next completion, arrival, segment or lack
of memory, is one event with its exact length and its exact number of steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsizer.traffic.simulator.compiled import compiled
from llmsizer.traffic.simulator.kernel_batch import (
    blocks_for,
    finish,
    finish_due,
    has_room,
    join_running,
    make_room,
    start_decoding,
    steps_with_room,
)
from llmsizer.traffic.simulator.kernel_stats import bucket_of, count_busy, count_gaps
from llmsizer.traffic.simulator.layout import ADMITTED, NONE, Sim


@compiled
def find_segment(state: Any, rep: Any) -> int:
    """The segment of the decode table for the next step; it drifts slowly, so the search starts at the last one."""
    knots = state.knots
    mean_context = (rep.context + rep.batch) / rep.batch
    segment = rep.segment
    while mean_context >= knots[segment + 1]:
        segment += 1
    while mean_context < knots[segment] and segment > 0:
        segment -= 1
    rep.segment = segment
    return int(segment)


@compiled
def steps_to_cover(first: float, growth: float, seconds: float, steps: int) -> int:
    """The fewest steps that last so long, at most ``steps``; the k-th step lasts first + (k - 1) growth."""
    start = first - 0.5 * growth
    root = start * start + 2.0 * growth * seconds
    if root <= 0.0:
        return steps
    needed = np.ceil(2.0 * seconds / (start + np.sqrt(root)))
    return int(min(max(needed, 1.0), float(steps)))


@compiled
def cached_tokens(sim: Sim, replica: int, slot: Any) -> int:
    """Prompt tokens found in the prefix cache, where a prefix stays until newer tokens fill the free blocks."""
    rep, state = sim.replicas[replica], sim.state[0]
    if slot.group == NONE:
        return int(slot.cached)
    seen = sim.prefix_seen[replica, slot.group]
    free_tokens = state.kv_blocks * state.block_tokens - rep.context
    if seen == NONE:
        return 0
    # Blocks of a finished request are given away from its end on, so that the beginning is found longest.
    left = max(free_tokens - (rep.allocated_tokens - seen), 0)
    return int(min(slot.cached, left - left % state.block_tokens))


@compiled
def admit(sim: Sim, replica: int) -> bool:
    """Give the head of the queue a seat and its blocks; False where it does not fit."""
    rep, state = sim.replicas[replica], sim.state[0]
    slot_index = rep.waiting_head
    slot = sim.slots[slot_index]
    cached = cached_tokens(sim, replica, slot)
    transferred = slot.prefill_left == 0  # prefilled elsewhere: it decodes in this very step
    blocks = blocks_for(state, slot.target + (1 if transferred else 0), cached)
    if not has_room(state, rep, blocks):
        return False
    rep.waiting_head = slot.queue_next
    rep.waiting_tail = NONE if slot.queue_next == NONE else rep.waiting_tail
    rep.waiting -= 1
    join_running(sim, rep, slot_index)
    if slot.group != NONE:
        sim.prefix_seen[replica, slot.group] = rep.allocated_tokens
    slot.hit = cached
    if slot.admitted == 0:
        slot.admitted = 1
        state.series[bucket_of(state, rep.clock), ADMITTED] += 1.0
        state.prompt_tokens += slot.target
        state.cached_tokens += cached
    rep.allocated_tokens += slot.target - cached
    if transferred:
        start_decoding(sim, replica, slot_index)
        return True
    slot.prefill_left = slot.target - cached
    slot.blocks = blocks
    rep.reserved_blocks += blocks
    rep.prefilling = slot_index
    return True


@compiled
def emit_after_prefill(sim: Sim, replica: int, slot_index: int) -> None:
    """The prompt is done: its step gave a token, the first or, after a preemption, the next."""
    rep, slot, state = sim.replicas[replica], sim.slots[slot_index], sim.state[0]
    rep.reserved_blocks -= slot.blocks
    state.output_tokens += 1
    if slot.first_token < 0.0:
        slot.first_token = rep.clock
    elif rep.clock >= state.measure_from:
        count_gaps(state, rep.clock - slot.last_token, 0.0, 1, 1)
    slot.left -= 1
    if slot.left == 0:
        finish(sim, replica, slot_index)
    else:
        start_decoding(sim, replica, slot_index)


@compiled
def mixed_step(sim: Sim, replica: int, may_admit: bool) -> bool:
    """One step that carries prompt tokens next to the decodes; False where there are none to carry."""
    rep, state = sim.replicas[replica], sim.state[0]
    tokens = 0
    pairs = 0.0  # of a prompt token and a token it attends to
    done = NONE
    while True:
        budget = state.max_batched_tokens - rep.batch - tokens
        if budget <= 0:
            break
        if rep.prefilling == NONE:
            if not may_admit or rep.waiting_head == NONE or rep.seats >= state.max_sequences:
                break
            if not admit(sim, replica):
                break
            if rep.prefilling == NONE:
                continue
        slot_index = rep.prefilling
        slot = sim.slots[slot_index]
        chunk = min(slot.prefill_left, budget)
        pairs += chunk * (slot.target - slot.prefill_left + 0.5 * (chunk + 1))
        tokens += chunk
        slot.prefill_left -= chunk
        if slot.prefill_left == 0:
            slot.prefill_left = NONE
            slot.queue_next = done
            done = slot_index
            rep.prefilling = NONE
    if tokens == 0:
        return False
    do_mixed_step(sim, replica, tokens, pairs)
    while done != NONE:
        following = sim.slots[done].queue_next
        emit_after_prefill(sim, replica, done)
        done = following
    return True


@compiled
def do_mixed_step(sim: Sim, replica: int, tokens: int, pairs: float) -> None:
    """Let the time of a mixed step pass."""
    rep, state = sim.replicas[replica], sim.state[0]
    batch, context = rep.batch, rep.context
    seconds = sim.mixed[tokens + batch] + state.seconds_per_pair * pairs
    if batch:
        segment = find_segment(state, rep)
        at_context = sim.decode[batch, segment, 0] + sim.decode[batch, segment, 1] * (context + batch)
        bare = sim.decode[batch, 0, 0]
        # What decoding rows cost beyond their share of the matrix products (sampling, logits) a mixed step carries too.
        seconds += state.mixed_context_factor * (at_context - bare) + max(bare - sim.mixed[batch], 0.0)
        if rep.clock >= state.measure_from:
            count_gaps(state, seconds, 0.0, 1, batch)
    count_busy(state, rep.clock, rep.clock + seconds, batch, context)
    state.prefilled_tokens += tokens
    state.output_tokens += batch
    rep.clock += seconds
    rep.steps += 1
    rep.context += batch
    rep.allocated_tokens += batch
    rep.peak_context = max(rep.peak_context, rep.context)
    if rep.next_done == rep.steps:
        finish_due(sim, replica)


@compiled
def decode_run(sim: Sim, replica: int, until: float, joins: bool, single: bool) -> bool:
    """Decode steps of a constant batch; False where the next event lies beyond ``until`` and nobody joins there.

    ``joins``: a request arrives at ``until`` and may be taken in after the step during which it comes.
    ``single``: one step whatever comes, after a preemption.
    """
    rep, state = sim.replicas[replica], sim.state[0]
    batch, context = rep.batch, rep.context
    steps = steps_with_room(state, rep, rep.next_done - rep.steps)
    segment = find_segment(state, rep)
    # The mean context grows by one per step.
    steps = min(steps, int(state.knots[segment + 1] - (context + batch) / batch) + 1)
    slope = sim.decode[batch, segment, 1]
    first = sim.decode[batch, segment, 0] + slope * (context + batch)
    growth = slope * batch
    if single:
        steps = 1
    elif rep.clock + steps * (first + 0.5 * growth * (steps - 1)) > until:
        if rep.waiting_head != NONE or not joins:
            return False
        steps = steps_to_cover(first, growth, until - rep.clock, steps)
    seconds = steps * (first + 0.5 * growth * (steps - 1))
    if rep.clock >= state.measure_from:
        count_gaps(state, first, growth, steps, batch)
    count_busy(state, rep.clock, rep.clock + seconds, batch, context + 0.5 * batch * (steps - 1))
    state.output_tokens += steps * batch
    rep.clock += seconds
    rep.steps += steps
    rep.context += steps * batch
    rep.allocated_tokens += steps * batch
    rep.peak_context = max(rep.peak_context, rep.context)
    if rep.next_done == rep.steps:
        finish_due(sim, replica)
    return True


@compiled
def advance(sim: Sim, replica: int, until: float, joins: bool) -> None:
    """Do every step that starts before ``until``.

    A run of decode steps that changes nothing before ``until`` is left undone where nobody ``joins`` then: it is found
    again later, from the same state. So asking a replica how busy it is does not cut its run in two.
    """
    rep = sim.replicas[replica]
    while rep.clock < until:
        preempted = rep.batch > 0 and make_room(sim, replica)
        waits = rep.prefilling != NONE or rep.waiting_head != NONE
        if waits and mixed_step(sim, replica, not preempted):
            continue
        if rep.batch > 0:
            if not decode_run(sim, replica, until, joins, preempted):
                break
        elif rep.waiting_head != NONE:
            sim.state[0].stuck = 1  # validated before: a request larger than the memory
            break
        else:
            if joins:
                rep.clock = until
            break
