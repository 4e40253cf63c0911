"""Many replicas at once: what is known of each, and what their sampled batches say of any batch between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.closed_form.meanfield import Curves, Matrix, Replica, saturation_rate

_OF_REPLICA = (
    "output_tokens", "output_cv_squared", "gap_cv_squared", "context_spread", "shares_steps", "max_batch",
)  # fmt: skip
_LADDERS = (
    "interrupt", "interrupt_square", "clear", "own", "own_square", "own_p95", "step", "step_seen", "long_step",
    "context",
)  # fmt: skip
_HALVINGS = 40  # of a bracket of companions


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Many replicas, each at one end of its step times: a row each, to be asked about many loads at once."""

    output_tokens: Matrix
    output_cv_squared: Matrix
    gap_cv_squared: Matrix
    context_spread: Matrix
    shares_steps: Matrix
    max_batch: Matrix
    saturation_rate: Matrix
    overhead_seconds: Matrix
    full_batch: Matrix  # the largest sampled
    decode_steps: Matrix  # of answers, a few lengths in the columns
    answer_shares: Matrix  # of those lengths
    prompt_scores: Matrix  # of prompts, a few lengths in the columns
    prompt_shares: Matrix
    batches: Matrix  # infinite beyond the largest, where the step time stays what it is
    ladders: NDArray[np.float64]  # row × batch × what: decode seconds, then ``_LADDERS``

    @classmethod
    def of(cls, ends: Sequence[tuple[Replica, Curves]]) -> Rows:
        """Of one replica or more; the ladders of batches filled up to one length."""
        steps = 1 + max(len(curves.batches) for _, curves in ends)
        batches, ladders = np.full((len(ends), steps), np.inf), np.empty((len(ends), steps, 1 + len(_LADDERS)))
        for row, (_, curves) in enumerate(ends):
            size = len(curves.batches)
            batches[row, :size] = curves.batches
            ladders[row, :size, 0] = curves.decode_seconds
            for place, name in enumerate(_LADDERS, 1):
                ladders[row, :size, place] = getattr(curves.prompts, name)
            ladders[row, size:] = ladders[row, size - 1]
        answers = _padded([replica.decode_steps for replica, _ in ends])
        prompts = _padded([replica.prompt_scores for replica, _ in ends])
        one = {name: column(getattr(replica, name) for replica, _ in ends) for name in _OF_REPLICA}
        return cls(
            **one,
            saturation_rate=column(saturation_rate(*end) for end in ends),
            overhead_seconds=column(curves.overhead_seconds for _, curves in ends),
            full_batch=column(curves.batches[-1] for _, curves in ends),
            decode_steps=answers[:, :, 0],
            answer_shares=answers[:, :, 1],
            prompt_scores=prompts[:, :, 0],
            prompt_shares=prompts[:, :, 1],
            batches=batches,
            ladders=ladders,
        )

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some of them."""
        return Rows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def at(self, batch: Matrix) -> NDArray[np.float64]:
        """The ladders at each batch, in a line between those sampled."""
        return self._between(batch, self.ladders)

    def decode_at(self, batch: Matrix) -> Matrix:
        """Seconds of a step without prompts at each batch."""
        return np.asarray(self._between(batch, self.ladders[:, :, :1])[:, :, 0])

    def companions_at(self, rate: Matrix) -> Matrix:
        """The operating point of each row's rate below saturation: Little's law, companions = rate × stay, bisected."""
        low, high = np.zeros_like(self.full_batch), self.full_batch
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = np.minimum(middle, self.full_batch - 1)
            decode, interrupt = np.moveaxis(self._between(1 + inside, self.ladders[:, :, :2]), 2, 0)
            stay = (self.output_tokens - 1) * decode + (1 + inside) * interrupt
            short = middle < rate * stay
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return np.where(rate > 0, (low + high) / 2, 0.0)

    def _between(self, batch: Matrix, ladders: NDArray[np.float64]) -> NDArray[np.float64]:
        left = (batch[:, :, None] >= self.batches[:, None, :]).sum(axis=2) - 1
        with np.errstate(invalid="ignore"):  # beyond the largest batch, where nobody looks
            slopes = np.diff(ladders, axis=1) / np.diff(self.batches)[:, :, None]
        rows = np.arange(len(left))[:, None]
        ahead = batch - self.batches[rows, left]
        return np.asarray(ladders[rows, left] + slopes[rows, left] * ahead[:, :, None])


def column(values: Iterable[float]) -> Matrix:
    """One value a row, to be broadcast over what stands in the columns."""
    return np.array(list(values), dtype=np.float64)[:, None]


def _padded(lengths: Sequence[Sequence[tuple[float, float]]]) -> NDArray[np.float64]:
    """Values with their shares in rows of one length; what fills up has no share."""
    table = np.zeros((len(lengths), max(map(len, lengths)), 2))
    table[:, :, 0] = 1.0
    for row, pairs in enumerate(lengths):
        table[row, : len(pairs)] = pairs
    return table


@dataclass(frozen=True, slots=True)
class Steps:
    """Seconds at a load, as the ladders have them."""

    decode: Matrix
    interrupt: Matrix
    interrupt_square: Matrix
    clear: Matrix
    own: Matrix
    own_square: Matrix
    own_p95: Matrix
    step: Matrix
    step_seen: Matrix
    long_step: Matrix
    context: Matrix
