"""Step times of one deployment for planners and simulators: calibrated seconds with 90 % limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.aliases import names
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.provenance import Estimate
from llmsizer.physics.cases import Case, Cases, Floats, rates_of, shape_of
from llmsizer.physics.correction import calibrated_shift, distances
from llmsizer.physics.formats import POOLED_ENGINES, class_on_device, engine_class, engine_on, peak_flops
from llmsizer.physics.intervals import UNKNOWN_SHAPE_WIDENING
from llmsizer.physics.steps import PARTS, StepModel, StepTimes
from llmsizer.physics.store import StoredCalibration, default_calibration

REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS = 1024.0, 256.0  # at which effects are asked for step times
_FORMAT_OF_PRECISION = {"fp16": "16bit", "bf16": "16bit", "nvfp4": "fp4", "int8-wo": "int8-wo"}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBreakdown:
    """A step's calibrated seconds by operator group; the parts sum to the whole."""

    total: Estimate
    seconds_by_part: dict[str, float]


def case_of(deployment: Deployment) -> Case:
    """A deployment as a case without load. Raises NoEvidenceError for an engine nobody has measured."""
    engine = engine_class(deployment.engine, deployment.engine_version or "", "")
    if not engine:
        raise NoEvidenceError(f"no evidence for the engine {deployment.engine!r}; measure it with llmsizer profile")
    rates, weights = rates_of(deployment.gpu, deployment.parallelism.tensor), deployment.weights
    name = weights.name
    weight_class = _FORMAT_OF_PRECISION.get(name, "gguf" if name.startswith("gguf") else name)
    peak, weight_only = peak_flops(weight_class, rates)
    spread = deployment.parallelism
    fraction = deployment.memory_fraction if deployment.memory_fraction is not None else 0.9
    return Case(
        **asdict(shape_of(deployment.model)),
        **asdict(rates),
        architecture=architecture_key(deployment),
        weight_class=class_on_device(weight_class, rates),
        weight_bytes=weights.bytes_per_quantized_weight,
        rest_bytes=weights.bytes_per_rest_weight,
        peak_flops=peak,
        is_weight_only=float(weight_only),
        kv_bytes=deployment.kv_bytes_per_value,
        engine=engine_on(engine, rates.family),
        engine_version=deployment.engine_version or "",
        tensor=spread.tensor,
        pipeline=spread.pipeline,
        expert=spread.expert,
        data=1.0,
        replicas=1.0,
        input_tokens=float(deployment.max_context_tokens),
        output_tokens=1.0,
        load="concurrency",
        load_value=1.0,
        batch_size=math.nan,
        memory_fraction=fraction,
        max_sequences=math.nan if deployment.max_sequences is None else float(deployment.max_sequences),
    )


def architecture_key(deployment: Deployment) -> str:
    """The family key that evidence about this model is pooled by."""
    spec = deployment.model
    return names().model(spec.hf_repo or spec.name, spec.total_params / 1e9).architecture


def decode_step_seconds(
    deployment: Deployment,
    batch: float,
    context_tokens: float,
    *,
    calibration: StoredCalibration | None = None,
) -> Estimate:
    """Seconds per output token when ``batch`` sequences of mean context ``context_tokens`` decode together."""
    return decode_step(deployment, batch, context_tokens, calibration=calibration).total


def decode_step(
    deployment: Deployment, batch: float, context_tokens: float, *, calibration: StoredCalibration | None = None
) -> StepBreakdown:
    """The same with its parts."""
    used = calibration or default_calibration()
    seconds = decode_seconds_grid(deployment, [batch], [context_tokens], calibration=used)[0, 0]
    cases, model = _repeated(deployment, 1, used)
    context = np.array([float(context_tokens)])
    times = model.decode(np.array([float(batch)]), context, context)
    return _breakdown(deployment, cases, used, "load-tpot", times, float(seconds))


