"""One watched window of a point: long enough for a power sensor, and apart from the timed runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from llmsizer.profile.trackers.energy import MIN_WINDOW_SECONDS, flags_of
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
    runs = 0
    with Watch(sensor, clock=clock) as watch:
        start = clock()
        while runs == 0 or (clock() - start < window_seconds * LONGER and runs < MOST_RUNS):
            run(runs)
            runs += 1
    energy, no_energy = watch.energy(
        output_tokens=runs * output_tokens, all_tokens=runs * all_tokens, idle_watts=idle_watts
    )
    hardware, not_seen = watch.hardware(own_processes)
    return {
        "energy": energy.model_dump(mode="json", exclude_none=True),
        "hardware": hardware.model_dump(mode="json", exclude_none=True),
        "unknown": {**no_energy, **not_seen},
        "flags": list(flags_of(energy)),
    }


def visible_device() -> str:
    """The first device that this process may use, as CUDA or ROCm name it: a number or a UUID.

    CUDA counts in the driver's order only with CUDA_DEVICE_ORDER=PCI_BUS_ID; on machines of unlike GPUs set it, or
    name the device by its UUID.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES") or os.environ.get("HIP_VISIBLE_DEVICES") or "0"
    return named.split(",")[0].strip()
