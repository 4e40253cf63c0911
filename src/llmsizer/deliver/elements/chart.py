"""What a page needs to show one chart, and the short words of its axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from llmsizer.deliver.elements.tables import Table
from llmsizer.money.currency import shown
from llmsizer.units import GIGA, KILO, MEGA, TERA


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One entry of a legend: what is drawn in the chart, its CSS class, and what it means."""

    symbol: str
    css: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything a page needs to show a chart; the table says the same in numbers."""

    title: str
    alt: str
    draw: Callable[[float], str]
    table: Table
    legend: tuple[Key, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One mark of an axis: where it stands in dollars, and what it says in the currency shown."""

    at_usd: float
    words: str


def money_ticks(
    low_usd: float, high_usd: float, round_numbers: Callable[[float, float], list[float]]
) -> tuple[Tick, ...]:
    """Marks between two ends in dollars, at round numbers of the currency shown."""
    money = shown()
    found = round_numbers(money.amount(low_usd), money.amount(high_usd))
    return tuple(Tick(at_usd=amount * money.rate, words=money.short(amount)) for amount in found)


def axis_ticks(ticks: Sequence[Tick]) -> dict[str, list[Any]]:
    """The marks as an axis of a figure has them."""
    return {"tickvals": [tick.at_usd for tick in ticks], "ticktext": [tick.words for tick in ticks]}


def short_tokens(value: float) -> str:
    """Tokens on an axis: ``10B``."""
    for factor, suffix in ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k")):
        if value >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"
