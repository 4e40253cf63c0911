"""GuideLLM's JSON or YAML, of every version: without metadata (to 0.3), metadata 1 (from 0.4) and 2 (from 0.8).

Its ``inter_token_latency`` is the others' TPOT, weighted by tokens; single requests, where the file keeps them, weigh
alike. Its ``time_per_output_token`` is another thing in each version: (last − first token)/n to 0.3, (last token −
start of the request)/n later, TTFT included; it is never taken. No raw gaps are kept, so there is no ITL.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread, spread_of
from llmsizer.exchange.values import (
    Refused,
    at,
    first_at,
    items_at,
    number,
    number_at,
    seconds,
    text_at,
    whole,
    word_at,
)
from llmsizer.facts.record_parts import Counts, Distribution, Load, Pattern, Throughput

PATTERNS: dict[str, Pattern] = {
    "synchronous": "single", "concurrent": "closed", "throughput": "burst", "constant": "constant",
    "async_constant": "constant", "poisson": "poisson", "async_poisson": "poisson", "trace": "trace",
}  # fmt: skip


def matches(document: Any) -> bool:
    """Whether a document is a GuideLLM report."""
    return at(document, "benchmarks", 0, "metrics", "time_to_first_token_ms") is not None


def version_of(document: Any) -> str:
    """The version of the report's schema: 0 where it has no metadata."""
    return word_at(document, "metadata", "version") or "0"


def points(document: Any) -> list[Point]:
    """One point a benchmark of the report. Raises Refused."""
    version = version_of(document)
    if version not in ("0", "1", "2"):
        raise Refused(f"a GuideLLM report of schema {version}; schemas up to 2 are known")
    found = items_at(document, "benchmarks")
    return [_point(document, benchmark, f"benchmarks[{i}]") for i, benchmark in enumerate(found)]


def _point(document: Any, benchmark: Any, where: str) -> Point:
    metrics = at(benchmark, "metrics")
    if not isinstance(metrics, Mapping):
        raise Refused(f"{where} has no metrics")
    done = whole(first_at(metrics, ("request_totals", "successful")) or at(benchmark, "request_totals", "successful"),
                 f"{where}.request_totals.successful")  # fmt: skip
    if not done:
        raise Refused(f"{where} has no successful request")
    strategy = first_at(benchmark, ("config", "strategy"), ("args", "strategy"), ("scheduler", "strategy")) or {}
    distributions, converted = _latencies(benchmark, metrics, where, done)
    concurrency = _mean(metrics, "request_concurrency", where)
    load = _load(benchmark, strategy, metrics, where)
    window = number_at(benchmark, "duration")
    totals = first_at(metrics, ("request_totals",)) or at(benchmark, "request_totals")
    return Point(
        position=where,
        model=first_text(document, benchmark),
        load=load,
        batch=load.concurrency or (max(1, round(concurrency)) if concurrency else None),
        prompt_tokens=_mean(metrics, "prompt_token_count", where),
        output_tokens=_mean(metrics, "output_token_count", where),
        distributions=distributions,
        output_tokens_per_second=_mean(metrics, "output_tokens_per_second", where),
        throughput=Throughput(
            requests_per_second=_mean(metrics, "requests_per_second", where),
            input_tokens_per_second=_mean(metrics, "prompt_tokens_per_second", where),
        ),
        counts=Counts(
            requests_total=whole(at(totals, "total"), f"{where}.request_totals.total"),
            requests_ok=done,
            requests_failed=whole(at(totals, "errored"), f"{where}.request_totals.errored"),
            requests_incomplete=whole(at(totals, "incomplete"), f"{where}.request_totals.incomplete"),
        ),
        repeats=done,
        tool="guidellm",
        tool_version=text_at(document, "metadata", "guidellm_version"),
        converted=converted,
        unknown={"distributions.itl": "GuideLLM keeps a request's first and last token only"}
        | ({} if window else {"load.duration_seconds": "not in the report"}),
    )


def first_text(document: Any, benchmark: Any) -> str:
    """The model, wherever this version writes it."""
    found = first_at(
        benchmark, ("config", "backend", "model"), ("worker", "backend_model"), ("benchmarker", "backend", "model"),
    )  # fmt: skip
    other = first_at(document, ("args", "model"), ("config", "spec", "backend", "model"))
    return next((name for name in (found, other) if isinstance(name, str)), "")


def _latencies(benchmark: Any, metrics: Any, where: str, done: int) -> tuple[dict[str, Distribution], dict[str, str]]:
    found: dict[str, Distribution] = {}
    converted = {"ttft": "milliseconds → seconds"}
    ours = {"ttft": ("time_to_first_token_ms", "ms"), "e2e": ("request_latency", "s")}
    for name, (theirs, unit) in ours.items():
        document = at(metrics, theirs, "successful")
        made = spread(document, name, f"{where}.{theirs}", unit=unit, n=done)
        if made is not None:
            found[name] = made
    single = _single_requests(benchmark, where)
    tpot = spread_of(single, "tpot") if len(single) == done else None
    if tpot is not None:
        converted["tpot"] = "inter_token_latency_ms of single requests, each weighing alike; milliseconds → seconds"
    else:
        document = at(metrics, "inter_token_latency_ms", "successful")
        tpot = spread(document, "tpot", f"{where}.inter_token_latency_ms", unit="ms", n=done, weighting="token")
        converted["tpot"] = "inter_token_latency_ms, which weighs by tokens; milliseconds → seconds"
    if tpot is not None:
        found["tpot"] = tpot
    return found, converted


def _single_requests(benchmark: Any, where: str) -> list[float]:
    values = [at(request, "inter_token_latency_ms") for request in items_at(benchmark, "requests", "successful")]
    read = [seconds(value, f"{where}.requests.inter_token_latency_ms", "ms") for value in values]
    return [value for value in read if value]


def _load(benchmark: Any, strategy: Any, metrics: Any, where: str) -> Load:
    kind = word_at(strategy, "type_").lower()
    pattern = PATTERNS.get(kind)
    if pattern is None:
        raise Refused(f"{where} has the strategy {kind or 'none'!r}; known are {', '.join(PATTERNS)}")
    streams = whole(first_at(strategy, ("streams",), ("max_concurrency",)), f"{where}.strategy.streams")
    return Load(
        pattern=pattern,
        concurrency=1 if pattern == "single" else streams if pattern == "closed" else None,
        rate_per_second=number(at(strategy, "rate"), f"{where}.strategy.rate"),
        achieved_rate_per_second=_mean(metrics, "requests_per_second", where),
        burstiness_cv={"constant": 0.0, "poisson": 1.0}.get(pattern),
        duration_seconds=number_at(benchmark, "duration"),
        prompt_tokens_mean=_mean(metrics, "prompt_token_count", where),
        output_tokens_mean=_mean(metrics, "output_token_count", where),
        streaming=True,
    )


def _mean(metrics: Any, name: str, where: str) -> float | None:
    return number(at(metrics, name, "successful", "mean"), f"{where}.{name}")
