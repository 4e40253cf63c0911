"""What would disqualify the answer: conditions that make it void, whether each holds now, and what follows if so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from llmsizer.decide.answer import Plan
from llmsizer.deliver.elements.wording import tokens
from llmsizer.deliver.formulas.live import Live
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.deliver.papers.order_dates import OrderDates
from llmsizer.deliver.papers.power_and_rack import PowerSheet
from llmsizer.facts.provenance import STALE_AFTER_DAYS
from llmsizer.money.currency import format_usd, shown_in
from llmsizer.physics.steps.layouts import SERVER_LINK_BYTES_PER_SECOND, widening
from llmsizer.units import GIGA

State = Literal["holds", "does not hold", "unknown"]
_LITTLE_USED = 0.15
_NOUNS = {"own": "owning", "rent": "renting"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """If it holds, the consequence follows. ``test`` is the same question as a formula, where it is one of money."""

    text: str
    state: State
    consequence: str
    detail: str = ""
    test: Live | None = None


def conditions(decision: Decision, orders: OrderDates, power: PowerSheet | None) -> tuple[Condition, ...]:
    """In the order in which a reader should rule them out."""
    with shown_in(decision.currency):
        return _all_conditions(decision, orders, power)


def _all_conditions(decision: Decision, orders: OrderDates, power: PowerSheet | None) -> tuple[Condition, ...]:
    return (*_of_money(decision), *_of_evidence(decision), *_of_place(decision), *_of_delivery(decision, orders, power))


def _state(holds: bool | None) -> State:
    return "unknown" if holds is None else "holds" if holds else "does not hold"


def _of_money(decision: Decision) -> Iterator[Condition]:
    api = decision.path("api")
    machines = [path for path in (decision.path("own"), decision.path("rent")) if path is not None]
    constraints = decision.scenario.constraints
    if not machines and (constraints.own or constraints.rent):
        yield Condition(
            text="No machine meets what was asked",
            state="holds",
            consequence="this workload stays on an API, or the demands change: see the near misses of the report",
            detail="; ".join(r.nearest_fix for r in decision.recommendation.near_misses),
        )
    if api is not None and machines and api.cost.is_complete:
        best = min(machines, key=lambda path: path.bill.total.value)
        cheaper = api.bill.total.value < best.bill.total.value
        money = decision.currency
        yield Condition(
            text="The same model at an API costs less than any machines",
            state=_state(cheaper),
            consequence="on price this workload should stay on the API"
            + (", if the provider confirms where it processes data" if constraints.bounds_place else ""),
            detail=f"{money.said(api.bill.total.value)} against {money.said(best.bill.total.value)} a month",
            test=best.bill.total > api.bill.total,
        )
    comparison = decision.recommendation.comparison
    asked = decision.shared.tokens
    for crossing in comparison.crossovers if comparison else ():
        if api is None or not crossing.cheaper_below.startswith("API") or crossing.state == "not searched":
            continue
        at = crossing.tokens_per_month
        who = _NOUNS.get(crossing.cheaper_above, crossing.cheaper_above)
        if at is None:
            yield Condition(
                text=f"{who.capitalize()} never becomes cheaper than the API",
                state="holds",
                consequence=f"no volume that was searched justifies {who} on price",
                detail=crossing.text,
            )
            continue
        test = Live(str(int(at)), at) > asked
        yield Condition(
            text=f"The load stays below {tokens(at)} tokens a month",
            state=_state(asked.value < at),
            consequence=_below(crossing.cheaper_above, who, machines, api),
            detail=f"asked: {tokens(asked.value)}",
            test=test,
        )
    budget = constraints.max_usd_per_month
    beyond = [rejection for rejection in decision.recommendation.rejections if rejection.kind == "budget"]
    if budget is not None and beyond and not machines:
        text = f"Every machine that meets the rest costs more than the budget of {format_usd(budget)} a month"
        yield Condition(text=text, state="holds", consequence="raise the budget or lower the demands")


def _below(path: str, who: str, machines: Sequence[LivePath], api: LivePath) -> str:
    """What a load below a path's crossing means: of that path alone where the other one beats the API."""
    others = [one for one in machines if one.path != path and one.bill.total.value < api.bill.total.value]
    if others:
        verb = {"own": "buy", "rent": "rent"}.get(path, path)
        return f"{who} costs more than the API: do not {verb}; {_NOUNS.get(others[0].path, others[0].path)} costs less"
    return f"{who} costs more than the API: this workload should stay on the API"


