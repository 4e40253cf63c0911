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
from llmsizer.physics.formats import POOLED_ENGINES, class_on_device, engine_class, peak_flops
from llmsizer.physics.intervals import UNKNOWN_SHAPE_WIDENING
from llmsizer.physics.steps import PARTS, StepModel
from llmsizer.physics.store import StoredCalibration, default_calibration

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
        engine=engine,
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
    grid = np.unique(np.append(_batch_ladder(batch), batch))
    cases, model = _repeated(deployment, len(grid), context_tokens, used)
    context = np.full(len(grid), float(context_tokens))
    times = model.decode(grid, context, context)
    shift = _shift(cases, used, "load-tpot", grid)
    seconds = np.maximum.accumulate(times.total * np.exp(shift))  # a bigger batch never takes less time
    return _breakdown(deployment, cases, used, "load-tpot", {p: getattr(times, p) for p in PARTS}, float(seconds[-1]))


def decode_seconds_grid(
    deployment: Deployment,
    batches: Sequence[float],
    contexts: Sequence[float],
    *,
    calibration: StoredCalibration | None = None,
) -> Floats:
    """Calibrated seconds per token for every (batch, context), as an array batches × contexts, for simulators."""
    used = calibration or default_calibration()
    batch_axis, context_axis = np.array(batches, dtype=np.float64), np.array(contexts, dtype=np.float64)
    grid, context = (axis.ravel() for axis in np.meshgrid(batch_axis, context_axis, indexing="ij"))
    cases, model = _repeated(deployment, len(grid), float(context_axis.mean()), used)
    seconds = model.decode(grid, context, context).total * np.exp(_shift(cases, used, "load-tpot", grid))
    table = seconds.reshape(len(batch_axis), len(context_axis))
    order = np.argsort(batch_axis)
    table[order] = np.maximum.accumulate(table[order], axis=0)
    return np.asarray(table)


def prefill_seconds(
    deployment: Deployment,
    prompt_tokens: float,
    *,
    prompts: float = 1.0,
    calibration: StoredCalibration | None = None,
) -> Estimate:
    """Seconds to process ``prompts`` prompts of ``prompt_tokens`` each in one pass."""
    used = calibration or default_calibration()
    cases, model = _repeated(deployment, 1, prompt_tokens, used)
    times = model.prefill(np.array([float(prompt_tokens)]), np.array([float(prompts)]))
    parts = {p: getattr(times, p) for p in PARTS}
    seconds = float((times.total * np.exp(_shift(cases, used, "ttft", np.array([float(prompts)]))))[0])
    return _breakdown(deployment, cases, used, "ttft", parts, seconds).total


def request_overhead_seconds(calibration: StoredCalibration | None = None) -> float:
    """Seconds an engine's front end adds to every request's first token."""
    return (calibration or default_calibration()).coefficients["overhead.request"].value


def _batch_ladder(batch: float) -> Floats:
    return np.asarray(2.0 ** np.arange(0, max(math.log2(max(batch, 1.0)), 0.0)))


def _repeated(
    deployment: Deployment, count: int, prompt_tokens: float, used: StoredCalibration
) -> tuple[Cases, StepModel]:
    case = case_of(deployment)
    if POOLED_ENGINES.get(case.engine, case.engine) not in used.seen_engines and case.engine not in used.seen_engines:
        raise NoEvidenceError(f"no evidence for the engine {deployment.engine!r}; measure it with llmsizer profile")
    loaded = case.with_load("concurrency", 1.0, max(prompt_tokens, 1.0), 256.0)
    cases = Cases.of([loaded] * count)
    return cases, StepModel(cases, used.coefficients)


def _shift(cases: Cases, used: StoredCalibration, target: str, batch: Floats) -> Floats:
    return calibrated_shift(used.effects, cases, np.full(len(cases), target), batch)


def _breakdown(
    deployment: Deployment, cases: Cases, used: StoredCalibration, target: str, parts: dict[str, Floats], seconds: float
) -> StepBreakdown:
    raw = {part: float(values[-1]) for part, values in parts.items()}
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
