"""One point of load, run: requests go out as the pattern says, and every answer comes back with its times.

Three parts follow one another without a break: warm-up requests, those that count, and fillers that keep the load up
until the last counted one has its answer. A schedule is kept whatever the server does, so each request has two starts:
when it was due and when it was sent.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from typing import Literal

from llmsizer.profile.load.answer import Answer, read_answer
from llmsizer.profile.load.asking import Ask, Asks
from llmsizer.profile.load.failures import CUT, Failure
from llmsizer.profile.load.patterns import Budget, Closed, Open, Pattern, Replay
from llmsizer.profile.load.wire import Client, Exchange

Part = Literal["warm-up", "counted", "filler"]
HELD_CHUNKS = 400_000  # answers are read after the point while their raw pieces fit into some 200 MB
PAUSE_AFTER_FAILURE_SECONDS = 0.1  # a user whose request failed does not ask again at once
MOST_IN_FLIGHT = 20_000
CLEARANCE_SECONDS = 0.05  # from the start of the point to its first request


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One request and what came of it. Times in nanoseconds of the client's clock."""

    index: int
    part: Part
    turn: int
    scheduled_ns: int
    sent_ns: int
    ended_ns: int
    chunk_ns: tuple[int, ...]
    prompt_tokens_asked: int
    output_tokens_asked: int
    prompt_tokens: int | None  # as the server counts
    output_tokens: int | None
    cached_tokens: int | None
    failure: Failure | None
    text: str = ""  # kept only where the client counts tokens itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Which of the requests or users a worker process takes: every ``of``-th, from ``worker`` on."""

    worker: int = 0
    of: int = 1

    def size(self, total: int) -> int:
        return (total - self.worker + self.of - 1) // self.of


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """All a worker must know of a point."""

    pattern: Pattern
    asks: Asks
    budget: Budget
    share: Share = Share()
    keep_text: bool = False
    start_ns: int | None = None  # the same for all workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a worker saw of a point."""

    sent: list[Sent]
    cpu_share: float  # of one core, over the point
    cpu_seconds: float


async def run_point(
    client: Client,
    task: Task,
    *,
    on_answer: Callable[[int], None] = lambda answered: None,
    cpu_seconds: Callable[[], float] = time.process_time,
) -> Ran:
    """Run one worker's share of a point."""
    run = _Run(client, task, on_answer)
    cpu, begun = cpu_seconds(), client.clock()
    async with _without_pauses():
        await run.all()
    used, wall = cpu_seconds() - cpu, (client.clock() - begun) / 1e9
    return Ran(sent=run.read(), cpu_share=used / wall if wall > 0 else 0.0, cpu_seconds=used)


