"""Finding and parsing the files under ``profiles/``; every complaint names the file and the key."""

from __future__ import annotations

import os
import pickle
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from pydantic import BaseModel, ValidationError

from llmsizer.errors import CatalogError
from llmsizer.facts.provenance import Basis, Provenance

PROVENANCE_KEYS = tuple(field.name for field in fields(Provenance))
SAME_AS_HEAD = "="  # in a row: as the file's [provenance] says
Checked = TypeVar("Checked", bound=BaseModel)


def find_profiles(root: Path | None = None) -> Path:
    """The folder of facts: the one given, $LLMSIZER_PROFILES, the installed one, or the source checkout's."""
    named = root or (Path(os.environ["LLMSIZER_PROFILES"]) if os.environ.get("LLMSIZER_PROFILES") else None)
    if named is not None:
        if not named.is_dir():
            raise CatalogError(f"{named} is no folder; LLMSIZER_PROFILES has to name a folder with gpus/ and models/")
        return named
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "_profiles", package.parent.parent / "profiles"):
        if candidate.is_dir():
            return candidate
    raise CatalogError("no profiles/ folder was installed; set LLMSIZER_PROFILES to a folder with gpus/ and models/")


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. Raises CatalogError naming the file."""
    try:
        parsed = _parsed(path.read_bytes())
    except OSError as error:
        raise CatalogError(f"{path}: {error.strerror or error}; a readable TOML file would work") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}; valid TOML would work") from None
    return cast(dict[str, Any], pickle.loads(parsed))


@lru_cache(maxsize=256)
def _parsed(text: bytes) -> bytes:
    """Pickled, which is read thirty times as fast as TOML; and every reader has a dict of its own."""
    return pickle.dumps(tomllib.loads(text.decode()))


def toml_files(folder: Path) -> tuple[Path, ...]:
    return tuple(sorted(folder.glob("*.toml")))


def take_provenance(data: Mapping[str, Any], where: str) -> Provenance:
    """The [provenance] of a file or row: source, date, confidence and basis are all required."""
    section = data.get("provenance")
    if not isinstance(section, Mapping):
        raise CatalogError(f"{where}: provenance is missing; give source, as_of, confidence and basis")
    return make_provenance(section, where)


def make_provenance(section: Mapping[str, Any], where: str) -> Provenance:
    unknown = set(section) - set(PROVENANCE_KEYS)
    if unknown:
        raise CatalogError(f"{where}: provenance.{min(unknown)} is not known; known: {', '.join(PROVENANCE_KEYS)}")
    values = {key: section.get(key, "") for key in PROVENANCE_KEYS}
    for key, value in values.items():
        if not isinstance(value, str) or (key in {"source", "as_of", "confidence", "basis"} and not value.strip()):
            raise CatalogError(f"{where}: provenance.{key} = {value!r}; give a text")
    if values["basis"] not in get_args(Basis):
        raise CatalogError(f"{where}: provenance.basis = {values['basis']!r}; known: {', '.join(get_args(Basis))}")
    return Provenance(**values)


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any], Provenance]]:
    """Rows of a table file: where each stands, its cells without the empty ones, and its provenance.

    A ``provider`` at the head of the file belongs to every row.
    The head's ``source`` may hold ``{column}``, which is filled from the row.
    """
    data = read_toml(path)
    head = data.get("provenance")
    table = data.get("table")
    if not isinstance(head, Mapping) or not isinstance(table, Mapping):
        raise CatalogError(f"{path}: [provenance] or [table] is missing; both are needed")
    columns, rows = table.get("columns"), table.get("rows")
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise CatalogError(f"{path}: table.columns or table.rows is missing; give two lists")
    common = {"provider": data["provider"]} if "provider" in data else {}
    shared: dict[tuple[tuple[str, Any], ...], Provenance] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}: row {number}"
        if not isinstance(row, list) or len(row) != len(columns):
            raise CatalogError(
                f"{where}: {len(row) if isinstance(row, list) else 'no'} cells for {len(columns)} columns"
            )
        cells = dict(zip(columns, row, strict=True))
        own = {key: cells.pop(key) for key in PROVENANCE_KEYS if key in cells}
        origin = dict(head) | {key: value for key, value in own.items() if value != SAME_AS_HEAD}
        cells = common | {key: value for key, value in cells.items() if value != ""}
        if "{" in str(origin.get("source", "")):
            for key, value in cells.items():
                origin["source"] = origin["source"].replace("{" + key + "}", str(value))
        key = tuple(sorted(origin.items()))
        if key not in shared:
            shared[key] = make_provenance(origin, where)
        yield where, cells, shared[key]


def check(kind: type[Checked], values: Mapping[str, Any], where: str) -> Checked:
    """Validated facts, or a CatalogError with file and key."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "values"
        raise CatalogError(f"{where}: {key}: {first['msg']}; got {_short(first.get('input'))}") from None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
