"""What speculation does to a deployment: how much faster at which batch, and from where on it is a loss."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.provenance import Basis
from llmsizer.physics.answers.steps import StepQuestion, answer_many
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.units import format_gib

SHOWN_BATCHES = (1, 8, 32, 128)
_POINTS = 160  # batches looked at between 1 and the largest


@dataclass(frozen=True, kw_only=True)
class SpeculationEffect:
    """Speed-up over the same deployment without speculation, both at their calibrated step times."""

    deployment: Deployment
    tokens_per_step: float
    batches: tuple[int, ...]  # rising
    speedups: tuple[float, ...]  # of the time per output token, one per batch
    largest_batch: int  # that memory and engine allow
    draft_bytes: float  # weights on one GPU
    kv_bytes_per_token: float  # what drafting adds to a token's cache on one GPU
    basis: Basis

    @property
    def loss_batch(self) -> int | None:
        """The smallest batch at which it is slower than without; None where it never is."""
        return next((b for b, s in zip(self.batches, self.speedups, strict=True) if s < 1), None)

    def speedup_at(self, batch: int) -> float:
        return float(np.interp(batch, self.batches, self.speedups))

    @property
    def sentence(self) -> str:
        speculation = self.deployment.speculation
        assert speculation is not None
        shown = [b for b in SHOWN_BATCHES if b < self.largest_batch] + [self.largest_batch]
        gains = ", ".join(f"×{self.speedup_at(b):.2f} at batch {b}" for b in shown)
        loss = self.loss_batch
        ends = f"never a loss up to batch {self.largest_batch}" if loss is None else f"a loss from batch {loss} on"
        if loss is not None and self.speedups[-1] >= 1:
            ends = f"a loss at batches around {loss}, a gain again at large ones"
        if loss == self.batches[0] and max(self.speedups) < 1:
            ends = "a loss at every batch"
        costs = ""
        if self.draft_bytes:
            costs = (
                f"; drafting takes {format_gib(self.draft_bytes, digits=2)} of weights and "
                f"{self.kv_bytes_per_token:,.0f} bytes of cache per token on each GPU"
            )
        told = f"speculation ({speculation.label}): {self.tokens_per_step:.2f} tokens a step"
        return f"{told}; speed-up {gains}; {ends}{costs}"


def speculation_effect(
    deployment: Deployment,
    *,
    context_tokens: float | None = None,
    budget: MemoryBudget | None = None,
    calibration: StoredCalibration | None = None,
) -> SpeculationEffect:
    """The effect at a mean context (half of what is reserved where none is given).

    Raises NoEvidenceError where nothing measured supports the step times, InputError where nothing is speculated.
    """
    speculation = deployment.speculates
    if speculation is None:
        raise InputError("nothing is speculated; give a deployment with speculative tokens")
    budget = budget or estimate_memory(deployment)
    plain = replace(deployment, speculation=None)
    context = float(context_tokens or max(deployment.max_context_tokens / 2, 1))
    largest = max(1, budget.largest_batch(int(context)))
    batches = tuple(int(b) for b in np.unique(np.geomspace(1, largest, _POINTS).round()))
    asked = [
        StepQuestion(deployment=one, batches=tuple(map(float, batches)), contexts=(context,))
        for one in (plain, deployment)
    ]
    without, with_it = answer_many(asked, calibration)
    if isinstance(without, Exception):
        raise without
    if isinstance(with_it, Exception):
        raise with_it
    return SpeculationEffect(
        deployment=deployment,
        tokens_per_step=speculation.tokens_per_step,
        batches=batches,
        speedups=tuple((without.decode_seconds / with_it.decode_seconds)[:, 0].tolist()),
        largest_batch=largest,
        draft_bytes=budget.draft_bytes,
        kv_bytes_per_token=budget.kv_bytes_per_token - estimate_memory(plain).kv_bytes_per_token,
        basis="assumed" if speculation.acceptance_basis == "assumed" else "calibrated",
    )
