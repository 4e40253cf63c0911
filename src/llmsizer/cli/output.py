"""Printing: one JSON document, or tables and sentences for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from llmsizer.plain import plain

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A console that keeps its width in pipes and never colours a file; names may have brackets, so none is a style."""
    from rich.console import Console

    probe = Console(stderr=stderr, markup=False)
    return probe if probe.is_terminal else Console(stderr=stderr, markup=False, width=120, no_color=True)


def working(what: str) -> AbstractContextManager[object]:
    """A line on stderr while something takes time, gone when it is done; nothing where nobody watches."""
    probe = console(stderr=True)
    return probe.status(f"{what} …") if probe.is_terminal else nullcontext()


def print_json(document: object) -> None:
    """One JSON document on stdout; a number that is not finite becomes null, as JSON has no other word for it."""
    print(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]], *, note: str = "") -> None:
    """A table; columns whose header ends in a space-free unit or number are right-aligned by content."""
    from rich.table import Table

    body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    table = Table(caption=note or None, caption_justify="left")
    for index, header in enumerate(headers):
        numeric = all(_is_numeric(row[index]) for row in body) and bool(body)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*row)
    out = console()
    if title:
        out.print(title, style="bold", highlight=False)
    out.print(table)


def _is_numeric(text: str) -> bool:
    return not text or text.lstrip("$€−-~≈").replace(",", "")[:1].isdigit()
