"""What an API costs a month: fresh input, cached input, output."""

from __future__ import annotations

import datetime

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.offer import ApiOffer
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart, stale_flags
from llmsizer.units import MEGA

LEAVES_OUT = (
    "reasoning tokens, retries, batch discounts, context tiers, rate limits and negotiated prices of APIs",
    "people who look after an API (taken as none)",
)


def api_cost(offer: ApiOffer, workload: Workload, today: datetime.date) -> Cost:
    """The monthly bill at list price. A price of 0 or none is unknown; cached input without one counts as fresh."""
    cached = workload.input_tokens_per_month * workload.cached_prompt_fraction
    fresh = workload.input_tokens_per_month - cached
    cached_price, cached_how = offer.cached_input_usd_per_mtok, "cached input"
    if cached_price is None:
        # No discount was printed; the full price is what such a provider bills.
        cached_price, cached_how = offer.input_usd_per_mtok, "cached input at the full price: no discount is printed"
    lines = [
        ("input", offer.input_usd_per_mtok, fresh, "fresh input"),
        ("cached input", cached_price, cached, cached_how),
        ("output", offer.output_usd_per_mtok, workload.output_tokens_per_month, "output"),
    ]
    parts = [_part(offer, name, price, tokens, how, today) for name, price, tokens, how in lines if tokens > 0]
    known = {part.name: part.usd_per_month.value or 0.0 for part in parts}
    spent = sum(known.values())
    return Cost(
        path="api",
        label=f"{offer.provider}: {offer.name or offer.model}",
        parts=tuple(parts),
        input_tokens_per_month=workload.input_tokens_per_month,
        output_tokens_per_month=workload.output_tokens_per_month,
        input_share=(spent - known.get("output", 0.0)) / spent if spent else 0.0,
        flags=stale_flags(parts),
    )


def _part(
    offer: ApiOffer, name: str, usd_per_mtok: float | None, tokens: float, how: str, today: datetime.date
) -> CostPart:
    if not usd_per_mtok:
        what = "lists it at 0, which no one sells at" if usd_per_mtok == 0 else "prints none"
        return CostPart(
            name=name, usd_per_month=unknown(f"no {name} price: {offer.provider} {what}", USD_PER_MONTH), how=how
        )
    origin = offer.provenance
    figure = Figure(
        estimate=Estimate(value=tokens / MEGA * usd_per_mtok, basis=origin.basis),
        unit=USD_PER_MONTH,
        source=origin.source,
        as_of=origin.as_of,
        stale=origin.is_stale(today),
    )
    return CostPart(name=name, usd_per_month=figure, how=f"{how}: {tokens / MEGA:,.4g} M × ${usd_per_mtok:g}/M")


def context_is_enough(offer: ApiOffer, workload: Workload) -> bool:
    """Whether the longest usual request fits, as far as the price list says."""
    return offer.context_tokens is None or offer.context_tokens >= workload.context_tokens
