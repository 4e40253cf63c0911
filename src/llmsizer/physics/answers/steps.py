"""Calibrated step seconds of many deployments in one pass: the one place where physics, effects and floors meet.

Planners ask for a catalogue, simulators for a table, people for one step: all ask here.

Effects are smooth fits, not laws: they are asked at one prompt length, so that context acts through physics alone, and
the largest value of any smaller batch or shorter context bounds from below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.calibration.correction import distances
from llmsizer.physics.calibration.effects import features, words_of
from llmsizer.physics.calibration.intervals import UNKNOWN_SHAPE_WIDENING, Band
from llmsizer.physics.calibration.store import StoredCalibration, default_calibration
from llmsizer.physics.calibration.support import evidence_problem
from llmsizer.physics.steps.case_of import case_of
from llmsizer.physics.steps.cases import Case, Cases, Floats, Words
from llmsizer.physics.steps.formulas import StepModel, StepTimes
from llmsizer.physics.steps.layouts import handover_seconds, is_staged, longest_stage, widening
from llmsizer.physics.steps.loads import PREFILL_PACK_TOKENS

REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS = 1024.0, 256.0  # at which effects are asked for step times
DECODE, PREFILL = "load-tpot", "ttft"
_PER_LAYER = ("weights", "experts", "attention", "activations", "collectives")


@dataclass(frozen=True, slots=True, kw_only=True)
class StepQuestion:
    """What is asked of one deployment: decode steps at every batch × context, passes over prompts."""

    deployment: Deployment
    batches: tuple[float, ...] = ()
    contexts: tuple[float, ...] = ()  # mean tokens of a sequence
    prompts: tuple[tuple[float, float], ...] = ()  # tokens of each prompt, prompts in the pass


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAnswer:
    """Seconds, and how far the deployment lies from the evidence."""

    decode_seconds: Floats  # per output token of a sequence, batches × contexts
    prefill_seconds: Floats  # per pass
    distance: str
    draft_share: Floats = field(default_factory=lambda: np.zeros((0, 0)))  # of decode_seconds, spent on drafting


def answer_one(question: StepQuestion, calibration: StoredCalibration | None = None) -> StepAnswer:
    """The same for one deployment. Raises NoEvidenceError where nothing measured supports a number."""
    (answer,) = answer_many([question], calibration)
    if isinstance(answer, NoEvidenceError):
        raise answer
    return answer


def answer_many(
    questions: Sequence[StepQuestion], calibration: StoredCalibration | None = None
) -> list[StepAnswer | NoEvidenceError]:
    """The answers in the order asked; an error in the place of each deployment that no evidence supports."""
    used = calibration or default_calibration()
    asked: list[StepQuestion] = list(questions)
    drafts: dict[int, int] = {}  # place of a question → that of its draft model's
    for place, question in enumerate(questions):
        drafting = question.deployment.drafting
        if drafting is not None:
            drafts[place] = len(asked)
            asked.append(
                StepQuestion(
                    deployment=drafting,
                    batches=question.batches,
                    contexts=question.contexts,
                    prompts=question.prompts,
                )
            )
    cases = [_supported(question.deployment, used) for question in asked]
    known = [i for i, case in enumerate(cases) if isinstance(case, Case)]
    raw: dict[int, _Raw] = {}
    if known:
        rows = _rows_of([asked[i] for i in known])
        passes = _Passes(rows, [c for c in cases if isinstance(c, Case)], used)
        raw = {place: passes.of(n, asked[place]) for n, place in enumerate(known)}
    found: list[StepAnswer | NoEvidenceError] = []
    for place, question in enumerate(questions):
        case = cases[drafts.get(place, place)]
        own = cases[place]
        if isinstance(own, NoEvidenceError) or isinstance(case, NoEvidenceError):
            found.append(own if isinstance(own, NoEvidenceError) else case)  # type: ignore[arg-type]
        else:
            found.append(_answer(question, raw[place], raw[drafts[place]] if place in drafts else None))
    return found


def _supported(deployment: Deployment, used: StoredCalibration) -> Case | NoEvidenceError:
    try:
        case = case_of(deployment)
    except NoEvidenceError as error:
        return error
    problem = evidence_problem(case.gpu, case.family, case.engine, used)
    return NoEvidenceError(problem) if problem else case


@dataclass(frozen=True, slots=True)
class _Rows:
    """One row per step or pass: whose it is, which kind, over what."""

    owner: NDArray[np.intp]
    is_decode: NDArray[np.bool_]
    batch: Floats  # sequences of a step, prompts of a pass
    tokens: Floats  # mean context of a step, tokens of each prompt
    queries: Floats  # tokens that each sequence of a step brings
    starts: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Raw:
    """Corrected seconds of one deployment, not yet levelled; decode as ladder of batches × rising contexts."""

    decode: Floats
    head_draft: Floats  # one drafting pass of a head of the model's own, beside each step
    prefill: Floats
    head_prefill: Floats
    distance: str


@lru_cache(maxsize=1024)
def _ladder(values: tuple[float, ...]) -> Floats:
    """The values, sorted, with the powers of two below the largest."""
    top = max(values, default=1.0)
    ladder = 2.0 ** np.arange(0, math.log2(max(top, 1.0)))
    return np.unique(np.append(ladder, np.array(values, dtype=np.float64)))


@lru_cache(maxsize=1024)
def _grid(batches: tuple[float, ...], contexts: tuple[float, ...]) -> tuple[Floats, Floats]:
    """Batches and contexts of every step to compute, context fastest."""
    if not batches or not contexts:
        return np.zeros(0), np.zeros(0)
    batch, context = np.meshgrid(_ladder(batches), np.unique(contexts), indexing="ij")
    return batch.ravel(), context.ravel()


@lru_cache(maxsize=1024)
def _asked(batches: tuple[float, ...], contexts: tuple[float, ...]) -> tuple[NDArray[np.intp], ...]:
    """Where the batches and contexts asked for lie on the grid."""
    return np.ix_(np.searchsorted(_ladder(batches), batches), np.searchsorted(np.unique(contexts), contexts))


@lru_cache(maxsize=1024)
def _passes(prompts: tuple[tuple[float, float], ...]) -> Floats:
    """Tokens of each prompt, and prompts, of every pass."""
    return np.array(prompts, dtype=np.float64).reshape(-1, 2).T


def _rows_of(questions: Sequence[StepQuestion]) -> _Rows:
    """Of one question or more."""
    grids = [_grid(question.batches, question.contexts) for question in questions]
    passes = [_passes(question.prompts) for question in questions]
    steps = np.array([len(batches) for batches, _ in grids])
    counts = steps + [len(tokens) for tokens, _ in passes]
    starts = np.concatenate([[0], np.cumsum(counts)])
    owner = np.repeat(np.arange(len(questions)), counts)
    drafted = [0 if question.deployment.speculates is None else question.deployment.speculates.draft_tokens
               for question in questions]  # fmt: skip
    return _Rows(
        owner=owner,
        is_decode=np.arange(len(owner)) - starts[owner] < steps[owner],
        batch=np.concatenate([part for grid, read in zip(grids, passes, strict=True) for part in (grid[0], read[1])]),
        tokens=np.concatenate([part for grid, read in zip(grids, passes, strict=True) for part in (grid[1], read[0])]),
        queries=1.0 + np.array(drafted, dtype=np.float64)[owner],
        starts=starts,
    )


class _Passes:
    """All rows under one model, and each deployment's part of them."""

    def __init__(self, rows: _Rows, plain: Sequence[Case], used: StoredCalibration) -> None:
        lengths = REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS
        each = Cases.of([case.with_load("concurrency", 1.0, *lengths) for case in plain])
        model = StepModel(each, used.coefficients, owners=rows.owner)
        cases = model.cases
        words = {name: np.repeat(of_case, 2) for name, of_case in words_of(each).items()}
        targets: Words = np.tile((PREFILL, DECODE), len(each))
        kind = 2 * rows.owner + rows.is_decode
        factor = np.exp(used.effects.correction(features(cases, targets, rows.batch, words, kind)))
        steps = model.decode(rows.batch, rows.tokens, rows.tokens, rows.queries).total * factor
        steps = model.not_faster_than_bytes(steps, rows.batch, rows.tokens, rows.tokens, rows.queries)
        whole = model.prefill(rows.tokens, rows.batch)
        self._rows = rows
        self._seconds = np.where(rows.is_decode, steps, whole.total * factor)
        self._head = np.zeros_like(steps)
        if np.any(rows.queries > 1):
            one = _one_layer(model.decode(rows.batch, rows.tokens, rows.tokens), model)
            self._head = np.where(rows.is_decode, one, _one_layer(whole, model)) * factor
        self._distance = distances(each, used).tolist()

    def of(self, place: int, question: StepQuestion) -> _Raw:
        part = slice(int(self._rows.starts[place]), int(self._rows.starts[place + 1]))
        steps = len(_grid(question.batches, question.contexts)[0])
        shape = (len(_ladder(question.batches)), -1) if steps else (0, 0)
        seconds, head = self._seconds[part], self._head[part]
        return _Raw(
            decode=seconds[:steps].reshape(shape),
            head_draft=head[:steps].reshape(shape),
            prefill=seconds[steps:],
            head_prefill=head[steps:],
            distance=str(self._distance[place]),
        )


