"""Compiled: who is in the batch. The completion wheel, the KV blocks and preemption.

A sequence that starts decoding after step K with n tokens to go is finished after step K + n, whatever the steps last.
So completions are kept in a wheel indexed by step: entering and leaving cost the same however many are in flight.
Likewise (stored tokens - K) is constant while it decodes: the number of sequences at each phase of their last block
says exactly how many blocks are in use at any step, without touching a sequence.

``state``, ``rep`` and ``slot`` are records of ``layout``; ``replica`` and ``slot_index`` say where they stand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llmsizer.traffic.simulator.compiled import compiled
from llmsizer.traffic.simulator.kernel_stats import count_finished
from llmsizer.traffic.simulator.layout import NONE, WORD_BITS, Ints, Sim

NEVER = np.int64(1) << 62
# Position of a lone bit in 32: de Bruijn multiplication, as int64 arithmetic has no count of trailing zeros here.
DE_BRUIJN = 0x077CB531
BIT_POSITION = np.zeros(32, dtype=np.int64)
for _position in range(32):
    BIT_POSITION[((DE_BRUIJN << _position) & 0xFFFFFFFF) >> 27] = _position


@compiled
def next_occupied(words: Ints, step: int) -> int:
    """The first step after ``step`` at which a sequence finishes; ``words`` is the replica's map of the wheel."""
    mask = words.size * WORD_BITS - 1
    start = (step + 1) & mask
    index = start // WORD_BITS
    word = words[index] & (0xFFFFFFFF << (start % WORD_BITS))
    for _ in range(words.size + 1):
        if word != 0:
            low = word & -word
            place = index * WORD_BITS + BIT_POSITION[((low * DE_BRUIJN) & 0xFFFFFFFF) >> 27]
            return int(step + 1 + ((place - start) & mask))
        index = index + 1 if index + 1 < words.size else 0
        word = words[index]
    return int(NEVER)


