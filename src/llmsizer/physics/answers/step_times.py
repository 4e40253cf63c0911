"""Step times of one deployment for planners and simulators: calibrated seconds with 90 % limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.provenance import Basis, Estimate
from llmsizer.physics.answers.steps import (
    DECODE,
    PREFILL,
    REFERENCE_OUTPUT_TOKENS,
    REFERENCE_PROMPT_TOKENS,
    StepQuestion,
    answer_one,
    band_of,
    interval_factors,
)
from llmsizer.physics.calibration.store import StoredCalibration, default_calibration
from llmsizer.physics.steps.case_of import architecture_key, case_of
from llmsizer.physics.steps.cases import Cases, Floats
from llmsizer.physics.steps.formulas import PARTS, StepModel
from llmsizer.physics.steps.layouts import widening

__all__ = [
    "StepBreakdown",
    "architecture_key",
    "case_of",
    "decode_seconds_grid",
    "decode_step",
    "decode_step_seconds",
    "prefill_seconds",
    "request_overhead_seconds",
    "step_basis",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBreakdown:
    """Seconds of one output token by operator group; the parts sum to the whole."""

    total: Estimate
    seconds_by_part: dict[str, float]


def decode_step_seconds(
    deployment: Deployment,
    batch: float,
    context_tokens: float,
    *,
    calibration: StoredCalibration | None = None,
) -> Estimate:
    """Seconds per output token when ``batch`` sequences of mean context ``context_tokens`` decode together."""
    return decode_step(deployment, batch, context_tokens, calibration=calibration).total


def decode_step(
    deployment: Deployment, batch: float, context_tokens: float, *, calibration: StoredCalibration | None = None
) -> StepBreakdown:
    """The same with its parts; what drafting takes is a part of its own."""
    used = calibration or default_calibration()
    asked = StepQuestion(deployment=deployment, batches=(float(batch),), contexts=(float(context_tokens),))
    answer = answer_one(asked, used)
    seconds, drafting = float(answer.decode_seconds[0, 0]), float(answer.draft_share[0, 0])
    speculation = deployment.speculates
    lengths = REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS
    model = StepModel(Cases.of([case_of(deployment).with_load("concurrency", 1.0, *lengths)]), used.coefficients)
    context, queries = np.array([float(context_tokens)]), 1.0 + (speculation.draft_tokens if speculation else 0)
    times = model.decode(np.array([float(batch)]), context, context, queries)
    raw = {part: float(getattr(times, part)[-1]) for part in PARTS}
    whole = sum(raw.values())
    parts = {part: seconds * (1 - drafting) * value / whole for part, value in raw.items()}
    if speculation:
        parts["drafting"] = seconds * drafting
    return StepBreakdown(total=_estimate(deployment, DECODE, seconds, answer.distance, used), seconds_by_part=parts)


def decode_seconds_grid(
    deployment: Deployment,
    batches: Sequence[float],
    contexts: Sequence[float],
    *,
    calibration: StoredCalibration | None = None,
) -> Floats:
    """Calibrated seconds per output token for every (batch, context), as an array batches × contexts."""
    asked = StepQuestion(
        deployment=deployment, batches=tuple(map(float, batches)), contexts=tuple(map(float, contexts))
    )
    return answer_one(asked, calibration).decode_seconds


def prefill_seconds(
    deployment: Deployment,
    prompt_tokens: float,
    *,
    prompts: float = 1.0,
    calibration: StoredCalibration | None = None,
) -> Estimate:
    """Seconds to process ``prompts`` prompts of ``prompt_tokens`` each in one pass, by a draft model too."""
    used = calibration or default_calibration()
    answer = answer_one(StepQuestion(deployment=deployment, prompts=((float(prompt_tokens), float(prompts)),)), used)
    return _estimate(deployment, PREFILL, float(answer.prefill_seconds[0]), answer.distance, used)


def request_overhead_seconds(calibration: StoredCalibration | None = None) -> float:
    """Seconds an engine's front end adds to every request's first token."""
    return (calibration or default_calibration()).coefficients["overhead.request"].value


def step_basis(deployment: Deployment) -> Basis:
    """How step times are known: no better than the acceptance rate they stand on, nor than the evidence of layouts."""
    if widening(deployment) > 1:
        return "assumed"
    speculation = deployment.speculates
    return "assumed" if speculation and speculation.acceptance_basis == "assumed" else "calibrated"


def _estimate(deployment: Deployment, target: str, seconds: float, distance: str, used: StoredCalibration) -> Estimate:
    low, high = interval_factors(deployment, target, distance, used)
    basis = step_basis(deployment) if target == DECODE else "calibrated"
    assumed = "; acceptance rate assumed" if basis == "assumed" and deployment.speculates else ""
    assumed += f"; {deployment.parallelism.label} assumed" if widening(deployment) > 1 else ""
    return Estimate(
        value=seconds,
        basis=basis,
        low=seconds * low,
        high=seconds * high,
        reason=f"{distance}; {band_of(target, distance, used).rows} held-out observations{assumed}",
    )
