"""inference-perf's lifecycle reports of a stage or of the whole run: seconds, and the usual definitions.

A summary over several stages mixes their loads, so it is refused where the file is the whole of it: import the stages.
What the tool calls constant are exponential gaps stretched to the stage's length: Poisson arrivals.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread
from llmsizer.exchange.values import Refused, at, first_at, number, number_at, seconds, whole
from llmsizer.facts.record_parts import Counts, Distribution, Load, Throughput

OURS = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2e": "request_latency",
    "normalized_tpot": "normalized_time_per_output_token",
}


def matches(document: Any) -> bool:
    """Whether a document is a lifecycle report."""
    return isinstance(at(document, "load_summary"), Mapping) and isinstance(at(document, "successes"), Mapping)


def points(document: Any) -> list[Point]:
    """The point of a stage. Raises Refused."""
    done = whole(at(document, "successes", "count"), "successes.count")
    if not done:
        raise Refused("no request was answered (successes.count is 0)")
    summary, successes = at(document, "load_summary"), at(document, "successes")
    if "requested_rate" not in summary and "concurrency" not in summary:
        raise Refused("a summary over all stages, whose loads differ; import the stage_*_lifecycle_metrics.json")
    found: dict[str, Distribution] = {}
    for name, theirs in OURS.items():
        weighting = "token" if name == "itl" else "request"
        made = spread(
            at(successes, "latency", theirs), name, f"successes.latency.{theirs}", n=done, weighting=weighting
        )
        if made is not None:
            found[name] = made
    concurrency = whole(at(summary, "concurrency"), "load_summary.concurrency")
    rate = None if concurrency else number_at(document, "load_summary", "requested_rate")
    prompt = number(first_at(successes, ("prompt_tokens", "mean"), ("prompt_len", "mean")), "successes.prompt_tokens")
    output = number(first_at(successes, ("output_tokens", "mean"), ("output_len", "mean")), "successes.output_tokens")
    requests, latency = number_at(document, "successes", "throughput", "requests_per_sec"), found.get("e2e")
    in_flight = requests * latency.mean if requests and latency and latency.mean else None
    return [
        Point(
            load=Load(
                pattern="single" if concurrency == 1 else "closed" if concurrency else "poisson",
                concurrency=concurrency,
                rate_per_second=rate,
                achieved_rate_per_second=number_at(document, "load_summary", "achieved_rate"),
                duration_seconds=seconds(at(document, "benchmark_time_seconds"), "benchmark_time_seconds"),
                prompt_tokens_mean=prompt,
                output_tokens_mean=output,
            ),
            batch=concurrency or (max(1, round(in_flight)) if in_flight else None),
            prompt_tokens=prompt,
            output_tokens=output,
            distributions=found,
            output_tokens_per_second=number_at(document, "successes", "throughput", "output_tokens_per_sec"),
            throughput=Throughput(
                requests_per_second=requests,
                input_tokens_per_second=number_at(document, "successes", "throughput", "input_tokens_per_sec"),
            ),
            counts=Counts(
                requests_total=whole(at(summary, "count"), "load_summary.count"),
                requests_ok=done,
                requests_failed=whole(at(document, "failures", "count"), "failures.count"),
            ),
            repeats=done,
            tool="inference-perf",
            converted={} if concurrency else {"batch": "requests/s × mean time of a request (Little's law)"},
        )
    ]
