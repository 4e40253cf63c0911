"""Records as llm-d Benchmark Reports 0.2, one report a record.

The schema's statistics need a mean, and its latencies mean what ours do. What it has no place for (energy, memory,
intervals, medians without a mean) stands under ``results.profiling.llmsizer``, which the schema leaves open; precision
under the engine's native arguments, as its model has no field for it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from llmsizer.exchange.values import Refused
from llmsizer.facts.record_parts import Distribution
from llmsizer.facts.records import ProfileRecord
from llmsizer.version import __version__

VERSION = "0.2"
TOOL = "llmsizer"
OPEN_LOOPS = ("constant", "poisson", "gamma", "trace")
LATENCIES = {
    "ttft": ("time_to_first_token", "s"),
    "tpot": ("time_per_output_token", "s/token"),
    "itl": ("inter_token_latency", "s/token"),
    "e2e": ("request_latency", "s"),
    "normalized_tpot": ("normalized_time_per_output_token", "s/token"),
}
PERCENTILES = {
    "p1": "p1", "p5": "p5", "p10": "p10", "p25": "p25", "p50": "p50", "p75": "p75", "p90": "p90", "p95": "p95",
    "p99": "p99", "p99.9": "p99p9",
}  # fmt: skip


def report_of(record: ProfileRecord) -> dict[str, Any]:
    """The report of one record. Raises Refused for a point that failed: the schema has no place for one."""
    if record.status != "ok":
        raise Refused(f"record {record.record_id} failed ({record.failure}); a Benchmark Report needs figures")
    run: dict[str, Any] = {"uid": record.record_id, "keywords": [TOOL, *record.flags]}
    if record.sweep_id:
        run["eid"] = record.sweep_id
    if record.measured_at:
        run["time"] = {"start": record.measured_at}
    return {
        "version": VERSION,
        "run": run,
        "scenario": {"stack": [_engine(record)], "load": _load(record)},
        "results": {
            "request_performance": {"aggregate": _aggregate(record)},
            "profiling": {TOOL: _ours(record)},
        },
    }


def _engine(record: ProfileRecord) -> dict[str, Any]:
    count = 0 if record.device.kind == "cpu" else record.accelerators or 1
    parallelism = {key: int(value) for key in ("tp", "pp", "ep", "dp")
                   if (value := record.engine_options.get(key, "")).isdigit() and int(value)}  # fmt: skip
    arguments = {"precision": record.precision, "variant": record.variant, **record.engine_options}
    config = json.dumps([record.engine, record.engine_version, arguments, record.device.name], sort_keys=True)
    return {
        "metadata": {"label": "engine", "cfg_id": hashlib.sha256(config.encode()).hexdigest()[:32]},
        "standardized": {
            "kind": "inference_engine",
            "tool": record.engine,
            "tool_version": record.engine_version or "unknown",
            "role": "replica",
            "replicas": 1,
            "model": {"name": record.model},
            "accelerator": {"model": record.device.name, "count": count, "parallelism": {"tp": 1, **parallelism}},
        },
        "native": {"args": arguments},
    }


def _load(record: ProfileRecord) -> dict[str, Any]:
    load = record.load
    pattern = load.pattern if load else "batch"
    lengths = {
        side: {"distribution": "fixed" if pattern == "batch" else "other", "value": tokens}
        for side, tokens in (("input_seq_len", record.prompt_tokens), ("output_seq_len", record.output_tokens))
    }
    standardized: dict[str, Any] = {"tool": TOOL, "tool_version": __version__, "source": "unknown", **lengths}
    if load and load.rate_per_second:
        standardized["rate_qps"] = load.rate_per_second
    if pattern not in OPEN_LOOPS:
        standardized["concurrency"] = record.batch
    return {
        "metadata": {},
        "standardized": standardized,
        "native": {"args": {"pattern": pattern, "batch": record.batch}},
    }


def _aggregate(record: ProfileRecord) -> dict[str, Any]:
    counts, load = record.counts, record.load
    total = counts.requests_total if counts and counts.requests_total is not None else None
    requests: dict[str, Any] = {
        "total": total if total is not None else record.repeats,
        "input_length": {"units": "count", "mean": load.prompt_tokens_mean if load and load.prompt_tokens_mean
                         else record.prompt_tokens},
        "output_length": {"units": "count", "mean": load.output_tokens_mean if load and load.output_tokens_mean
                          else record.output_tokens},
    }  # fmt: skip
    for name in ("failed", "incomplete"):
        value = getattr(counts, f"requests_{name}") if counts else None
        if value is not None:
            requests["failures" if name == "failed" else name] = value
    latency = {}
    for ours, (theirs, unit) in LATENCIES.items():
        statistics = _statistics(_distribution(record, ours), unit)
        if statistics:
            latency[theirs] = statistics
    rates = {
        "output_token_rate": (record.output_tokens_per_second, "tokens/s"),
        "input_token_rate": (record.throughput.input_tokens_per_second if record.throughput else None, "tokens/s"),
        "request_rate": (record.throughput.requests_per_second if record.throughput else None, "queries/s"),
    }
    throughput = {name: {"units": unit, "mean": value} for name, (value, unit) in rates.items() if value is not None}
    return {"requests": requests, "latency": latency, "throughput": throughput}


def _distribution(record: ProfileRecord, name: str) -> Distribution | None:
    found = record.distributions.get(name)
    samples = {"ttft": record.ttft_samples, "tpot": record.tpot_samples}.get(name, ())
    if found is None and samples:
        median = {"ttft": record.ttft_seconds, "tpot": record.tpot_seconds}[name]
        percentiles = {"p50": {"value": median}} if median else {}
        return Distribution(n=len(samples), mean=float(np.mean(samples)), percentiles=percentiles)  # type: ignore[arg-type]
    return found


def _statistics(found: Distribution | None, unit: str) -> dict[str, Any] | None:
    if found is None or found.mean is None:
        return None
    parts: Mapping[str, float | None] = {
        "mean": found.mean,
        "stddev": found.standard_deviation,
        "min": found.minimum,
        "max": found.maximum,
        **{theirs: found.percentiles[ours].value for ours, theirs in PERCENTILES.items() if ours in found.percentiles},
    }
    return {"units": unit, **{name: value for name, value in parts.items() if value is not None}}


def _ours(record: ProfileRecord) -> dict[str, Any]:
    said = record.model_dump(mode="json", exclude_defaults=True, include={
        "schema_version", "ttft_seconds", "ttft_seconds_low", "ttft_seconds_high", "tpot_seconds", "tpot_seconds_low",
        "tpot_seconds_high", "itl_seconds_p95", "interval_level", "prefill_tokens_per_second", "energy", "memory",
        "load_seconds", "unknown", "origin", "repeats",
    })  # fmt: skip
    return {"units": "SI: seconds, bytes, joules", **said}
