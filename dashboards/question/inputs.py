"""The question as widgets: seven to begin with, the rest in a drawer. The address holds them, so a link shares it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

import streamlit as st
from pydantic import ValidationError

import drawing
from cached import currencies
from drawing import safe
from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.scenario import MAX_FILE_BYTES, Scenario, parse_scenario
from question import fields, scenarios
from question.fields import BY_KEY, Value, Values
from texts import FALLBACK, KEY, LANGUAGES, language, say, told

SCENARIO, BASE, SEED, NOTES = "scenario", "uploaded scenario", "uploaded values", "notes"


def begin() -> None:
    """Take what the link says, once a session, and keep every value while its widget is not on the page."""
    state = st.session_state
    if NOTES not in state:
        asked, wrong = fields.from_link(st.query_params.to_dict())
        state[NOTES] = [say("inputs.bad_link", name=say(f"inputs.{key}"), value=st.query_params[key]) for key in wrong]
        state[KEY] = language()
        for key, value in asked.items():
            state[key] = value
    for key in (KEY, *BY_KEY):
        if key in state:
            state[key] = state[key]


def ask() -> None:
    """Show the question in the side bar and keep what it describes for the view. Raises LlmSizerError."""
    with st.sidebar:
        currency = _currency()
        st.subheader(say("inputs.heading"), anchor=False)
        for note in st.session_state[NOTES]:
            st.warning(safe(note))
        values = {"currency": currency} | _seven()
        with st.expander(say("inputs.expert")):
            values |= _expert(str(values["speed"]), str(values["preset"]))
        _take_and_give()
    _to_address(values)
    st.session_state[SCENARIO] = asked = _scenario(values, st.session_state.get(BASE), st.session_state.get(SEED))
    drawing.show_money_in(currencies.currency(asked))


def choose_language() -> None:
    """The language of the page, first in the side bar."""
    st.sidebar.segmented_control(
        say("inputs.language"),
        list(LANGUAGES),
        format_func=LANGUAGES.__getitem__,
        key=KEY,
        label_visibility="collapsed",
        required=True,
    )


def question() -> Scenario:
    """The scenario that was asked."""
    scenario = st.session_state[SCENARIO]
    assert isinstance(scenario, Scenario), "the router asks before it runs a view"
    return scenario


def usual_scenario() -> Scenario:
    """What is asked before anybody has changed anything. Raises LlmSizerError."""
    values = {key: value for key, value in fields.usual().items() if key not in fields.LENGTHS}
    return _scenario(values, None, None)


def _scenario(values: Mapping[str, Value], base: scenarios.Doc | None, seed: Mapping[str, Value] | None) -> Scenario:
    try:
        return Scenario.model_validate(scenarios.scenario(values, base, seed))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def _to_address(values: Values) -> None:
    """Write what differs from the usual into the address, and nothing else of ours."""
    wanted = fields.to_link(values) | ({} if language() == FALLBACK else {KEY: language()})
    for key in (KEY, *BY_KEY):
        if key in wanted and st.query_params.get(key) != wanted[key]:
            st.query_params[key] = wanted[key]
        elif key not in wanted and key in st.query_params:
            del st.query_params[key]


# ---- widgets


def _currency() -> str:
    """The currency to show amounts in: that of the scenario, until another is chosen."""
    current = str(_kept("currency"))
    codes = list(dict.fromkeys([*fields.choices("currency"), current]))
    st.segmented_control(
        say("inputs.currency"), codes, key="currency", required=True, label_visibility="collapsed",
        help=say("inputs.currency_help"),
    )  # fmt: skip
    return str(st.session_state["currency"] or BY_KEY["currency"].usual)


def _seven() -> Values:
    speeds = {name: say(f"speeds.{name}") for name in fields.choices("speed")}
    places = {name: say(f"inputs.place_{name}") for name in fields.choices("place")}
    return {
        "model": _choice("model"),
        "preset": _choice("preset"),
        "volume": _number("volume", step=100.0, shown="%.6g"),
        "speed": _choice("speed", speeds),
        "place": _choice("place", places),
        "quality": _number("quality", step=0.5, shown="%.6g"),
        "horizon": _number("horizon", step=12),
    }


def _expert(speed: str, preset: str) -> Values:
    values: Values = {"ttft": _kept("ttft"), "tpot": _kept("tpot")}
    if speed == fields.OWN_SPEED:
        values = {"ttft": _number("ttft", step=0.1, shown="%.4g"), "tpot": _number("tpot", step=5.0, shown="%.4g")}
    values["lengths"] = _switch("lengths")
    if values["lengths"]:
        for key, value in fields.preset_lengths(preset).items():
            st.session_state.setdefault(key, value)
        values["prompt_tokens"] = _number("prompt_tokens", step=100)
        values["output_tokens"] = _number("output_tokens", step=50)
        values["cached"] = _number("cached", step=0.05, shown="%.4g")
        values["peak"] = _number("peak", step=0.5, shown="%.4g")
    else:
        for key in fields.LENGTHS:  # those of the next preset are others
            st.session_state.pop(key, None)
    values["paths"] = _several("paths", {name: say(f"paths.{name}") for name in fields.PATHS})
    values["precisions"] = _several("precisions")
    values["kv_format"] = _choice("kv_format")
    values["max_gpus"] = _number("max_gpus", step=1)
    values["spare"] = _number("spare", step=1)
    values["interruptible"] = _switch("interruptible")
    values["area"] = _choice("area")
    values["budget"] = _number("budget", step=1000.0, shown="%.8g")
    return values


def _kept(key: str) -> Value:
    """The value of a field, the usual one where nobody has set it."""
    return cast(Value, st.session_state.setdefault(key, copy.copy(BY_KEY[key].usual)))


def _help(key: str) -> str | None:
    try:
        return say(f"inputs.{key}_help")
    except KeyError:
        return None


def _choice(key: str, words: Mapping[str, str] | None = None) -> str:
    current = str(_kept(key))
    options = list(fields.choices(key))
    options += [current] if current not in options else []  # a model by another of its names
    chosen = st.selectbox(
        say(f"inputs.{key}"),
        options,
        format_func=lambda name: (words or {}).get(name, name),
        key=key,
        help=_help(key),
    )
    return str(BY_KEY[key].usual if chosen is None else chosen)


def _several(key: str, words: Mapping[str, str] | None = None) -> list[str]:
    _kept(key)
    return st.multiselect(
        say(f"inputs.{key}"),
        list(fields.choices(key)),
        format_func=lambda name: (words or {}).get(name, name),
        key=key,
        help=_help(key),
    )


def _switch(key: str) -> bool:
    _kept(key)
    return st.toggle(say(f"inputs.{key}"), key=key, help=_help(key))


def _number(key: str, *, step: float, shown: str | None = None) -> float:
    field, kind = BY_KEY[key], type(BY_KEY[key].usual)
    _kept(key)
    most = None if field.most == float("inf") else kind(field.most)  # type: ignore[call-overload]
    value: Any = st.number_input(
        say(f"inputs.{key}"),
        min_value=kind(field.least),  # type: ignore[call-overload]
        max_value=most,
        step=kind(step),  # type: ignore[call-overload]
        format=shown,
        key=key,
        help=_help(key),
    )
    return cast(float, field.usual if value is None else value)


# ---- a scenario from a file, and back to the beginning


def _take_and_give() -> None:
    with st.expander(say("inputs.scenario")):
        st.file_uploader(say("inputs.upload"), type=["toml", "json"], key=_upload_key(), on_change=_upload)
        if BASE in st.session_state:
            st.caption(safe(say("inputs.uploaded", name=str(st.session_state[BASE].get("name", "scenario")))))
            if names := scenarios.beyond(Scenario.model_validate(st.session_state[BASE])):
                st.caption(safe(say("inputs.beyond", names=", ".join(names))))
        st.button(say("inputs.reset"), on_click=_reset, icon=":material/restart_alt:", width="stretch")


def _upload_key() -> str:
    """A new key empties the box."""
    return f"upload {st.session_state.get('uploads', 0)}"


def _upload() -> None:
    state = st.session_state
    file = state[_upload_key()]
    if file is None:
        return
    try:
        asked = read_scenario(file.getvalue(), file.name)
        values = scenarios.values_of(asked)
        currencies.currency(asked)  # one without a rate is refused here, not by every page
    except LlmSizerError as error:
        state[NOTES] = [say("inputs.not_taken", error=told(str(error)))]
        return
    _forget()
    state[BASE] = asked.model_dump(mode="json", exclude_unset=True)
    state[SEED] = values
    for key, value in values.items():
        state[key] = value


def read_scenario(raw: bytes, name: str) -> Scenario:
    """A scenario in TOML or JSON. Raises LlmSizerError with the place of a mistake."""
    if len(raw) > MAX_FILE_BYTES:
        raise InputError(f"{name}: {len(raw):,} bytes; a scenario is a text of at most {MAX_FILE_BYTES:,} bytes")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{name}: not a text file in UTF-8; give a scenario in TOML or JSON") from None
    return parse_scenario(text, where=name)


def _reset() -> None:
    _forget()
    st.session_state["uploads"] = st.session_state.get("uploads", 0) + 1


def _forget() -> None:
    """Everything asked is as it was at the beginning; the language stays."""
    state = st.session_state
    for key in (BASE, SEED):
        state.pop(key, None)
    state[NOTES] = []
    for key, value in fields.usual().items():
        if key in fields.LENGTHS:
            state.pop(key, None)
        else:
            state[key] = value
