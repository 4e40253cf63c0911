"""What a constraint excludes before anything is priced: providers, purchases, and the model itself."""

from __future__ import annotations

import math
from collections.abc import Iterator

from llmsizer.decide.answer import Rejection
from llmsizer.decide.pricing.study import Study
from llmsizer.money.ranges import mid


def excluded(found: Study) -> tuple[Rejection, ...]:
    """Purchases that come too late or fit in no rack, and providers of whom nothing may be rented."""
    return (*_too_late(found), *_too_hot(found), *excluded_offers(found))


def _too_late(found: Study) -> Iterator[Rejection]:
    constraints = found.question.scenario.constraints
    if constraints.own and (late := found.pricer.bills.months_too_late) > 0:
        lead = mid(found.book.assumed["hardware_lead_months"])
        yield Rejection(
            candidate="own",
            kind="constraint",
            reason=f"hardware takes {lead:g} months to come; it has to serve in {constraints.max_lead_months:g}",
            nearest_fix=f"max_lead_months = {lead:g}, or a vendor's promise as assumptions.hardware_lead_months",
            shortfall=late / (constraints.max_lead_months or 1.0),
        )


def _too_hot(found: Study) -> Iterator[Rejection]:
    """GPUs of which no server with a replica stays within the power of a rack."""
    most = found.question.scenario.constraints.max_kw_per_rack
    if most is None or not found.question.scenario.constraints.own:
        return
    bills = found.pricer.bills
    least: dict[str, float] = {}
    for sized in found.sized:
        name = sized.deployment.gpu.name
        if bills.housed(sized) is None:
            least[name] = min(least.get(name, float("inf")), bills.least_kw(sized))
        else:
            least[name] = 0.0
    for name, kw in least.items():
        if math.isinf(kw):
            yield Rejection(
                candidate=f"own: {name}",
                kind="constraint",
                reason=f"its power draw is not in the catalogue; a rack gives {most:g} kW",
                nearest_fix="tdp_watts of that GPU in an overrides file",
            )
        elif kw > most:
            yield Rejection(
                candidate=f"own: {name}",
                kind="constraint",
                reason=f"one server draws {kw:.3g} kW at full power; a rack gives {most:g} kW",
                nearest_fix=f"max_kw_per_rack = {math.ceil(kw * 10) / 10:g}",
                shortfall=kw / most - 1,
            )


def excluded_offers(found: Study) -> tuple[Rejection, ...]:
    """One rejection for each provider of whom nothing may be rented, with the reason nearest to allowing it."""
    if not found.question.scenario.constraints.rent:
        return ()
    return tuple(_excluded(found))


def _excluded(found: Study) -> Iterator[Rejection]:
    gpus = {sized.deployment.gpu.id for sized in found.sized}
    reasons: dict[str, list[str]] = {}
    for gpu, offers in found.book.offers.items():
        for offer in offers:
            if gpu in gpus:
                reasons.setdefault(offer.provider, []).append(found.pricer.bills.why_not_rented(offer))
    for provider, why in sorted(reasons.items()):
        if "" in why:
            continue
        # A provider fails at the law only where its data stays in place: that is the nearer miss.
        reason = min(why, key=lambda text: (not text.startswith("operator"), not text.startswith("data"), text))
        yield Rejection(candidate=f"rent at {provider}", kind="constraint", reason=reason, nearest_fix=_fix(reason))


def _fix(reason: str) -> str:
    if reason.startswith("operator"):
        return "zones instead of eu_only, where only the place of the data matters; or a provider under that law"
    if reason.startswith("data"):
        return "a price of a region that is named, in an overrides file; or other zones"
    return "interruptible = true" if reason.startswith("interruptible") else "a price of your own in an overrides file"
