"""Any OpenAI-compatible server as an engine: points of load become records, one appended as soon as it is measured."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.device import describe_device, same_device
from llmsizer.profile.load import workers
from llmsizer.profile.load.asking import Api, Asks
from llmsizer.profile.load.figures import Figures, figures
from llmsizer.profile.load.patterns import Budget, Closed, Open, Pattern, Replay, Shape, describe
from llmsizer.profile.load.point import Ran, Sent, Task
from llmsizer.profile.load.pool import PoolWatch
from llmsizer.profile.load.probe import Server, probe
from llmsizer.profile.load.prompts import counter, read_tokenizer
from llmsizer.profile.load.record import Asked, Served, load_record, request_samples
from llmsizer.profile.load.search import Edge, Knee, OutOfTime, find_edge, find_knee
from llmsizer.profile.load.slo import Limit, requests_needed
from llmsizer.profile.load.wire import Client
from llmsizer.profile.load.workers import Target
from llmsizer.profile.store import append_record, read_records, write_samples
from llmsizer.progress import Progress, silent

DEFAULT_REQUESTS = 100  # the fewest with a p99
TRACE_WARMUP, TRACE_WARMUP_SECONDS = 10, 30.0  # of a trace's first requests, sent once before it
DEFAULT_POINT_SECONDS = 60.0
DEFAULT_TOTAL_SECONDS = 900.0
MOST_ERRORS_SHARE = 0.01  # above it limits are not kept, whatever the answered requests say
MOST_USERS = 4096
MOST_RAMP_SECONDS = 5.0
DEFAULT_SHAPE = Shape()
UNSEEN = Served()

RunPoint = Callable[..., Ran]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How points are measured."""

    shape: Shape = DEFAULT_SHAPE
    limits: tuple[Limit, ...] = ()
    requests: int | None = None  # that count, per point; None: enough for the percentiles wanted
    point_seconds: float = DEFAULT_POINT_SECONDS
    total_seconds: float = DEFAULT_TOTAL_SECONDS
    seed: int = 0
    most_workers: int | None = None
    fresh: bool = False  # measure again what the records already hold
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One point: its record, and its figures where it was measured now."""

    record: ProfileRecord
    found: Figures | None = None


@dataclass(slots=True)
class ServerProfile:
    """All points of one call, and what a search found."""

    server: Server
    records: list[ProfileRecord] = field(default_factory=list)
    reused: int = 0
    knee: Knee | None = None
    edge: Edge | None = None
    searched: str = ""  # "rate" or "users"


class Session:
    """One server and one file of records. Raises NetworkError and others at once where the server cannot be used.

    ``served``: what whoever started the server knows of it; without a device it is this one where the URL is local.
    """

    def __init__(
        self,
        target: Target,
        *,
        model: str | None,
        settings: Settings,
        records_path: Path,
        served: Served = UNSEEN,
        api: Api | None = None,
        tokenizer: Path | None = None,
        run_point: RunPoint = workers.run,
        progress: Progress = silent,
    ) -> None:
        self._target, self._settings, self._records_path = target, settings, records_path
        self._run_point, self._progress = run_point, progress
        self._begun = time.monotonic()
        self._sweep_id = uuid.uuid4().hex[:12]
        loaded = read_tokenizer(tokenizer) if tokenizer is not None else None
        self._count = None if loaded is None else counter(loaded)
        progress("asking the server", 0.0)
        self.profile = ServerProfile(workers.run_loop(self._probe(model, api, loaded)))
        _check_context(self.profile.server, settings.shape)
        stored, _ = read_records(records_path, ProfileRecord)
        self._stored = {} if settings.fresh else {r.record_id: r for r in stored if r.status == "ok"}
        self._served = served if served.device else replace(served, device=_device(target, stored))

    async def _probe(self, model: str | None, api: Api | None, tokenizer: Any) -> Server:
        client = Client(self._target.endpoint, stall_seconds=self._target.stall_seconds)
        seconds = self._settings.total_seconds
        try:
            async with asyncio.timeout(seconds):
                return await probe(client, model=model, api=api, tokenizer=tokenizer, seed=self._settings.seed)
        except TimeoutError:
            raise MeasurementError(
                f"{self._target.endpoint.url}: not even single short answers ended within {seconds / 60:.3g} minutes; "
                "is it overloaded, or does it ignore max_tokens? a longer --max-minutes waits longer"
            ) from None
        finally:
            client.close()

    # What a caller asks for.
    def points(self, patterns: Sequence[Pattern]) -> ServerProfile:
        """Measure each; one that fails is a failed record, and the others go on."""
        for number, pattern in enumerate(patterns):
            self.measure(pattern, number, len(patterns))
        return self.profile

    def knee(self, *, most_points: int = 10, most: int = 1024) -> ServerProfile:
        """Sweep the users up to where throughput no longer grows, and narrow that down."""

        def throughput(users: int) -> float | None:
            measured = self.measure(Closed(concurrency=users), len(self.profile.records), most_points)
            return measured.record.output_tokens_per_second

        self.profile.knee = find_knee(self._in_time(throughput), most_points=most_points, most=most)
        self.profile.searched = "users"
        return self.profile

    def edge(self, *, users: bool = False, gap_cv: float = 1.0, most_points: int = 10) -> ServerProfile:
        """The largest rate (or number of users) at which every limit is kept."""
        if not self._settings.limits:
            raise InputError("a search needs limits; give for example --slo 'p95 ttft <= 1s'")

        def holds(load: float) -> bool:
            number = len(self.profile.records)
            pattern: Pattern = Open(requests_per_second=load, gap_cv=gap_cv)
            if users:
                pattern = Closed(concurrency=max(1, round(load)))
            record = self.measure(pattern, number, most_points).record
            _check_judged(record, self._settings.limits)
            return keeps(record, self._settings.limits)

        e2e = self.profile.server.e2e_seconds(self._settings.shape.output.mean_tokens)
        start = 1.0 if users else float(f"{1.0 / e2e:.2g}")
        self.profile.edge = find_edge(
            self._in_time(holds), start, most_points=most_points, least=0.6 if users else 1e-3,
            most=MOST_USERS if users else 1e5, ratio=1.2 if users else 1.1,
        )  # fmt: skip
        self.profile.searched = "users" if users else "rate"
        return self.profile

    def measure(self, pattern: Pattern, number: int = 0, of: int = 1) -> Measured:
        """One point, from the records where it was measured before."""
        asked = self._asked(pattern)
        stored = self._stored.get(asked.record_id)
        if stored is not None:
            self.profile.reused += 1
            self.profile.records.append(stored)
            return Measured(record=stored)
        what = f"{describe(pattern)} ({number + 1} of at most {of})"
        self._progress(f"measuring: {what}", min(0.99, number / of))
        budget = asked.budget

        def answered(done: int) -> None:
            share = min(1.0, done / max(1, budget.requests))
            text = f"measuring: {what}, {done} of {budget.requests} answered"
            self._progress(text, min(0.99, (number + share) / of))

        asking = self.profile.server.asking
        # Its own prompts: those of another point, of this call or an earlier one, may lie in the server's prefix cache.
        prompts = replace(asking.prompts, seed=int(asked.record_id, 16))
        asks = Asks(
            shape=self._settings.shape,
            asking=replace(asking, prompts=prompts),
            replay=pattern if isinstance(pattern, Replay) else None,
            replay_warmup=budget.warmup_requests if isinstance(pattern, Replay) else 0,
            seed=self._settings.seed + 1000 * number,
        )
        task = Task(pattern=pattern, asks=asks, budget=budget, keep_text=self._count is not None)
        processes = workers.workers_for(pattern, self._expected_streams(pattern), most=self._settings.most_workers)
        if self._settings.shape.turns > 1 and isinstance(pattern, Closed):
            processes = min(processes, pattern.concurrency)
        with PoolWatch(self._target.endpoint) as pool:
            ran = self._run_point(self._target, task, workers=processes, on_answer=answered)
        return self._recorded(asked, ran, processes, pool.why_full())

    # How.
    def _asked(self, pattern: Pattern) -> Asked:
        server = self.profile.server
        return Asked(
            endpoint=self._target.endpoint,
            model=server.asking.model,
            api=server.asking.api,
            served=self._served,
            pattern=pattern,
            shape=self._settings.shape,
            budget=self._budget(pattern),
            seed=self._settings.seed,
        )

    def _budget(self, pattern: Pattern) -> Budget:
        """Warm-up: a full-shape request of every user; by the clock, as many as come until the first are answered."""
        settings = self._settings
        e2e = self.profile.server.e2e_seconds(settings.shape.output.mean_tokens)
        grace = min(600.0, 10 * e2e)
        if isinstance(pattern, Replay):
            first = pattern.requests.arrival_seconds[:TRACE_WARMUP] / pattern.speed
            warmup = int((first - first[0] <= TRACE_WARMUP_SECONDS).sum())
            seconds = pattern.lead_seconds(warmup) + float(pattern.requests.arrival_seconds[-1]) / pattern.speed + 1.0
            return Budget(requests=len(pattern.requests), warmup_requests=warmup, seconds=seconds, grace_seconds=grace)
        requests = settings.requests or max(DEFAULT_REQUESTS, requests_needed(settings.limits))
        if isinstance(pattern, Closed):
            warmup = max(2, pattern.concurrency)
            if settings.requests is None:
                requests = max(requests, 2 * pattern.concurrency)
        else:
            warmup = min(2 * requests, max(2, math.ceil(1.5 * pattern.requests_per_second * e2e)))
        return Budget(
            requests=requests,
            warmup_requests=warmup,
            seconds=settings.point_seconds,
            grace_seconds=grace,
            ramp_seconds=min(MOST_RAMP_SECONDS, e2e),
        )

    def _expected_streams(self, pattern: Pattern) -> float:
        if not isinstance(pattern, Open):
            return 1.0
        return (
            3 * pattern.requests_per_second * self.profile.server.e2e_seconds(self._settings.shape.output.mean_tokens)
        )

    def _recorded(self, asked: Asked, ran: Ran, processes: int, pool_full: str | None) -> Measured:
        settings, shape = self._settings, self._settings.shape
        found = figures(
            ran.sent,
            asked.pattern,
            limits=settings.limits,
            cpu_share=ran.cpu_share,
            client_tokens=self._client_tokens(ran.sent),
            reuses_prefixes=shape.turns > 1 or shape.shared_prefix_tokens > 0 or isinstance(asked.pattern, Replay),
        )
        samples = request_samples(ran.sent, found.origin_ns, processes)
        record = load_record(
            asked,
            self.profile.server,
            found,
            samples=write_samples(self._records_path, asked.record_id, samples) if samples else None,
            pool_full=pool_full,
            sweep_id=self._sweep_id,
            command=settings.command,
        )
        append_record(self._records_path, record)
        self.profile.records.append(record)
        return Measured(record=record, found=found)

    def _client_tokens(self, sent: Sequence[Sent]) -> list[int] | None:
        """What the tokenizer says of the answers; the begin-of-text token it adds is no output."""
        if self._count is None:
            return None
        added = self._count("")
        return [self._count(s.text) - added for s in sent if s.part == "counted" and s.failure is None]

    def _in_time(self, measure: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def timed(load: Any) -> Any:
            if self.profile.records and time.monotonic() - self._begun > self._settings.total_seconds:
                raise OutOfTime
            return measure(load)

        return timed


def keeps(record: ProfileRecord, limits: Sequence[Limit]) -> bool:
    """Whether a point kept every limit: judged by its percentiles, and not by answered requests alone."""
    counts, steady = record.counts, record.steady
    if record.status != "ok" or counts is None or not counts.requests_total or (steady and steady.saturated):
        return False
    failed = (counts.requests_failed or 0) + (counts.requests_incomplete or 0)
    if failed > MOST_ERRORS_SHARE * counts.requests_total:
        return False
    return all(limit.judge(record.distributions) in ("held", "likely held") for limit in limits)


def _check_judged(record: ProfileRecord, limits: Sequence[Limit]) -> None:
    """A limit on what answers do not have is no limit that a load misses."""
    if record.status != "ok":
        return
    for limit in limits:
        if limit.judge(record.distributions) == "unknown":
            raise InputError(
                f"no answer has a {limit.metric.upper()}, so {limit.text()} cannot be judged; "
                "ask for more --output-tokens"
            )


def _device(target: Target, stored: Sequence[ProfileRecord]) -> DeviceRecord:
    """This machine where the server is on it, else unknown: nobody can see through a network."""
    if target.endpoint.is_loopback:
        return same_device(record.device for record in stored) or describe_device()
    return DeviceRecord(name=f"unknown (behind {target.endpoint.host})", kind="unknown")


def _check_context(server: Server, shape: Shape) -> None:
    prompt, output = shape.prompt.longest_tokens, shape.output.longest_tokens
    needed = prompt + output + (shape.turns - 1) * (prompt - shape.shared_prefix_tokens + output)
    if server.context_tokens is not None and needed > server.context_tokens:
        raise InputError(
            f"{needed:,} tokens of prompt and output do not fit the server's context of {server.context_tokens:,}; "
            "lower --prompt-tokens, --output-tokens or --turns"
        )
