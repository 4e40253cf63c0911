"""The physics of this package as a decision asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmsizer.decide.answer import Fit
from llmsizer.decide.candidates import Memory
from llmsizer.errors import InputError, NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Workload
from llmsizer.physics.loads import PREFILL_PACK_TOKENS
from llmsizer.physics.memory import estimate_memory
from llmsizer.physics.parallelism import tensor_problem
from llmsizer.physics.step_times import (
    decode_seconds_grid,
    decode_step_seconds,
    prefill_seconds,
    request_overhead_seconds,
)
from llmsizer.physics.store import default_calibration
from llmsizer.traffic.meanfield import Room, StepTimes


class ModelledPhysics:
    """Memory by the engine's account, step times by the calibrated formulas."""

    def allows(self, model: ModelSpec, precision: Precision, tensor: int) -> bool:
        return tensor_problem(model, precision, tensor) is None

    def memory(self, deployment: Deployment, workload: Workload) -> Memory:
        """Raises NoEvidenceError for a device without a memory of its own."""
        try:
            budget = estimate_memory(deployment)
        except InputError as error:
            raise NoEvidenceError(str(error)) from None
        mean_context = workload.prompt_tokens + workload.output_tokens // 2
        # Windowed layers hold less than their share of a token: count what really fits at once.
        tokens = max(budget.kv_capacity_tokens, budget.max_concurrency(mean_context) * mean_context)
        return Memory(
            fits=budget.fits,
            fit=Fit(
                weights_bytes=budget.weight_bytes,
                used_bytes=budget.used_bytes,
                gpu_bytes=budget.gpu_bytes,
                kv_capacity_tokens=budget.kv_capacity_tokens,
            ),
            room=Room(kv_capacity_tokens=tokens, max_sequences=budget.max_sequences),
            missing_bytes=budget.shortfall_bytes,
            reason=budget.reason,
        )

    def nearest_fit(self, deployment: Deployment) -> str:
        return ""

    def steps(self, deployment: Deployment) -> StepTimes:
        return CalibratedSteps(deployment)


class CalibratedSteps:
    """Step times of the calibrated formulas, asked for in as few calls as possible."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    def decode_steps(self, batches: Sequence[int], context_tokens: float) -> list[Estimate]:
        seconds = decode_seconds_grid(self._deployment, batches, [context_tokens])[:, 0]
        # The interval is a factor that depends on the deployment's distance from evidence, not on the batch.
        one = decode_step_seconds(self._deployment, batches[0], context_tokens)
        return [_like(one, float(value)) for value in seconds]

    def prefill_alone(self, prompt_tokens: float) -> Estimate:
        return prefill_seconds(self._deployment, prompt_tokens)

    def prefill_in_batch(self, prompt_tokens: float) -> Estimate:
        """Prompts are packed into passes, and a pass disturbs those who decode as much as was measured."""
        pack = max(1.0, PREFILL_PACK_TOKENS / prompt_tokens)
        interference = default_calibration().coefficients["prefill.interference"].value
        return prefill_seconds(self._deployment, prompt_tokens, prompts=pack).scaled(interference / pack)

    def request_overhead_seconds(self) -> float:
        return request_overhead_seconds()


def _like(one: Estimate, value: float) -> Estimate:
    """Another value with the same relative interval."""
    assert one.value is not None
    return replace(one.scaled(value / one.value), value=value)
