"""A workbook being written: sheets, styles, names; every text stays a text, every number knows its formula."""

from __future__ import annotations

import datetime
import math
import re
from pathlib import Path
from typing import Any

from llmsizer.deliver.formulas.live import Live
from llmsizer.deliver.formulas.places import column_letters
from llmsizer.installed import optional

_MOST_CHARACTERS = 32_000  # of a cell; a sheet holds 32,767
_UNKNOWN = "#N/A"
_LINE_POINTS, _MOST_LINES, _USUAL_WIDTH = 15, 8, 9.0
_WRAPPED = ("text", "inner", "quoted", "header")
_STYLES: dict[str, dict[str, Any]] = {
    "text": {"text_wrap": True, "valign": "top"},
    "quoted": {"text_wrap": True, "valign": "top", "quote_prefix": True},
    "inner": {"text_wrap": True, "valign": "top", "indent": 1},  # of a column beside numbers
    "plain": {"valign": "top"},
    "title": {"bold": True, "font_size": 15},
    "note": {"italic": True, "font_color": "#59616b", "valign": "top"},
    "header": {"bold": True, "bottom": 1, "text_wrap": True, "valign": "bottom", "bg_color": "#eef1f4"},
    "money": {"num_format": "#,##0.00", "valign": "top"},
    "number": {"num_format": "#,##0.######", "valign": "top"},
    "short": {"num_format": "#,##0.###", "valign": "top"},
    "date": {"num_format": "yyyy-mm-dd", "valign": "top", "align": "left"},
    "input": {"num_format": "#,##0.######", "bg_color": "#fff6d6", "valign": "top"},
    "total": {"num_format": "#,##0.00", "bold": True, "top": 1, "valign": "top"},
    "bold": {"bold": True, "valign": "top"},
}


class Spreadsheet:
    """An XLSX file. Raises MissingExtraError where its toolkit is not installed."""

    def __init__(self, path: Path, *, title: str, subject: str, day: datetime.date) -> None:
        toolkit = optional("xlsxwriter", what="the workbook", extra="report")
        options = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False,
                   "nan_inf_to_errors": True}  # fmt: skip
        self.book = toolkit.Workbook(str(path), options)
        self.book.set_properties(
            {"title": title[:200], "subject": subject, "created": datetime.datetime.combine(day, datetime.time())}
        )
        self.book.set_calc_mode("auto")
        self.styles = {name: self.book.add_format(style) for name, style in _STYLES.items()}
        self.sheets: dict[str, Sheet] = {}

    def sheet(self, name: str, widths: tuple[float, ...]) -> Sheet:
        """A new sheet, after those before it."""
        made = Sheet(self, name, self.book.add_worksheet(name), widths)
        for column, width in enumerate(widths):
            made.page.set_column(column, column, width)
        self.sheets[name] = made
        return made

    def close(self) -> None:
        for sheet in self.sheets.values():
            for row, lines in sheet.lines.items():
                sheet.page.set_row(row, _LINE_POINTS * lines)
        self.book.close()


class Sheet:
    """One sheet; ``row`` is the next free one, counted from 0."""

    def __init__(self, owner: Spreadsheet, name: str, page: Any, widths: tuple[float, ...]) -> None:
        self.owner, self.name, self.page, self.widths = owner, name, page, widths
        self.lines: dict[int, int] = {}  # of rows whose words take more than one
        self.row = 0
        page.set_landscape()
        page.set_paper(9)
        page.fit_to_pages(1, 0)
        page.hide_gridlines(2)

    def words(self, column: int, text: str, style: str = "text", *, row: int | None = None) -> None:
        """A text that stays one: what begins like a formula is marked as quoted."""
        kept = "".join(c if c >= " " or c == "\n" else " " for c in text)[:_MOST_CHARACTERS]
        if style == "text" and re.match(r"\s*[=+\-@|%]", kept):
            style = "quoted"
        if style == "text" and column > 0:
            style = "inner"
        at = self.row if row is None else row
        if style in _WRAPPED:
            wide = self.widths[column] if column < len(self.widths) else _USUAL_WIDTH
            self.lines[at] = max(self.lines.get(at, 1), min(_MOST_LINES, math.ceil(len(kept) / wide)))
        self.page.write_string(at, column, kept, self.owner.styles[style])

    def number(self, column: int, number: Live | float, style: str = "number", *, row: int | None = None) -> None:
        """A formula with its value beside it, or a plain number; what nobody knows is ``#N/A``, never 0."""
        at = self.row if row is None else row
        shown = self.owner.styles[style]
        if not isinstance(number, Live):
            number = Live(repr(float(number)), float(number))
        value: float | str = _UNKNOWN if math.isnan(number.value) else number.value
        if number.is_number and value != _UNKNOWN:
            self.page.write_number(at, column, number.value, shown)
        else:
            self.page.write_formula(at, column, f"={number.text}", shown, value)

    def formula(self, column: int, text: str, value: float | str, style: str = "number") -> None:
        """A formula that is not arithmetic on numbers: a look-up, a word chosen by a test."""
        self.page.write_formula(self.row, column, text, self.owner.styles[style], value)

    def day(self, column: int, day: datetime.date) -> None:
        moment = datetime.datetime.combine(day, datetime.time())
        self.page.write_datetime(self.row, column, moment, self.owner.styles["date"])

    def name_cell(self, name: str, column: int) -> None:
        """The name by which formulas on any sheet call this cell of the row."""
        self.owner.book.define_name(name, f"='{self.name}'!${column_letters(column)}${self.row + 1}")

    def line(self, *cells: str, style: str = "text") -> None:
        """A row of words."""
        for column, cell in enumerate(cells):
            self.words(column, cell, style)
        self.row += 1

    def head(self, title: str, note: str = "") -> None:
        self.words(0, title, "title")
        self.row += 1
        if note:
            self.page.write_string(self.row, 0, note, self.owner.styles["plain"])
            self.row += 1
        self.row += 1
