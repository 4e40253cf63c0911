"""What a constraint excludes before anything is priced: providers, purchases, and the model itself."""

from __future__ import annotations

from collections.abc import Iterator

from llmsizer.decide.answer import Rejection
from llmsizer.decide.study import Study


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
