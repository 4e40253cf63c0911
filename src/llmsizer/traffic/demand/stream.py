"""Requests without end: arrivals, lengths, caching and conversations put together."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.facts.workload import Workload
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import WIDEST, Empirical, Length, length
from llmsizer.traffic.demand.requests import Requests, in_order, joined

Number = TypeVar("Number", np.int64, np.float64)

_LIFETIMES = 3  # of a conversation: so long before a steady demand's start the first ones begin
_MOST_UNDER_WAY = 5_000_000  # turns still to come of conversations that have begun: they are kept in memory
CONVERSATION_GROUPS = 1 << 16  # conversations are told apart by number modulo this many


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns of one conversation: each prompt holds everything said before, which a prefix cache may still have.

    The number of turns is geometric. A turn comes ``pause_seconds`` (exponential, mean) after the one before: reading,
    thinking and the answer's own time together, so that demand does not depend on how fast the server is.
    """

    mean_turns: float
    pause_seconds: float

    def __post_init__(self) -> None:
        if not 1 <= self.mean_turns <= 1000 or not 0 < self.pause_seconds < math.inf:
            raise InputError(
                f"{self.mean_turns} turns with {self.pause_seconds} s between them; give 1 or more, above 0 s"
            )


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A demand that can be simulated for any duration; ``arrivals`` counts requests, conversations' turns included.

    A request's prompt is ``shared_prefix_tokens`` (instructions, documents that all share) and then ``prompt``. Its
    prefix is in the cache with ``prefix_hit_rate``; ``cached_prompt_fraction`` is instead a share of every prompt.
    ``reasoning`` tokens are produced before the answer and count as output. In a ``conversation`` all that was said
    before is in the cache of the replica that served it, until newer tokens push it out; nothing is there at its first
    turn.
    """

    arrivals: Arrivals
    prompt: Length
    output: Length
    context_tokens: int
    reasoning: Length | None = None
    shared_prefix_tokens: int = 0
    prefix_hit_rate: float = 1.0
    cached_prompt_fraction: float = 0.0
    conversation: Conversation | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.prefix_hit_rate <= 1 or not 0 <= self.cached_prompt_fraction < 1:
            raise InputError("a prefix hit rate lies from 0 to 1, a cached share of the prompt from 0 to below 1")
        if self.shared_prefix_tokens < 0:
            raise InputError(f"shared_prefix_tokens = {self.shared_prefix_tokens}; give 0 or more")
        longest = self.shared_prefix_tokens + self.prompt.longest_tokens + self.longest_output_tokens
        if longest > self.context_tokens:
            raise InputError(
                f"the longest prompt and output come to {longest:,} tokens, the context is {self.context_tokens:,}; "
                "shorten them or allow a longer context"
            )

    @property
    def longest_output_tokens(self) -> int:
        return self.output.longest_tokens + (self.reasoning.longest_tokens if self.reasoning else 0)

    @property
    def mean_prompt_tokens(self) -> float:
        """Of the whole prompt: the mean turn of a conversation of geometric length T comes after T − 1 others."""
        turns = self.conversation.mean_turns if self.conversation else 1.0
        return self.shared_prefix_tokens + turns * self.prompt.mean_tokens + (turns - 1) * self.output.mean_tokens

    @property
    def least_computed_tokens(self) -> float:
        """Mean prompt tokens that not even a prefix cache without end saves."""
        if self.conversation:
            return self.prompt.mean_tokens + self.shared_prefix_tokens / self.conversation.mean_turns
        fresh = self.mean_prompt_tokens * (1 - self.cached_prompt_fraction)
        return fresh - self.shared_prefix_tokens * self.prefix_hit_rate

    @property
    def prefix_groups(self) -> int:
        return CONVERSATION_GROUPS if self.conversation else 0

    @property
    def longest_prompt_tokens(self) -> int:
        if self.conversation:
            return self.context_tokens - self.longest_output_tokens
        return self.shared_prefix_tokens + self.prompt.longest_tokens

    def at_rate(self, requests_per_second: float) -> Stream:
        """The same demand at another average rate."""
        return replace(self, arrivals=replace(self.arrivals, requests_per_second=requests_per_second))

    def stretches(self, duration_seconds: float, seed: int) -> Iterator[Requests]:
        """Requests in order of arrival up to the duration; the same for the same seed."""
        times_seed, lengths_seed = np.random.SeedSequence(seed).spawn(2)
        times, rng = (
            np.random.Generator(np.random.SFC64(times_seed)),
            np.random.Generator(np.random.SFC64(lengths_seed)),
        )
        if self.conversation:
            yield from self._turns(self.conversation, duration_seconds, times, rng)
            return
        for arrivals in self.arrivals.stretches(duration_seconds, times):
            yield self._single(arrivals, rng)

    def _single(self, arrivals: NDArray[np.float64], rng: np.random.Generator) -> Requests:
        size = arrivals.size
        prompts = self.prompt.draw(size, rng)
        prompts = prompts + np.int32(self.shared_prefix_tokens) if self.shared_prefix_tokens else prompts
        outputs = self._outputs(size, rng)
        cached = np.empty(0, dtype=np.int32)
        if self.shared_prefix_tokens:
            hit = rng.random(size) < self.prefix_hit_rate
            cached = np.where(hit, np.int32(self.shared_prefix_tokens), np.int32(0))
        elif self.cached_prompt_fraction:
            cached = (prompts * self.cached_prompt_fraction).astype(np.int32)
        return Requests(arrival_seconds=arrivals, prompt_tokens=prompts, output_tokens=outputs, cached_tokens=cached)

    def _outputs(self, size: int, rng: np.random.Generator) -> NDArray[np.int32]:
        outputs = self.output.draw(size, rng)
        return outputs + self.reasoning.draw(size, rng) if self.reasoning else outputs

    def _turns(
        self, how: Conversation, duration_seconds: float, times: np.random.Generator, rng: np.random.Generator
    ) -> Iterator[Requests]:
        """Conversations begin as the arrivals do, but fewer; their later turns wait until their time comes.

        A steady demand is full from the start: conversations that began before it are under way.
        """
        under_way = (
            self.arrivals.requests_per_second * self.arrivals.peak_to_average * how.mean_turns * how.pause_seconds
        )
        if under_way > _MOST_UNDER_WAY:
            raise InputError(
                f"at {self.arrivals.requests_per_second:.4g} requests/s {under_way:,.3g} turns of conversations are "
                f"under way at once; at most {_MOST_UNDER_WAY:,} are simulated: give a lower rate"
            )
        starts = replace(self.arrivals, requests_per_second=self.arrivals.requests_per_second / how.mean_turns)
        before = _LIFETIMES * how.mean_turns * how.pause_seconds if self.arrivals.is_steady else 0.0
        pending, begun = None, 0
        for counted in starts.stretches(before + duration_seconds, times):
            arrivals = counted - before
            turns = self._conversations(how, arrivals, begun, rng)
            pending = in_order(joined([pending, turns]) if pending else turns)
            begun += arrivals.size
            due = int(np.searchsorted(pending.arrival_seconds, arrivals[-1], side="right"))
            if due:
                yield pending.part(slice(0, due))
            pending = pending.part(slice(due, None))
        due = int(np.searchsorted(pending.arrival_seconds, duration_seconds)) if pending else 0
        if pending and due:
            yield pending.part(slice(0, due))

    def _conversations(
        self, how: Conversation, starts: NDArray[np.float64], begun: int, rng: np.random.Generator
    ) -> Requests:
        """Every turn from time 0 on of conversations that start at the given times."""
        turns = rng.geometric(1.0 / how.mean_turns, starts.size)
        first = np.cumsum(turns) - turns  # row of each conversation's first turn
        size = int(turns.sum())
        new_prompts, answers = self.prompt.draw(size, rng), self.output.draw(size, rng)
        pauses = rng.standard_exponential(size) * how.pause_seconds
        pauses[first] = 0.0
        # What was reasoned is not sent again.
        said = _running_sum((new_prompts + answers).astype(np.int64), first, turns)
        prompts = self.shared_prefix_tokens + said - answers
        outputs = answers + self.reasoning.draw(size, rng) if self.reasoning else answers
        before = prompts - new_prompts
        before[first] = 0
        arrivals = np.repeat(starts, turns) + _running_sum(pauses, first, turns)
        groups = np.repeat((begun + np.arange(starts.size)) % CONVERSATION_GROUPS, turns)
        # A conversation that has outgrown the context ends.
        asked = np.flatnonzero((prompts <= self.longest_prompt_tokens) & (arrivals >= 0))
        return Requests(
            arrival_seconds=arrivals[asked],
            prompt_tokens=prompts[asked].astype(np.int32),
            output_tokens=outputs[asked],
            cached_tokens=before[asked].astype(np.int32),
            groups=groups[asked].astype(np.int32),
        )


def _running_sum(values: NDArray[Number], first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[Number]:
    """Sums that start anew at each ``first``."""
    total = np.cumsum(values)
    return total - np.repeat(total[first] - values[first], counts)


def stream_of(
    workload: Workload, *, context_tokens: int | None = None, gap_cv: float | None = None, by_hour: bool = False
) -> Stream:
    """A workload as it is written in a scenario, at its average rate: steady, or over the hours of its week.

    Without a context, four times the workload's usual context is allowed for the lengths' tails. In a conversation a
    turn's new tokens are as spread as whole prompts are said to be; how long the whole becomes follows from the turns.
    """
    context = context_tokens or 4 * workload.context_tokens
    usual_prompt = workload.prompt_tokens_p95 or workload.prompt_tokens
    usual_output = workload.generated_tokens_p95 or workload.generated_tokens
    longest = max(usual_output, min(context // 4, context - usual_prompt))
    reasoned = workload.reasoning_tokens_p95 or workload.reasoning_tokens
    longest_reasoning = max(reasoned, round(longest * reasoned / usual_output)) if reasoned else 0
    room = context - longest - workload.shared_prefix_tokens
    talks = workload.turns > 1
    return Stream(
        arrivals=Arrivals(
            requests_per_second=workload.requests_per_second,
            gap_cv=workload.gap_cv if gap_cv is None else gap_cv,
            hourly_weights=workload.hourly_weights if by_hour else (),
        ),
        prompt=_new_prompt(workload, room),
        output=_output(workload, longest - longest_reasoning),
        reasoning=length(workload.reasoning_tokens, workload.reasoning_tokens_p95, longest_reasoning)
        if workload.reasoning_tokens
        else None,
        context_tokens=context,
        shared_prefix_tokens=workload.shared_prefix_tokens,
        prefix_hit_rate=workload.prefix_hit_rate,
        cached_prompt_fraction=0.0 if talks or workload.shared_prefix_tokens else workload.cached_prompt_fraction,
        conversation=Conversation(mean_turns=workload.turns, pause_seconds=workload.think_seconds) if talks else None,
    )


def _new_prompt(workload: Workload, longest_tokens: int) -> Length:
    """What a request adds to the shared prefix and to what was said before."""
    prefix, new = workload.shared_prefix_tokens, workload.new_prompt_tokens
    if workload.prompt_lengths and workload.turns == 1:
        seen = np.array(workload.prompt_lengths, dtype=np.int32) - prefix
        return Empirical(tokens=np.clip(seen, 1, max(1, longest_tokens)))
    if workload.prompt_tokens_p95 is None:
        return length(new, None, longest_tokens)
    tail = workload.prompt_tokens_p95 - prefix
    if workload.turns > 1:
        tail = round(new * workload.prompt_tokens_p95 / workload.prompt_tokens)
    # A prefix makes what is left of the mean small beside the tail: no lognormal is wider than 3.87.
    return length(new, min(max(new, tail), WIDEST * new, longest_tokens), longest_tokens)


def _output(workload: Workload, longest_tokens: int) -> Length:
    if workload.output_lengths:
        return Empirical(tokens=np.minimum(np.array(workload.output_lengths, dtype=np.int32), longest_tokens))
    return length(workload.output_tokens, workload.output_tokens_p95, longest_tokens)
