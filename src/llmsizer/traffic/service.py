"""What the users of a fleet see: latencies, goodput and occupancy from simulations, each labelled as simulated.

An interval here is chance in the demand alone, from replications with other seeds. How sure the step times are is
another matter: their basis stands beside the numbers, and ``at_speed`` makes a replica at the ends of their interval.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.workload import Slo, Workload
from llmsizer.traffic.closed_form.meanfield import Replica as ClosedReplica
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.demand.stream import Stream, stream_of
from llmsizer.traffic.demand.traces import TraceSummary
from llmsizer.traffic.simulator.engine import replay, simulate
from llmsizer.traffic.simulator.fleet import Fleet, LatencyTargets, Replica
from llmsizer.traffic.simulator.replications import Interval, Metric, Replications, replicate
from llmsizer.traffic.simulator.results import Latency, SimulationResult, SimulationVerdict
from llmsizer.units import SECONDS_PER_HOUR

METHOD = "event simulation of continuous batching (vLLM's scheduler), Poisson or Gamma arrivals"
METRICS: tuple[tuple[str, Metric], ...] = (("TTFT", "ttft"), ("TPOT", "tpot"), ("ITL", "itl"), ("E2E", "e2e"))
DEFINITIONS = {
    "TTFT": "first output token − arrival",
    "TPOT": "(end − first token)/(output tokens − 1), per request",
    "ITL": "the raw gaps between output tokens",
    "E2E": "end − arrival",
}
_USUAL_REQUESTS = 20_000  # of one replication: p99 then rests on 200
_LEAST_HOURS, _MOST_HOURS = 0.25, 168.0
_ENOUGH_REQUESTS = 500_000  # of one replication: where they come so fast, a shorter time says as much
_MOST_REQUESTS = 500_000_000  # of all replications: minutes of work
WARM_UP_SHARE = 0.1
_TAIL = 4  # times the usual context is allowed for the longest requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """The SLO, and the 95th percentile of the whole answer where one is asked for."""

    slo: Slo
    e2e_p95_seconds: float | None = None

    @property
    def targets(self) -> LatencyTargets:
        """What makes one request good: each within what is asked of 95 in 100."""
        limit = math.inf if self.e2e_p95_seconds is None else self.e2e_p95_seconds
        return replace(LatencyTargets.of(self.slo), e2e_seconds=limit)

    def missed(self, verdict: SimulationVerdict, p95_seconds: Callable[[Metric], float | None]) -> str:
        """What is missed first; empty where all is met."""
        if verdict != "STABLE":
            return verdict
        limits: tuple[tuple[str, Metric, float | None], ...] = (
            ("TTFT p95", "ttft", self.slo.ttft_p95_seconds),
            ("TPOT p95", "tpot", self.slo.tpot_p95_seconds),
            ("E2E p95", "e2e", self.e2e_p95_seconds),
        )
        for name, metric, limit in limits:
            value = p95_seconds(metric)
            if value is not None and limit is not None and value > limit:
                return name
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One simulated number with its 90 % interval; ``reason`` says why the number or its interval is missing."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""
    basis: Literal["simulated"] = "simulated"


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRow:
    """One latency in seconds; ``count`` is of requests, for ITL of gaps."""

    metric: str
    definition: str
    count: int
    mean: Simulated
    p50: Simulated
    p90: Simulated
    p95: Simulated
    p99: Simulated


@dataclass(frozen=True, slots=True, kw_only=True)
class Occupancy:
    """How full the replicas are: means over time and replications, peaks over all of them."""

    utilisation: Simulated  # share of time in which a replica steps
    mean_batch: Simulated  # of one replica
    max_sequences: int
    mean_kv_tokens: Simulated  # of one replica
    peak_kv_tokens: int  # of the fullest replica at any moment
    kv_capacity_tokens: int
    peak_waiting: int  # of all replicas
    preemptions: int  # of all replicas and replications


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A fleet under a demand. Latencies have no values where the verdict is OVERLOADED."""

    verdict: SimulationVerdict
    meets_slo: bool
    missed: str
    replicas: int
    simulated_replicas: int  # that stand for all, each under its share of the demand
    requests_per_second: float  # offered
    simulated_hours: float  # of one replication
    replications: int
    requests: int  # measured, over all replications
    cached_prompt_share: float  # of all prompt tokens: what a replica found in its prefix cache
    latencies: tuple[LatencyRow, ...]
    goodput_requests_per_second: Simulated
    occupancy: Occupancy
    method: str = METHOD

    def row(self, metric: str) -> LatencyRow:
        return next(row for row in self.latencies if row.metric == metric)


