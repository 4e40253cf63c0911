"""AIPerf's ``profile_export_aiperf.json`` and its predecessor genai-perf's ``…_genai_perf.json``.

A metric is ``{unit, avg, p1 … p99, min, max, std}``; its unit is what counts. ``inter_token_latency`` is
(end − first token)/(n − 1), the others' TPOT; ``inter_chunk_latency`` is the raw gaps, which genai-perf has not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread
from llmsizer.exchange.values import Refused, at, first_at, number, text_at, whole, word_at
from llmsizer.facts.record_parts import Counts, Distribution, Load, Pattern, Throughput

OURS = {
    "ttft": "time_to_first_token",
    "tpot": "inter_token_latency",
    "itl": "inter_chunk_latency",
    "e2e": "request_latency",
}
PATTERNS: dict[str, Pattern] = {
    "constant": "constant", "poisson": "poisson", "gamma": "gamma", "fixed_schedule": "trace", "user_centric": "closed",
}  # fmt: skip


def matches(document: Any) -> bool:
    """Whether a document is AIPerf's or genai-perf's summary."""
    latency = at(document, "request_latency")
    return isinstance(latency, Mapping) and "unit" in latency and "avg" in latency and "input_config" in document


def points(document: Any) -> list[Point]:
    """The one point of a summary. Raises Refused."""
    version = word_at(document, "schema_version")
    if version and version.partition(".")[0] != "1":
        raise Refused(f"an AIPerf summary of schema {version}; schemas 1.x are known")
    done = whole(_value(document, "request_count"), "request_count")
    if done == 0:
        raise Refused("no request was answered (request_count is 0)")
    found, converted = _latencies(document, done or 0)
    load, batch = _load(document)
    config = at(document, "input_config")
    name = first_at(
        config, ("models", "items", 0, "name"), ("endpoint", "model_names", 0), ("model_names", 0), ("models", 0),
    )  # fmt: skip
    errors = at(document, "error_request_count", "avg")
    return [
        Point(
            model=name if isinstance(name, str) else "",
            load=load,
            batch=batch,
            prompt_tokens=_value(document, "input_sequence_length"),
            output_tokens=_value(document, "output_sequence_length"),
            distributions=found,
            output_tokens_per_second=_value(document, "output_token_throughput"),
            throughput=Throughput(requests_per_second=_value(document, "request_throughput")),
            counts=Counts(
                requests_ok=done,
                requests_failed=whole(errors, "error_request_count.avg"),
                input_tokens=whole(_value(document, "total_isl"), "total_isl", most=10**12),
                output_tokens_server=whole(_value(document, "usage_completion_tokens", "sum"), "usage", most=10**12),
            ),
            repeats=done or 0,
            measured_at=text_at(document, "start_time"),
            command=text_at(document, "run_info", "cli_command"),
            tool="aiperf" if version else "genai-perf",
            tool_version=text_at(document, "aiperf_version"),
            converted=converted,
            unknown={} if "itl" in found else {"distributions.itl": "no gaps between chunks in the file"},
        )
    ]


def _latencies(document: Any, done: int) -> tuple[dict[str, Distribution], dict[str, str]]:
    found: dict[str, Distribution] = {}
    converted: dict[str, str] = {}
    for name, theirs in OURS.items():
        metric = at(document, theirs)
        if not isinstance(metric, Mapping):
            continue
        unit = word_at(metric, "unit")
        weighting = "token" if name == "itl" else "request"
        made = spread(metric, name, theirs, unit=unit, n=done, weighting=weighting)
        if made is not None:
            found[name] = made
            converted[name] = f"{theirs}, {unit} → seconds"
    return found, converted


def _load(document: Any) -> tuple[Load, int | None]:
    config = at(document, "input_config")
    phase = first_at(config, ("phases", -1), ("loadgen",), ("perf_analyzer", "stimulus"), ("load_generator",)) or {}
    concurrency = whole(
        first_at(phase, ("concurrency",)) or at(config, "loadgen", "concurrency"), "input_config.concurrency"
    )
    rate = number(first_at(phase, ("rate",), ("request_rate",)), "input_config.rate")
    mode = str(first_at(phase, ("arrival_pattern",), ("request_rate_mode",), ("type",)) or "").lower()
    pattern: Pattern = PATTERNS.get(mode, "poisson") if rate else "single" if concurrency == 1 else "closed"
    load = Load(
        pattern=pattern,
        concurrency=concurrency,
        rate_per_second=rate,
        achieved_rate_per_second=_value(document, "request_throughput"),
        burstiness_cv={"constant": 0.0, "poisson": 1.0}.get(pattern),
        duration_seconds=_value(document, "benchmark_duration"),
        prompt_tokens_mean=_value(document, "input_sequence_length"),
        output_tokens_mean=_value(document, "output_sequence_length"),
        streaming=at(config, "endpoint", "streaming") is True or None,
    )
    if concurrency:
        return load, concurrency
    # Little's law, where neither a number of users nor of slots is stated
    latency, rate = at(document, "request_latency", "avg"), _value(document, "request_throughput")
    taken = number(latency, "request_latency.avg")
    scale = {"ms": 1e-3, "us": 1e-6, "ns": 1e-9, "s": 1.0}.get(word_at(document, "request_latency", "unit"), 1e-3)
    return load, max(1, round(rate * taken * scale)) if rate and taken else None


def _value(document: Any, name: str, key: str = "avg") -> float | None:
    return number(at(document, name, key), f"{name}.{key}")
