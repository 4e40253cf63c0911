"""What a simulation says, and where it says nothing: too few requests for a percentile, a fleet that is overloaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from llmsizer.traffic.simulator.percentiles import quantile

SimulationVerdict = Literal["STABLE", "BACKLOGGED", "OVERLOADED"]
"""STABLE      the queue comes and goes
BACKLOGGED  more came for a while than could be served; the latencies are those of this demand, and depend on its length
OVERLOADED  more comes than can be served: the queue grows as long as the demand lasts, and there is no latency to
report
"""


class LatencyDoc(TypedDict):
    """The JSON form of a latency in seconds; null where too few requests support a percentile."""

    count: int
    mean: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """One latency over all measured requests (ITL: over all gaps), from a sketch that is exact to 0.8 %.

    A percentile is None where fewer than one measured number is expected beyond it: p99 needs 100 requests.
    """

    count: int
    mean_seconds: float
    p50_seconds: float | None
    p90_seconds: float | None
    p95_seconds: float | None
    p99_seconds: float | None

    def to_dict(self) -> LatencyDoc:
        return {
            "count": self.count,
            "mean": self.mean_seconds,
            "p50": self.p50_seconds,
            "p90": self.p90_seconds,
            "p95": self.p95_seconds,
            "p99": self.p99_seconds,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The measured time in equal pieces; arrays of one value per piece, over all replicas together."""

    start_seconds: NDArray[np.float64]
    utilisation: NDArray[np.float64]  # share of time in which a replica was stepping
    batch: NDArray[np.float64]  # mean sequences being decoded
    kv_tokens: NDArray[np.float64]  # mean tokens stored for them
    arrived: NDArray[np.float64]
    admitted: NDArray[np.float64]
    finished: NDArray[np.float64]
    waiting: NDArray[np.float64]  # at the end of the piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Everything that was fed, to the last token, warm-up included."""

    arrived: int
    finished: int
    measured: int  # finished and arrived in the measured time
    good: int  # measured and within every latency target
    preemptions: int
    prompt_tokens: int
    cached_tokens: int
    prefilled_tokens: int  # computed, again after a preemption
    output_tokens: int


@dataclass(frozen=True, kw_only=True)
class SimulationResult:
    """One simulation. Latencies are None where the verdict is OVERLOADED: there is none that does not grow."""

    verdict: SimulationVerdict
    duration_seconds: float
    measured_seconds: float
    ttft: Latency | None
    tpot: Latency | None
    itl: Latency | None
    e2e: Latency | None
    requests_per_second: float  # arrived in the measured time
    finished_per_second: float
    good_per_second: float | None  # goodput: within every target; None without targets or where OVERLOADED
    utilisation: float
    mean_batch: float
    peak_batch: int
    total_batch_seconds: float  # sequences being decoded, over all time: warm-up and end included
    mean_kv_tokens: float
    peak_kv_tokens: int
    peak_waiting: int
    counts: Counts
    series: Series
    energy_joules: float | None  # in the measured time, all replicas
    histograms: NDArray[np.int64]  # [TTFT, TPOT, ITL, E2E; bin], to merge replications
    first_token_seconds: NDArray[np.float64] | None = None  # of every request, where records were kept
    end_seconds: NDArray[np.float64] | None = None


def latency(counts: NDArray[np.int64], total_seconds: float) -> Latency | None:
    """Mean and percentiles of one histogram; None where nothing was counted."""
    count = int(counts.sum())
    if count == 0:
        return None

    def supported(fraction: float) -> float | None:
        return quantile(counts, fraction) if count * (1 - fraction) >= 1 - 1e-9 else None

    return Latency(
        count=count,
        mean_seconds=total_seconds / count,
        p50_seconds=supported(0.50),
        p90_seconds=supported(0.90),
        p95_seconds=supported(0.95),
        p99_seconds=supported(0.99),
    )


def judge(series: Series, seats: int, *, finite: bool) -> SimulationVerdict:
    """STABLE, BACKLOGGED or OVERLOADED, from the queue over the measured time.

    OVERLOADED: the queue is never empty in the second half and grows there by more than chance. A ``finite`` demand (a
    replayed trace) is never called so: its queue ends with it. BACKLOGGED: through a tenth of the time or more there is
    always a queue, and it gets longer than the seats and than chance. Chance is three standard deviations of a Poisson
    count of what came, or 1 % of it.
    """
    half = len(series.waiting) // 2
    if not finite and float(series.waiting[half:].min()) > 0:
        grown = float(series.waiting[-1] - series.waiting[half])
        if grown > _chance(float(series.arrived[half + 1 :].sum())):
            return "OVERLOADED"
    for start, end in _stretches(series.waiting > 0):
        longest, came = float(series.waiting[start:end].max()), float(series.arrived[start:end].sum())
        if end - start >= len(series.waiting) / 10 and longest > max(seats, _chance(came)):
            return "BACKLOGGED"
    return "STABLE"


def _chance(came: float) -> float:
    return float(max(3.0 * came**0.5, 0.01 * came))


def _stretches(is_true: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_true, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
