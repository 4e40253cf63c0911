"""Does it fit, and how much of it: one GPU's account, what it holds, and what would make it hold more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NotRequired

from typing_extensions import TypedDict

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.provenance import Basis
from llmsizer.physics.answers.speculation import SpeculationEffect, speculation_effect
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.physics.memory.fit import Change, changes_to_fit

SHOWN_CONTEXTS = (2_048, 8_192, 32_768, 131_072, 1_048_576)


class SpeculationDoc(TypedDict):
    """What drafting does; without evidence only ``basis`` and ``text`` are there."""

    basis: str
    text: str
    tokens_per_step: NotRequired[float]
    speedup_by_batch: NotRequired[dict[str, float]]
    loss_batch: NotRequired[int | None]
    draft_weight_bytes: NotRequired[float]
    draft_kv_bytes_per_token: NotRequired[float]


class MemoryDoc(TypedDict):
    """The JSON form of a memory answer."""

    model: str
    reading: str
    gpu: str
    gpus: int
    weights: str
    kv_format: str
    engine: str
    engine_version: str  # the description that the account follows
    engine_note: NotRequired[str]  # where it stands in for the version asked for
    fits: bool
    reason: str
    would_fit: list[str]
    gpu_bytes: float
    parts_bytes: dict[str, float]
    basis: dict[str, Basis]
    replica_weight_bytes: float
    kv_bytes_per_token: float
    kv_capacity_tokens: int
    max_context_tokens: int
    context_tokens: int
    max_concurrency: int
    max_concurrency_at_context: dict[str, int]
    concurrency: int
    concurrency_fits: bool
    shared_prefix_tokens: NotRequired[int]
    max_concurrency_sharing_prefix: NotRequired[int]
    speculation: NotRequired[SpeculationDoc]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryAnswer:
    """``concurrency`` requests of the deployment's context were asked for, ``shared_tokens`` of each in common."""

    budget: MemoryBudget
    concurrency: int
    shared_tokens: int
    changes: tuple[Change, ...]  # that would make it fit, or hold them; smallest first
    effect: SpeculationEffect | None
    effect_unknown: str  # why the effect of speculation cannot be said

    @property
    def holds(self) -> bool:
        """Whether all the requests fit at once."""
        return self.budget.fits and self.budget.max_concurrency(shared_tokens=self.shared_tokens) >= self.concurrency

    @property
    def held_at_context(self) -> dict[int, int]:
        """Requests held at round contexts up to the longest that one may have."""
        longest = self.budget.max_context_tokens
        return {c: self.budget.max_concurrency(c) for c in SHOWN_CONTEXTS if c <= longest}

    @property
    def engine_note(self) -> str:
        """Which version stands in for the one asked for; empty where that one is described."""
        deployment = self.budget.deployment
        return default_catalog().engine_note(deployment.engine, deployment.engine_version)

    def to_dict(self) -> MemoryDoc:
        budget, deployment = self.budget, self.budget.deployment
        document: MemoryDoc = {
            "model": deployment.model.name,
            "reading": deployment.model.reading,
            "gpu": deployment.gpu.id,
            "gpus": deployment.parallelism.gpus,
            "weights": deployment.weights.name,
            "kv_format": deployment.kv_format,
            "engine": budget.engine.engine,
            "engine_version": budget.engine.version,
            "fits": budget.fits,
            "reason": budget.reason,
            "would_fit": [change.text for change in self.changes],
            "gpu_bytes": budget.gpu_bytes,
            "parts_bytes": budget.parts,
            "basis": budget.basis,
            "replica_weight_bytes": budget.replica_weight_bytes,
            "kv_bytes_per_token": budget.kv_bytes_per_token,
            "kv_capacity_tokens": budget.kv_capacity_tokens,
            "max_context_tokens": budget.max_context_tokens,
            "context_tokens": deployment.max_context_tokens,
            "max_concurrency": budget.max_concurrency(),
            "max_concurrency_at_context": {str(c): n for c, n in self.held_at_context.items()},
            "concurrency": self.concurrency,
            "concurrency_fits": self.holds,
        }
        if self.engine_note:
            document["engine_note"] = self.engine_note
        if self.shared_tokens:
            document["shared_prefix_tokens"] = self.shared_tokens
            document["max_concurrency_sharing_prefix"] = budget.max_concurrency(shared_tokens=self.shared_tokens)
        if self.effect or self.effect_unknown:
            document["speculation"] = _speculation(self.effect, self.effect_unknown)
        return document


def answer_memory(
    deployment: Deployment, cards: Sequence[GpuSpec] = (), *, concurrency: int = 1, shared_tokens: int = 0
) -> MemoryAnswer:
    """The account of one GPU, and where it does not hold what was asked, the changes that would.

    ``cards`` are those that a change may propose; of another vendor none is: that is another software stack.
    Raises InputError where the deployment cannot be meant.
    """
    budget = estimate_memory(deployment)
    effect, effect_unknown = _effect(budget)
    found = MemoryAnswer(
        budget=budget,
        concurrency=concurrency,
        shared_tokens=shared_tokens,
        changes=(),
        effect=effect,
        effect_unknown=effect_unknown,
    )
    if found.holds:
        return found
    same_stack = [gpu for gpu in cards if gpu.vendor == deployment.gpu.vendor]
    changes = changes_to_fit(deployment, same_stack, requests=concurrency if budget.fits else 1)
    return replace(found, changes=tuple(changes))


def _effect(budget: MemoryBudget) -> tuple[SpeculationEffect | None, str]:
    """What speculation does, or why that cannot be said; neither where nothing is speculated."""
    if budget.deployment.speculates is None or not budget.fits:
        return None, ""
    try:
        return speculation_effect(budget.deployment, budget=budget), ""
    except NoEvidenceError as error:
        return None, f"the effect of speculation is unknown: {error}"


def _speculation(effect: SpeculationEffect | None, effect_unknown: str) -> SpeculationDoc:
    if effect is None:
        return {"basis": "unknown", "text": effect_unknown}
    return {
        "tokens_per_step": effect.tokens_per_step,
        "speedup_by_batch": {str(b): s for b, s in zip(effect.batches, effect.speedups, strict=True)},
        "loss_batch": effect.loss_batch,
        "draft_weight_bytes": effect.draft_bytes,
        "draft_kv_bytes_per_token": effect.kv_bytes_per_token,
        "basis": effect.basis,
        "text": effect.sentence,
    }
