"""Measured rows as observations of what the formulas predict: seconds or tokens per second, with weights.

An observation's residual is written in time: positive where the machine was slower than predicted. The same group of
configurations recurs over engine versions and batch sizes, so each group shares one weight (``split_group`` where the
table states it).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.aliases import Names
from llmsizer.physics.rows.reading import Row, number, read_row
from llmsizer.physics.steps.cases import Case, Cases, Floats, Words
from llmsizer.physics.steps.loads import LoadTimes

# Target → how much one group weighs in the fit. TTFT under load holds start-up bursts and queueing.
TARGET_WEIGHTS = {
    "load-tpot": 1.0,
    "lone-tpot": 1.0,
    "single": 1.0,
    "static": 1.0,
    "offline": 1.0,
    "ttft": 0.5,
    "load-throughput": 0.5,
    "offline-tpot": 0.5,
    "load-ttft": 0.05,
    "offline-ttft": 0.05,
}
COMMUNITY_WEIGHT = 0.4  # user-submitted, lengths unstated


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Measured values beside the case that each belongs to."""

    cases: Cases
    row: np.ndarray[tuple[int], np.dtype[np.intp]]  # position in ``cases``
    metric: Words  # ttft tpot e2e throughput
    target: Words  # kind of evidence, a key of TARGET_WEIGHTS
    value: Floats  # seconds, or output tokens per second
    group: Words
    source: Words

    def __len__(self) -> int:
        return len(self.value)

    @property
    def weight(self) -> Floats:
        """Each group and target counts as the square root of its rows, scaled by how far the target is trusted."""
        keys = list(zip(self.group.tolist(), self.target.tolist(), strict=True))
        counts = Counter(keys)
        share = np.array([counts[key] ** -0.5 for key in keys])
        trust = np.array([TARGET_WEIGHTS[str(target)] for target in self.target])
        return np.asarray(share * trust * np.where(self.source == "llmfit-community", COMMUNITY_WEIGHT, 1.0))

    def of_cases(self, chosen: NDArray[np.bool_]) -> tuple[Observations, NDArray[np.bool_]]:
        """Observations of some cases only, and which of these observations they are."""
        mask = chosen[self.row]
        place = np.cumsum(chosen) - 1
        part = Observations(
            cases=self.cases.take(np.flatnonzero(chosen)),
            row=place[self.row[mask]],
            metric=self.metric[mask],
            target=self.target[mask],
            value=self.value[mask],
            group=self.group[mask],
            source=self.source[mask],
        )
        return part, mask

    def predicted(self, times: LoadTimes) -> Floats:
        """The prediction of each observation from the times of its case."""
        columns = {
            "ttft": times.ttft_seconds,
            "tpot": times.tpot_seconds,
            "e2e": times.e2e_seconds,
            "throughput": times.output_tokens_per_second,
        }
        out = np.empty(len(self))
        for metric, column in columns.items():
            mask = self.metric == metric
            out[mask] = column[self.row[mask]]
        return out

    def residuals(self, times: LoadTimes) -> Floats:
        """log(measured seconds / predicted seconds); a throughput counts as its inverse."""
        ratio = np.log(self.value) - np.log(np.maximum(self.predicted(times), 1e-12))
        return np.where(self.metric == "throughput", -ratio, ratio)


def observe(rows: Sequence[Row], names: Names) -> Observations:
    """Observations of all rows that can be read; the others are left out."""
    cases: list[Case] = []
    found: list[tuple[int, str, str, float, str, str]] = []
    for row in rows:
        reading = read_row(row, names)
        if reading.case is None or is_offloaded(reading.case):
            continue
        group = row.get("split_group") or f"{row.get('model')}|{row.get('gpu')}|{row.get('weight_dtype')}"
        source = row.get("source_id") or "own"
        values = [(m, t, v) for m, t, v in measured(row, reading.case) if v > 0]
        found += [(len(cases), m, t, v, group, source) for m, t, v in values]
        cases.append(reading.case)
    columns = list(zip(*found, strict=True)) if found else [()] * 6
    return Observations(
        cases=Cases.of(cases),
        row=np.array(columns[0], dtype=np.intp),
        metric=np.array(columns[1], dtype=np.str_),
        target=np.array(columns[2], dtype=np.str_),
        value=np.array(columns[3], dtype=np.float64),
        group=np.array(columns[4], dtype=np.str_),
        source=np.array(columns[5], dtype=np.str_),
    )


def is_offloaded(case: Case) -> bool:
    """Weights that do not fit: layers ran on the CPU, which says nothing about the GPU."""
    return case.layer_params * case.weight_bytes > case.memory_bytes * case.gpus


def measured(row: Row, case: Case) -> list[tuple[str, str, float]]:
    """(metric, target, value) of what a row measured, in SI units; one number per phase, never the same fact twice."""
    tpot, ttft = _first(row, "tpot_ms_mean", "tpot_ms_p50"), _first(row, "ttft_ms_mean", "ttft_ms_p50")
    output, e2e = number(row, "output_tok_s"), number(row, "e2e_ms_mean")
    found: list[tuple[str, str, float]] = []
    if case.load in {"single-stream", "single-batch-static"}:
        target = "single" if case.load == "single-stream" else "static"
        if tpot is not None:
            found.append(("tpot", "lone-tpot", tpot / 1e3))
        elif output is not None and case.output_tokens > 1:
            found.append(("throughput", target, output))
        elif e2e is not None:
            found.append(("e2e", target, e2e / 1e3))
        if ttft is not None:
            found.append(("ttft", "ttft", ttft / 1e3))
    elif case.load == "offline-max-throughput":
        if output is not None:
            found.append(("throughput", "offline", output))
        if tpot is not None:
            found.append(("tpot", "offline-tpot", tpot / 1e3))
        if ttft is not None:
            found.append(("ttft", "offline-ttft", ttft / 1e3))
    else:
        if tpot is not None:
            found.append(("tpot", "load-tpot", tpot / 1e3))
        if ttft is not None:
            found.append(("ttft", "load-ttft", ttft / 1e3))
        if output is not None:
            found.append(("throughput", "load-throughput", output))
    return found


def _first(row: Row, *keys: str) -> float | None:
    return next((value for key in keys if (value := number(row, key)) is not None), None)
