"""Printing: one JSON document, or tables and sentences for people."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from llmsizer.plain import plain

if TYPE_CHECKING:
    from rich.console import Console

BORDERS = 3  # of each column: a line and a blank on both sides of its text


def console(*, stderr: bool = False) -> Console:
    """A console that keeps its width in pipes and never colours a file; names may have brackets, so none is a style."""
    make = _console_type()
    probe = make(stderr=stderr, markup=False)
    return probe if probe.is_terminal else make(stderr=stderr, markup=False, width=120, no_color=True)


@cache
def _console_type() -> type[Console]:
    from rich.console import Console

    class Piped(Console):
        def on_broken_pipe(self) -> NoReturn:
            """`llmsizer … | head` is no mistake: ``main`` ends as quietly as after any other output."""
            raise  # called where the pipe's error is being handled

    return Piped


def working(what: str) -> AbstractContextManager[object]:
    """A line on stderr while something takes time, gone when it is done; nothing where nobody watches."""
    probe = console(stderr=True)
    return probe.status(f"{what} …") if probe.is_terminal else nullcontext()


def print_json(document: object) -> None:
    """One JSON document on stdout; a number that is not finite becomes null, as JSON has no other word for it."""
    print(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def print_table(title: str, headers: Sequence[str], rows: Iterable[Sequence[object]], *, note: str = "") -> None:
    """A table; columns of numbers are right-aligned. Where its words would be broken, a block for each row instead."""
    from rich.table import Table

    body = [["" if cell is None else str(cell) for cell in row] for row in rows]
    out = console()
    if title:
        out.print(title, style="bold", highlight=False)
    least = _least_width(headers, body)
    if out.width < least and out.is_terminal:
        _print_blocks(out, headers, body, note)
        return
    out.width = max(out.width, least)  # a file has lines as long as they need
    table = Table(caption=note or None, caption_justify="left")
    for index, header in enumerate(headers):
        numeric = all(_is_numeric(row[index]) for row in body) and bool(body)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*row)
    out.print(table)


def _least_width(headers: Sequence[str], body: Sequence[Sequence[str]]) -> int:
    """Of a table in which no word is broken; words longer than a line are broken in any case."""
    longest = [
        max((len(word) for cell in column for word in cell.split()), default=0)
        for column in zip(headers, *body, strict=True)
    ]
    return sum(min(words, 40) + BORDERS for words in longest) + 1


def _print_blocks(out: Console, headers: Sequence[str], body: Sequence[Sequence[str]], note: str) -> None:
    """The rows one below the other, for a terminal that is too narrow for columns."""
    for row in body:
        for index, (header, cell) in enumerate(zip(headers, row, strict=True)):
            if cell:
                label = f"{header}: " if header and index else ""
                out.print(f"{'  ' if index else '─ '}{label}{cell}", highlight=False)
    if note:
        out.print(note, style="dim", highlight=False)


def _is_numeric(text: str) -> bool:
    return not text or text.lstrip("$€−-~≈").replace(",", "")[:1].isdigit()
