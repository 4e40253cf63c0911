"""The largest rate one replica holds within the SLO, and what users see at a given rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

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
    rates,
    saturation_rate,
)

_GRID = 64  # points per pass; two passes place a rate within one part in a thousand
_LEAST_COMPANIONS = 1e-6  # as good as alone


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """The operating point at the edge of the SLO for one set of curves."""

    companions: float
    rate: float
    limit: Limit


def capacity(replica: Replica, slo: Slo) -> Capacity:
    """The largest rate within the SLO, with what it would be at both ends of the step times' interval."""
    mid = _edge(replica, replica.mid, slo)
    slow, fast = _edge(replica, replica.slow, slo), _edge(replica, replica.fast, slo)
    rate = Estimate(
        value=mid.rate,
        low=min(slow.rate, mid.rate),
        high=max(fast.rate, mid.rate),
        basis=replica.basis,
        reason=f"largest rate within the SLO; limited by {mid.limit}",
    )
    figure = Figure(estimate=rate, unit="requests/s", source=METHOD)
    return Capacity(
        requests_per_second=figure,
        output_tokens_per_second=figure.scaled(replica.output_tokens, "tokens/s"),
        limited_by=mid.limit,
        max_batch=replica.max_batch,
        prefill_time_share=prefill_share(replica, replica.mid, mid.companions),
        at_capacity=load_at(replica, mid.rate),
        unloaded=load_at(replica, 0.0),
        method=METHOD,
        leaves_out=LEAVES_OUT,
    )


def _edge(replica: Replica, curves: Curves, slo: Slo) -> _Found:
    """Bisection by whole grids: the bracket in which the SLO breaks, then that bracket again."""
    grid: Vector = np.concatenate(([0.0], np.geomspace(_LEAST_COMPANIONS, replica.max_batch, _GRID)))
    best = _Found(companions=0.0, rate=0.0, limit="nothing")
    for _ in range(2):
        points = evaluate(replica, curves, grid)
        within = (points.ttft_p95 <= slo.ttft_p95_seconds) & (points.utilisation < 1)
        if replica.output_tokens > 1:
            within &= points.tpot_p95 <= slo.tpot_p95_seconds
        # Latency rises with load, so the first miss ends the search.
        misses = np.flatnonzero(~within)
        first_miss = int(misses[0]) if misses.size else len(grid)
        if first_miss == 0:
            return _Found(companions=0.0, rate=0.0, limit=_limit(replica, points, 0, slo))
        last = first_miss - 1
        limit = _limit(replica, points, min(first_miss, len(grid) - 1), slo)
        best = _Found(companions=float(grid[last]), rate=float(points.rate[last]), limit=limit)
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
    """The operating point of a rate below saturation: whole grids again, each a bracket of the one before."""
    low, high = 0.0, float(replica.max_batch)
    for _ in range(4):
        grid = np.linspace(low, high, _GRID)
        above = int(np.searchsorted(rates(replica, curves, grid), rate))
        low, high = float(grid[max(above - 1, 0)]), float(grid[min(above, _GRID - 1)])
    return (low + high) / 2


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
