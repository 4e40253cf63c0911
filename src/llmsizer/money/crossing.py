"""Where one cost curve stops being dearer than another: exact to the token, stairs and all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Curve = Callable[[Vector], Vector]
"""Dollars a month at each volume, in tokens a month; NaN where a price is missing."""

FIRST_POINTS, ZOOM_POINTS = 1_200, 120
EXACT_TOKENS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossing:
    """Volumes in tokens a month; ``first``: where it is first no dearer, ``for_good``: from where it stays so.

    Both None: dearer at every volume searched. Stairs that cross and cross back within one part in ninety of a volume
    can hide from the first pass; from the last crossing found on, the search is exact.
    """

    first: float | None
    for_good: float | None
    points: int


def crossing(below: Curve, above: Curve, least: float, most: float) -> Crossing | None:
    """Where ``above`` gets as cheap as ``below``; None where either has no price."""
    grid: Vector = np.geomspace(least, most, FIRST_POINTS)
    dearer = _dearer(below, above, grid)
    if dearer is None:
        return None
    if not dearer.any():
        return Crossing(first=least, for_good=least, points=FIRST_POINTS)
    ends = np.flatnonzero(dearer[:-1] & ~dearer[1:])  # cells in which it stops being dearer
    first = None if not ends.size else _last_flip(below, above, grid[ends[0]], grid[ends[0] + 1])
    if not dearer[0]:
        first = least
    if dearer[-1]:
        return Crossing(first=first, for_good=None, points=FIRST_POINTS)
    for_good = _last_flip(below, above, grid[ends[-1]], grid[ends[-1] + 1])
    return Crossing(first=first, for_good=for_good, points=FIRST_POINTS)


def _last_flip(below: Curve, above: Curve, low: float, high: float) -> float:
    """The first whole token at and beyond which the bracket is no longer dearer."""
    while high - low > EXACT_TOKENS:
        grid: Vector = np.linspace(low, high, ZOOM_POINTS)
        dearer = _dearer(below, above, grid)
        assert dearer is not None, "prices do not come and go with volume"
        dearer[0], dearer[-1] = True, False
        last = int(np.flatnonzero(dearer)[-1])
        if not low < grid[last + 1] < high and not low < grid[last] < high:
            break  # neighbouring floats
        low, high = float(grid[last]), float(grid[last + 1])
    if high >= 2**52:
        return high
    whole: Vector = np.ceil(low) + np.arange(2.0)
    dearer = _dearer(below, above, whole)
    return float(whole[1] if dearer is None or dearer[0] else whole[0])


def _dearer(below: Curve, above: Curve, grid: Vector) -> NDArray[np.bool_] | None:
    left, right = below(grid), above(grid)
    if np.isnan(left).any() or np.isnan(right).any():
        return None
    found: NDArray[np.bool_] = right > left
    return found
