"""Where records come from: a file of JSON lines or Parquet, or a store, named the same way in every command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from llmsizer.cli.output import console
from llmsizer.errors import InputError
from llmsizer.files import path_of

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord, QualityRecord
    from llmsizer.store.content import Item, Kind

    Keep = Callable[[Kind, Sequence[Item]], None]

Record = TypeVar("Record", "ProfileRecord", "QualityRecord")
DEFAULT_STORE = "store"
SHOWN_COMPLAINTS = 5
OTHERS = {"records": "profile records", "quality": "quality records"}
SOURCE_HELP = "a file of records (JSON lines, Parquet), a store (path or postgresql://…), or 'store': the default one"


def is_store(source: str) -> bool:
    """Whether a source is a store: by the word, by its address, or because SQLite wrote the file."""
    from llmsizer.store.location import is_store as is_address

    return source == DEFAULT_STORE or is_address(source)


def open_source(source: str) -> Any:
    """The store that a source names, which must be there."""
    from llmsizer.store import open_store

    return open_store(None if source == DEFAULT_STORE else source, create=False)


def read_source(source: Path | str, kind: type[Record]) -> list[Record]:
    """All records of a kind; what cannot be read is said on stderr and skipped. Raises InputError."""
    return cast("list[Record]", read_kind(str(source), _kind(kind)))


def read_kind(source: str, kind: Kind, **where: object) -> list[Any]:
    """Items of a source by the kind's name; ``where`` filters a store by its columns."""
    if is_store(source):
        return read_store(source, kind, **where)
    items, complaints = _read_file(source, kind)
    if complaints and not items:
        other = next((name for name in ("records", "quality") if name != kind and _holds(source, name)), None)
        if other:
            raise InputError(f"{source}: holds {OTHERS[other]} and no {OTHERS.get(kind, kind)}; give a file of these")
        raise InputError(f"{source}: nothing in it can be read as {kind}; the first of it: {complaints[0]}")
    complain(complaints)
    return items


def read_store(source: str, kind: Kind, **where: object) -> list[Any]:
    """Items of a store, which must be there; ``where`` filters by its columns. Raises InputError."""
    with open_source(source) as store:
        items = [item for _, item in store.items(kind, where)]
        complaints = list(store.problems)
    if complaints and not items:
        raise InputError(f"{source}: nothing in it can be read as {kind}; the first of it: {complaints[0]}")
    complain(complaints)
    return items


def _holds(source: str, kind: Kind) -> bool:
    return not is_store(source) and bool(_read_file(source, kind)[0])


def add_keeping(parser: argparse.ArgumentParser, what: str) -> None:
    """``--store`` of a command that answers, which keeps the answer there too."""
    parser.add_argument(
        "--store", metavar="STORE", help=f"keep {what} there too: a path, postgresql://…, or 'store': the default one"
    )


@contextmanager
def kept_in(source: str | None) -> Iterator[Keep]:
    """How to keep items in a store that is opened at once, so that a wrong address is said before the work; None: not.

    What was kept is said on stderr. Raises InputError.
    """
    if source is None:
        yield lambda kind, items: None
        return
    from llmsizer.store import open_store

    with open_store(None if source == DEFAULT_STORE else source) as store:

        def keep(kind: Kind, items: Sequence[Item]) -> None:
            added = store.add(kind, items)
            text = f"{kind}: {added.new} new, {added.known} known already → {store.location}"
            console(stderr=True).print(text, highlight=False, soft_wrap=True)

        yield keep


def complain(complaints: Sequence[str], *, most: int = SHOWN_COMPLAINTS) -> None:
    """What was skipped, on stderr; of many the first."""
    for complaint in complaints[:most]:
        console(stderr=True).print(complaint, highlight=False, soft_wrap=True)
    if len(complaints) > most:
        console(stderr=True).print(f"… and {len(complaints) - most} more skipped", highlight=False)


def _read_file(source: str, kind: Kind) -> tuple[list[Any], list[str]]:
    from llmsizer.profile.store import read_records
    from llmsizer.store.content import TYPES

    path = path_of(source)
    if not path.is_file():
        maker = "quality REFERENCE VARIANT --text TEXT" if kind == "quality" else "profile …"
        raise InputError(f"no records at {source}; make them with: llmsizer {maker} --records {source}")
    if path.suffix.lower() == ".parquet" or kind in ("scenarios", "plans"):
        from llmsizer.store.exchange import read_items

        found, complaints = read_items(path)
        return list(found.get(kind, [])), complaints
    return read_records(path, TYPES[kind])


def _kind(kind: type[Any]) -> Kind:
    from llmsizer.facts.records import QualityRecord

    return "quality" if kind is QualityRecord else "records"
