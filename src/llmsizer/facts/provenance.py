"""Where a number comes from, and how sure it is: carried from birth to the screen."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Literal

Basis = Literal["measured", "calibrated", "datasheet", "price list", "published", "assumed", "unknown"]
"""How a number is known.

measured    here, or by a named source that ran it
calibrated  a formula fitted on named records, with its residual
datasheet   the maker's own specification
price list  a provider's published price on a date
published   read in or derived exactly from a published description (a model's config, an official statistic)
assumed     a stated, editable assumption; press estimates are assumptions
unknown     not known: the value is None and the note says why
"""

STALE_AFTER_DAYS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Source, date and confidence of one number or of one file of numbers."""

    source: str
    as_of: str  # ISO date or a coarser period ("2026-03", "2026-Q1") where the source gives no day
    confidence: str
    basis: Basis
    licence: str = ""
    note: str = ""

    def age_days(self, today: datetime.date) -> int | None:
        """Days since the number was true; None where the date cannot be read."""
        day = parse_date(self.as_of)
        return None if day is None else (today - day).days

    def is_stale(self, today: datetime.date) -> bool:
        """True where the number is older than 90 days, or nobody can say how old it is."""
        age = self.age_days(today)
        return age is None or age > STALE_AFTER_DAYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number that leaves the package: value, 90 % interval, basis, and why.

    >>> Estimate(value=None, basis="unknown", reason="no price was published").text("$")
    'unknown (no price was published)'
    """

    value: float | None
    basis: Basis
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if self.value is None and (self.basis != "unknown" or not self.reason):
            raise AssertionError("an unknown value needs basis 'unknown' and a reason")

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit."""
        if self.value is None:
            return self
        low = None if self.low is None else self.low * factor
        high = None if self.high is None else self.high * factor
        return Estimate(value=self.value * factor, basis=self.basis, low=low, high=high, reason=self.reason)

    def text(self, prefix: str = "", suffix: str = "", digits: int = 3) -> str:
        """For people: ``12.3 ms [10.1–15.0] (calibrated)``."""
        if self.value is None:
            return f"unknown ({self.reason})"
        band = ""
        if self.low is not None and self.high is not None:
            band = f" [{_shown(self.low, digits)}–{_shown(self.high, digits)}]"
        return f"{prefix}{_shown(self.value, digits)}{suffix}{band} ({self.basis})"


def _shown(value: float, digits: int) -> str:
    """So many digits; large ones without an exponent: 26,300 and not 2.63e+04."""
    return f"{value:,.0f}" if abs(value) >= 10**digits - 0.5 else f"{value:.{digits}g}"


def parse_date(text: str) -> datetime.date | None:
    """The first day of the ISO date, month, quarter or year at the start of a text.

    >>> parse_date("2026-Q2"), parse_date("2025-2026")
    (datetime.date(2026, 4, 1), datetime.date(2025, 1, 1))
    """
    match = re.match(r"(\d{4})(?:-(?:Q([1-4])|(\d{2})(?!\d)(?:-(\d{2}))?))?", text)
    if match is None:
        return None
    year, quarter, month, day = match.groups()
    month_number = int(quarter) * 3 - 2 if quarter else int(month or 1)
    try:
        return datetime.date(int(year), month_number, int(day or 1))
    except ValueError:
        return None
