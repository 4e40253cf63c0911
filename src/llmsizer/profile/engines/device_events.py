"""The device's own clock beside ours: how long each step lay on it, from its first kernel to its last."""

from __future__ import annotations

import statistics
from typing import Any

from llmsizer.facts.record_parts import Phases


class StepClock:
    """Seconds of each step between two events on the device's stream; waiting for launches lies between them too.

    ``cuda``: ``torch.cuda``. A step is read after the device was waited for, so reading waits for nothing.
    """

    def __init__(self, cuda: Any) -> None:
        self._first, self._last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        self._seconds: list[float] = []

    def restart(self) -> None:
        """A new run: what follows is a prefill, then decode steps."""
        self._seconds.clear()

    def begin(self) -> None:
        self._first.record()

    def end(self) -> None:
        self._last.record()

    def read(self) -> None:
        """Take the step's time over; call it once the device is done."""
        self._seconds.append(self._first.elapsed_time(self._last) / 1e3)  # torch counts milliseconds

    def phases(self) -> Phases | None:
        """Of the last run: the prefill, and the median decode step; None before any."""
        if not self._seconds:
            return None
        prefill, *decode = self._seconds
        return Phases(
            prefill_device_seconds=prefill,
            decode_step_device_seconds=statistics.median(decode) if decode else None,
        )
