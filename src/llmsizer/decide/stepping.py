"""Calibrated step times of many deployments in one pass: a catalogue in the time of a few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.cases import Case, Cases, Floats
from llmsizer.physics.correction import calibrated_shift, distances
from llmsizer.physics.formats import POOLED_ENGINES
from llmsizer.physics.intervals import UNKNOWN_SHAPE_WIDENING
from llmsizer.physics.loads import PREFILL_PACK_TOKENS
from llmsizer.physics.step_times import (
    REFERENCE_OUTPUT_TOKENS,
    REFERENCE_PROMPT_TOKENS,
    case_of,
    request_overhead_seconds,
)
from llmsizer.physics.steps import StepModel
from llmsizer.physics.store import StoredCalibration, default_calibration
from llmsizer.traffic.meanfield import Probe, StepSample

_DECODE, _PREFILL = "load-tpot", "ttft"
_PREFILL_ROWS = 3  # the mean prompt alone, the p95 prompt alone, the mean prompt packed with others


@dataclass(frozen=True, slots=True)
class _Rows:
    """One row per question: which case, which kind, at which batch or with how many prompts."""

    case: NDArray[np.intp]
    is_decode: NDArray[np.bool_]
    batch: Floats
    tokens: Floats  # context of a decode step, prompt of a prefill


def sample_many(
    asked: Sequence[tuple[Deployment, Probe]], calibration: StoredCalibration | None = None
) -> list[StepSample | NoEvidenceError]:
    """The samples in the order asked; an error in the place of each deployment without evidence."""
    used = calibration or default_calibration()
    found: list[Case | NoEvidenceError] = [_case(deployment, used) for deployment, _ in asked]
    known = [i for i, case in enumerate(found) if isinstance(case, Case)]
    samples = _sample([asked[i] for i in known], [c for c in found if isinstance(c, Case)], used) if known else []
    by_place = dict(zip(known, samples, strict=True))
    return [case if isinstance(case, NoEvidenceError) else by_place[i] for i, case in enumerate(found)]


def _case(deployment: Deployment, used: StoredCalibration) -> Case | NoEvidenceError:
    try:
        case = case_of(deployment)
    except NoEvidenceError as error:
        return error
    if {case.engine, POOLED_ENGINES.get(case.engine, case.engine)}.isdisjoint(used.seen_engines):
        return NoEvidenceError(f"no evidence for the engine {deployment.engine!r}; measure it with llmsizer profile")
    return case


def _sample(
    asked: Sequence[tuple[Deployment, Probe]], plain: Sequence[Case], used: StoredCalibration
) -> list[StepSample]:
    rows = _rows([probe for _, probe in asked])
    lengths = REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS
    cases = Cases.of([case.with_load("concurrency", 1.0, *lengths) for case in plain]).take(rows.case)
    model = StepModel(cases, used.coefficients)
    raw = np.where(
        rows.is_decode,
        model.decode(rows.batch, rows.tokens, rows.tokens).total,
        model.prefill(rows.tokens, rows.batch).total,
    )
    target = np.where(rows.is_decode, _DECODE, _PREFILL)
    seconds = raw * np.exp(calibrated_shift(used.effects, cases, target, rows.batch))
    least = model.not_faster_than_bytes(seconds, rows.batch, rows.tokens, rows.tokens)
    seconds = np.where(rows.is_decode, least, seconds)
    starts = np.searchsorted(rows.case, np.arange(len(asked)))
    far = distances(cases.take(starts), used)
    interference, overhead = used.coefficients["prefill.interference"].value, request_overhead_seconds(used)
    samples = []
    for (deployment, probe), start, distance in zip(asked, starts.tolist(), far.tolist(), strict=True):
        decode_end = start + len(probe.batches)
        alone, tail, packed = seconds[decode_end : decode_end + _PREFILL_ROWS].tolist()
        samples.append(
            StepSample(
                decode_seconds=seconds[start:decode_end],
                first_token_seconds=alone,
                first_token_p95_seconds=tail,
                prefill_seconds=packed * interference / _pack(probe),
                overhead_seconds=overhead,
                decode_interval=_interval(used, _DECODE, distance, deployment),
                prefill_interval=_interval(used, _PREFILL, distance, deployment),
            )
        )
    return samples


def _rows(probes: Sequence[Probe]) -> _Rows:
    case: list[int] = []
    is_decode: list[bool] = []
    batch: list[float] = []
    tokens: list[float] = []
    for i, probe in enumerate(probes):
        steps = len(probe.batches)
        case += [i] * (steps + _PREFILL_ROWS)
        is_decode += [True] * steps + [False] * _PREFILL_ROWS
        batch += [*map(float, probe.batches), 1.0, 1.0, _pack(probe)]
        tokens += [probe.context_tokens] * steps + [probe.prompt_tokens, probe.prompt_tokens_p95, probe.prompt_tokens]
    return _Rows(np.array(case, dtype=np.intp), np.array(is_decode), np.array(batch), np.array(tokens))


def _pack(probe: Probe) -> float:
    """Prompts that a busy engine reads in one pass."""
    return max(1.0, PREFILL_PACK_TOKENS / probe.prompt_tokens)


def _interval(used: StoredCalibration, target: str, distance: str, deployment: Deployment) -> tuple[float, float]:
    band = used.bands.of(target, distance)
    wide = UNKNOWN_SHAPE_WIDENING if deployment.model.model_type == "generic" else 1.0
    return math.exp(band.low * wide), math.exp(band.high * wide)
