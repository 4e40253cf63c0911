"""Bills at the volume that was asked, their cash month by month, and when what was paid up front is earned back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from llmsizer.decide.comparison.curves import Machines
from llmsizer.decide.comparison.following import Way, flow_of
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.bills import Demand
from llmsizer.decide.pricing.study import Study
from llmsizer.money.api import api_cost
from llmsizer.money.cashflow import CashFlow, serves_from_month
from llmsizer.money.comparison import Payback
from llmsizer.money.cost import Cost, Path


def ways_asked(found: Study, machines: Mapping[Path, Machines], choices: Sequence[ApiChoice]) -> tuple[Way, ...]:
    """The cheapest fleet of each path, then the first API of the same model and the first of another tier."""
    workload = found.question.workload
    ways = []
    for path, each in machines.items():
        best = each.cheapest_asked()
        if best is not None:
            plan = found.pricer.plan(best, path, workload)
            rental = found.pricer.bills.cheapest_rental(best, Demand.of(workload)) if path == "rent" else None
            ways.append(Way(path=path, cost=plan.cost, sized=best, rental=rental, billed_share=plan.billed_share))
    firsts = {choice.same_model: choice for choice in reversed(choices)}
    for same in (True, False):
        if same in firsts:
            bill = api_cost(firsts[same].offer, workload, found.book)
            named = bill if same else replace(bill, label=f"{bill.label} (another model: another quality tier)")
            ways.append(Way(path="api", cost=named))
    return tuple(ways)


def cash_flows(found: Study, ways: Sequence[Way]) -> tuple[CashFlow, ...]:
    """One for each way, from one month 0 and over the same months of service, discounted at the cost of capital."""
    start = serves_from_month([way.cost for way in ways])
    return tuple(flow_of(found, way, serves_from=start) for way in ways)


def paybacks(bills: Sequence[Cost], flows: Sequence[CashFlow]) -> tuple[Payback, ...]:
    """Buying against every other path, hardware sold only at the end of the horizon; none where nothing is bought."""
    pairs = list(zip(bills, flows, strict=True))
    found = []
    for mine, flow in ((b, f) for b, f in pairs if b.one_offs):
        found += [_payback(mine, flow, other, its) for other, its in pairs if other.path != "own"]
    return tuple(found)


def _payback(mine: Cost, flow: CashFlow, other: Cost, its: CashFlow) -> Payback:
    def told(state: str, month: int | None, text: str) -> Payback:
        return Payback(own=mine.label, against=other.label, state=state, month=month, text=text)  # type: ignore[arg-type]

    if flow.usd_by_month is None or its.usd_by_month is None:
        return told(
            "not searched", None, f"{mine.label if flow.usd_by_month is None else other.label} has no full price"
        )
    start = int(np.ceil(flow.service_from_month))
    months = len(flow.usd_by_month) - start - 1
    own = np.cumsum(np.array(flow.usd_by_month))
    paid = np.cumsum(np.array(its.usd_by_month[: start + months]))  # both serve from the same month on
    ahead = own[: len(paid)] > paid
    if ahead[-1]:
        text = f"Bought hardware does not pay for itself against {other.label} within {months} months of service."
        return told("not reached", None, text)
    month = int(np.flatnonzero(ahead)[-1]) + 1 if ahead.any() else 0
    text = f"Against {other.label} bought hardware has paid for itself in month {month + 1} after the order."
    return told("reached", month + 1, text)
