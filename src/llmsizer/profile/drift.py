"""How a machine drifts while it is measured, and where further runs will therefore come out.

Machines speed up and slow down for seconds to minutes: clocks, heat, neighbours. Ten runs in a row then agree with each
other and not with the next twenty. So the runs of a point are spread over the sweep, and each time is taken for its
point's level plus a drift that all points share plus noise of its own:

    time = level + scale · (√share · drift(t) + √(1 − share) · noise)

The drift either forgets at one rate, correlation exp(−|Δt|/τ), or at all rates alike (flicker noise: slower drifts as
large as faster ones, or larger, beyond the sweep's end too). All runs of the sweep say together how probable each kind
is (restricted likelihood on a grid); what they cannot tell widens the interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmsizer.profile.intervals import LEVEL, Interval
from llmsizer.student import student_quantile

Floats = NDArray[np.float64]
FURTHER_RUNS = 20
SHARES = (0.1, 0.25, 0.5, 0.75, 0.95)
# Prior probabilities of no drift, of one rate and of all rates; chosen in simulation, see the tests.
NO_DRIFT, ONE_RATE, ALL_RATES = 0.6, 0.15, 0.25
RATES = 6  # τ of one rate: from two runs' distance to the sweep's length
SLOWEST_OVER_SPAN = 10.0  # of all rates: what a sweep cannot see goes on to this many of its lengths
GROWTHS = (0.0, 0.5)  # a drift three times slower has 3^growth times the variance
MOST_VALUES = 600  # of all points together, so that a long sweep is judged in a second
FEWEST_BLOCKS, MOST_BLOCKS = 20, 100  # means of neighbouring runs, of each point
_NEGLIGIBLE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """One figure of one point: seconds (or a rate) by when each run began, in seconds of any one clock."""

    at_seconds: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One way a machine may drift, and how probable it is: shares of the drift's variance by their τ."""

    share: float  # of the drift in the variance of a run
    probability: float
    times_seconds: tuple[float, ...] = ()
    parts: tuple[float, ...] = ()  # sum 1, one for each τ

    def alike(self, apart_seconds: Floats) -> Floats:
        """Correlation of the drift between moments so far apart."""
        correlation = np.zeros_like(apart_seconds)
        for time, part in zip(self.times_seconds, self.parts, strict=True):
            correlation += part * np.exp(-apart_seconds / time)
        return correlation

    def covariance(self, apart_seconds: Floats) -> Floats:
        """Of runs so far apart, in units of one run's variance."""
        noise: Floats = (1.0 - self.share) * np.eye(len(apart_seconds))
        return noise + self.share * self.alike(apart_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """What a sweep's runs say about the machine: the kinds of drift that explain them."""

    kinds: tuple[Kind, ...]
    points: int


STEADY = Kind(share=0.0, probability=1.0)


def drift_of(points: Sequence[Runs]) -> Drift:
    """How probable each kind of drift is, from all runs of one figure (all TTFTs, say) in a sweep."""
    blocks = [_blocks(runs, len(points)) for runs in points]
    telling = [(at, values) for at, values in blocks if len(values) > 1 and np.ptp(values) > 0.0]
    telling = telling[: MOST_VALUES // FEWEST_BLOCKS]
    at = np.concatenate([times for times, _ in telling]) if telling else np.zeros(1)
    span = float(np.ptp(at))
    if not span:
        return Drift(kinds=(STEADY,), points=len(points))
    levels = np.zeros((len(at), len(telling)))
    ends = np.cumsum([len(values) for _, values in telling])
    for column, (end, (_, values)) in enumerate(zip(ends, telling, strict=True)):
        levels[end - len(values) : end, column] = 1.0
    scaled = np.concatenate([(values - values.mean()) / values.std(ddof=1) for _, values in telling])
    gap = float(np.median(np.diff(np.sort(at))))
    kinds = _kinds(fastest_seconds=min(max(2.0 * gap, span / 300.0), span), span_seconds=span)
    apart = np.abs(np.subtract.outer(at, at))
    logs = np.array([math.log(k.probability) + _log_likelihood(k, apart, levels, scaled) for k in kinds])
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    found = (replace(kind, probability=float(weight)) for kind, weight in zip(kinds, weights, strict=True))
    return Drift(kinds=tuple(kind for kind in found if kind.probability > _NEGLIGIBLE), points=len(points))


def further_mean(runs: Runs, drift: Drift, *, further: int = FURTHER_RUNS, level: float = LEVEL) -> Interval:
    """The mean of the runs, and where the mean of ``further`` ones, taken on at the same pace, lies.

    Bounds are mean · exp(± half width / mean), so that a time stays positive; None of one run, which has no scatter.
    """
    at, values = _blocks(runs, drift.points)
    count, mean = len(values), float(np.mean(runs.values))
    if len(runs.values) < 2:
        return Interval(value=mean, low=None, high=None, level=level)
    if not np.ptp(values) or not mean:
        return Interval(value=mean, low=mean, high=mean, level=level)
    pace = (max(runs.at_seconds) - min(runs.at_seconds)) / (len(runs.values) - 1)
    later = max(runs.at_seconds) + pace * np.arange(1, further + 1)
    among, ahead = np.abs(np.subtract.outer(at, at)), np.abs(np.subtract.outer(later, later))
    between = np.abs(np.subtract.outer(at, later))
    runs_a_block = len(runs.values) / count
    off, one, variance = values - mean, np.ones(count), 0.0
    for kind in drift.kinds:
        inverse = np.linalg.inv(kind.covariance(among))
        scatter = off @ inverse @ off - (one @ inverse @ off) ** 2 / (one @ inverse @ one)
        noise = (1.0 - kind.share) * (1.0 / count + runs_a_block / further)
        drifted = kind.alike(among).mean() + kind.alike(ahead).mean() - 2.0 * kind.alike(between).mean()
        variance += kind.probability * scatter / (count - 1) * (noise + kind.share * drifted)
    half = student_quantile((1.0 + level) / 2.0, count - 1.0) * math.sqrt(variance) / mean
    return Interval(value=mean, low=mean * math.exp(-half), high=mean * math.exp(half), level=level)


def _kinds(*, fastest_seconds: float, span_seconds: float) -> list[Kind]:
    """The grid with its prior."""
    found = [replace(STEADY, probability=NO_DRIFT)]
    for time in np.geomspace(fastest_seconds, span_seconds, RATES):
        for share in SHARES:
            probability = ONE_RATE / (RATES * len(SHARES))
            found.append(Kind(share=share, probability=probability, times_seconds=(float(time),), parts=(1.0,)))
    slowest = SLOWEST_OVER_SPAN * span_seconds
    times = np.geomspace(fastest_seconds, slowest, 1 + math.ceil(math.log(slowest / fastest_seconds, 3.0)))
    for growth in GROWTHS:
        parts = times**growth / (times**growth).sum()
        for share in SHARES:
            probability = ALL_RATES / (len(GROWTHS) * len(SHARES))
            found.append(Kind(share=share, probability=probability, times_seconds=tuple(times), parts=tuple(parts)))
    return found


def _blocks(runs: Runs, points: int) -> tuple[Floats, Floats]:
    """Times and means of neighbouring runs where there are more than can be judged at once."""
    most = min(MOST_BLOCKS, max(FEWEST_BLOCKS, MOST_VALUES // max(1, points)))
    at, values = np.array(runs.at_seconds, dtype=np.float64), np.array(runs.values, dtype=np.float64)
    size = math.ceil(len(values) / most)
    whole = len(values) // size * size
    return at[:whole].reshape(-1, size).mean(axis=1), values[:whole].reshape(-1, size).mean(axis=1)


def _log_likelihood(kind: Kind, apart: Floats, levels: Floats, scaled: Floats) -> float:
    """Restricted (levels and scale integrated out): Patterson & Thompson 1971, up to a constant."""
    lower = np.linalg.cholesky(kind.covariance(apart))
    whitened = np.linalg.solve(lower, np.column_stack((levels, scaled)))
    design, rest = whitened[:, :-1], whitened[:, -1]
    normal = design.T @ design
    explained = design.T @ rest
    left = float(rest @ rest - explained @ np.linalg.solve(normal, explained))
    free = len(scaled) - levels.shape[1]
    return float(
        -np.log(np.diag(lower)).sum() - 0.5 * np.linalg.slogdet(normal)[1] - 0.5 * free * math.log(max(left, 1e-300))
    )
