"""How latencies spread over requests: the share of them beyond a number of seconds, and the 95th percentile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
LATE = 0.05  # of requests may lie beyond a 95th percentile
_ORDERS = np.linspace(0.2, 4.0, 77)
_MEANS = np.array([math.gamma(1 + order) for order in _ORDERS])  # of a Weibull of shape 1/order and scale 1


def _beyond(score: Matrix) -> Matrix:
    """The standard normal's share above a score, to 0.0002 (Page 1977)."""
    clipped = np.clip(score, -8.0, 8.0)
    return np.asarray(1 / (1 + np.exp(1.5976 * clipped + 0.070566 * clipped**3)))


@dataclass(frozen=True, slots=True)
class Tokens:
    """TPOT of requests, by the length of their answers: a usual step, and on top what prompts add where any come."""

    shares: NDArray[np.float64]
    usual: NDArray[np.float64]
    spread: NDArray[np.float64]  # standard deviation of the usual step's mean over a stay
    meets: NDArray[np.float64]  # probability of meeting a prompt
    added_log: NDArray[np.float64]  # of what prompts then add: mean and standard deviation of the logarithm
    added_sigma: NDArray[np.float64]
    mean: Matrix

    def beyond(self, seconds: Matrix) -> Matrix:
        """The share of requests with a longer TPOT."""
        over = seconds[:, :, None] - self.usual
        with np.errstate(divide="ignore", invalid="ignore"):
            alone = _beyond(over / self.spread)
            met = _beyond((np.log(np.maximum(over, 1e-12)) - self.added_log) / self.added_sigma)
        return np.asarray((self.shares * (alone + self.meets * (met - alone))).sum(axis=2))


@dataclass(frozen=True, slots=True)
class Wait:
    """It happens with a chance, and then lasts as a Weibull of this mean and squared variation does."""

    chance: Matrix
    given: Matrix
    squared_variation: Matrix | float = 1.0  # 1 is exponential

    @property
    def mean(self) -> Matrix:
        return self.chance * self.given

    def beyond(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """The share of those that happen that last longer; seconds by row, load and length."""
        # Powers that give the shape of a Weibull from its variation to some per cent, below and above an exponential.
        variation = np.sqrt(np.clip(self.squared_variation, 0.1, 16.0))
        shape = np.where(variation < 1, variation**-1.086, variation**-0.88) * np.ones_like(self.given)
        scale = np.maximum(self.given / np.interp(1 / shape, _ORDERS, _MEANS), 1e-12)
        tail = np.exp(-((seconds / scale[:, :, None]) ** shape[:, :, None]))
        return np.where(seconds > 0, tail, 1.0)


@dataclass(frozen=True, slots=True)
class FirstTokens:
    """TTFT of requests, by the length of their prompts: their own time, and waits that happen with a probability."""

    shares: NDArray[np.float64]
    own: NDArray[np.float64]
    own_log: Matrix  # the same as a lognormal: mean and standard deviation of the logarithm
    own_sigma: Matrix
    waits: tuple[Wait, ...]
    mean: Matrix

    def beyond(self, seconds: Matrix) -> Matrix:
        """The share of requests with a longer TTFT."""
        over = np.maximum(seconds[:, :, None] - self.own, 0.0)
        late, calm = np.zeros_like(seconds), np.ones_like(seconds)
        with np.errstate(divide="ignore", invalid="ignore"):
            for wait in self.waits:
                late = late + wait.chance * (self.shares * wait.beyond(over)).sum(axis=2)
                calm = calm * (1 - wait.chance)
            own = _beyond((np.log(np.maximum(seconds, 1e-12)) - self.own_log) / self.own_sigma)
        return np.minimum(late + calm * own, 1.0)


def p95_of(beyond: Callable[[Matrix], Matrix], least: Matrix, most: Matrix) -> Matrix:
    """Where a falling share reaches one in twenty, by bisection of the logarithm to a millionth."""
    low, high = np.log(least), np.log(np.where(np.isfinite(most), most, least))
    for _ in range(int(np.ceil(np.log2(max(float((high - low).max()), 1e-6) / 1e-6)))):
        middle = (low + high) / 2
        late = beyond(np.exp(middle)) > LATE
        low, high = np.where(late, middle, low), np.where(late, high, middle)
    return np.exp(high)
