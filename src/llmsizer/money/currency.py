"""Dollars shown in another currency, at a dated rate. Nothing is guessed: a currency without a rate is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from typing_extensions import TypedDict

from llmsizer.errors import ScenarioError
from llmsizer.facts.figure import Figure, FigureDoc, exact
from llmsizer.facts.money_options import ExchangeRate

_SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£"}


class CurrencyDoc(TypedDict):
    """The JSON form of the currency that amounts are shown in; every ``usd`` key stays in US dollars."""

    code: str
    usd_per_unit: FigureDoc


@dataclass(frozen=True, slots=True, kw_only=True)
class Currency:
    """A currency and the dollars that one unit of it costs."""

    code: str
    usd_per_unit: Figure

    def text(self, usd: float | None) -> str:
        """``€1,240``; unknown stays unknown."""
        if usd is None:
            return "unknown"
        amount = self.amount(usd)
        symbol = _SYMBOLS.get(self.code, f"{self.code} ")
        sign, size = ("−" if amount < 0 else ""), abs(amount)
        digits = 0 if size >= 100 else 2 if size >= 0.1 or size == 0 else 4
        return f"{sign}{symbol}{size:,.{digits}f}"

    def amount(self, usd: float) -> float:
        rate = self.usd_per_unit.value
        assert rate is not None, "a currency without a rate is refused"
        return usd / rate

    @property
    def note(self) -> str:
        """The rate in words; empty for dollars."""
        if self.code == "USD":
            return ""
        rate = self.usd_per_unit
        old = "; older than 90 days" if rate.stale else ""
        return f"1 {self.code} = {rate.value:.4g} USD ({rate.source}, {rate.as_of}{old})"

    def to_dict(self) -> CurrencyDoc:
        return {"code": self.code, "usd_per_unit": self.usd_per_unit.to_dict()}


US_DOLLARS = Currency(code="USD", usd_per_unit=exact(1.0, "USD/USD", "published", "definition"))


def currency_of(code: str, assumed: Mapping[str, Figure], own: Mapping[str, ExchangeRate]) -> Currency:
    """The scenario's own rate before the catalogue's. Raises ScenarioError where there is neither."""
    if code == "USD":
        return US_DOLLARS
    if code in own:
        rate = own[code]
        return Currency(code=code, usd_per_unit=exact(rate.usd, f"USD/{code}", "assumed", rate.source, rate.as_of))
    known = assumed.get(f"usd_per_{code.lower()}")
    if known is None:
        names = sorted(name[-3:].upper() for name in assumed if name.startswith("usd_per_") and len(name) == 11)
        raise ScenarioError(
            f"currency = {code!r}: no exchange rate is known; use USD or {', '.join(names)}, or give one: "
            f'[money.rates.{code}] usd = …, as_of = "2026-11-01"'
        )
    return Currency(code=code, usd_per_unit=known)
