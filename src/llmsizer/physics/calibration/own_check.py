"""How wrong the calibration is on the user's own device: each operating point predicted from the others.

A point (batch × prompt) is held out with all its variants, the rest calibrate, and the held-out figures are predicted:
the stated error is one the fit has not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.facts.aliases import Names, names
from llmsizer.facts.records import ProfileRecord
from llmsizer.physics.calibration.own_records import calibrate, log_residuals
from llmsizer.physics.calibration.store import StoredCalibration


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """One measured figure beside its prediction from the other operating points; seconds."""

    record: ProfileRecord
    quantity: str  # TTFT or TPOT
    measured_seconds: float
    predicted_seconds: float

    @property
    def error(self) -> float:
        """Of the measured value, with its sign."""
        return self.predicted_seconds / self.measured_seconds - 1


def held_out(
    records: Sequence[ProfileRecord], *, calibration: StoredCalibration | None = None, resolver: Names | None = None
) -> tuple[HeldOut, ...]:
    """Every usable figure predicted without its own operating point; nothing where only one point was measured."""
    usable = [record for record in records if record.carries_step_times]
    resolve = resolver or names()
    found: list[HeldOut] = []
    for point in sorted({_point(record) for record in usable}):
        others = [record for record in usable if _point(record) != point]
        if not others:
            return ()
        fitted, _ = calibrate(others, calibration=calibration, resolver=resolve)
        for record in (record for record in usable if _point(record) == point):
            for metric, residual in log_residuals(record, fitted, resolver=resolve):
                measured = record.ttft_seconds if metric == "ttft" else record.tpot_seconds
                if measured:
                    predicted = measured * math.exp(-residual)
                    found.append(
                        HeldOut(
                            record=record,
                            quantity=metric.upper(),
                            measured_seconds=measured,
                            predicted_seconds=predicted,
                        )
                    )
    return tuple(found)


def _point(record: ProfileRecord) -> tuple[int, int, int]:
    return record.batch, record.prompt_tokens, record.output_tokens
