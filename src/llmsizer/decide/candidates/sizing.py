"""Which replicas are worth pricing: every GPU, format and width, sized against the SLO, or rejected with a reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

from llmsizer.decide.answer import Fit, Rejection
from llmsizer.decide.candidates.fixes import nearest_fit
from llmsizer.decide.candidates.layouts import may_span, ranked_layout, staged_layouts
from llmsizer.decide.quality import quality_recovery
from llmsizer.decide.question import TENSOR_PARALLEL, Memory, Question
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.figure import Figure
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.workload import Slo
from llmsizer.traffic.closed_form.capacity import Capacity, LoadPoint
from llmsizer.traffic.closed_form.meanfield import Probe, Replica, largest_batch, make_replica, probe
from llmsizer.traffic.closed_form.sizing import Held, describe, hold_each, loads_at
from llmsizer.units import format_gb, format_seconds

CRAMPED = 32  # sequences at once: a whole server that holds fewer leaves its bandwidth unused
WORTH_RANKS = 1.25  # times what tensor parallelism holds: below it the layout whose step times were measured is taken


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
    def servers(self) -> int:
        """That one replica takes."""
        return self.deployment.servers

    @property
    def gpus_per_server(self) -> int:
        """Of one replica: all of them, or their share where it spans several servers."""
        return self.gpus // self.servers

    @property
    def is_robust(self) -> bool:
        """Whether it meets the SLO at the slow end of the step times too."""
        return self.held.rate_low > 0

    @cached_property
    def capacity(self) -> Capacity:
        """In full; most candidates are only ever asked for their rate."""
        return describe(self.replica, self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A replica that fits, before its step times are known."""

    deployment: Deployment
    memory: Memory
    probe: Probe
    quality: Figure
    name: str  # of its GPU × format


def kept_formats(question: Question, precisions: Sequence[Precision]) -> tuple[list[Precision], list[Rejection]]:
    """The formats that keep the quality asked for, and why the others are out."""
    kept: list[Precision] = []
    refused: list[Rejection] = []
    for precision in precisions:
        refusal = _refused_for_quality(question, precision, _quality(question, precision))
        if refusal is None:
            kept.append(precision)
        else:
            refused.append(refusal)
    return kept, refused


def _quality(question: Question, precision: Precision) -> Figure:
    return quality_recovery(question.model, precision, question.prior, question.records)


def size_candidates(
    question: Question, gpus: Sequence[GpuSpec], precisions: Sequence[Precision]
) -> tuple[list[Sized], list[Rejection]]:
    """Every GPU × format at every width that works; one rejection for each GPU × format where none does.

    The formats are ``kept_formats``: how good they have to be is no longer asked here.
    """
    fitting: list[_Candidate] = []
    rejected: list[Rejection] = []
    lacking: list[tuple[GpuSpec, Precision, Figure, Rejection]] = []
    for precision in precisions:
        quality = _quality(question, precision)
        for gpu in gpus:
            found = _fitting(question, gpu, precision, quality)
            if isinstance(found, Rejection):
                lacking.append((gpu, precision, quality, found))
            else:
                fitting.extend(found)
    held_by_one = {candidate.deployment.gpu.id for candidate in fitting}
    for gpu, precision, quality, refusal in lacking:
        spread = refusal if gpu.id in held_by_one else _staged(question, gpu, precision, quality, refusal)
        if isinstance(spread, Rejection):
            rejected.append(spread)
        else:
            fitting.extend(spread)
    sized, missed = _held(question, fitting)
    return sized, rejected + missed


