"""Rows of a table, as strings, to cases; a row that cannot be read abstains with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from llmsizer.errors import UnknownNameError
from llmsizer.facts.aliases import Names
from llmsizer.physics.cases import Case, rates_of, shape_of
from llmsizer.physics.formats import (
    LAYER_SPLIT_ENGINES,
    class_on_device,
    engine_class,
    engine_on,
    is_weight_format,
    kv_bytes,
    peak_flops,
    weight_format,
)
from llmsizer.physics.row_memory import RowMemory, vram_bytes

Row = Mapping[str, str]
INPUT_COLUMNS = (
    "row_id", "engine", "engine_version", "date", "model", "n_params_b", "weight_dtype", "kv_dtype", "gpu", "n_gpus",
    "tp", "pp", "ep", "dp", "input_len", "output_len", "load_kind", "load_value", "batch_size",
)  # fmt: skip
LOAD_KINDS = ("single-stream", "single-batch-static", "concurrency", "request_rate", "offline-max-throughput")

# Lengths where a row states none: a short chat turn alone, a ShareGPT turn under load.
_LONE_INPUT, _LONE_OUTPUT, _SHARED_INPUT, _SHARED_OUTPUT = 64.0, 256.0, 220.0, 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A row as a case, or the reason why not. ``notes`` say what had to be assumed."""

    case: Case | None
    reason: str = ""
    notes: tuple[str, ...] = ()
    model_known: bool = True
    engine_known: bool = True
    vram: RowMemory = field(default_factory=lambda: RowMemory(None))


# What a cell may hold; beyond it the row abstains rather than predict for something that cannot be.
RANGES = {
    "n_params_b": (0.001, 20_000.0),
    "n_gpus": (1.0, 100_000.0),
    "tp": (1.0, 1024.0),
    "pp": (1.0, 1024.0),
    "ep": (1.0, 4096.0),
    "dp": (1.0, 100_000.0),
    "input_len": (0.0, 100_000_000.0),
    "output_len": (0.0, 100_000_000.0),
    "load_value": (0.0, math.inf),
    "batch_size": (1.0, 1_000_000.0),
}


def number(row: Row, key: str) -> float | None:
    """A cell as number; None where it is empty or says that it is (nan, none)."""
    text = (row.get(key) or "").strip().lower()
    try:
        value = float(text)
    except ValueError:
        return None
    return None if math.isnan(value) else value


def problem(row: Row) -> str:
    """Why a row cannot be read: a cell that is no number or one that cannot be; empty where all can."""
    for key, (low, high) in RANGES.items():
        text = (row.get(key) or "").strip()
        if text.lower() in {"", "nan", "none", "null", "n/a", "-"}:
            continue
        value = number(row, key)
        if value is None:
            return f"{key} = {text[:40]!r} is not a number"
        if not low <= value <= high:
            return f"{key} = {text[:40]} is out of range; from {low:g} to {high:g} is understood"
    return ""


