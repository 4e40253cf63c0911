"""What an API costs a month: fresh input, cache writes and reads, output, reasoning; tier, batch, retries, limits."""

from __future__ import annotations

import math
from collections.abc import Iterator

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.offer import ApiOffer
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost, CostPart, stale_flags, through
from llmsizer.money.currency import shown
from llmsizer.money.drivers import ApiDrivers
from llmsizer.money.formulas import monthly_parts
from llmsizer.money.prices import PriceBook
from llmsizer.money.ranges import bill_parts, mid
from llmsizer.units import MEGA

LEAVES_OUT = (
    "tool, search and image fees of APIs, and prices negotiated by volume unless the scenario gives a discount",
    "people who look after an API (taken as none)",
)
USUAL_TIER_TOKENS = 128_000  # the shortest prompt from which some price lists have a dearer tier
_Z95 = 1.645
_TIERED = ("input", "cached_input", "cache_write", "output")
_BATCHED = ("input", "output", "reasoning")  # what a batch price is printed for: the cache has none


def api_cost(offer: ApiOffer, workload: Workload, book: PriceBook) -> Cost:
    """The monthly bill at list price.

    A price of 0 or none is unknown. Cached input without a price of its own counts as fresh, as do writes to the
    cache; reasoning without one counts as output: so it is billed where nothing else is printed.
    """
    figures = _figures(offer, book)
    drivers = _drivers(offer, workload, book, figures)
    parts = bill_parts(drivers, figures, _how(offer, drivers), vat_rate=book.options.vat_rate)
    bill = Cost(
        path="api",
        label=f"{offer.provider}: {offer.name or offer.model}",
        parts=parts,
        input_tokens_per_month=workload.input_tokens_per_month,
        output_tokens_per_month=workload.output_tokens_per_month,
        input_share=_input_share(parts),
        flags=(*stale_flags(parts), *_warnings(offer, workload, book)),
    )
    return through(book.options.lens, bill, vat_rate=book.options.vat_rate)


def api_drivers(offer: ApiOffer, workload: Workload, book: PriceBook) -> tuple[ApiDrivers, dict[str, Figure]]:
    """What the bill depends on: the record to compute with, and the range and source of each driver."""
    figures = _figures(offer, book)
    return _drivers(offer, workload, book, figures), figures


def api_usd(offer: ApiOffer, workload: Workload, book: PriceBook) -> float | None:
    """The bill's total alone; None where a price it needs is missing."""
    drivers = _drivers(offer, workload, book, _figures(offer, book))
    usd = sum(float(part) for part in monthly_parts(drivers).values())
    return None if math.isnan(usd) else usd


def _figures(offer: ApiOffer, book: PriceBook) -> dict[str, Figure]:
    """Prices and shares by driver, unknown ones with their reason."""
    figures = {"retry_share": book.assumed["api_retry_share"]}
    if offer.cache_write_usd_per_mtok is not None:
        figures["cache_reads_per_write"] = book.assumed["cache_reads_per_write"]
    usd = {name: getattr(offer, f"{name}_usd_per_mtok") for name in (*_TIERED, "reasoning")}
    usd["cached_input"] = usd["input"] if usd["cached_input"] is None else usd["cached_input"]
    usd["reasoning"] = usd["output"] if usd["reasoning"] is None else usd["reasoning"]
    for name, price in usd.items():
        figures[f"{name}_usd_per_mtok"] = _price(offer, book, name.replace("_", " "), price)
    longer = {name: getattr(offer, f"long_{name}_usd_per_mtok") for name in _TIERED}
    longer["cached_input"] = longer["input"] if longer["cached_input"] is None else longer["cached_input"]
    for name, price in longer.items():
        figures[f"long_{name}_usd_per_mtok"] = _price(offer, book, f"long-context {name.replace('_', ' ')}", price)
    for name in ("input", "output"):
        figures[f"batch_{name}_factor"] = _batch_factor(offer, book, name)
    return figures


def _price(offer: ApiOffer, book: PriceBook, what: str, usd_per_mtok: float | None) -> Figure:
    if not usd_per_mtok:
        lack = "lists it at 0, which no one sells at" if usd_per_mtok == 0 else "prints none"
        return unknown(f"no {what} price: {offer.provider} {lack}", "USD/1M tokens")
    return _listed(offer, book, usd_per_mtok, "USD/1M tokens")


def _listed(offer: ApiOffer, book: PriceBook, value: float, unit: str) -> Figure:
    origin = offer.provenance
    estimate = Estimate(value=value, basis=origin.basis)
    stale = origin.is_stale(book.today)
    return Figure(estimate=estimate, unit=unit, source=origin.source, as_of=origin.as_of, stale=stale)


def _batch_factor(offer: ApiOffer, book: PriceBook, name: str) -> Figure:
    """What is left of the price for work that may wait: as printed, else as the scenario says; never guessed."""
    printed = getattr(offer, f"batch_{name}_usd_per_mtok")
    usual = getattr(offer, f"{name}_usd_per_mtok")
    if printed and usual:
        return _listed(offer, book, printed / usual, "of the price")
    if book.options.batch_discount is not None:
        estimate = Estimate(value=1 - book.options.batch_discount, basis="assumed")
        return Figure(estimate=estimate, unit="of the price", source="scenario", as_of=book.today.isoformat())
    return unknown(
        f"no batch {name} price: {offer.provider} prints none here; give money.batch_discount", "of the price"
    )


