"""Scale-to-zero, simulated: who comes while nothing is up, how long they queue, and how many miss the SLO for it.

Requests are drawn over whole weeks. A gap longer than a stay and the idle time puts the service to sleep; the next
request starts it and waits with all that come meanwhile. Each start is then simulated twice from event to event – the
replicas ready after the start-up time, and ready at once – and what the first misses beyond the second is the start's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.facts.workload.hours import HOURS_PER_WEEK
from llmsizer.traffic.demand.requests import Requests, joined
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.hours.week import Running, Sizing
from llmsizer.traffic.service import Goal
from llmsizer.traffic.simulator.engine import replay
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.units import SECONDS_PER_HOUR

SECONDS_PER_WEEK = HOURS_PER_WEEK * SECONDS_PER_HOUR
_USUAL_REQUESTS, _MOST_WEEKS, _MOST_REQUESTS = 20_000, 8, 20_000_000
_MOST_STARTS = 400  # that are simulated: more say nothing new
_AFTERMATH = 3.0  # start-up times that are watched after a start: the queue drains meanwhile, or never
_LEAST_AFTERMATH_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """What sleeping costs the users. Shares are of all requests."""

    weeks: int
    requests: int
    starts: int
    starts_simulated: int
    start_seconds: float
    caught: int  # requests that came while it started
    missed_for_it: int  # that miss the SLO and would not, had it been up
    missed_share: float
    longest_wait_seconds: float  # for a first token
    awake_hours_per_week: float
    basis: Literal["simulated"] = "simulated"


def cold_starts(
    replica: Replica, stream: Stream, running: Running, sizing: Sizing, goal: Goal, *, seed: int = 0
) -> ColdStarts:
    """``stream``: over the hours of the week; ``running``: the scale-to-zero mode. Raises LlmSizerError."""
    a_week = stream.arrivals.requests_per_second * SECONDS_PER_WEEK
    if a_week > _MOST_REQUESTS:
        raise InputError(f"{a_week:,.3g} requests a week keep a service up: scale-to-zero is not simulated for so many")
    weeks = int(min(max(round(_USUAL_REQUESTS / a_week), 1), _MOST_WEEKS))
    total = starts = simulated = caught = missed = 0
    longest, awake = 0.0, 0.0
    for start in _episodes(stream, weeks * SECONDS_PER_WEEK, sizing.hold_seconds, sizing.start_seconds, seed):
        total += start.requests
        awake += start.awake_seconds
        if start.first is None:
            continue
        starts += 1
        caught += start.caught
        if simulated < _MOST_STARTS:
            simulated += 1
            hour = int(start.began // SECONDS_PER_HOUR) % HOURS_PER_WEEK
            more, wait = _one(replica, start.first, max(1, running.replicas_by_hour[hour]), sizing.start_seconds, goal)
            missed += more
            longest = max(longest, wait)
    for_all = round(missed * starts / simulated) if simulated else 0
    return ColdStarts(
        weeks=weeks,
        requests=total,
        starts=starts,
        starts_simulated=simulated,
        start_seconds=sizing.start_seconds,
        caught=caught,
        missed_for_it=for_all,
        missed_share=for_all / total if total else 0.0,
        longest_wait_seconds=longest,
        awake_hours_per_week=awake / SECONDS_PER_HOUR / weeks,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Episode:
    """From one start to the sleep that follows; ``first``: the requests around the start, times from it."""

    began: float
    requests: int
    caught: int
    awake_seconds: float
    first: Requests | None


def _episodes(
    stream: Stream, duration_seconds: float, hold_seconds: float, start_seconds: float, seed: int
) -> Iterator[_Episode]:
    """Every stretch of being up. The idle time counts from the last request, and from the start's end at least."""
    watched = start_seconds + max(_AFTERMATH * start_seconds, _LEAST_AFTERMATH_SECONDS)
    parts: list[Requests] = []  # of the episode under way, only what is watched of it
    began = last = -np.inf
    count = caught = 0

    def done() -> _Episode:
        asleep_at = max(last, began + start_seconds) + hold_seconds
        first = joined(parts) if len(parts) > 1 else parts[0]
        until = min(asleep_at, duration_seconds)
        return _Episode(began=began, requests=count, caught=caught, awake_seconds=until - began, first=first)

    for requests in stream.stretches(duration_seconds, seed):
        times = requests.arrival_seconds
        for at, stop in _bounds(times, last, hold_seconds):
            piece = times[at:stop]
            if count and piece[0] > max(last, began + start_seconds) + hold_seconds:
                yield done()
                count = 0
            if not count:
                parts, began, caught = [], float(piece[0]), 0
            count += piece.size
            last = float(piece[-1])
            caught += int(np.searchsorted(piece, began + start_seconds))
            near = int(np.searchsorted(piece, began + watched))
            if near:
                parts.append(_since(requests.part(slice(at, at + near)), began))
    if count:
        yield done()


def _bounds(times: NDArray[np.float64], last: float, hold_seconds: float) -> list[tuple[int, int]]:
    """Pieces without a gap longer than the hold."""
    gaps = np.diff(times, prepend=last if np.isfinite(last) else times[0])
    cuts = [0, *(at for at in np.flatnonzero(gaps > hold_seconds).tolist() if at), times.size]
    return list(itertools.pairwise(cuts))


def _since(requests: Requests, began: float) -> Requests:
    return Requests(
        arrival_seconds=requests.arrival_seconds - began,
        prompt_tokens=requests.prompt_tokens,
        output_tokens=requests.output_tokens,
        cached_tokens=requests.cached_tokens,
        groups=requests.groups,
    )


def _one(replica: Replica, requests: Requests, replicas: int, start_seconds: float, goal: Goal) -> tuple[int, float]:
    """Requests of one start that miss the SLO and would not with everything up, and the longest wait."""

    def run(ready_at: float) -> tuple[int, float]:
        result = replay(
            replica,
            requests,
            fleet=Fleet(replicas=replicas, ready_at_seconds=(ready_at,) * replicas),
            targets=goal.targets,
            keep_records=True,
        )
        assert result.first_token_seconds is not None
        waits = result.first_token_seconds - requests.arrival_seconds
        return len(requests) - result.counts.good, float(np.nanmax(waits))

    cold, wait = run(start_seconds)
    warm, _ = run(0.0)
    return max(0, cold - warm), wait
