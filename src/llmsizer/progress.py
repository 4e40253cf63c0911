"""How long work says how far it is: one callable, so that a terminal, a dashboard or nobody may listen."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called from time to time with what is being done and how much of it is done, from 0 to 1."""

    def __call__(self, what: str, fraction: float) -> None: ...


def silent(what: str, fraction: float) -> None:
    """Nobody listens."""


def part_of(progress: Progress, start: float, end: float) -> Progress:
    """A listener for one stage that fills only ``start`` to ``end`` of the whole.

    >>> part_of(lambda what, fraction: print(what, fraction), 0.5, 1.0)("second half", 0.5)
    second half 0.75
    """

    def report(what: str, fraction: float) -> None:
        progress(what, start + (end - start) * fraction)

    return report
