"""Intervals that stay honest where values follow one another: autocorrelation first, then skewness.

Latencies in the order they were taken resemble their neighbours: n of them say less than n independent ones. Each
interval therefore counts with n / τ, τ the autocorrelation time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.student import binomial_ranks, normal_quantile, student_quantile

LEVEL = 0.90
Floats = NDArray[np.float64]
Judged = Literal["held", "missed", "not decided"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value and the bounds that enclose the true one with probability ``level``; None: no bound on that side."""

    value: float
    low: float | None
    high: float | None
    level: float = LEVEL

    @property
    def relative_width(self) -> float:
        """Half the width over the value; infinite without both bounds."""
        if self.low is None or self.high is None or not self.value:
            return math.inf
        return (self.high - self.low) / 2.0 / abs(self.value)


def judged(interval: Interval, *, least: float = -math.inf, most: float = math.inf) -> Judged:
    """Whether a value keeps its bounds: decided only where the whole interval lies on one side of each.

    >>> judged(Interval(value=1.0, low=0.9, high=1.1), most=1.05)
    'not decided'
    """
    low = -math.inf if interval.low is None else interval.low
    high = math.inf if interval.high is None else interval.high
    if least <= low and high <= most:
        return "held"
    return "missed" if high < least or most < low else "not decided"


def autocorrelation_time(values: Sequence[float] | Floats) -> float:
    """τ = 1 + 2 Σ ρ(k): how many neighbours are worth one independent value; at least 1.

    The sum ends where pairs of neighbouring lags turn negative (Geyer's initial positive sequence), for beyond it there
    is only noise. Below 8 values nothing can be seen, and independence is assumed.
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    if n < 8 or not np.ptp(series):
        return 1.0
    centred = series - series.mean()
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[: n // 2] / n
    rho = covariance / covariance[0]
    # The mean that was taken off lowers every ρ by about τ/n; the first round's τ puts it back in the second.
    time = 1.0
    for _ in range(3):
        lifted = rho + time / n * (1.0 - rho)
        pairs = lifted[:-1:2] + lifted[1::2]
        negative = np.flatnonzero(pairs <= 2.0 * time / n)
        end = int(negative[0]) if len(negative) else len(pairs)
        shrinking = np.minimum.accumulate(pairs[:end]) if end else pairs[:0]
        time = float(max(1.0, 2.0 * shrinking.sum() - 1.0))
    # Independent values too show some by chance, each ρ by about 1/√n.
    return 1.0 if time < 1.0 + 2.0 / math.sqrt(n) else min(time, n / 2.0)


def mean_with_interval(values: Sequence[float], *, level: float = LEVEL) -> Interval:
    """The mean of a series in the order taken. Bounds are None of one value.

    Student's t with n/τ values, bent for skewness by Hall's (1992) transformation, since latencies lean to the right.
    """
    series = np.asarray(values, dtype=np.float64)
    if not len(series) or not np.isfinite(series).all():
        raise InputError("an interval needs finite values; there are none, or some are not finite")
    mean = float(series.mean())
    if len(series) < 2:
        return Interval(value=mean, low=None, high=None, level=level)
    effective = max(2.0, len(series) / autocorrelation_time(series))
    # Autocorrelated values lie closer to their own mean than to the true one.
    deviation = float(series.std(ddof=1)) * math.sqrt((1.0 - 1.0 / len(series)) / (1.0 - 1.0 / effective))
    skew = _skewness(series)
    error = deviation / math.sqrt(effective)
    t = student_quantile((1.0 + level) / 2.0, effective - 1.0)
    return Interval(
        value=mean, low=mean - _bent(t, skew, effective) * error, high=mean - _bent(-t, skew, effective) * error,
        level=level,
    )  # fmt: skip


def _skewness(series: Floats) -> float:
    deviation = float(series.std())
    if len(series) < 8 or not deviation:
        return 0.0  # three or four values tell nothing of a third moment
    return float(np.mean(((series - series.mean()) / deviation) ** 3))


def _bent(t: float, skew: float, count: float) -> float:
    """The inverse of Hall's transformation T + γT²/3√n + γ²T³/27n + γ/6√n."""
    bend = skew / (3.0 * math.sqrt(count))
    if abs(bend) < 1e-9:
        return t
    return float((np.cbrt(1.0 + 3.0 * bend * (t - skew / (6.0 * math.sqrt(count)))) - 1.0) / bend)


