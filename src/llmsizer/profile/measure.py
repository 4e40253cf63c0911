"""Timing one operating point: pure of clocks and engines, which are passed in.

TTFT = first output token − start. ITL = the raw gaps between tokens. TPOT = the mean gap of a run, so it does not
contain TTFT. All requests of a batch start together and advance together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import MeasurementError

Tokens = NDArray[np.int64]
Clock = Callable[[], float]
# Below it lie the tokens that mean something to an engine: unknown, begin, end.
FIRST_PLAIN_TOKEN = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One operating point."""

    batch: int
    prompt_tokens: int
    output_tokens: int

    @property
    def work_tokens(self) -> int:
        return self.batch * (self.prompt_tokens + self.output_tokens)


class Backend(Protocol):
    """One engine with one variant loaded, however it works inside.

    It may also have ``outputs_finite() -> bool`` (whether the last step's logits were finite: asked once, after the
    warm-up), ``memory_use() -> MemoryUse``, ``phases() -> Phases``, ``kernels: tuple[str, ...]``; see worker.told.
    """

    vocabulary: int
    version: str
    options: dict[str, str]  # what decides speed and quality: arithmetic, KV format, attention …

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        """Yields when the prompts have given their first tokens, then once per further token of each."""
        ...

    def peak_memory_bytes(self) -> float | None:
        """The allocator's peak since the last call; None where the engine does not tell."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run of a point."""

    ttft_seconds: float
    gaps_seconds: tuple[float, ...]
    started_seconds: float = 0.0  # on the machine's monotonic clock

    @property
    def is_plausible(self) -> bool:
        """Finite and not negative, as times are."""
        return all(0.0 <= seconds < math.inf for seconds in (self.ttft_seconds, *self.gaps_seconds))

    @property
    def tpot_seconds(self) -> float | None:
        return sum(self.gaps_seconds) / len(self.gaps_seconds) if self.gaps_seconds else None

    @property
    def total_seconds(self) -> float:
        return self.ttft_seconds + sum(self.gaps_seconds)


def prompts_of(point: Point, *, vocabulary: int, seed: int, run: int) -> Tokens:
    """Random prompts that no two runs share, so that no prefix cache can serve one run from another."""
    generator = np.random.default_rng((seed, run, point.batch, point.prompt_tokens))
    shape = (point.batch, point.prompt_tokens)
    return generator.integers(min(FIRST_PLAIN_TOKEN, vocabulary - 1), vocabulary, shape, dtype=np.int64)


def take_sample(backend: Backend, prompts: Tokens, output_tokens: int, clock: Clock) -> Sample:
    """Run a point once. Raises MeasurementError where the engine made fewer or more tokens than asked for."""
    stamps = [clock()]
    for _ in backend.steps(prompts, output_tokens):
        stamps.append(clock())
    if len(stamps) != output_tokens + 1:
        raise MeasurementError(f"the engine made {len(stamps) - 1} tokens a request, not the {output_tokens} asked for")
    gaps = tuple(later - earlier for earlier, later in pairwise(stamps[1:]))
    return Sample(ttft_seconds=stamps[1] - stamps[0], gaps_seconds=gaps)
