"""The user's own measurements: what they say about this GPU and engine comes before everything public.

First the device's rates under the engine are fitted (``own_rates``: bandwidth, arithmetic, overhead). What stays
becomes effects of that GPU × engine × phase, overall and by format: a level and a slope over the batch. Physics still
carries size, precision, batch and context.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.aliases import Names, names
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.calibration.correction import calibrated_shift
from llmsizer.physics.calibration.effects import OWN_BLOCKS, Effects, design, features
from llmsizer.physics.calibration.fitting import NOISE as PUBLISHED_NOISE
from llmsizer.physics.calibration.intervals import Band, Bands
from llmsizer.physics.calibration.store import StoredCalibration, default_calibration
from llmsizer.physics.steps.cases import Case, Cases, Floats, GpuRates, Words, rates_of, shape_of
from llmsizer.physics.steps.formats import class_on_device, engine_class, engine_on, peak_flops, weight_format
from llmsizer.physics.steps.formulas import StepModel
from llmsizer.physics.steps.loads import load_times
from llmsizer.physics.steps.own_rates import RECORD_NOISE, fit_own_rates, owner, robust_weight

LEAST_RECORDS_FOR_BAND = 4
LEAST_BAND = 0.05
# What another tool measured elsewhere scatters as published rows do: its machine, flags and client are not ours to see.
IMPORTED_NOISE = PUBLISHED_NOISE
LEAST_IMPORTED_BAND = 1.645 * math.sqrt(IMPORTED_NOISE**2 - RECORD_NOISE**2)  # common to all rows of one foreign run
_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What own records changed: predictions of this GPU, engine and phase are now ``factor`` × as long."""

    gpu: str
    engine: str
    phase: str  # prefill or decode
    records: int
    factor: float
    residual_before: float  # median absolute log residual
    residual_after: float
    imported: int = 0  # of the records: measured by another program

    def text(self) -> str:
        """One line for people."""
        records = f"{self.records} own records"
        if self.imported:
            records = f"{self.records} records, {self.imported} of them imported,"
        return (
            f"{self.gpu} · {self.engine} · {self.phase}: {records} make predictions "
            f"{self.factor:.2f} × as long; median error on these same records {math.expm1(self.residual_before):.0%} → "
            f"{math.expm1(self.residual_after):.0%}"
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    case: Case
    metric: str  # ttft or tpot
    seconds: float
    engine_name: str  # as the record says it; the case holds the class that evidence is pooled by
    is_imported: bool = False

    @property
    def target(self) -> str:
        return "ttft" if self.metric == "ttft" else "lone-tpot"

    @property
    def phase(self) -> str:
        return "prefill" if self.metric == "ttft" else "decode"


def calibrate(
    records: Sequence[ProfileRecord],
    *,
    calibration: StoredCalibration | None = None,
    resolver: Names | None = None,
) -> tuple[StoredCalibration, tuple[Move, ...]]:
    """The calibration moved by own records, and by how much. Failed records are left out.

    Imported records count as own ones at their own trust: their residuals weigh by ``RECORD_NOISE / IMPORTED_NOISE``.
    """
    start = calibration or default_calibration()
    resolve = resolver or names()
    seen = [item for record in records if record.carries_step_times for item in _observations(record, resolve)]
    if not seen:
        raise InputError("no usable record: none has status ok with a measured TTFT or TPOT; profile again")
    before, trust = _residuals(seen, start), _trust(seen)
    rates = fit_own_rates(
        start.coefficients,
        (owner(item.case.gpu, item.case.engine) for item in seen),
        lambda coefficients: trust * _residuals(seen, replace(start, coefficients=coefficients)),
    )
    rated = replace(start, coefficients=rates)
    moved = replace(rated, effects=_own_effects(rated, seen))
    after = _residuals(seen, moved)
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, item in enumerate(seen):
        groups[item.case.gpu, item.engine_name, item.phase].append(i)
    moves = tuple(
        Move(
            gpu=gpu,
            engine=engine,
            phase=phase,
            records=len(members),
            factor=float(np.exp(np.median(before[members] - after[members]))),
            residual_before=float(np.median(np.abs(before[members]))),
            residual_after=float(np.median(np.abs(after[members]))),
            imported=sum(seen[i].is_imported for i in members),
        )
        for (gpu, engine, phase), members in groups.items()
    )
    covered = replace(
        moved,
        bands=_own_bands(moved.bands, seen, after),
        seen_gpus=moved.seen_gpus | {item.case.gpu for item in seen},
        seen_engines=moved.seen_engines | {item.case.engine for item in seen},
        own_gpus=moved.own_gpus | {f"{item.case.gpu}|{item.case.engine}" for item in seen},
    )
    return covered, moves


def log_residuals(
    record: ProfileRecord, calibration: StoredCalibration, *, resolver: Names | None = None
) -> list[tuple[str, float]]:
    """Metric → log(measured / predicted) of one record, for ttft and tpot where they were measured."""
    seen = _observations(record, resolver or names())
    if not seen:
        return []
    return [(item.metric, float(r)) for item, r in zip(seen, _residuals(seen, calibration), strict=True)]


def _own_effects(rated: StoredCalibration, seen: Sequence[_Seen]) -> Effects:
    """The effects with those of the own device added: a level and a slope over the batch, overall and by format.

    Ridge regression with each block's spread as its prior, reweighted so that a lone outlier does not decide.
    """
    trust = _trust(seen)
    left = trust * _residuals(seen, rated)
    cases, target, batch = _asked(seen, rated)
    columns = design(features(cases, target, batch), np.arange(len(seen)).astype(np.str_), 1, OWN_BLOCKS)
    matrix = columns.matrix * trust[:, None]
    values: Floats = np.zeros(len(columns.names))
    for _ in range(_ROUNDS):
        weight = robust_weight(left - matrix @ values) / RECORD_NOISE**2
        curvature = matrix.T @ (matrix * weight[:, None]) + np.eye(len(values))
        values = np.asarray(np.linalg.solve(curvature, matrix.T @ (weight * left)))
    own = dict(zip(columns.names, values.tolist(), strict=True))
    return Effects({**rated.effects.values, **own}, {**rated.effects.spans, **columns.spans})


def _asked(seen: Sequence[_Seen], calibration: StoredCalibration) -> tuple[Cases, Words, Floats]:
    cases = Cases.of([item.case for item in seen])
    times = load_times(StepModel(cases, calibration.coefficients))
    return cases, np.array([item.target for item in seen], dtype=np.str_), times.batch


def _trust(seen: Sequence[_Seen]) -> Floats:
    """What scales each residual so that one noise holds for all."""
    return np.array([RECORD_NOISE / IMPORTED_NOISE if item.is_imported else 1.0 for item in seen])


def _residuals(seen: Sequence[_Seen], calibration: StoredCalibration) -> Floats:
    """log(measured / predicted) seconds of each own observation."""
    cases = Cases.of([item.case for item in seen])
    times = load_times(StepModel(cases, calibration.coefficients))
    target = np.array([item.target for item in seen], dtype=np.str_)
    shift = calibrated_shift(calibration.effects, cases, target, times.batch)
    lone = np.array([item.metric == "ttft" for item in seen])
    predicted = np.where(lone, times.ttft_seconds, times.tpot_seconds) * np.exp(shift)
    return np.asarray(np.log([item.seconds for item in seen]) - np.log(predicted))


def _own_bands(bands: Bands, seen: Sequence[_Seen], after: Floats) -> Bands:
    """Bands of own hardware: the public band until enough own records say how far they scatter."""
    found = dict(bands.bands)
    for phase, targets in (("prefill", ("ttft", "load-ttft")), ("decode", ("lone-tpot", "single", "load-tpot"))):
        members = np.array([item.phase == phase for item in seen])
        if members.sum() < LEAST_RECORDS_FOR_BAND:
            continue
        # 5 % and 95 % points of a normal with the robust scatter of the records, one record's own error included
        scatter = 1.645 * 1.4826 * float(np.median(np.abs(after[members]))) * math.sqrt(1 + 1 / members.sum())
        foreign = all(item.is_imported for item, member in zip(seen, members, strict=True) if member)
        width = max(scatter, LEAST_IMPORTED_BAND if foreign else LEAST_BAND)
        for target in targets:
            found[f"{target}|own"] = Band(-width, width, int(members.sum()))
    return Bands(found)


def _observations(record: ProfileRecord, resolve: Names) -> list[_Seen]:
    case = case_of_record(record, resolve)
    pairs = (("ttft", record.ttft_seconds), ("tpot", record.tpot_seconds))
    return [_Seen(case, metric, seconds, record.engine, record.is_imported) for metric, seconds in pairs if seconds]


def case_of_record(record: ProfileRecord, resolve: Names) -> Case:
    """An own record as a case of one static batch. Raises LlmSizerError where the model or device says too little."""
    engine = engine_class(record.engine, record.engine_version, "") or record.engine.strip().lower()
    rates = rates_of_device(record.device, resolve)
    spec, architecture = _model(record, resolve)
    stored = weight_format(record.precision or record.variant, architecture)
    weight_class = class_on_device(stored.weight_class, rates)
    peak, weight_only = peak_flops(stored.weight_class, rates)
    shape = {name: getattr(shape_of(spec), name) for name in shape_of(spec).__dataclass_fields__}
    device = {name: getattr(rates, name) for name in rates.__dataclass_fields__}
    return Case(
        **shape,
        **device,
        architecture=architecture,
        weight_class=weight_class,
        weight_bytes=stored.bits / 8,
        rest_bytes=stored.rest_bits / 8,
        peak_flops=peak,
        is_weight_only=float(weight_only),
        kv_bytes=2.0,
        engine=engine_on(engine, rates.family),
        engine_version=record.engine_version,
        tensor=1.0,
        pipeline=1.0,
        expert=1.0,
        data=1.0,
        replicas=1.0,
        input_tokens=float(record.prompt_tokens),
        output_tokens=float(record.output_tokens),
        load="single-stream" if record.batch == 1 else "single-batch-static",
        load_value=float(record.batch),
        batch_size=float(record.batch),
    )


def _model(record: ProfileRecord, resolve: Names) -> tuple[ModelSpec, str]:
    if record.model_config_hf:
        spec = model_from_config(record.model_config_hf, name=record.model)
        try:
            return spec, resolve.model(record.model, spec.total_params / 1e9).architecture
        except UnknownNameError:
            return spec, "generic"
    found = resolve.model(record.model)
    return found.spec, found.architecture


def rates_of_device(device: DeviceRecord, resolve: Names) -> GpuRates:
    """Data-sheet rates of a known GPU; of a CPU what was measured. Raises InputError where neither exists."""
    try:
        return rates_of(resolve.gpu(device.name))
    except UnknownNameError:
        bandwidth = device.read_bytes_per_second or device.copy_bytes_per_second
        if not bandwidth:
            raise InputError(
                f"device {device.name!r} has no data sheet here and its record no bandwidth; measure it again"
            ) from None
    flops = max(device.gemm_flops_per_second.values(), default=60 * bandwidth)
    return GpuRates(
        gpu=device.name,
        family="cpu" if device.kind == "cpu" else "asic",
        memory_bytes=device.memory_bytes or 16 * 2.0**30,
        memory_bytes_per_second=bandwidth,
        flops_16bit=flops,
        flops_fp8=0.0,
        flops_int8=0.0,
        flops_fp4=0.0,
        link_bytes_per_second=11e9,
        has_fast_link=0.0,
        is_datacenter=0.0,
    )
