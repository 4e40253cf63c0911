"""Whether the catalogue can be relied on: sources, dates, duplicates, ranges, and how much of it is old."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from llmsizer.errors import LlmSizerError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.offer import ApiOffer, Offer
from llmsizer.facts.provenance import STALE_AFTER_DAYS, Provenance, parse_date

# Beyond these a price is a slip of the decimal point: the dearest printed today are a tenth of them.
MOST_USD_PER_GPU_HOUR, MOST_USD_PER_MTOK, MOST_USD_PER_ITEM = 400.0, 6_000.0, 10_000_000.0
_SPANS = {"electricity_price": (0.001, 2.0), "pue": (1.0, 4.0), "grid_carbon_intensity": (0.0, 1500.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class KindCount:
    """How many facts of a kind there are, and how many are older than 90 days."""

    kind: str
    facts: int
    stale: int
    oldest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogCheck:
    """What was found. Old prices are no problem of the catalogue; they are counted, and flagged where they are used."""

    checked_on: str
    kinds: tuple[KindCount, ...]
    problems: tuple[str, ...]
    without_source: tuple[str, ...]  # assumptions that are stated guesses

    @property
    def stale(self) -> int:
        return sum(kind.stale for kind in self.kinds)

    def to_dict(self) -> dict[str, Any]:
        return {
            "checked_on": self.checked_on,
            "stale_after_days": STALE_AFTER_DAYS,
            "kinds": [{"kind": k.kind, "facts": k.facts, "stale": k.stale, "oldest": k.oldest} for k in self.kinds],
            "stale": self.stale,
            "problems": list(self.problems),
            "assumptions_without_source": list(self.without_source),
        }


def check_catalog(catalog: Catalog, today: datetime.date) -> CatalogCheck:
    """Read everything, and list what is wrong, a line each."""
    problems: list[str] = []
    kinds: list[KindCount] = []
    without_source: list[str] = []
    for kind, read in _KINDS.items():
        try:
            rows = list(read(catalog))
        except LlmSizerError as error:
            problems.append(str(error))
            continue
        for name, origin in rows:
            problems += [f"{kind}: {name}: {what}" for what in _origin_problems(origin, today)]
        dates = sorted(origin.as_of for _, origin in rows)
        stale = sum(origin.is_stale(today) for _, origin in rows)
        kinds.append(KindCount(kind=kind, facts=len(rows), stale=stale, oldest=dates[0] if dates else ""))
    for find in (_price_problems, _reference_problems):
        try:
            problems += find(catalog)
        except LlmSizerError as error:
            problems.append(str(error))
    try:
        figures = load_assumptions({}, today, catalog.root)
        old = [figure.as_of for figure in figures.values() if figure.stale]
        oldest = min((figure.as_of for figure in figures.values()), default="")
        kinds.append(KindCount(kind="assumptions", facts=len(figures), stale=len(old), oldest=oldest))
        without_source += [name for name, figure in figures.items() if figure.source.startswith("stated guess")]
    except LlmSizerError as error:
        problems.append(str(error))
    return CatalogCheck(
        checked_on=today.isoformat(),
        kinds=tuple(kinds),
        problems=tuple(dict.fromkeys(problems)),
        without_source=tuple(without_source),
    )


_Named = Iterable[tuple[str, Provenance]]


def _gpus(catalog: Catalog) -> Iterator[tuple[str, Provenance]]:
    for gpu in catalog.gpus():
        yield gpu.id, gpu.provenance
        yield from ((f"{gpu.id}.{key}", origin) for key, origin in gpu.provenance_by_field.items())


_KINDS: dict[str, Callable[[Catalog], _Named]] = {
    "models": lambda c: ((model.name, model.provenance) for model in c.models()),
    "gpus": _gpus,
    "offers": lambda c: ((offer.id, offer.provenance) for offer in c.offers()),
    "apis": lambda c: ((api.id, api.provenance) for api in c.apis()),
    "purchase": lambda c: ((price.item, price.provenance) for price in c.purchase_prices()),
    "energy": lambda c: ((f"{fact.metric} {fact.area}", fact.provenance) for fact in c.energy()),
    "tco": lambda c: ((fact.parameter, fact.provenance) for fact in c.tco()),
}


def _origin_problems(origin: Provenance, today: datetime.date) -> Iterator[str]:
    if not origin.source.strip():
        yield "no source"
    if not origin.confidence.strip():
        yield "no confidence"
    day = parse_date(origin.as_of)
    if day is None and origin.as_of != "as given":  # the user's own, undated
        yield f"date {origin.as_of!r} cannot be read; give YYYY-MM-DD, YYYY-MM, YYYY-Qn or YYYY"
    if day is not None and day > today:
        yield f"dated {origin.as_of}, which is yet to come"


def _price_problems(catalog: Catalog) -> Iterator[str]:
    for offer in catalog.offers():
        yield from (f"offers: {offer.id}: {what}" for what in _offer_problems(offer))
    for api in catalog.apis():
        yield from (f"apis: {api.id}: {what}" for what in _api_problems(api))
    for price in catalog.purchase_prices():
        if price.usd is not None and price.usd > MOST_USD_PER_ITEM:
            yield f"purchase: {price.item}: {price.usd:,.0f} USD is beyond belief"
    for fact in catalog.energy():
        least, most = _SPANS.get(fact.metric, (0.0, 1e9))
        ends = [end for end in (fact.low, fact.high) if end is not None]
        if ends and (ends[0] > ends[-1] or not all(least <= end <= most for end in ends)):
            span = f"{fact.low} to {fact.high} {fact.unit}"
            yield f"energy: {fact.metric} {fact.area}: {span} is out of {least:g} to {most:g}"


def _offer_problems(offer: Offer) -> Iterator[str]:
    low, high = offer.usd_per_gpu_hour, offer.max_usd_per_gpu_hour
    median = offer.median_usd_per_gpu_hour
    if low > MOST_USD_PER_GPU_HOUR:
        yield f"{low:g} USD a GPU-hour is beyond belief; is it the price of the whole instance?"
    if (median is not None and median < low) or (high is not None and high < (median or low)):
        yield f"cheapest, median and dearest are {low}, {median}, {high}: not in order"


def _api_problems(api: ApiOffer) -> Iterator[str]:
    prices = {key: value for key in ApiOffer.model_fields if "usd" in key and (value := getattr(api, key)) is not None}
    for key, usd in prices.items():
        if usd > MOST_USD_PER_MTOK:
            yield f"{key} = {usd:g} is beyond belief; is it a price for one token?"
    for less, more in (("cached_input", "input"), ("batch_input", "input"), ("batch_output", "output")):
        small, large = prices.get(f"{less}_usd_per_mtok"), prices.get(f"{more}_usd_per_mtok")
        if small is not None and large and small > large:
            yield f"{less.replace('_', ' ')} at {small:g} costs more than {more} at {large:g}"


def _reference_problems(catalog: Catalog) -> Iterator[str]:
    gpus, models = set(catalog.gpu_names), set(catalog.model_names)
    for offer in catalog.offers():
        if offer.gpu is not None and offer.gpu not in gpus:
            yield f"offers: {offer.id}: no GPU {offer.gpu!r}"
    for api in catalog.apis():
        if api.serves is not None and api.serves not in models:
            yield f"apis: {api.id}: no model {api.serves!r}"
