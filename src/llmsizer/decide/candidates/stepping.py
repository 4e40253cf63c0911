"""Calibrated step times of many deployments in one pass, at the points a plan is probed at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.answers.step_times import request_overhead_seconds, step_basis
from llmsizer.physics.answers.steps import (
    DECODE,
    PREFILL,
    StepAnswer,
    StepQuestion,
    answer_many,
    interval_factors,
    packed_prompts,
    prefill_interference,
)
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.steps.layouts import is_staged
from llmsizer.traffic.closed_form.meanfield import Probe, StepSample
from llmsizer.traffic.closed_form.prompt_steps import SHORT_PROMPT_TOKENS, mixed_steps

_PLAIN_PROMPTS = 3


def sample_many(
    asked: Sequence[tuple[Deployment, Probe]], calibration: StoredCalibration | None = None
) -> list[StepSample | NoEvidenceError]:
    """The samples in the order asked; an error in the place of each deployment without evidence."""
    answers = answer_many([_question(*one) for one in asked], calibration)
    return [
        answer if isinstance(answer, NoEvidenceError) else _sample(*one, answer, calibration)
        for one, answer in zip(asked, answers, strict=True)
    ]


def _question(deployment: Deployment, probe: Probe) -> StepQuestion:
    return StepQuestion(
        deployment=deployment,
        batches=tuple(map(float, probe.batches)),
        contexts=(0.0, probe.context_tokens) if probe.step_tokens else (probe.context_tokens,),
        prompts=_prompts(probe.prompt_tokens, probe.prompt_tokens_p95, probe.step_tokens),
    )


@lru_cache(maxsize=256)
def _prompts(mean: float, p95: float, steps: tuple[int, ...]) -> tuple[tuple[float, float], ...]:
    """The mean prompt alone, the p95 prompt alone, the mean prompt packed with others; steps full of prompt tokens."""
    short = [(min(n, SHORT_PROMPT_TOKENS), max(n / SHORT_PROMPT_TOKENS, 1.0)) for n in steps]
    alone = [(float(n), 1.0) for n in (*steps, *(2 * n for n in steps[-1:]), *(4 * n for n in steps[-1:]))]
    return (mean, 1.0), (p95, 1.0), (mean, packed_prompts(mean)), *short, *alone


def _sample(
    deployment: Deployment, probe: Probe, answer: StepAnswer, calibration: StoredCalibration | None
) -> StepSample:
    alone, tail, packed = answer.prefill_seconds[:_PLAIN_PROMPTS].tolist()
    # Stages work on different prompts at once, and so do attention ranks.
    at_once = deployment.parallelism.pipeline * deployment.parallelism.data if is_staged(deployment) else 1
    packed /= at_once
    return StepSample(
        decode_seconds=answer.decode_seconds[:, -1],
        first_token_seconds=alone,
        first_token_p95_seconds=tail,
        prefill_seconds=packed * prefill_interference(calibration) / packed_prompts(probe.prompt_tokens),
        overhead_seconds=request_overhead_seconds(calibration),
        decode_interval=interval_factors(deployment, DECODE, answer.distance, calibration),
        prefill_interval=interval_factors(deployment, PREFILL, answer.distance, calibration),
        basis=step_basis(deployment),
        mixed=mixed_steps(
            np.array(probe.step_tokens, dtype=np.float64),
            answer.prefill_seconds[_PLAIN_PROMPTS:],
            answer.decode_seconds[:, 0],
        )
        if probe.step_tokens
        else None,
    )
