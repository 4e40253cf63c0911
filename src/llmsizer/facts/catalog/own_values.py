"""The user's own values, changed one by one: checked as a whole before they are kept, and taken back again.

They stand between two marks at the end of the overrides file; what the user wrote there by hand is left as it is. What
stood between the marks before each change is kept in a file beside it, a line a change, so that each can be undone.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.catalog import Catalog, load_catalog, marked_block, offer_id
from llmsizer.facts.catalog.check import check_catalog
from llmsizer.facts.provenance import Provenance
from llmsizer.files import whole_file

BEGIN = "# --- your own values, as changed in the dashboard: this part is rewritten by the next change there ---"
END = "# --- end of your own values ---"
# What can be changed of a row, by kind. Units are in the names.
EDITABLE: dict[str, tuple[str, ...]] = {
    "gpus": ("memory_bytes", "memory_bytes_per_second", "tdp_watts"),
    "offers": ("usd_per_gpu_hour",),
    "apis": (
        "input_usd_per_mtok", "cached_input_usd_per_mtok", "cache_write_usd_per_mtok", "output_usd_per_mtok",
        "tokens_per_minute_limit",
    ),
    "purchase": ("usd",),
    "energy": ("low", "high"),
}  # fmt: skip
# What was said of the old number alone.
_NOT_OF_THE_CHANGED = {"offers": ("median_usd_per_gpu_hour", "max_usd_per_gpu_hour"), "apis": ("crosscheck",)}
_KEPT_CHANGES = 50

Own = dict[str, dict[str, dict[str, Any]]]
"""Kind → name → the fields of a GPU, or the whole row of any other kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A fact that can be changed: its name, its numbers, and where each comes from."""

    kind: str
    name: str
    values: Mapping[str, float | None]
    origins: Mapping[str, Provenance]


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueChange:
    """One number as it is, and as it shall be; ``None``: not known, or taken out."""

    kind: str
    name: str
    key: str
    was: float | None
    now: float | None
    was_from: Provenance


def rows(catalog: Catalog, kind: str) -> tuple[Row, ...]:
    """Everything of a kind that can be changed, with the user's own values in it. Raises CatalogError."""
    return tuple(
        Row(
            kind=kind,
            name=name,
            values={key: getattr(fact, key) for key in EDITABLE[kind]},
            origins=_origins(fact, EDITABLE[kind]),
        )
        for name, fact in _facts(catalog, kind).items()
    )


def _facts(catalog: Catalog, kind: str) -> dict[str, Any]:
    read: dict[str, Callable[[], Iterable[Any]]] = {
        "gpus": catalog.gpus,
        "offers": catalog.offers,
        "apis": catalog.apis,
        "purchase": catalog.purchase_prices,
        "energy": catalog.energy,
    }
    return {fact.id if kind in ("gpus", "offers", "apis") else fact.name: fact for fact in read[kind]()}


def _origins(fact: Any, keys: tuple[str, ...]) -> dict[str, Provenance]:
    by_field: Mapping[str, Provenance] = getattr(fact, "provenance_by_field", {})
    return {key: by_field.get(key, fact.provenance) for key in keys}


def own_values(path: Path) -> Own:
    """What was changed so far; nothing where there is no file. Raises InputError, CatalogError."""
    _, block = marked_block.split(_text(path), path, BEGIN, END)
    data = marked_block.parsed(block, path)
    own: Own = {"gpus": {str(name): dict(fields) for name, fields in data.get("gpus", {}).items()}}
    for kind, name_of in _NAMES.items():
        own[kind] = {name_of(row): dict(row) for row in data.get(kind, [])}
    return {kind: found for kind, found in own.items() if found}


_NAMES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "offers": offer_id,
    "apis": lambda row: f"{row['provider']}/{row.get('model', '')}",
    "purchase": lambda row: f"{row['item']} · {row['kind']} · {row['unit']}",
    "energy": lambda row: " · ".join(
        str(row[key]) for key in ("metric", "area", "unit", "segment", "period") if row.get(key)
    ),
}


def with_changes(own: Own, catalog: Catalog, changes: Iterable[ValueChange], today: datetime.date) -> Own:
    """Own values with further ones in them. ``catalog``: the one in which the changes were made. Raises InputError."""
    result = {kind: {name: dict(row) for name, row in found.items()} for kind, found in own.items()}
    for change in changes:
        if change.now is not None and not math.isfinite(change.now):
            raise InputError(f"{change.name}: {change.key} = {change.now}; give a number")
        of_kind = result.setdefault(change.kind, {})
        if change.kind == "gpus":
            if change.now is None:
                raise InputError(f"{change.name}: {change.key} is empty; give a number, or take your own value back")
            of_kind.setdefault(change.name, {})[change.key] = change.now
            continue
        if change.name not in of_kind:
            fact = _facts(catalog, change.kind)[change.name]
            row = fact.model_dump(mode="json", exclude={"id", "provenance"}, exclude_none=True)
            for key in _NOT_OF_THE_CHANGED.get(change.kind, ()):
                row.pop(key, None)
            of_kind[change.name] = row
        of_kind[change.name][change.key] = change.now
        was = "unknown" if change.was is None else f"{change.was:g}"
        note = f"{change.key} was {was} ({change.was_from.as_of}, {change.was_from.source})"
        of_kind[change.name]["provenance"] = {"as_of": today.isoformat(), "note": note}
    return result