def _one_layer(times: StepTimes, model: StepModel) -> Floats:
    """What one more layer and one more pass over the output matrix take: a drafting head on the hidden states."""
    layers = model.cases["layers"]
    per_layer = np.sum([getattr(times, part) for part in _PER_LAYER], axis=0) / layers + model.layer_seconds
    return np.asarray(per_layer + times.head)


def _answer(question: StepQuestion, own: _Raw, draft: _Raw | None) -> StepAnswer:
    """Levelled, and per output token: a speculating step costs its drafts and yields several tokens."""
    speculation = question.deployment.speculates
    steps, prefill, drafting = own.decode, own.prefill, np.zeros_like(own.decode)
    if speculation is not None:
        if draft is not None:
            drafting, prefill = speculation.draft_tokens * draft.decode, prefill + draft.prefill
        elif speculation.method != "ngram":
            # Of a head of several layers each reads the model's output matrix again: on the safe side.
            passes = speculation.draft_layers
            drafting = speculation.draft_tokens * passes * own.head_draft
            prefill = prefill + passes * own.head_prefill
    if is_staged(question.deployment) and question.deployment.parallelism.pipeline > 1:
        steps, prefill = _staged(question, steps, prefill)
    whole = steps + drafting
    level = np.maximum.accumulate(np.maximum.accumulate(whole, axis=0), axis=1) if whole.size else whole
    if not whole.size:
        empty = np.zeros((len(question.batches), len(question.contexts)))
        return StepAnswer(decode_seconds=empty, prefill_seconds=prefill, distance=own.distance, draft_share=empty)
    chosen = _asked(question.batches, question.contexts)
    return StepAnswer(
        decode_seconds=level[chosen] / (speculation.tokens_per_step if speculation else 1.0),
        prefill_seconds=prefill,
        distance=own.distance,
        draft_share=(drafting / whole)[chosen],
    )