@asynccontextmanager
async def _without_pauses() -> AsyncIterator[None]:
    """A full collection stops the clock for tens of milliseconds, and held answers are no garbage."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@dataclass(slots=True)
class _Held:
    ask: Ask
    part: Part
    turn: int
    scheduled_ns: int
    exchange: Exchange


class _Run:
    """The state of a running point."""

    def __init__(self, client: Client, task: Task, on_answer: Callable[[int], None]) -> None:
        self._client, self._task, self._on_answer = client, task, on_answer
        self._loop = asyncio.get_running_loop()
        share, budget = task.share, task.budget
        self._warmup, self._counted = share.size(budget.warmup_requests), share.size(budget.requests)
        self._issued = self._counted_issued = self._answered = 0
        self._ramp_end_ns = 0  # before it not all users are there
        self._closing = False  # no further request is to count
        self._finished = asyncio.Event()
        self._held: list[_Held] = []
        self._held_chunks = 0
        self._sent: list[Sent] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[int, _Held] = {}  # in flight
        self._counted_open = 0

    async def all(self) -> None:
        task, clock = self._task, self._client.clock
        self._start_ns = task.start_ns or clock() + round(CLEARANCE_SECONDS * 1e9)
        self._loop_start = self._loop.time() + (self._start_ns - clock()) / 1e9
        if isinstance(task.pattern, Closed):
            users = task.share.size(task.pattern.concurrency)
            self._ramp_end_ns = self._start_ns + round((users - 1) / users * self._task.budget.ramp_seconds * 1e9)
            await self._client.open_connections(users)
            for user in range(users):
                self._spawn(self._user(user, users))
        else:
            self._spawn(self._schedule(task.pattern))
        if self._counted == 0:
            self._finished.set()
        budget = task.budget
        if not await self._finished_within(budget.seconds):
            self._closing = True
            if self._counted_open:
                await self._finished_within(2 * budget.seconds + budget.grace_seconds)
        await self._stop()

    async def _finished_within(self, seconds: float) -> bool:
        """Whether all that counts was answered by then, counted from the start of the point."""
        left = self._loop_start + seconds - self._loop.time()
        try:
            await asyncio.wait_for(self._finished.wait(), max(0.0, left))
        except TimeoutError:
            return False
        return True

    async def _stop(self) -> None:
        now = self._client.clock()
        for held in self._open.values():
            exchange = held.exchange
            exchange.sent_ns = exchange.sent_ns or now  # it never got a connection
            exchange.ended_ns, exchange.failure = now, Failure(CUT, "not answered when the measurement ended")
            self._held.append(held)
        self._open.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: object) -> None:
        task: asyncio.Task[None] = self._loop.create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _next(self) -> tuple[Ask, Part]:
        """The next request of this worker, and the part of the point it belongs to."""
        position, share = self._issued, self._task.share
        self._issued += 1
        part: Part = "counted"
        if position < self._warmup or self._client.clock() < self._ramp_end_ns:
            part = "warm-up"
        elif self._counted_issued >= self._counted or self._closing:
            part = "filler"
        else:
            self._counted_issued += 1
        return self._task.asks.ask(position * share.of + share.worker), part

    # Patterns.
    async def _user(self, user: int, users: int) -> None:
        shape = self._task.asks.shape
        due = self._start_ns + round(user / users * self._task.budget.ramp_seconds * 1e9)
        await self._wait_until(due)
        while not self._finished.is_set():
            ask, part = self._next()
            failed, ended = await self._conversation(ask, part, due)
            due = ended + round((shape.think_seconds + (PAUSE_AFTER_FAILURE_SECONDS if failed else 0.0)) * 1e9)
            if due > ended:
                await self._wait_until(due)

    async def _schedule(self, pattern: Open | Replay) -> None:
        share = self._task.share
        for position, at in enumerate(self._times(pattern)):
            if position % share.of != share.worker:
                continue
            due = self._start_ns + round(at * 1e9)
            ask, part = self._next()
            body = None if self._task.asks.shape.turns > 1 else self._task.asks.body(ask)  # not on the request's time
            await self._wait_until(due)
            if self._finished.is_set() or len(self._tasks) > MOST_IN_FLIGHT:
                return
            if self._closing and part == "counted":
                part = "filler"
            self._spawn(self._scheduled(ask, part, due, body))

    def _times(self, pattern: Open | Replay) -> Iterator[float]:
        if isinstance(pattern, Open):
            yield from pattern.seconds(self._task.asks.seed)
            return
        yield from pattern.seconds(self._task.budget.warmup_requests)

    async def _scheduled(self, ask: Ask, part: Part, due: int, body: bytes | None) -> None:
        if body is None:
            await self._conversation(ask, part, due)
        else:
            await self._request(ask, part, 0, due, body)

    async def _conversation(self, ask: Ask, part: Part, due: int) -> tuple[bool, int]:
        """All turns of one conversation; of one turn, the request alone. Whether the last failed, and when it ended."""
        asks = self._task.asks
        turns = asks.shape.turns
        if turns == 1:
            exchange = await self._request(ask, part, 0, due, asks.body(ask))
            return _failed(exchange), exchange.ended_ns
        said = [asks.first_prompt(ask)]
        for turn in count():
            exchange = await self._request(
                ask, part, turn, due, asks.asking.body(said, ask.output_tokens), last=turn == turns - 1
            )
            answer = read_answer(exchange)
            if answer.failure is not None or turn == turns - 1:
                self._complete(part) if turn < turns - 1 else None
                return answer.failure is not None, exchange.ended_ns
            said += ["".join(answer.text), asks.next_prompt(ask, turn + 1)]
            due = exchange.ended_ns + round(asks.shape.think_seconds * 1e9)
            await self._wait_until(due)
        raise AssertionError("unreachable")

    # One request.
    async def _request(self, ask: Ask, part: Part, turn: int, due: int, body: bytes, *, last: bool = True) -> Exchange:
        exchange = Exchange()
        held = self._open[id(exchange)] = _Held(ask, part, turn, due, exchange)
        self._counted_open += part == "counted"
        await self._client.request("POST", self._task.asks.asking.path, body, into=exchange)
        self._counted_open -= part == "counted"
        del self._open[id(exchange)]
        self._held.append(held)
        self._held_chunks += len(exchange.pieces)
        if last:
            self._complete(part)
        if self._held_chunks > HELD_CHUNKS:
            self._read_held()
        return exchange

    def _complete(self, part: Part) -> None:
        if part != "counted":
            return
        self._answered += 1
        self._on_answer(self._answered)
        if self._answered >= self._counted or (self._closing and not self._counted_open):
            self._finished.set()

    async def _wait_until(self, due_ns: int) -> None:
        when = self._loop_start + (due_ns - self._start_ns) / 1e9
        left = when - self._loop.time()
        if left <= 0:
            return
        reached = self._loop.create_future()
        timer = self._loop.call_at(when, lambda: None if reached.done() else reached.set_result(None))
        try:
            await reached
        finally:
            timer.cancel()

    # Reading, when nothing is timed any more.
    def _read_held(self) -> None:
        for held in self._held:
            asked = self._task.asks.asked_tokens(held.ask, held.turn)
            self._sent.append(_sent(held, read_answer(held.exchange), asked, keep_text=self._task.keep_text))
        self._held.clear()
        self._held_chunks = 0

    def read(self) -> list[Sent]:
        self._read_held()
        return self._sent


def _failed(exchange: Exchange) -> bool:
    return exchange.failure is not None or not 200 <= exchange.status < 300


def _sent(held: _Held, answer: Answer, prompt_tokens_asked: int, *, keep_text: bool) -> Sent:
    return Sent(
        index=held.ask.index,
        part=held.part,
        turn=held.turn,
        scheduled_ns=held.scheduled_ns,
        sent_ns=held.exchange.sent_ns,
        ended_ns=held.exchange.ended_ns,
        chunk_ns=tuple(answer.chunk_ns),
        prompt_tokens_asked=prompt_tokens_asked,
        output_tokens_asked=held.ask.output_tokens,
        prompt_tokens=answer.prompt_tokens,
        output_tokens=answer.output_tokens,
        cached_tokens=answer.cached_tokens,
        failure=answer.failure,
        text="".join(answer.text) if keep_text else "",
    )
