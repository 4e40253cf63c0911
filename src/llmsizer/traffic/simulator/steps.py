"""How long a step lasts, as a small table that any step-time function can fill.

A step carries ``batch`` decoding sequences over ``context`` stored tokens, and prompt tokens next to them. Two tables
say how long it takes:

- **decode steps**: for every batch, linear pieces over the mean context per sequence. Within a piece a run of steps
  has an exact closed form; the pieces are what turns ``max(compute, memory)`` and any other curve into something to
  jump over.
- **mixed steps**: the part that depends on the number of tokens in the step (matrix products, overheads), plus what the
  decoding sequences' context adds, plus attention of prompt tokens in proportion to the pairs they attend to.

So a mixed step is ``mixed[prompt + batch] + (decode[batch](context) - decode[batch](0)) + seconds_per_pair * pairs``:
exact for step times that add up per operator group, where matrix products see all tokens and attention sees each kind
apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.traffic.simulator.layout import MAX_KNOTS

FAR = 1e15  # tokens: the last segment goes on for ever
_FIRST_KNOT = 128


class StepSeconds(Protocol):
    """Seconds of one engine step.

    ``prefill_pairs``: for every prompt token of the step, the tokens it attends to, added up (itself included).
    ``decode_context_tokens``: tokens that the decoding sequences attend to, added up over the sequences.
    """

    def __call__(
        self, prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float
    ) -> float: ...


@dataclass(frozen=True, kw_only=True)
class StepTable:
    """Step times of one replica; ``tabulate`` fills it."""

    knots_tokens: NDArray[np.float64]  # mean context per decoding sequence, ascending from 0
    decode_seconds: NDArray[np.float64]  # [batch, knot]; row 0 is not used
    mixed_seconds: NDArray[np.float64]  # [tokens in the step]
    seconds_per_pair: float
    mixed_context_factor: float = 1.0  # what the decoding sequences' context costs more beside prompt tokens

    def __post_init__(self) -> None:
        if self.decode_seconds.shape[1] != self.knots_tokens.size or self.knots_tokens.size < 2:
            raise AssertionError("one decode time per batch and knot, and two knots or more")
        if self.knots_tokens.size > MAX_KNOTS:
            raise InputError(f"{self.knots_tokens.size} context knots; give at most {MAX_KNOTS}")
        for what, values in (("decode", self.decode_seconds[1:]), ("prefill", self.mixed_seconds[1:])):
            if not np.all(np.isfinite(values)) or not np.all(values > 0):
                raise InputError(
                    f"a {what} step time is not a positive number of seconds; check the step-time function"
                )
        if not (math.isfinite(self.seconds_per_pair) and self.seconds_per_pair >= 0):
            raise InputError(f"attention of a prompt takes {self.seconds_per_pair} s per pair; give 0 or more")

    @property
    def max_batch(self) -> int:
        return len(self.decode_seconds) - 1

    @property
    def max_tokens(self) -> int:
        return self.mixed_seconds.size - 1

    def segments(self) -> NDArray[np.float64]:
        """[batch, segment, (seconds at no context, seconds per context token of the whole batch)]."""
        rises = np.diff(self.decode_seconds, axis=1) / np.diff(self.knots_tokens)
        batches = np.maximum(np.arange(self.decode_seconds.shape[0], dtype=np.float64), 1.0)
        table = np.empty((*rises.shape, 2))
        table[..., 0] = self.decode_seconds[:, :-1] - rises * self.knots_tokens[:-1]
        table[..., 1] = rises / batches[:, None]
        return table

    def segment_knots(self) -> NDArray[np.float64]:
        """Borders of the segments; the last one is beyond reach."""
        return np.append(self.knots_tokens[:-1], FAR)


def spread(low: int, high: int, per_doubling: int) -> list[int]:
    """Whole numbers from ``low`` to ``high``, so many to a doubling."""
    count = max(2, math.ceil(per_doubling * math.log2(max(high / low, 1.0))) + 1)
    return sorted({round(low * (high / low) ** (i / (count - 1))) for i in range(count)})


def context_knots(max_context_tokens: int, per_doubling: int) -> list[int]:
    """Mean contexts to sample: none, and from 128 tokens on so many to a doubling."""
    return [0, *spread(_FIRST_KNOT, max(max_context_tokens, 2 * _FIRST_KNOT), per_doubling)]


def tabulate(
    step_seconds: StepSeconds,
    *,
    max_sequences: int,
    max_batched_tokens: int,
    max_context_tokens: int,
    batches: Sequence[int] | None = None,
    per_doubling: int = 2,
) -> StepTable:
    """Sample a step-time function on a grid, so many points to a doubling of batch, context and tokens.

    Between sampled batches and token counts the table is linear; give ``batches`` to sample others, up to every one.
    """
    rows = sorted({*(batches or spread(1, max_sequences, per_doubling)), 1, max_sequences})
    knots = context_knots(max_context_tokens, per_doubling)
    sampled = np.array([[step_seconds(0, 0.0, b, float(b * knot)) for knot in knots] for b in rows])
    every = np.arange(max_sequences + 1)
    decode = np.stack([np.interp(every, rows, sampled[:, k]) for k in range(len(knots))], axis=1)
    token_grid = spread(1, max_batched_tokens, 2 * per_doubling)
    by_tokens = [step_seconds(tokens, 0.0, 0, 0.0) for tokens in token_grid]
    mixed = np.interp(np.arange(max_batched_tokens + 1), token_grid, by_tokens)
    # Attention of a prompt: the rise from no pairs to a full chunk behind a full context.
    pairs = float(max_batched_tokens) * max_context_tokens / 2
    rise = step_seconds(max_batched_tokens, pairs, 0, 0.0) - by_tokens[-1]
    return StepTable(
        knots_tokens=np.array(knots, dtype=np.float64),
        decode_seconds=np.ascontiguousarray(decode),
        mixed_seconds=mixed,
        seconds_per_pair=rise / pairs,
    )
