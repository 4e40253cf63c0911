"""Money as people read it: dollars inside, another currency's text at a dated rate.

This is the one place where dollars become words, labels of an axis or another unit. Whoever writes a text says once
which currency it is in (``shown_in``), and everything below follows, as decimals follow ``decimal.localcontext``: texts
alone, never a computed number. Nothing is guessed: a currency without a rate is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from typing_extensions import TypedDict

from llmsizer.errors import ScenarioError
from llmsizer.facts.figure import Figure, FigureDoc, exact
from llmsizer.facts.money_options import ExchangeRate
from llmsizer.units import GIGA, KILO, MEGA, TERA, UNKNOWN

USD = "USD"
_SYMBOLS = {USD: "$", "EUR": "€", "GBP": "£"}
_WORDS = {USD: "US dollars", "EUR": "Euros", "GBP": "Pounds"}


class CurrencyDoc(TypedDict):
    """The JSON form of the currency that texts are in; every ``usd`` key stays in US dollars."""

    code: str
    usd_per_unit: FigureDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """A currency and the dollars that one unit of it costs."""

    code: str
    usd_per_unit: Figure

    @property
    def rate(self) -> float:
        """Dollars for one unit."""
        rate = self.usd_per_unit.value
        assert rate is not None, "a currency without a rate is refused"
        return rate

    @property
    def symbol(self) -> str:
        """``€``, or the code and a space, as it stands before an amount."""
        return _SYMBOLS.get(self.code, f"{self.code} ")

    @property
    def words(self) -> str:
        """``Euros``: the heading of a column or an axis."""
        return _WORDS.get(self.code, self.code)

    @property
    def note(self) -> str:
        """The rate in words; empty for dollars."""
        if self.code == USD:
            return ""
        rate = self.usd_per_unit
        old = "; older than 90 days" if rate.stale else ""
        return f"1 {self.code} = {rate.value:.5g} USD ({rate.source}, {rate.as_of}{old})"

    def amount(self, usd: float) -> float:
        """So many dollars in this currency."""
        return usd / self.rate

    def text(self, usd: float | None) -> str:
        """``€1,240``, with as many digits as matter; unknown stays unknown, never 0."""
        return UNKNOWN if usd is None else self.said(self.amount(usd))

    def said(self, amount: float) -> str:
        """``€1,240``: an amount of this currency, with as many digits as matter."""
        size = abs(amount)
        digits = 0 if size >= 100 else 2 if size >= 0.1 or size == 0 else 4
        return f"{'−' if amount < 0 else ''}{self.symbol}{size:,.{digits}f}"

    def exact_text(self, usd: float, digits: int = 2) -> str:
        """So many dollars as ``€1,240.00``."""
        return self.written(self.amount(usd), digits)

    def written(self, amount: float, digits: int) -> str:
        """``€1,240.00``: an amount of this currency with a stated number of digits, for columns that must add up."""
        return f"{'−' if amount < 0 else ''}{self.symbol}{abs(amount):,.{digits}f}"

    def price_text(self, usd: float) -> str:
        """``€4.554``: a price of one thing, in four figures."""
        return f"{self.symbol}{self.amount(usd):.4g}"

    def short(self, amount: float) -> str:
        """An amount of this currency on an axis: ``€10k``."""
        sign, size = "−" if amount < 0 else "", abs(amount)
        for factor, suffix in ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k")):
            if size >= factor:
                return f"{sign}{self.symbol}{size / factor:g}{suffix}"
        return f"{sign}{self.symbol}{size:g}"

    def unit(self, unit: str) -> str:
        """``USD/h`` as ``EUR/h``; what is no money stays."""
        return self.code + unit.removeprefix(USD) if is_money(unit) else unit

    def value(self, value: float, unit: str) -> float:
        """A value of this unit as it is shown: money in this currency, anything else as it is."""
        return self.amount(value) if is_money(unit) else value

    def name(self, name: str) -> str:
        """``own_server_usd`` as ``own_server_eur``: what a cell of this currency is called."""
        return re.sub(r"(?<![a-z])usd(?![a-z])", self.code.lower(), name)

    def figure(self, figure: Figure) -> Figure:
        """A figure in dollars as one in this currency; any other as it is."""
        if self.code == USD or not is_money(figure.unit):
            return figure
        return figure.scaled(1 / self.rate, self.unit(figure.unit))

    def to_dict(self) -> CurrencyDoc:
        return {"code": self.code, "usd_per_unit": self.usd_per_unit.to_dict()}


US_DOLLARS = Currency(code=USD, usd_per_unit=exact(1.0, "USD/USD", "published", "definition"))
_shown: ContextVar[Currency] = ContextVar("shown", default=US_DOLLARS)


def is_money(unit: str) -> bool:
    """Whether a unit is dollars, or dollars for something; a rate of exchange is neither."""
    return unit.startswith(USD) and not re.fullmatch("USD/(?!GPU)[A-Z]{3}", unit)


def shown() -> Currency:
    """The currency that texts are being written in."""
    return _shown.get()


@contextmanager
def shown_in(currency: Currency) -> Iterator[None]:
    """Texts made in this block are in this currency."""
    before = _shown.set(currency)
    try:
        yield
    finally:
        _shown.reset(before)


def format_usd(usd: float | None) -> str:
    """So many dollars in words, in the currency shown."""
    return shown().text(usd)


def format_money(figure: Figure) -> str:
    """``€1,240 [€900–€1,800]``: with its ends where it has any."""
    text = format_usd(figure.value)
    if figure.value is None or figure.low is None or figure.high is None or figure.low == figure.high:
        return text
    return f"{text} [{format_usd(figure.low)}–{format_usd(figure.high)}]"


def currency_of(code: str, assumed: Mapping[str, Figure], own: Mapping[str, ExchangeRate]) -> Currency:
    """The scenario's own rate before the catalogue's. Raises ScenarioError where there is neither."""
    if code == USD:
        return US_DOLLARS
    if code in own:
        rate = own[code]
        return Currency(code=code, usd_per_unit=exact(rate.usd, f"USD/{code}", "assumed", rate.source, rate.as_of))
    known = assumed.get(f"usd_per_{code.lower()}")
    if known is None:
        names = {name[-3:].upper() for name in assumed if name.startswith("usd_per_") and len(name) == 11}
        raise ScenarioError(
            f"currency = {code!r}: no exchange rate is known; use USD or {', '.join(sorted(names | set(own)))}, "
            f'or give one: [money.rates.{code}] usd = …, as_of = "2026-11-01"'
        )
    return Currency(code=code, usd_per_unit=known)