def _drivers(offer: ApiOffer, workload: Workload, book: PriceBook, figures: dict[str, Figure]) -> ApiDrivers:
    return ApiDrivers(
        input_tokens_per_month=workload.input_tokens_per_month,
        cached_fraction=workload.cached_prompt_fraction,
        is_write_billed=offer.cache_write_usd_per_mtok is not None,
        output_tokens_per_month=workload.output_tokens_per_month - workload.reasoning_tokens_per_month,
        reasoning_tokens_per_month=workload.reasoning_tokens_per_month,
        long_share=long_share(offer, workload),
        batch_share=book.options.batch_share,
        discount=book.options.api_discount,
        vat_rate=book.options.vat_rate,
        **({"cache_reads_per_write": 1.0} | {name: mid(figure) for name, figure in figures.items()}),
    )


def long_share(offer: ApiOffer, workload: Workload) -> float:
    """Of the prompt tokens, those in requests beyond the price list's context tier; lengths are lognormal."""
    limit = offer.long_above_tokens
    if limit is None:
        return 0.0
    mean, tail = workload.prompt_tokens, workload.prompt_tokens_p95
    if tail is None or tail <= mean:
        return float(mean > limit)
    sigma = _Z95 - math.sqrt(max(0.0, _Z95**2 - 2 * math.log(tail / mean)))
    center = math.log(mean) - sigma**2 / 2
    return 0.5 * (1 + math.erf((sigma - (math.log(limit) - center) / sigma) / math.sqrt(2)))


def _input_share(parts: tuple[CostPart, ...]) -> float:
    usd = {part.name: part.usd_per_month.value or 0.0 for part in parts if part.name not in ("VAT", "retries")}
    out = usd.get("output", 0.0) + usd.get("reasoning", 0.0)
    whole = sum(usd.values())
    return (whole - out) / whole if whole else 0.0


def _how(offer: ApiOffer, d: ApiDrivers) -> dict[str, str]:
    def times(tokens: float, usd: float | None, what: str) -> str:
        millions = tokens / MEGA
        return f"{what}: {millions:,.{0 if millions >= 1000 else 2}f} M × {shown().price_text(usd or 0.0)}/M"

    read = float(d.input_tokens_per_month) * float(d.cached_fraction)
    undiscounted = offer.cached_input_usd_per_mtok is None
    read_usd = offer.input_usd_per_mtok if undiscounted else offer.cached_input_usd_per_mtok
    cached = "cached input at the full price: no discount is printed" if undiscounted else "cached input"
    as_output = offer.reasoning_usd_per_mtok is None
    reasoning_usd = offer.output_usd_per_mtok if as_output else offer.reasoning_usd_per_mtok
    reasoning = "reasoning, billed as output" if as_output else "reasoning"
    written = min(read / float(d.cache_reads_per_write), float(d.input_tokens_per_month) - read)
    written = written if d.is_write_billed else 0.0
    fresh = float(d.input_tokens_per_month) - read - written
    texts = {
        "input": times(fresh, offer.input_usd_per_mtok, "fresh input"),
        "cache write": times(written, offer.cache_write_usd_per_mtok, "written to the cache"),
        "cached input": times(read, read_usd, cached),
        "output": times(float(d.output_tokens_per_month), offer.output_usd_per_mtok, "output"),
        "reasoning": times(float(d.reasoning_tokens_per_month), reasoning_usd, reasoning),
    }
    batched = f"; {float(d.batch_share):.3g} as batch" if float(d.batch_share) > 0 else ""
    shares = ((d.long_share, "at the long-context price"), (d.discount, "off by contract"))
    more = "".join(f"; {float(share):.3g} {words}" for share, words in shares if float(share) > 0)
    again = f"{float(d.retry_share):.3g} of requests sent and billed again"
    told = {name: text + (batched if name in _BATCHED else "") + more for name, text in texts.items()}
    return told | {"retries": again}


def _warnings(offer: ApiOffer, workload: Workload, book: PriceBook) -> Iterator[str]:
    """Rate limits that the peak hour breaks, and a long context whose tier the list may lack."""
    requests, tokens = required_rates(workload, mid(book.assumed["api_retry_share"]))
    for needed, limit, unit in (
        (tokens, offer.tokens_per_minute_limit or book.options.api_tokens_per_minute, "tokens"),
        (requests, offer.requests_per_minute_limit or book.options.api_requests_per_minute, "requests"),
    ):
        if limit is not None and needed > limit:
            yield f"the peak hour needs {needed:,.0f} {unit} a minute; the rate limit is {limit:,.0f}"
    longest = workload.prompt_tokens_p95 or workload.prompt_tokens
    if longest > USUAL_TIER_TOKENS and offer.long_above_tokens is None:
        yield f"prompts reach {longest:,} tokens: a dearer long-context tier may apply that this list does not hold"


def required_rates(workload: Workload, retry_share: float) -> tuple[float, float]:
    """Requests and tokens a minute in the peak hour, retries included."""
    requests = workload.peak_requests_per_second * 60 * (1 + retry_share)
    return requests, requests * (workload.tokens_per_request)


def context_is_enough(offer: ApiOffer, workload: Workload) -> bool:
    """Whether the longest usual request fits, as far as the price list says."""
    return offer.context_tokens is None or offer.context_tokens >= workload.context_tokens
