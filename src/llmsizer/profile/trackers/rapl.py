"""CPU energy where the kernel's RAPL counters can be read: usually by root alone, and not in virtual machines.

There is no second way: a share of the TDP is no measurement.
"""

from __future__ import annotations

from pathlib import Path

from llmsizer.profile.trackers.energy import counter_difference

POWERCAP = Path("/sys/class/powercap")
MICRO = 1e-6


class Rapl:
    """The packages' energy counters; each wraps at its own maximum."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._domains = [folder for folder in sorted(root.glob("intel-rapl:*")) if folder.name.count(":") == 1]
        self.reason = "" if self._domains else "this system has no RAPL counters"
        if self._domains and self._values() is None:
            self._domains, self.reason = [], "the RAPL counters are there, but only root may read them"
        self._start = self._values()

    def joules(self) -> float | None:
        """Joules of all packages since this object was made; None where nobody counts, ``reason`` says why."""
        now = self._values()
        if not self._domains or now is None or self._start is None:
            return None
        total = 0.0
        for folder, first, last in zip(self._domains, self._start, now, strict=True):
            used = counter_difference(first, last, wraps_at=float((folder / "max_energy_range_uj").read_text()))
            if used is None:
                return None
            total += used * MICRO
        return total

    def _values(self) -> list[float] | None:
        try:
            return [float((folder / "energy_uj").read_text()) for folder in self._domains]
        except OSError:
            return None
