"""Whether so many requests fit, in a word for a map: what is left free, or the tensor-parallel degree that would do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import weakest_basis
from llmsizer.facts.provenance import Basis
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.units import GIGA


@dataclass(frozen=True, slots=True, kw_only=True)
class FitCell:
    """One deployment with its requests. Exactly one of ``free_bytes``, ``needs_tensor`` and ``reason`` is said."""

    free_bytes: float | None  # of one GPU's cache, left over by the requests, at the asked width
    needs_tensor: int | None  # the smallest wider degree within one node that holds them
    reason: str  # why no degree does
    is_too_long: bool  # the context is beyond the model's own limit: no memory helps
    gpu_bytes: float
    basis: Basis

    @property
    def free_share(self) -> float:
        """Of the GPU; 0 where nothing is left."""
        return (self.free_bytes or 0.0) / self.gpu_bytes if self.gpu_bytes else 0.0

    @property
    def text(self) -> str:
        """What a cell of the map says: gigabytes, ``TP=2``, ``ctx`` (too long for the model) or ``no``."""
        if self.free_bytes is not None:
            gigabytes = self.free_bytes / GIGA
            return f"{gigabytes:.0f}" if gigabytes >= 10 else f"{gigabytes:.1f}"
        if self.needs_tensor:
            return f"TP={self.needs_tensor}"
        return "ctx" if self.is_too_long else "no"


def fit_cell(deployment: Deployment, requests: int) -> FitCell:
    """At the deployment's own width, else at the smallest wider one. Raises UnknownNameError for an unknown engine."""
    gpu_bytes, why, basis = deployment.gpu.memory_bytes or 0.0, "", deployment.model.provenance.basis
    for candidate in _widths(deployment):
        try:
            budget = estimate_memory(candidate)
        except InputError as error:  # the shape forbids that spread, or the device has no memory of its own
            why = why or str(error)
            continue
        basis = weakest_basis([basis, *budget.basis.values()])
        if budget.fits and budget.max_concurrency() >= requests:
            own = candidate.parallelism.tensor == deployment.parallelism.tensor
            return FitCell(
                free_bytes=left_bytes(budget, requests) if own else None,
                needs_tensor=None if own else candidate.parallelism.tensor,
                reason="",
                is_too_long=False,
                gpu_bytes=gpu_bytes,
                basis=basis,
            )
        why = _why(budget, requests)
    return FitCell(
        free_bytes=None,
        needs_tensor=None,
        reason=why,
        is_too_long=deployment.max_context_tokens > deployment.model.max_context_tokens,
        gpu_bytes=gpu_bytes,
        basis=basis,
    )


def left_bytes(budget: MemoryBudget, requests: int) -> float:
    """Of one GPU's cache, beyond the requests of the deployment's context."""
    taken = requests * budget.layout.request_bytes(budget.deployment.max_context_tokens)
    return max(0.0, budget.kv_cache_bytes - taken)


def _widths(deployment: Deployment) -> Iterator[Deployment]:
    """The asked degree, then its doubles within one node."""
    spread, most = deployment.parallelism, max(deployment.gpu.max_per_node, 1)
    tensor = spread.tensor
    while tensor == spread.tensor or tensor <= most:
        yield replace(deployment, parallelism=replace(spread, tensor=tensor))
        tensor *= 2


def _why(budget: MemoryBudget, requests: int) -> str:
    spread = budget.deployment.parallelism
    gpus = "one GPU" if spread.gpus == 1 else f"{spread.gpus} GPUs"
    if budget.reason:
        return f"on {gpus}: {budget.reason}"
    return f"on {gpus} the cache holds {budget.max_concurrency():,} requests, not {requests:,}"
