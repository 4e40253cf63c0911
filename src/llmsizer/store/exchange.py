"""Records in and out as files: JSON lines (both ways), Parquet (both ways), CSV (out, for a spreadsheet)."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.files import whole_file
from llmsizer.installed import optional
from llmsizer.profile.store import read_line
from llmsizer.store.content import Document, Item, Kind, content_id, document_of, flat

FORMATS = ("jsonl", "parquet", "csv")
DOCUMENT = "document"  # the Parquet column that holds the whole item; the others are for analysis
Found = dict[Kind, list[Item]]


def read_items(path: Path) -> tuple[Found, list[str]]:
    """Everything a file holds, by kind, and a line for each thing that could not be read.

    JSON lines of profile or quality records (mixed too), Parquet that `export_items` wrote, a scenario in TOML, or the
    JSON document that ``llmsizer plan --json`` prints. Raises InputError where the file is none of these.
    """
    suffix = path.suffix.lower()
    if suffix == ".toml":
        return {"scenarios": [_scenario(path)]}, []
    if suffix == ".parquet":
        lines = _parquet_lines(path)
    else:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: not readable as JSON lines ({type(error).__name__}); give a UTF-8 file"
            ) from None
        plan = _plan(path, text)
        if plan is not None:
            return {"plans": [plan]}, []
        lines = text.splitlines()
    return _by_kind(path, lines)


def _by_kind(path: Path, lines: Sequence[str]) -> tuple[Found, list[str]]:
    found: Found = {}
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        is_quality = '"perplexity"' in line and '"batch"' not in line
        item = read_line(line, QualityRecord) if is_quality else read_line(line, ProfileRecord)
        if isinstance(item, str):
            problems.append(f"{path}:{number}: skipped, {item}")
        else:
            found.setdefault("quality" if is_quality else "records", []).append(item)
    if not found:
        first = f"; {problems[0]}" if problems else ""
        raise InputError(f"{path}: no records, no scenario and no plan in it{first}")
    return found, problems


def _scenario(path: Path) -> Document:
    scenario = load_scenario(path)
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    return Document(name=path.stem, model=str(scenario.model), content=json.loads(json.dumps(content, default=str)))


def _plan(path: Path, text: str) -> Document | None:
    """A whole file that is one JSON object with a scenario in it, as plan prints it."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or "plans" not in document or "record_id" in document:
        return None
    return plan_document(document, name=path.stem)


def plan_document(document: dict[str, Any], *, name: str = "") -> Document:
    """What ``plan --json`` prints, under its scenario's name, else the one given."""
    scenario, model = document.get("scenario"), document.get("model")
    scenario = scenario.get("name") if isinstance(scenario, dict) else scenario
    model = model.get("name") if isinstance(model, dict) else model
    return Document(name=str(scenario or name), model=str(model or ""), content=document)


def scenario_document(scenario: Scenario) -> Document:
    """A scenario as it was asked, without what is only a default."""
    content = scenario.model_dump(mode="json", exclude_defaults=True)
    return Document(name=scenario.name, model=str(scenario.model), content=content)


def _parquet_lines(path: Path) -> list[str]:
    parquet = optional("pyarrow.parquet", what="reading Parquet", extra="store")
    arrow = optional("pyarrow", what="reading Parquet", extra="store")
    try:
        table = parquet.read_table(path, columns=[DOCUMENT])
    except (OSError, arrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: not readable as Parquet of records ({reason})") from None
    return [str(line) for line in table.column(DOCUMENT).to_pylist()]


def export_items(items: Sequence[Item], path: Path, format: str) -> None:
    """Write items to a file that is there whole or not at all. Raises InputError for an unknown format."""
    if format not in FORMATS:
        raise InputError(f"no export format {format!r}; give one of {', '.join(FORMATS)}")
    with whole_file(path) as partial:
        if format == "jsonl":
            partial.write_text("".join(item.model_dump_json() + "\n" for item in items), encoding="utf-8")
        elif format == "csv":
            _write_csv(items, partial)
        else:
            _write_parquet(items, partial)


def table_rows(items: Sequence[Item]) -> list[dict[str, Any]]:
    """A flat row for each item, dotted names, its content id first; only columns that any item fills."""
    rows = [{"content_id": content_id(i), **dict(flat(i.model_dump(mode="json")))} for i in items]
    filled = [name for name in dict.fromkeys(n for r in rows for n in r) if any(r.get(name) is not None for r in rows)]
    return [{name: row.get(name) for name in filled} for row in rows]


def _write_csv(items: Sequence[Item], path: Path) -> None:
    rows = table_rows(items)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["content_id"])
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(items: Sequence[Item], path: Path) -> None:
    arrow = optional("pyarrow", what="writing Parquet", extra="store")
    parquet = optional("pyarrow.parquet", what="writing Parquet", extra="store")
    rows = table_rows(items)
    columns = {name: _one_type([row[name] for row in rows]) for name in (rows[0] if rows else {"content_id": None})}
    columns[DOCUMENT] = [document_of(item) for item in items]
    parquet.write_table(arrow.table(columns), path)


def _one_type(values: list[Any]) -> list[Any]:
    """Parquet columns have one type: whole numbers beside others become floats, any other mixture text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1:
        return [None if value is None else str(value) for value in values]
    return values
