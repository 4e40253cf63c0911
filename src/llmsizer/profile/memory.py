"""Memory of this process, sampled while a warm-up runs so that no timed run is disturbed."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from llmsizer.errors import MissingExtraError
from llmsizer.installed import optional

SAMPLE_SECONDS = 0.005
STATUS = Path("/proc/self/status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Resident bytes: all pages, and those that no file backs (mapped weights count only in the first)."""

    resident_bytes: float | None
    anonymous_bytes: float | None


def current_memory(status: str | None = None) -> Memory:
    """From /proc where there is one; elsewhere psutil, which does not know the anonymous share everywhere."""
    if status is None and not STATUS.exists():
        return _from_psutil()
    fields = dict(line.split(":", 1) for line in (status or STATUS.read_text()).splitlines() if ":" in line)
    return Memory(resident_bytes=_kib(fields.get("VmRSS")), anonymous_bytes=_kib(fields.get("RssAnon")))


def _kib(text: str | None) -> float | None:
    return None if text is None else float(text.split()[0]) * 1024


def _from_psutil() -> Memory:
    try:
        psutil = optional("psutil", what="memory of this process", extra="profile")
    except MissingExtraError:
        return Memory(resident_bytes=None, anonymous_bytes=None)
    return Memory(resident_bytes=float(psutil.Process().memory_info().rss), anonymous_bytes=None)


class PeakMemory:
    """The largest memory seen inside the ``with`` block."""

    def __init__(self) -> None:
        self.peak = current_memory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._look()

    def _look(self) -> None:
        now = current_memory()
        self.peak = Memory(
            resident_bytes=larger(self.peak.resident_bytes, now.resident_bytes),
            anonymous_bytes=larger(self.peak.anonymous_bytes, now.anonymous_bytes),
        )


def larger(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return max(known) if known else None
