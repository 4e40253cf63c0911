"""What a page needs to show one chart, and the short words of its axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llmsizer.deliver.elements.tables import Table
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


def short_usd(value: float) -> str:
    """Dollars on an axis: ``$10k``."""
    for factor, suffix in ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k")):
        if value >= factor:
            return f"${value / factor:g}{suffix}"
    return f"${value:g}"


def short_tokens(value: float) -> str:
    """Tokens on an axis: ``10B``."""
    for factor, suffix in ((TERA, "T"), (GIGA, "B"), (MEGA, "M"), (KILO, "k")):
        if value >= factor:
            return f"{value / factor:g}{suffix}"
    return f"{value:g}"
