"""A promise held against a measured record: figure by figure, limit by limit, and in one sentence."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.aliases import names, plain_model_name
from llmsizer.facts.provenance import Basis
from llmsizer.facts.records import ProfileRecord
from llmsizer.profile.engines.openai_http import keeps
from llmsizer.profile.load.record import point_name
from llmsizer.profile.load.slo import Judgement
from llmsizer.traffic.demand.lengths import WIDEST, Lognormal, length
from llmsizer.units import format_seconds
from llmsizer.verify.promise import Promise, Promised

Outcome = Literal["kept", "better", "worse", "unknown"]
"""Seen against the promise's 90 % interval: inside or touching it, below it, above it."""
COMPARABLE = 0.10  # relative: a rate or a mean length further off is another load
SCHEMA_VERSION = 1


class CheckedFigure(BaseModel):
    """One figure, promised and seen, in seconds; ``error`` is seen over promised, less one."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    promised: float | None
    promised_low: float | None = None
    promised_high: float | None = None
    promised_basis: Basis
    seen: float | None
    seen_low: float | None = None
    seen_high: float | None = None  # None beside a low one: so few values do not bound it from above
    seen_basis: Basis = "measured"
    outcome: Outcome
    why_unknown: str = ""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def error(self) -> float | None:
        return self.seen / self.promised - 1 if self.promised and self.seen is not None else None


class CheckedLimit(BaseModel):
    """One limit of the SLO and whether the record kept it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    limit: str
    judgement: Judgement


class Verification(BaseModel):
    """A line of the ledger. ``is_kept``: the SLO under the promised load; None where the record cannot say."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    verified_at: str
    scenario: str
    scenario_sha256: str
    plan: str
    model: str
    gpu: str
    precision: str
    requests_per_second: float  # of one replica, as promised
    record_id: str
    engine: str
    engine_version: str
    device: str
    load: str  # as measured
    measured_at: str
    figures: tuple[CheckedFigure, ...]
    limits: tuple[CheckedLimit, ...]
    is_kept: bool | None
    text: str
    notes: tuple[str, ...] = ()  # what a reader must know before believing it


def hold_against(promise: Promise, record: ProfileRecord, *, replicas: int = 1) -> Verification:
    """The promise beside one record, measured before ``replicas`` of it. Raises InputError for another load."""
    off = differences(promise, record, replicas=replicas)
    if off:
        raise InputError(f"{point_name(record)} is not the load that was promised: {'; '.join(off)}")
    figures = tuple(_figure(promised, record) for promised in promise.figures)
    limits = tuple(
        CheckedLimit(limit=limit.text(), judgement=limit.judge(record.distributions)) for limit in promise.limits
    )
    judged = all(limit.judgement != "unknown" for limit in limits) or record.status != "ok"
    is_kept = keeps(record, promise.limits) if judged else None
    return Verification(
        verified_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        scenario=promise.scenario.name,
        scenario_sha256=promise.scenario_sha256,
        plan=promise.plan,
        model=promise.model,
        gpu=promise.gpu,
        precision=promise.precision,
        requests_per_second=promise.requests_per_second,
        record_id=record.record_id,
        engine=record.engine,
        engine_version=record.engine_version,
        device=record.device.name,
        load=point_name(record),
        measured_at=record.measured_at,
        figures=figures,
        limits=limits,
        is_kept=is_kept,
        text=_text(is_kept, figures, limits, promise, record),
        notes=_notes(promise, record),
    )


def _notes(promise: Promise, record: ProfileRecord) -> tuple[str, ...]:
    """Whether what was measured is the model that the plan is for, as far as its name tells."""
    served, planned = record.model, promise.model
    if plain_model_name(served) == plain_model_name(planned) or served == "unknown":
        return ()
    try:
        found = names().model(served)
        is_same = found.architecture == names().model(planned).architecture
    except UnknownNameError:
        return (f"the server calls its model {served!r}, the plan is for {planned}: nothing shows that they are one",)
    if is_same and found.is_known:
        return ()
    return (f"the model measured is {served!r}, the plan is for {planned}: is that what should be verified?",)


def comparable_record(promise: Promise, records: Sequence[ProfileRecord], *, replicas: int = 1) -> ProfileRecord:
    """The newest record of the promised load. Raises InputError that says how the nearest differs."""
    loaded = [record for record in records if record.load is not None]
    if not loaded:
        raise InputError(
            "no record of requests that came by themselves; measure one: llmsizer verify PLAN.json --url …"
        )
    by_differences = [(differences(promise, record, replicas=replicas), record) for record in loaded]
    same = [record for off, record in by_differences if not off]
    if same:
        return max(same, key=lambda record: record.measured_at)
    off, nearest = min(by_differences, key=lambda pair: len(pair[0]))
    raise InputError(
        f"no record is of the promised load; the nearest, {point_name(nearest)}, differs: {'; '.join(off)}"
    )


def differences(promise: Promise, record: ProfileRecord, *, replicas: int = 1) -> tuple[str, ...]:
    """How a record's load is another than the promised one; empty where it may be held against it.

    Where a record's conversations come by a rate, each brings its turns.
    """
    load = record.load
    if load is None or load.rate_per_second is None:
        return ("its requests did not come by a rate",)
    wanted, asked = promise.workload, record.counts.requests_total if record.counts else None
    prompt, output = wanted.prompt_tokens, wanted.generated_tokens
    pairs = (
        ("requests/s", promise.requests_per_second * replicas, load.rate_per_second * (load.turns or 1), 0.0),
        (
            "prompt tokens",
            float(prompt),
            load.prompt_tokens_mean or float(record.prompt_tokens),
            _sampling(prompt, wanted.prompt_tokens_p95, asked),
        ),
        (
            "output tokens",
            float(output),
            load.output_tokens_mean or float(record.output_tokens),
            _sampling(output, wanted.generated_tokens_p95, asked),
        ),
    )
    found = [
        f"{was:,.4g} {what} instead of {should:,.4g}"
        for what, should, was, by_chance in pairs
        if abs(was / should - 1) > COMPARABLE + by_chance
    ]
    for was, should in ((record.precision, promise.precision), (_device(record), promise.gpu)):
        if was not in ("unknown", should):
            found.append(f"{was} instead of {should}")
    return tuple(found)


def _sampling(mean_tokens: int, p95_tokens: int | None, requests: int | None) -> float:
    """How far, relative, the mean of so many drawn lengths may lie from the one asked for: two standard errors."""
    if not p95_tokens or p95_tokens <= mean_tokens or not requests:
        return 0.0
    spread = length(mean_tokens, min(p95_tokens, WIDEST * mean_tokens), 4 * p95_tokens)
    assert isinstance(spread, Lognormal)
    return 2 * math.sqrt(math.expm1(spread.sigma**2) / requests)


def _device(record: ProfileRecord) -> str:
    """The catalogue's id of what it was measured on; as it stands where the catalogue has none."""
    if record.device.kind == "unknown":
        return "unknown"
    try:
        return names().gpu(record.device.name).id
    except UnknownNameError:
        return record.device.name