def stream_within(
    workload: Workload, replica: Replica, *, gap_cv: float | None = None, by_hour: bool = False
) -> Stream:
    """The workload as a demand whose longest request the replica can hold; the tail beyond that is cut."""
    room = replica.kv_blocks * replica.block_tokens
    context = min(_TAIL * workload.context_tokens, room)
    return stream_of(workload, context_tokens=context, gap_cv=gap_cv, by_hour=by_hour)


def workload_of_trace(name: str, summary: TraceSummary) -> Workload:
    """The trace in the terms of the closed form: its mean rate and lengths. Raises InputError."""
    rate = summary.requests_per_second
    if rate is None:
        raise InputError(f"{name}: all requests come at once; a trace needs two arrival times or more")
    prompt, output = max(1, round(summary.prompt_tokens_mean)), max(1, round(summary.output_tokens_mean))
    return Workload(
        name=name,
        requests_per_second=rate,
        prompt_tokens=prompt,
        output_tokens=output,
        prompt_tokens_p95=max(prompt, round(summary.prompt_tokens_p95)),
        output_tokens_p95=max(output, round(summary.output_tokens_p95)),
        cached_prompt_fraction=min(summary.cached_prompt_fraction or 0.0, 0.999),
        peak_to_average=1.0,
    )


def hours_for(requests_per_second: float) -> float:
    """Long enough for every percentile: a quarter of an hour to a week, less where requests are many."""
    usual, enough = (count / requests_per_second / SECONDS_PER_HOUR for count in (_USUAL_REQUESTS, _ENOUGH_REQUESTS))
    return min(max(usual, _LEAST_HOURS), enough, _MOST_HOURS)


def serve(
    replica: Replica,
    stream: Stream,
    fleet: Fleet,
    goal: Goal,
    *,
    hours: float | None = None,
    replications: int = 5,
    seed: int = 0,
) -> Service:
    """A fleet under a steady demand, with 90 % intervals from replications. Raises LlmSizerError."""
    runs = observe(replica, stream, fleet, goal, hours=hours, replications=replications, seed=seed)
    return service_of(runs, replica, fleet, goal, stream.arrivals.requests_per_second)


def observe(
    replica: Replica,
    stream: Stream,
    fleet: Fleet,
    goal: Goal,
    *,
    hours: float | None = None,
    replications: int = 5,
    seed: int = 0,
) -> Replications:
    """The runs behind ``serve``, of ``fleet.sample``, with all that a chart or an energy account needs.

    Raises LlmSizerError, also where so many requests would take too long.
    """
    shared = share_of(stream, fleet)
    rate = shared.arrivals.requests_per_second
    duration = (hours if hours is not None else hours_for(rate)) * SECONDS_PER_HOUR
    if rate * duration * replications > _MOST_REQUESTS:
        raise InputError(
            f"{replications} × {duration / SECONDS_PER_HOUR:.4g} h at {rate:.4g} requests/s are "
            f"{rate * duration * replications:,.3g} requests to simulate; at most {_MOST_REQUESTS:,}: "
            "give fewer hours or replications, or a lower rate"
        )
    return replicate(
        replica,
        shared,
        duration_seconds=duration,
        warmup_seconds=WARM_UP_SHARE * duration,
        replications=replications,
        seed=seed,
        workers=os.cpu_count() or 1,
        fleet=fleet.sample,
        targets=goal.targets,
    )


def share_of(stream: Stream, fleet: Fleet) -> Stream:
    """The share of a fleet's demand that falls to the replicas which are simulated for all."""
    if fleet.times_sample == 1:
        return stream
    return stream.at_rate(stream.arrivals.requests_per_second / fleet.times_sample)


def observe_trace(replica: Replica, requests: Requests, fleet: Fleet, goal: Goal) -> Replications:
    """A fleet under a trace, fed at its own arrival times; one trace is one run.

    Raises LlmSizerError, also where all come at once: that is no rate.
    """
    run = replay(replica, requests, fleet=fleet, targets=goal.targets)
    if not requests.arrival_seconds[-1] > 0:
        raise InputError("all requests of the trace come at once; a trace needs two arrival times or more")
    return Replications(runs=(run,))


def simulated_once(
    replica: Replica, stream: Stream, fleet: Fleet, goal: Goal, *, seed: int, hours: float | None = None
) -> Service:
    """One run with exactly this seed: the unit of a sweep. Raises LlmSizerError."""
    rate, shared = stream.arrivals.requests_per_second, share_of(stream, fleet)
    usual = hours_for(shared.arrivals.requests_per_second)
    duration = (hours if hours is not None else usual) * SECONDS_PER_HOUR
    warmup = WARM_UP_SHARE * duration
    run = simulate(
        replica,
        shared,
        duration_seconds=duration,
        warmup_seconds=warmup,
        seed=seed,
        fleet=fleet.sample,
        targets=goal.targets,
    )
    return service_of(Replications(runs=(run,)), replica, fleet, goal, rate)


