"""The question's fields: their usual values, how a link writes them, and how they and a scenario become one another."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.assumptions import assumed_values
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.precision import KV_BYTES_PER_VALUE, PRECISIONS
from llmsizer.facts.scenario import Scenario
from llmsizer.units import MEGA

Value = str | float | int | bool | list[str]
Values = dict[str, Value]
Doc = dict[str, Any]

# p95 of TTFT and TPOT in seconds; "chat" is the default of a scenario.
SPEEDS = {"snappy": (0.5, 0.025), "chat": (2.0, 0.05), "relaxed": (5.0, 0.1), "batch": (60.0, 0.5)}
OWN_SPEED = "own"
PLACES: dict[str, Doc] = {
    "any": {},
    "eu": {"zones": ["EU"]},
    "eu_law": {"eu_only": True},
}
PATHS = ("own", "rent", "api")
HORIZONS = (12, 24, 36, 48, 60)
VOLUMES = ("requests_per_second", "requests_per_month", "tokens_per_month", "users")
LENGTHS = {
    "prompt_tokens": "prompt_tokens",
    "output_tokens": "output_tokens",
    "cached": "cached_prompt_fraction",
    "peak": "peak_to_average",
}
MOST_MILLION_TOKENS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One input: what it usually is, and what it may be. ``choices`` makes it a choice, two bounds a number."""

    key: str
    usual: Value
    choices: Callable[[], Sequence[str]] | None = None
    least: float = -math.inf
    most: float = math.inf
    in_link: bool = True


USUAL_MODEL = "mistral-small-4"  # as the press names it; the answer says which model is meant


def _models() -> Sequence[str]:
    return sorted({*default_catalog().model_names, USUAL_MODEL})


def _areas() -> Sequence[str]:
    return sorted({fact.area for fact in default_catalog().energy() if "electricity" in fact.metric})


FIELDS = (
    Field(key="model", usual=USUAL_MODEL, choices=_models),
    Field(key="preset", usual="chat", choices=lambda: list(default_catalog().workload_names)),
    Field(key="volume", usual=100.0, least=1e-3, most=MOST_MILLION_TOKENS),
    Field(key="speed", usual="chat", choices=lambda: [*SPEEDS, OWN_SPEED]),
    Field(key="place", usual="any", choices=lambda: list(PLACES)),
    Field(key="quality", usual=97.0, least=50.0, most=100.0),
    Field(key="horizon", usual=36, least=1, most=120),
    Field(key="ttft", usual=2.0, least=0.01, most=3600.0),
    Field(key="tpot", usual=50.0, least=0.1, most=60_000.0),
    Field(key="lengths", usual=False),
    Field(key="prompt_tokens", usual=1000, least=1, most=10_000_000),
    Field(key="output_tokens", usual=250, least=1, most=1_000_000),
    Field(key="cached", usual=0.0, least=0.0, most=0.99),
    Field(key="peak", usual=2.0, least=1.0, most=100.0),
    Field(key="spare", usual=1, least=0, most=64),
    Field(key="paths", usual=list(PATHS), choices=lambda: PATHS),
    Field(key="precisions", usual=["bf16", "fp8", "int8", "int4"], choices=lambda: list(PRECISIONS)),
    Field(key="kv_format", usual="bf16", choices=lambda: list(KV_BYTES_PER_VALUE)),
    Field(key="max_gpus", usual=8, least=1, most=1024),
    Field(key="interruptible", usual=False),
    Field(key="area", usual="EU27", choices=_areas),
    # A budget is a price of the user's own: it stays out of the address.
    Field(key="budget", usual=0.0, least=0.0, in_link=False),
)
BY_KEY = {field.key: field for field in FIELDS}


@cache
def choices(key: str) -> Sequence[str]:
    """What a field may be; empty for numbers and switches."""
    found = BY_KEY[key].choices
    return () if found is None else tuple(found())


def usual() -> Values:
    """Every field at its usual value."""
    return {field.key: copy.copy(field.usual) for field in FIELDS}


def preset_lengths(preset: str) -> Values:
    """The lengths of a preset, for the fields that replace them."""
    found = default_catalog().workload(preset)
    return {
        "prompt_tokens": found.prompt_tokens,
        "output_tokens": found.output_tokens,
        "cached": float(found.cached_prompt_fraction),
        "peak": float(found.peak_to_average),
    }


