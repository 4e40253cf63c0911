"""Figures as people read them: the one place where a unit becomes words on a page or a screen."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from llmsizer.facts.figure import Figure
from llmsizer.money.currency import USD, format_usd, is_money, shown
from llmsizer.units import GIGA, KILO, MEGA, TERA, UNKNOWN, format_seconds
from llmsizer.units import plain_number as plain_number

_SECONDS = {"s", "seconds"}
_BYTES = {"B", "bytes"}
_FRACTIONS = {"fraction", "of the 16-bit reference's scores"}


def amount(value: float | None, unit: str) -> str:
    """A value with its unit: ``€12,340 / month``, ``84 ms``, ``44.5 GB``, ``97.2 %``; None is ``unknown``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if is_money(unit):
        per = unit.removeprefix(USD).strip().replace("/", " / ", 1)
        return f"{format_usd(value)}{' ' + per.strip() if per else ''}"
    if unit in _SECONDS:
        return format_seconds(value)
    if unit in _BYTES:
        return size(value)
    if unit in _FRACTIONS:
        return f"{plain_number(value * 100)} %"
    if unit.startswith("tokens") and not unit.endswith("/s") and abs(value) >= MEGA:
        return f"{tokens(value)} {unit.replace('/', ' / ')}"
    return f"{plain_number(value)} {'' if unit == 'ratio' else unit}".strip()


def size(value_bytes: float | None) -> str:
    """Bytes with the decimal prefix that suits them: ``44.5 GB``, ``93.1 MB``."""
    if value_bytes is None:
        return UNKNOWN
    for factor, name in ((TERA, "TB"), (GIGA, "GB"), (MEGA, "MB"), (KILO, "kB")):
        if abs(value_bytes) >= factor:
            return f"{plain_number(value_bytes / factor)} {name}"
    return f"{value_bytes:,.0f} B"


def tokens(value: float | None) -> str:
    """A volume of tokens: ``850 M``, ``1.2 G`` would be read as grams, so ``1.2 billion``."""
    if value is None:
        return UNKNOWN
    for factor, name in ((TERA, "trillion"), (GIGA, "billion"), (MEGA, "million"), (KILO, "thousand")):
        if abs(value) >= factor:
            return f"{plain_number(value / factor)} {name}"
    return plain_number(value)


def figure_amount(figure: Figure) -> str:
    """The value alone, without range or basis; ``unknown`` where it is not known."""
    return amount(figure.value, figure.unit)


def figure_range(figure: Figure) -> str:
    """The interval alone, ``€10,900 to €14,200``; empty where there is none or it is a point."""
    if figure.value is None or figure.low is None or figure.high is None or figure.low == figure.high:
        return ""
    unit = USD if is_money(figure.unit) else figure.unit
    low, high = amount(figure.low, unit), amount(figure.high, unit)
    if unit not in _SECONDS | _BYTES and unit != USD:
        low = low.removesuffix(" %" if unit in _FRACTIONS else unit.replace("/", " / ")).removesuffix(unit).strip()
    return "" if low == high else f"{low} to {high}"


def from_to(low: float, high: float, unit: str) -> str:
    """``80,000 to 180,000 EUR/year``: two ends with their unit once."""
    ends = " to ".join(plain_number(shown().value(end, unit)) for end in (low, high))
    return f"{ends} {shown().unit(unit)}".strip()


def shown_parts(values: Sequence[float], digits: int) -> list[float]:
    """Parts rounded so that, as displayed, they sum to their rounded total (largest remainders first)."""
    unit = 10.0**-digits
    floors = [math.floor(value / unit) for value in values]
    missing = round(sum(values) / unit) - sum(floors)
    by_remainder = sorted(range(len(values)), key=lambda i: floors[i] - values[i] / unit)
    for index in by_remainder[:missing]:
        floors[index] += 1
    return [round(floor * unit, digits) for floor in floors]


def sentence(text: str) -> str:
    """The text with capitals where sentences begin and a full stop."""
    flat = " ".join(text.split())
    if not flat:
        return ""
    text = flat[0].upper() + flat[1:] + ("" if flat[-1] in ".!?:" else ".")
    return re.sub(r"([a-z)][.!?] )([a-z])", lambda found: found[1] + found[2].upper(), text)


def headline(text: str) -> tuple[str, str]:
    """The first sentence, and the rest."""
    first, *rest = re.split(r"(?<=[.!?])\s+(?=[A-Z0-9$€£])", sentence(text), maxsplit=1)
    return first, rest[0] if rest else ""
