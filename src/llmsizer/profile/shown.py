"""Every field of a record for a reader: dotted name, value, unit, and where the value comes from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from llmsizer.facts.records import ProfileRecord, QualityRecord

# The longest ending that fits says the unit; a name with none of them has no unit.
UNITS = {
    "bytes_per_second": "B/s",
    "bytes_per_token": "B/token",
    "flops_per_second": "FLOP/s",
    "tokens_per_second": "tok/s",
    "tokens_per_second_low": "tok/s",
    "tokens_per_second_high": "tok/s",
    "tokens_per_second_per_accelerator": "tok/s",
    "requests_per_second": "requests/s",
    "rate_per_second": "requests/s",
    "joules_per_output_token": "J/token",
    "joules_per_token": "J/token",
    "nats_per_token": "nats/token",
    "seconds": "s",
    "bytes": "B",
    "joules": "J",
    "watts": "W",
    "hertz": "Hz",
    "celsius": "°C",
    "tokens": "tokens",
}
# What was asked or is a name; everything else is a figure that was measured.
GIVEN_PARTS = ("load", "versions", "model_config_hf", "engine_options", "samples", "origin")
GIVEN = frozenset(
    (
        *("schema_version", "record_id", "status", "failure", "model", "variant", "precision", "method", "format"),
        *("engine", "engine_version", "batch", "prompt_tokens", "output_tokens", "repeats", "interval_level", "seed"),
        *("code_version", "measured_at", "sweep_id", "command", "accelerators", "kernels", "flags", "dataset"),
        *("documents", "reference"),
    )
)
LONG = 96


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One field. ``note`` says why a value is not known, or what a distribution measures."""

    field: str
    value: object
    unit: str = ""
    basis: Literal["measured", "given", "unknown"]
    note: str = ""


def fields_of(record: ProfileRecord | QualityRecord) -> list[Shown]:
    """All fields in the schema's order; those not measured with their reason, or "not measured"."""
    unknown = record.unknown if isinstance(record, ProfileRecord) else {}
    found: list[Shown] = []
    for name, value in record.model_dump(mode="json").items():
        if name != "unknown" and not (name == "failure" and value is None):
            found += _walk(name, value, unknown)
    absent = [f for f in unknown if f not in {shown.field for shown in found}]
    return found + [Shown(field=f, value=None, unit=unit_of(f), basis="unknown", note=unknown[f]) for f in absent]


def _walk(name: str, value: Any, unknown: Mapping[str, str], unit: str = "") -> list[Shown]:
    if isinstance(value, dict) and value and name not in ("model_config_hf", "unknown"):
        inner_unit = str(value["unit"]) if "unit" in value and name.startswith("distributions.") else unit
        rows: list[Shown] = []
        for key, inner in value.items():
            if key not in ("unit", "unknown"):
                rows += _walk(f"{name}.{key}", inner, unknown, inner_unit)
        return rows
    if value is None:
        note = unknown.get(name, "not measured")
        return [Shown(field=name, value=None, unit=unit_of(name) or unit, basis="unknown", note=note)]
    if value in ((), [], {}, ""):
        return []
    given = name.split(".")[0] in GIVEN_PARTS or name in GIVEN or _is_name(value)
    return [Shown(field=name, value=value, unit=_unit(name, value, unit), basis="given" if given else "measured")]


def _is_name(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _unit(name: str, value: object, inside: str) -> str:
    if not isinstance(value, int | float | list):
        return ""
    last = name.rpartition(".")[2]
    if last in ("n", "n_effective", "level"):
        return ""
    return unit_of(name) or inside


def unit_of(name: str) -> str:
    """The unit that a field's name ends in; of ``ttft_seconds_low`` the seconds.

    >>> unit_of("memory.peak_reserved_bytes.run")
    'B'
    """
    for part in reversed(name.split(".")):
        plain = (
            part.removesuffix("_on_disk")
            .removesuffix("_low")
            .removesuffix("_high")
            .removesuffix("_p95")
            .removesuffix("_samples")
        )
        for ending in sorted(UNITS, key=len, reverse=True):
            if part.endswith(ending) or plain.endswith(ending):
                return UNITS[ending]
        if part in ("ttft_samples", "tpot_samples"):
            return "s"
        for middle in ("_hertz_", "_celsius_"):
            if middle in part:
                return UNITS[middle.strip("_")]
    return ""


def text_of(value: object) -> str:
    """A value on one line; long lists and documents are cut, and say so."""
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | dict):
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= LONG else f"{text[:LONG]}… ({len(value)} entries)"
    return str(value)
