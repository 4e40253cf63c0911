"""One operating point as a foreign file tells it, in our definitions and units, and the record it becomes."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from llmsizer.errors import LlmSizerError
from llmsizer.exchange.given import Given, model_of
from llmsizer.exchange.values import Refused, number, seconds, whole
from llmsizer.facts.aliases import names
from llmsizer.facts.record_parts import Counts, Distribution, Load, MemoryUse, Origin, Quantile, Throughput
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.calibration.own_records import case_of_record

UNKNOWN = "unknown"
NOT_EXTRAPOLATABLE = "not_extrapolatable"
MIXED_UNITS_FACTOR = 3.0  # E2E against TTFT + (n − 1)·TPOT: means of different requests differ, not by this much
DEFINITIONS = {
    "ttft": "first output token − start of the request",
    "tpot": "(end − first token)/(n − 1) per request",
    "itl": "gaps between tokens",
    "e2e": "end − start of the request",
    "normalized_tpot": "(end − start)/output tokens",
}
PERCENTILES = {
    "p1": "p1", "p01": "p1", "p5": "p5", "p05": "p5", "p10": "p10", "p25": "p25", "p50": "p50", "median": "p50",
    "p75": "p75", "p90": "p90", "p95": "p95", "p99": "p99", "p99.9": "p99.9", "p99p9": "p99.9", "p999": "p99.9",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A converted point. ``converted`` says of each figure that is not simply copied what it was and what was done."""

    position: str = ""
    model: str = ""
    device: str = ""
    device_kind: str = "unknown"
    device_details: Mapping[str, Any] = field(default_factory=dict)
    engine: str = ""
    engine_version: str = ""
    engine_options: Mapping[str, str] = field(default_factory=dict)
    precision: str = ""
    accelerators: int | None = None
    load: Load = field(default_factory=lambda: Load(pattern="closed"))
    batch: int | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    output_tokens_per_second: float | None = None
    prefill_tokens_per_second: float | None = None
    throughput: Throughput | None = None
    counts: Counts | None = None
    memory: MemoryUse | None = None
    load_seconds: float | None = None
    ttft_samples: tuple[float, ...] = ()
    tpot_samples: tuple[float, ...] = ()
    repeats: int = 0
    measured_at: str = ""
    command: str = ""
    tool: str = ""
    tool_version: str = ""
    converted: Mapping[str, str] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    may_calibrate: str = ""  # why not, where its step times are not those of one device


def spread(
    document: Any, name: str, where: str, *, unit: str = "s", n: int = 0, weighting: str = "request"
) -> Distribution | None:
    """A distribution from a document of statistics (mean or avg, std, min, max, percentiles by any usual name)."""
    if not isinstance(document, Mapping):
        return None
    percentiles = dict(document)
    if isinstance(document.get("percentiles"), Mapping):
        percentiles |= document["percentiles"]

    def time(*keys: str) -> float | None:
        key = next((key for key in keys if document.get(key) is not None), None)
        return None if key is None else seconds(document[key], f"{where}.{key}", unit)

    quantiles = {
        plain: Quantile(value=value)
        for key, plain in PERCENTILES.items()
        if (value := seconds(percentiles.get(key), f"{where}.{key}", unit)) is not None
    }
    mean = time("mean", "avg")
    if mean is None and not quantiles:
        return None
    count = number(document.get("count"), f"{where}.count")
    ordered = [quantiles[key].value for key in ("p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p99.9")
               if key in quantiles]  # fmt: skip
    if any(later < earlier * (1 - 1e-6) for earlier, later in itertools.pairwise(ordered)):
        raise Refused(f"{where}: its percentiles do not rise; the file is damaged or mixes units")
    if not any((mean, *ordered)):
        return None  # tools print 0 where nothing was streamed
    return Distribution(
        definition=DEFINITIONS[name],
        weighting="token" if weighting == "token" else "request",
        n=int(count) if count is not None else n,
        mean=mean,
        standard_deviation=time("std", "std_dev", "stddev", "stdev"),
        minimum=time("min"),
        maximum=time("max"),
        percentiles=quantiles,
        method="as the file states it",
    )


def spread_of(values: Sequence[float], name: str) -> Distribution | None:
    """A distribution of single requests' seconds."""
    if not values:
        return None
    array = np.asarray(values, dtype=np.float64)
    asked = (1, 5, 10, 25, 50, 75, 90, 95, 99)
    points = zip(asked, np.percentile(array, asked), strict=True)
    return Distribution(
        definition=DEFINITIONS[name],
        n=len(array),
        mean=float(array.mean()),
        standard_deviation=float(array.std()),
        minimum=float(array.min()),
        maximum=float(array.max()),
        percentiles={f"p{percent}": Quantile(value=float(value)) for percent, value in points},
        method="of the file's single requests",
    )


