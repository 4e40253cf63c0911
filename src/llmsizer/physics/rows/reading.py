"""Rows of a table, as strings, to cases; a row that cannot be read abstains with the reason."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from llmsizer.errors import UnknownNameError
from llmsizer.facts.aliases import Names, ResolvedModel
from llmsizer.physics.rows.labels import LOAD_KINDS, gpus_in_name, load_kind, says_nothing, weight_label
from llmsizer.physics.rows.memory import RowMemory, vram_bytes
from llmsizer.physics.steps.cases import Case, rates_of, shape_of
from llmsizer.physics.steps.formats import (
    LAYER_SPLIT_ENGINES,
    UNSTATED,
    class_on_device,
    engine_class,
    engine_on,
    is_weight_format,
    kv_bytes,
    peak_flops,
    weight_format,
)
from llmsizer.physics.steps.formulas import SPILLING_ENGINES

__all__ = ["INPUT_COLUMNS", "LOAD_KINDS", "RANGES", "Reading", "Row", "number", "problem", "read_row"]

Row = Mapping[str, str]
INPUT_COLUMNS = (
    "row_id", "engine", "engine_version", "date", "model", "n_params_b", "weight_dtype", "kv_dtype", "gpu", "n_gpus",
    "tp", "pp", "ep", "dp", "input_len", "output_len", "load_kind", "load_value", "batch_size",
)  # fmt: skip

# Lengths where a row states none: a short chat turn alone, a ShareGPT turn under load.
_LONE_INPUT, _LONE_OUTPUT, _SHARED_INPUT, _SHARED_OUTPUT = 64.0, 256.0, 220.0, 200.0
LARGEST_SHARE = 0.95  # of the GPUs' memory that weights can take and still run


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
_THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d+)?")
# What people write before and after a number, by column: TP8, 8 GPUs, 4 req/s, c=64, 1,024 tokens.
_WRITTEN_AROUND = {
    "n_params_b": ("", "b|bn|billion"),
    "n_gpus": ("x", "x|gpus?|cards?|chips?|accelerators?"),
    **{key: (rf"{key}\s*[=:-]?", "") for key in ("tp", "pp", "ep", "dp")},
    "input_len": ("", "tok(?:en)?s?"),
    "output_len": ("", "tok(?:en)?s?"),
    "load_value": (
        r"(?:c|conc|concurrency|[qr]ps)\s*[=:-]?",
        r"(?:concurrent\s+)?(?:users?|req(?:uest)?s?)|(?:req(?:uest)?s?|r)\s*/\s*s(?:ec)?|[qr]ps",
    ),
    "batch_size": (r"(?:bs|b|batch)\s*[=:-]?", ""),
}
_NUMBERS = {
    key: re.compile(
        rf"(?:{before})?\s*(\d[\d,]*(?:\.\d+)?)\s*{'(k)?' if key.endswith('_len') else '()'}\s*(?:{after})?"
    )
    for key, (before, after) in _WRITTEN_AROUND.items()
}


def number(row: Row, key: str) -> float | None:
    """A cell as number, also ``1,024``, ``8B`` parameters, ``TP8``, ``4 req/s``; ``1K`` tokens are 1,024.

    None where it is empty or says that it is (nan, none).
    """
    text = (row.get(key) or "").strip().lower()
    times = 1.0
    if key in _NUMBERS and (match := _NUMBERS[key].fullmatch(text)):
        text, times = match[1], 1024.0 if match[2] else 1.0
    text = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    try:
        value = float(text) * times
    except ValueError:
        return None
    return None if math.isnan(value) else value


def problem(row: Row) -> str:
    """Why a row cannot be read: a cell that is no number or one that cannot be; empty where all can."""
    for key, (low, high) in RANGES.items():
        text = (row.get(key) or "").strip()
        if says_nothing(text):
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
    stated_load = (row.get("load_kind") or "").strip()
    load = load_kind(stated_load or "concurrency")
    if not load:
        return Reading(case=None, reason=f"load kind {stated_load!r} is not one of {', '.join(LOAD_KINDS)}")
    engine, engine_note = _engine(row)
    tensor, pipeline, data, replicas = _spread(row, engine)
    rates = rates_of(gpu, tensor * data)
    engine = engine_on(engine, rates.family)
    label, label_note = _weights(row, model, engine, rates.memory_bytes * tensor * pipeline * data)
    stored = weight_format(label, model.architecture)
    peak, weight_only = peak_flops(stored.weight_class, rates)
    input_tokens, output_tokens = _lengths(row, load)
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
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        load=load,
        load_value=_or_nan(number(row, "load_value")),
        batch_size=_or_nan(number(row, "batch_size")),
    )
    return Reading(
        case=case,
        notes=(*_notes(row, model.is_known, load), *(note for note in (engine_note, label_note) if note)),
        model_known=model.is_known,
        engine_known=not engine_note,
        vram=vram_bytes(case, model.spec, gpu),
    )


def _engine(row: Row) -> tuple[str, str]:
    """The class of the row's engine, and a note where another one stands in for it."""
    stated, version, date = ((row.get(key) or "").strip() for key in ("engine", "engine_version", "date"))
    known = engine_class(stated, version, date) if stated else ""
    if known:
        return known, ""
    files = f"{row.get('weight_dtype') or ''} {row.get('model') or ''}".lower()
    usual = "llama.cpp" if "gguf" in files else "vllm"
    note = f"no evidence for the engine {stated[:40]!r}: read as {usual}" if stated else f"engine assumed: {usual}"
    return engine_class(usual, "" if stated else version, date), note


