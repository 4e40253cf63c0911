"""Watches a device from one sleeping thread while the block inside runs, and says what it saw."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from statistics import fmean
from types import TracebackType
from typing import Self

from llmsizer.facts.record_parts import Energy, HardwareState
from llmsizer.profile.trackers.energy import energy_of
from llmsizer.profile.trackers.sensor import Reading, Sensor

PERIOD_SECONDS = 0.1  # the driver refreshes no faster than this, mostly slower
IDLE_READINGS = 5
Clock = Callable[[], float]


class Watch:
    """``with Watch(sensor) as watch: work()``; afterwards ``watch.hardware()`` and ``watch.energy(…)``."""

    def __init__(
        self, sensor: Sensor, *, clock: Clock = time.perf_counter, period_seconds: float = PERIOD_SECONDS
    ) -> None:
        self._sensor, self._clock, self._period = sensor, clock, period_seconds
        self.readings: list[Reading] = []
        self._counter: tuple[float | None, float | None] = (None, None)
        self._window = (0.0, 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_until_stopped, daemon=True)

    def __enter__(self) -> Self:
        self._counter = (self._sensor.counter_joules(), None)
        self._window = (self._clock(), 0.0)
        self.look()
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.look()
        self._window = (self._window[0], self._clock())
        self._counter = (self._counter[0], self._sensor.counter_joules())

    def look(self) -> None:
        """One reading now."""
        self.readings.append(self._sensor.read(self._clock()))

    def _look_until_stopped(self) -> None:
        while not self._stop.wait(self._period):
            self.look()

    @property
    def window_seconds(self) -> float:
        return self._window[1] - self._window[0]

    def energy(
        self, *, output_tokens: int, all_tokens: int, idle_watts: float | None = None
    ) -> tuple[Energy, dict[str, str]]:
        """The joules of the block, and why what is unknown is."""
        return energy_of(
            self._sensor,
            self.readings,
            self._counter,
            window=self._window,
            idle_watts=idle_watts,
            output_tokens=output_tokens,
            all_tokens=all_tokens,
        )

    def hardware(self, own_processes: Sequence[int] = ()) -> tuple[HardwareState, dict[str, str]]:
        """Clocks, temperature, throttling and company during the block, and why what is unknown is."""
        return hardware_of(self._sensor, self.readings, own_processes or (os.getpid(),), self._period)


def hardware_of(
    sensor: Sensor, readings: Sequence[Reading], own_processes: Sequence[int], period_seconds: float
) -> tuple[HardwareState, dict[str, str]]:
    """The state over all readings."""
    seen = [r.throttle_reasons for r in readings if r.throttle_reasons is not None]
    sm = [r.sm_clock_hertz for r in readings if r.sm_clock_hertz is not None]
    memory = [r.memory_clock_hertz for r in readings if r.memory_clock_hertz is not None]
    used = [r.utilization_share for r in readings if r.utilization_share is not None]
    foreign = sensor.foreign_processes(own_processes)
    state = HardwareState(
        sm_clock_hertz_min=min(sm, default=None),
        sm_clock_hertz_mean=fmean(sm) if sm else None,
        memory_clock_hertz_mean=fmean(memory) if memory else None,
        temperature_celsius_max=max(
            (r.temperature_celsius for r in readings if r.temperature_celsius is not None), default=None
        ),
        power_limit_watts=sensor.power_limit_watts(),
        throttle_reasons=tuple(sorted({name for names in seen for name in names})) if seen else None,
        throttled_share=sum(bool(names) for names in seen) / len(seen) if seen else None,
        foreign_processes=foreign,
        utilization_share_mean=fmean(used) if used else None,
        samples=len(readings),
        sample_period_seconds=period_seconds,
    )
    unknown = {f"hardware.{name}": why for reading in readings for name, why in reading.problems.items()}
    if foreign is None:
        unknown["hardware.foreign_processes"] = "the driver does not show who uses the device, as in most containers"
    return state, unknown


def idle_watts(
    sensor: Sensor, *, wait: Callable[[float], object] = time.sleep, clock: Clock = time.perf_counter
) -> float | None:
    """Mean power of the idle device over half a second; asked before an engine is loaded."""
    seen = []
    for _ in range(IDLE_READINGS):
        reading = sensor.read(clock())
        if reading.watts is not None:
            seen.append(reading.watts)
        wait(PERIOD_SECONDS)
    return fmean(seen) if seen else None
