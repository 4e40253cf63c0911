"""From the runs of one point to its record, and the name by which a finished point is known again."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmsizer.facts.record_parts import QualityReference, SamplesFile
from llmsizer.facts.records import CUT_SHORT, DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant
from llmsizer.installed import versions_of
from llmsizer.profile.drift import Drift, Runs, drift_of, further_mean
from llmsizer.profile.intervals import LEVEL, Interval, quantile_with_interval
from llmsizer.profile.measure import Point, Sample
from llmsizer.profile.row_parts import merged, parts_of, throughput_of
from llmsizer.profile.verdict import judged

PACKAGES = ("openvino", "openvino-genai", "torch", "transformers", "numpy")
UNSTEADY_WIDTH = 0.125  # of half the interval over the median
FOREIGN_CPU_SHARE = 0.10
Qualities = Mapping[tuple[str, str, str], QualityReference]  # of a variant by model, method and name


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopping:
    """Go on after the asked repeats until intervals are narrow: half the 90 % interval over the mean, TTFT and TPOT.

    Judged by the point's own runs, which know less of the machine's drift than the whole sweep's.
    """

    relative_width: float
    most_repeats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked of one variant, apart from the point."""

    variant: Variant
    engine: str
    device: DeviceRecord
    repeats: int
    seed: int
    stopping: Stopping | None = None
    least_seconds: float = 0.0  # from the first run of the sweep to the last
    sweep_id: str = ""


@dataclass(slots=True, kw_only=True)
class Run:
    """What one variant's child has told about one point."""

    interleaved: bool
    loaded: dict[str, Any] = field(default_factory=dict)
    memory: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Any] = field(default_factory=dict)  # told with the last measured run
    samples: list[Sample] = field(default_factory=list)
    foreign_cpu_seconds: float = 0.0
    core_seconds: float = 0.0
    failure: str | None = None  # why it broke off after these samples
    is_cut_short: bool = False  # by that, or by Ctrl-C: further samples were to come

    @property
    def started_seconds(self) -> tuple[float, ...]:
        return tuple(sample.started_seconds for sample in self.samples)

    def figures(self) -> dict[str, Runs]:
        """TTFT, and TPOT where there is one, by when they were taken."""
        at = self.started_seconds
        found = {"ttft": Runs(at_seconds=at, values=tuple(sample.ttft_seconds for sample in self.samples))}
        tpots = tuple(sample.tpot_seconds for sample in self.samples if sample.tpot_seconds is not None)
        return {**found, "tpot": Runs(at_seconds=at, values=tpots)} if tpots else found

    def is_narrow(self, stopping: Stopping) -> bool:
        """Whether the means are known as well as was asked, or the bound of repeats is reached."""
        if len(self.samples) >= stopping.most_repeats:
            return True
        return all(
            sum(runs.values) == 0.0 or further_mean(runs, drift_of([runs])).relative_width <= stopping.relative_width
            for runs in self.figures().values()
        )


def drift_during(runs: Sequence[Run]) -> dict[str, Drift]:
    """What all points of a sweep together say of the machine, for each figure."""
    figures = [run.figures() for run in runs if run.samples]
    return {name: drift_of([f[name] for f in figures if name in f]) for name in ("ttft", "tpot")}


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: each reading takes milliseconds of a core, and every run asks for its point's name."""
    return versions_of(*PACKAGES)


def record_id(request: Request, point: Point) -> str:
    """The same for the same weights, method, engine version, device, point, repeats and seed."""
    variant, device = request.variant, request.device
    asked = {
        "source": variant.source_sha256,
        "method": variant.method,
        "recipe": variant.recipe,
        "engine": request.engine,
        "versions": _versions(),
        "device": [device.name, device.cores, device.memory_bytes],
        "point": [point.batch, point.prompt_tokens, point.output_tokens],
        "repeats": request.repeats,
        "seed": request.seed,
    }
    if request.stopping:
        asked["stopping"] = [request.stopping.relative_width, request.stopping.most_repeats]
    if request.least_seconds:
        asked["least_seconds"] = request.least_seconds
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]


def measured_record(
    request: Request,
    point: Point,
    run: Run,
    samples: SamplesFile | None = None,
    drift: Mapping[str, Drift] | None = None,
) -> ProfileRecord:
    """The record of a point that went well; ``samples``: where its raw samples were written.

    ``drift``: the machine's, from all points of the sweep; without it the point's own runs must tell.
    """
    drift = drift or drift_during([run])
    figures = run.figures()
    ttft, ttft_mean = _middle(figures["ttft"], drift["ttft"])
    tpot, tpot_mean = _middle(figures["tpot"], drift["tpot"]) if "tpot" in figures else (None, None)
    gaps = [gap for sample in run.samples for gap in sample.gaps_seconds]
    slow_gap = quantile_with_interval(gaps, 0.95) if gaps else None
    rate = _rate(point, run, drift["tpot" if tpot else "ttft"])
    values: dict[str, Any] = {
        **asked_of(request, point),
        "engine_version": run.loaded.get("version", ""),
        "engine_options": {**run.loaded.get("options", {}), **run.memory.get("options", {})},
        "repeats": len(run.samples),
        "failure": run.failure,
        "ttft_seconds": ttft.value,
        "ttft_seconds_low": ttft.low,
        "ttft_seconds_high": ttft.high,
        "itl_seconds_p95": None if slow_gap is None else slow_gap.value,
        "interval_level": None if ttft.low is None else LEVEL,
        "output_tokens_per_second": None if rate is None else rate.value,
        "prefill_tokens_per_second": point.batch * point.prompt_tokens / ttft.value if ttft.value > 0 else None,
        "load_seconds": run.loaded.get("load_seconds"),
        "process_peak_bytes": run.memory.get("resident_bytes"),
        "process_anonymous_bytes": run.memory.get("anonymous_bytes"),
        "allocator_peak_bytes": run.memory.get("allocator_bytes"),
        "ttft_samples": tuple(sample.ttft_seconds for sample in run.samples),
        "tpot_samples": figures["tpot"].values if tpot else (),
        "flags": (*_flags(run, ttft, tpot), *_beyond(request.variant.config, point)),
    }
    if tpot is not None:
        values |= {"tpot_seconds": tpot.value, "tpot_seconds_low": tpot.low, "tpot_seconds_high": tpot.high}
    parts = parts_of(point, run.samples, _told(run), {"ttft": ttft_mean, "tpot": tpot_mean})
    if rate is not None:
        values["throughput"] = throughput_of(rate)
    values["flags"] += ("drifting",) if parts.get("steady", {}).get("trend") not in (None, "plateau") else ()
    values["flags"] += tuple(parts.pop("flags", ()))
    unknown = _unknown({**values, **parts}) | parts.pop("unknown", {})
    return judged(ProfileRecord.model_validate(merged(values, parts) | {"unknown": unknown, "samples": samples}))