def decode_seconds_grid(
    deployment: Deployment,
    batches: Sequence[float],
    contexts: Sequence[float],
    *,
    calibration: StoredCalibration | None = None,
) -> Floats:
    """Calibrated seconds per token for every (batch, context), as an array batches × contexts, for simulators.

    Effects are smooth fits, not laws: they are asked at one prompt length, so that context acts through physics alone,
    and the largest value of any smaller batch bounds from below.
    """
    used = calibration or default_calibration()
    batch_axis, context_axis = _with_ladder(batches), np.unique(np.array(contexts, dtype=np.float64))
    batch, context = (axis.ravel() for axis in np.meshgrid(batch_axis, context_axis, indexing="ij"))
    cases, model = _repeated(deployment, len(batch), used)
    seconds = model.decode(batch, context, context).total * np.exp(_shift(cases, used, "load-tpot", batch))
    seconds = model.not_faster_than_bytes(seconds, batch, context, context)
    table = seconds.reshape(len(batch_axis), len(context_axis))
    table = np.maximum.accumulate(np.maximum.accumulate(table, axis=0), axis=1)
    rows, columns = np.searchsorted(batch_axis, batches), np.searchsorted(context_axis, contexts)
    return np.asarray(table[np.ix_(rows, columns)])


def prefill_seconds(
    deployment: Deployment,
    prompt_tokens: float,
    *,
    prompts: float = 1.0,
    calibration: StoredCalibration | None = None,
) -> Estimate:
    """Seconds to process ``prompts`` prompts of ``prompt_tokens`` each in one pass."""
    used = calibration or default_calibration()
    cases, model = _repeated(deployment, 1, used)
    together = np.array([float(prompts)])
    times = model.prefill(np.array([float(prompt_tokens)]), together)
    seconds = times.total * np.exp(_shift(cases, used, "ttft", together))
    return _breakdown(deployment, cases, used, "ttft", times, float(seconds[0])).total


def request_overhead_seconds(calibration: StoredCalibration | None = None) -> float:
    """Seconds an engine's front end adds to every request's first token."""
    return (calibration or default_calibration()).coefficients["overhead.request"].value


def _with_ladder(values: Sequence[float]) -> Floats:
    """The values, sorted, with the powers of two below the largest."""
    top = float(np.max(values))
    ladder = 2.0 ** np.arange(0, math.log2(max(top, 1.0)))
    return np.unique(np.append(ladder, np.array(values, dtype=np.float64)))


def _repeated(deployment: Deployment, count: int, used: StoredCalibration) -> tuple[Cases, StepModel]:
    """The deployment so many times, with the lengths that effects are asked at."""
    case = case_of(deployment)
    if POOLED_ENGINES.get(case.engine, case.engine) not in used.seen_engines and case.engine not in used.seen_engines:
        raise NoEvidenceError(f"no evidence for the engine {deployment.engine!r}; measure it with llmsizer profile")
    asked = case.with_load("concurrency", 1.0, REFERENCE_PROMPT_TOKENS, REFERENCE_OUTPUT_TOKENS)
    cases = Cases.of([asked] * count)
    return cases, StepModel(cases, used.coefficients)


def _shift(cases: Cases, used: StoredCalibration, target: str, batch: Floats) -> Floats:
    return calibrated_shift(used.effects, cases, np.full(len(cases), target), batch)


def _breakdown(
    deployment: Deployment, cases: Cases, used: StoredCalibration, target: str, times: StepTimes, seconds: float
) -> StepBreakdown:
    raw = {part: float(getattr(times, part)[-1]) for part in PARTS}
    whole = sum(raw.values())
    distance = str(distances(cases, used)[-1])
    band = used.bands.of(target, distance)
    wide = UNKNOWN_SHAPE_WIDENING if deployment.model.model_type == "generic" else 1.0
    estimate = Estimate(
        value=seconds,
        basis="calibrated",
        low=seconds * math.exp(band.low * wide),
        high=seconds * math.exp(band.high * wide),
        reason=f"{distance}; {band.rows} held-out observations",
    )
    return StepBreakdown(total=estimate, seconds_by_part={p: seconds * v / whole for p, v in raw.items()})
