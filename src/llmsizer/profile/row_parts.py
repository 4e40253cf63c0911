"""The parts of a static batch's record, from its runs: distributions, memory, phases, hardware, steady state."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from llmsizer.facts.record_parts import RequestSample
from llmsizer.profile.distribution import distribution_of
from llmsizer.profile.drift import FURTHER_RUNS
from llmsizer.profile.intervals import Interval
from llmsizer.profile.measure import Point, Sample
from llmsizer.profile.steady import FEWEST, steady_state

Json = dict[str, Any]
METHOD = (
    f"mean: where that of {FURTHER_RUNS} further runs lies, drift of the machine counted; percentiles: order statistics"
)


def parts_of(point: Point, samples: Sequence[Sample], told: Json, means: Mapping[str, Interval | None]) -> Json:
    """Record fields beyond the headline; ``told`` is what the worker knows: memory, load, foreign share.

    ``means``: of TTFT and TPOT, with the bounds for further runs.
    """
    totals = [sample.total_seconds for sample in samples]
    parts: Json = {
        "distributions": _distributions(samples, totals, means),
        "counts": {
            "requests_total": point.batch * len(samples),
            "requests_ok": point.batch * len(samples),
            "requests_failed": 0,
            "input_tokens": point.batch * point.prompt_tokens * len(samples),
            "output_tokens_client": point.batch * point.output_tokens * len(samples),
        },
        "memory": {
            "peak_allocated_bytes": _phase("run", told.get("allocator_bytes")),
            "host_resident_peak_bytes": told.get("resident_bytes"),
            "host_anonymous_peak_bytes": told.get("anonymous_bytes"),
        },
        "phases": {
            "first_call_seconds": told.get("first_call_seconds"),
            "time_to_ready_seconds": told.get("ready_seconds"),
            **_decoding(point, samples),
        },
        "hardware": {"foreign_cpu_share": told.get("foreign_cpu_share")},
    }
    if len(totals) >= FEWEST:
        parts["steady"] = steady_state(totals).model_dump()
    return merged(parts, told.get("parts", {}))


def _distributions(samples: Sequence[Sample], totals: Sequence[float], means: Mapping[str, Interval | None]) -> Json:
    tpots = [sample.tpot_seconds for sample in samples if sample.tpot_seconds is not None]
    found = {
        "ttft": distribution_of([sample.ttft_seconds for sample in samples], "ttft", weighting="run"),
        "e2e": distribution_of(totals, "e2e", weighting="run"),
    }
    if tpots:
        gaps = [gap for sample in samples for gap in sample.gaps_seconds]
        found["tpot"] = distribution_of(tpots, "tpot", weighting="run")
        found["itl"] = distribution_of(gaps, "itl", weighting="token")
    for name, mean in means.items():
        if mean is not None:
            known = {"mean": mean.value, "mean_low": mean.low, "mean_high": mean.high, "method": METHOD}
            found[name] = found[name].model_copy(update=known)
    return found


def _decoding(point: Point, samples: Sequence[Sample]) -> dict[str, float]:
    """A step by the wall clock, for an engine to set the device's beside; empty where nothing was decoded."""
    steps = [sample.tpot_seconds for sample in samples if sample.tpot_seconds]
    if not steps:
        return {}
    step = statistics.median(steps)
    return {"decode_step_wall_seconds": step, "decode_tokens_per_second": point.batch / step}


def _phase(name: str, value: float | None) -> dict[str, float]:
    return {} if value is None else {name: value}


def merged(base: Json, over: Json) -> Json:
    """Both, field by field; what ``over`` knows wins, what it does not know stays."""
    result = dict(base)
    for name, value in over.items():
        if isinstance(value, dict) and isinstance(result.get(name), dict):
            result[name] = merged(result[name], value)
        elif value is not None:
            result[name] = value
    return result


def throughput_of(rate: Interval) -> Json:
    """The interval around the record's output tokens per second."""
    return {"output_tokens_per_second_low": rate.low, "output_tokens_per_second_high": rate.high}


def request_samples(point: Point, samples: Sequence[Sample]) -> list[RequestSample]:
    """One row a run, since the requests of a static batch advance together; seconds since the first run began."""
    origin = min((sample.started_seconds for sample in samples), default=0.0)
    rows = []
    for sample in samples:
        at = sample.started_seconds - origin
        tokens = [at + sample.ttft_seconds]
        for gap in sample.gaps_seconds:
            tokens.append(tokens[-1] + gap)
        rows.append(
            RequestSample(
                sent_seconds=at,
                first_token_seconds=tokens[0],
                end_seconds=tokens[-1],
                token_seconds=tuple(tokens),
                prompt_tokens=point.prompt_tokens,
                output_tokens=point.output_tokens,
            )
        )
    return rows
