"""The largest rate one replica holds within the SLO, and what users see at a given rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Slo
from llmsizer.traffic.closed_form.capacity import Capacity, Limit, LoadPoint
from llmsizer.traffic.closed_form.ladders import Rows, column
from llmsizer.traffic.closed_form.latencies import Loads, evaluate, loads
from llmsizer.traffic.closed_form.meanfield import (
    LEAVES_OUT,
    METHOD,
    Curves,
    Matrix,
    Replica,
    Vector,
    prefill_share,
)
from llmsizer.traffic.closed_form.tails import LATE

_GRID = 16  # points per pass; three passes place a rate within one part in a thousand
_LEAST_COMPANIONS = 1e-4  # as good as alone
_SEEN = ("companions", "ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The operating point at the edge of the SLO."""

    companions: float
    rate: float  # requests per second
    limit: Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The largest rate within the SLO, and what it would be at both ends of the step times' interval."""

    edge: Edge
    rate_low: float
    rate_high: float
    replica: Replica

    @property
    def rate(self) -> float:
        return self.edge.rate

    @property
    def prefill_time_share(self) -> float:
        """Of the engine's busy time; splits cost between input and output tokens."""
        return prefill_share(self.replica, self.replica.mid, self.edge.companions)


def hold(replica: Replica, slo: Slo) -> Held:
    """The cheap part of ``capacity``: the rates alone."""
    return hold_each([replica], slo)[0]


def hold_each(replicas: Sequence[Replica], slo: Slo) -> list[Held]:
    """The same of many at once."""
    middle = _edges([(replica, replica.mid) for replica in replicas], slo)
    held = [replica for replica, edge in zip(replicas, middle, strict=True) if edge.rate > 0]
    slow = iter(_edges([(replica, replica.slow) for replica in held], slo))
    fast = iter(_edges([(replica, replica.fast) for replica in held], slo))
    found = []
    for replica, edge in zip(replicas, middle, strict=True):
        low, high = (next(slow).rate, next(fast).rate) if edge.rate > 0 else (0.0, 0.0)
        low, high = min(low, edge.rate), max(high, edge.rate)
        found.append(Held(edge=edge, rate_low=low, rate_high=high, replica=replica))
    return found


def rates_within(replica: Replica, every: Sequence[Curves], slo: Slo) -> list[float]:
    """The largest rate in requests a second at each of these step times; 0 where even an idle replica is too slow."""
    return [edge.rate for edge in _edges([(replica, curves) for curves in every], slo)]


def capacity(replica: Replica, slo: Slo) -> Capacity:
    """The largest rate within the SLO, with its interval and what users see there."""
    return describe(replica, hold(replica, slo))


def describe(replica: Replica, held: Held) -> Capacity:
    """A held rate with its latencies."""
    return describe_each([(replica, held)])[0]


def describe_each(every: Sequence[tuple[Replica, Held]]) -> list[Capacity]:
    """The same of many at once."""
    seen = iter(loads_at([(replica, rate) for replica, held in every for rate in (held.rate, 0.0)]))
    return [_described(replica, held, next(seen), next(seen)) for replica, held in every]


def _described(replica: Replica, held: Held, at_capacity: LoadPoint, unloaded: LoadPoint) -> Capacity:
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
        prefill_time_share=held.prefill_time_share,
        at_capacity=at_capacity,
        unloaded=unloaded,
        method=METHOD,
        leaves_out=LEAVES_OUT,
    )


@cache
def _first_grid(max_batch: float) -> Vector:
    """From an idle replica to a full one."""
    return np.concatenate(([0.0], np.geomspace(_LEAST_COMPANIONS, max_batch, _GRID)))


def _edges(ends: Sequence[tuple[Replica, Curves]], slo: Slo) -> list[Edge]:
    """Search by whole grids: the bracket in which the SLO breaks, then that bracket again."""
    if not ends:
        return []
    rows = Rows.of(ends)
    grid = np.array([_first_grid(float(curves.batches[-1])) for _, curves in ends])
    searched, found = np.arange(len(ends)), [Edge(companions=0.0, rate=0.0, limit="nothing")] * len(ends)
    for spacing in (np.geomspace, np.linspace, None):
        seen = loads(rows, grid)
        late = _late(rows, seen, slo)
        missed = np.any(late, axis=2)
        first = np.where(missed.any(axis=1), np.argmax(missed, axis=1), grid.shape[1])
        # A bracket that is open at either end has nothing to be searched again.
        inside = (first > 0) & (first < grid.shape[1]) & (spacing is not None)
        for row in np.flatnonzero(~inside).tolist():
            place = searched[row]
            found[place] = _edge(ends[place][0], seen, late, row, int(first[row]), slo)
        again = np.flatnonzero(inside)
        if spacing is None or not again.size:
            break
        low, high = grid[again, first[again] - 1], grid[again, first[again]]
        grid = spacing(np.maximum(low, _LEAST_COMPANIONS * (spacing is np.geomspace)), high, _GRID, axis=1)
        rows, searched = rows.take(again), searched[again]
    return found