def at_speed(replica: Replica, closed: ClosedReplica, end: Literal["slow", "fast"]) -> Replica:
    """The replica with its steps at one end of their 90 % interval, by the factors of the closed form's curves."""
    curves = closed.slow if end == "slow" else closed.fast
    decode = float(curves.decode_seconds[0] / closed.mid.decode_seconds[0])
    prefill = curves.prefill_seconds / closed.mid.prefill_seconds
    steps = replica.steps
    decoding = steps.decode_seconds * decode
    scaled = replace(
        steps,
        decode_seconds=decoding,
        mixed_seconds=steps.mixed_seconds * prefill,
        seconds_per_pair=steps.seconds_per_pair * prefill,
    )
    return replace(replica, steps=scaled)


def service_of(
    runs: Replications,
    replica: Replica,
    fleet: Fleet,
    goal: Goal,
    rate: float,
    *,
    simulated_replicas: int | None = None,
) -> Service:
    """What users see at an offered rate, from runs of ``fleet.sample``, or of so many replicas."""
    verdict = runs.verdict
    simulated = simulated_replicas or fleet.sample.replicas
    times = fleet.replicas / simulated
    merged = {metric: runs.latency(metric) for _, metric in METRICS}

    def p95(metric: Metric) -> float | None:
        found = merged[metric]
        return None if found is None else found.p95_seconds

    missed = goal.missed(verdict, p95)
    return Service(
        verdict=verdict,
        meets_slo=not missed,
        missed=missed,
        replicas=fleet.replicas,
        simulated_replicas=simulated,
        requests_per_second=rate,
        simulated_hours=runs.runs[0].duration_seconds / SECONDS_PER_HOUR,
        replications=len(runs.runs),
        requests=sum(run.counts.measured for run in runs.runs),
        cached_prompt_share=_cached_share(runs),
        latencies=tuple(_row(name, metric, merged[metric], runs) for name, metric in METRICS),
        goodput_requests_per_second=_number(
            runs,
            lambda run: None if run.good_per_second is None else run.good_per_second * times,
            reason="OVERLOADED: none that would last",
        ),
        occupancy=_occupancy(runs, replica, simulated, times),
    )


def _cached_share(runs: Replications) -> float:
    prompts = sum(run.counts.prompt_tokens for run in runs.runs)
    return sum(run.counts.cached_tokens for run in runs.runs) / prompts if prompts else 0.0


def _row(name: str, metric: Metric, merged: Latency | None, runs: Replications) -> LatencyRow:
    def value(key: str) -> Simulated:
        if merged is None:
            overloaded = runs.verdict == "OVERLOADED"
            why = "OVERLOADED: it grows as long as one watches" if overloaded else "answers of one token have none"
            return Simulated(value=None, reason=why)
        found: float | None = getattr(merged, f"{key}_seconds")
        if found is None:
            return Simulated(value=None, reason=f"{merged.count:,} are too few for {key}")

        def of_run(run: SimulationResult) -> float | None:
            part: Latency | None = getattr(run, metric)
            return None if part is None else getattr(part, f"{key}_seconds")

        return _number(runs, of_run, value=found)

    return LatencyRow(
        metric=name,
        definition=DEFINITIONS[name],
        count=0 if merged is None else merged.count,
        mean=value("mean"),
        p50=value("p50"),
        p90=value("p90"),
        p95=value("p95"),
        p99=value("p99"),
    )


def _number(
    runs: Replications, of_run: Callable[[SimulationResult], float | None], *, value: float | None = None,
    reason: str = "",
) -> Simulated:  # fmt: skip
    """A number of all runs (their mean where none is given) with the interval that the runs give it."""
    if len(runs.runs) == 1:
        one = of_run(runs.runs[0]) if value is None else value
        return Simulated(value=one, reason="one run gives no interval" if one is not None else reason)
    spread: Interval | None = runs.interval(of_run)
    if spread is None:
        return Simulated(value=value, reason=reason or "too few requests in one run for an interval")
    shown = spread.mean if value is None else value
    return Simulated(value=shown, low=max(0.0, min(spread.low, shown)), high=max(spread.high, shown))


def _occupancy(runs: Replications, replica: Replica, simulated: int, times: float) -> Occupancy:
    return Occupancy(
        utilisation=_number(runs, lambda run: run.utilisation),
        mean_batch=_number(runs, lambda run: run.mean_batch / simulated),
        max_sequences=replica.max_sequences,
        mean_kv_tokens=_number(runs, lambda run: run.mean_kv_tokens / simulated),
        peak_kv_tokens=max(run.peak_kv_tokens for run in runs.runs),
        kv_capacity_tokens=replica.kv_blocks * replica.block_tokens,
        peak_waiting=round(times * max(run.peak_waiting for run in runs.runs)),
        preemptions=round(times * sum(run.counts.preemptions for run in runs.runs)),
    )
