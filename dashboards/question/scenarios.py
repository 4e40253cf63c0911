"""Fields and scenarios become one another: what is asked as a document, and what the fields show of an uploaded one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from llmsizer.errors import InputError
from llmsizer.facts.assumptions import assumed_values
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.units import MEGA
from question.fields import BY_KEY, LENGTHS, OWN_SPEED, PATHS, PLACES, SPEEDS, VOLUMES, Value, Values, is_model

Doc = dict[str, Any]


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
    "currency": _into("", "currency"),
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
    if not is_model(asked.model):
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
        "currency": asked.currency,
        "budget": limits.max_usd_per_month or 0.0,
    }
    return values


def beyond(asked: Scenario) -> list[str]:
    """Names of what an uploaded scenario says and no field shows: a link cannot carry it."""
    said = asked.model_dump(mode="json", exclude_unset=True)
    shown = {"name", "description", "model", "workload", "slo", "constraints", "horizon_months", "electricity_area"}
    names = sorted(said.keys() - shown - {"spare_replicas", "currency"})
    workload = {"preset", "name", *VOLUMES, *LENGTHS.values()}
    limits = {"precisions", "kv_format", "max_gpus_per_replica", "interruptible", "eu_only", *PATHS}
    names += [f"workload.{name}" for name in sorted(said.get("workload", {}).keys() - workload)]
    names += [f"constraints.{name}" for name in sorted(said.get("constraints", {}).keys() - limits)]
    return names
