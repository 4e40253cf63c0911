"""A table before it is drawn: the same rows go to the report, to the screen and under every chart."""

from __future__ import annotations

from dataclasses import dataclass

from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.wording import amount, figure_amount, figure_range
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: what it says, how sure that is (numbers always say), its interval, and a remark."""

    text: str
    basis: Basis | None = None
    between: str = ""
    remark: str = ""
    strong: bool = False

    @property
    def is_only_unknown(self) -> bool:
        """Whether the mark of its basis already says all."""
        return self.basis == "unknown" and self.text == "unknown"

    @property
    def plain(self) -> str:
        """The cell as one line of text."""
        said = [] if self.is_only_unknown else [self.text]
        said += [f"({self.between})"] if self.between else []
        said += [mark(self.basis)] if self.basis else []
        return f"{' '.join(said)}{f' · {self.remark}' if self.remark else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Headers and rows; the first column names the row."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    total_row: int | None = None  # the row that sums those above it

    @property
    def plain_rows(self) -> list[dict[str, str]]:
        """Rows as dictionaries of text, for a data frame or a file."""
        names = self.distinct_headers
        return [{h: c.plain for h, c in zip(names, row, strict=True)} for row in self.rows]

    @property
    def distinct_headers(self) -> tuple[str, ...]:
        """The headers, numbered where one recurs: a data frame needs each of its own."""
        seen: dict[str, int] = {}
        names = []
        for header in self.headers:
            seen[header] = seen.get(header, 0) + 1
            names.append(header if seen[header] == 1 else f"{header} ({seen[header]})")
        return tuple(names)


def words(text: str, *, strong: bool = False, remark: str = "") -> Cell:
    """A cell that holds a name or a sentence."""
    return Cell(text=text, strong=strong, remark=remark)


def number(value: float | None, unit: str, basis: Basis, *, why_unknown: str = "", remark: str = "") -> Cell:
    """A cell that holds a number; without a value it says so and why."""
    if value is None:
        return Cell(text="unknown", basis="unknown", remark=why_unknown or "not measured")
    return Cell(text=amount(value, unit), basis=basis, remark=remark)


def figure(value: Figure, *, strong: bool = False, text: str = "") -> Cell:
    """A cell that holds a figure; ``text`` in place of its own words, where a column must add up as displayed."""
    if value.value is None:
        return Cell(text="unknown", basis="unknown", remark=value.estimate.reason, strong=strong)
    remark = f"stale: {value.as_of or 'no date'}" if value.stale else ""
    said = text or figure_amount(value)
    return Cell(text=said, basis=value.basis, between=figure_range(value), remark=remark, strong=strong)