def quantile_with_interval(values: Sequence[float], fraction: float, *, level: float = LEVEL) -> Interval | None:
    """An order statistic with order statistics around it; None of fewer than 1/(1 − fraction) values (p99: 100).

    An upper bound is given only from the count where the rank n·f + 1.96 √(n f (1 − f)) + 1 lies inside the sample: 53
    for p90, 110 for p95, 563 for p99. Below it the bound would be the largest value or nothing, which one stall moves.
    """
    n = len(values)
    if n < math.ceil(round(1.0 / min(fraction, 1.0 - fraction), 9)) and fraction != 0.5:
        return None
    series = np.asarray(values, dtype=np.float64)
    ordered = np.sort(series)
    value = float(ordered[math.ceil(round(fraction * n, 9)) - 1])
    # What repeats is whether a value lies above the quantile; its own autocorrelation decides, not the values'.
    effective = n / autocorrelation_time(np.where(series <= value, 1.0, 0.0))
    low, high = _ranks(n, effective, fraction, level)
    return Interval(
        value=value,
        low=float(ordered[low - 1]) if low >= 1 and _has_bound(n, 1.0 - fraction) else None,
        high=float(ordered[high - 1]) if high <= n and _has_bound(n, fraction) else None,
        level=level,
    )


def median_with_interval(values: Sequence[float], *, wanted_level: float = LEVEL) -> Interval:
    """The median and the narrowest symmetric pair of order statistics that reaches the level, or the widest there is.

    Of n independent values, the k-th smallest and k-th largest enclose the median with probability
    1 − 2 P(Binomial(n, ½) < k). Fewer than five values cannot reach 90 %; the level says what they do reach.

    >>> median_with_interval([3.0, 1.0, 2.0])
    Interval(value=2.0, low=1.0, high=3.0, level=0.75)
    """
    ordered, count = sorted(values), len(values)
    best = max((k for k in range(1, count // 2 + 1) if coverage(count, k) >= wanted_level), default=1)
    return Interval(
        value=statistics.median(ordered),
        low=ordered[best - 1],
        high=ordered[count - best],
        level=coverage(count, best),
    )


def coverage(count: int, k: int) -> float:
    """Probability that the k-th smallest and k-th largest of ``count`` values enclose the median."""
    return max(0.0, 1.0 - 2.0 * sum(math.comb(count, i) for i in range(k)) / 2.0**count)


def _ranks(count: int, effective: float, fraction: float, level: float) -> tuple[int, int]:
    if effective == count:
        return binomial_ranks(count, fraction, level)
    shares = student_quantile((1.0 + level) / 2.0, max(2.0, effective - 1.0)) * math.sqrt(
        fraction * (1.0 - fraction) / effective
    )
    return math.floor(count * (fraction - shares)), math.ceil(count * (fraction + shares)) + 1


def _has_bound(count: int, fraction: float) -> bool:
    """Whether a 95 % bound in the direction of this tail lies inside the sample. Small tails only: medians always."""
    if fraction <= 0.5:
        return True
    return count * fraction + normal_quantile(0.975) * math.sqrt(count * fraction * (1.0 - fraction)) + 1.0 <= count


def ratio_with_interval(
    over: Sequence[float], under: Sequence[float], *, paired: bool = True, level: float = LEVEL
) -> Interval:
    """How many times ``over`` is ``under``: the geometric mean of ratios.

    ``paired``: the i-th values were taken one after the other (interleaved), so what slowed the machine slowed both and
    falls out. Else the two series are independent. Raises InputError for values that are not positive.
    """
    if not over or not under or min(*over, *under) <= 0.0:
        raise InputError("a ratio needs positive values on both sides")
    if paired:
        if len(over) != len(under):
            raise InputError(f"pairs need as many values on both sides, not {len(over)} and {len(under)}")
        logs = mean_with_interval([math.log(a / b) for a, b in zip(over, under, strict=True)], level=level)
        bounds = (logs.low, logs.high)
        value = math.exp(logs.value)
    else:
        above, below = [math.log(a) for a in over], [math.log(b) for b in under]
        centre = statistics.fmean(above) - statistics.fmean(below)
        bounds, value = _difference(above, below, centre, level), math.exp(centre)
    low, high = (None if bound is None else math.exp(bound) for bound in bounds)
    return Interval(value=value, low=low, high=high, level=level)


def _difference(
    above: Sequence[float], below: Sequence[float], centre: float, level: float
) -> tuple[float | None, float | None]:
    """Welch's interval of a difference of means."""
    if min(len(above), len(below)) < 2:
        return None, None
    parts = [statistics.variance(side) / (len(side) / autocorrelation_time(side)) for side in (above, below)]
    total = sum(parts)
    if not total:
        return centre, centre
    freedom = total**2 / sum(p**2 / (len(s) - 1) for p, s in zip(parts, (above, below), strict=True))
    half = student_quantile((1.0 + level) / 2.0, freedom) * math.sqrt(total)
    return centre - half, centre + half