# ---- links


def to_link(values: Mapping[str, Value]) -> dict[str, str]:
    """Query parameters for what differs from the usual; prices stay out."""
    idle = set() if values["speed"] == OWN_SPEED else {"ttft", "tpot"}
    return {
        field.key: _written(values[field.key])
        for field in FIELDS
        if field.in_link
        and field.key in values.keys() - idle
        # The usual lengths are the preset's, which the link need not know.
        and (field.key in LENGTHS or values[field.key] != field.usual)
    }


def _written(value: Value) -> str:
    if isinstance(value, list):
        return ",".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def from_link(query: Mapping[str, str]) -> tuple[Values, list[str]]:
    """The values a link names, and the keys it names that cannot be meant."""
    values: Values = {}
    wrong = []
    for field in FIELDS:
        if not field.in_link or field.key not in query:
            continue
        try:
            values[field.key] = _read(field, query[field.key])
        except ValueError:
            wrong.append(field.key)
    return values, wrong


def _read(field: Field, text: str) -> Value:
    if isinstance(field.usual, list):
        names = [name for name in text.split(",") if name]
        if not set(names) <= set(choices(field.key)):
            raise ValueError(text)
        return names
    if isinstance(field.usual, bool):
        if text not in ("0", "1"):
            raise ValueError(text)
        return text == "1"
    if isinstance(field.usual, str):
        if text not in choices(field.key) and not (field.key == "model" and _is_model(text)):
            raise ValueError(text)
        return text
    number = int(text) if isinstance(field.usual, int) else float(text)
    if not field.least <= number <= field.most:
        raise ValueError(text)
    return number


def _is_model(name: str) -> bool:
    """Whether the catalogue knows it, by its own name or by another."""
    try:
        default_catalog().model(name)
    except LlmSizerError:
        return False
    return True


# ---- scenarios


def scenario(values: Mapping[str, Value], base: Doc | None = None, seed: Mapping[str, Value] | None = None) -> Doc:
    """The document of a scenario.

    ``base``: an uploaded one, ``seed`` the values it gave the fields: what nobody changed stays as the file has it.
    """
    doc = copy.deepcopy(base) if base is not None else {"name": "dashboard"}
    changed = {key: value for key, value in values.items() if seed is None or seed.get(key) != value}
    for key in changed.keys() & _WRITERS.keys():
        _WRITERS[key](doc, changed[key])
    _write_lengths(doc, values, changed)
    if "speed" in changed or (values["speed"] == OWN_SPEED and {"ttft", "tpot"} & changed.keys()):
        _write_speed(doc, values)
    return doc


def _write_lengths(doc: Doc, values: Mapping[str, Value], changed: Mapping[str, Value]) -> None:
    workload = doc.setdefault("workload", {})
    if "lengths" in changed and not values["lengths"]:
        for name in (*LENGTHS.values(), "prompt", "output"):
            workload.pop(name, None)
        workload["preset"] = values["preset"]
    if not values["lengths"]:
        return
    for key, name in LENGTHS.items():
        if key in values and (key in changed or "lengths" in changed):
            workload[name] = values[key]
            workload.pop(name.removesuffix("_tokens"), None)
    if "peak" in changed and not isinstance(workload.get("hours"), str):
        workload.pop("hours", None)


def _write_speed(doc: Doc, values: Mapping[str, Value]) -> None:
    speed = str(values["speed"])
    own = (float(_number(values["ttft"])), float(_number(values["tpot"])) / 1000)
    ttft, tpot = own if speed == OWN_SPEED else SPEEDS[speed]
    doc.setdefault("slo", {}).update(ttft_p95_seconds=ttft, tpot_p95_seconds=tpot)


def _write_volume(doc: Doc, value: Value) -> None:
    workload = doc.setdefault("workload", {})
    for name in VOLUMES:
        workload.pop(name, None)
    workload["tokens_per_month"] = float(_number(value)) * MEGA


def _write_place(doc: Doc, value: Value) -> None:
    limits = doc.setdefault("constraints", {})
    for name in ("zones", "operator_jurisdictions", "eu_only"):
        limits.pop(name, None)
    limits.update(PLACES[str(value)])


def _write_paths(doc: Doc, value: Value) -> None:
    assert isinstance(value, list)
    doc.setdefault("constraints", {}).update({path: path in value for path in PATHS})


