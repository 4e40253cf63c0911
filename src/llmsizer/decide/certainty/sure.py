"""Which paths stand against each other in an answer, and how sure it is that the one it names is the one to take."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.decide.answer import Plan
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.certainty.drivers import UncertainPath, api_path, own_path, rent_path
from llmsizer.decide.certainty.uncertainty import DRAWS, SEED, uncertainty_of
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.bills import Demand
from llmsizer.decide.pricing.study import Study
from llmsizer.money.currency import format_usd
from llmsizer.money.spread import Uncertainty

Pick = tuple[Plan, Sized]


def why_not_called(found: Study, choice: ApiChoice) -> str:
    """Why the answer may not be this API; empty where it may."""
    constraints = found.question.scenario.constraints
    if not choice.same_model:
        return "another model: another quality tier"
    if constraints.bounds_place:
        if choice.law:
            return f"where it processes data is not in the price list; its operator stands under {choice.law} law"
        return "where it processes data, and under whose law, is not in the price list"
    budget = constraints.max_usd_per_month
    if budget is not None and choice.usd_per_month > budget:
        return f"above the budget of {format_usd(budget)} a month"
    return ""


def uncertain_paths(found: Study, picks: Sequence[Pick], choices: Sequence[ApiChoice]) -> list[UncertainPath]:
    """The first plan of each path, and the API that is set beside them."""
    paths: list[UncertainPath] = []
    for name in ("own", "rent"):
        pick = next((pick for pick in picks if pick[0].path == name), None)
        if pick is None:
            continue
        plan, sized = pick
        if name == "own":
            paths.append(own_path(found, sized, plan.units, plan.label))
            continue
        rental = found.pricer.bills.cheapest_rental(sized, Demand.of(found.question.workload))
        assert rental is not None, "a plan to rent has an offer"
        paths.append(rent_path(found, sized, rental, plan.label))
    if choices:
        paths.append(api_path(found, choices[0], why_not_called(found, choices[0])))
    return paths


def sureness(
    found: Study,
    picks: Sequence[Pick],
    choices: Sequence[ApiChoice],
    *,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Uncertainty | None:
    """Of the path that the answer takes; None where there is none to take."""
    paths = uncertain_paths(found, picks, choices)
    taken = _taken(paths, picks)
    return None if taken is None else uncertainty_of(paths, taken, draws=draws, seed=seed)


def _taken(paths: Sequence[UncertainPath], picks: Sequence[Pick]) -> UncertainPath | None:
    """The first plan's path, or the API where it costs less and may be called."""
    machine = next((path for path in paths if picks and path.label == picks[0][0].label), None)
    called = next((path for path in paths if path.path == "api" and not path.why_not), None)
    if machine is None or called is None:
        return machine or called
    return called if float(called.usd({})[0]) < float(machine.usd({})[0]) else machine