def _held(question: Question, fitting: Sequence[_Candidate]) -> tuple[list[Sized], list[Rejection]]:
    """Those that hold some load within the SLO; for a GPU × format where no width does, the closest miss."""
    samples = question.physics.samples([(c.deployment, c.probe) for c in fitting])
    sized: list[Sized] = []
    misses: dict[str, Rejection] = {}

    def missed(name: str, why: Rejection) -> None:
        if name not in misses or (why.shortfall or 0) < (misses[name].shortfall or 0):
            misses[name] = why

    known: list[tuple[_Candidate, Replica]] = []
    for candidate, sample in zip(fitting, samples, strict=True):
        if isinstance(sample, NoEvidenceError):
            missed(candidate.name, _no_evidence(candidate, sample))
        else:
            known.append((candidate, make_replica(question.workload, candidate.memory.room, candidate.probe, sample)))
    slo = question.scenario.slo
    each = hold_each([replica for _, replica in known], slo)
    idle = iter(loads_at([(held.replica, 0.0) for held in each if held.rate <= 0]))
    for (candidate, replica), held in zip(known, each, strict=True):
        if held.rate > 0:
            sized.append(_sized(candidate, replica, held))
        else:
            label = f"{candidate.name} ×{candidate.deployment.parallelism.gpus}"
            missed(candidate.name, _too_slow(label, next(idle), slo))
    sized = _worth_their_ranks(sized)
    working = {(s.deployment.gpu.id, s.deployment.weights.name) for s in sized}
    names = {c.name: (c.deployment.gpu.id, c.deployment.weights.name) for c in fitting}
    return sized, [misses[name] for name, which in names.items() if name in misses and which not in working]


def _worth_their_ranks(sized: Sequence[Sized]) -> list[Sized]:
    """Without data-parallel attention that holds little more than tensor parallelism does, which is better known."""
    grouped = {_on(one): one.held.rate for one in sized if one.deployment.parallelism.data == 1}
    return [
        one
        for one in sized
        if one.deployment.parallelism.data == 1 or one.held.rate >= WORTH_RANKS * grouped.get(_on(one), 0.0)
    ]


def _on(sized: Sized) -> tuple[str, str, int]:
    return sized.deployment.gpu.id, sized.deployment.weights.name, sized.gpus


def _sized(candidate: _Candidate, replica: Replica, held: Held) -> Sized:
    return Sized(
        deployment=candidate.deployment,
        replica=replica,
        held=held,
        fit=candidate.memory.fit,
        quality=candidate.quality,
    )


def _no_evidence(candidate: _Candidate, why: NoEvidenceError) -> Rejection:
    fix = "profile it, or add records of it"
    return Rejection(candidate=candidate.name, kind="no evidence", reason=str(why), nearest_fix=fix)


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


def _fitting(question: Question, gpu: GpuSpec, precision: Precision, quality: Figure) -> list[_Candidate] | Rejection:
    """All widths of one GPU × format that fit, or why none does."""
    name = f"{question.model.name} {precision.name} on {gpu.name}"
    unsupported = question.support.problem(question.model, precision, gpu)
    if unsupported:
        fix = question.support.instead.get(precision.name, "a GPU the engine supports")
        return Rejection(candidate=name, kind="unsupported", reason=unsupported, nearest_fix=fix)
    most = min(question.scenario.constraints.max_gpus_per_replica, gpu.max_per_node)
    allows = question.physics.allows
    widths = [w for w in TENSOR_PARALLEL if w <= most and allows(question.model, precision, w)]
    if not widths:
        reason = f"no tensor-parallel width up to {most} divides the model's shape"
        return Rejection(candidate=name, kind="parallelism", reason=reason, nearest_fix="allow more GPUs a replica")
    try:
        found, refusals = _tried(question, name, quality, [_deployment(question, gpu, precision, w) for w in widths])
    except NoEvidenceError as error:
        fix = "a device whose memory is known"
        return Rejection(candidate=name, kind="no evidence", reason=str(error), nearest_fix=fix)
    return [*found, *_ranked(question, found), *_beyond(question, found)] if found else _closest(question, refusals)


