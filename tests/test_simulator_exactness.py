"""The event simulator against a scheduler written token by token, on random small fleets."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator.engine import replay
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.results import SimulationResult
from llmsizer.traffic.simulator.steps import StepTable, tabulate

BLOCK = 4


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    """Linear in everything, so that the table holds it exactly."""
    tokens = prefill_tokens + decode_batch
    return 0.003 + 1e-4 * tokens + 1e-7 * prefill_pairs + 2e-6 * decode_context_tokens


TABLE: StepTable = tabulate(step_seconds, max_sequences=8, max_batched_tokens=64, max_context_tokens=512)


@dataclass
class Sequence:
    index: int
    arrival: float
    prompt: int
    output: int
    cached: int
    emitted: int = 0
    stored: int = 0  # tokens with a place in the KV cache
    to_prefill: int = 0
    target: int = 0
    blocks: int = 0
    first: float = -1.0
    end: float = -1.0

    @property
    def decodes(self) -> bool:
        return self.to_prefill == 0


class TokenByToken:
    """vLLM's scheduler, one step and one token at a time, with no regard for speed."""

    def __init__(self, seats: int, tokens: int, blocks: int) -> None:
        self.seats, self.tokens, self.blocks = seats, tokens, blocks
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self.clock, self.preemptions = 0.0, 0

    @property
    def free(self) -> int:
        return self.blocks - sum(s.blocks for s in self.running)

    def preempt(self) -> None:
        victim = self.running.pop()
        victim.blocks, victim.stored, victim.to_prefill = 0, 0, 0
        self.waiting.appendleft(victim)
        self.preemptions += 1

    def make_room(self) -> bool:
        before = self.preemptions
        while True:
            needing = [s for s in self.running if s.decodes and s.stored == s.blocks * BLOCK]
            if len(needing) <= self.free:
                break
            self.preempt()
        for sequence in needing:
            sequence.blocks += 1
        return self.preemptions > before

    def step(self) -> None:
        preempted = self.make_room()
        decoding = [s for s in self.running if s.decodes]
        budget = self.tokens - len(decoding)
        chunks: list[tuple[Sequence, int]] = []
        pairs = 0.0
        for sequence in self.running:
            if not sequence.decodes and budget:
                chunks.append((sequence, min(budget, sequence.to_prefill)))
                budget -= chunks[-1][1]
        while self.waiting and budget and not preempted and len(self.running) < self.seats:
            sequence = self.waiting[0]
            sequence.target = sequence.prompt + sequence.emitted
            blocks = -(-sequence.target // BLOCK)
            if blocks > self.free:
                break
            self.running.append(self.waiting.popleft())
            sequence.blocks, sequence.to_prefill = blocks, sequence.target - sequence.cached
            chunks.append((sequence, min(budget, sequence.to_prefill)))
            budget -= chunks[-1][1]
        for sequence, chunk in chunks:
            before = sequence.target - sequence.to_prefill
            pairs += sum(before + i + 1 for i in range(chunk))
        context = sum(s.stored + 1 for s in decoding)
        self.clock += step_seconds(sum(c for _, c in chunks), pairs, len(decoding), context)
        for sequence in decoding:
            sequence.stored += 1
            self.emit(sequence)
        for sequence, chunk in chunks:
            sequence.to_prefill -= chunk
            if sequence.to_prefill == 0:
                sequence.stored = sequence.target
                self.emit(sequence)

    def emit(self, sequence: Sequence) -> None:
        sequence.emitted += 1
        if sequence.first < 0:
            sequence.first = self.clock
        if sequence.emitted == sequence.output:
            sequence.end = self.clock
            self.running.remove(sequence)

    def serve(self, sequences: list[Sequence]) -> None:
        coming = deque(sequences)
        while coming or self.running or self.waiting:
            if not self.running and not self.waiting:
                self.clock = max(self.clock, coming[0].arrival)
            while coming and coming[0].arrival <= self.clock:
                self.waiting.append(coming.popleft())
            self.step()


def random_requests(seed: int, count: int, rate: float, cached: bool) -> Requests:
    rng = np.random.default_rng(seed)
    prompts = rng.integers(1, 150, count).astype(np.int32)
    hits = np.minimum(rng.integers(0, 100, count), prompts - 1).astype(np.int32)
    return Requests(
        arrival_seconds=np.cumsum(rng.exponential(1 / rate, count)),
        prompt_tokens=prompts,
        output_tokens=rng.integers(1, 60, count).astype(np.int32),
        cached_tokens=hits if cached else np.empty(0, dtype=np.int32),
    )


def by_tokens(requests: Requests, seats: int, tokens: int, blocks: int, replicas: int) -> tuple[list[Sequence], int]:
    sequences = [
        Sequence(
            index=i,
            arrival=float(requests.arrival_seconds[i]),
            prompt=int(requests.prompt_tokens[i]),
            output=int(requests.output_tokens[i]),
            cached=int(requests.cached_tokens[i]) // BLOCK * BLOCK if requests.cached_tokens.size else 0,
        )
        for i in range(len(requests))
    ]
    preemptions = 0
    for replica in range(replicas):
        scheduler = TokenByToken(seats, tokens, blocks)
        scheduler.serve(sequences[replica::replicas])
        preemptions += scheduler.preemptions
    return sequences, preemptions


def simulated(requests: Requests, seats: int, tokens: int, blocks: int, replicas: int) -> SimulationResult:
    replica = Replica(
        steps=TABLE, kv_tokens=blocks * BLOCK, max_sequences=seats, max_batched_tokens=tokens, block_tokens=BLOCK
    )
    return replay(replica, requests, fleet=Fleet(replicas=replicas, routing="round robin"), keep_records=True)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    count=st.integers(1, 40),
    rate=st.sampled_from([0.5, 3.0, 12.0, 100.0]),
    seats=st.integers(1, 8),
    tokens=st.integers(8, 64),
    blocks=st.integers(56, 160),
    replicas=st.integers(1, 3),
    cached=st.booleans(),
)
def test_events_give_what_single_tokens_give(
    seed: int, count: int, rate: float, seats: int, tokens: int, blocks: int, replicas: int, cached: bool
) -> None:
    requests = random_requests(seed, count, rate, cached)
    sequences, preemptions = by_tokens(requests, seats, tokens, blocks, replicas)
    result = simulated(requests, seats, tokens, blocks, replicas)
    assert result.counts.preemptions == preemptions
    assert result.first_token_seconds is not None and result.end_seconds is not None
    np.testing.assert_allclose(result.first_token_seconds, [s.first for s in sequences], rtol=1e-9)
    np.testing.assert_allclose(result.end_seconds, [s.end for s in sequences], rtol=1e-9)


def test_scarce_memory_preempts_in_both() -> None:
    # 8 seats whose prompts fit but whose answers do not: the comparison above is not vacuous.
    requests = random_requests(7, 40, 100.0, cached=False)
    _, preemptions = by_tokens(requests, 8, 64, 60, 1)
    assert preemptions > 5
    assert simulated(requests, 8, 64, 60, 1).counts.preemptions == preemptions
