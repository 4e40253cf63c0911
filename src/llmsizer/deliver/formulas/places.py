"""Where the numbers of a workbook go: named rows, or the cells of one row.

What a fleet is made of is written once (``live_bills``) and put in different places.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Protocol

from llmsizer.deliver.formulas.live import Live, live
from llmsizer.facts.figure import Figure
from llmsizer.money.currency import US_DOLLARS, USD, Currency, is_money

NAN = float("nan")


class Inputs(Protocol):
    """Takes an input and hands back what formulas call it by."""

    def given(self, key: str, figure: Figure) -> Live:
        """An input with its range and source."""
        ...


class Place(Inputs, Protocol):
    """Takes results too."""

    def put(self, key: str, unit: str, number: Live) -> Live:
        """What follows from other numbers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """One row of the assumptions sheet; ``name`` is what formulas call it."""

    name: str
    figure: Figure


@dataclass
class Register:
    """Every input of a workbook once, by the name that its formulas use.

    Money comes in as it was quoted, in dollars; its name stands for the amount in the workbook's currency, which
    follows the cell of the rate.
    """

    currency: Currency = US_DOLLARS
    rows: dict[str, Assumption] = field(default_factory=dict)

    def given(self, name: str, figure: Figure) -> Live:
        """The input of that name; the first figure that came under a name stays."""
        if is_money(figure.unit):
            called, value = self.currency.name(name), NAN if figure.value is None else self.of(figure.value).value
            row = self.rows.setdefault(name, Assumption(name=safe_name(called), figure=figure))
            return Live(row.name, value)
        row = self.rows.setdefault(name, Assumption(name=safe_name(name), figure=figure))
        return Live(row.name, NAN if row.figure.value is None else row.figure.value)

    @property
    def rate(self) -> Live:
        """Dollars for one unit of the workbook's currency: 1, or the cell that everything follows."""
        if self.currency.code == USD:
            return live(1)
        return self.given(f"usd_per_{self.currency.code.lower()}", self.currency.usd_per_unit)

    def of(self, usd: float | Live) -> Live:
        """Dollars in the workbook's currency, as a formula."""
        return live(usd) if self.currency.code == USD else live(usd) / self.rate


@dataclass
class Under:
    """A place below a prefix: inputs join the register, results are named rows of a sheet, kept in order."""

    prefix: str
    register: Register
    results: list[tuple[str, str, str, Live]] = field(default_factory=list)  # key, name, unit, formula

    def given(self, key: str, figure: Figure) -> Live:
        return self.register.given(f"{self.prefix}_{key}", figure)

    def put(self, key: str, unit: str, number: Live) -> Live:
        name = safe_name(self.register.currency.name(f"{self.prefix}_{key}"))
        self.results.append((key, name, unit, number))
        return Live(name, number.value)


@dataclass
class AcrossRow:
    """A place in one row: inputs and results each take the next column. ``row`` counts from 1, as sheets do."""

    row: int
    register: Register  # of the workbook, for the rate that money follows
    column: int = 0
    cells: list[tuple[str, str, Live]] = field(default_factory=list)  # key, unit, number or formula

    def given(self, key: str, figure: Figure) -> Live:
        value = NAN if figure.value is None else figure.value
        return self.put(key, figure.unit, self.register.of(value) if is_money(figure.unit) else live(value))

    def put(self, key: str, unit: str, number: Live) -> Live:
        self.cells.append((key, unit, number))
        column = self.column + len(self.cells) - 1
        return Live(f"${column_letters(column)}${self.row}", number.value)


def column_letters(index: int) -> str:
    """0 → A, 26 → AA."""
    letters = ""
    while index >= 0:
        letters = chr(ord("A") + index % 26) + letters
        index = index // 26 - 1
    return letters


def safe_name(text: str) -> str:
    """A name that spreadsheets accept and never take for a cell: letters, digits, underscores, an underscore inside."""
    name = re.sub(r"\W", "_", text, flags=re.ASCII).strip("_") or "value"
    name = name if name[0].isalpha() else f"v_{name}"
    return name if "_" in name or not re.fullmatch(r"[A-Za-z]{1,3}\d*", name) else f"{name}_"
