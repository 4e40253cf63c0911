"""Who asks when, and for what: the load of one point as data.

- ``Closed``: so many users, each asking again when answered; with one user, a single stream.
- ``Open``: requests come at a rate whatever the server does: evenly (gap_cv 0), Poisson (1) or in bursts (Gamma).
- ``Replay``: the times and lengths of a recorded trace.
``Shape`` says how long requests are, whether prompts share prefixes, and whether they are turns of conversations.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Pattern as PatternName
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed, Length
from llmsizer.traffic.demand.requests import Requests

LENGTHS_DRAWN = 4096
TRACE_PAUSE_SECONDS = 1.0  # between the warm-up's last request and the trace's zero
DEFAULT_PROMPT, DEFAULT_OUTPUT = Fixed(tokens=512), Fixed(tokens=128)


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """A number of users, each with one request in flight."""

    concurrency: int

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InputError(f"a concurrency of {self.concurrency}; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Requests by the clock."""

    requests_per_second: float
    gap_cv: float = 1.0

    def __post_init__(self) -> None:
        self.arrivals  # noqa: B018 (it checks the values)

    @property
    def arrivals(self) -> Arrivals:
        return Arrivals(requests_per_second=self.requests_per_second, gap_cv=self.gap_cv)

    def seconds(self, seed: int) -> Iterator[float]:
        """Arrival times without end, the first one gap after 0."""
        rng = np.random.default_rng((seed, 1))
        at = 0.0
        while True:
            for gap in self.arrivals.gaps(1024, rng).tolist():
                at += gap / self.requests_per_second
                yield at


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A trace's own times and lengths; ``speed`` 2 replays it in half the time."""

    requests: Requests
    name: str
    speed: float = 1.0

    def lead_seconds(self, warmup_requests: int) -> float:
        """How long before the trace its warm-up begins: as many of its first requests, at their own distances."""
        first = self.requests.arrival_seconds[: warmup_requests + 1] / self.speed
        return float(first[-1] - first[0]) + TRACE_PAUSE_SECONDS if warmup_requests else 0.0

    def seconds(self, warmup_requests: int) -> Iterator[float]:
        """When requests are due: the warm-up from 0 on, then the whole trace, its own zero after the lead."""
        arrivals = self.requests.arrival_seconds / self.speed
        yield from (arrivals[:warmup_requests] - arrivals[0]).tolist()
        yield from (arrivals + self.lead_seconds(warmup_requests)).tolist()


Pattern = Closed | Open | Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What each request asks for."""

    prompt: Length = DEFAULT_PROMPT
    output: Length = DEFAULT_OUTPUT
    shared_prefix_tokens: int = 0  # of the prompt, the same for all requests of a group
    prefix_groups: int = 1
    turns: int = 1  # of a conversation; every turn adds a prompt to all that was said
    think_seconds: float = 0.0  # between an answer and the next turn, or a user's next request

    def __post_init__(self) -> None:
        if self.turns < 1 or self.prefix_groups < 1 or self.shared_prefix_tokens < 0 or self.think_seconds < 0:
            raise InputError("turns and prefix groups are 1 or more, shared prefix and thinking time 0 or more")
        if self.shared_prefix_tokens and self.shared_prefix_tokens >= self.prompt.longest_tokens:
            raise InputError(
                f"a shared prefix of {self.shared_prefix_tokens} tokens leaves nothing of a prompt of "
                f"{self.prompt.longest_tokens}; give a longer prompt"
            )

    def lengths(self, seed: int) -> tuple[list[int], list[int]]:
        """Prompt and output tokens of a long row of requests, which repeats."""
        rng = np.random.default_rng((seed, 2))
        prompts, outputs = self.prompt.draw(LENGTHS_DRAWN, rng), self.output.draw(LENGTHS_DRAWN, rng)
        return prompts.tolist(), outputs.tolist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How much is measured, and when it must end."""

    requests: int  # that count
    warmup_requests: int  # sent before them and left out
    seconds: float  # none is begun that counts after so long; those in flight may take as long again
    grace_seconds: float = 0.0  # more, for those in flight
    ramp_seconds: float = 0.0  # over which users begin: together they would stay in step, one burst a round


def pattern_name(pattern: Pattern, shape: Shape) -> PatternName:
    """What records call it."""
    if shape.turns > 1:
        return "multi-turn"
    if shape.shared_prefix_tokens:
        return "shared-prefix"
    if isinstance(pattern, Closed):
        return "single" if pattern.concurrency == 1 else "closed"
    if isinstance(pattern, Replay):
        return "trace"
    return {0.0: "constant", 1.0: "poisson"}.get(pattern.gap_cv, "gamma")  # type: ignore[return-value]


def describe(pattern: Pattern) -> str:
    """For people: ``16 users``, ``2 requests/s, Poisson``, ``trace azure.csv``."""
    if isinstance(pattern, Closed):
        return "single stream" if pattern.concurrency == 1 else f"{pattern.concurrency} users"
    if isinstance(pattern, Replay):
        return f"trace {pattern.name}"
    kind = {0.0: "constant", 1.0: "Poisson"}.get(pattern.gap_cv, f"Gamma, CV {pattern.gap_cv:g}")
    return f"{pattern.requests_per_second:.3g} requests/s, {kind}"