def _tried(
    question: Question, name: str, quality: Figure, deployments: Sequence[Deployment]
) -> tuple[list[_Candidate], list[tuple[Deployment, Rejection]]]:
    """Those that have room for a request, and why the others have none. Raises NoEvidenceError."""
    found: list[_Candidate] = []
    refusals: list[tuple[Deployment, Rejection]] = []
    for deployment in deployments:
        memory = question.physics.memory(deployment, question.workload)
        points = probe(question.workload, memory.room) if memory.fits else None
        if points is None:
            refusals.append((deployment, _no_room(f"{name} ×{deployment.parallelism.gpus}", memory)))
        else:
            found.append(_Candidate(deployment=deployment, memory=memory, probe=points, quality=quality, name=name))
    return found, refusals


def _ranked(question: Question, found: Sequence[_Candidate]) -> Iterator[_Candidate]:
    """Data-parallel attention beside tensor parallelism, where copies of the cache are what bounds the batch."""
    if question.speculation is not None:  # a draft model has no experts to divide
        return
    for twin in found:
        width, precision = twin.deployment.parallelism.gpus, twin.deployment.weights
        layout = ranked_layout(question.model, width, partial(question.physics.allows, question.model, precision))
        if layout is None or largest_batch(question.workload, twin.memory.room)[1] != "kv cache":
            continue
        deployment = replace(twin.deployment, parallelism=layout)
        more, _ = _tried(question, twin.name, twin.quality, [deployment])
        yield from (one for one in more if one.memory.room.kv_capacity_tokens > twin.memory.room.kv_capacity_tokens)


def _beyond(question: Question, found: Sequence[_Candidate]) -> list[_Candidate]:
    """Stages over several servers where a whole one holds the weights, and too little beside them for a batch."""
    widest, constraints = found[-1], question.scenario.constraints
    gpu = widest.deployment.gpu
    batch, limit = largest_batch(question.workload, widest.memory.room)
    is_cramped = widest.deployment.parallelism.gpus == gpu.max_per_node and limit == "kv cache" and batch < CRAMPED
    if not is_cramped or question.speculation is not None or not may_span(gpu, constraints):
        return []
    allows = partial(question.physics.allows, question.model, widest.deployment.weights)
    layouts = staged_layouts(question.model, gpu, constraints.max_gpus_per_replica, allows)
    wider = [replace(widest.deployment, parallelism=one) for one in layouts if one.gpus > gpu.max_per_node]
    return _tried(question, widest.name, widest.quality, wider)[0]


def _staged(
    question: Question, gpu: GpuSpec, precision: Precision, quality: Figure, refusal: Rejection
) -> list[_Candidate] | Rejection:
    """Pipeline stages for what one server of the GPU does not hold in any format asked, or why not."""
    constraints = question.scenario.constraints
    if refusal.kind != "memory" or question.speculation is not None or not may_span(gpu, constraints):
        return refusal
    allows = partial(question.physics.allows, question.model, precision)
    layouts = staged_layouts(question.model, gpu, constraints.max_gpus_per_replica, allows)
    one = _deployment(question, gpu, precision, 1)
    deployments = [replace(one, parallelism=layout) for layout in layouts]
    found, refusals = _tried(
        question, f"{question.model.name} {precision.name} on {gpu.name}", quality, deployments
    )  # fmt: skip
    if found or not refusals:
        return found or refusal
    return _closest(question, refusals)


def _closest(question: Question, refusals: Sequence[tuple[Deployment, Rejection]]) -> Rejection:
    """Of several widths without room the one that lacks least, with the smallest change that would do."""
    deployment, refusal = min(refusals, key=lambda pair: pair[1].shortfall or 0.0)
    return replace(refusal, nearest_fix=nearest_fit(question, deployment))


def _deployment(question: Question, gpu: GpuSpec, precision: Precision, width: int) -> Deployment:
    return Deployment(
        model=question.model,
        gpu=gpu,
        weights=precision,
        kv_format=question.scenario.constraints.kv_format,
        parallelism=Parallelism(tensor=width),
        max_context_tokens=question.context_tokens,
        speculation=question.speculation,
    )


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
    return f"{float(f'{math.ceil(seconds / step) * step:.3g}'):g}"