def record_of(point: Point, given: Given, source: Origin) -> ProfileRecord:
    """The record of a point. Raises Refused where its shape is not known or its figures contradict each other."""
    batch, prompt_tokens, output_tokens = _shape(point, given)
    _check_sum(point, output_tokens)
    itl = point.distributions.get("itl")
    precision = point.precision or given.precision or UNKNOWN
    model, why = model_of(point.model, given.model)
    origin = source.model_copy(
        update={
            "position": point.position,
            "tool": point.tool or source.tool,
            "tool_version": point.tool_version or source.tool_version,
            "converted": {**point.converted, **_means_taken(point), **({"model": why} if why else {})},
        }
    )
    record = ProfileRecord(
        record_id=_record_id(origin, given),
        model=model or UNKNOWN,
        variant=precision,
        precision=precision,
        engine=point.engine or given.engine or UNKNOWN,
        engine_version=point.engine_version or given.engine_version,
        engine_options=dict(point.engine_options),
        accelerators=point.accelerators or given.accelerators,
        device=_device(point, given),
        batch=batch,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        repeats=point.repeats,
        ttft_seconds=_middle(point, "ttft"),
        tpot_seconds=_middle(point, "tpot"),
        itl_seconds_p95=itl.percentiles["p95"].value if itl and "p95" in itl.percentiles else None,
        output_tokens_per_second=_output_rate(point, output_tokens),
        prefill_tokens_per_second=point.prefill_tokens_per_second,
        load_seconds=point.load_seconds,
        ttft_samples=point.ttft_samples,
        tpot_samples=point.tpot_samples,
        load=point.load,
        counts=point.counts,
        throughput=point.throughput,
        memory=point.memory,
        distributions=dict(point.distributions),
        unknown=dict(point.unknown),
        measured_at=point.measured_at,
        command=point.command,
        origin=origin,
    )
    if not any((record.ttft_seconds, record.tpot_seconds, record.output_tokens_per_second, record.distributions)):
        raise Refused(f"{point.position or 'the file'} holds no latency and no throughput of answered requests")
    return _with_trust(record, point)


def _shape(point: Point, given: Given) -> tuple[int, int, int]:
    wanted = {
        "batch": point.batch or given.batch,
        "prompt_tokens": point.prompt_tokens or given.prompt_tokens,
        "output_tokens": point.output_tokens or given.output_tokens,
    }
    missing = [name for name, value in wanted.items() if not value]
    if missing:
        raise Refused(
            f"{point.position or 'the file'} does not say {', '.join(missing)}; "
            f"give what is missing, e.g. --given {missing[0]}=8"
        )
    where = point.position or "the file"
    batch, prompt_tokens, output_tokens = (
        max(1, whole(value, f"{where}: {name}") or 1) for name, value in wanted.items()
    )
    return batch, prompt_tokens, output_tokens


def _device(point: Point, given: Given) -> DeviceRecord:
    if point.device:
        return DeviceRecord(**{"name": point.device, "kind": point.device_kind, **point.device_details})
    return DeviceRecord(name=given.device or UNKNOWN, kind="unknown")


def _output_rate(point: Point, output_tokens: int) -> float | None:
    """As stated; of the requests' rate and their length where a tool counts prompts and outputs together."""
    requests = point.throughput.requests_per_second if point.throughput else None
    rate = point.output_tokens_per_second
    if rate is None and requests and "output_tokens_per_second" in point.converted:
        rate = requests * output_tokens
    return number(rate, f"{point.position or 'the file'}: output tokens a second")


def _middle(point: Point, name: str) -> float | None:
    """The median, as own records have it; the mean where the file states no median."""
    found = point.distributions.get(name)
    if found is None:
        return None
    median = found.percentiles.get("p50")
    return (median.value if median else found.mean) or None


def _means_taken(point: Point) -> dict[str, str]:
    return {
        f"{name}_seconds": "the mean: the file states no median"
        for name in ("ttft", "tpot")
        if (found := point.distributions.get(name)) is not None and "p50" not in found.percentiles
    }


def _check_sum(point: Point, output_tokens: int) -> None:
    """TTFT and the other tokens make up the whole: seconds beside milliseconds would not."""
    known = {name: d.mean or _middle(point, name) for name, d in point.distributions.items()}
    ttft, tpot, e2e = known.get("ttft"), known.get("tpot"), known.get("e2e")
    if not (ttft and tpot and e2e) or output_tokens < 2:
        return
    expected = ttft + (output_tokens - 1) * tpot
    if not expected / MIXED_UNITS_FACTOR < e2e < expected * MIXED_UNITS_FACTOR:
        raise Refused(
            f"{point.position or 'the file'} mixes units: a request took {e2e:.4g} s, "
            f"but TTFT and {output_tokens - 1} further tokens make {expected:.4g} s"
        )


def _record_id(origin: Origin, given: Given) -> str:
    said = [origin.sha256, origin.position, sorted(asdict(given).items(), key=str)]
    return hashlib.sha256(json.dumps(said, default=str).encode()).hexdigest()[:16]


def _with_trust(record: ProfileRecord, point: Point) -> ProfileRecord:
    """Marked, with the reason, where no calibration can learn from it or nobody knows what it was measured on."""
    nameless = [n for n, v in (("model", record.model), ("device", record.device.name), ("engine", record.engine),
                               ("precision", record.precision)) if v == UNKNOWN]  # fmt: skip
    reason = point.may_calibrate
    if nameless:
        reason = f"the file does not say {', '.join(nameless)}: --given {nameless[0]}=…"
    elif not reason and (record.accelerators or 1) > 1:
        reason = f"{record.accelerators} accelerators together: step times are learnt from one"
    elif not reason and record.is_static_batch:
        try:
            case_of_record(record, names())
        except LlmSizerError as error:
            reason = str(error)
    if not reason:
        return record
    flags = (*record.flags, NOT_EXTRAPOLATABLE)
    return record.model_copy(update={"flags": flags, "unknown": {**record.unknown, "calibration": reason}})
