"""The formats of a model side by side on one GPU and one width: memory, speed over concurrency, where leads end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.precision.choice import PrecisionOption, PrecisionQuestion, deployment_of
from llmsizer.decide.precision.crossover import Crossover, closed_loops, concurrencies, crossover_of
from llmsizer.decide.quality import quality_recovery
from llmsizer.decide.question import TENSOR_PARALLEL
from llmsizer.errors import InputError, NoEvidenceError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.precision import PRECISIONS
from llmsizer.facts.provenance import Basis
from llmsizer.facts.recovery import load_quality_prior
from llmsizer.physics.answers.step_times import step_basis
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.physics.memory.parallelism import tensor_problem

CHALLENGER = "int4"  # whose lead ends


@dataclass(frozen=True, kw_only=True)
class FormatOnGpu:
    """One format at the common width."""

    option: PrecisionOption
    budget: MemoryBudget | None  # None where the shape forbids the width
    tokens_per_second: NDArray[np.float64] | None  # at ``concurrencies()``; None where nothing supports a number
    why_unknown: str
    basis: Basis

    @property
    def precision(self) -> str:
        return self.option.precision

    @property
    def held_at_once(self) -> int:
        """Requests of the question's context that the cache holds; 0 where the format does not fit."""
        return self.budget.max_concurrency() if self.budget is not None and self.budget.fits else 0


@dataclass(frozen=True, kw_only=True)
class SideBySide:
    """Formats that run on a GPU, widest first, all at ``width`` GPUs, so that only the format differs."""

    gpu: GpuSpec
    width: int
    context_tokens: int
    formats: tuple[FormatOnGpu, ...]
    crossovers: tuple[Crossover, ...]

    @property
    def reference(self) -> FormatOnGpu | None:
        """What speeds are divided by: the widest format whose speed is known."""
        return next((f for f in self.formats if f.tokens_per_second is not None), None)

    def speed_up(self, one: FormatOnGpu) -> NDArray[np.float64] | None:
        """Tokens a second over the reference's at the same concurrency."""
        base = self.reference
        if base is None or base.tokens_per_second is None or one.tokens_per_second is None:
            return None
        return np.asarray(one.tokens_per_second / base.tokens_per_second)


def side_by_side(question: PrecisionQuestion, options: Sequence[PrecisionOption], gpu: GpuSpec) -> SideBySide:
    """Every format that some kernel runs on this GPU, at the width of the one that needs most."""
    running = [o for o in options if o.gpu == gpu.id and o.computes_in != "unknown" and o.kernel != "none"]
    running.sort(key=lambda o: -PRECISIONS[o.precision].bits_per_quantized_weight)
    width = max([o.gpus for o in running], default=0) or _widest(question, gpu, running)
    deployments = [deployment_of(question, gpu, option.precision, width) for option in running]
    speeds = closed_loops(deployments, question.workload)
    formats = tuple(map(_format, running, deployments, speeds))
    return SideBySide(
        gpu=gpu,
        width=width,
        context_tokens=deployment_of(question, gpu, "bf16", 1).max_context_tokens,
        formats=formats,
        crossovers=_crossovers(formats),
    )


def _widest(question: PrecisionQuestion, gpu: GpuSpec, running: Sequence[PrecisionOption]) -> int:
    """Where nothing fits: the most GPUs that the question, the node and every format's shape allow."""
    most = min(question.scenario.constraints.max_gpus_per_replica, max(gpu.max_per_node, 1))
    allowed = [
        width
        for width in TENSOR_PARALLEL
        if width <= most
        and all(tensor_problem(question.model, PRECISIONS[o.precision], width) is None for o in running)
    ]
    return max(allowed, default=1)


def _format(
    option: PrecisionOption, deployment: Deployment, speed: NDArray[np.float64] | NoEvidenceError
) -> FormatOnGpu:
    budget: MemoryBudget | None = None
    why = str(speed) if isinstance(speed, NoEvidenceError) else ""
    try:
        budget = estimate_memory(deployment)
    except InputError as error:  # the shape forbids the width: no speed at it is a speed
        why = str(error)
    return FormatOnGpu(
        option=option,
        budget=budget,
        tokens_per_second=None if why or isinstance(speed, NoEvidenceError) else speed,
        why_unknown=why,
        basis="unknown" if why else step_basis(deployment),
    )


def _crossovers(formats: Sequence[FormatOnGpu]) -> tuple[Crossover, ...]:
    """The challenger against every other format whose speed is known."""
    own = next((f.tokens_per_second for f in formats if f.precision == CHALLENGER), None)
    if own is None:
        return ()
    return tuple(
        crossover_of(CHALLENGER, own, other.precision, other.tokens_per_second)
        for other in formats
        if other.precision != CHALLENGER and other.tokens_per_second is not None
    )


def speeds_at(one: FormatOnGpu, counts: Sequence[int]) -> dict[int, float]:
    """Output tokens a second at those of the counts that were computed."""
    if one.tokens_per_second is None:
        return {}
    known = dict(zip(concurrencies().astype(int).tolist(), one.tokens_per_second.tolist(), strict=True))
    return {count: known[count] for count in counts if count in known}


def published_quality(question: PrecisionQuestion, catalog: Catalog) -> dict[str, Figure]:
    """What each format keeps by published evaluations alone, the question's own records left out."""
    prior = load_quality_prior(catalog.root)
    return {p.name: quality_recovery(question.model, p, prior, ()) for p in question.precisions}
