"""When requests come: constant, Poisson or bursty, over hours of the week, growing.

Bursts and the daily curve are kept apart. Gaps are drawn on a clock that ticks once per expected request (all gaps 1,
or exponential, or Gamma with a coefficient of variation), and that clock is then run at the speed of the demand: fast
at noon, slow at night. So the daily curve changes how many requests come and not how bursty they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.units import HOURS_PER_YEAR, SECONDS_PER_HOUR

STRETCH = 16_384  # requests drawn at a time: they fit the processor's cache
HOURS_PER_DAY, HOURS_PER_WEEK = 24, 168
SECONDS_PER_DAY = HOURS_PER_DAY * SECONDS_PER_HOUR


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """A demand over time. ``requests_per_second`` is the average over the profile, before growth.

    ``gap_cv``: the gaps' standard deviation over their mean: 0 constant, 1 Poisson, above 1 bursty (Gamma).
    ``hourly_weights``: 24 hours of a day or 168 of a week, relative; time 0 is the first hour's start.
    ``growth_per_year``: 0.5 is half as much again after a year, compounding every hour.
    """

    requests_per_second: float
    gap_cv: float = 1.0
    hourly_weights: tuple[float, ...] = ()
    growth_per_year: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.requests_per_second < math.inf:
            raise InputError(f"requests_per_second = {self.requests_per_second}; give a rate above 0")
        if not 0 <= self.gap_cv <= 20:
            raise InputError(f"gap_cv = {self.gap_cv}; give 0 (constant), 1 (Poisson) or up to 20 (bursty)")
        if len(self.hourly_weights) not in (0, HOURS_PER_DAY, HOURS_PER_WEEK):
            raise InputError(f"{len(self.hourly_weights)} hourly weights; give 24 (a day) or 168 (a week)")
        if not all(0 <= weight < math.inf for weight in self.hourly_weights):
            raise InputError("an hourly weight is negative or not a number; give 0 or more")
        if self.hourly_weights and not sum(self.hourly_weights) > 0:
            raise InputError("every hourly weight is 0; give at least one hour in which requests come")
        if not -1 < self.growth_per_year <= 1000:
            raise InputError(f"growth_per_year = {self.growth_per_year}; give more than -1 (0.5 is +50 %)")

    @property
    def is_steady(self) -> bool:
        return not self.hourly_weights and self.growth_per_year == 0

    @property
    def peak_to_average(self) -> float:
        weights = self.hourly_weights
        return max(weights) * len(weights) / sum(weights) if weights else 1.0

    def rate_at(self, hour: int) -> float:
        """Expected requests per second in an hour counted from time 0."""
        weights = self.hourly_weights
        shape = weights[hour % len(weights)] * len(weights) / sum(weights) if weights else 1.0
        return float(self.requests_per_second * shape * (1 + self.growth_per_year) ** (hour / HOURS_PER_YEAR))

    def expected(self, duration_seconds: float) -> float:
        """Expected number of requests up to a time."""
        if self.is_steady:
            return self.requests_per_second * duration_seconds
        times, counts = self.expected_by_hour(duration_seconds)
        return float(np.interp(duration_seconds, times, counts))

    def expected_by_hour(self, duration_seconds: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Hour borders in seconds, and the requests expected up to each."""
        hours = math.ceil(duration_seconds / SECONDS_PER_HOUR) + 1
        rates = np.array([self.rate_at(hour) for hour in range(hours)])
        times = np.arange(hours + 1, dtype=np.float64) * SECONDS_PER_HOUR
        return times, np.concatenate([[0.0], np.cumsum(rates * SECONDS_PER_HOUR)])

    def stretches(self, duration_seconds: float, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        """Arrival times in seconds, in order, up to the duration; the same for the same generator state."""
        expected = self.expected(duration_seconds)
        size = int(min(STRETCH, expected + 6 * (1 + self.gap_cv) * math.sqrt(expected) + 16))
        times, counts = (np.empty(0), np.empty(0)) if self.is_steady else self.expected_by_hour(duration_seconds)
        count = 0.0  # on the clock of expected requests
        while True:
            ticks = count + np.cumsum(self.gaps(size, rng))
            count = float(ticks[-1])
            arrivals = ticks / self.requests_per_second if self.is_steady else np.interp(ticks, counts, times)
            if count >= expected:
                arrivals = arrivals[: int(np.searchsorted(ticks, expected))]
            if arrivals.size:
                yield arrivals
            if count >= expected:
                return

    def gaps(self, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Gaps of mean 1."""
        if self.gap_cv == 0:
            return np.ones(size)
        if self.gap_cv == 1:
            return rng.standard_exponential(size)
        shape = self.gap_cv**-2
        return rng.standard_gamma(shape, size) / shape


def gap_cv(arrival_seconds: Sequence[float] | NDArray[np.float64]) -> float | None:
    """Coefficient of variation of the gaps; None where fewer than three requests make it meaningless."""
    gaps = np.diff(np.asarray(arrival_seconds, dtype=np.float64))
    if gaps.size < 2 or gaps.mean() == 0:
        return None
    return float(gaps.std() / gaps.mean())


@lru_cache(maxsize=32)
def crowd_table(gap_cv_squared: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logarithms of x, and how many more than x requests come after one, in a time in which x are expected.

    The renewal function of Gamma gaps of shape a = 1/cv², less x: Σₖ P(ka, ax) − x with the regularised incomplete
    gamma function P(s, y) = yˢ e⁻ʸ Σₙ yⁿ/Γ(s + n + 1). It ends at (cv² − 1)/2.
    """
    if gap_cv_squared <= 0:
        expected = np.geomspace(1e-3, 4.0, 200)
        return np.log(expected), np.where(expected < 4.0, np.floor(expected) - expected, -0.5)
    shape = 1 / gap_cv_squared
    expected = np.geomspace(1e-7, 4.0 * max(1.0, gap_cv_squared), 70)
    ticks = shape * expected
    orders = shape * np.arange(1, math.ceil((ticks[-1] + 8 * math.sqrt(ticks[-1]) + 8) / shape) + 1)
    terms = np.arange(math.ceil(20 + 3 * ticks[-1]))
    below = np.array([[math.lgamma(order + term + 1) for term in terms] for order in orders])
    powers = (orders[:, None] + terms) * np.log(ticks)[:, None, None]
    counted = np.exp(powers - ticks[:, None, None] - below).sum(axis=(1, 2))
    return np.log(expected), counted - expected


@lru_cache(maxsize=32)
def meeting_table(gap_cv_squared: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Busy shares, and the chance that one who comes finds the server busy: GI/M/1 of Gamma gaps.

    It is the root σ < 1 of σ = E[exp(−(1 − σ)·gap/service)] = (1 + (1 − σ)/(aρ))⁻ᵃ with a = 1/cv²: ρ itself of
    Poisson arrivals, more in bursts.
    """
    busy = np.linspace(0.0, 1.0, 101)[1:-1]
    found = busy.copy()
    for _ in range(400):  # the map is monotone; at ρ = 0.99 it closes in by a hundredth a time
        if gap_cv_squared <= 0:
            found = np.exp(-(1 - found) / busy)
        else:
            found = (1 + (1 - found) * gap_cv_squared / busy) ** (-1 / gap_cv_squared)
    return np.concatenate(([0.0], busy, [1.0])), np.concatenate(([0.0], found, [1.0]))
