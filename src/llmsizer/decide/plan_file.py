"""What ``llmsizer plan --json`` wrote, read back: the question is asked again and the plan found by its label.

Asked again on the file's own day, so that prices are as stale as they were. Where today's catalogue or program says
otherwise than the file, ``differences`` says it in one line each: nothing is silently taken from either.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.question import Physics
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.complaint import explain, one_line
from llmsizer.facts.figure import Figure
from llmsizer.facts.hub import load_model
from llmsizer.facts.provenance import Basis, Estimate
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.files import path_of
from llmsizer.traffic.closed_form.capacity import LoadPoint, Verdict

MAX_FILE_BYTES = 64_000_000
_SAME = 1e-6  # relative: what two machines may differ by in the last digits
_HINT = "llmsizer plan SCENARIO.toml --json > PLAN.json"


Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)

    value: Finite | None


class _Cost(BaseModel):
    model_config = ConfigDict(frozen=True)

    usd_per_month: _Value


class _Figure(_Value):
    low: Finite | None = None
    high: Finite | None = None
    unit: str = ""
    basis: Basis = "unknown"
    reason: str = ""

    @property
    def figure(self) -> Figure:
        if self.value is None:
            estimate = Estimate(value=None, basis="unknown", reason=self.reason or "unknown in the file")
        else:
            estimate = Estimate(value=self.value, basis=self.basis, low=self.low, high=self.high, reason=self.reason)
        return Figure(estimate=estimate, unit=self.unit)


class _Peak(BaseModel):
    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    requests_per_second: float = Field(gt=0, allow_inf_nan=False)
    batch: Finite | None = None
    utilisation: Finite
    ttft_mean_seconds: _Figure
    ttft_p95_seconds: _Figure
    tpot_mean_seconds: _Figure
    tpot_p95_seconds: _Figure

    @property
    def load(self) -> LoadPoint:
        return LoadPoint(
            verdict=self.verdict,
            requests_per_second=self.requests_per_second,
            batch=self.batch,
            utilisation=self.utilisation,
            ttft_mean=self.ttft_mean_seconds.figure,
            ttft_p95=self.ttft_p95_seconds.figure,
            tpot_mean=self.tpot_mean_seconds.figure,
            tpot_p95=self.tpot_p95_seconds.figure,
        )


class WrittenPlan(BaseModel):
    """What the file says of one plan, as far as it is compared with today's answer."""

    model_config = ConfigDict(frozen=True)

    label: str
    path: str
    gpu: str
    precision: str
    tensor_parallel: int
    replicas: int
    spare_replicas: int
    provider: str
    cost: _Cost
    at_peak: _Peak


class WrittenApi(BaseModel):
    """An API path of the file: there is nothing of it to start."""

    model_config = ConfigDict(frozen=True)

    offer: str


class PlanFile(BaseModel):
    """An answer as it was written down: the question, the day, and each plan's figures."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = Field(ge=1, le=1)
    asked: Scenario
    priced_on: datetime.date
    plans: tuple[WrittenPlan, ...]
    apis: tuple[WrittenApi, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """One plan out of an answer. ``differences``: where a file of an earlier day says otherwise, one line each.

    ``written``: its peak hour as the file has it; None where the plan is out of no file.
    """

    scenario: Scenario
    recommendation: Recommendation
    plan: Plan
    differences: tuple[str, ...] = ()
    written: LoadPoint | None = None


def load_plan_file(path: Path | str) -> PlanFile:
    """The answer in a file. Raises InputError in one line: where, what is wrong, what would work."""
    try:
        file = path_of(path)
        if file.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{file}: over {MAX_FILE_BYTES:,} bytes; give what {_HINT} wrote")
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{one_line(str(path))}: not a text file in UTF-8; give what {_HINT} wrote") from None
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(f"{one_line(str(path))}: {what}; give what {_HINT} wrote") from None
    return parse_plan_file(text, where=str(file))


def parse_plan_file(text: str, where: str = "plan") -> PlanFile:
    """An answer from JSON text. Raises InputError in one line."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not readable as JSON: {one_line(str(error))}; give what {_HINT} wrote") from None
    if not isinstance(data, dict) or "plans" not in data:
        raise InputError(f"{where}: JSON, but no answer of llmsizer plan; give what {_HINT} wrote")
    if data.get("asked") is None:
        raise InputError(f"{where}: the question is not in it (written by an older llmsizer); make it anew: {_HINT}")
    try:
        return PlanFile.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise InputError(f"{explain(error, where, {(): PlanFile})}; give what {_HINT} wrote") from None


