"""Measurements: look at them, hold them against each other, bring them in, and make new ones on this machine."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import streamlit as st

import drawing
from cached import measurements, places
from drawing import safe
from llmsizer.deliver.views.qualities import quality_groups, quality_table
from llmsizer.deliver.views.records import compared_figure, compared_table, record_table, records_table, shape_words
from llmsizer.errors import LlmSizerError
from llmsizer.exchange.importing import OWN, import_file, read_content, recognise
from llmsizer.exchange.values import Refused
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.profile.comparing import Metric, compare
from llmsizer.store import default_location
from llmsizer.store.exchange import Found, export_items, read_items
from measuring import keeping, starting
from texts import say, told

SHOWN_PROBLEMS = 5
ENDINGS = ["jsonl", "json", "parquet", "csv", "yaml", "yml", "sql"]
METRIC_WORDS: dict[Metric, str] = {
    "decode": "metric_decode", "first token": "metric_first", "throughput": "metric_throughput",
}  # fmt: skip


def chosen_records(folder: Path) -> measurements.Records:
    """Of the folder, of the store, or of the example where nothing was measured yet."""
    kept = measurements.records(folder)
    if not kept.profiles and not kept.quality and not keeping.has_store():
        return _example_or_nothing(folder, kept)
    if not keeping.has_store():
        return kept
    words = {
        "folder": say("profiles.source_folder", folder=folder),
        "store": say("profiles.source_store", store=default_location()),
    }
    source = st.segmented_control(
        say("profiles.source"),
        list(words),
        default="folder",
        format_func=words.__getitem__,
        key="source",
        required=True,
    )
    return keeping.stored() if source == "store" else kept


def _example_or_nothing(folder: Path, kept: measurements.Records) -> measurements.Records:
    if not st.session_state.get("example"):
        st.info(safe(say("profiles.empty", folder=folder)) + f"  \n{say('profiles.empty_how')}")
        if measurements.records(measurements.EXAMPLE).profiles:
            st.button(
                say("profiles.example"), on_click=lambda: st.session_state.update(example=True), type="primary",
                key="load_example",
            )  # fmt: skip
        return kept
    example = measurements.records(measurements.EXAMPLE)
    first = example.profiles[0]
    st.info(safe(say("profiles.example_note", device=first.device.name, date=first.measured_at[:10])))
    st.button(say("profiles.own_records"), on_click=lambda: st.session_state.update(example=False), key="leave_example")
    return example


def browse(kept: measurements.Records) -> list[ProfileRecord]:
    """Filters, the table, one record in full. Returns what passed the filters."""
    passed = _filtered(kept.profiles)
    st.caption(safe(say("profiles.showing", shown=f"{len(passed):,}", count=f"{len(kept.profiles):,}")))
    if not passed:
        st.info(say("profiles.nothing_left"))
    drawing.table(records_table(passed), alt=say("profiles.table_alt"))
    if passed:
        one = st.selectbox(
            say("profiles.one"), range(len(passed)), index=None, key="one_record",
            format_func=lambda i: _label(passed[i]), placeholder=say("profiles.choose_one"),
        )  # fmt: skip
        if one is not None:
            drawing.table(record_table(passed[one]))
    for group in quality_groups(kept.quality):
        drawing.section(say("profiles.quality", label=group.label))
        drawing.table(quality_table(group))
    return passed


def _label(record: ProfileRecord) -> str:
    return f"{record.variant} · {shape_words(record)} · {record.model} · {record.measured_at[:16].replace('T', ' ')}"


def _filtered(records: Sequence[ProfileRecord]) -> list[ProfileRecord]:
    values = {
        "model": lambda r: r.model,
        "variant": lambda r: r.variant,
        "engine": lambda r: r.engine,
        "device": lambda r: r.device.name,
        "batch": lambda r: r.batch,
    }
    passed = list(records)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for name, value in values.items():
            options = sorted({value(record) for record in records})
            every = say("profiles.every")
            wanted = st.multiselect(
                say(f"profiles.{name}"), options, key=f"filter_{name}", width=150, placeholder=every
            )  # fmt: skip
            passed = [record for record in passed if not wanted or value(record) in wanted]
        if not st.toggle(say("profiles.with_failed"), value=True, key="with_failed"):
            passed = [record for record in passed if record.status == "ok"]
    return passed


def show_compare(records: Sequence[ProfileRecord]) -> None:
    names = _names(records)
    if len(names) < 2:
        st.info(say("profiles.too_few_names"))
        return
    first, second, third = st.columns(3)
    over = first.selectbox(say("profiles.over"), names, index=len(names) - 1, key="over") or names[-1]
    others = [name for name in names if name != over]
    under = second.selectbox(say("profiles.under"), others, key="under") or others[0]
    metric: Metric = third.selectbox(
        say("profiles.metric"), get_args(Metric), format_func=lambda m: say(f"profiles.{METRIC_WORDS[m]}"), key="metric"
    )
    try:
        compared = compare(records, over, under, metric=metric)
    except LlmSizerError as error:
        st.info(safe(told(str(error))))
        return
    first_one, last = compared[0], compared[-1]
    times, load = told(first_one.text()), told(shape_words(first_one.over))
    st.markdown(f"**{safe(say('profiles.compared', over=over, under=under, times=times, load=load))}**")
    if last is not first_one:
        times, load = told(last.text()), told(shape_words(last.over))
        st.markdown(safe(say("profiles.compared_last", times=times, load=load)))
    alt = say("profiles.compare_chart", over=over, under=under)
    under_it = compared_table(compared, over, under)
    drawing.chart(compared_figure(compared, over, under), alt, "compared", under_it, is_open=True)


def _names(records: Sequence[ProfileRecord]) -> list[str]:
    """What can be compared: variants first, then engines and devices where there are several; widest format first."""
    measured = [record for record in records if record.status == "ok"]
    variants = list(dict.fromkeys(record.variant for record in measured))
    found = variants if len(variants) > 1 else []
    for others in ({r.engine for r in measured}, {r.device.name for r in measured}):
        found += sorted(others) if len(others) > 1 else []
    return list(dict.fromkeys(found))


def bring(folder: Path, passed: Sequence[ProfileRecord]) -> None:
    """Import with a preview, and export of what is shown."""
    uploaded = st.file_uploader(
        say("profiles.upload"),
        type=ENDINGS,
        key="upload",
        help=say("profiles.upload_help"),
    )
    if uploaded is not None:
        _preview(folder, uploaded.name, uploaded.getvalue())
    said = st.session_state.pop("import_said", "")
    if said:
        st.success(safe(said))
    if passed:
        drawing.section(say("profiles.export"))
        with st.container(horizontal=True):
            for kind in ("jsonl", "csv"):
                st.download_button(
                    say(f"profiles.export_{kind}"), _exported(passed, kind), file_name=f"records.{kind}",
                    key=f"export_{kind}", on_click="ignore",
                )  # fmt: skip
    kept = measurements.records(folder)
    if kept.profiles or kept.quality:
        with st.container(horizontal=True):
            st.button(
                say("profiles.folder_to_store"), key="folder_to_store", help=say("profiles.folder_to_store_help"),
                on_click=_keep, args=(None, [*kept.profiles, *kept.quality]),
            )  # fmt: skip


def _preview(folder: Path, name: str, content: bytes) -> None:
    try:
        items, problems, others = _read(name, content)
    except LlmSizerError as error:
        st.warning(safe(told(str(error))))
        return
    profiles = [item for item in items if isinstance(item, ProfileRecord)]
    quality = len(items) - len(profiles)
    st.markdown(safe(say("profiles.preview", records=len(profiles), quality=quality, name=name)))
    if others:
        st.caption(say("profiles.other_kinds"))
    if problems:
        lines = [safe(problem) for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            lines.append(safe(say("profiles.more_skipped", count=len(problems) - SHOWN_PROBLEMS)))
        st.warning(safe(say("profiles.skipped", count=len(problems))) + "\n" + "\n".join(f"- {line}" for line in lines))
    drawing.table(records_table(profiles[:200]))
    if items:
        with st.container(horizontal=True):
            st.button(
                say("profiles.keep_in_folder"), key="keep_in_folder", type="primary", on_click=_keep,
                args=(folder, items),
            )  # fmt: skip
            st.button(say("profiles.keep_in_store"), key="keep_in_store", on_click=_keep, args=(None, items))


def _read(name: str, content: bytes) -> tuple[list[ProfileRecord | QualityRecord], list[str], bool]:
    """Records, a line for each thing skipped, and whether there was something else. Raises LlmSizerError."""
    plain = re.sub(r"[^\w.-]+", "_", Path(name).name).lstrip(".")[-80:] or "upload"
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / plain
        file.write_bytes(content)
        try:
            found, problems = _items_of(file)
        except LlmSizerError as error:
            raise type(error)(str(error).replace(str(file), name)) from None
    items = [i for kind in ("records", "quality") for i in found.get(kind, [])]
    return items, [line.replace(str(file), name) for line in problems], bool(set(found) - {"records", "quality"})


def _items_of(file: Path) -> tuple[Found, list[str]]:
    """Of our own files every whole line; another tool's file whole, or not at all."""
    if file.suffix.lower() != ".parquet":
        try:
            is_ours = recognise(read_content(file)) == OWN
        except Refused:
            is_ours = True  # what is neither is complained of as records of ours
        if not is_ours:
            return {"records": [*import_file(file)]}, []
    return read_items(file)


