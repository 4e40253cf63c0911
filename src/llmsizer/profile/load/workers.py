"""A point on one core or on several: one event loop each, one schedule for all."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import math
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any

from llmsizer.errors import LlmSizerError, MeasurementError
from llmsizer.profile.load.patterns import Closed, Pattern
from llmsizer.profile.load.point import Ran, Share, Task, run_point
from llmsizer.profile.load.wire import STALL_SECONDS, Client, Endpoint

STREAMS_PER_WORKER = 1_000
START_SECONDS = 1.0  # from the last worker's word that it is ready to the start: its connections are opened in it
REPORT_EVERY = 20  # answers
READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server, and how long it may be silent."""

    endpoint: Endpoint
    stall_seconds: float = STALL_SECONDS


def workers_for(pattern: Pattern, expected_streams: float, *, most: int | None = None) -> int:
    """Processes for so many streams at once: another only where one would delay what it measures."""
    streams = pattern.concurrency if isinstance(pattern, Closed) else expected_streams
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(most or cores, math.ceil(streams / STREAMS_PER_WORKER)))


def run(target: Target, task: Task, *, workers: int = 1, on_answer: Callable[[int], None] = lambda n: None) -> Ran:
    """Run a point. ``on_answer`` is told how many counted requests are answered. Raises MeasurementError."""
    allow_many_sockets()
    if workers == 1:
        ran: Ran = run_loop(_one(target, task, on_answer))
        return ran
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        for worker in range(workers):
            here, there = context.Pipe()
            pipes.append(here)
            part = replace(task, share=Share(worker=worker, of=workers))
            process = context.Process(target=_work, args=(there, target, part), daemon=True)
            process.start()
            there.close()
            processes.append(process)
        _begin_together(pipes)
        return _collected(pipes, on_answer)
    finally:
        for process in processes:
            process.kill()
            process.join()
        for pipe in pipes:
            pipe.close()


async def _one(target: Target, task: Task, on_answer: Callable[[int], None]) -> Ran:
    client = Client(target.endpoint, stall_seconds=target.stall_seconds)
    try:
        return await run_point(client, task, on_answer=on_answer)
    finally:
        client.close()


def run_loop(main: Any) -> Any:
    """Run a coroutine on uvloop where it is installed: it halves the cost of a chunk."""
    factory = None
    if importlib.util.find_spec("uvloop") is not None:
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def allow_many_sockets() -> None:
    """As many open files as the system lets this process have: one per stream."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _work(pipe: Connection, target: Target, task: Task) -> None:
    """A worker process: progress by numbers, then what it saw, or the line that says what is wrong."""

    def tell(answered: int) -> None:
        if answered % REPORT_EVERY == 0:
            pipe.send(answered)

    with contextlib.suppress(KeyboardInterrupt, ConnectionError, EOFError):
        allow_many_sockets()
        pipe.send(READY)
        task = replace(task, start_ns=pipe.recv())
        try:
            pipe.send(run_loop(_one(target, task, tell)))
        except LlmSizerError as error:
            pipe.send(error)


def _begin_together(pipes: list[Connection]) -> None:
    """One start for all, once each has imported what it needs: what is due before that would be sent late."""
    for pipe in pipes:
        _heard(pipe)
    start_ns = time.monotonic_ns() + round(START_SECONDS * 1e9)
    for pipe in pipes:
        with contextlib.suppress(ConnectionError):  # its end is told where its answer is read
            pipe.send(start_ns)


def _heard(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, ConnectionResetError):
        raise MeasurementError("a load process ended without an answer (out of memory?)") from None


def _collected(pipes: list[Connection], on_answer: Callable[[int], None]) -> Ran:
    answered = [0] * len(pipes)
    found: list[Ran] = []
    open_pipes = list(pipes)
    while open_pipes:
        for pipe in wait(open_pipes):
            assert isinstance(pipe, Connection)
            message = _heard(pipe)
            if isinstance(message, int):
                answered[pipes.index(pipe)] = message
                on_answer(sum(answered))
                continue
            if isinstance(message, LlmSizerError):
                raise message
            found.append(message)
            open_pipes.remove(pipe)
    return Ran(
        sent=[sent for ran in found for sent in ran.sent],
        cpu_share=max(ran.cpu_share for ran in found),
        cpu_seconds=sum(ran.cpu_seconds for ran in found),
    )
