"""The largest rate one replica holds within the SLO, and what users see at a given rate."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Slo
from llmsizer.traffic.capacity import Capacity, Limit, LoadPoint
from llmsizer.traffic.meanfield import (
    LEAVES_OUT,
    METHOD,
    Curves,
    Points,
    Replica,
    Vector,
    evaluate,
    prefill_share,
    saturation_rate,
)

_GRID = 64  # points per pass; two passes place a rate within one part in a thousand
_LEAST_COMPANIONS = 1e-4  # as good as alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The operating point at the edge of the SLO."""

    companions: float
    rate: float  # requests per second
    limit: Limit


@dataclass(frozen=True, kw_only=True)
class Held:
    """The largest rate within the SLO, and what it would be at both ends of the step times' interval."""

    edge: Edge
    rate_low: float
    replica: Replica
    slo: Slo

    @property
    def rate(self) -> float:
        return self.edge.rate

    @cached_property
    def rate_high(self) -> float:
        """Searched when it is asked for: most candidates are judged by the other two."""
        return max(_edge(self.replica, self.replica.fast, self.slo).rate, self.rate)


def hold(replica: Replica, slo: Slo) -> Held:
    """The cheap part of ``capacity``: the rates alone."""
    edge = _edge(replica, replica.mid, slo)
    slow = _edge(replica, replica.slow, slo).rate if edge.rate > 0 else 0.0
    return Held(edge=edge, rate_low=min(slow, edge.rate), replica=replica, slo=slo)


def rate_within(replica: Replica, curves: Curves, slo: Slo) -> float:
    """The largest rate in requests a second with these step times; 0 where even an idle replica misses the SLO."""
    return _edge(replica, curves, slo).rate


def capacity(replica: Replica, slo: Slo) -> Capacity:
    """The largest rate within the SLO, with its interval and what users see there."""
    return describe(replica, hold(replica, slo))


def describe(replica: Replica, held: Held) -> Capacity:
    """A held rate with its latencies."""
    rate = Estimate(
        value=held.rate,
        low=held.rate_low,
        high=held.rate_high,
        basis=replica.basis,
        reason=f"largest rate within the SLO; limited by {held.edge.limit}",
    )
    figure = Figure(estimate=rate, unit="requests/s", source=METHOD)
    return Capacity(
        requests_per_second=figure,
        output_tokens_per_second=figure.scaled(replica.output_tokens, "tokens/s"),
        limited_by=held.edge.limit,
        max_batch=replica.max_batch,
        prefill_time_share=prefill_share(replica, replica.mid, held.edge.companions),
        at_capacity=load_at(replica, held.rate),
        unloaded=load_at(replica, 0.0),
        method=METHOD,
        leaves_out=LEAVES_OUT,
    )


@cache
def _first_grid(max_batch: int) -> Vector:
    """From an idle replica to a full one."""
    return np.concatenate(([0.0], np.geomspace(_LEAST_COMPANIONS, max_batch, _GRID)))


def _edge(replica: Replica, curves: Curves, slo: Slo) -> Edge:
    """Bisection by whole grids: the bracket in which the SLO breaks, then that bracket again."""
    grid = _first_grid(replica.max_batch)
    best = Edge(companions=0.0, rate=0.0, limit="nothing")
    for _ in range(2):
        points = evaluate(replica, curves, grid)
        within = (points.ttft_p95 <= slo.ttft_p95_seconds) & (points.utilisation < 1)
        if replica.output_tokens > 1:
            within &= points.tpot_p95 <= slo.tpot_p95_seconds
        # Latency rises with load, so the first miss ends the search.
        misses = np.flatnonzero(~within)
        first_miss = int(misses[0]) if misses.size else len(grid)
        if first_miss == 0:
            return Edge(companions=0.0, rate=0.0, limit=_limit(replica, points, 0, slo))
        last = first_miss - 1
        limit = _limit(replica, points, min(first_miss, len(grid) - 1), slo)
        best = Edge(companions=float(grid[last]), rate=float(points.rate[last]), limit=limit)
        if first_miss == len(grid):
            break
        grid = np.linspace(grid[last], grid[first_miss], _GRID)
    return best


