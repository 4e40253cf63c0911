"""How much of a bill pays for machines that wait: idle as a part of its own.

A fleet is sized for its peak hour and has spares; over the month it serves less than it could within the SLO. Of what
is paid by the hour or once, that share is idle, whatever the hours bring. Power follows the work, people and egress do
not wait in racks: they stay whole. An API has no idle part: its provider's is in the price.
"""

from __future__ import annotations

from dataclasses import replace

from llmsizer.decide.answer import Plan
from llmsizer.facts.figure import Figure, total
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost, CostPart

BY_TIME = frozenset(
    {"hardware", "network", "spare parts", "capital", "lease", "maintenance", "colocation", "storage",
     "software licences", "instances", "virtual machine"}
)  # fmt: skip
IDLE = "idle"


def used_share(plan: Plan, workload: Workload) -> float:
    """The month's average demand over what is paid for could hold within the SLO; 1 at most.

    That is every replica, spares included, for the share of the hours in which its machine is billed.
    """
    each = plan.capacity.requests_per_second.value or 0.0
    held = each * (plan.replicas + plan.spare_replicas) * plan.billed_share
    return min(1.0, workload.requests_per_second / held) if held > 0 else 1.0


def with_idle(bill: Cost, used: float) -> Cost:
    """The same bill with the idle share of every part that is paid by time moved into a first part ``idle``."""
    assert 0 <= used <= 1, f"a share of {used}"
    waits = [part for part in bill.parts if part.name in BY_TIME and part.usd_per_month.value is not None]
    if bill.path == "api" or not waits or used == 1:
        return bill
    parts = [_scaled(part, used) if part in waits else part for part in bill.parts]
    spent = total([part.usd_per_month.estimate for part in waits]).scaled(1 - used)
    figure = Figure(
        estimate=replace(spent, reason="the peak hour and the spares decide the fleet, the average uses it"),
        unit=waits[0].usd_per_month.unit,
        source="the bill's parts that are paid by time",
        as_of=min((part.usd_per_month.as_of for part in waits if part.usd_per_month.as_of), default=""),
        stale=any(part.usd_per_month.stale for part in waits),
    )
    names = ", ".join(dict.fromkeys(part.name for part in waits))
    how = f"{1 - used:.1%} of {names}: all that the fleet holds within the SLO and the month's average does not use"
    return replace(bill, parts=(CostPart(name=IDLE, usd_per_month=figure, how=how), *parts))


def _scaled(part: CostPart, share: float) -> CostPart:
    used = f"the {share:.1%} that is used of it"
    return replace(
        part,
        usd_per_month=part.usd_per_month.scaled(share, part.usd_per_month.unit),
        how=f"{part.how}; {used}" if part.how else used,
    )
