"""Records of measurements, read again when a file changes, and how far the predictor was from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from llmsizer.deliver.tables.residuals import CalibrationSummary, Check, calibration_summary, shipped_checks
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.profile.store import read_records

EXAMPLE = Path(__file__).parent.parent / "example"


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


def calibration(profiles: tuple[ProfileRecord, ...]) -> CalibrationSummary | None:
    """The predictor held against these records, each predicted from the others. Raises LlmSizerError."""
    return _calibration(tuple(f"{p.record_id} {p.measured_at}" for p in profiles), profiles)


@st.cache_resource(max_entries=8, show_spinner=False)
def _calibration(names: tuple[str, ...], _profiles: tuple[ProfileRecord, ...]) -> CalibrationSummary | None:
    return calibration_summary(_profiles)


def checks(profiles: tuple[ProfileRecord, ...]) -> tuple[Check, ...]:
    """These records against the shipped predictor, which has not seen them. Raises LlmSizerError."""
    return _checks(tuple(f"{p.record_id} {p.measured_at}" for p in profiles), profiles)


@st.cache_resource(max_entries=8, show_spinner=False)
def _checks(names: tuple[str, ...], _profiles: tuple[ProfileRecord, ...]) -> tuple[Check, ...]:
    return shipped_checks(_profiles)
