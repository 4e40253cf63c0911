"""Predicted against measured, point by point: how wrong the predictor is where its answer is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmsizer.deliver.elements.tables import Cell, Table, number, words
from llmsizer.facts.aliases import names
from llmsizer.facts.records import ProfileRecord
from llmsizer.physics.calibration.intervals import Band
from llmsizer.physics.calibration.own_check import held_out
from llmsizer.physics.calibration.own_records import calibrate, log_residuals
from llmsizer.physics.calibration.store import default_calibration


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One quantity that was measured and predicted."""

    what: str
    quantity: str
    measured: float
    predicted: float
    unit: str
    held_out: bool = False  # whether the prediction was made without having seen this measurement

    @property
    def error(self) -> float:
        """Of the measured value, with its sign."""
        return self.predicted / self.measured - 1 if self.measured else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSummary:
    """What a calibration was fitted on, and how far it is off."""

    text: str
    checks: tuple[Check, ...]

    @property
    def median_error(self) -> float | None:
        """The median of the errors without their sign."""
        return statistics.median(abs(c.error) for c in self.checks) if self.checks else None


def calibration_summary(records: Sequence[ProfileRecord]) -> CalibrationSummary | None:
    """What own records say, each held against a prediction from the other points; None without records."""
    if not any(record.carries_step_times for record in records):
        return None
    _, moves = calibrate(records)
    checks = tuple(
        Check(
            what=_point(found.record),
            quantity=found.quantity,
            measured=found.measured_seconds,
            predicted=found.predicted_seconds,
            unit="s",
            held_out=True,
        )
        for found in held_out(records)
    )
    return CalibrationSummary(text=". ".join(move.text() for move in moves), checks=checks)


def shipped_checks(records: Sequence[ProfileRecord]) -> tuple[Check, ...]:
    """Every figure of own records against the shipped calibration, which has seen none of them.

    Raises LlmSizerError where a record says too little of its model or device.
    """
    calibration, resolve = default_calibration(), names()
    found = []
    for record in (record for record in records if record.carries_step_times):
        for metric, residual in log_residuals(record, calibration, resolver=resolve):
            measured = record.ttft_seconds if metric == "ttft" else record.tpot_seconds
            if measured:
                predicted = measured * math.exp(-residual)
                found.append(
                    Check(
                        what=_point(record),
                        quantity=metric.upper(),
                        measured=measured,
                        predicted=predicted,
                        unit="s",
                        held_out=True,
                    )
                )
    return tuple(found)


def _point(record: ProfileRecord) -> str:
    """What sets a configuration apart from the others of its sweep, the output's length included."""
    return f"{record.variant}, {record.batch} × {record.prompt_tokens:,}→{record.output_tokens:,} tokens"


def residuals_table(checks: Sequence[Check]) -> Table:
    """Each configuration once: what was measured, what was predicted, and the error of the prediction."""
    quantities = list(dict.fromkeys(check.quantity for check in checks))
    by_configuration: dict[str, dict[str, Check]] = {}
    for check in checks:
        by_configuration.setdefault(check.what, {})[check.quantity] = check
    rows = tuple(
        (words(what), *(cell for quantity in quantities for cell in _pair(found.get(quantity))))
        for what, found in by_configuration.items()
    )
    headers = [f"{quantity} {side}" for quantity in quantities for side in ("measured", "predicted")]
    seen = all(check.held_out for check in checks)
    note = "Each was predicted without having been seen in the fit." if seen and checks else ""
    return Table(title="Predicted against measured", headers=("Configuration", *headers), rows=rows, note=note)


def _pair(check: Check | None) -> tuple[Cell, Cell]:
    if check is None:
        return words("–"), words("–")
    measured = number(check.measured, check.unit, "measured")
    return measured, number(check.predicted, check.unit, "calibrated", remark=f"{check.error:+.1%}")


TARGETS = {
    "load-tpot": "TPOT under load",
    "load-ttft": "TTFT under load",
    "single": "One request at a time",
    "static": "A fixed batch",
    "offline": "Throughput with everything at once",
    "any": "All together",
}
DISTANCES = {
    "seen": "GPU and model in the evidence",
    "gpu unseen": "Another GPU",
    "model unseen": "Another model",
    "both unseen": "Both others",
}


def bands_table(bands: Mapping[str, Band]) -> Table:
    """Where 90 % of held-out measurements lie around what was predicted for them, by how far the evidence is."""
    shown = [target for target in TARGETS if any(f"{target}|{distance}" in bands for distance in DISTANCES)]
    rows = tuple(
        (words(TARGETS[target]), *(_band(bands.get(f"{target}|{distance}")) for distance in DISTANCES))
        for target in shown
    )
    return Table(
        title="Where 90 % of held-out measurements lie around their prediction",
        headers=("Quantity, in seconds", *DISTANCES.values()),
        rows=rows,
        note="Cross-validated by group: a prediction was made without the measurements it is held against.",
    )


def _band(band: Band | None) -> Cell:
    if band is None:
        return Cell(text="unknown", basis="unknown", remark="too few measurements")
    # The band is of log(measured / predicted).
    low, high = math.exp(band.low) - 1, math.exp(band.high) - 1
    return Cell(text=f"{low:+.0%} to {high:+.0%}", basis="calibrated", remark=f"{band.rows:,} measurements")
