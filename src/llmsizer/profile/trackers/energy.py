"""From readings to joules: the device's own counter, checked against its power integrated over the same window.

Sources of the rules: NVML's documentation (units; power is a one-second average on most data-centre parts), and
"Part-time Power Measurements" (arXiv 2312.02741): the sensor looks only a part of the time, so windows under ten
seconds say little. Idle power is stated beside the total and never subtracted.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from llmsizer.facts.record_parts import Energy
from llmsizer.profile.trackers.sensor import Reading, Sensor

MIN_WINDOW_SECONDS = 10.0
MOST_GAP_SECONDS = 3.0  # between power readings; a longer hole is not integrated over
AGREEMENT = 0.05  # of counter and integral, relative


def integrate_watts(times: Sequence[float], watts: Sequence[float]) -> float:
    """Joules under the straight lines between the readings (trapezoids).

    >>> integrate_watts([0.0, 1.0, 3.0], [100.0, 200.0, 200.0])
    550.0
    """
    pairs = zip(pairwise(times), pairwise(watts), strict=True)
    return sum((t1 - t0) * (w0 + w1) / 2.0 for (t0, t1), (w0, w1) in pairs)


def counter_difference(first: float | None, last: float | None, *, wraps_at: float | None = None) -> float | None:
    """What a counter counted; None where it is unknown or went backwards without a known place to wrap.

    >>> counter_difference(90.0, 10.0, wraps_at=100.0)
    20.0
    """
    if first is None or last is None:
        return None
    if last >= first:
        return last - first
    return None if wraps_at is None else last - first + wraps_at


def energy_of(
    sensor: Sensor,
    readings: Sequence[Reading],
    counter: tuple[float | None, float | None],
    *,
    window: tuple[float, float],
    idle_watts: float | None,
    output_tokens: int,
    all_tokens: int,
) -> tuple[Energy, dict[str, str]]:
    """The energy of a window on the readings' clock, and the reasons for what is unknown, by dotted names."""
    unknown: dict[str, str] = {}
    seconds = window[1] - window[0]
    powers = [(r.seconds, r.watts) for r in readings if r.watts is not None]
    counted = counter_difference(*counter)
    integral = _integral(powers, window, unknown)
    joules = counted if counted else integral
    if counted is None and None not in counter:
        unknown["energy.counter"] = "the counter went backwards: the driver was reloaded or it wrapped"
    if counted == 0.0:
        unknown["energy.counter"] = "the counter did not move in this window"
    if seconds < MIN_WINDOW_SECONDS:
        unknown["energy.joules"] = f"a window of {seconds:.1f} s is shorter than {MIN_WINDOW_SECONDS:.0f} s"
        joules = None
    elif joules is None:
        unknown.setdefault("energy.joules", "the driver gives neither an energy counter nor power")
    source = sensor.counter_source if counted else sensor.power_source
    return (
        Energy(
            joules=joules,
            idle_watts=idle_watts,
            mean_watts=None if joules is None else joules / seconds,
            peak_watts=max((watts for _, watts in powers), default=None),
            window_seconds=seconds,
            source=None if joules is None else source,
            cross_check_relative_error=(counted - integral) / integral if counted and integral else None,
            output_tokens=output_tokens,
            joules_per_output_token=joules / output_tokens if joules and output_tokens else None,
            joules_per_token=joules / all_tokens if joules and all_tokens else None,
        ),
        unknown,
    )


def _integral(
    powers: Sequence[tuple[float, float]], window: tuple[float, float], unknown: dict[str, str]
) -> float | None:
    """Power over the window, its edges held at the nearest reading; None where readings leave a hole."""
    inside = [(t, w) for t, w in powers if window[0] <= t <= window[1]]
    if len(inside) < 2:
        unknown["energy.cross_check_relative_error"] = "fewer than two power readings in the window"
        return None
    padded = [(window[0], inside[0][1]), *inside, (window[1], inside[-1][1])]
    if max(later - earlier for (earlier, _), (later, _) in pairwise(padded)) > MOST_GAP_SECONDS:
        unknown["energy.cross_check_relative_error"] = f"power readings more than {MOST_GAP_SECONDS:.0f} s apart"
        return None
    return integrate_watts([t for t, _ in padded], [w for _, w in padded])


def flags_of(energy: Energy) -> tuple[str, ...]:
    """What a reader should know before believing the joules."""
    flags = []
    if energy.window_seconds is not None and energy.window_seconds < MIN_WINDOW_SECONDS:
        flags.append("energy_window_short")
    if energy.cross_check_relative_error is not None and abs(energy.cross_check_relative_error) > AGREEMENT:
        flags.append("energy_sources_disagree")
    return tuple(flags)
