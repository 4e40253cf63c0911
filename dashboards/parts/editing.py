"""The catalogue in a grid: change a number, see what that changes, keep it in your own file, take it back."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

import drawing
from cached import places
from drawing import safe
from llmsizer.deliver.views.evidence import changes_table
from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog, own_values
from llmsizer.facts.catalog.own_values import EDITABLE, Own, Row, ValueChange
from texts import say, told

SAID, ROUND = "editor_said", "editor_round"  # what the last press of a button led to; grids of before it are gone
# Shown in these units: bytes and bytes a second have too many digits to type.
SHOWN_PER_UNIT = {"memory_bytes": 1e9, "memory_bytes_per_second": 1e9}
MOST_ROWS = 400
ZONES = ("EU", "US", "GB", "CH", "NO", "unspecified")


def show() -> None:
    """The grid of one kind, what would change, and the values that are the user's own so far."""
    path = places.overrides_file()
    said = st.session_state.pop(SAID, "")
    if said:
        st.info(safe(told(said)))
    st.caption(safe(say("evidence.editor_help", file=path)))
    kind = st.segmented_control(
        say("evidence.kind"), list(EDITABLE), default="offers", key="editor_kind", required=True,
        format_func=lambda name: say(f"evidence.kind_{name}"),
    )  # fmt: skip
    wanted = st.text_input(say("evidence.filter"), key="editor_filter", placeholder=say("evidence.filter_example"))
    rows = [row for row in own_values.rows(default_catalog(), kind or "offers") if _matches(row, wanted)]
    if not rows:
        st.info(say("evidence.nothing_matches"))
    elif len(rows) > MOST_ROWS:
        st.caption(safe(say("evidence.first_rows", shown=MOST_ROWS, count=f"{len(rows):,}")))
    changes = _grid(kind or "offers", rows[:MOST_ROWS], wanted) if rows else []
    if changes:
        _preview(path, changes)
    if kind == "offers":
        _add_offer(path)
    _own(path)


def _matches(row: Row, wanted: str) -> bool:
    text = " ".join((row.name, *(origin.source for origin in row.origins.values()))).lower()
    return all(word in text for word in wanted.lower().split())


def _grid(kind: str, rows: Sequence[Row], wanted: str) -> list[ValueChange]:
    """The rows as they are, to be changed. Returns what was changed and not kept yet."""
    import pandas

    keys = EDITABLE[kind]
    today = datetime.date.today()
    frame = pandas.DataFrame(
        [
            {
                "name": row.name,
                **{key: _shown(key, row.values[key]) for key in keys},
                "basis": drawing.mark(row.origins[keys[0]].basis),
                "as_of": row.origins[keys[0]].as_of,
                "old": say("evidence.old") if row.origins[keys[0]].is_stale(today) else "",
                "source": row.origins[keys[0]].source,
            }
            for row in rows
        ]
    ).astype(dict.fromkeys(keys, "float64"))
    columns: dict[str, Any] = {
        key: st.column_config.NumberColumn(say(f"evidence.{key}"), min_value=0.0, format="%.6g", required=False)
        for key in keys
    }
    fixed = ("name", "basis", "as_of", "old", "source")
    columns |= {name: st.column_config.TextColumn(say(f"evidence.column_{name}")) for name in fixed}
    edited = st.data_editor(
        frame, key=f"grid {kind} {wanted} {st.session_state.get(ROUND, 0)}", hide_index=True, num_rows="fixed",
        disabled=fixed, column_config=columns,
        alt=say("evidence.editor_alt", kind=say(f"evidence.kind_{kind}")),
    )  # fmt: skip
    return [
        ValueChange(kind=kind, name=row.name, key=key, was=row.values[key], now=now, was_from=row.origins[key])
        for row, (_, cells) in zip(rows, edited.iterrows(), strict=True)
        for key in keys
        if (now := _typed(key, cells[key], row.values[key])) != row.values[key]
    ]


def _shown(key: str, value: float | None) -> float | None:
    return None if value is None else value / SHOWN_PER_UNIT.get(key, 1.0)


def _typed(key: str, cell: Any, was: float | None) -> float | None:
    """The number in a cell in the package's units; the very number it was where the cell was not touched."""
    if cell is None or math.isnan(float(cell)):
        return None
    if was is not None and float(cell) == _shown(key, was):
        return was
    return float(cell) * SHOWN_PER_UNIT.get(key, 1.0)


