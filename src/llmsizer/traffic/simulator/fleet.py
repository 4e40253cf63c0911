"""Replicas, the router before them, and what is observed of a run."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator.layout import LEAST_LOADED, MAX_BLOCK_TOKENS, PREFIX_AFFINE, ROUND_ROBIN
from llmsizer.traffic.simulator.steps import StepTable

MOST_TOGETHER = 16  # replicas that are simulated together: more share a queue hardly better
Routing = Literal["round robin", "least loaded", "prefix affine"]
ROUTINGS: dict[Routing, int] = {
    "round robin": ROUND_ROBIN,
    "least loaded": LEAST_LOADED,
    "prefix affine": PREFIX_AFFINE,
}


class Source(Protocol):
    """Where requests come from: in order of arrival, in stretches, up to a duration."""

    @property
    def longest_output_tokens(self) -> int: ...

    @property
    def longest_prompt_tokens(self) -> int: ...

    @property
    def prefix_groups(self) -> int: ...

    def stretches(self, duration_seconds: float, seed: int) -> Iterator[Requests]: ...


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One replica as its scheduler sees it."""

    steps: StepTable
    kv_tokens: int
    max_sequences: int = 256
    max_batched_tokens: int = 8192
    block_tokens: int = 16
    shared_prefix_tokens: int = (
        0  # held once for all requests; ``cached_tokens`` of requests then take no room of their own
    )
    frontend_seconds: float = 0.0  # before the engine sees a request and after its last token, added to TTFT and E2E

    def __post_init__(self) -> None:
        if min(self.kv_tokens, self.max_sequences, self.max_batched_tokens, self.block_tokens) < 1:
            raise InputError("a replica needs room for 1 token, 1 sequence and 1 token per step or more")
        if self.max_sequences > self.steps.max_batch or self.max_batched_tokens > self.steps.max_tokens:
            raise InputError(
                f"the step table ends at {self.steps.max_batch} sequences and {self.steps.max_tokens} tokens per step; "
                "tabulate up to the replica's limits"
            )
        if self.max_batched_tokens < self.max_sequences:
            raise InputError(
                f"max_batched_tokens = {self.max_batched_tokens} is below max_sequences = {self.max_sequences}; "
                "every running sequence needs one token of each step"
            )
        if self.block_tokens > MAX_BLOCK_TOKENS:
            raise InputError(f"block_tokens = {self.block_tokens}; give at most {MAX_BLOCK_TOKENS}")
        if self.kv_blocks < 1 or not self.frontend_seconds >= 0:
            raise InputError("the shared prefix leaves no KV block, or the frontend time is negative")

    @property
    def kv_blocks(self) -> int:
        return self.kv_tokens // self.block_tokens - math.ceil(self.shared_prefix_tokens / self.block_tokens)


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Equal replicas behind a router. A replica takes requests from ``ready_at_seconds`` on (its start-up)."""

    replicas: int = 1
    routing: Routing = "least loaded"
    ready_at_seconds: tuple[float, ...] = ()
    spill: float = 2.0  # prefix affine: go elsewhere when the preferred replica holds this many times the least load

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise InputError(f"replicas = {self.replicas}; give 1 or more")
        if self.routing not in ROUTINGS:
            raise InputError(f"no routing named {self.routing!r}; known: {', '.join(ROUTINGS)}")
        if len(self.ready_at_seconds) not in (0, self.replicas):
            raise InputError(
                f"{len(self.ready_at_seconds)} start times for {self.replicas} replicas; give one for each"
            )
        if not all(0 <= at < math.inf for at in self.ready_at_seconds):
            raise InputError("a replica's start time is not a moment from 0 s on")

    @property
    def sample(self) -> Fleet:
        """So many of the replicas as stand for all, each under its own share of the demand.

        A router over more replicas evens their batches out a little more, by less the more there are: of 64 simulated
        as 16, TPOT and E2E come out up to 15 % longer at p95, TTFT up to 15 % shorter on average and at most 7 % at
        p95. Where start times differ, none can stand for another.
        """
        if self.replicas <= MOST_TOGETHER or self.ready_at_seconds:
            return self
        return replace(self, replicas=MOST_TOGETHER)

    @property
    def times_sample(self) -> float:
        """Replicas that each simulated one stands for."""
        return self.replicas / self.sample.replicas


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTargets:
    """What makes one request good; goodput counts those that meet every target."""

    ttft_seconds: float = math.inf
    tpot_seconds: float = math.inf
    e2e_seconds: float = math.inf

    @classmethod
    def of(cls, slo: Slo) -> LatencyTargets:
        return cls(ttft_seconds=slo.ttft_p95_seconds, tpot_seconds=slo.tpot_p95_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCurve:
    """Watts of one replica: idle, and while it steps rising with the logarithm of its batch up to a full one."""

    idle_watts: float
    one_watts: float  # stepping with one sequence or with prompts alone
    full_watts: float  # stepping with ``full_batch`` sequences or more
    full_batch: int = 256

    def __post_init__(self) -> None:
        if not 0 <= self.idle_watts <= self.one_watts <= self.full_watts < math.inf or self.full_batch < 2:
            raise InputError(
                f"{self.idle_watts:g} W idle, {self.one_watts:g} W with one sequence, {self.full_watts:g} W full; "
                "give watts from 0 up that do not fall"
            )

    def stepping_watts(self, batch: NDArray[np.float64]) -> NDArray[np.float64]:
        share = np.log(np.clip(batch, 1.0, self.full_batch)) / math.log(self.full_batch)
        return np.asarray(self.one_watts + (self.full_watts - self.one_watts) * share)

    def joules(
        self, replica_seconds: float, busy_seconds: NDArray[np.float64], batch_seconds: NDArray[np.float64]
    ) -> float:
        """Over stretches of time, each at the mean batch of its steps."""
        batch = np.divide(batch_seconds, busy_seconds, out=np.zeros_like(batch_seconds), where=busy_seconds > 0)
        stepping = float((busy_seconds * self.stepping_watts(batch)).sum())
        return self.idle_watts * max(replica_seconds - float(busy_seconds.sum()), 0.0) + stepping


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What is measured of a run: from when to when, against which targets."""

    duration_seconds: float
    warmup_seconds: float = 0.0
    targets: LatencyTargets | None = None
    power: PowerCurve | None = None
    keep_records: bool = False
    finite: bool = False  # the demand ends with the duration: a replayed trace

    def __post_init__(self) -> None:
        if not 0 < self.duration_seconds < math.inf:
            raise InputError(f"duration = {self.duration_seconds} s; give more than 0")
        if not 0 <= self.warmup_seconds < self.duration_seconds:
            raise InputError(f"warm-up = {self.warmup_seconds} s; give 0 or more and less than the duration")

    @property
    def measured_seconds(self) -> float:
        return self.duration_seconds - self.warmup_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What has to be known of requests before the first one comes."""

    longest_output_tokens: int
    prefix_groups: int = 0


def shape_of(requests: Requests) -> Shape:
    groups = int(requests.groups.max()) + 1 if requests.groups.size else 0
    return Shape(longest_output_tokens=int(requests.output_tokens.max()), prefix_groups=groups)
