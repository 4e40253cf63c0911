"""The same demand with other chances: how far apart the answers lie, and what all of them together say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llmsizer.errors import InputError
from llmsizer.traffic.simulator.engine import simulate
from llmsizer.traffic.simulator.fleet import Fleet, LatencyTargets, PowerCurve, Replica, Source
from llmsizer.traffic.simulator.layout import E2E, ITL, TPOT, TTFT
from llmsizer.traffic.simulator.results import Latency, SimulationResult, SimulationVerdict, latency

Metric = Literal["ttft", "tpot", "itl", "e2e"]
_ROWS: dict[Metric, int] = {"ttft": TTFT, "tpot": TPOT, "itl": ITL, "e2e": E2E}
_WORST_LAST: tuple[SimulationVerdict, ...] = ("STABLE", "BACKLOGGED", "OVERLOADED")
# 95th percentile of Student's t for 1, 2, ... degrees of freedom: a 90 % interval is that many standard errors.
_T95 = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833, 1.812, 1.796, 1.782, 1.771, 1.761,
        1.753, 1.746, 1.740, 1.734, 1.729, 1.725, 1.721, 1.717, 1.714, 1.711, 1.708,
        1.706, 1.703, 1.701, 1.699, 1.697)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Mean over replications and its 90 % confidence interval: chance in the demand alone, not error of the model."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replications:
    """Independent runs of one demand; latencies over all of them together."""

    runs: tuple[SimulationResult, ...]

    @property
    def verdict(self) -> SimulationVerdict:
        """The worst of the runs."""
        return max((run.verdict for run in self.runs), key=_WORST_LAST.index)

    def latency(self, metric: Metric) -> Latency | None:
        """One latency over the requests of all runs; None where a run is OVERLOADED or has none."""
        parts = [getattr(run, metric) for run in self.runs]
        known = [part for part in parts if isinstance(part, Latency)]
        if len(known) < len(parts):
            return None
        counts = np.sum([run.histograms[_ROWS[metric]] for run in self.runs], axis=0)
        return latency(counts, sum(part.mean_seconds * part.count for part in known))

    def interval(self, value: Callable[[SimulationResult], float | None]) -> Interval | None:
        """Mean and 90 % interval of any number of a run; None where a run lacks it."""
        found = [value(run) for run in self.runs]
        values = [number for number in found if number is not None]
        return interval(values) if len(values) == len(found) else None


def interval(values: Sequence[float]) -> Interval:
    """Mean and 90 % confidence interval of independent numbers (Student's t); two or more."""
    if len(values) < 2:
        raise InputError(f"{len(values)} replications give no interval; run 2 or more")
    mean = float(np.mean(values))
    times = _T95[min(len(values) - 1, len(_T95)) - 1]
    half = times * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def replicate(
    replica: Replica,
    source: Source,
    *,
    duration_seconds: float,
    warmup_seconds: float = 0.0,
    replications: int = 5,
    seed: int = 0,
    workers: int = 1,
    fleet: Fleet | None = None,
    targets: LatencyTargets | None = None,
    power: PowerCurve | None = None,
) -> Replications:
    """Simulate with ``replications`` seeds derived from one; the same whatever the number of ``workers``."""
    if replications < 1 or workers < 1:
        raise InputError(f"{replications} replications on {workers} workers; give 1 or more of both")
    seeds = [int(child.generate_state(1)[0]) for child in np.random.SeedSequence(seed).spawn(replications)]

    def one(own_seed: int) -> SimulationResult:
        return simulate(
            replica,
            source,
            duration_seconds=duration_seconds,
            warmup_seconds=warmup_seconds,
            seed=own_seed,
            fleet=fleet,
            targets=targets,
            power=power,
        )

    if workers == 1:
        return Replications(runs=tuple(map(one, seeds)))
    with ThreadPoolExecutor(workers) as pool:  # the kernel runs without the GIL
        return Replications(runs=tuple(pool.map(one, seeds)))