def _of_layout(best: Plan) -> Iterator[Condition]:
    """What nobody measured of a replica that is more than one tensor-parallel group."""
    deployment = best.deployment
    if widening(deployment) <= 1:
        return
    yield Condition(
        text=f"A replica in the layout {deployment.parallelism.label} is slower than assumed",
        state="unknown",
        consequence="measure one replica under load before ordering: few rows of such layouts were measured, or none",
        detail=f"one replica holds {best.capacity.requests_per_second.estimate.text(suffix=' requests/s')}",
    )
    if deployment.servers > 1:
        rate = 8 * SERVER_LINK_BYTES_PER_SECOND / GIGA
        yield Condition(
            text=f"The network between the {deployment.servers} servers of a replica carries less than {rate:.0f} Gb/s",
            state="unknown",
            consequence="stages wait for one another: order the network with the servers, and measure it",
            detail="pipeline stages hand on the activations of every token; the rate is assumed",
        )


def _of_evidence(decision: Decision) -> Iterator[Condition]:
    best = decision.recommendation.best
    if best is not None:
        yield from _of_layout(best)
        yield Condition(
            text="Steps are as slow as their 90 % interval allows, and the SLO is missed",
            state=_state(not best.is_robust),
            consequence="measure one replica under load before ordering",
            detail=f"one replica holds {best.capacity.requests_per_second.estimate.text(suffix=' requests/s')}",
        )
        quality, floor = best.quality_recovery, decision.scenario.slo.quality_floor
        low = quality.low if quality.low is not None else quality.value
        yield Condition(
            text=f"{best.deployment.weights.name} keeps less than {floor:.0%} of the model's quality on your task",
            state="unknown" if quality.basis != "measured" or low is None else _state(low < floor),
            consequence="take the next wider format, and price it again",
            detail=f"{quality.basis}: {quality.estimate.text()}",
        )
    stale = [part for path in decision.paths for part in path.cost.parts if part.usd_per_month.stale]
    yield Condition(
        text=f"Prices are older than {STALE_AFTER_DAYS} days",
        state=_state(bool(stale)),
        consequence="not to be signed before they are asked for again",
        detail=", ".join(sorted({f"{p.name} ({p.usd_per_month.as_of or 'no date'})" for p in stale})),
    )


def _of_place(decision: Decision) -> Iterator[Condition]:
    if not decision.scenario.constraints.bounds_place:
        return
    if decision.path("api") is not None:
        yield Condition(
            text="The API processes data outside where it may be",
            state="unknown",
            consequence="the API is out, whatever it costs",
            detail="where an API processes data is not in the price lists: ask the provider in writing",
        )


def _of_delivery(decision: Decision, orders: OrderDates, power: PowerSheet | None) -> Iterator[Condition]:
    own = decision.path("own")
    if own is None or own.plan is None:
        return
    late = [step for step in orders.steps[:1] if step.order_by < decision.today]
    growth = decision.found.question.workload.growth
    yield Condition(
        text="Hardware comes later than it is needed",
        state=_state(bool(late)) if growth else "unknown",
        consequence="rent until it serves, and count that rent against owning",
        detail=orders.text,
    )
    if power is not None:
        share, each = power.value("rack_share"), power.value("server_kw")
        yield Condition(
            text="One server takes more power than a rack gives",
            state=_state(share > 1),
            consequence="another site or another server",
            detail=f"{each:.1f} kW a server; a rack is assumed to give {each / share:.0f} kW",
        )
    used = own.plan.at_peak.utilisation / decision.found.question.workload.peak_to_average
    yield Condition(
        text=f"Machines are used less than {_LITTLE_USED:.0%} of the time on average",
        state=_state(used < _LITTLE_USED),
        consequence="share them with other models, or do not buy them",
        detail=f"{used:.1%} of what a serving replica can take, spares not counted",
    )


def holding(found: tuple[Condition, ...]) -> tuple[Condition, ...]:
    return tuple(condition for condition in found if condition.state == "holds")