def _preview(path: Path, changes: Sequence[ValueChange]) -> None:
    """What would be written, what is wrong with it, and the two buttons."""
    drawing.section(say("evidence.diff", count=len(changes)))
    drawing.table(changes_table(changes))
    try:
        own = own_values.with_changes(
            own_values.own_values(path), default_catalog(), changes, datetime.date.today()
        )  # fmt: skip
        wrong = _complaints(path, own)
    except LlmSizerError as error:
        own, wrong = {}, [str(error)]
    for sentence in wrong[:5]:
        st.warning(safe(told(sentence)))
    with st.container(horizontal=True):
        st.button(
            say("evidence.save"), key="editor_save", type="primary", disabled=bool(wrong),
            on_click=_keep, args=(path, own, own_values.version(path)),
        )  # fmt: skip
        st.button(say("evidence.discard"), key="editor_discard", on_click=_next_round)


def _complaints(path: Path, own: Own) -> list[str]:
    return own_values.complaints(path, own, datetime.date.today())


def _keep(path: Path, own: Own, expected: str) -> None:
    try:
        own_values.keep(path, own, datetime.date.today(), expected=expected)
        st.session_state[SAID] = say("evidence.saved", file=path)
    except LlmSizerError as error:
        st.session_state[SAID] = str(error)
    _next_round()


def _next_round() -> None:
    st.session_state[ROUND] = st.session_state.get(ROUND, 0) + 1


def _add_offer(path: Path) -> None:
    """A price that no list has: what somebody's own host asks."""
    with st.expander(say("evidence.add")), st.form("own_offer", border=False, enter_to_submit=False):
        st.caption(say("evidence.add_help"))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            provider = st.text_input(say("evidence.add_provider"), key="own_provider", max_chars=80)
            gpu = st.selectbox(say("evidence.add_gpu"), default_catalog().gpu_names, index=None, key="own_gpu")
            zone = st.selectbox(say("evidence.add_zone"), ZONES, key="own_zone")
            usd = st.number_input(say("evidence.usd_per_gpu_hour"), 0.0, value=None, format="%.4g", key="own_usd")
        asked = st.form_submit_button(say("evidence.add_button"))
    if not asked:
        return
    row = {"provider": provider.strip(), "gpu": gpu, "zone": zone, "usd_per_gpu_hour": usd}
    missing = [say(f"evidence.add_{key}") for key in ("provider", "gpu") if not row[key]]
    missing += [] if usd else [say("evidence.usd_per_gpu_hour")]
    if missing:
        st.warning(safe(say("evidence.add_missing", names=", ".join(missing))))
        return
    try:
        own = own_values.with_row(own_values.own_values(path), "offers", row, datetime.date.today())
        _keep(path, own, own_values.version(path))
    except LlmSizerError as error:
        st.session_state[SAID] = str(error)
    st.rerun()


def _own(path: Path) -> None:
    """The user's own values so far, each of which can be taken back."""
    try:
        own = own_values.own_values(path)
        undoable = own_values.changes_to_undo(path)
    except LlmSizerError as error:
        st.warning(safe(told(str(error))))
        return
    names = [(kind, name) for kind, found in own.items() for name in found]
    if not names and not undoable:
        return
    drawing.section(say("evidence.own", count=len(names)))
    for kind, name in names:
        fields = own[kind][name]
        known = [key for key in EDITABLE[kind] if fields.get(key) is not None]
        shown = ", ".join(f"{say(f'evidence.{key}')}: {_shown(key, fields[key]):,.10g}" for key in known)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f"**{safe(name)}** · {safe(shown)}", width="stretch")
            st.button(
                say("evidence.take_out"), key=f"take_out {kind} {name}", on_click=_keep,
                args=(path, own_values.without(own, kind, name), own_values.version(path)),
            )  # fmt: skip
    if undoable:
        st.button(say("evidence.undo", count=undoable), key="editor_undo", on_click=_undo, args=(path,))


def _undo(path: Path) -> None:
    try:
        own_values.undo(path)
        st.session_state[SAID] = say("evidence.undone", file=path)
    except LlmSizerError as error:
        st.session_state[SAID] = str(error)
    _next_round()
