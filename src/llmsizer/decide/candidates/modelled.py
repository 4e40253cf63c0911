"""The physics of this package as a decision asks for it."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.decide.answer import Fit
from llmsizer.decide.candidates.stepping import sample_many
from llmsizer.decide.question import Memory
from llmsizer.errors import InputError, NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.workload import Workload
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.physics.memory.parallelism import tensor_problem
from llmsizer.physics.steps.layouts import is_staged
from llmsizer.traffic.closed_form.meanfield import Probe, Room, StepSample


class ModelledPhysics:
    """Memory by the engine's account, step times by the calibrated formulas (the shipped ones where none are given)."""

    def __init__(self, calibration: StoredCalibration | None = None) -> None:
        self.calibration = calibration

    def allows(self, model: ModelSpec, precision: Precision, tensor: int) -> bool:
        return tensor_problem(model, precision, tensor) is None

    def memory(self, deployment: Deployment, workload: Workload) -> Memory:
        """Raises NoEvidenceError for a device without a memory of its own."""
        try:
            budget = estimate_memory(deployment)
        except InputError as error:
            raise NoEvidenceError(str(error)) from None
        mean_context = workload.prompt_tokens + workload.generated_tokens // 2
        # Windowed layers hold less than their share of a token: count what really fits at once.
        ranks = deployment.parallelism.data  # each with a cache of its own
        tokens = ranks * max(budget.kv_capacity_tokens, budget.max_concurrency(mean_context) * mean_context)
        return Memory(
            fits=budget.fits,
            fit=Fit(
                weights_bytes=budget.weight_bytes,
                used_bytes=budget.used_bytes,
                gpu_bytes=budget.gpu_bytes,
                kv_capacity_tokens=ranks * budget.kv_capacity_tokens,
            ),
            room=Room(
                kv_capacity_tokens=tokens,
                max_sequences=ranks * budget.max_sequences,
                # How stages and ranks share steps with prompts nobody has measured: there each is counted by itself.
                max_batched_tokens=None if is_staged(deployment) else budget.max_batched_tokens,
            ),
            missing_bytes=budget.shortfall_bytes,
            reason=budget.reason,
        )

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> list[StepSample | NoEvidenceError]:
        return sample_many(asked, self.calibration)
