"""One watched window of a point: long enough for a power sensor, and apart from the timed runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmsizer.facts.record_parts import Energy
from llmsizer.profile.trackers.energy import MIN_WINDOW_SECONDS, counter_difference, flags_of
from llmsizer.profile.trackers.rapl import Rapl
from llmsizer.profile.trackers.sensor import Sensor
from llmsizer.profile.trackers.watch import Clock, Watch

LONGER = 1.05  # than the least window, so that rounding does not make it short
MOST_RUNS = 100_000


def watched_window(
    sensor: Sensor,
    run: Callable[[int], object],
    *,
    output_tokens: int,
    all_tokens: int,
    idle_watts: float | None = None,
    own_processes: Sequence[int] = (),
    window_seconds: float = MIN_WINDOW_SECONDS,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """Repeat ``run`` (it gets its number) until the window is full; tokens are those of one run.

    Returns parts of a record by their names: energy, hardware, unknown, flags.
    """
    processor = Rapl()
    with Watch(sensor, clock=clock) as watch:
        runs, _ = _filled(run, window_seconds, clock)
    energy, no_energy = watch.energy(
        output_tokens=runs * output_tokens, all_tokens=runs * all_tokens, idle_watts=idle_watts
    )
    energy = energy.model_copy(update={"cpu_joules": processor.joules()})
    if energy.cpu_joules is None:
        no_energy["energy.cpu_joules"] = processor.reason
    hardware, not_seen = watch.hardware(own_processes)
    return {
        "energy": energy.model_dump(mode="json", exclude_none=True),
        "hardware": hardware.model_dump(mode="json", exclude_none=True),
        "unknown": {**no_energy, **not_seen},
        "flags": list(flags_of(energy)),
    }


def processor_window(
    processor: Rapl,
    run: Callable[[int], object],
    *,
    output_tokens: int,
    all_tokens: int,
    window_seconds: float = MIN_WINDOW_SECONDS,
    clock: Clock = time.perf_counter,
) -> dict[str, Any]:
    """As ``watched_window`` where the processor is the device: all its packages, with whatever else runs on them.

    Nothing is run where its counters cannot be read; the reason is then all that is returned.
    """
    if processor.reason:
        return {"unknown": dict.fromkeys(("energy", "energy_joules"), processor.reason)}
    before = processor.joules()
    runs, seconds = _filled(run, window_seconds, clock)
    joules = counter_difference(before, processor.joules())
    if joules is None:
        return {"unknown": dict.fromkeys(("energy", "energy_joules"), "the RAPL counters stopped answering")}
    energy = Energy(
        joules=joules,
        cpu_joules=joules,
        mean_watts=joules / seconds,
        window_seconds=seconds,
        source="rapl",
        output_tokens=runs * output_tokens,
        joules_per_output_token=joules / (runs * output_tokens),
        joules_per_token=joules / (runs * all_tokens),
    )
    reason = {"energy.idle_watts": "the idle processor was not watched"}
    return {"energy": energy.model_dump(mode="json", exclude_none=True), "unknown": reason}


def _filled(run: Callable[[int], object], window_seconds: float, clock: Clock) -> tuple[int, float]:
    """Runs until the window is full: how many, and how long they took."""
    runs, start = 0, clock()
    while runs == 0 or (clock() - start < window_seconds * LONGER and runs < MOST_RUNS):
        run(runs)
        runs += 1
    return runs, clock() - start


def visible_device() -> str:
    """The first device that this process may use, as CUDA or ROCm name it: a number or a UUID.

    CUDA counts in the driver's order only with CUDA_DEVICE_ORDER=PCI_BUS_ID; on machines of unlike GPUs set it, or
    name the device by its UUID.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("HIP_VISIBLE_DEVICES") or "0"
    return named.split(",")[0].strip()
