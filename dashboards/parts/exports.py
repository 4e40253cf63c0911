"""What a page lets its reader take away: report, decision pack, workbook, scenario, answer, and the link itself."""

from __future__ import annotations

import datetime
import importlib.util
import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlencode, urlsplit

import streamlit as st

import drawing
from cached import answers, measurements, places
from drawing import safe
from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.plan_file import Chosen
from llmsizer.deliver.pack.writing import write_pack
from llmsizer.deliver.pages.report import render_report
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.launch.bundle import TARGETS, make_bundle
from texts import say, told

HTML, JSON, ZIP = "text/html", "application/json", "application/zip"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
WORKBOOK = "workbook.xlsx"
ENGINE = "vllm"
File = tuple[str, Callable[[], bytes | str], str, str]  # key of its sentences, how it is made, its name, its type


def offer(scenario: Scenario, recommendation: Recommendation) -> None:
    """Buttons for every file of an answer; each is made when it is asked for."""
    drawing.section(say("exports.heading"))
    files: list[File] = [
        ("report", lambda: _report(scenario, recommendation), "llmsizer-report.html", HTML),
        ("pack", lambda: _zipped(_pack(scenario)), "llmsizer-pack.zip", ZIP),
        ("workbook", lambda: _pack(scenario)[WORKBOOK], "llmsizer-workbook.xlsx", XLSX),
        _scenario_file(scenario),
        (
            "answer",
            lambda: json.dumps(recommendation.to_dict(), indent=2, ensure_ascii=False),
            "llmsizer-answer.json",
            JSON,
        ),
    ]
    if importlib.util.find_spec("xlsxwriter") is None:
        files = [file for file in files if file[0] != "workbook"]
        st.caption(say("exports.no_workbook"))
    _buttons(files)
    if recommendation.best is not None:
        drawing.folded(say("exports.bundle"), "bundle", lambda: _bundle(scenario, recommendation, recommendation.best))
    _show_link()


def offer_question(scenario: Scenario) -> None:
    """The question alone, for pages that answer another part of it."""
    drawing.section(say("exports.heading"))
    _buttons([_scenario_file(scenario)])
    _show_link()


def _scenario_file(scenario: Scenario) -> File:
    return "scenario", lambda: scenario.model_dump_json(indent=2), "llmsizer-scenario.json", JSON


def _buttons(files: Sequence[File]) -> None:
    with st.container(horizontal=True):
        for name, make, file_name, mime in files:
            st.download_button(
                say(f"exports.{name}"),
                make,
                file_name,
                mime,
                key=f"export_{name}",
                on_click="ignore",
                help=say(f"exports.{name}_help"),
            )


def _show_link() -> None:
    st.caption(say("exports.link_help"))
    st.code(_link(), language=None, wrap_lines=True)


def _bundle(scenario: Scenario, recommendation: Recommendation, plan: Plan | None) -> None:
    """The files that start the best plan on machines. Raises LlmSizerError where an engine cannot run it."""
    assert plan is not None, "offered where there is a plan"
    st.caption(safe(say("exports.bundle_help", plan=told(plan.label))))
    target = st.segmented_control(
        say("exports.target"), sorted(TARGETS), default="shell", key="bundle_target", required=True
    )
    bundle = make_bundle(
        Chosen(scenario=scenario, recommendation=recommendation, plan=plan),
        default_catalog(),
        engine=ENGINE,
        target=target or "shell",
        today=datetime.date.today(),
    )
    files = {name: text.encode() for name, text in bundle.files.items()}
    st.download_button(
        say("exports.bundle_download"),
        _zipped(files, "llmsizer-launch"),
        f"llmsizer-launch-{bundle.target}.zip",
        ZIP,
        key="export_bundle",
        on_click="ignore",
    )
    st.caption(", ".join(f"`{name}`" for name in files))


def _link() -> str:
    """The page's address with the question in it, as anybody can open it."""
    address = st.context.url or ""
    address += "" if urlsplit(address).path else "/"
    query = urlencode(st.query_params.to_dict())
    return f"{address}?{query}" if query else address


def _report(scenario: Scenario, recommendation: Recommendation) -> str:
    kept = measurements.records(places.output_folder())
    return render_report(
        recommendation=recommendation,
        profiles=kept.profiles,
        quality=kept.quality,
        calibration=measurements.calibration(kept.profiles),
        scenario=scenario,
    )


def _pack(scenario: Scenario) -> dict[str, bytes]:
    """Every file of the decision pack by its name. Raises LlmSizerError."""
    kept = measurements.records(places.output_folder())
    names = (*(r.record_id for r in kept.profiles), *(r.model_dump_json() for r in kept.quality))
    return cast(dict[str, bytes], _written(scenario.model_dump_json(), datetime.date.today(), names, kept))


@st.cache_resource(max_entries=8, show_spinner=False)
def _written(
    scenario: str, today: datetime.date, names: tuple[str, ...], _kept: measurements.Records
) -> dict[str, bytes]:
    asked = Scenario.model_validate_json(scenario)
    with tempfile.TemporaryDirectory() as folder:
        pack = write_pack(
            Path(folder) / "pack",
            answers.answer(asked),
            asked,
            default_catalog(),
            today=today,
            profiles=_kept.profiles,
            quality=_kept.quality,
            calibration=measurements.calibration(_kept.profiles),
        )
        return {name: (pack.folder / name).read_bytes() for name in pack.files}


def _zipped(files: dict[str, bytes], folder: str = "llmsizer-pack") -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # The same files make the same archive: a pack is compared by its hash.
            entry = zipfile.ZipInfo(f"{folder}/{name}", (1980, 1, 1, 0, 0, 0))
            entry.external_attr = (0o755 if name.endswith(".sh") else 0o644) << 16
            archive.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return held.getvalue()
