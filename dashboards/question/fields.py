"""The question's fields: their usual values, what they may be, and how a link writes and reads them."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from cached.currencies import with_a_rate
from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.precision import KV_BYTES_PER_VALUE, PRECISIONS

Value = str | float | int | bool | list[str]
Values = dict[str, Value]

# p95 of TTFT and TPOT in seconds; "chat" is the default of a scenario.
SPEEDS = {"snappy": (0.5, 0.025), "chat": (2.0, 0.05), "relaxed": (5.0, 0.1), "batch": (60.0, 0.5)}
OWN_SPEED = "own"
PLACES: dict[str, dict[str, object]] = {
    "any": {},
    "eu": {"zones": ["EU"]},
    "eu_law": {"eu_only": True},
}
PATHS = ("own", "rent", "api")
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
    Field(key="max_gpus", usual=32, least=1, most=1024),
    Field(key="interruptible", usual=False),
    Field(key="area", usual="EU27", choices=_areas),
    Field(key="currency", usual="USD", choices=with_a_rate),
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
        if text not in choices(field.key) and not (field.key == "model" and is_model(text)):
            raise ValueError(text)
        return text
    number = int(text) if isinstance(field.usual, int) else float(text)
    if not field.least <= number <= field.most:
        raise ValueError(text)
    return number


def is_model(name: str) -> bool:
    """Whether the catalogue knows it, by its own name or by another."""
    try:
        default_catalog().model(name)
    except LlmSizerError:
        return False
    return True
