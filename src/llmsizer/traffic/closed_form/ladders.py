"""Many replicas at once: what is known of each, and what their sampled batches say of any batch between them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.closed_form.meanfield import Curves, Matrix, Replica

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
    slopes: NDArray[np.float64]  # from each batch to the next

    @classmethod
    def of(cls, ends: Sequence[tuple[Replica, Curves]]) -> Rows:
        """Of one replica or more; the ladders of batches filled up to one length."""
        replicas, curves = [replica for replica, _ in ends], [each for _, each in ends]
        sizes = np.array([len(each.batches) for each in curves])
        columns = [[each.decode_seconds for each in curves]]
        columns += [[getattr(each.prompts, name) for each in curves] for name in _LADDERS]
        ladders = _filled(np.stack([np.concatenate(parts) for parts in columns], axis=1), sizes, 1 + sizes.max())
        batches = _filled(np.concatenate([each.batches for each in curves]), sizes, 1 + sizes.max())
        one = {name: column(getattr(replica, name) for replica in replicas) for name in _OF_REPLICA}
        stay = (one["output_tokens"] - 1) * ladders[:, :, 0] + batches * ladders[:, :, 1]
        saturation_rate = (batches / stay).max(axis=1, keepdims=True)  # as ``meanfield.saturation_rate`` has it
        batches[np.arange(1 + sizes.max()) >= sizes[:, None]] = np.inf
        with np.errstate(invalid="ignore"):  # beyond the largest batch, where nobody looks
            slopes = np.diff(ladders, axis=1) / np.diff(batches)[:, :, None]
        answers = _padded([replica.decode_steps for replica in replicas])
        prompts = _padded([replica.prompt_scores for replica in replicas])
        return cls(
            **one,
            saturation_rate=saturation_rate,
            overhead_seconds=column(each.overhead_seconds for each in curves),
            full_batch=column(each.batches[-1] for each in curves),
            decode_steps=answers[:, :, 0],
            answer_shares=answers[:, :, 1],
            prompt_scores=prompts[:, :, 0],
            prompt_shares=prompts[:, :, 1],
            batches=batches,
            ladders=ladders,
            slopes=slopes,
        )

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some of them."""
        return Rows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def at(self, batch: Matrix) -> NDArray[np.float64]:
        """The ladders at each batch, in a line between those sampled."""
        return self._between(batch, len(_LADDERS) + 1)

    def decode_at(self, batch: Matrix) -> Matrix:
        """Seconds of a step without prompts at each batch."""
        return np.asarray(self._between(batch, 1)[:, :, 0])

    def companions_at(self, rate: Matrix) -> Matrix:
        """The operating point of each row's rate below saturation: Little's law, companions = rate × stay, bisected."""
        low, high = np.zeros_like(self.full_batch), self.full_batch
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = np.minimum(middle, self.full_batch - 1)
            decode, interrupt = np.moveaxis(self._between(1 + inside, 2), 2, 0)
            stay = (self.output_tokens - 1) * decode + (1 + inside) * interrupt
            short = middle < rate * stay
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return np.where(rate > 0, (low + high) / 2, 0.0)

    def _between(self, batch: Matrix, count: int) -> NDArray[np.float64]:
        """The first so many of the ladders."""
        left = (batch[:, :, None] >= self.batches[:, None, :]).sum(axis=2) - 1
        rows = np.arange(len(left))[:, None]
        ahead = batch - self.batches[rows, left]
        return np.asarray(self.ladders[rows, left, :count] + self.slopes[rows, left, :count] * ahead[:, :, None])


def column(values: Iterable[float]) -> Matrix:
    """One value a row, to be broadcast over what stands in the columns."""
    return np.array(list(values), dtype=np.float64)[:, None]


def _filled(ends: NDArray[np.float64], sizes: NDArray[np.intp], width: int) -> NDArray[np.float64]:
    """Rows of these sizes, which stand one after another, filled up with their last value."""
    starts = np.cumsum(sizes) - sizes
    return np.asarray(ends[starts[:, None] + np.minimum(np.arange(width), sizes[:, None] - 1)])


def _padded(lengths: Sequence[Matrix]) -> NDArray[np.float64]:
    """Values with their shares in rows of one length; what fills up has no share."""
    sizes = np.array([len(pairs) for pairs in lengths])
    table = _filled(np.concatenate(lengths), sizes, sizes.max())
    table[np.arange(sizes.max()) >= sizes[:, None]] = (1.0, 0.0)
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
