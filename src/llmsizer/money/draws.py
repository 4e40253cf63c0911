"""Draws of what nobody knows exactly: stratified, deterministic by seed, drivers that move together.

A driver is stated by low, middle and high. Its median is the middle; half of the draws lie below, half above, and their
density falls in a line to nothing at both ends (a triangle of two halves): nothing lies outside what was stated. A
calibrated interval is a 90 % interval instead: lognormal on either side of the middle, one in twenty beyond each end.

Drivers of one group share a factor (a Gaussian copula): z = √ρ · shared + √(1 − ρ) · own. Every standard normal is
drawn by Latin hypercube: one draw in each of so many equally likely slices, which takes most of the noise out of sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Shape = Literal["range", "interval"]
SLICES = 16  # a power of two: draws are, and the slices are then of one size
Z95 = NormalDist().inv_cdf(0.95)
_NORMAL = NormalDist()
_Z_GRID: Vector = np.linspace(-8.0, 8.0, 3201)
_P_GRID: Vector = np.array([_NORMAL.cdf(float(z)) for z in _Z_GRID])


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """Something uncertain: its middle and ends, and what it moves together with.

    ``low`` and ``high`` are the ends of a range, or the 5th and 95th percentile of an interval.
    """

    name: str
    low: float
    mid: float
    high: float
    shape: Shape = "range"
    group: str = ""  # drivers of one group share a factor
    correlation: float = 0.0  # ρ between two drivers of the group

    def __post_init__(self) -> None:
        assert self.low <= self.mid <= self.high, f"{self.name}: {self.low} ≤ {self.mid} ≤ {self.high}?"
        assert self.shape == "range" or self.low > 0, f"{self.name}: an interval is one of factors, above 0"
        assert 0 <= self.correlation <= 1, f"{self.name}: a correlation of {self.correlation}"

    @property
    def is_certain(self) -> bool:
        return self.low == self.high

    def at(self, z: Vector) -> Vector:
        """Values at standard normal scores: the middle at 0."""
        if self.shape == "interval":
            down, up = float(np.log(self.mid / self.low)), float(np.log(self.high / self.mid))
            moved: Vector = self.mid * np.exp(np.where(z < 0, down, up) * z / Z95)
            return moved
        p = normal_share(z)
        below = self.low + (self.mid - self.low) * np.sqrt(2 * np.minimum(p, 0.5))
        above = self.high - (self.high - self.mid) * np.sqrt(2 * np.minimum(1 - p, 0.5))
        drawn: Vector = np.where(p < 0.5, below, above)
        return drawn


def normal_share(z: Vector) -> Vector:
    """The standard normal distribution function, from a table (error below 1e-6)."""
    return np.interp(z, _Z_GRID, _P_GRID)


def normal_score(p: Vector) -> Vector:
    """Its inverse."""
    return np.interp(p, _P_GRID, _Z_GRID)


def draw(drivers: Sequence[Driver], count: int, seed: int) -> dict[str, Vector]:
    """Values by driver's name, ``count`` of each; certain drivers are left out: their middle is their value."""
    assert count > 0, "draw at least once"
    uncertain = [driver for driver in drivers if not driver.is_certain]
    columns = iter(_scores(count, seed, len(uncertain) + len({driver.group for driver in uncertain if driver.group})))
    shared: dict[str, Vector] = {}
    values: dict[str, Vector] = {}
    for driver in uncertain:
        score = next(columns)
        if driver.group:
            if driver.group not in shared:
                shared[driver.group] = next(columns)
            score = np.sqrt(driver.correlation) * shared[driver.group] + np.sqrt(1 - driver.correlation) * score
        values[driver.name] = driver.at(score)
    return values


@lru_cache(maxsize=2)
def _scores(count: int, seed: int, columns: int) -> tuple[Vector, ...]:
    """Standard normal scores, in each column one in each of ``count`` equally likely slices, in random order.

    The same for every question with as many drivers.
    """
    generator = np.random.default_rng(seed)
    return tuple(normal_score((generator.permutation(count) + generator.random(count)) / count) for _ in range(columns))


def conditional_means(of: Vector, given: Vector, slices: int) -> Vector:
    """Means over equally many draws each, in the order of a driver; ``of`` may have rows."""
    order, edges = np.argsort(given), _edges(len(given), slices)
    means: Vector = np.add.reduceat(of[..., order], edges[:-1], axis=-1) / np.diff(edges)
    return means


def _edges(draws: int, slices: int) -> NDArray[np.intp]:
    return np.linspace(0, draws, min(slices, draws) + 1).astype(np.intp)


def information_usd(costs: Mapping[str, Vector], given: Vector | None, slices: int = SLICES) -> float:
    """What knowing something before choosing would save on average, in the costs' unit.

    With ``given`` that driver alone (partial perfect information), by slices of it; without, everything at once. Noise
    within slices makes it a little too large, by about the spread over √(draws / slices).
    """
    columns = np.array(list(costs.values()))
    by_choice = columns.mean(axis=1).min()
    if given is None:
        return max(0.0, float(by_choice - columns.min(axis=0).mean()))
    best = conditional_means(columns, given, slices).min(axis=0)
    return max(0.0, float(by_choice - np.average(best, weights=np.diff(_edges(len(given), slices)))))


def variance_share(of: Vector, given: Vector, slices: int = SLICES) -> float:
    """The part of a quantity's variance that a driver explains alone (a first-order Sobol index, by slices)."""
    whole = float(of.var())
    if whole <= 0:
        return 0.0
    means = conditional_means(of, given, slices)
    noise = whole * min(1.0, slices / len(of))  # what slices of a driver without any effect would show
    return float(min(1.0, max(0.0, (means.var() - noise) / whole)))
