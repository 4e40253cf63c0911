"""How long work says how far it is: one callable, so that a terminal, a dashboard or nobody may listen."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Protocol

FILE_VARIABLE = "LLMSIZER_PROGRESS_FILE"  # where another process reads how far this one is
_LEAST_STEP = 0.002


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


def into_file(path: Path) -> Progress:
    """A listener that keeps one small JSON file, ``{"what": …, "fraction": 0.25}``, whole at any moment.

    A file that cannot be written is left alone: what is measured matters more than who watches.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    last: list[tuple[str, float]] = []

    def report(what: str, fraction: float) -> None:
        if last and last[-1][0] == what and abs(fraction - last[-1][1]) < _LEAST_STEP:
            return
        last[:] = [(what, fraction)]
        with contextlib.suppress(OSError):
            partial.write_text(json.dumps({"what": what, "fraction": fraction}), encoding="utf-8")
            partial.replace(path)

    return report


def asked_listener() -> Progress:
    """The listener that the environment asks for (``LLMSIZER_PROGRESS_FILE``), else nobody."""
    named = os.environ.get(FILE_VARIABLE, "")
    return into_file(Path(named)) if named else silent
