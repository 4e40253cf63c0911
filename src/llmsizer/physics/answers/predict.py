"""Predict a table: per row throughput, TTFT, TPOT, end-to-end time and memory with 90 % limits, or why not.

``pred_vram_gb`` counts 2³⁰ bytes, as the tools do that such tables are read from (nvidia-smi, torch, htop).
``abstained`` is empty where a row was predicted and holds the reason where it was not; its number cells are then empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from llmsizer.facts.aliases import Names, names
from llmsizer.physics.calibration.correction import Corrected, correct
from llmsizer.physics.calibration.intervals import UNKNOWN_SHAPE_WIDENING, UNKNOWN_STACK_WIDENING
from llmsizer.physics.calibration.store import StoredCalibration, default_calibration
from llmsizer.physics.calibration.support import evidence_problem
from llmsizer.physics.rows.columns import header_of
from llmsizer.physics.rows.reading import Reading, Row, read_row
from llmsizer.physics.steps.cases import Case, Cases
from llmsizer.physics.steps.formulas import SPILLING_ENGINES
from llmsizer.units import GIB

PREDICTED = ("output_tok_s", "ttft_ms", "tpot_ms", "e2e_ms", "vram_gb")
OUTPUT_COLUMNS = (
    *(f"pred_{name}{end}" for name in PREDICTED for end in ("", "_low", "_high")),
    "basis",
    "abstained",
)
_METRIC_OF = {
    "output_tok_s": ("throughput", 1.0),
    "ttft_ms": ("ttft", 1e3),
    "tpot_ms": ("tpot", 1e3),
    "e2e_ms": ("e2e", 1e3),
}
CERTAINLY_TOO_LARGE = 1.1  # times the memory: sizes in names are rounded
MEMORY_BAND = 0.15  # relative; the memory model's own figures are exact, engines differ in what they reserve


def predict_rows(
    rows: Iterable[Row], *, calibration: StoredCalibration | None = None, resolver: Names | None = None
) -> list[dict[str, str]]:
    """The rows with the predicted columns appended; every other column passes through untouched and unused.

    Columns that are called otherwise and mean one that is read (``rows.columns``) are read as that one.
    """
    table = list(rows)
    header = header_of(key for row in table[:1] for key in row)
    used = calibration or default_calibration()
    resolve = resolver or names()
    readings = [_abstain_where_nothing_ran(read_row(header.read(row), resolve)) for row in table]
    known = [i for i, reading in enumerate(readings) if reading.case is not None]
    cells = _predicted_cells([readings[i] for i in known], used) if known else []
    predicted = dict(zip(known, cells, strict=True))
    empty = dict.fromkeys(OUTPUT_COLUMNS, "")
    return [
        {**row, **predicted[i]} if i in predicted else {**row, **empty, "basis": "unknown", "abstained": reading.reason}
        for i, (row, reading) in enumerate(zip(table, readings, strict=True))
    ]


def _abstain_where_nothing_ran(reading: Reading) -> Reading:
    """No number where the weights certainly do not fit."""
    problem = _too_large(reading.case) if reading.case is not None else ""
    return Reading(case=None, reason=problem) if problem else reading


def _missing_evidence(case: Case, calibration: StoredCalibration) -> str:
    """What no measured row supports: then the data sheet and other devices' software speak, with a wide interval."""
    return evidence_problem(case.gpu, case.family, case.engine, calibration).partition(":")[0]


def _too_large(case: Case) -> str:
    """Why nothing ran there; engines that keep layers in host memory run anything."""
    weights, room = case.layer_params * case.weight_bytes, case.memory_bytes * case.gpus
    if weights <= CERTAINLY_TOO_LARGE * room or case.engine in SPILLING_ENGINES:
        return ""
    return f"does not fit: {weights / 1e9:,.0f} GB of weights on {case.gpus:g} × {case.memory_bytes / GIB:.0f} GiB"


def _predicted_cells(readings: Sequence[Reading], calibration: StoredCalibration) -> list[dict[str, str]]:
    known = [reading.case for reading in readings if reading.case is not None]
    cases = Cases.of(known)
    missing = [_missing_evidence(case, calibration) for case in known]
    sure = [reading.model_known and reading.engine_known for reading in readings]
    widening = np.where(sure, 1.0, UNKNOWN_SHAPE_WIDENING) * np.where(missing, UNKNOWN_STACK_WIDENING, 1.0)
    found = correct(cases, calibration, widening)
    columns: dict[str, list[str]] = {}
    for name, (metric, factor) in _METRIC_OF.items():
        for end, part in (("", found.value), ("_low", found.low), ("_high", found.high)):
            columns[f"pred_{name}{end}"] = [f"{v:.6g}" for v in part[metric] * factor]
    memory = [reading.vram.value_bytes for reading in readings]
    for end, factor in (("", 1.0), ("_low", 1 - MEMORY_BAND), ("_high", 1 + MEMORY_BAND)):
        columns[f"pred_vram_gb{end}"] = ["" if v is None else f"{v / GIB * factor:.6g}" for v in memory]
    columns["basis"] = [_basis(found, i, reading, missing[i]) for i, reading in enumerate(readings)]
    columns["abstained"] = [""] * len(readings)
    return [{key: column[i] for key, column in columns.items()} for i in range(len(readings))]


def _basis(found: Corrected, i: int, reading: Reading, missing: str) -> str:
    notes = [*([missing] if missing else []), *reading.notes, *(["saturated"] if found.times.saturated[i] else [])]
    if reading.vram.value_bytes is None:
        notes.append(f"vram unknown: {reading.vram.reason}")
    return "; ".join([f"{'datasheet' if missing else 'calibrated'} ({found.distance[i]})", *notes])
