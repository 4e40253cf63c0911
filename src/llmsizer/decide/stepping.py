"""Calibrated step times of many deployments in one pass, at the points a plan is probed at."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.layouts import is_staged
from llmsizer.physics.step_answers import (
    DECODE,
    PREFILL,
    StepAnswer,
    StepQuestion,
    answer_many,
    interval_factors,
    packed_prompts,
    prefill_interference,
)
from llmsizer.physics.step_times import request_overhead_seconds, step_basis
from llmsizer.physics.store import StoredCalibration
from llmsizer.traffic.meanfield import Probe, StepSample


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
    """The mean prompt alone, the p95 prompt alone, and the mean prompt packed with others."""
    mean = probe.prompt_tokens
    return StepQuestion(
        deployment=deployment,
        batches=tuple(map(float, probe.batches)),
        contexts=(probe.context_tokens,),
        prompts=((mean, 1.0), (probe.prompt_tokens_p95, 1.0), (mean, packed_prompts(mean))),
    )


def _sample(
    deployment: Deployment, probe: Probe, answer: StepAnswer, calibration: StoredCalibration | None
) -> StepSample:
    alone, tail, packed = answer.prefill_seconds.tolist()
    # Stages work on different prompts at once, and so do attention ranks.
    at_once = deployment.parallelism.pipeline * deployment.parallelism.data if is_staged(deployment) else 1
    packed /= at_once
    return StepSample(
        decode_seconds=answer.decode_seconds[:, 0],
        first_token_seconds=alone,
        first_token_p95_seconds=tail,
        prefill_seconds=packed * prefill_interference(calibration) / packed_prompts(probe.prompt_tokens),
        overhead_seconds=request_overhead_seconds(calibration),
        decode_interval=interval_factors(deployment, DECODE, answer.distance, calibration),
        prefill_interval=interval_factors(deployment, PREFILL, answer.distance, calibration),
        basis=step_basis(deployment),
    )
