"""One question at three places: anywhere, in the EU, and in the EU under EU law.

Where data lies and whose law its operator stands under are two filters: an EU region of an operator from elsewhere
passes the first alone. Both bound what is rented; machines of one's own stand where their owner puts them, and no
API's price list says where it processes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from llmsizer.decide.answer import Plan
from llmsizer.decide.certainty.sure import why_not_called
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.fleets import Pricer
from llmsizer.decide.pricing.study import Study
from llmsizer.decide.recommend import first_plans
from llmsizer.money.api import api_cost
from llmsizer.money.cost import Cost

Place = Literal["any", "eu", "eu_law"]
BOUNDS: dict[Place, dict[str, Any]] = {
    "any": {"zones": (), "operator_jurisdictions": (), "eu_only": False},
    "eu": {"zones": ("EU",), "operator_jurisdictions": (), "eu_only": False},
    "eu_law": {"zones": (), "operator_jurisdictions": (), "eu_only": True},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AtPlace:
    """The cheapest of each path at one place; None where nothing of that path is left or it was not allowed."""

    place: Place
    own: Plan | None
    rent: Plan | None
    api: Cost | None  # of the same model, where someone hosts it
    why_no_api: str  # why it may not be taken here; empty where it may

    @property
    def rent_law(self) -> str:
        """What the rented plan's notes say of the law its operator stands under."""
        notes = () if self.rent is None else self.rent.notes
        return next((note for note in notes if " law" in note), "")


def at_places(found: Study, choices: list[ApiChoice]) -> tuple[AtPlace, ...]:
    """The study's question at each of the three places: sized once, rents ranked three times.

    No place bounds what is owned: it is ranked once.
    """
    own = next(iter(first_plans(found, ("own",))), None)
    return tuple(_at(_bounded(found, place), place, own, choices) for place in BOUNDS)


def _bounded(found: Study, place: Place) -> Study:
    scenario = found.question.scenario
    constraints = scenario.constraints.model_copy(update=BOUNDS[place])
    question = replace(found.question, scenario=scenario.model_copy(update={"constraints": constraints}))
    return replace(found, question=question, pricer=Pricer(question=question, book=found.book))


def _at(found: Study, place: Place, own: Plan | None, choices: list[ApiChoice]) -> AtPlace:
    same = next((choice for choice in choices if choice.same_model), None)
    return AtPlace(
        place=place,
        own=own,
        rent=next(iter(first_plans(found, ("rent",))), None),
        api=None if same is None else api_cost(same.offer, found.question.workload, found.book),
        why_no_api="" if same is None else why_not_called(found, same),
    )
