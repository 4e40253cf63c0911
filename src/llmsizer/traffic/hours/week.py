"""A fleet through the 168 hours of a week: always on, in an active window, by the hour, or down to zero when idle.

Hours are sized one by one with the rate that one replica holds within the SLO. What starts is billed from the moment it
starts: a replica that is needed at nine was begun before nine. Nothing here needs a simulation but that rate;
``cold_starts`` simulates what a start costs those who come meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.facts.figure import Figure, over_corners
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Workload
from llmsizer.facts.workload.hours import DAYS, HOURS_PER_DAY, HOURS_PER_WEEK
from llmsizer.traffic.closed_form.sizing import replicas_for
from llmsizer.units import HOURS_PER_MONTH, SECONDS_PER_HOUR

Mode = Literal["always-on", "active-window", "by-hour", "scale-to-zero"]
MEANING: dict[Mode, str] = {
    "always-on": "the peak hour's replicas, every hour",
    "active-window": "the peak hour's replicas in the window, none outside",
    "by-hour": "what each hour needs, one at least, started before the hour",
    "scale-to-zero": "what each hour needs; none when idle, started by the first request",
}
WEEKS_PER_MONTH = HOURS_PER_MONTH / HOURS_PER_WEEK
QUIET_SHARE = 0.05  # of the peak hour: hours below it are outside a window that nobody drew
RESTART = ("model_load_bytes_per_second", "engine_init_seconds")
START_UP = ("machine_boot_seconds", *RESTART)

Week = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """How replicas follow from a rate, and how fast they come and go."""

    requests_per_second_each: float  # that one replica holds within the SLO
    headroom: float = 0.0
    spare_replicas: int = 0
    start_seconds: float = 0.0
    stay_seconds: float = 0.0  # of a request, mean
    turns: float = 1.0  # of a conversation, mean: what wakes a sleeping service is the first of them
    think_seconds: float = 0.0  # between turns
    idle_seconds: float = 900.0  # scale-to-zero: up so long after the last answer
    window: frozenset[int] | None = None  # hours of the week; None: those that are not quiet

    @property
    def hold_seconds(self) -> float:
        """How long one request keeps a service up that sleeps when idle."""
        return self.stay_seconds + self.idle_seconds

    @property
    def start_share(self) -> float:
        """Of an hour, that a start takes."""
        return min(1.0, self.start_seconds / SECONDS_PER_HOUR)

    def replicas(self, requests_per_second: float) -> int:
        """Without spares; none for no demand."""
        if requests_per_second <= 0:
            return 0
        return replicas_for(requests_per_second * (1 + self.headroom), self.requests_per_second_each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One mode through the week, spares included. ``replica_hours_by_hour`` counts start-ups and sleep."""

    mode: Mode
    replicas_by_hour: tuple[int, ...]
    replica_hours_by_hour: tuple[float, ...]
    served_share: float  # of requests: the rest comes when the service is closed
    starts_per_week: float  # of replicas
    meaning: str
    start_share: float = 0.0  # of an hour, that a start takes
    awake_by_hour: tuple[float, ...] = ()  # share of each hour; empty: up in all that have replicas
    basis: Literal["calibrated"] = "calibrated"  # as sure as the rate that one replica holds

    @property
    def peak_replicas(self) -> int:
        return max(self.replicas_by_hour)

    @property
    def replica_hours_per_week(self) -> float:
        return math.fsum(self.replica_hours_by_hour)

    @property
    def replica_hours_per_month(self) -> float:
        return self.replica_hours_per_week * WEEKS_PER_MONTH

    @property
    def billed_share(self) -> float:
        """Of a month in which the peak's replicas all run: what a bill by the hour is multiplied by."""
        return self.replica_hours_per_week / (self.peak_replicas * HOURS_PER_WEEK) if self.peak_replicas else 0.0


def hourly_rates(workload: Workload) -> Week:
    """Requests per second in each hour of the week; their mean is the workload's rate. Raises InputError."""
    if not workload.hourly_weights:
        if workload.peak_to_average == 1:
            return np.full(HOURS_PER_WEEK, workload.requests_per_second)
        raise InputError(f"{workload.name}: nobody said when requests come; give hours, or peak_to_average = 1")
    weights = np.array(workload.hourly_weights)
    rates: Week = workload.requests_per_second * weights / weights.mean()
    return rates


def peak_hour(rates: Week) -> int:
    """The first of the busiest hours, counted from Monday midnight."""
    return int(np.argmax(rates))


def hour_name(hour: int) -> str:
    """``tue 10:00``."""
    return f"{DAYS[hour // HOURS_PER_DAY]} {hour % HOURS_PER_DAY:02d}:00"


def run_week(rates: Week, sizing: Sizing, mode: Mode) -> Running:
    """One mode. Raises InputError where not even an idle replica meets the SLO."""
    if not sizing.requests_per_second_each > 0:
        raise InputError("even a nearly idle replica misses the SLO: no number of them helps; loosen it or change them")
    return _MODES[mode](rates, sizing)


def all_modes(rates: Week, sizing: Sizing) -> tuple[Running, ...]:
    return tuple(run_week(rates, sizing, mode) for mode in MEANING)


def window_of(rates: Week, sizing: Sizing) -> frozenset[int]:
    """The window drawn, or every hour with at least a twentieth of the peak hour's demand."""
    if sizing.window is not None:
        return sizing.window
    return frozenset(np.flatnonzero(rates >= QUIET_SHARE * rates.max()).tolist())