def read_row(row: Row, names: Names) -> Reading:
    """One row. Columns other than ``INPUT_COLUMNS`` are never looked at."""
    wrong = problem(row)
    if wrong:
        return Reading(case=None, reason=wrong)
    billions = number(row, "n_params_b")
    unnamed = next((key for key in ("gpu", "model") if not (row.get(key) or "").strip()), "")
    if unnamed == "gpu" or (unnamed and billions is None):
        return Reading(case=None, reason=f"the row names no {'GPU' if unnamed == 'gpu' else 'model and no n_params_b'}")
    try:
        gpu = names.gpu(row.get("gpu") or "")
        model = names.model(row.get("model") or "", billions)
    except UnknownNameError as error:
        more = "" if error.kind != "model" or error.nearest else "; n_params_b would do"
        return Reading(case=None, reason=f"{error}{more}")
    load = (row.get("load_kind") or "").strip().lower() or "concurrency"
    if load not in LOAD_KINDS:
        return Reading(case=None, reason=f"load kind {load!r} is not one of {', '.join(LOAD_KINDS)}")
    stated = (row.get("engine") or "").strip()
    usual = "llama.cpp" if "gguf" in (row.get("weight_dtype") or "").lower() else "vllm"
    engine = engine_class(stated or usual, row.get("engine_version") or "", row.get("date") or "")
    if not engine:
        return Reading(case=None, reason=f"no evidence for the engine {stated!r}")
    tensor, pipeline, data, replicas = _spread(row, engine)
    rates = rates_of(gpu, tensor * data)
    engine = engine_on(engine, rates.family)
    stored = weight_format(row.get("weight_dtype") or "", model.architecture)
    peak, weight_only = peak_flops(stored.weight_class, rates)
    lone = load == "single-stream"
    case = Case(
        **asdict(shape_of(model.spec)),
        **asdict(rates),
        architecture=model.architecture,
        weight_class=class_on_device(stored.weight_class, rates),
        weight_bytes=stored.bits / 8,
        rest_bytes=stored.rest_bits / 8,
        peak_flops=peak,
        is_weight_only=float(weight_only),
        kv_bytes=kv_bytes(row.get("kv_dtype") or "", stored.weight_class, engine),
        engine=engine,
        engine_version=(row.get("engine_version") or "").strip(),
        tensor=tensor,
        pipeline=pipeline,
        expert=number(row, "ep") or 1.0,
        data=data,
        replicas=replicas,
        input_tokens=max(number(row, "input_len") or (_LONE_INPUT if lone else _SHARED_INPUT), 1.0),
        output_tokens=max(number(row, "output_len") or (_LONE_OUTPUT if lone else _SHARED_OUTPUT), 1.0),
        load=load,
        load_value=_or_nan(number(row, "load_value")),
        batch_size=_or_nan(number(row, "batch_size")),
    )
    return Reading(
        case=case,
        notes=_notes(row, model.is_known, engine),
        model_known=model.is_known,
        engine_known=bool(stated),
        vram=vram_bytes(case, model.spec, gpu),
    )


def _notes(row: Row, model_known: bool, engine: str) -> tuple[str, ...]:
    found = [] if model_known else ["model shape assumed from its size"]
    found += [] if (row.get("engine") or "").strip() else [f"engine assumed: {engine}"]
    found += [f"{key} assumed" for key in ("input_len", "output_len") if number(row, key) is None]
    load = (row.get("load_kind") or "").strip().lower()
    found += [] if load else ["load_kind assumed: concurrency"]
    value, batch = number(row, "load_value"), number(row, "batch_size")
    if (load == "request_rate" and value is None) or (
        load in {"", "concurrency", "single-batch-static"} and value is None and batch is None
    ):
        found.append("load_value assumed: 1")
    dtype = (row.get("weight_dtype") or "").strip()
    found += [] if is_weight_format(dtype) else [f"weight_dtype {dtype[:40]!r} not understood: 16 bit assumed"]
    return tuple(found)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _spread(row: Row, engine: str) -> tuple[float, float, float, float]:
    """Tensor, pipeline and data degree of one replica, and replicas; an empty tp takes what GPUs are left."""
    gpus = number(row, "n_gpus") or 1.0
    pipeline, data = number(row, "pp") or 1.0, number(row, "dp") or 1.0
    if engine in LAYER_SPLIT_ENGINES:
        return 1.0, max(gpus, pipeline), 1.0, 1.0
    tensor = number(row, "tp") or max(1.0, gpus / (pipeline * data))
    if data > 1 and tensor * pipeline * data > gpus:  # data-parallel attention inside the tensor-parallel group
        tensor = max(1.0, gpus / (pipeline * data))
        data = min(data, gpus / (tensor * pipeline))
    return tensor, pipeline, data, max(1.0, gpus / (tensor * pipeline * data))
