"""What charts of load show: latency over the rate, distributions, the hours of a week, and occupancy over time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsizer.progress import Progress, silent
from llmsizer.traffic.failing.availability import HeldRate, Site, held_rate
from llmsizer.traffic.service import METRICS, simulated_once
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.percentiles import bin_edges
from llmsizer.traffic.simulator.replications import Replications
from llmsizer.traffic.simulator.results import SimulationVerdict
from llmsizer.units import SECONDS_PER_HOUR

SHARES = (0.05, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.35)  # of the rate that is held
MOST_HOUR_RATES = 24  # distinct rates of a week that are simulated; hours between them are interpolated
_POINTS = 120  # of a distribution or a series: a line of 960 pixels shows no more


@dataclass(frozen=True, slots=True, kw_only=True)
class RatePoint:
    """A fleet at one rate; latencies in seconds, None where OVERLOADED or on too few requests."""

    requests_per_second: float
    verdict: SimulationVerdict
    missed: str
    ttft_p50_seconds: float | None
    ttft_p95_seconds: float | None
    tpot_p50_seconds: float | None
    tpot_p95_seconds: float | None
    utilisation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadCurve:
    """A number of replicas over the rate, and the largest rate that they hold within the SLO."""

    label: str
    replicas: int
    held: HeldRate
    points: tuple[RatePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """How many of the requests (ITL: of the gaps) took at most so many seconds."""

    metric: str
    seconds: tuple[float, ...]
    share: tuple[float, ...]

    def within(self, seconds: float) -> float:
        return float(np.interp(math.log(seconds), np.log(self.seconds), self.share, left=0.0, right=1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Hour:
    """One hour of the week as a steady demand.

    ``of_held``: its rate over the largest that the fleet holds within the SLO; infinite where it holds none.
    ``utilisation``: share of time in which a replica steps, soon all of it: a step carries whatever there is.
    """

    requests_per_second: float
    of_held: float
    utilisation: float
    missed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OccupancySeries:
    """One replica over the measured time of one run: means of equal pieces."""

    hours: tuple[float, ...]
    batch: tuple[float, ...]
    kv_tokens: tuple[float, ...]
    waiting: tuple[float, ...]
    kv_capacity_tokens: int
    max_sequences: int


def load_curve(
    site: Site, replicas: int, label: str, held: HeldRate | None = None, *, progress: Progress = silent
) -> LoadCurve:
    """Simulate so many replicas from nearly idle to beyond what they hold. Raises LlmSizerError."""
    found = held or held_rate(site, replicas)
    # A fleet that holds nothing is shown around the rate of one request at a time.
    base = found.requests_per_second or 0.1
    points = []
    for done, share in enumerate(SHARES):
        progress("latency over the rate", done / len(SHARES))
        points.append(_point(site, replicas, share * base))
    return LoadCurve(label=label, replicas=replicas, held=found, points=tuple(points))


def _point(site: Site, replicas: int, rate: float) -> RatePoint:
    service = simulated_once(site.replica, site.stream.at_rate(rate), site.fleet(replicas), site.goal, seed=site.seed)
    utilisation = service.occupancy.utilisation.value
    assert utilisation is not None
    return RatePoint(
        requests_per_second=rate,
        verdict=service.verdict,
        missed=service.missed,
        ttft_p50_seconds=service.row("TTFT").p50.value,
        ttft_p95_seconds=service.row("TTFT").p95.value,
        tpot_p50_seconds=service.row("TPOT").p50.value,
        tpot_p95_seconds=service.row("TPOT").p95.value,
        utilisation=utilisation,
    )


def distributions(runs: Replications) -> tuple[Distribution, ...]:
    """TTFT, TPOT and E2E of all runs together; none where a run is OVERLOADED or nothing was counted."""
    if runs.verdict == "OVERLOADED":
        return ()
    middles = np.sqrt(bin_edges()[:-1] * bin_edges()[1:])
    found = []
    for row, (name, _) in enumerate(METRICS):
        counts = np.sum([run.histograms[row] for run in runs.runs], axis=0)
        if name == "ITL" or not counts.sum():
            continue
        used = np.flatnonzero(counts)
        share = np.cumsum(counts[used]) / counts.sum()
        kept = np.unique(np.searchsorted(share, np.linspace(0, 1, _POINTS)).clip(0, used.size - 1))
        seconds = tuple(middles[used][kept].tolist())
        found.append(Distribution(metric=name, seconds=seconds, share=tuple(share[kept].tolist())))
    return tuple(found)


def week(
    site: Site,
    hourly_weights: Sequence[float],
    requests_per_second: float,
    held: HeldRate,
    *,
    progress: Progress = silent,
) -> tuple[Hour, ...]:
    """Every hour of a week (or day) of weights around an average rate, by simulations of its distinct rates."""
    most = held.requests_per_second
    mean = math.fsum(hourly_weights) / len(hourly_weights)
    rates = np.array([requests_per_second * weight / mean for weight in hourly_weights])
    asked = np.unique(rates[rates > 0])
    if asked.size > MOST_HOUR_RATES:
        asked = np.interp(np.linspace(0, 1, MOST_HOUR_RATES), np.linspace(0, 1, asked.size), asked)
    points = []
    for done, rate in enumerate(asked):
        progress("the hours of the week", done / len(asked))
        points.append(_point(site, site.replicas, float(rate)))
    used = np.interp(rates, [0.0, *asked], [0.0, *(point.utilisation for point in points)])
    # Between two simulated rates, the busier one says whether the SLO holds.
    said = [points[min(int(np.searchsorted(asked, rate - 1e-12)), len(points) - 1)].missed for rate in rates]
    return tuple(
        Hour(
            requests_per_second=float(rate),
            of_held=0.0 if rate == 0 else float(rate / most) if most > 0 else math.inf,
            utilisation=float(share),
            missed=missed if rate > 0 else "",
        )
        for rate, share, missed in zip(rates, used, said, strict=True)
    )


def occupancy_series(runs: Replications, replica: Replica, replicas: int) -> OccupancySeries:
    """The first run, piece by piece, per replica."""
    series = runs.runs[0].series
    seen = series.start_seconds < runs.runs[0].duration_seconds  # an OVERLOADED run is given up before its time
    return OccupancySeries(
        hours=tuple((series.start_seconds[seen] / SECONDS_PER_HOUR).tolist()),
        batch=tuple((series.batch[seen] / replicas).tolist()),
        kv_tokens=tuple((series.kv_tokens[seen] / replicas).tolist()),
        waiting=tuple((series.waiting[seen] / replicas).tolist()),
        kv_capacity_tokens=replica.kv_blocks * replica.block_tokens,
        max_sequences=replica.max_sequences,
    )