def _always_on(rates: Week, sizing: Sizing) -> Running:
    count = sizing.replicas(float(rates.max())) + sizing.spare_replicas
    return _running("always-on", [count] * HOURS_PER_WEEK, [float(count)] * HOURS_PER_WEEK, 1.0, 0.0)


def _active_window(rates: Week, sizing: Sizing) -> Running:
    inside = window_of(rates, sizing)
    busiest = max((float(rates[hour]) for hour in inside), default=0.0)
    count = sizing.replicas(busiest) + sizing.spare_replicas
    counts = [count if hour in inside else 0 for hour in range(HOURS_PER_WEEK)]
    served = math.fsum(float(rates[hour]) for hour in inside) / math.fsum(rates)
    hours = _with_starts(counts, sizing)
    return _running("active-window", counts, hours, served, _starts(counts), sizing.start_share)


def _by_hour(rates: Week, sizing: Sizing) -> Running:
    counts = [max(1, sizing.replicas(float(rate))) + sizing.spare_replicas for rate in rates]
    return _running("by-hour", counts, _with_starts(counts, sizing), 1.0, _starts(counts), sizing.start_share)


def _scale_to_zero(rates: Week, sizing: Sizing) -> Running:
    counts = [(sizing.replicas(float(rate)) + sizing.spare_replicas) if rate > 0 else 0 for rate in rates]
    # Conversations come at random, not their turns; one keeps the service up from its first turn to beyond its last.
    hold = sizing.hold_seconds + (sizing.turns - 1) * sizing.think_seconds
    awake = [awake_share(float(rate) / sizing.turns, hold, sizing.start_seconds) for rate in rates]
    hours = [share * billed for share, billed in zip(awake, _with_starts(counts, sizing), strict=True)]
    # A sleep ends when a conversation begins: so many times an hour as they find it asleep.
    woken = math.fsum(
        float(rate) / sizing.turns * SECONDS_PER_HOUR * (1 - share) * count
        for rate, share, count in zip(rates, awake, counts, strict=True)
    )
    started = woken + _starts(counts)
    return _running("scale-to-zero", counts, hours, 1.0, started, sizing.start_share, tuple(awake))


_MODES: dict[Mode, Callable[[Week, Sizing], Running]] = {
    "always-on": _always_on,
    "active-window": _active_window,
    "by-hour": _by_hour,
    "scale-to-zero": _scale_to_zero,
}


def awake_share(arrivals_per_second: float, hold_seconds: float, start_seconds: float) -> float:
    """Share of time in which a replica that sleeps when idle is up or starting, under Poisson arrivals.

    It sleeps 1/λ, starts, and stays up for the busy period of an M/G/∞ queue, (e^(λ·hold) − 1)/λ, which depends on the
    mean hold alone.
    """
    if arrivals_per_second <= 0:
        return 0.0
    held = arrivals_per_second * hold_seconds
    if held > 50:
        return 1.0
    up = start_seconds + math.expm1(held) / arrivals_per_second
    return up / (1 / arrivals_per_second + up)


def unit_share(running: Running, replicas_per_unit: int) -> float:
    """Share of the week's hours that the peak's machines are billed, where a machine holds several replicas.

    A machine is billed while one of its replicas is up or starts for the next hour.
    """
    units = [math.ceil(count / replicas_per_unit) for count in running.replicas_by_hour]
    awake = running.awake_by_hour or (1.0,) * HOURS_PER_WEEK
    billed = math.fsum(
        share * (now + running.start_share * max(0, later - now))
        for share, now, later in zip(awake, units, [*units[1:], units[0]], strict=True)
    )
    return min(1.0, billed / (max(units) * HOURS_PER_WEEK)) if max(units) else 0.0


def start_up(weight_bytes: float, assumed: dict[str, Figure]) -> Estimate:
    """Seconds from asking for a replica to its first request: boot, weights over the load rate, engine init."""
    boot, load, init = (assumed[name].estimate for name in START_UP)
    return over_corners(
        lambda boots, rate, inits: boots + weight_bytes / rate + inits,
        boot,
        load,
        init,
        reason=f"boot + {weight_bytes / 1e9:.1f} GB of weights at the load rate + engine init",
    )


def restart(weight_bytes: float, assumed: dict[str, Figure]) -> Estimate:
    """The same where the machine stays and only the engine is replaced: no boot."""
    load, init = (assumed[name].estimate for name in RESTART)
    return over_corners(lambda rate, inits: weight_bytes / rate + inits, load, init, reason="the machine stays")


def _starts(counts: list[int]) -> float:
    """Replicas begun in a week; Monday follows Sunday."""
    return float(sum(max(0, now - before) for before, now in zip([counts[-1], *counts[:-1]], counts, strict=True)))


def _with_starts(counts: list[int], sizing: Sizing) -> list[float]:
    """Replica-hours of each hour, those included that start for the next: never more than the larger of both hours."""
    following = [*counts[1:], counts[0]]
    return [now + sizing.start_share * max(0, later - now) for now, later in zip(counts, following, strict=True)]


def _running(
    mode: Mode,
    counts: list[int],
    hours: list[float],
    served: float,
    starts: float,
    start_share: float = 0.0,
    awake: tuple[float, ...] = (),
) -> Running:
    return Running(
        mode=mode,
        replicas_by_hour=tuple(counts),
        replica_hours_by_hour=tuple(hours),
        served_share=served,
        starts_per_week=starts,
        meaning=MEANING[mode],
        start_share=start_share,
        awake_by_hour=awake,
    )
