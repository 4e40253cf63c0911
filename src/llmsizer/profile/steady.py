"""Was the stretch that was measured stationary? A trend test and the variation that stays; "no" is an answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.record_parts import SteadyState

MOST_BLOCKS = 20  # block means: neighbours resemble one another, and a trend test takes them for a trend
FEWEST = 4  # of four values in a row none can be called a trend at 5 %; fewer tell nothing at all
TREND_P_VALUE = 0.05
FEWEST_CROPPED = 8  # a tail cut shorter has no trend only because nothing so short can show one
LEAST_DRIFT = 0.02  # of the mean, first half to second half: less is of no interest however sure it is
MOST_VARIATION = 0.20  # of block means over their mean
CROPS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
_EXACT_COUNT = 12


def steady_state(values: Sequence[float], *, most_variation: float = MOST_VARIATION) -> SteadyState:
    """The longest tail, of at least half the values, without a trend and with little variation.

    Mann–Kendall on the means of up to 20 blocks (exact probabilities up to 12 of them), and their standard deviation
    over their mean. ``found=False`` with the reason where no tail passes: such figures are to be shown, not used.
    """
    series = np.asarray(values, dtype=np.float64)
    if len(series) < FEWEST or not np.isfinite(series).all():
        reason = f"{len(series)} values cannot show a trend" if len(series) < FEWEST else "a value is not finite"
        return SteadyState(found=False, reason=reason)
    first: SteadyState | None = None
    for share in CROPS:
        start = math.floor(share * len(series))
        if start and len(series) - start < FEWEST_CROPPED:
            break
        state = _judged(series, start, most_variation)
        if state.found:
            return state
        first = first or state
    assert first is not None
    return first


def _judged(series: NDArray[np.float64], start: int, most_variation: float) -> SteadyState:
    blocks = _block_means(series[start:])
    mean = float(blocks.mean())
    variation = float(blocks.std(ddof=1)) / abs(mean) if mean else 0.0
    score, probability = mann_kendall(blocks.tolist())
    half = len(blocks) // 2
    drift = abs(float(np.median(blocks[-half:]) - np.median(blocks[:half])))
    drifting = probability < TREND_P_VALUE and drift > LEAST_DRIFT * abs(mean)
    reason = ""
    if drifting:
        reason = f"a trend {'up' if score > 0 else 'down'} (p = {probability:.2g}) goes on to the end"
    elif variation > most_variation:
        reason = f"varies by {variation:.0%}, more than {most_variation:.0%}"
    return SteadyState(
        found=not reason,
        start=start,
        end=len(series),
        variation=variation,
        trend=("drifting-up" if score > 0 else "drifting-down") if drifting else "plateau",
        trend_p_value=probability,
        reason=reason,
    )


def _block_means(series: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(series) <= MOST_BLOCKS:
        return series
    return np.array([block.mean() for block in np.array_split(series, MOST_BLOCKS)])


def mann_kendall(values: Sequence[float]) -> tuple[int, float]:
    """Pairs that rise minus pairs that fall, and how probable as many are without a trend (two-sided).

    >>> mann_kendall([1.0, 2.0, 3.0, 4.0, 5.0])[0]
    10
    """
    series = np.asarray(values, dtype=np.float64)
    n = len(series)
    score = int(sum(np.sign(series[i + 1 :] - series[i]).sum() for i in range(n - 1)))
    ties = [int(count) for count in np.unique(series, return_counts=True)[1] if count > 1]
    if n <= _EXACT_COUNT and not ties:
        counts = _permutations_by_inversions(n)
        pairs = n * (n - 1) // 2
        # A score s means (pairs − s)/2 inversions; both tails.
        tail = sum(counts[: (pairs - abs(score)) // 2 + 1]) / math.factorial(n)
        return score, min(1.0, 2.0 * tail)
    variance = (n * (n - 1) * (2 * n + 5) - sum(t * (t - 1) * (2 * t + 5) for t in ties)) / 18.0
    if not variance or not score:
        return score, 1.0
    z = (abs(score) - 1) / math.sqrt(variance)
    return score, 2.0 * (1.0 - NormalDist().cdf(z))


def _permutations_by_inversions(n: int) -> list[int]:
    """How many orders of n values have 0, 1, 2 … inversions (Mahonian numbers)."""
    counts = [1]
    for size in range(2, n + 1):
        sums = [0]
        for count in counts + [0] * (size - 1):
            sums.append(sums[-1] + count)
        counts = [after - sums[max(0, i + 1 - size)] for i, (_, after) in enumerate(pairwise(sums))]
    return counts
