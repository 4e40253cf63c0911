"""How much of a month instances are billed that follow the hours of the week: in closed form, for many loads at once.

``traffic.week`` runs one fleet hour by hour; here the same is a sum over the distinct hours of the week, so that a
search over volumes or draws can ask it thousands of times. Interruptible machines are counted against the SLO, and so
is what a cold start does to those who come meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.workload.hours import HOURS_PER_WEEK
from llmsizer.traffic.hours.week import Mode

Vector = NDArray[np.float64]
ROUNDING = 1e-9  # a demand that is a whole multiple up to this does not need one more
KEPT_SCORE = 1.6448536269514722  # of the normal distribution: enough are up in 95 of 100 moments
STEP = 0.3  # of a replica: see kept_up
TOLERATED_SHARE = 0.05  # of requests that a p95 leaves out
MOST_HELD = 50.0  # e to the power of it: awake for good


@dataclass(frozen=True, kw_only=True, eq=False)
class WeekShape:
    """The distinct pairs of an hour and the one that follows. Demands are shares of the busiest hour's."""

    now: Vector
    peak_of_both: Vector  # of an hour and the next: what is up while the next hour's replicas start
    hours: Vector  # of the week; 168 together

    @property
    def mean(self) -> float:
        """Average over peak."""
        return float(self.now @ self.hours) / HOURS_PER_WEEK


def shape_of(weights: Sequence[float]) -> WeekShape:
    """Of the demand in each hour of the week, Monday after Sunday."""
    top = max(weights)
    shares = [weight / top for weight in weights]
    count: dict[tuple[float, float], int] = {}
    for now, later in zip(shares, [*shares[1:], shares[0]], strict=True):
        pair = (now, max(now, later))
        count[pair] = count.get(pair, 0) + 1
    pairs = sorted(count)
    now, both = np.array(pairs, dtype=np.float64).T
    return WeekShape(now=now, peak_of_both=both, hours=np.array([count[p] for p in pairs], dtype=np.float64))


FLAT = shape_of((1.0,) * HOURS_PER_WEEK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sleep:
    """Down between conversations: what wakes it is the first turn of one, which keeps it up for ``hold_seconds``."""

    start_seconds: float
    hold_seconds: float
    turns: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Following:
    """How instances follow the week. ``start_share``: of an hour, that a replica takes to start."""

    mode: Mode
    shape: WeekShape = FLAT
    start_share: float = 0.0
    closes: bool = False  # whether hours without demand keep no replica
    sleep: Sleep | None = None  # None: up in every hour that has demand
    served_share: float = 1.0  # of requests

    @property
    def is_always_on(self) -> bool:
        return self.mode == "always-on"

    @cached_property
    def _coefficients(self) -> tuple[Vector, Vector]:
        """Distinct demands, and the hours a week that each one's instances are billed."""
        shape, start = self.shape, self.start_share
        demands, place = np.unique(np.concatenate([shape.now, shape.peak_of_both]), return_inverse=True)
        hours = np.concatenate([shape.hours * (1 - start), shape.hours * start])
        return demands, cast(Vector, np.bincount(place, weights=hours, minlength=len(demands)))

    def billed_share(self, needed: Vector, average: Vector, packing: Packing) -> Vector:
        """Of the hours of a month in which the peak hour's instances all run.

        ``needed``: replicas that the busiest hour takes, before rounding up; ``average``: requests a second.
        """
        one_will_do = self.sleep is None and not self.closes and bool(np.max(needed) <= 1)
        if self.is_always_on or one_will_do:
            return np.ones(np.broadcast(needed, average).shape)
        full = packing.units(needed, np.ones(1), closes=False)
        if self.sleep is None:
            demands, hours = self._coefficients
            weekly = hours @ packing.units(needed, demands[:, None], closes=self.closes)
        else:
            now, both = (packing.units(needed, demand[:, None], closes=self.closes)
                         for demand in (self.shape.now, self.shape.peak_of_both))  # fmt: skip
            rate = average * self.shape.now[:, None] / self.shape.mean
            awake = awake_shares(rate / self.sleep.turns, self.sleep.hold_seconds, self.sleep.start_seconds)
            weekly = self.shape.hours @ (awake * (now * (1 - self.start_share) + both * self.start_share))
        share = weekly / (HOURS_PER_WEEK * full)
        return cast(Vector, np.where(share > 1 - ROUNDING, 1.0, share))


ALWAYS_ON = Following(mode="always-on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How replicas become instances: spares, replicas to an instance, and the time interruptible ones are away."""

    spare: int
    per_unit: int
    lost_share: float | Vector = 0.0

    def units(self, needed: Vector, demand: Vector, *, closes: bool) -> Vector:
        """Instances at a share of the busiest hour's demand."""
        serving = np.maximum(1.0, np.ceil(needed * demand - ROUNDING))
        return self.of(serving) * (demand > 0) if closes else self.of(serving)

    def of(self, serving: Vector) -> Vector:
        """Instances for so many serving replicas."""
        rented = kept_up(serving, self.lost_share) + self.spare
        return cast(Vector, np.ceil(rented / self.per_unit))


def kept_up(serving: Vector, lost_share: float | Vector) -> Vector:
    """Interruptible replicas to rent so that with 95 % probability as many as have to serve are up.

    Each is up for itself: a binomial count, taken as a normal one less a part of its step that never leaves it below
    95 % and never takes more than one too many. Where a whole zone is taken back at once this is too few.
    """
    if isinstance(lost_share, float) and lost_share == 0:
        return serving
    up = 1 - lost_share
    noise = KEPT_SCORE**2 * up * lost_share
    root = (noise**0.5 + (noise + 4 * up * (serving - STEP)) ** 0.5) / (2 * up)
    return cast(Vector, np.maximum(serving, np.ceil(root**2 - ROUNDING)))


def awake_shares(arrivals_per_second: Vector, hold_seconds: float, start_seconds: float) -> Vector:
    """``traffic.week.awake_share`` over an array: up or starting, under Poisson arrivals."""
    held = np.minimum(MOST_HELD, arrivals_per_second * hold_seconds)
    return 1 - 1 / (arrivals_per_second * start_seconds + np.exp(held))


def caught_share(arrivals_per_second: float, hold_seconds: float, start_seconds: float) -> float:
    """Of conversations, those that begin while nothing is up: the one that wakes it, and who comes while it starts."""
    held = min(MOST_HELD, arrivals_per_second * hold_seconds)
    starting = arrivals_per_second * start_seconds
    return (1 + starting) / (starting + math.exp(held))
