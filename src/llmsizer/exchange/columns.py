"""Plain CSV: a table of one's own with a map of columns, or what ``records export`` wrote, with its own names.

The map is TOML::

    [columns]                    # our field = "column", or {column = …, unit = "ms"}, or {column = …, times = 0.001}
    batch = "users"
    prompt_tokens = "in"
    output_tokens = "out"
    ttft_seconds = { column = "ttft", unit = "ms" }
    output_tokens_per_second = "tok/s"
    [given]                      # what is the same for every row
    model = "llama-3.1-8b"
    device = "h100-sxm"
    [load]
    pattern = "closed"           # what ``batch`` counts: closed, single, batch …
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from llmsizer.errors import InputError, nearest_names, suggest
from llmsizer.exchange.given import Given, known
from llmsizer.exchange.point import DEFINITIONS, Point
from llmsizer.exchange.values import SECONDS, Refused, number, seconds, whole
from llmsizer.facts.record_parts import Distribution, Load, Pattern, Quantile
from llmsizer.facts.records import ProfileRecord

TIMES = {"ttft_seconds": "ttft", "tpot_seconds": "tpot", "itl_seconds": "itl", "e2e_seconds": "e2e"}
COUNTS = ("batch", "prompt_tokens", "output_tokens", "accelerators", "repeats")
RATES = ("output_tokens_per_second", "prefill_tokens_per_second")
TEXTS = ("model", "device", "engine", "engine_version", "precision", "measured_at")
FIELDS = (*COUNTS, *TIMES, *RATES, *TEXTS)
OWN_COLUMNS = {"content_id", "record_id", "batch", "prompt_tokens", "output_tokens", "device.name"}
MAY_BE_EMPTY = ("model", "variant", "precision", "engine", "engine_version")
NAMES_BELOW = ("unknown", "engine_options", "versions")
JSON_BELOW = ("model_config_hf", "flags", "instruction_sets", "versions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Where a field stands and what its numbers are multiplied by."""

    name: str
    unit: str = ""
    times: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnMap:
    """A table's columns by our fields, and what holds for all its rows."""

    columns: Mapping[str, Column] = field(default_factory=dict)
    given: Given = field(default_factory=Given)
    pattern: Pattern = "closed"


def read_map(path: Path) -> ColumnMap:
    """A map from TOML. Raises InputError naming the key that cannot be used."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: no map of columns in TOML ({' '.join(str(error).split())[:120]})") from None
    stray = set(document) - {"columns", "given", "load"}
    if stray:
        raise InputError(f"{path}: no table [{sorted(stray)[0]}]; known are [columns], [given] and [load]")
    pattern = _table(document, "load", path).get("pattern", "closed")
    if pattern not in get_args(Pattern):
        raise InputError(f"{path}: load.pattern is {pattern!r}; known are {', '.join(get_args(Pattern))}")
    columns = {name: _column(path, name, value) for name, value in _table(document, "columns", path).items()}
    return ColumnMap(columns=columns, given=given_of(_table(document, "given", path), str(path)), pattern=pattern)


def _table(document: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise InputError(f"{path}: {name} is no table")
    return found


def given_of(values: Mapping[str, Any], where: str) -> Given:
    """What the user says of a file. Raises InputError for a name or number that cannot be used."""
    names = {one.name for one in fields(Given)}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name not in names:
            meant = suggest(nearest_names(name, names, limit=2), sorted(names), shown=len(names))
            raise InputError(f"{where}: nothing named {name!r} can be given; {meant}")
        if name in ("batch", "prompt_tokens", "output_tokens", "accelerators"):
            try:
                found[name] = whole(value, f"{where}: {name}")
            except Refused as error:
                raise InputError(str(error)) from None
            if not found[name]:
                raise InputError(f"{where}: {name} is {value!r}; it is 1 or more")
        else:
            found[name] = str(value)
    return known(replace(Given(), **found), where)


def _column(path: Path, name: str, value: Any) -> Column:
    if name not in FIELDS:
        raise InputError(f"{path}: no field {name!r}; known are {', '.join(FIELDS)}")
    if isinstance(value, str):
        return Column(name=value)
    if not isinstance(value, dict) or not isinstance(value.get("column"), str):
        raise InputError(f"{path}: {name} needs a column's name, or {{ column = …, unit = … }}")
    unit, times = value.get("unit", ""), value.get("times", 1.0)
    if unit and (name not in TIMES or str(unit).lower() not in SECONDS):
        raise InputError(f"{path}: {name} has the unit {unit!r}; times may have {', '.join(SECONDS)}")
    if not isinstance(times, int | float) or isinstance(times, bool) or not times > 0:
        raise InputError(f"{path}: {name}.times is {times!r}; it is a number above 0")
    return Column(name=value["column"], unit=str(unit), times=float(times))


def rows_of(text: str) -> list[dict[str, str]]:
    """A table's rows by its header. Raises Refused for a row that is longer or shorter than the header."""
    try:
        reader = csv.reader(io.StringIO(text), strict=True)
        header = [name.strip() for name in next(reader, [])]
        if len(set(header)) < len(header) or not any(header):
            raise Refused("its first line is no header: names are missing or stand twice")
        found = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise Refused(f"line {reader.line_num} has {len(cells)} cells, the header {len(header)}")
            found.append(dict(zip(header, (cell.strip() for cell in cells), strict=True)))
    except csv.Error as error:
        raise Refused(f"a CSV that cannot be read ({error})") from None
    if not found:
        raise Refused("a header and no rows")
    return found


