"""When the hardware of a decision has to be ordered."""

from __future__ import annotations

from llmsizer.decide.pricing.orders import OrderDates, orders_for
from llmsizer.deliver.papers.decision import Decision

__all__ = ["OrderDates", "order_dates"]


def order_heading(decision: Decision, words: str = "When to order") -> str:
    """``When to order``; where the answer buys nothing, the fleet that would be bought instead."""
    own = decision.path("own")
    if decision.taken == "own" or own is None:
        return words
    return f"{words}, if it is bought instead ({own.label})"


def order_dates(decision: Decision) -> OrderDates:
    """Of the fleet that is owned."""
    lead = decision.found.book.assumed["hardware_lead_months"]
    own = decision.path("own")
    if own is None or own.plan is None or own.sized is None:
        reason = "nothing is bought: no plan that owns hardware"
        return OrderDates(
            text=reason[:1].upper() + reason[1:], lead_months=lead, exhausted_on=None, order_by=None, steps=(),
            reason=reason,
        )  # fmt: skip
    fleet = decision.found.pricer.order_fleet(own.sized, own.plan.replicas)
    return orders_for(decision.found.question.workload, fleet, lead, decision.today)
