"""Answers and records, kept while their inputs stay the same. Only the public functions of llmsizer are called."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from llmsizer.decide.answer import Recommendation
from llmsizer.decide.recommend import answer_of
from llmsizer.decide.study import Study, study
from llmsizer.deliver.residuals import CalibrationSummary, calibration_summary
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.profile.store import read_records
from places import catalogue_state
from places import output_folder as output_folder
from texts import say

EXAMPLE = Path(__file__).parent / "example"


@dataclass(frozen=True, kw_only=True)
class Records:
    """What was measured, and the lines that could not be read."""

    profiles: tuple[ProfileRecord, ...]
    quality: tuple[QualityRecord, ...]
    problems: tuple[str, ...]


def records(folder: Path) -> Records:
    """Every record in a folder and in the folders in it, or in one file; read again when a file changes."""
    files = [folder] if folder.is_file() else sorted((*folder.glob("*.jsonl"), *folder.glob("*/*.jsonl")))
    return _records(tuple((str(file), file.stat().st_mtime_ns) for file in files))


@st.cache_resource(max_entries=8, show_spinner=False)
def _records(files: tuple[tuple[str, int], ...]) -> Records:
    profiles: list[ProfileRecord] = []
    quality: list[QualityRecord] = []
    problems: list[str] = []
    for path in (Path(name) for name, _ in files):
        with path.open("rb") as file:
            first = file.readline()
        # A file says by its first line what it holds; a file of something else is none of ours.
        if b'"perplexity"' in first:
            good, bad = read_records(path, QualityRecord)
            quality += good
            problems += bad
        elif b'"record_id"' in first:
            found, bad = read_records(path, ProfileRecord)
            profiles += found
            problems += bad
    return Records(profiles=tuple(profiles), quality=tuple(quality), problems=tuple(problems))


def recommendation(scenario: Scenario) -> Recommendation:
    """What to run, on what, for how much, with the comparison over the volume in it. Raises LlmSizerError."""
    with st.spinner(say("common.thinking")):
        return answer(scenario)


def answer(scenario: Scenario) -> Recommendation:
    """The same without a word on the page, for threads that have none. Raises LlmSizerError."""
    return _answer(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


# Answers are frozen, so every session may have the same one: kept as a resource nobody has to copy it.
@st.cache_resource(max_entries=64, show_spinner=False)
def _answer(scenario: str, today: datetime.date, catalogue: str) -> Recommendation:
    return answer_of(_study(scenario, today, catalogue), default_catalog())


def studied(scenario: Scenario) -> Study:
    """What the answer is made of, for those who ask it more: every replica that fits, with its prices."""
    return _study(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


@st.cache_resource(max_entries=16, show_spinner=False)
def _study(scenario: str, today: datetime.date, catalogue: str) -> Study:
    catalog, asked = default_catalog(), Scenario.model_validate_json(scenario)
    return study(catalog.model(asked.model), asked, catalog, today=today)


def calibration(profiles: tuple[ProfileRecord, ...]) -> CalibrationSummary | None:
    """The predictor held against these records, each predicted from the others. Raises LlmSizerError."""
    return _calibration(tuple(f"{p.record_id} {p.measured_at}" for p in profiles), profiles)


@st.cache_resource(max_entries=8, show_spinner=False)
def _calibration(names: tuple[str, ...], _profiles: tuple[ProfileRecord, ...]) -> CalibrationSummary | None:
    return calibration_summary(_profiles)
