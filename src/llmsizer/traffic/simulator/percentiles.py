"""Percentiles of a stream in constant memory: counts in bins of constant relative width.

The bin of a positive number is read off its floating-point representation: the exponent and the first seven bits of the
mantissa. So there are 128 bins to each doubling, a bin is 0.4 to 0.8 % wide, and with interpolation inside the bin a
percentile is off by less than that (0.8 % of its value) whatever the distribution. Two sketches add up by adding
counts: the sum does not depend on the order, so replications merge bit for bit.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

MANTISSA_BITS = 7
SHIFT = 52 - MANTISSA_BITS
LOWEST_SECONDS, HIGHEST_SECONDS = 2.0**-24, 2.0**24  # 60 ns to 194 days
BINS = 48 << MANTISSA_BITS
OFFSET = (1023 - 24) << MANTISSA_BITS


@cache
def bin_edges() -> NDArray[np.float64]:
    """Lower edges of all bins, and the upper edge of the last."""
    return ((np.arange(BINS + 1, dtype=np.int64) + OFFSET) << SHIFT).view(np.float64)


def counts_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """The sketch of numbers that are at hand."""
    inside = np.clip(values, LOWEST_SECONDS, np.nextafter(HIGHEST_SECONDS, 0.0))
    return np.bincount((inside.view(np.int64) >> SHIFT) - OFFSET, minlength=BINS).astype(np.int64)


def quantile(counts: NDArray[np.int64], fraction: float) -> float | None:
    """The value below which a fraction of the counted numbers lies; None where nothing was counted."""
    total = int(counts.sum())
    if total == 0:
        return None
    # The numbers of one bin are taken as evenly spread: the k-th of n stands at (k - 1/2)/n of the bin.
    rank = min(max(fraction * total, 0.5), total - 0.5)
    cumulative = np.cumsum(counts)
    index = int(np.searchsorted(cumulative, rank, side="left"))
    below = int(cumulative[index - 1]) if index else 0
    low, high = bin_edges()[index : index + 2]
    return float(low + (high - low) * (rank - below) / int(counts[index]))