def _middle(runs: Runs, drift: Drift) -> tuple[Interval, Interval]:
    """The median within the bounds of the mean of further runs, which never leave it out; and that mean."""
    mean, middle = further_mean(runs, drift), statistics.median(runs.values)
    low = None if mean.low is None else min(mean.low, middle)
    high = None if mean.high is None else max(mean.high, middle)
    return Interval(value=middle, low=low, high=high), mean


def _rate(point: Point, run: Run, drift: Drift) -> Interval | None:
    """Output tokens of the batch per second; None of runs that took no time at all."""
    if any(sample.total_seconds <= 0.0 for sample in run.samples):
        return None
    rates = tuple(point.batch * point.output_tokens / sample.total_seconds for sample in run.samples)
    return _middle(Runs(at_seconds=run.started_seconds, values=rates), drift)[0]


def _told(run: Run) -> dict[str, Any]:
    """What the worker's answers say besides times."""
    parts = merged(run.loaded.get("parts", {}), run.memory.get("parts", {}))
    return {
        **run.memory,
        "parts": merged(parts, run.parts),
        "first_call_seconds": run.memory.get("warm_seconds"),
        "ready_seconds": run.loaded.get("ready_seconds"),
        "foreign_cpu_share": run.foreign_cpu_seconds / run.core_seconds if run.core_seconds else None,
    }


def with_quality(record: ProfileRecord, qualities: Qualities) -> ProfileRecord:
    """The record naming where the quality of its variant was measured, if that is known."""
    found = qualities.get((record.model, record.method, record.variant))
    return record if found is None else record.model_copy(update={"quality": found})


def failed_record(request: Request, point: Point, reason: str) -> ProfileRecord:
    """The record of a point that could not be measured; the reason is the row's content."""
    return ProfileRecord(**asked_of(request, point), engine_version="", status="failed", failure=reason)


def asked_of(request: Request, point: Point) -> dict[str, Any]:
    """Fields of a record that are known before anything is measured."""
    variant = request.variant
    return {
        "record_id": record_id(request, point),
        "model": variant.model,
        "model_config_hf": variant.config,
        "variant": variant.name,
        "precision": variant.precision,
        "method": variant.method,
        "format": variant.format,
        "engine": request.engine,
        "device": request.device,
        "batch": point.batch,
        "prompt_tokens": point.prompt_tokens,
        "output_tokens": point.output_tokens,
        "weights_bytes_on_disk": float(variant.weights_bytes),
        "seed": request.seed,
        "sweep_id": request.sweep_id,
        "versions": {**variant.versions, **_versions()},
        "code_version": versions_of("llmsizer").get("llmsizer", ""),
        "measured_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def _flags(run: Run, ttft: Interval, tpot: Interval | None) -> tuple[str, ...]:
    """What a reader should know before believing the row."""
    flags: list[str] = []
    if any(m is not None and m.value and m.relative_width > UNSTEADY_WIDTH for m in (ttft, tpot)):
        flags.append("unsteady")
    if run.core_seconds and run.foreign_cpu_seconds > FOREIGN_CPU_SHARE * run.core_seconds:
        flags.append("foreign_cpu_load")
    if not run.interleaved:
        flags.append("not_interleaved")
    if run.is_cut_short:
        flags.append(CUT_SHORT)
    return tuple(flags)


def _beyond(config: Mapping[str, Any], point: Point) -> tuple[str, ...]:
    """Whether the sequences grow longer than the model's positions reach; engines run them all the same."""
    text = config.get("text_config")
    most = (text if isinstance(text, dict) else config).get("max_position_embeddings")
    reached = point.prompt_tokens + point.output_tokens
    return ("beyond_model_context",) if isinstance(most, int) and reached > most else ()


def _unknown(values: dict[str, Any]) -> dict[str, str]:
    reasons = {
        "tpot_seconds": "one output token has no gap",
        "itl_seconds_p95": "fewer than 20 gaps",
        "process_peak_bytes": "this system does not tell",
        "process_anonymous_bytes": "this system does not tell",
        "allocator_peak_bytes": "the engine keeps no such count on this device",
    }
    unknown = {name: reason for name, reason in reasons.items() if values.get(name) is None}
    if values["ttft_seconds_low"] is None:
        unknown["interval_level"] = "one run has no scatter, so no interval"
    if values.get("output_tokens_per_second") is None:
        unknown["output_tokens_per_second"] = "a run took no time on this clock"
    if values.get("energy") is None:
        unknown["energy_joules"] = "no energy counter was read on this device"
    return unknown
