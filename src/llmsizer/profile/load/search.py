"""Which points to measure next: up to the knee of the throughput, or to the largest load that keeps limits.

Pure of servers: both are given a function that measures, and stop by count; the caller's function stops by time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

KNEE_SHARE = 0.9  # of the best throughput: what more users add beyond it is mostly waiting
FLAT_GAIN = 1.05  # a doubling of users that brings less than this is beyond the knee
MOST_CONCURRENCY = 1024
BRACKET_RATIO = 1.5
RATE_RATIO = 1.1
MOST_POINTS = 10

Stopped = Literal["found", "bracketed", "out of points", "out of time", "never held", "always held"]


class OutOfTime(Exception):
    """Raised by a measuring function that has no time for another point."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knee:
    """The fewest users that reach ``KNEE_SHARE`` of the best throughput seen, and the most seen that do not."""

    below: int | None
    at: int | None
    best_throughput: float
    stopped: Stopped


def find_knee(
    measure: Callable[[int], float | None], *, most_points: int = MOST_POINTS, most: int = MOST_CONCURRENCY
) -> Knee:
    """Double the users until throughput no longer grows, then narrow the knee down.

    ``measure`` gives the throughput at a concurrency, None where the point failed; it may raise OutOfTime.
    """
    seen: dict[int, float] = {}
    stopped: Stopped = "out of points"
    try:
        users = 1
        flat = 0
        while len(seen) < most_points and users <= most:
            throughput = measure(users)
            if throughput is None:
                break
            flat = flat + 1 if seen and throughput < FLAT_GAIN * max(seen.values()) else 0
            seen[users] = throughput
            if flat == 2:  # once may be noise
                break
            users *= 2
        while len(seen) < most_points:
            below, at = _bracket(seen)
            if at is None:
                break
            if below is None or at / below <= BRACKET_RATIO:
                stopped = "bracketed"
                break
            between = round((below * at) ** 0.5)
            if between in seen or (throughput := measure(between)) is None:
                stopped = "bracketed"
                break
            seen[between] = throughput
    except OutOfTime:
        stopped = "out of time"
    below, at = _bracket(seen)
    return Knee(below=below, at=at, best_throughput=max(seen.values(), default=0.0), stopped=stopped)


def _bracket(seen: dict[int, float]) -> tuple[int | None, int | None]:
    if not seen:
        return None, None
    goal = KNEE_SHARE * max(seen.values())
    at = min(users for users, throughput in seen.items() if throughput >= goal)
    return max((users for users in seen if users < at), default=None), at


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """The largest load that kept the limits and the smallest that did not; None where none was seen."""

    held: float | None
    missed: float | None
    stopped: Stopped


def find_edge(
    holds: Callable[[float], bool],
    start: float,
    *,
    ratio: float = RATE_RATIO,
    most_points: int = MOST_POINTS,
    least: float = 1e-3,
    most: float = 1e5,
) -> Edge:
    """The largest load that holds, within ``ratio``: doubling or halving to a bracket, then bisecting its logarithm.

    Assumes that more load is never easier; where noise says otherwise, the lowest load that missed wins, so that the
    answer is never above a load seen to miss.
    """
    held: float | None = None
    missed: float | None = None
    load = start
    stopped: Stopped = "out of points"
    try:
        for _ in range(most_points):
            if holds(load):
                held = load if held is None else max(held, load)
            else:
                missed = load if missed is None else min(missed, load)
            if held is not None and missed is not None:
                if missed / held <= ratio:
                    stopped = "found"
                    break
                load = (held * missed) ** 0.5
                continue
            load = load * 2 if missed is None else load / 2
            if not least <= load <= most:
                stopped = "always held" if missed is None else "never held"
                break
    except OutOfTime:
        stopped = "out of time"
    return Edge(held=held, missed=missed, stopped=stopped)