def _late(rows: Rows, seen: Loads, slo: Slo) -> NDArray[np.bool_]:
    """Whether each load of each row misses TPOT, TTFT, or is beyond saturation."""
    shape = np.ones_like(seen.rate)
    tpot = (seen.tokens.beyond(slo.tpot_p95_seconds * shape) > LATE) & (rows.output_tokens > 1)
    ttft = ~(seen.first.beyond(slo.ttft_p95_seconds * shape) <= LATE)
    return np.stack([tpot, ttft, seen.utilisation >= 1], axis=2)


def _edge(replica: Replica, seen: Loads, late: NDArray[np.bool_], row: int, first: int, slo: Slo) -> Edge:
    """The last load before a row's first miss."""
    at = row, min(first, seen.rate.shape[1] - 1)
    limit: Limit = "ttft"
    if late[at][0]:
        limit = "tpot"
    elif late[at][2] or not bool(np.any(late[at])) or seen.place_p95[at] > slo.ttft_p95_seconds / 2:
        limit = replica.batch_limit
    if first == 0:
        return Edge(companions=0.0, rate=0.0, limit=limit)
    last = row, first - 1
    return Edge(companions=float(seen.companions[last]), rate=float(seen.rate[last]), limit=limit)


def load_at(replica: Replica, requests_per_second: float) -> LoadPoint:
    """What one replica's users see at a rate. OVERLOADED has no latency: it grows for as long as one watches."""
    return loads_at([(replica, requests_per_second)])[0]


def loads_at(asked: Sequence[tuple[Replica, float]]) -> list[LoadPoint]:
    """The same of many replicas at once, each at its rate in requests a second."""
    if not asked:
        return []
    rows = Rows.of([(replica, each) for replica, _ in asked for each in (replica.mid, replica.fast, replica.slow)])
    seen = _seen_at(rows, np.repeat(column(rate for _, rate in asked), 3, axis=0))
    saturated = rows.saturation_rate[::3, 0].tolist()
    return [
        _load_point(replica, rate, rate / most, *seen[3 * place : 3 * place + 3])
        for place, ((replica, rate), most) in enumerate(zip(asked, saturated, strict=True))
    ]


Seen = Mapping[str, float] | None
"""Companions and latencies in seconds; None where the replica is overloaded."""


def _seen_at(rows: Rows, rates: Matrix) -> list[Seen]:
    """Of each row at its rate."""
    seen: list[Seen] = [None] * len(rates)
    stable = np.flatnonzero(rates < rows.saturation_rate)
    if stable.size:
        rows = rows.take(stable)
        points = evaluate(rows, rows.companions_at(rates[stable]))
        columns = {name: getattr(points, name)[:, 0].tolist() for name in _SEEN}
        for row, place in enumerate(stable.tolist()):
            if math.isfinite(columns["ttft_p95"][row]):
                seen[place] = {name: values[row] for name, values in columns.items()}
    return seen


def _load_point(
    replica: Replica, requests_per_second: float, utilisation: float, mid: Seen, fast: Seen, slow: Seen
) -> LoadPoint:
    def figure(name: str) -> Figure:
        if replica.output_tokens == 1 and name.startswith("tpot"):
            return _missing("an answer of one token has no time between tokens")
        if mid is None:
            return _missing("OVERLOADED: requests arrive faster than they are served")
        value = mid[name]
        low = None if fast is None else min(value, fast[name])
        high = None if slow is None else max(value, slow[name])
        reason = "" if slow is not None else "no upper end: overloaded if steps are as slow as their interval allows"
        estimate = Estimate(value=value, low=low, high=high, basis=replica.basis, reason=reason)
        return Figure(estimate=estimate, unit="s", source=METHOD)

    batch = None if mid is None else float(min(mid["companions"], replica.max_batch))
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