def _weights(row: Row, model: ResolvedModel, engine: str, memory_bytes: float) -> tuple[str, str]:
    """The label of the row's weight format, and a note where it was read elsewhere or assumed.

    What is stated nowhere and would not fit at 16 bit was run smaller: FP8, else four bits.
    """
    label, note = weight_label(row.get("weight_dtype") or "", row.get("model") or "", engine, model.architecture)
    if weight_format(label, model.architecture).weight_class != UNSTATED or engine in SPILLING_ENGINES:
        return label, note
    total = model.spec.published_total_params or model.spec.total_params  # of some shapes only the size is exact
    for bits, smaller in ((16, ""), (8, "fp8"), (4.5, "int4")):
        if total * bits / 8 <= LARGEST_SHARE * memory_bytes:
            return (smaller, f"weight_dtype assumed: {smaller}, 16 bit would not fit") if smaller else (label, note)
    return label, note


def _lengths(row: Row, load: str) -> tuple[float, float]:
    """Prompt and output tokens; at least one of each."""
    lone = load == "single-stream"
    prompt, output = number(row, "input_len"), number(row, "output_len")
    prompt = (_LONE_INPUT if lone else _SHARED_INPUT) if prompt is None else prompt
    output = (_LONE_OUTPUT if lone else _SHARED_OUTPUT) if output is None else output
    return max(prompt, 1.0), max(output, 1.0)


def _notes(row: Row, model_known: bool, load: str) -> tuple[str, ...]:
    found = [] if model_known else ["model shape assumed from its size"]
    found += [f"{key} assumed" for key in ("input_len", "output_len") if number(row, key) is None]
    found += [] if (row.get("load_kind") or "").strip() else ["load_kind assumed: concurrency"]
    value, batch = number(row, "load_value"), number(row, "batch_size")
    if (load == "request_rate" and value is None) or (
        load in {"concurrency", "single-batch-static"} and value is None and batch is None
    ):
        found.append("load_value assumed: 1")
    if load == "offline-max-throughput" and value is None and batch is None:
        found.append("requests not stated: a run so long that its ends do not count")
    dtype = (row.get("weight_dtype") or "").strip()
    found += [] if is_weight_format(dtype) else [f"weight_dtype {dtype[:40]!r} not understood: 16 bit assumed"]
    return tuple(found)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _spread(row: Row, engine: str) -> tuple[float, float, float, float]:
    """Tensor, pipeline and data degree of one replica, and replicas; an empty tp takes what GPUs are left."""
    pipeline, data, stated = number(row, "pp") or 1.0, number(row, "dp") or 1.0, number(row, "tp")
    gpus = number(row, "n_gpus") or gpus_in_name(row.get("gpu") or "") or (stated or 1.0) * pipeline * data
    if engine in LAYER_SPLIT_ENGINES:
        return 1.0, max(gpus, pipeline), 1.0, 1.0
    tensor = stated or max(1.0, gpus / (pipeline * data))
    if data > 1 and tensor * pipeline * data > gpus:  # data-parallel attention inside the tensor-parallel group
        tensor = max(1.0, gpus / (pipeline * data))
        data = min(data, gpus / (tensor * pipeline))
    return tensor, pipeline, data, max(1.0, gpus / (tensor * pipeline * data))
