"""What to run, on what, and what it costs: plans cheapest first, what is out and why, and what would flip it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence

import numpy as np

from llmsizer.decide.answer import ApiPlan, Plan, Recommendation, Rejection
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.certainty.effects import stated_effects
from llmsizer.decide.certainty.sure import Pick, sureness
from llmsizer.decide.comparison.compare import compare_study
from llmsizer.decide.pareto import pareto_plans
from llmsizer.decide.pricing.apis import api_choices, api_plans
from llmsizer.decide.pricing.excluded import excluded
from llmsizer.decide.pricing.fleets import PATHS
from llmsizer.decide.pricing.mode_prices import mode_prices
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.question import Physics
from llmsizer.decide.wording import flips, growth_note, memory_note, sentence
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.money.api import LEAVES_OUT as API_LEAVES_OUT
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Path
from llmsizer.money.currency import format_usd, shown_in
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.traffic.closed_form.meanfield import LEAVES_OUT as TRAFFIC_LEAVES_OUT

LEAVES_OUT = (
    *TRAFFIC_LEAVES_OUT,
    "spare replicas may share a server: llmsizer capacity simulates the loss of a whole host",
    "that machines given back can be had again: a mode that follows the hours takes it for granted",
    "experts divided over several servers: their all-to-all would cross the network, and no such row was measured",
    "pipeline stages where one server holds the model and room for 32 requests: tensor parallelism answers sooner",
    "whether an offer can be had at all: no price list says",
    "intervals of costs move all parts together, which is wider than 90 % where parts are independent",
    *API_LEAVES_OUT,
)
Rank = tuple[bool, float, float, float]
_USUAL_CARD = "h100-sxm-80"


def recommend(
    model: ModelSpec,
    scenario: Scenario,
    catalog: Catalog,
    *,
    today: datetime.date,
    physics: Physics | None = None,
    records: Sequence[QualityRecord] = (),
) -> Recommendation:
    """The answer to a scenario. "Nothing fits" is an answer too; LlmSizerError is for what cannot be meant."""
    return answer_of(study(model, scenario, catalog, today=today, physics=physics, records=records), catalog)


def recommend_today(
    scenario: Scenario,
    catalog: Catalog,
    *,
    calibration: StoredCalibration | None = None,
    records: Sequence[QualityRecord] = (),
    find: Callable[[str, Catalog], ModelSpec] = load_model,
) -> Recommendation:
    """The answer of today; own records, where given, come before everything public. Raises LlmSizerError.

    ``find``: the model by its name, for those who may not name files and hubs.
    """
    return recommend(
        find(scenario.model, catalog),
        scenario,
        catalog,
        today=datetime.date.today(),
        physics=ModelledPhysics(calibration),
        records=records,
    )


def answer_of(found: Study, catalog: Catalog) -> Recommendation:
    """The answer from a study that is at hand, for those who ask the same study more than this."""
    with shown_in(found.book.currency):
        return _answer_of(found, catalog)


def _answer_of(found: Study, catalog: Catalog) -> Recommendation:
    model, scenario = found.question.model, found.question.scenario
    picks, rejections = _priced(found)
    plans = tuple(plan for plan, _ in picks)
    choices = api_choices(found) if scenario.constraints.api else []
    apis = api_plans(found, choices)
    comparison = compare_study(found, choices)
    sure = sureness(found, picks, choices)
    return Recommendation(
        scenario=scenario.name,
        model=model.name,
        reading=model.reading,
        sentence=sentence(found, plans, apis, rejections, sure),
        plans=plans,
        apis=apis,
        rejections=rejections,
        flips=tuple(flips(found, plans, comparison, sure)),
        assumptions={**found.book.assumed, "usd_per_kwh": found.book.usd_per_kwh},
        memory_note=memory_note(found, catalog.gpu(_USUAL_CARD) if _USUAL_CARD in catalog.gpu_names else None),
        leaves_out=LEAVES_OUT,
        flags=(
            *_flags(found, plans, apis),
            *filter(None, [growth_note(found, comparison)]),
            *stated_effects(found, plans[0] if plans else None),
        ),
        priced_on=found.book.today.isoformat(),
        currency=found.book.currency,
        comparison=comparison,
        uncertainty=sure,
        pareto=pareto_plans(plans),
        rent_modes=mode_prices(found, *next((pick for pick in picks if pick[0].path == "rent"), (None, None))),
        asked=scenario,
    )


def compare(
    model: ModelSpec, scenario: Scenario, catalog: Catalog, *, today: datetime.date, physics: Physics | None = None
) -> Comparison:
    """Own, rent or API over the volumes; also part of every recommendation."""
    found = study(model, scenario, catalog, today=today, physics=physics)
    return compare_study(found, api_choices(found) if scenario.constraints.api else [])


def _priced(found: Study) -> tuple[list[Pick], tuple[Rejection, ...]]:
    """The cheapest width of each GPU × format × path, cheapest first; replicas without a bill join the rejections."""
    ranked, without_bill = _ranked(found, PATHS)
    unpriced = [found.pricer.no_price(sized) for sized in without_bill]
    plans = found.pricer.plans([(path, sized, found.question.workload) for path, sized in ranked])
    picks = [(plan, sized) for plan, (_, sized) in zip(plans, ranked, strict=True)]
    beyond = _beyond_budget([plan for plan, _ in picks], found.question.scenario)
    out = {rejection.candidate for rejection in beyond}
    within = [pick for pick in picks if pick[0].label not in out]
    return within, (*excluded(found), *_once([*found.rejections, *unpriced]), *beyond)


def first_plans(found: Study, paths: Sequence[Path] = PATHS) -> tuple[Plan, ...]:
    """The first plan of each of these paths of the answer, in its order, without the others behind it."""
    plans: dict[Path, Plan] = {}
    for path, sized in _ranked(found, paths)[0]:
        if path not in plans:
            plan = found.pricer.plan(sized, path, found.question.workload)
            if not _beyond_budget([plan], found.question.scenario):
                plans[path] = plan
    return tuple(plans.values())


def _ranked(found: Study, paths: Sequence[Path]) -> tuple[list[tuple[Path, Sized]], list[Sized]]:
    """The cheapest width of each GPU × format × path, cheapest first; and replicas without a bill on any of them."""
    cheapest: dict[tuple[str, str, Path], tuple[Rank, Sized]] = {}
    without_bill: list[Sized] = []
    totals = {path: found.usd_asked[path] for path in paths}
    for place, sized in enumerate(found.sized):
        bills = {path: float(usd[place]) for path, usd in totals.items() if not np.isnan(usd[place])}
        if not bills:
            without_bill.append(sized)
        for path, usd in bills.items():
            key = (sized.deployment.gpu.id, sized.deployment.weights.name, path)
            rank = _rank(sized, usd)
            if key not in cheapest or rank < cheapest[key][0]:
                cheapest[key] = (rank, sized)
    ranked = sorted(cheapest.items(), key=lambda item: item[1][0])
    return [(key[2], sized) for key, (_, sized) in ranked], without_bill


def _rank(sized: Sized, usd: float) -> Rank:
    """Sure of the SLO before unsure, then cheaper; at one price the better quality, then the more room for load."""
    return not sized.is_robust, round(usd, 2), -(sized.quality.value or 0.0), -sized.held.rate_low


def _usd(plan: Plan) -> float:
    usd = plan.cost.usd_per_month.value
    assert usd is not None, "plans without a full price are rejections"
    return usd


def _beyond_budget(plans: Sequence[Plan], scenario: Scenario) -> list[Rejection]:
    budget = scenario.constraints.max_usd_per_month
    if budget is None:
        return []
    return [
        Rejection(
            candidate=plan.label,
            kind="budget",
            reason=f"costs {format_usd(_usd(plan))} a month; the budget is {format_usd(budget)}",
            nearest_fix=f"max_usd_per_month = {math.ceil(_usd(plan))}",
            shortfall=_usd(plan) / budget - 1,
        )
        for plan in plans
        if _usd(plan) > budget
    ]


def _once(rejections: Sequence[Rejection]) -> tuple[Rejection, ...]:
    """Widths without a price say the same of one GPU: once is enough."""
    seen: dict[tuple[str, str], Rejection] = {}
    for rejection in rejections:
        key = (rejection.candidate, rejection.reason)
        if rejection.kind == "no price":
            key = (rejection.candidate.split(" (TP")[0].split("× ")[-1], rejection.reason)
        seen.setdefault(key, rejection)
    return tuple(seen.values())


def _flags(found: Study, plans: Sequence[Plan], apis: Sequence[ApiPlan]) -> tuple[str, ...]:
    """What the reader must know of the plan that is recommended, and of the API that stands beside it."""
    own = plans[0].cost.flags if plans else ()
    beside = [f"{apis[0].cost.label}: {flag}" for flag in apis[0].cost.flags] if apis else []
    return (*own, *beside)