def _limit(replica: Replica, points: Points, at: int, slo: Slo) -> Limit:
    """What breaks first at this point."""
    if replica.output_tokens > 1 and points.tpot_p95[at] > slo.tpot_p95_seconds:
        return "tpot"
    if points.utilisation[at] >= 1 or points.wait_p95[at] > slo.ttft_p95_seconds / 2:
        return replica.batch_limit
    return "ttft"


def _companions_at(replica: Replica, curves: Curves, rate: float) -> float:
    """The operating point of a rate below saturation, by bisection on Little's law: companions = rate × stay."""
    if rate <= 0:
        return 0.0
    batches, seconds = curves.batches.tolist(), curves.decode_seconds.tolist()
    decode_steps, places = replica.output_tokens - 1, replica.max_batch
    low, high = 0.0, float(places)
    for _ in range(40):
        middle = (low + high) / 2
        inside = min(middle, places - 1)
        stay = decode_steps * _between(1 + inside, batches, seconds) + (1 + inside) * curves.prefill_seconds
        low, high = (middle, high) if middle < rate * stay else (low, middle)
    return (low + high) / 2


def _between(x: float, xs: list[float], ys: list[float]) -> float:
    """Linear interpolation of one value: an array of one costs ten times as much."""
    right = bisect_left(xs, x)
    if right == 0 or right == len(xs):
        return ys[min(right, len(xs) - 1)]
    share = (x - xs[right - 1]) / (xs[right] - xs[right - 1])
    return ys[right - 1] + share * (ys[right] - ys[right - 1])


def _points_at(replica: Replica, curves: Curves, rate: float) -> Points | None:
    """Latencies at a rate; None where the replica is overloaded."""
    if rate >= saturation_rate(replica, curves):
        return None
    points = evaluate(replica, curves, np.array([_companions_at(replica, curves, rate)]))
    return points if math.isfinite(points.ttft_p95[0]) else None


def load_at(replica: Replica, requests_per_second: float) -> LoadPoint:
    """What one replica's users see at a rate. OVERLOADED has no latency: it grows for as long as one watches."""
    mid = _points_at(replica, replica.mid, requests_per_second)
    fast = _points_at(replica, replica.fast, requests_per_second)
    slow = _points_at(replica, replica.slow, requests_per_second)
    utilisation = requests_per_second / saturation_rate(replica, replica.mid)

    def figure(name: str) -> Figure:
        if replica.output_tokens == 1 and name.startswith("tpot"):
            return _missing("an answer of one token has no time between tokens")
        if mid is None:
            return _missing("OVERLOADED: requests arrive faster than they are served")
        value = float(getattr(mid, name)[0])
        low = None if fast is None else min(value, float(getattr(fast, name)[0]))
        high = None if slow is None else max(value, float(getattr(slow, name)[0]))
        reason = "" if slow is not None else "no upper end: overloaded if steps are as slow as their interval allows"
        estimate = Estimate(value=value, low=low, high=high, basis=replica.basis, reason=reason)
        return Figure(estimate=estimate, unit="s", source=METHOD)

    batch = None if mid is None else float(min(mid.companions[0], replica.max_batch))
    return LoadPoint(
        verdict="OVERLOADED" if mid is None else "STABLE",
        requests_per_second=requests_per_second,
        batch=batch,
        utilisation=utilisation,
        ttft_mean=figure("ttft_mean"),
        ttft_p95=figure("ttft_p95"),
        tpot_mean=figure("tpot_mean"),
        tpot_p95=figure("tpot_p95"),
    )


def _missing(reason: str) -> Figure:
    return Figure(estimate=Estimate(value=None, basis="unknown", reason=reason), unit="s", source=METHOD)


def replicas_for(demand_requests_per_second: float, requests_per_second_each: float) -> int:
    """Whole replicas, each within its own capacity."""
    assert requests_per_second_each > 0, "a replica that misses the SLO even when idle serves no demand"
    # A demand that is a whole multiple up to rounding error does not need one more.
    return max(1, math.ceil(demand_requests_per_second / requests_per_second_each - 1e-9))