@compiled
def wheel_insert(sim: Sim, replica: int, slot_index: int) -> None:
    slot = sim.slots[slot_index]
    place = slot.finish_step & sim.state[0].wheel_mask
    slot.wheel_next = sim.wheel[replica, place]
    sim.wheel[replica, place] = slot_index
    sim.wheel_map[replica, place // WORD_BITS] |= 1 << (place % WORD_BITS)


@compiled
def wheel_remove(sim: Sim, replica: int, slot_index: int) -> None:
    """Take out one sequence before its time."""
    slots = sim.slots
    place = slots[slot_index].finish_step & sim.state[0].wheel_mask
    at = sim.wheel[replica, place]
    if at == slot_index:
        sim.wheel[replica, place] = slots[at].wheel_next
    else:
        while slots[at].wheel_next != slot_index:
            at = slots[at].wheel_next
        slots[at].wheel_next = slots[slot_index].wheel_next
    if sim.wheel[replica, place] == NONE:
        sim.wheel_map[replica, place // WORD_BITS] &= ~(1 << (place % WORD_BITS))


@compiled
def blocks_for(state: Any, stored_tokens: int, cached_tokens: int) -> int:
    """KV blocks of its own that a request needs for so many tokens."""
    own = stored_tokens - (cached_tokens if state.cached_is_shared else 0)
    return int((own + state.block_tokens - 1) // state.block_tokens)


@compiled
def used_blocks(state: Any, rep: Any) -> int:
    """KV blocks in use, exactly."""
    size = state.block_tokens
    empty_places = 0
    shift = rep.steps % size
    for phase in range(size):
        filled = phase + shift
        filled = filled - size if filled >= size else filled
        empty_places += rep.phases[phase] * (size - filled if filled else 0)
    return int((rep.context - rep.shared + empty_places) // size + rep.reserved_blocks)


@compiled
def surely_free_blocks(state: Any, rep: Any) -> int:
    """A quick lower bound of the free blocks: as if every sequence had just begun a block."""
    size = state.block_tokens
    at_most = (rep.context - rep.shared + rep.batch * (size - 1)) // size + rep.reserved_blocks
    return int(state.kv_blocks - at_most)


@compiled
def has_room(state: Any, rep: Any, blocks: int) -> bool:
    """Whether so many blocks are free beside those that the running sequences take in this step."""
    if surely_free_blocks(state, rep) >= blocks + rep.batch:
        return True
    growth = rep.phases[(-rep.steps) % state.block_tokens]
    return bool(state.kv_blocks - used_blocks(state, rep) >= blocks + growth)


@compiled
def steps_with_room(state: Any, rep: Any, steps: int) -> int:
    """How many of the next steps the free blocks allow."""
    size = state.block_tokens
    if surely_free_blocks(state, rep) * size >= steps * rep.batch:
        return steps
    free = state.kv_blocks - used_blocks(state, rep)
    laps = free // rep.batch  # a lap of ``size`` steps takes one block for every sequence
    if laps * size >= steps:
        return steps
    done, free = laps * size, free - laps * rep.batch
    while done < steps:
        # A sequence whose blocks are all full needs another one.
        free -= rep.phases[(-(rep.steps + done)) % size]
        if free < 0:
            break
        done += 1
    return int(done)


@compiled
def join_running(sim: Sim, rep: Any, slot_index: int) -> None:
    slot = sim.slots[slot_index]
    slot.older, slot.newer = rep.newest, NONE
    if rep.newest != NONE:
        sim.slots[rep.newest].newer = slot_index
    rep.newest = slot_index
    rep.seats += 1


@compiled
def leave_running(sim: Sim, rep: Any, slot: Any) -> None:
    if slot.newer != NONE:
        sim.slots[slot.newer].older = slot.older
    else:
        rep.newest = slot.older
    if slot.older != NONE:
        sim.slots[slot.older].newer = slot.newer
    rep.seats -= 1


@compiled
def start_decoding(sim: Sim, replica: int, slot_index: int) -> None:
    """The prompt is stored and a token is out: decode the ``left`` others."""
    rep, slot, state = sim.replicas[replica], sim.slots[slot_index], sim.state[0]
    rep.context += slot.target
    rep.shared += slot.hit if state.cached_is_shared else 0
    rep.batch += 1
    rep.peak_batch = max(rep.peak_batch, rep.batch)
    slot.phase = (slot.target - rep.steps) % state.block_tokens
    rep.phases[slot.phase] += 1
    slot.finish_step = rep.steps + slot.left
    rep.next_done = min(rep.next_done, slot.finish_step)
    wheel_insert(sim, replica, slot_index)


@compiled
def stored_tokens(rep: Any, slot: Any) -> int:
    """Tokens in the KV cache of a sequence being decoded."""
    return int(slot.target + slot.left - (slot.finish_step - rep.steps))


@compiled
def stop_decoding(state: Any, rep: Any, slot: Any) -> None:
    """Take a sequence out of the batch; the wheel is the caller's."""
    rep.context -= stored_tokens(rep, slot)
    rep.shared -= slot.hit if state.cached_is_shared else 0
    rep.batch -= 1
    rep.phases[slot.phase] -= 1


@compiled
def finish(sim: Sim, replica: int, slot_index: int) -> None:
    """The last token is out: count the request and free its place."""
    rep, slot, state = sim.replicas[replica], sim.slots[slot_index], sim.state[0]
    leave_running(sim, rep, slot)
    if slot.group != NONE:
        sim.prefix_seen[replica, slot.group] = rep.allocated_tokens
    count_finished(state, slot.arrival, slot.first_token, rep.clock, slot.output_tokens)
    if state.keep_records:
        sim.records[slot.request, 0] = slot.first_token
        sim.records[slot.request, 1] = rep.clock
    slot.queue_next = state.free_head
    state.free_head = slot_index
    state.free_slots += 1


@compiled
def finish_due(sim: Sim, replica: int) -> None:
    """Finish every sequence whose last token came out of the step just done."""
    rep, state = sim.replicas[replica], sim.state[0]
    place = rep.steps & state.wheel_mask
    at = sim.wheel[replica, place]
    while at != NONE:
        following = sim.slots[at].wheel_next
        stop_decoding(state, rep, sim.slots[at])
        finish(sim, replica, at)
        at = following
    sim.wheel[replica, place] = NONE
    sim.wheel_map[replica, place // WORD_BITS] &= ~(1 << (place % WORD_BITS))
    rep.next_done = next_occupied(sim.wheel_map[replica], rep.steps) if rep.batch else NEVER


@compiled
def preempt_newest(sim: Sim, replica: int) -> None:
    """Drop the newest sequence's blocks and put it at the head of the queue; it is computed anew (vLLM's recompute)."""
    rep, state = sim.replicas[replica], sim.state[0]
    slot_index = rep.newest
    slot = sim.slots[slot_index]
    if slot_index == rep.prefilling:
        rep.prefilling = NONE
        rep.reserved_blocks -= slot.blocks
    else:
        stored = stored_tokens(rep, slot)
        left = slot.finish_step - rep.steps
        wheel_remove(sim, replica, slot_index)
        stop_decoding(state, rep, slot)
        # What was emitted last was not stored yet: with it, the sequence is computed anew up to its next token.
        slot.left, slot.target, slot.last_token = left, stored + 1, rep.clock
        slot.prefill_left = NONE
        if slot.finish_step == rep.next_done:
            rep.next_done = next_occupied(sim.wheel_map[replica], rep.steps) if rep.batch else NEVER
    leave_running(sim, rep, slot)
    slot.queue_next = rep.waiting_head
    rep.waiting_head = slot_index
    rep.waiting_tail = slot_index if rep.waiting_tail == NONE else rep.waiting_tail
    rep.waiting += 1
    state.preemptions += 1


@compiled
def make_room(sim: Sim, replica: int) -> bool:
    """Preempt until the next step of every sequence fits; True where one had to go."""
    rep, state = sim.replicas[replica], sim.state[0]
    preempted = False
    while rep.batch and steps_with_room(state, rep, 1) < 1:
        preempt_newest(sim, replica)
        preempted = True
    return preempted
