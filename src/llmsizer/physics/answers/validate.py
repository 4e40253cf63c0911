"""Hold predictions against measurements: error by metric, engine, precision and distance; bias; coverage; worst groups.

The error of a group is the median absolute percentage error of its rows; tables show the median and the 90th
percentile over groups, so that a group of a thousand rows counts as one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from llmsizer.facts.aliases import Names, names
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.rows.columns import header_of
from llmsizer.physics.rows.observations import measured
from llmsizer.physics.rows.reading import INPUT_COLUMNS, Row, read_row

PREDICTED_COLUMN = {"throughput": "output_tok_s", "ttft": "ttft_ms", "tpot": "tpot_ms", "e2e": "e2e_ms"}
METRIC_OF_TARGET = {
    "load-tpot": "TPOT under load",
    "lone-tpot": "TPOT of one batch",
    "offline-tpot": "TPOT of an offline run",
    "single": "single stream",
    "static": "static batch",
    "offline": "offline throughput",
    "load-throughput": "throughput under load",
    "ttft": "TTFT of single requests",
    "load-ttft": "TTFT under load",
    "offline-ttft": "TTFT of an offline run",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One measured number beside its prediction, in the same unit."""

    metric: str
    engine: str
    precision: str
    distance: str
    group: str
    measured: float
    predicted: float
    low: float
    high: float

    @property
    def error(self) -> float:
        """Absolute percentage error as a fraction."""
        return abs(self.predicted / self.measured - 1)

    @property
    def log_ratio(self) -> float:
        return float(np.log(self.predicted / self.measured))

    @property
    def is_covered(self) -> bool:
        return self.low <= self.measured <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorLine:
    """Errors of one class of comparisons."""

    label: tuple[str, ...]
    rows: int
    groups: int
    median_error: float  # median over groups of the group's median
    p90_error: float
    bias: float  # median over groups of log(predicted / measured); positive: predicted too high
    coverage: float  # share of rows inside the 90 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationReport:
    """Everything ``validate`` found."""

    rows: int
    abstained: int
    reasons: dict[str, int]
    by_metric: tuple[ErrorLine, ...]
    by_class: tuple[ErrorLine, ...]  # metric × engine × precision × distance
    worst_groups: tuple[ErrorLine, ...]
    comparisons: tuple[Comparison, ...] = field(repr=False, default=())

    def text(self, *, lines: int = 40) -> str:
        """The report as aligned text."""
        share = self.abstained / self.rows if self.rows else 0.0
        out = [f"{self.rows} rows, abstained on {self.abstained} ({share:.1%})", *_reason_lines(self.reasons)]
        for title, table in (
            ("By metric", self.by_metric),
            ("By metric, engine, precision and distance from the evidence", self.by_class[:lines]),
            ("Worst groups", self.worst_groups),
        ):
            out += ["", title, f"{'median':>8} {'p90':>8} {'bias':>7} {'inside':>7} {'rows':>6} {'groups':>6}"]
            out += [
                f"{e.median_error:8.1%} {e.p90_error:8.1%} {e.bias:+7.2f} {e.coverage:7.1%} {e.rows:6d} {e.groups:6d}"
                f"  {' · '.join(e.label)}"
                for e in table
            ]
        return "\n".join(out)


def _reason_lines(reasons: dict[str, int]) -> list[str]:
    return [f"  {count} × {reason}" for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5]]


def validate(
    rows: Iterable[Row], *, calibration: StoredCalibration | None = None, resolver: Names | None = None
) -> ValidationReport:
    """Predict measured rows from their input columns alone and compare."""
    given = list(rows)
    header = header_of(key for row in given[:1] for key in row)
    table = [header.read(row) for row in given]
    resolve = resolver or names()
    blind = [{key: row.get(key, "") or "" for key in INPUT_COLUMNS} for row in table]
    predicted = predict_rows(blind, calibration=calibration, resolver=resolve)
    found = [
        comparison
        for row, guess in zip(table, predicted, strict=True)
        if not guess["abstained"]
        for comparison in _compare(row, guess, resolve)
    ]
    reasons: dict[str, int] = defaultdict(int)
    for guess in predicted:
        if guess["abstained"]:
            reasons[guess["abstained"]] += 1
    return summarise(found, rows=len(table), reasons=dict(reasons))


def summarise(found: Sequence[Comparison], *, rows: int, reasons: dict[str, int]) -> ValidationReport:
    """Tables over comparisons."""
    worst = _lines(found, lambda c: (c.metric, c.group))
    return ValidationReport(
        rows=rows,
        abstained=sum(reasons.values()),
        reasons=reasons,
        by_metric=_lines(found, lambda c: (c.metric,)),
        by_class=_lines(found, lambda c: (c.metric, c.engine, c.precision, c.distance)),
        worst_groups=tuple(sorted(worst, key=lambda line: -line.median_error)[:15]),
        comparisons=tuple(found),
    )


def _compare(row: Row, guess: dict[str, str], resolve: Names) -> list[Comparison]:
    reading = read_row(row, resolve)
    if reading.case is None:
        return []
    found = []
    for metric, target, value in measured(row, reading.case):
        column = PREDICTED_COLUMN[metric]
        unit = 1.0 if metric == "throughput" else 1e3
        if value <= 0:
            continue
        found.append(
            Comparison(
                metric=METRIC_OF_TARGET[target],
                engine=reading.case.engine,
                precision=reading.case.weight_class,
                distance=guess["basis"].partition("(")[2].partition(")")[0],
                group=row.get("split_group") or f"{row.get('model')}|{row.get('gpu')}|{row.get('weight_dtype')}",
                measured=value * unit,
                predicted=float(guess[f"pred_{column}"]),
                low=float(guess[f"pred_{column}_low"]),
                high=float(guess[f"pred_{column}_high"]),
            )
        )
    return found


def _lines(found: Sequence[Comparison], key: Callable[[Comparison], tuple[str, ...]]) -> tuple[ErrorLine, ...]:
    """One line per class, most groups first."""
    classes: dict[tuple[str, ...], list[Comparison]] = defaultdict(list)
    for comparison in found:
        classes[key(comparison)].append(comparison)
    lines = []
    for label, members in classes.items():
        groups: dict[str, list[Comparison]] = defaultdict(list)
        for member in members:
            groups[member.group].append(member)
        errors = [float(np.median([m.error for m in group])) for group in groups.values()]
        lines.append(
            ErrorLine(
                label=label,
                rows=len(members),
                groups=len(groups),
                median_error=float(np.median(errors)),
                p90_error=float(np.quantile(errors, 0.9)),
                bias=float(np.median([np.median([m.log_ratio for m in group]) for group in groups.values()])),
                coverage=float(np.mean([m.is_covered for m in members])),
            )
        )
    return tuple(sorted(lines, key=lambda line: (-line.groups, line.label)))
