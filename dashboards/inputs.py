"""The question as widgets: seven to begin with, the rest in a drawer. Each is in the address, so a link shares it."""

from __future__ import annotations

from typing import Any

import streamlit as st
from pydantic import ValidationError

from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.precision import KV_BYTES_PER_VALUE, PRECISIONS
from llmsizer.facts.scenario import Scenario
from llmsizer.units import MEGA
from texts import say

SCENARIO = "scenario"
DEFAULT_MODEL, DEFAULT_PRESET, DEFAULT_AREA = "mistral-small-4", "chat", "EU27"
DEFAULT_MILLION_TOKENS, MOST_MILLION_TOKENS = 100.0, 1e6
# p95 of TTFT and TPOT in seconds; "chat" is the default of a scenario.
SPEEDS = {"snappy": (0.5, 0.025), "chat": (2.0, 0.05), "relaxed": (5.0, 0.1), "batch": (60.0, 0.5)}
PLACES: dict[str, dict[str, object]] = {"any": {}, "eu": {"zones": ["EU"]}, "eu_law": {"eu_only": True}}
HORIZONS = (12, 24, 36, 48, 60)
DEFAULT_PRECISIONS = ["bf16", "fp8", "int8", "int4"]


def ask() -> None:
    """Show the question in the side bar and keep what it describes for the view. Raises LlmSizerError."""
    st.session_state[SCENARIO] = _question()


def question() -> Scenario:
    """The scenario that was asked."""
    scenario = st.session_state[SCENARIO]
    assert isinstance(scenario, Scenario), "the router asks before it runs a view"
    return scenario


def _question() -> Scenario:
    with st.sidebar:
        st.subheader(say("inputs.heading"), anchor=False)
        asked = _seven()
        with st.expander(say("inputs.expert")):
            _merge(asked, _expert(str(asked["workload"]["preset"])))
    try:
        return Scenario.model_validate(asked)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _seven() -> dict[str, Any]:
    catalog = default_catalog()
    models = sorted({*catalog.model_names, DEFAULT_MODEL})
    presets = list(catalog.workload_names)
    model = _choice("model", models, DEFAULT_MODEL)
    preset = _choice("preset", presets, DEFAULT_PRESET)
    millions = st.number_input(
        say("inputs.volume"),
        min_value=0.1,
        max_value=MOST_MILLION_TOKENS,
        value=DEFAULT_MILLION_TOKENS,
        step=100.0,
        format="%.6g",
        key="volume",
        help=say("inputs.volume_help"),
        bind="query-params",
    )
    speed = _choice("speed", list(SPEEDS), "chat", words={name: say(f"speeds.{name}") for name in SPEEDS})
    place = _choice("place", list(PLACES), "any", words={name: say(f"inputs.place_{name}") for name in PLACES})
    quality = st.slider(
        say("inputs.quality"), 80, 100, 97, key="quality", help=say("inputs.quality_help"), bind="query-params"
    )
    horizon = st.select_slider(
        say("inputs.horizon"), HORIZONS, 36, key="horizon", help=say("inputs.horizon_help"), bind="query-params"
    )
    ttft, tpot = SPEEDS[speed]
    return {
        "name": "dashboard",
        "model": model,
        "workload": {"preset": preset, "tokens_per_month": (millions or DEFAULT_MILLION_TOKENS) * MEGA},
        "slo": {"ttft_p95_seconds": ttft, "tpot_p95_seconds": tpot, "quality_floor": quality / 100},
        "constraints": dict(PLACES[place]),
        "horizon_months": horizon,
    }


def _choice(key: str, options: list[str], default: str, words: dict[str, str] | None = None) -> str:
    chosen = st.selectbox(
        say(f"inputs.{key}"),
        options,
        index=options.index(default) if default in options else 0,
        key=key,
        format_func=lambda name: (words or {}).get(name, name),
        help=say(f"inputs.{key}_help"),
        bind="query-params",
    )
    return default if chosen is None else str(chosen)


def _expert(preset: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"workload": _lengths(preset), "constraints": _limits()}
    asked["spare_replicas"] = _whole("spare", 1, 0, 16)
    areas = sorted({fact.area for fact in default_catalog().energy() if "electricity" in fact.metric})
    asked["electricity_area"] = st.selectbox(
        say("inputs.area"),
        areas or [DEFAULT_AREA],
        index=areas.index(DEFAULT_AREA) if DEFAULT_AREA in areas else 0,
        key="area",
        bind="query-params",
    )
    return asked


def _lengths(preset: str) -> dict[str, Any]:
    """The preset's lengths, or the user's own where the switch is on."""
    usual = default_catalog().workload(preset)
    if not st.toggle(say("inputs.lengths"), key="lengths", bind="query-params"):
        return {}
    return {
        "prompt_tokens": _whole("prompt_tokens", usual.prompt_tokens, 1, 1_000_000),
        "output_tokens": _whole("output_tokens", usual.output_tokens, 1, 100_000),
        "cached_prompt_fraction": st.slider(
            say("inputs.cached"), 0.0, 0.95, usual.cached_prompt_fraction, key="cached", bind="query-params"
        ),
        "peak_to_average": st.slider(
            say("inputs.peak"), 1.0, 20.0, usual.peak_to_average, key="peak", bind="query-params"
        ),
    }


def _limits() -> dict[str, Any]:
    paths = st.multiselect(
        say("inputs.paths"),
        ["own", "rent", "api"],
        ["own", "rent", "api"],
        format_func=lambda name: say(f"paths.{name}"),
        key="paths",
        bind="query-params",
    )
    precisions = st.multiselect(
        say("inputs.precisions"), list(PRECISIONS), DEFAULT_PRECISIONS, key="precisions", bind="query-params"
    )
    kv_format = st.selectbox(
        say("inputs.kv_format"),
        list(KV_BYTES_PER_VALUE),
        index=list(KV_BYTES_PER_VALUE).index("bf16"),
        key="kv_format",
        bind="query-params",
    )
    limits: dict[str, Any] = {
        "precisions": precisions,
        "kv_format": kv_format,
        "max_gpus_per_replica": _whole("max_gpus", 8, 1, 64),
        "interruptible": st.toggle(say("inputs.interruptible"), key="interruptible", bind="query-params"),
        **{path: path in paths for path in ("own", "rent", "api")},
    }
    # A budget is a price of the user's own: it stays out of the address.
    budget = st.number_input(say("inputs.budget"), min_value=0.0, value=0.0, step=1000.0, key="budget")
    return limits | ({"max_usd_per_month": budget} if budget else {})


def _whole(key: str, default: int, least: int, most: int) -> int:
    value = st.number_input(say(f"inputs.{key}"), least, most, default, key=key, bind="query-params")
    return default if value is None else int(value)


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict):
            into.setdefault(key, {}).update(value)
        else:
            into[key] = value
