"""Which replicas are worth pricing: every GPU, format and width, sized against the SLO, or rejected with a reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from llmsizer.decide.answer import Fit, Rejection
from llmsizer.decide.quality import quality_recovery
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.evidence import FormatSupport
from llmsizer.facts.figure import Figure
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Slo, Workload
from llmsizer.traffic.capacity import Capacity, LoadPoint
from llmsizer.traffic.meanfield import Replica, Room, StepTimes, sample_replica
from llmsizer.traffic.sizing import Held, describe, hold, load_at
from llmsizer.units import format_gb, format_seconds

TENSOR_PARALLEL = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a decision needs to know of a replica's memory."""

    fits: bool
    fit: Fit
    room: Room
    missing_bytes: float  # on one GPU; 0 where it fits
    reason: str = ""  # why it does not fit


class Physics(Protocol):
    """Memory and step times of a deployment. Both raise NoEvidenceError where nothing supports a number."""

    def memory(self, deployment: Deployment, workload: Workload) -> Memory: ...

    def nearest_fit(self, deployment: Deployment) -> str:
        """The smallest change with which it would fit, in words; empty where none is known."""
        ...

    def steps(self, deployment: Deployment) -> StepTimes: ...

    def allows(self, model: ModelSpec, precision: Precision, tensor: int) -> bool:
        """Whether the model's shape divides by this tensor-parallel degree."""
        ...


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything that sizing a candidate depends on, looked up once."""

    model: ModelSpec
    workload: Workload
    scenario: Scenario
    physics: Physics
    prior: Mapping[str, Figure]
    support: FormatSupport
    records: Sequence[QualityRecord] = ()
    siblings: Sequence[str] = ()  # other models that an ambiguous name can mean

    @property
    def context_tokens(self) -> int:
        return self.scenario.max_context_tokens or self.workload.context_tokens


@dataclass(frozen=True, kw_only=True)
class Sized:
    """A replica that fits and meets the SLO, before any price."""

    deployment: Deployment
    replica: Replica
    held: Held
    fit: Fit
    quality: Figure

    @property
    def gpus(self) -> int:
        return self.deployment.parallelism.gpus

    @property
    def is_robust(self) -> bool:
        """Whether it meets the SLO at the slow end of the step times too."""
        return self.held.rate_low > 0

    @cached_property
    def capacity(self) -> Capacity:
        """In full; most candidates are only ever asked for their rate."""
        return describe(self.replica, self.held)


def size_candidates(
    question: Question, gpus: Sequence[GpuSpec], precisions: Sequence[Precision]
) -> tuple[list[Sized], list[Rejection]]:
    """Every GPU × format at every width that works; one rejection for each GPU × format where none does."""
    sized: list[Sized] = []
    rejected: list[Rejection] = []
    for precision in precisions:
        quality = quality_recovery(question.model, precision, question.prior, question.records)
        refused = _refused_for_quality(question, precision, quality)
        if refused is not None:
            rejected.append(refused)
            continue
        for gpu in gpus:
            found = _size(question, gpu, precision, quality)
            if isinstance(found, Rejection):
                rejected.append(found)
            else:
                sized.extend(found)
    return sized, rejected


def _refused_for_quality(question: Question, precision: Precision, quality: Figure) -> Rejection | None:
    floor, name = question.scenario.slo.quality_floor, f"{question.model.name} {precision.name}"
    if quality.value is None:
        fix = f"profile the {precision.name} variant's quality, or allow another format"
        return Rejection(candidate=name, kind="no evidence", reason=quality.estimate.reason, nearest_fix=fix)
    if quality.value < floor:
        return Rejection(
            candidate=name,
            kind="quality",
            reason=f"keeps {quality.value:.1%} of the scores, asked {floor:.1%} ({quality.estimate.reason})",
            nearest_fix=f"quality_floor = {quality.value:.3f}, or a wider format",
            shortfall=floor / quality.value - 1,
        )
    return None


def _size(question: Question, gpu: GpuSpec, precision: Precision, quality: Figure) -> list[Sized] | Rejection:
    """All widths of one GPU × format, or why none works."""
    name = f"{question.model.name} {precision.name} on {gpu.name}"
    if not question.support.runs(precision, gpu):
        fix = question.support.instead.get(precision.name, "a GPU the engine supports")
        reason = f"{question.support.engine} lists no {precision.name} kernels for {gpu.family}"
        return Rejection(candidate=name, kind="unsupported", reason=reason, nearest_fix=fix)
    most = min(question.scenario.constraints.max_gpus_per_replica, gpu.max_per_node)
    allows = question.physics.allows
    widths = [w for w in TENSOR_PARALLEL if w <= most and allows(question.model, precision, w)]
    if not widths:
        reason = f"no tensor-parallel width up to {most} divides the model's heads"
        return Rejection(candidate=name, kind="parallelism", reason=reason, nearest_fix="allow more GPUs a replica")
    found: list[Sized] = []
    refusals: list[tuple[Deployment, Rejection]] = []
    for width in widths:
        candidate = _deployment(question, gpu, precision, width)
        try:
            one = _size_one(question, candidate, quality, name)
        except NoEvidenceError as error:
            fix = "profile it, or add records of it"
            return Rejection(candidate=name, kind="no evidence", reason=str(error), nearest_fix=fix)
        if isinstance(one, Rejection):
            refusals.append((candidate, one))
        else:
            found.append(one)
    return found or _closest(question, refusals)


def _closest(question: Question, refusals: Sequence[tuple[Deployment, Rejection]]) -> Rejection:
    """Of several widths that fail the one that came closest; missing the SLO is closer than having no room."""
    candidate, refusal = min(refusals, key=lambda pair: (pair[1].kind == "memory", pair[1].shortfall or 0.0))
    if refusal.kind != "memory":
        return refusal
    fix = question.physics.nearest_fit(candidate) or "more GPUs a replica, a smaller format or a shorter context"
    return replace(refusal, nearest_fix=fix)


def _deployment(question: Question, gpu: GpuSpec, precision: Precision, width: int) -> Deployment:
    return Deployment(
        model=question.model,
        gpu=gpu,
        weights=precision,
        kv_format=question.scenario.constraints.kv_format,
        parallelism=Parallelism(tensor=width),
        max_context_tokens=question.context_tokens,
    )


def _size_one(question: Question, candidate: Deployment, quality: Figure, name: str) -> Sized | Rejection:
    memory = question.physics.memory(candidate, question.workload)
    label = f"{name} ×{candidate.parallelism.gpus}"
    if not memory.fits:
        return _no_room(label, memory)
    replica = sample_replica(question.physics.steps(candidate), question.workload, memory.room)
    if replica is None:
        return _no_room(label, memory)
    held = hold(replica, question.scenario.slo)
    if held.rate <= 0:
        return _too_slow(label, load_at(replica, 0.0), question.scenario.slo)
    return Sized(deployment=candidate, replica=replica, held=held, fit=memory.fit, quality=quality)


def _no_room(label: str, memory: Memory) -> Rejection:
    gpu, missing = format_gb(memory.fit.gpu_bytes), format_gb(memory.missing_bytes)
    return Rejection(
        candidate=label,
        kind="memory",
        reason=f"does not fit: {missing} too much on each GPU of {gpu}; {memory.reason}".removesuffix("; "),
        nearest_fix="",
        shortfall=memory.missing_bytes / memory.fit.gpu_bytes if memory.fit.gpu_bytes else None,
    )


def _too_slow(label: str, idle: LoadPoint, slo: Slo) -> Rejection:
    """Even one request alone is served too slowly: by how much, and what SLO would do."""
    misses = []
    for what, figure, target, key in (
        ("TTFT", idle.ttft_p95, slo.ttft_p95_seconds, "ttft_p95_seconds"),
        ("TPOT", idle.tpot_p95, slo.tpot_p95_seconds, "tpot_p95_seconds"),
    ):
        if figure.value is not None and figure.value > target:
            text = f"{what} p95 is {format_seconds(figure.value)} at best; asked {format_seconds(target)}"
            misses.append((figure.value / target - 1, text, f"{key} = {_rounded_up(figure.value)}"))
    if not misses:
        # Alone it would do; the grid's first step of load already breaks the SLO.
        return Rejection(
            candidate=label,
            kind="slo",
            reason="meets the SLO only when idle",
            nearest_fix="a looser SLO",
            shortfall=0.0,
        )
    return Rejection(
        candidate=label,
        kind="slo",
        reason="; ".join(text for _, text, _ in misses),
        nearest_fix="meets it at " + " and ".join(fix for _, _, fix in misses),
        shortfall=max(by for by, _, _ in misses),
    )


def _rounded_up(seconds: float) -> str:
    """Two digits, never below the value: an SLO that is really met."""
    step = 10.0 ** (math.floor(math.log10(seconds)) - 1)
    return f"{math.ceil(seconds / step) * step:.3g}"
