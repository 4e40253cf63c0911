"""The prices one question needs, looked up once: hardware, electricity, offers, APIs and the stated assumptions."""

from __future__ import annotations

import datetime
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from llmsizer.errors import UnknownNameError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.figure import Figure, exact, over_corners, unknown, weakest_basis
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.money_options import MoneyOptions
from llmsizer.facts.offer import ApiOffer, EnergyFact, Offer, PurchasePrice
from llmsizer.facts.offered import OfferedServers
from llmsizer.facts.operators import load_jurisdictions
from llmsizer.facts.provenance import Estimate, Provenance, parse_date
from llmsizer.facts.scenario import Scenario
from llmsizer.money.currency import US_DOLLARS, Currency, currency_of
from llmsizer.money.ranges import counted

# Boards that are sold whole: a server with fewer of them does not exist.
_WHOLE_BOARDS = ("SXM", "OAM", "NVL")
_WHOLE_MACHINES = {"desktop-soc"}  # the price of the device is the price of the computer
_SERVER_ITEMS = {"h100-sxm-80": ("server-8xh100-sxm", 8)}  # GPUs whose whole server has a price of its own
_GPUS_IN_UNIT = {"8-GPU baseboard": 8}


_USUAL, _NO_GRID = MoneyOptions(), unknown("no area was named", "gCO2e/kWh")


