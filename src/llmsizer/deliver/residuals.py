"""Predicted against measured, point by point: how wrong the predictor is where its answer is known."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.deliver.tables import Cell, Table, number, words


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


def residuals_table(checks: Sequence[Check]) -> Table:
    """Measured, predicted and the error of each."""
    rows = tuple(
        (
            words(c.what),
            words(c.quantity),
            number(c.measured, c.unit, "measured"),
            number(c.predicted, c.unit, "calibrated"),
            Cell(
                text=f"{c.error:+.1%}", basis="calibrated", remark="not seen in the fit" if c.held_out else "fitted on"
            ),
        )
        for c in checks
    )
    headers = ("Configuration", "Quantity", "Measured", "Predicted", "Error")
    return Table(title="Predicted against measured", headers=headers, rows=rows)
