"""What every vendor's sensor is asked, and which of them are here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from llmsizer.facts.record_parts import EnergySource

# In the order of asking; each module has ``find(device) -> Sensor | None``.
VENDORS = ("nvidia", "amd", "intel")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One look at a device; None: the driver did not say, and ``problems`` says why by the field's name."""

    seconds: float
    watts: float | None = None
    sm_clock_hertz: float | None = None
    memory_clock_hertz: float | None = None
    temperature_celsius: float | None = None
    utilization_share: float | None = None
    throttle_reasons: tuple[str, ...] | None = None
    problems: dict[str, str] = field(default_factory=dict)


class Sensor(Protocol):
    """One accelerator as its driver shows it. No method raises; None means unknown."""

    power_source: EnergySource
    counter_source: EnergySource

    def read(self, seconds: float) -> Reading:
        """Everything that changes from one moment to the next; ``seconds`` is the caller's clock."""
        ...

    def counter_joules(self) -> float | None:
        """Energy since an unknown beginning; only differences mean something."""
        ...

    def power_limit_watts(self) -> float | None: ...

    def used_bytes(self) -> float | None:
        """Memory in use by everybody."""
        ...

    def process_bytes(self, process_ids: Sequence[int]) -> float | None:
        """Memory of these processes; None where the driver shows none of them, as in most containers."""
        ...

    def foreign_processes(self, own: Sequence[int]) -> tuple[str, ...] | None:
        """``"pid name"`` of others that hold memory; None where the driver does not show who does."""
        ...


def answer(problems: dict[str, str], name: str, ask: Callable[[], Any]) -> Any:
    """The driver's answer, or None with its complaint noted under the name."""
    try:
        return ask()
    except Exception as error:  # each library has its own tree of errors
        problems[name] = f"{type(error).__name__}: {error}"[:160]
        return None


def find_sensor(device: str = "0") -> Sensor | None:
    """The sensor of the first vendor whose library and driver answer, by UUID, PCI address or number; None: none."""
    for vendor in VENDORS:
        sensor: Sensor | None = importlib.import_module(f"llmsizer.profile.trackers.{vendor}").find(device)
        if sensor is not None:
            return sensor
    return None
