"""Workers for tests of the sweep: they note what they are asked, answer at once, and break where they are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmsizer.errors import MeasurementError
from llmsizer.facts.records import DeviceRecord
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.profile import Point

DEVICE = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
POINTS = (Point(batch=1, prompt_tokens=4, output_tokens=3), Point(batch=2, prompt_tokens=4, output_tokens=3))
Log = list[tuple[str, str, int]]  # action, variant, batch


def variant(name: str) -> Variant:
    parts = (WeightPart(format="fp16", params=10, bytes=20),)
    return Variant(
        path=Path("/x"), model="m", name=name, precision="fp16", method=name, format="openvino-ir", parts=parts
    )


class Recorded:
    """A child that notes what it is asked, in one list for all."""

    def __init__(self, log: Log, name: str, fail_at: tuple[str, int] | None = None) -> None:
        self.loaded = {"version": "1", "load_seconds": 0.5, "options": {}}
        self._log, self._name, self._fail_at = log, name, fail_at

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        batch = arguments["point"]["batch"]
        self._log.append((action, self._name, batch))
        if (action, batch) == self._fail_at:
            raise MeasurementError("out of luck")
        if action == "warm":
            return {"resident_bytes": 1.0, "anonymous_bytes": 1.0, "allocator_bytes": None}
        return {"ttft_seconds": 0.2, "gaps_seconds": [0.1, 0.1], "foreign_cpu_seconds": 0.0}

    def close(self) -> None:
        self._log.append(("close", self._name, 0))


def recorded(log: Log, **fail_at: tuple[str, int]) -> Callable[[Variant, str], Any]:
    return lambda v, engine: Recorded(log, v.name, fail_at.get(v.name))
