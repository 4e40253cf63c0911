"""Memory of this process, or of the server it started, sampled in a warm-up so that no timed run is disturbed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from llmsizer.errors import MissingExtraError
from llmsizer.installed import optional

SAMPLE_SECONDS = 0.005
LOOKS_PER_SEARCH = 40  # the processes of a server are looked up again after so many samples
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


def memory_of(process_ids: Sequence[int]) -> Memory:
    """Sums over processes; one that has just ended counts nothing, and none that can be read leaves both unknown."""
    seen: list[Memory] = []
    for process in process_ids:
        with contextlib.suppress(OSError):
            seen.append(current_memory(Path(f"/proc/{process}/status").read_text()))
    resident = [m.resident_bytes for m in seen if m.resident_bytes is not None]
    anonymous = [m.anonymous_bytes for m in seen if m.anonymous_bytes is not None]
    return Memory(
        resident_bytes=sum(resident) if resident else None, anonymous_bytes=sum(anonymous) if anonymous else None
    )


def _nobody_else() -> Sequence[int]:
    return ()


class PeakMemory:
    """The largest memory seen inside the ``with`` block: of the processes that the engine names, else of this one."""

    def __init__(self, process_ids: Callable[[], Sequence[int]] = _nobody_else) -> None:
        self._search, self._process_ids, self._looks = process_ids, tuple(process_ids()), 0
        self.peak = self._now()
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

    def _now(self) -> Memory:
        return memory_of(self._process_ids) if self._process_ids else current_memory()

    def _look(self) -> None:
        self._looks += 1
        if self._looks % LOOKS_PER_SEARCH == 0:
            self._process_ids = tuple(self._search())  # a server may have been started anew
        now = self._now()
        self.peak = Memory(
            resident_bytes=larger(self.peak.resident_bytes, now.resident_bytes),
            anonymous_bytes=larger(self.peak.anonymous_bytes, now.anonymous_bytes),
        )


def larger(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return max(known) if known else None
