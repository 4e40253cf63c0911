"""Medians with intervals that assume nothing about the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WANTED_LEVEL = 0.90


@dataclass(frozen=True, slots=True, kw_only=True)
class Median:
    """A median, and the order statistics around it that cover the true median with probability ``level``."""

    value: float
    low: float
    high: float
    level: float


def median_with_interval(values: Sequence[float], *, wanted_level: float = WANTED_LEVEL) -> Median:
    """The narrowest symmetric pair of order statistics that reaches the level, or the widest there is.

    Of n independent values, the k-th smallest and k-th largest enclose the median with probability
    1 − 2 P(Binomial(n, ½) < k). Fewer than five values cannot reach 90 %; the level says what they do reach.

    >>> median_with_interval([3.0, 1.0, 2.0])
    Median(value=2.0, low=1.0, high=3.0, level=0.75)
    """
    ordered, count = sorted(values), len(values)
    middle = count // 2
    value = ordered[middle] if count % 2 else (ordered[middle - 1] + ordered[middle]) / 2
    best = 1
    for k in range(1, middle + 1):
        if coverage(count, k) >= wanted_level:
            best = k
    return Median(value=value, low=ordered[best - 1], high=ordered[count - best], level=coverage(count, best))


def coverage(count: int, k: int) -> float:
    """Probability that the k-th smallest and k-th largest of ``count`` values enclose the median."""
    return max(0.0, 1.0 - 2.0 * sum(math.comb(count, i) for i in range(k)) / 2.0**count)


def percentile(values: Sequence[float], fraction: float) -> float | None:
    """The smallest value that at least this fraction does not exceed; None of too few values to have one.

    A percentile needs at least 1/(1 − fraction) values, else it would only be the maximum under another name.
    """
    needed = math.ceil(round(1.0 / (1.0 - fraction), 9))
    if len(values) < needed:
        return None
    return sorted(values)[math.ceil(fraction * len(values)) - 1]
