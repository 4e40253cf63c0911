"""Requests as columns: when each comes, how long it is, what of its prompt may be cached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError


def _no_ints() -> NDArray[np.int32]:
    return np.empty(0, dtype=np.int32)


@dataclass(frozen=True, kw_only=True)
class Requests:
    """A stretch of requests in order of arrival.

    ``cached_tokens``: prompt tokens that need not be computed. Without ``groups`` they are a hit; with them (one
    prefix or conversation = one group, -1 = none) they are a hit only on a replica that has the group's prefix in its
    cache.
    """

    arrival_seconds: NDArray[np.float64]
    prompt_tokens: NDArray[np.int32]
    output_tokens: NDArray[np.int32]
    cached_tokens: NDArray[np.int32] = field(default_factory=_no_ints)
    groups: NDArray[np.int32] = field(default_factory=_no_ints)

    def __len__(self) -> int:
        return self.arrival_seconds.size

    def checked(self, where: str, *, context_tokens: int | None = None) -> Requests:
        """Itself, if it can be served. Raises InputError with the first request that cannot."""
        if len(self) == 0:
            raise InputError(f"{where} holds no requests")
        columns = (self.prompt_tokens, self.output_tokens)
        if any(column.size != len(self) for column in columns) or any(
            column.size not in (0, len(self)) for column in (self.cached_tokens, self.groups)
        ):
            raise InputError(f"{where}: the columns differ in length; give one value per request")
        times = self.arrival_seconds
        _refuse(where, ~np.isfinite(times), times, "arrives at {} s", "give a finite time")
        _refuse(where, np.diff(times, prepend=times[:1]) < 0, times, "arrives at {:.6g} s, before the one above it",
                "sort the requests by arrival")  # fmt: skip
        _refuse(where, times < 0, times, "arrives at {:.6g} s", "count arrival times from 0")
        _refuse(where, self.prompt_tokens < 1, self.prompt_tokens, "has a prompt of {} tokens", "give 1 or more")
        _refuse(where, self.output_tokens < 1, self.output_tokens, "has an output of {} tokens", "give 1 or more")
        if self.cached_tokens.size:
            wrong = (self.cached_tokens < 0) | (self.cached_tokens > self.prompt_tokens)
            _refuse(where, wrong, self.cached_tokens, "has {} cached tokens", "give 0 up to the prompt's length")
        if context_tokens is not None:
            total = self.prompt_tokens.astype(np.int64) + self.output_tokens
            _refuse(
                where, total > context_tokens, total, "needs {} tokens of context", f"the context is {context_tokens}"
            )
        return self

    def part(self, chosen: slice | NDArray[np.intp]) -> Requests:
        """Some of the requests."""
        return Requests(
            arrival_seconds=self.arrival_seconds[chosen],
            prompt_tokens=self.prompt_tokens[chosen],
            output_tokens=self.output_tokens[chosen],
            cached_tokens=self.cached_tokens[chosen] if self.cached_tokens.size else self.cached_tokens,
            groups=self.groups[chosen] if self.groups.size else self.groups,
        )


def joined(parts: Sequence[Requests]) -> Requests:
    """Stretches one after the other; all have the same columns."""
    return Requests(
        arrival_seconds=np.concatenate([part.arrival_seconds for part in parts]),
        prompt_tokens=np.concatenate([part.prompt_tokens for part in parts]),
        output_tokens=np.concatenate([part.output_tokens for part in parts]),
        cached_tokens=np.concatenate([part.cached_tokens for part in parts]),
        groups=np.concatenate([part.groups for part in parts]),
    )


def in_order(requests: Requests) -> Requests:
    """Sorted by arrival; those that come together stay in their order."""
    return requests.part(np.argsort(requests.arrival_seconds, kind="stable"))


def _refuse(where: str, wrong: NDArray[np.bool_], values: NDArray[np.generic], says: str, fix: str) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(f"{where}: request {row + 1} {says.format(values[row])}; {fix}")
