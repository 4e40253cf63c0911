"""Intel through Level Zero's management calls as ``torch.xpu`` and the kernel's hwmon files show them.

Energy is the hwmon counter in microjoules that the ``i915`` and ``xe`` drivers write; what else Level Zero could say
needs rights that a measurement seldom has, and stays unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llmsizer.facts.record_parts import EnergySource
from llmsizer.profile.trackers.sensor import Reading, answer

HWMON = Path("/sys/class/hwmon")
DRIVERS = ("i915", "xe")
MICRO = 1e-6


class Intel:
    """One GPU by its hwmon folder."""

    power_source: EnergySource = "xpu-power"
    counter_source: EnergySource = "xpu-power"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, seconds: float) -> Reading:
        problems: dict[str, str] = {}
        watts = answer(problems, "watts", lambda: self._value("power1_input") * MICRO)
        celsius = answer(problems, "temperature", lambda: self._value("temp1_input") / 1e3)
        for name in ("sm_clock", "memory_clock", "utilization", "throttle_reasons"):
            problems[name] = "not among the files that the driver shows"
        return Reading(seconds=seconds, watts=watts, temperature_celsius=celsius, problems=problems)

    def counter_joules(self) -> float | None:
        joules: float | None = answer({}, "counter", lambda: self._value("energy1_input") * MICRO)
        return joules

    def power_limit_watts(self) -> float | None:
        watts: float | None = answer({}, "limit", lambda: self._value("power1_max") * MICRO)
        return watts

    def used_bytes(self) -> float | None:
        return None

    def process_bytes(self, process_ids: Sequence[int]) -> float | None:
        return None

    def foreign_processes(self, own: Sequence[int]) -> tuple[str, ...] | None:
        return None

    def _value(self, name: str) -> float:
        return float((self._folder / name).read_text())


def find(device: str, root: Path = HWMON) -> Intel | None:
    """The GPU by number among those whose driver is Intel's and that count energy; None: there is none."""
    found = []
    for folder in sorted(root.glob("hwmon*")):
        name = answer({}, "name", (folder / "name").read_text)
        if name and name.strip() in DRIVERS and (folder / "energy1_input").exists():
            found.append(folder)
    index = int(device) if device.isdigit() else 0
    return Intel(found[index]) if index < len(found) else None