def points(rows: list[dict[str, str]], mapping: ColumnMap) -> list[Point]:
    """One point a row. Raises Refused naming the row."""
    absent = [column.name for column in mapping.columns.values() if column.name not in rows[0]]
    if absent:
        raise Refused(f"no column {absent[0]!r}; it has {', '.join(name[:20] for name in list(rows[0])[:12])}")
    return [_point(row, f"rows[{i}]", mapping) for i, row in enumerate(rows)]


def _point(row: Mapping[str, str], where: str, mapping: ColumnMap) -> Point:
    values: dict[str, Any] = {}
    distributions: dict[str, Distribution] = {}
    converted: dict[str, str] = {}
    for name, column in mapping.columns.items():
        cell = row[column.name]
        if name in TEXTS:
            values[name] = cell[:200]
        elif name in COUNTS:
            values[name] = whole(cell, f"{where}.{column.name}")
        elif name in RATES:
            found = number(cell, f"{where}.{column.name}")
            values[name] = None if found is None else found * column.times
        else:
            found = seconds(cell, f"{where}.{column.name}", column.unit or "s")
            if found:
                value = Quantile(value=found * column.times)
                ours = TIMES[name]
                distributions[ours] = Distribution(definition=DEFINITIONS[ours], n=0, percentiles={"p50": value})
                converted[ours] = f"column {column.name}" + (f", {column.unit} → seconds" if column.unit else "")
    batch = values.get("batch") or mapping.given.batch
    values["repeats"] = values.get("repeats") or 0
    loop = mapping.pattern in ("closed", "single")
    pattern: Pattern = "single" if loop and batch == 1 else mapping.pattern
    load = Load(pattern=pattern, concurrency=batch if loop else None)
    return Point(position=where, load=load, distributions=distributions, converted=converted, **values)


def own_records(rows: list[dict[str, str]]) -> list[ProfileRecord]:
    """Records out of the CSV that ``records export`` writes: the same figures again. Raises Refused."""
    found = []
    for i, row in enumerate(rows):
        document: dict[str, Any] = dict.fromkeys(MAY_BE_EMPTY, "")  # an empty cell says no more than a missing one
        for name, cell in row.items():
            if cell.lower() in ("nan", "inf", "-inf", "infinity", "-infinity"):
                raise Refused(f"rows[{i}].{name} is {cell}; a measured figure is finite")
            if cell != "" and name != "content_id":
                _put(document, name.split("."), cell, f"rows[{i}].{name}")
        try:
            found.append(ProfileRecord.model_validate(document))
        except ValidationError as error:
            where = ".".join(str(part) for part in error.errors()[0]["loc"])
            raise Refused(f"rows[{i}] is no record: {where or 'it'} cannot be read") from None
    return found


def _put(document: dict[str, Any], path: list[str], cell: str, where: str) -> None:
    """A cell at its place. Some names have points in themselves: the percentile ``p99.9``, whatever is unknown."""
    for start, end in ((1, None),) if path[0] in NAMES_BELOW else ((3, -1),) if path[2:3] == ["percentiles"] else ():
        path = [*path[:start], ".".join(path[start:end]), *(path[end:] if end else [])]
    for part in path[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise Refused(f"{where} stands below a value")
        document = inner
    document[path[-1]] = _plain(cell, path)


def _plain(cell: str, path: list[str]) -> Any:
    if cell[:1] in "[{" or path[0] in JSON_BELOW:
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell
    return cell
