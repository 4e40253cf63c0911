"""From a point of load to the record that every other measurement also becomes."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from llmsizer.facts.record_parts import Load, RequestSample, SamplesFile, Verdict
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.installed import versions_of
from llmsizer.profile.intervals import LEVEL
from llmsizer.profile.load.figures import Figures
from llmsizer.profile.load.patterns import Budget, Closed, Open, Pattern, Replay, Shape, describe, pattern_name
from llmsizer.profile.load.point import Sent
from llmsizer.profile.load.probe import Server
from llmsizer.profile.load.wire import Endpoint
from llmsizer.profile.verdict import NOT_EXTRAPOLATABLE

PACKAGES = ("httptools", "uvloop", "numpy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What is known of the server's inside, which no API tells. Whoever started it knows more and says it here."""

    device: DeviceRecord | None = None  # None: not known yet
    variant: str = "as served"
    precision: str = "unknown"
    method: str = ""
    format: str = ""
    engine: str = "openai-http"
    engine_version: str = ""
    engine_options: dict[str, str] = field(default_factory=dict)
    model_config: dict[str, object] = field(default_factory=dict)
    model: str = ""  # as the catalogue has it; without it the server's own word
    accelerators: int | None = None
    kernels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All that names a point: the same question again is the same point."""

    endpoint: Endpoint
    model: str
    api: str
    served: Served
    pattern: Pattern
    shape: Shape
    budget: Budget
    seed: int

    @property
    def record_id(self) -> str:
        pattern: dict[str, Any] = {"kind": type(self.pattern).__name__}
        if isinstance(self.pattern, Replay):
            columns = self.pattern.requests
            digest = hashlib.sha256(columns.arrival_seconds.tobytes() + columns.prompt_tokens.tobytes())
            pattern |= {"trace": digest.hexdigest(), "speed": self.pattern.speed}
        else:
            pattern |= asdict(self.pattern)
        asked = [
            self.endpoint.url,
            self.model,
            self.api,
            self.served.variant,
            self.served.precision,
            self.served.engine,
            self.served.engine_version,
            self.served.engine_options,
            self.served.device.name if self.served.device else "",
            self.served.accelerators,
            pattern,
            repr(self.shape),
            self.budget.requests,
            self.seed,
            *((self.served.model,) if self.served.model else ()),
        ]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def load_record(
    asked: Asked,
    server: Server,
    found: Figures,
    *,
    samples: SamplesFile | None = None,
    pool_full: str | None = None,
    sweep_id: str = "",
    command: str = "",
) -> ProfileRecord:
    """The record of a point; failed where no request was answered. ``pool_full``: the server's own sign of it."""
    values = {**_question(asked, server, found), "samples": samples, "sweep_id": sweep_id, "command": command}
    if not found.counts.requests_ok:
        reason = found.worst_error or "no request was begun before the time was up"
        return ProfileRecord(**values, status="failed", failure=reason)
    ttft, tpot = (found.distributions.get(name) for name in ("ttft", "tpot"))
    figures: dict[str, Any] = {
        "repeats": found.counts.requests_ok,
        "interval_level": LEVEL,
        "itl_seconds_p95": found.value("itl", "p95"),
        "output_tokens_per_second": found.output_tokens_per_second,
        "distributions": found.distributions,
        "throughput": found.throughput,
        "steady": found.steady,
        "verdict": _verdict(found, pool_full),
        "flags": (*found.flags, *(("kv_bound",) if pool_full else ())),
    }
    if asked.served.precision == "unknown" or not asked.served.model_config:
        figures["flags"] += (NOT_EXTRAPOLATABLE,)  # nobody knows what it would be carried over from
    for name, distribution in (("ttft", ttft), ("tpot", tpot)):
        middle = distribution.percentiles.get("p50") if distribution else None
        if middle is not None:
            figures[f"{name}_seconds"] = middle.value
            figures[f"{name}_seconds_low"], figures[f"{name}_seconds_high"] = middle.low, middle.high
    return ProfileRecord(**values, **figures, unknown=_unknown(figures, found))