def _staged(question: StepQuestion, steps: Floats, prefill: Floats) -> tuple[Floats, Floats]:
    """Passes through stages: as slow as the longest of them, and what they hand on."""
    deployment = question.deployment
    slower, stages = longest_stage(deployment), deployment.parallelism.pipeline
    if steps.size:
        tokens = np.maximum(_ladder(question.batches) / stages, 1.0)
        steps = steps * slower + handover_seconds(deployment, tokens)[:, None]
    read = np.array([tokens * prompts for tokens, prompts in question.prompts], dtype=np.float64)
    return steps, prefill * slower + handover_seconds(deployment, read)


def packed_prompts(prompt_tokens: float) -> float:
    """Prompts of this length that a busy engine reads in one pass."""
    return max(1.0, PREFILL_PACK_TOKENS / prompt_tokens)


def prefill_interference(calibration: StoredCalibration | None = None) -> float:
    """How much longer than alone those who decode wait for a pass over prompts."""
    return (calibration or default_calibration()).coefficients["prefill.interference"].value


def interval_factors(
    deployment: Deployment, target: str, distance: str, calibration: StoredCalibration | None = None
) -> tuple[float, float]:
    """The 90 % interval as factors on the seconds of ``target`` (``DECODE``, ``PREFILL``)."""
    band = band_of(target, distance, calibration)
    wide = UNKNOWN_SHAPE_WIDENING if deployment.model.model_type == "generic" else 1.0
    wide *= widening(deployment)
    return math.exp(band.low * wide), math.exp(band.high * wide)


def band_of(target: str, distance: str, calibration: StoredCalibration | None = None) -> Band:
    return (calibration or default_calibration()).bands.of(target, distance)