def choose_plan(recommendation: Recommendation, wanted: str | None = None) -> Plan:
    """By label, or by number from 1; the first where none is named. Raises InputError, UnknownNameError.

    The beginning of a label is enough where only one plan begins so.
    """
    apis = [name for api in recommendation.apis for name in (api.offer, api.cost.label)]
    plans = recommendation.plans
    if not plans and not apis:
        raise InputError(f"nothing meets the scenario, so there is nothing to start: {recommendation.sentence}")
    return plans[_index([plan.label for plan in plans], apis, wanted)]


def ask_again(
    written: PlanFile,
    catalog: Catalog,
    *,
    wanted: str | None = None,
    physics: Physics | None = None,
    records: Sequence[QualityRecord] = (),
) -> Chosen:
    """The file's question answered by today's program on the file's day, and the plan it meant. Raises LlmSizerError.

    ``physics`` and ``records``: the own evidence with which the file was made, where there was any.
    """
    scenario, apis = written.asked, [api.offer for api in written.apis]
    if not written.plans and not apis:
        raise InputError(f"{scenario.name}: the file has no plan, nothing met the scenario; loosen it and plan again")
    meant = written.plans[_index([p.label for p in written.plans], apis, wanted)]
    model = load_model(scenario.model, catalog)
    answer = recommend(model, scenario, catalog, today=written.priced_on, physics=physics, records=records)
    plan = next((p for p in answer.plans if p.label == meant.label), None) or next(
        (p for p in answer.plans if _identity(p) == (meant.path, meant.gpu, meant.precision, meant.tensor_parallel)),
        None,
    )
    if plan is None:
        raise InputError(
            f"{meant.label}: today's catalogue gives no such plan for {scenario.name}; make the file anew: {_HINT}"
        )
    return Chosen(
        scenario=scenario,
        recommendation=answer,
        plan=plan,
        differences=_differences(meant, plan),
        written=meant.at_peak.load,
    )


def _index(labels: Sequence[str], apis: Sequence[str], wanted: str | None) -> int:
    """Which of the labels is meant. Raises InputError, UnknownNameError."""
    name = (wanted or "").strip()
    if name in apis or (not labels and not name):
        who = name or "the answer"
        raise InputError(f"{who} is an API: somebody else runs it, there is nothing to start")
    if not name:
        return 0
    if name.isdecimal():
        if not 1 <= int(name) <= len(labels):
            there = f"there are plans 1 to {len(labels)}" if labels else "there is none to start"
            raise InputError(f"no plan {name}: {there}")
        return int(name) - 1
    if name in labels:
        return labels.index(name)
    begin = [at for at, label in enumerate(labels) if label.lower().startswith(name.lower())]
    if len(begin) != 1:
        raise UnknownNameError("plan", name, labels)
    return begin[0]


def _identity(plan: Plan) -> tuple[str, str, str, int]:
    d = plan.deployment
    return plan.path, d.gpu.id, d.weights.name, d.parallelism.tensor


def _differences(written: WrittenPlan, plan: Plan) -> tuple[str, ...]:
    """What today's answer says otherwise, file first."""
    d = plan.deployment
    pairs: tuple[tuple[str, object, object], ...] = (
        ("replicas", written.replicas, plan.replicas),
        ("spare replicas", written.spare_replicas, plan.spare_replicas),
        ("tensor parallel", written.tensor_parallel, d.parallelism.tensor),
        ("provider", written.provider, plan.provider),
        ("USD a month", written.cost.usd_per_month.value, plan.cost.usd_per_month.value),
        ("TTFT p95 at the peak, s", written.at_peak.ttft_p95_seconds.value, plan.at_peak.ttft_p95.value),
        ("TPOT p95 at the peak, s", written.at_peak.tpot_p95_seconds.value, plan.at_peak.tpot_p95.value),
    )
    return tuple(
        f"{what}: {_shown(then)} in the file, {_shown(now)} by today's catalogue and evidence"
        for what, then, now in pairs
        if not _same(then, now)
    )


def _same(then: object, now: object) -> bool:
    if isinstance(then, int | float) and isinstance(now, int | float):
        return math.isclose(then, now, rel_tol=_SAME)
    return then == now


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