def with_row(own: Own, kind: str, row: Mapping[str, Any], today: datetime.date) -> Own:
    """Own values with a whole row of the user's own: an offer that was negotiated, say. Raises InputError."""
    full = {key: value for key, value in row.items() if value is not None and value != ""}
    full |= {"provenance": {"as_of": today.isoformat(), "note": "the user's own price"}}
    if kind == "offers":
        full = {"zone": "unspecified", "term": "on-demand", "gpu_as_listed": str(row.get("gpu") or "")} | full
    try:
        name = _NAMES[kind](full)
    except KeyError as missing:
        raise InputError(f"an own price of {kind} needs {missing.args[0]}; add it") from None
    return own | {kind: own.get(kind, {}) | {name: full}}


def without(own: Own, kind: str, name: str) -> Own:
    """Own values but for those of one name: the catalogue's hold again."""
    return {
        k: kept for k, found in own.items() if (kept := {n: row for n, row in found.items() if (k, n) != (kind, name)})
    }


def complaints(path: Path, own: Own, today: datetime.date) -> list[str]:
    """A sentence for everything that would be wrong with the catalogue if these values were kept."""
    try:
        text = _with_block(path, own)
    except LlmSizerError as error:
        return [str(error)]
    found = _problems(text, path, today)
    before = _problems(_text(path), path, today) if found else []
    return [problem for problem in found if problem not in before]


def _problems(text: str, path: Path, today: datetime.date) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "overrides.toml"
        file.write_text(text, encoding="utf-8")
        try:
            found = check_catalog(load_catalog(overrides=file), today).problems
        except LlmSizerError as error:
            found = (str(error),)
    return [problem.replace(str(file), str(path)) for problem in found]


def version(path: Path) -> str:
    """A name for what the file says now; another wherever it says something else."""
    return hashlib.sha256(_text(path).encode()).hexdigest()[:16]


def keep(path: Path, own: Own, today: datetime.date, *, expected: str) -> None:
    """Write own values, where nothing is wrong with them and the file still is the one that was looked at.

    Raises InputError.
    """
    if version(path) != expected:
        raise InputError(f"{path}: somebody changed it meanwhile; look at the values again, then save")
    wrong = complaints(path, own, today)
    if wrong:
        raise InputError("; ".join(wrong[:3]))
    _, before = marked_block.split(_text(path), path, BEGIN, END)
    text = _with_block(path, own)
    with whole_file(_history(path)) as partial:
        partial.write_text("\n".join([*_earlier(path)[-_KEPT_CHANGES + 1 :], json.dumps(before)]), encoding="utf-8")
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def changes_to_undo(path: Path) -> int:
    return len(_earlier(path))


def undo(path: Path) -> None:
    """Take the last change back. Raises InputError where there is none."""
    earlier = _earlier(path)
    if not earlier:
        raise InputError(f"{path}: there is no change to take back")
    own, _ = marked_block.split(_text(path), path, BEGIN, END)
    text = _joined(own, str(json.loads(earlier[-1])))
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")
    with whole_file(_history(path)) as partial:
        partial.write_text("\n".join(earlier[:-1]), encoding="utf-8")


def _history(path: Path) -> Path:
    return path.with_name(f"{path.name}.history")


def _earlier(path: Path) -> list[str]:
    return [line for line in _text(_history(path)).splitlines() if line.startswith('"') and line.endswith('"')]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as UTF-8 ({error}); give another file") from None


def _with_block(path: Path, own: Own) -> str:
    """The whole file with these values between the marks. Raises InputError, CatalogError."""
    by_hand, _ = marked_block.split(_text(path), path, BEGIN, END)
    written = marked_block.parsed(by_hand, path).get("gpus", {})
    twice = sorted(set(written) & set(own.get("gpus", {})))
    if twice:
        raise InputError(
            f"{path}: gpus.{twice[0]} is changed there by hand; change it there, or take it out there first"
        )
    lines: list[str] = []
    for name, fields in own.get("gpus", {}).items():
        lines += ["", f"[gpus.{marked_block.literal(name)}]"]
        lines += [f"{key} = {marked_block.literal(value)}" for key, value in fields.items() if value is not None]
    for kind in _NAMES:
        for row in own.get(kind, {}).values():
            lines += marked_block.row_lines(kind, {"provenance": {}} | row)
    return _joined(by_hand, "\n".join(lines) + "\n" if lines else "")


def _joined(by_hand: str, block: str) -> str:
    whole = f"{by_hand.rstrip()}\n\n" if by_hand.strip() else ""
    return f"{whole}{BEGIN}\n{block.strip()}\n{END}\n" if block.strip() else whole
