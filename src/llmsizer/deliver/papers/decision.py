"""What the papers of a decision are made from: the answer, and the fleets and bills behind it as formulas."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.comparison.following import Way
from llmsizer.decide.pricing.apis import ApiChoice, api_choices
from llmsizer.decide.pricing.bills import Demand, Rental
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.question import Physics
from llmsizer.deliver.formulas.live_bills import (
    Bill,
    Drivers,
    Load,
    Shared,
    api_live,
    bill_live,
    own_live,
    placed,
    rent_live,
)
from llmsizer.deliver.formulas.places import Register, Under
from llmsizer.deliver.pages.report import scenario_hash
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.money.cost import Cost, Path
from llmsizer.money.currency import Currency
from llmsizer.money.spread import PathSpread

APIS_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class LivePath:
    """One path at the volume that was asked: its bill by the program, and the same as formulas."""

    path: Path
    key: str  # own, rent, api1 …: the beginning of its names
    label: str
    cost: Cost
    drivers: Drivers
    bill: Bill
    place: Under
    same_model: bool = True
    sized: Sized | None = None
    plan: Plan | None = None
    rental: Rental | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One scenario answered, with all that its papers show."""

    scenario: Scenario
    recommendation: Recommendation
    found: Study
    choices: tuple[ApiChoice, ...]
    today: datetime.date
    register: Register = field(default_factory=Register)

    @property
    def currency(self) -> Currency:
        """That its papers are in."""
        return self.found.book.currency

    @property
    def hash(self) -> str:
        return scenario_hash(self.scenario)

    @cached_property
    def shared(self) -> Shared:
        return Shared(self.found, self.register)

    @cached_property
    def fleet_place(self) -> Under:
        return Under("asked", self.register)

    @cached_property
    def load(self) -> Load:
        """Of the volume that was asked, growth included."""
        return placed(self.shared.load(self.shared.tokens, with_growth=True), self.fleet_place)

    @cached_property
    def paths(self) -> tuple[LivePath, ...]:
        """The cheapest plan that owns, the cheapest that rents, and the APIs in the recommendation's order."""
        plans: dict[Path, Plan] = {}
        for plan in self.recommendation.plans:
            plans.setdefault(plan.path, plan)
        machines = [self._machines(plans[path]) for path in ("own", "rent") if path in plans]
        return (*machines, *self._apis())

    def path(self, path: Path) -> LivePath | None:
        """The first of a path; of APIs the first of the same model. None where there is none."""
        return next((p for p in self.paths if p.path == path and p.same_model), None)

    def spread(self, one: LivePath) -> PathSpread | None:
        """Its cost over the draws, which are of the first of each path."""
        sure = self.recommendation.uncertainty
        if sure is None or one is not self.path(one.path):
            return None
        return next((spread for spread in sure.paths if spread.path == one.path), None)

    def way(self, one: LivePath) -> Way:
        """A path as its cash is computed from."""
        share = one.plan.billed_share if one.plan else 1.0
        return Way(path=one.path, cost=one.cost, sized=one.sized, rental=one.rental, billed_share=share)

    @property
    def taken(self) -> Path | None:
        """The path of the answer's first sentence; None where there is none."""
        sure = self.recommendation.uncertainty
        if sure is not None:
            return next((spread.path for spread in sure.paths if spread.label == sure.recommended), None)
        best = self.recommendation.best
        return best.path if best else None

    @property
    def cheapest(self) -> LivePath | None:
        """Of the ways to the model that was asked for; None where none has a full price."""
        priced = [p for p in self.paths if p.same_model and p.cost.is_complete]
        return min(priced, key=lambda p: p.cost.usd_per_month.value or 0.0, default=None)

    def _machines(self, plan: Plan) -> LivePath:
        sized = next(s for s in self.found.sized if s.deployment == plan.deployment)
        place = Under(plan.path, self.register)
        rental = None
        drivers: Drivers
        if plan.path == "own":
            drivers = own_live(sized, self.load, self.shared, place)
        else:
            rental = self.found.pricer.bills.cheapest_rental(sized, Demand.of(self.found.question.workload))
            assert rental is not None, "a plan that rents has an offer"
            drivers = rent_live(sized, rental, self.load, self.shared, place)
        bill = bill_live(drivers, self.shared, place)
        return LivePath(path=plan.path, key=plan.path, label=plan.label, cost=plan.cost, drivers=drivers, bill=bill,
                        place=place, sized=sized, plan=plan, rental=rental)  # fmt: skip

    def _apis(self) -> Sequence[LivePath]:
        """The first ones, with at least one of another model beside those of the same."""
        offers = {choice.offer.id: choice for choice in self.choices}
        plans = [plan for plan in self.recommendation.apis if plan.offer in offers]
        same = [plan for plan in plans if plan.same_model][: APIS_SHOWN // 2]
        chosen = (same + [plan for plan in plans if not plan.same_model])[:APIS_SHOWN]
        made = []
        for number, plan in enumerate(chosen, start=1):
            place = Under(f"api{number}", self.register)
            drivers = api_live(offers[plan.offer].offer, self.load, self.shared, place)
            bill = bill_live(drivers, self.shared, place)
            tier = "" if plan.same_model else " (another model: another quality tier)"
            made.append(
                LivePath(path="api", key=f"api{number}", label=f"{plan.cost.label}{tier}", cost=plan.cost,
                         drivers=drivers, bill=bill, place=place, same_model=plan.same_model)
            )  # fmt: skip
        return made


def decide_papers(
    recommendation: Recommendation,
    scenario: Scenario,
    catalog: Catalog,
    *,
    today: datetime.date,
    physics: Physics | None = None,
    records: Sequence[QualityRecord] = (),
) -> Decision:
    """What the papers need beside the recommendation, made from the same scenario, day and evidence."""
    from llmsizer.facts.hub import load_model

    model = load_model(scenario.model, catalog)
    found = study(model, scenario, catalog, today=today, physics=physics, records=records)
    choices = tuple(api_choices(found)) if scenario.constraints.api else ()
    register = Register(currency=found.book.currency)
    return Decision(
        scenario=scenario,
        recommendation=recommendation,
        found=found,
        choices=choices,
        today=today,
        register=register,
    )