def _question(asked: Asked, server: Server, found: Figures) -> dict[str, Any]:
    served, prompts = asked.served, found.prompt_tokens
    mean_prompt = float(np.mean(prompts)) if prompts else asked.shape.prompt.mean_tokens
    return {
        "record_id": asked.record_id,
        "model": served.model or asked.model,
        "model_config_hf": served.model_config,
        "variant": served.variant,
        "precision": served.precision,
        "method": served.method,
        "format": served.format,
        "engine": served.engine,
        "engine_version": served.engine_version or server.software,
        "engine_options": served.engine_options,
        "accelerators": served.accelerators,
        "kernels": served.kernels,
        "device": served.device,
        "batch": asked.pattern.concurrency if isinstance(asked.pattern, Closed) else max(1, found.in_flight_peak),
        "prompt_tokens": max(1, round(mean_prompt)),
        "output_tokens": max(1, round(_mean_output(asked, found))),
        "counts": found.counts,
        "load": _load(asked, server, found, mean_prompt),
        "seed": asked.seed,
        "versions": versions_of(*PACKAGES),
        "code_version": versions_of("llmsizer").get("llmsizer", ""),
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _mean_output(asked: Asked, found: Figures) -> float:
    server, ok = found.counts.output_tokens_server, found.counts.requests_ok
    return server / ok if server and ok else asked.shape.output.mean_tokens


def _load(asked: Asked, server: Server, found: Figures, mean_prompt: float) -> Load:
    pattern, shape = asked.pattern, asked.shape
    return Load(
        pattern=pattern_name(pattern, shape),
        concurrency=pattern.concurrency if isinstance(pattern, Closed) else None,
        rate_per_second=pattern.requests_per_second if isinstance(pattern, Open) else None,
        achieved_rate_per_second=found.sent_per_second,
        burstiness_cv=pattern.gap_cv if isinstance(pattern, Open) else None,
        duration_seconds=found.window_seconds,
        warmup_requests=asked.budget.warmup_requests,
        prompt_tokens_mean=mean_prompt,
        prompt_tokens_min=min(found.prompt_tokens, default=None),
        prompt_tokens_max=max(found.prompt_tokens, default=None),
        output_tokens_mean=_mean_output(asked, found),
        output_forced=server.asking.force_output,
        shared_prefix_tokens=shape.shared_prefix_tokens or None,
        turns=shape.turns if shape.turns > 1 else None,
        trace=pattern.name if isinstance(pattern, Replay) else None,
        streaming=True,
        endpoint=asked.endpoint.url + server.asking.path,
    )


def _verdict(found: Figures, pool_full: str | None) -> Verdict | None:
    """What the client sees of itself, else what the server's own counters tell; no more can be known from outside."""
    if "client_bound" not in found.flags:
        return Verdict(bound="kv", extrapolate=False, why=pool_full) if pool_full else None
    why = f"the load generator used {found.cpu_share:.0%} of a core or sent late; its own delays are in the latencies"
    return Verdict(bound="client", extrapolate=False, why=why)


def _unknown(figures: dict[str, Any], found: Figures) -> dict[str, str]:
    reasons = {
        "tpot_seconds": "no answer had two chunks",
        "itl_seconds_p95": "fewer than 20 gaps",
        "energy": "a client cannot see the server's energy",
        "memory": "a client cannot see the server's memory",
        "counts.output_tokens_client": "no tokenizer was given",
    }
    if found.counts.output_tokens_client is not None:
        del reasons["counts.output_tokens_client"]
    return {name: reason for name, reason in reasons.items() if figures.get(name) is None}


def request_samples(sent: Sequence[Sent], origin_ns: int, workers: int = 1) -> list[RequestSample]:
    """Every request for the file beside the record, times from the start of the window."""

    def seconds(stamp_ns: int) -> float:
        return round((stamp_ns - origin_ns) / 1e9, 9)

    return [
        RequestSample(
            scheduled_seconds=seconds(s.scheduled_ns),
            sent_seconds=seconds(s.sent_ns),
            first_token_seconds=seconds(s.chunk_ns[0]) if s.chunk_ns else None,
            end_seconds=seconds(s.chunk_ns[-1] if s.chunk_ns else s.ended_ns),
            token_seconds=tuple(seconds(stamp) for stamp in s.chunk_ns),
            prompt_tokens=s.prompt_tokens or s.prompt_tokens_asked,
            output_tokens_server=s.output_tokens,
            worker=s.index % workers if workers > 1 else None,
            warmup=s.part != "counted",
            error=s.failure.text() if s.failure else None,
        )
        for s in sent
    ]


def point_name(record: ProfileRecord) -> str:
    """For tables: what the load of a record was."""
    load = record.load
    if load is None:
        return f"batch {record.batch}"
    if load.rate_per_second is not None:
        return describe(Open(requests_per_second=load.rate_per_second, gap_cv=load.burstiness_cv or 0.0))
    if load.concurrency is not None:
        return describe(Closed(concurrency=load.concurrency))
    return f"trace {load.trace}"
