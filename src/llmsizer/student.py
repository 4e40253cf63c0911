"""Quantiles of Student's t and probabilities of the binomial, so that intervals need no statistics package."""

from __future__ import annotations

import math
from statistics import NormalDist

_EXACT_COUNT = 5_000  # beyond it the normal approximation of a binomial is exact to a rank or so


def normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def student_quantile(probability: float, freedom: float) -> float:
    """Student's t, by its expansion around the normal (Abramowitz & Stegun 26.7.5); exact at 1 and 2 degrees.

    >>> round(student_quantile(0.95, 4), 2)
    2.13
    """
    if freedom <= 1.0:
        return math.tan(math.pi * (probability - 0.5))
    if freedom <= 2.0:
        share = 2.0 * probability - 1.0
        return share * math.sqrt(2.0 / (1.0 - share * share))
    z = normal_quantile(probability)
    terms = (
        (z**3 + z) / 4.0,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96.0,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384.0,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92_160.0,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def binomial_ranks(count: int, fraction: float, level: float) -> tuple[int, int]:
    """Ranks (from 1) of the order statistics that enclose the ``fraction`` quantile with the level, equal tails.

    P(X₍ₗ₎ ≤ quantile) ≥ 1 − tail needs P(Binomial(n, f) < l) ≤ tail; likewise above. A rank of 0 or n + 1 means that no
    value is far enough out.
    """
    tail = (1.0 - level) / 2.0
    if count > _EXACT_COUNT:
        spread = normal_quantile(1.0 - tail) * math.sqrt(count * fraction * (1.0 - fraction))
        return math.floor(count * fraction - spread), math.ceil(count * fraction + spread) + 1
    low, high, below = 0, count + 1, 0.0
    for k in range(count + 1):
        below += _binomial(count, k, fraction)  # P(B ≤ k)
        if below <= tail:
            low = k + 1
        if below >= 1.0 - tail - 1e-12:
            high = k + 1
            break
    return low, high


def _binomial(count: int, k: int, fraction: float) -> float:
    log_choose = math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1)
    return math.exp(log_choose + k * math.log(fraction) + (count - k) * math.log1p(-fraction))