def _into(table: str, name: str) -> Callable[[Doc, Value], None]:
    def write(doc: Doc, value: Value) -> None:
        (doc.setdefault(table, {}) if table else doc)[name] = value

    return write


_WRITERS: dict[str, Callable[[Doc, Value], None]] = {
    "model": _into("", "model"),
    "preset": _into("workload", "preset"),
    "volume": _write_volume,
    "place": _write_place,
    "quality": lambda doc, value: _into("slo", "quality_floor")(doc, float(_number(value)) / 100),
    "horizon": _into("", "horizon_months"),
    "spare": _into("", "spare_replicas"),
    "paths": _write_paths,
    "precisions": _into("constraints", "precisions"),
    "kv_format": _into("constraints", "kv_format"),
    "max_gpus": _into("constraints", "max_gpus_per_replica"),
    "interruptible": _into("constraints", "interruptible"),
    "area": _into("", "electricity_area"),
    "budget": lambda doc, value: _into("constraints", "max_usd_per_month")(doc, value or None),
}


def _number(value: Value) -> float:
    assert not isinstance(value, str | list), "a number's field holds a number"
    return value


def values_of(asked: Scenario) -> Values:
    """What the fields show of a scenario; what they cannot show stays in it. Raises LlmSizerError.

    A model that is not in the catalogue, or a file of lengths, is read on the machine of the command line and not here.
    """
    catalog, choice, limits = default_catalog(), asked.workload, asked.constraints
    if not _is_model(asked.model):
        raise InputError(
            f"model = {asked.model!r} is not in the catalogue; the dashboard answers for models that are, "
            "llmsizer plan FILE for any other"
        )
    for name in ("prompt", "output"):
        table = getattr(choice, name)
        if table is not None and table.file is not None:
            raise InputError(f"workload.{name}.file is a file on your machine; give mean and p95, or use llmsizer plan")
    preset = catalog.workload(choice.preset) if choice.preset else None
    assumed = assumed_values(asked.assumptions, catalog.root) if choice.users else None
    workload = choice.resolve(preset, assumed=assumed, root=catalog.root)
    slo = (asked.slo.ttft_p95_seconds, asked.slo.tpot_p95_seconds)
    speed = next((name for name, pair in SPEEDS.items() if pair == slo), OWN_SPEED)
    volume = (workload.input_tokens_per_month + workload.output_tokens_per_month) / MEGA
    own_lengths = preset is None or any(
        getattr(choice, name) is not None for name in (*LENGTHS.values(), "prompt", "output")
    )
    values: Values = {
        "model": asked.model,
        "preset": choice.preset or str(BY_KEY["preset"].usual),
        "volume": float(f"{volume:.6g}"),
        "speed": speed,
        "place": "eu_law" if limits.eu_only else "eu" if limits.zones else "any",
        "quality": round(asked.slo.quality_floor * 100, 6),
        "horizon": asked.horizon_months,
        "ttft": slo[0],
        "tpot": slo[1] * 1000,
        "lengths": own_lengths,
        "prompt_tokens": workload.prompt_tokens,
        "output_tokens": workload.output_tokens,
        "cached": float(workload.cached_prompt_fraction),
        "peak": float(workload.peak_to_average),
        "spare": asked.spare_replicas,
        "paths": [path for path in PATHS if getattr(limits, path)],
        "precisions": list(limits.precisions),
        "kv_format": limits.kv_format,
        "max_gpus": limits.max_gpus_per_replica,
        "interruptible": limits.interruptible,
        "area": asked.electricity_area,
        "budget": limits.max_usd_per_month or 0.0,
    }
    return values


def beyond(asked: Scenario) -> list[str]:
    """Names of what an uploaded scenario says and no field shows: a link cannot carry it."""
    said = asked.model_dump(mode="json", exclude_unset=True)
    shown = {"name", "description", "model", "workload", "slo", "constraints", "horizon_months", "electricity_area"}
    names = sorted(said.keys() - shown - {"spare_replicas"})
    workload = {"preset", "name", *VOLUMES, *LENGTHS.values()}
    limits = {"precisions", "kv_format", "max_gpus_per_replica", "interruptible", "eu_only", *PATHS}
    names += [f"workload.{name}" for name in sorted(said.get("workload", {}).keys() - workload)]
    names += [f"constraints.{name}" for name in sorted(said.get("constraints", {}).keys() - limits)]
    return names
