"""What a rented plan costs if it follows the hours of the week, over the modes that still meet the SLO."""

from __future__ import annotations

from collections.abc import Iterator

from llmsizer.decide.answer import Plan
from llmsizer.decide.candidates import Sized
from llmsizer.decide.rentals import ModeRent, rent_of_modes
from llmsizer.decide.study import Study
from llmsizer.traffic.week import Running, Sizing, hourly_rates, run_week, start_up
from llmsizer.units import format_usd


def cheapest_mode(found: Study, plan: Plan, sized: Sized) -> ModeRent | None:
    """The cheapest way to run a rented plan; None where nobody said when requests come, or for machines of one's own.

    Demand is that at the end of its growth, as for the plan. Down to zero is left out: whoever wakes a sleeping replica
    waits for its start, which takes minutes where an SLO asks for seconds.
    """
    if plan.path != "rent" or not found.question.workload.hourly_weights:
        return None
    workload, scenario = found.question.workload, found.question.scenario
    modes = tuple(_modes(found, sized, plan))
    rents = rent_of_modes(modes, sized.deployment, workload, scenario, found.book)
    priced = [rent for rent in rents if rent.usd_per_month.value is not None]
    return min(priced, key=lambda rent: rent.usd_per_month.value or 0.0) if priced else None


def _modes(found: Study, sized: Sized, plan: Plan) -> Iterator[Running]:
    workload, scenario = found.question.workload, found.question.scenario
    grown = workload.growth.largest_factor if workload.growth else 1.0
    sizing = Sizing(
        requests_per_second_each=sized.held.rate,
        headroom=workload.headroom,
        spare_replicas=scenario.spare_replicas,
        start_seconds=start_up(plan.fit.weights_bytes * sized.gpus, dict(found.book.assumed)).value or 0.0,
        window=scenario.fleet.window_hours,
    )
    rates = hourly_rates(workload) * grown
    yield run_week(rates, sizing, "always-on")
    yield run_week(rates, sizing, "by-hour")
    if sizing.window is not None:  # whoever comes outside has been told that it is closed
        yield run_week(rates, sizing, "active-window")


def mode_note(rent: ModeRent, plan: Plan) -> str:
    """One sentence; empty where staying on is as cheap."""
    usd, always = rent.usd_per_month.value, plan.cost.usd_per_month.value
    if usd is None or always is None or rent.mode == "always-on" or usd >= 0.995 * always:
        return ""
    return (
        f"Run {rent.mode} it costs {format_usd(usd)} a month instead ({rent.offer}; instances billed "
        f"{rent.billed_share:.0%} of the hours)."
    )