def _figure(promised: Promised, record: ProfileRecord) -> CheckedFigure:
    figure = promised.figure
    seen, low, high = _seen(promised, record)
    outcome: Outcome = "kept"
    why = ""
    least, most = _bounds(seen, low, high)
    if figure.value is None or seen is None:
        outcome = "unknown"
        why = figure.estimate.reason if figure.value is None else "too few answers for it"
    elif least > (figure.value if figure.high is None else figure.high):
        outcome = "worse"
    elif most < (figure.value if figure.low is None else figure.low):
        outcome = "better"
    return CheckedFigure(
        name=promised.name,
        promised=figure.value,
        promised_low=figure.low,
        promised_high=figure.high,
        promised_basis=figure.basis,
        seen=seen,
        seen_low=low,
        seen_high=high,
        outcome=outcome,
        why_unknown=why,
    )


def _bounds(seen: float | None, low: float | None, high: float | None) -> tuple[float, float]:
    """What is certain of it; another tool's figure without an interval is taken as it stands."""
    if low is None and high is None:
        value = math.nan if seen is None else seen
        return value, value
    return (0.0 if low is None else low), (math.inf if high is None else high)


def _seen(promised: Promised, record: ProfileRecord) -> tuple[float | None, float | None, float | None]:
    distribution = record.distributions.get(promised.metric)
    if distribution is None:
        return None, None, None
    if promised.percentile is None:
        return distribution.mean, distribution.mean_low, distribution.mean_high
    quantile = distribution.percentiles.get(promised.percentile)
    return (None, None, None) if quantile is None else (quantile.value, quantile.low, quantile.high)


def _text(
    is_kept: bool | None,
    figures: Sequence[CheckedFigure],
    limits: Sequence[CheckedLimit],
    promise: Promise,
    record: ProfileRecord,
) -> str:
    is_likely = any(limit.judgement == "likely held" for limit in limits)
    verdict = {
        True: f"The SLO {'likely ' if is_likely else ''}holds under the promised load",
        False: "The SLO is missed under the promised load",
        None: "Whether the SLO holds cannot be judged",
    }[is_kept]
    if record.status != "ok":
        return f"{verdict}: {record.failure}."
    compared = [figure for figure in figures if figure.outcome != "unknown"]
    inside = sum(figure.outcome == "kept" for figure in compared)
    seen = ", ".join(
        f"{figure.name} {format_seconds(figure.seen)}, promised {format_seconds(figure.promised)} ({figure.error:+.0%})"
        for figure in compared
        if figure.error is not None and figure.name.endswith("p95")
    )
    within = f"{inside} of {len(compared)} figures lie within what was promised"
    few = " (too few answers to be 95 % sure: --requests)" if is_kept and is_likely else ""
    tails = seen or "too few answers for a p95"
    return f"{verdict} of {promise.requests_per_second:.3g} requests/s a replica{few}: {tails}; {within}."
