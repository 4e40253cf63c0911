"""What each way to pay for and to run rented machines costs for one plan, and why those that are not taken are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from llmsizer.decide.answer import ModePrice, Plan
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.bills import Demand, Rental
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.offer import Offer
from llmsizer.money.renting import Contract, contracts
from llmsizer.traffic.hours.elastic import ALWAYS_ON
from llmsizer.traffic.hours.week import MEANING, Mode

_NOT_ASKED = 'its discount is assumed, so it is taken only where money.rent_term = "cheapest" asks for it'
_TOO_SHORT = "the service is wanted for less than a year"
_NO_WINDOW = "the scenario draws none ([fleet] active_from_hour, active_to_hour)"
_NO_HOURS = "nobody said when requests come: give the workload its hours"


def mode_prices(found: Study, plan: Plan | None, sized: Sized | None) -> tuple[ModePrice, ...]:
    """Of the first rented plan: on demand in every mode, for a year, and interruptible; cheapest first."""
    if plan is None or sized is None:
        return ()
    taken = found.pricer.bills.cheapest_rental(sized, Demand.of(found.question.workload))
    assert taken is not None, "a rented plan has an offer"
    rows = [_priced(found, sized, rental, taken, why) for rental, why in _rentals(found, sized, taken)]
    rows += _not_possible(found, sized, {row.mode for row in rows})
    return tuple(sorted(rows, key=lambda row: (row.usd_per_month is None, (row.usd_per_month or 0.0))))


def _rentals(found: Study, sized: Sized, taken: Rental) -> Iterator[tuple[Rental, str]]:
    """Each kind of contract at its cheapest offer, each mode, and why it may not be taken."""
    bills, gpu = found.pricer.bills, sized.deployment.gpu.id
    term, horizon = found.book.options.rent_term, found.question.scenario.horizon_months
    modes = bills.modes.of(sized)
    listed = [offer for offer in bills.offers_of(gpu) if not offer.is_interruptible]
    listed_now = taken.contract if not taken.contract.is_reserved else None
    if listed_now is None or listed_now.offer.is_interruptible:
        first = _cheapest(found, sized, [Contract(offer=offer) for offer in listed])
        listed_now = first if first is not None else listed_now
    if listed_now is not None and not listed_now.offer.is_interruptible:
        why = "" if term != "reserved-1y" else "the scenario asks for a year's term"
        yield from ((Rental(contract=listed_now, following=mode), why) for mode in modes)
    year = _cheapest(found, sized, [c for c in contracts(listed, "cheapest", max(12, horizon)) if c.is_reserved])
    if year is not None:
        why = _NOT_ASKED if term == "on-demand" else _TOO_SHORT if horizon < 12 and term == "cheapest" else ""
        yield Rental(contract=year, following=ALWAYS_ON), why
    spot = _cheapest(found, sized, [Contract(offer=offer) for offer in _spot(found, gpu)])
    if spot is not None:
        why = bills.why_not_rented(spot.offer)
        yield from ((Rental(contract=spot, following=mode), why) for mode in modes)


def _spot(found: Study, gpu: str) -> Iterator[Offer]:
    """Interruptible offers that the scenario allows, or that nothing but being interruptible excludes."""
    bills = found.pricer.bills
    for offer in found.book.offers.get(gpu, ()):
        why = bills.why_not_rented(offer)
        if offer.is_interruptible and (not why or why.startswith("interruptible")):
            yield offer


def _cheapest(found: Study, sized: Sized, among: Sequence[Contract]) -> Contract | None:
    """Always on, at the load that was asked."""
    if not among:
        return None
    workload, pricer = found.question.workload, found.pricer

    def usd(contract: Contract) -> float:
        rental = Rental(contract=contract, following=ALWAYS_ON)
        bill = pricer.rented(sized, sized.held.rate, workload, rental)
        return bill.usd_per_month.value or float("inf")

    return min(among, key=usd)


def _priced(found: Study, sized: Sized, rental: Rental, taken: Rental, why_not: str) -> ModePrice:
    pricer, workload = found.pricer, found.question.workload
    rented = pricer.rental(sized, sized.held.rate, workload, rental)
    bill = pricer.rented(sized, sized.held.rate, workload, rental)
    return ModePrice(
        term=rental.contract.term,
        mode=rental.following.mode,
        meaning=MEANING[rental.following.mode],
        provider=rental.contract.offer.provider,
        zone=rental.contract.offer.zone,
        instances=rented.instances,
        billed_share=rented.billed_share,
        served_share=rental.following.served_share,
        usd_per_month=bill.usd_per_month.value,
        is_taken=rental.contract == taken.contract and rental.following.mode == taken.following.mode,
        why_not=why_not,
    )


def _not_possible(found: Study, sized: Sized, priced: set[Mode]) -> Iterator[ModePrice]:
    """Modes without a price, and what keeps them out."""
    modes = found.pricer.bills.modes
    reasons: dict[Mode, str] = {
        "by-hour": _NO_HOURS if modes.shape is None else "every hour of the week is alike",
        "scale-to-zero": _NO_HOURS if modes.shape is None else modes.why_not_asleep(sized),
        "active-window": _NO_HOURS if modes.shape is None else _NO_WINDOW,
    }
    for mode, reason in reasons.items():
        if mode not in priced:
            yield ModePrice(term="on-demand", mode=mode, meaning=MEANING[mode], why_not=reason)