def _keep(folder: Path | None, items: Sequence[ProfileRecord | QualityRecord]) -> None:
    """Into the folder's files, or into the store; what is there already is left as it is."""
    try:
        new, where = keeping.in_store(items) if folder is None else keeping.in_folder(folder, items)
    except LlmSizerError as error:
        st.session_state["import_said"] = str(error)
        return
    st.session_state["import_said"] = say("profiles.kept", new=new, known=len(items) - new, where=where)


def _exported(records: Sequence[ProfileRecord], kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / f"records.{kind}"
        export_items(records, file, kind)
        return file.read_bytes()


output = places.output_folder()
drawing.headline(say("profiles.heading"))
starting.banner(output)
starting.problem()
looked_at = chosen_records(output)
if looked_at.problems:
    st.warning(safe(say("profiles.problems", count=len(looked_at.problems))))
TABS = ("browse", "compare", "bring", "measure")
browsing, comparing, importing, at_work = st.tabs([say(f"profiles.{tab}") for tab in TABS], key="profiles_part")
shown: list[ProfileRecord] = []
with browsing:
    if looked_at.profiles or looked_at.quality:
        shown = browse(looked_at)
with comparing:
    show_compare(looked_at.profiles)
with importing:
    bring(output, shown)
with at_work:
    starting.show(output)