@dataclass(frozen=True, kw_only=True)
class PriceBook:
    """Every price with its range, source, date and staleness. Missing ones are figures without a value."""

    today: datetime.date
    assumed: Mapping[str, Figure]
    usd_per_kwh: Figure
    purchase: Mapping[str, tuple[PurchasePrice, ...]]
    offers: Mapping[str, tuple[Offer, ...]]
    apis: tuple[ApiOffer, ...]
    options: MoneyOptions = _USUAL
    currency: Currency = US_DOLLARS
    grams_per_kwh: Figure = _NO_GRID
    area: str = ""
    # Lines of bills, by ``ranges.bill_parts``; a book with other figures starts with none.
    written: dict[tuple[object, ...], Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    jurisdictions: Mapping[str, str] = field(default_factory=dict)  # by provider; who is missing is unknown
    offered: OfferedServers | None = None  # its GPU by the catalogue's id

    def estimate(self, name: str) -> Estimate:
        return self.assumed[name].estimate


def price_book(catalog: Catalog, scenario: Scenario, today: datetime.date) -> PriceBook:
    """Look everything up. Raises CatalogError, ScenarioError, UnknownNameError."""
    assumed = load_assumptions(scenario.assumptions, today, catalog.root)
    purchase: dict[str, list[PurchasePrice]] = {}
    for price in catalog.purchase_prices():
        purchase.setdefault(price.item, []).append(price)
    offers: dict[str, list[Offer]] = {}
    for offer in catalog.offers():
        if offer.gpu is not None:
            offers.setdefault(offer.gpu, []).append(offer)
    jurisdictions = load_jurisdictions(catalog.root)
    _check_places(scenario, {offer.zone for offer in catalog.offers()}, set(jurisdictions.values()))
    return PriceBook(
        today=today,
        assumed=assumed,
        usd_per_kwh=_electricity(catalog.energy("electricity_price"), scenario.electricity_area, assumed, today),
        purchase={item: tuple(prices) for item, prices in purchase.items()},
        offers={gpu: tuple(found) for gpu, found in offers.items()},
        apis=catalog.apis(),
        options=scenario.money,
        currency=currency_of(scenario.currency, assumed, scenario.money.rates),
        grams_per_kwh=_carbon(catalog.energy(), scenario.electricity_area, today),
        area=scenario.electricity_area,
        jurisdictions=jurisdictions,
        offered=_offered(scenario, catalog),
    )


def _offered(scenario: Scenario, catalog: Catalog) -> OfferedServers | None:
    offered = scenario.offered
    return None if offered is None else offered.model_copy(update={"gpu": catalog.gpu(offered.gpu).id})


def _check_places(scenario: Scenario, zones: set[str], laws: set[str]) -> None:
    """A place that no price names would leave nothing to rent, as if there were no offers."""
    for zone in scenario.constraints.zones:
        if zone not in zones:
            raise UnknownNameError("zone of a price", zone, zones - {"unspecified"})
    for law in scenario.constraints.operator_jurisdictions:
        if law not in laws:
            raise UnknownNameError("jurisdiction of an operator", law, laws)


def _carbon(facts: Sequence[EnergyFact], area: str, today: datetime.date) -> Figure:
    """Grams of CO₂ a kilowatt-hour of the area's grid: generation, life cycle beside it as the other end."""
    here = [f for f in facts if f.area == area and f.metric.startswith("grid_carbon_intensity") and f.mid is not None]
    if not here:
        known = sorted({f.area for f in facts if f.metric.startswith("grid_carbon_intensity")})
        return unknown(f"no carbon intensity of {area} in the catalogue; known: {', '.join(known[:60])}", "gCO2e/kWh")
    usual = [fact for fact in here if fact.metric == "grid_carbon_intensity"] or here
    values = [fact.mid for fact in here if fact.mid is not None]
    estimate = Estimate(
        value=statistics.median(fact.mid for fact in usual if fact.mid is not None),
        low=min(values),
        high=max(values),
        basis=weakest_basis([fact.provenance.basis for fact in here]),
        reason="; ".join(dict.fromkeys(f"{fact.segment} {fact.period}".strip() for fact in here)),
    )
    return _dated(estimate, "gCO2e/kWh", [fact.provenance for fact in usual], today)


def _electricity(facts: Sequence[EnergyFact], area: str, assumed: Mapping[str, Figure], today: datetime.date) -> Figure:
    """Dollars a kilowatt-hour: the middle and the extremes of what is printed for the area."""
    here = [fact for fact in facts if fact.area == area and fact.mid is not None]
    if not here:
        raise UnknownNameError("electricity area", area, {fact.area for fact in facts})
    in_eur = [fact for fact in here if fact.unit == "EUR/kWh"]
    chosen = in_eur or [fact for fact in here if fact.unit == "USD/kWh"]
    if not chosen:
        return unknown(f"electricity in {area} is priced in {here[0].unit}, which has no rate here", "USD/kWh")
    estimate = Estimate(
        value=statistics.median(fact.mid for fact in chosen if fact.mid is not None),
        low=min(fact.low for fact in chosen if fact.low is not None),
        high=max(fact.high for fact in chosen if fact.high is not None),
        basis=weakest_basis([fact.provenance.basis for fact in chosen]),
        reason="; ".join(dict.fromkeys(fact.segment for fact in chosen)),
    )
    if in_eur:
        estimate = over_corners(
            lambda price, rate: price * rate, estimate, assumed["usd_per_eur"].estimate, reason=estimate.reason
        )
    return _dated(estimate, "USD/kWh", [fact.provenance for fact in chosen], today)


def _dated(estimate: Estimate, unit: str, origins: Sequence[Provenance], today: datetime.date) -> Figure:
    """Of several sources the newest date counts, and all are named."""
    newest = max(origins, key=lambda origin: parse_date(origin.as_of) or datetime.date.min)
    sources = "; ".join(dict.fromkeys(origin.source for origin in origins))
    return Figure(estimate=estimate, unit=unit, source=sources, as_of=newest.as_of, stale=newest.is_stale(today))


def is_whole_board(gpu: GpuSpec) -> bool:
    """Whether it is sold by the board only (SXM, OAM, NVL trays)."""
    return gpu.form_factor.startswith(_WHOLE_BOARDS)


def is_whole_machine(gpu: GpuSpec) -> bool:
    return gpu.device_class in _WHOLE_MACHINES


def host_watts(book: PriceBook, gpu: GpuSpec) -> Figure:
    """What a server draws beside its GPUs; that of a whole board cools and connects eight of the hottest."""
    if is_whole_machine(gpu):
        return counted(0.0, "W")  # the device's draw is the computer's
    return book.assumed["board_host_watts" if is_whole_board(gpu) else "host_watts"]


def gpu_price(book: PriceBook, gpu: GpuSpec) -> Figure:
    """Dollars for one device: the range of street prices and estimates; launch prices where nothing else is known."""
    seen = [price for price in book.purchase.get(gpu.id, ()) if price.usd is not None]
    if not seen:
        return unknown(f"no purchase price of {gpu.name} is known", "USD/GPU")
    street = [price for price in seen if "MSRP" not in price.kind or "street" in price.kind]
    chosen = street or seen
    each = [price.usd / _GPUS_IN_UNIT.get(price.unit, 1) for price in chosen if price.usd is not None]
    estimate = Estimate(
        value=statistics.median(each),
        low=min(each),
        high=max(each),
        basis=weakest_basis([price.provenance.basis for price in chosen]),
        reason="; ".join(dict.fromkeys(price.kind for price in chosen)),
    )
    return _dated(estimate, "USD/GPU", [price.provenance for price in chosen], book.today)


def server_price(book: PriceBook, gpu: GpuSpec, gpus: int) -> Figure:
    """Dollars for one server with so many GPUs: a price of the whole where one is known, else GPUs and their share."""
    quote = book.offered
    if quote is not None and quote.usd_per_server is not None and (quote.gpu, quote.gpus_per_server) == (gpu.id, gpus):
        when = quote.quoted_on or book.today.isoformat()
        return exact(quote.usd_per_server, "USD/server", "price list", "the scenario's [offered]", when)
    item, item_gpus = _SERVER_ITEMS.get(gpu.id, ("", 0))
    whole = [price for price in book.purchase.get(item, ()) if price.usd is not None]
    if whole and item_gpus == gpus:
        prices = [price.usd for price in whole if price.usd is not None]
        estimate = Estimate(
            value=statistics.median(prices),
            low=min(prices),
            high=max(prices),
            basis=weakest_basis([price.provenance.basis for price in whole]),
            reason="price of the whole server",
        )
        return _dated(estimate, "USD/server", [price.provenance for price in whole], book.today)
    each = gpu_price(book, gpu)
    if is_whole_machine(gpu) or each.value is None:
        return each.scaled(gpus, "USD/server")
    estimate = over_corners(
        lambda price, share, base: price * gpus + max(base, price * gpus * share / (1 - share)),
        each.estimate,
        book.estimate("non_gpu_server_share"),
        book.estimate("server_base_usd"),
        reason=f"{gpus} GPUs and the rest of the server by its share",
    )
    return Figure(estimate=estimate, unit="USD/server", source=each.source, as_of=each.as_of, stale=each.stale)
