"""A part of the user's own TOML file that the program rewrites: between two marks, everything else left as it is."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmsizer.errors import CatalogError, InputError


def split(text: str, path: Path, begin: str, end: str) -> tuple[str, str]:
    """What the user wrote, and what stands between the marks. Raises InputError where the end mark is gone."""
    if begin not in text:
        return text, ""
    before, _, rest = text.partition(begin)
    block, found, after = rest.partition(end)
    if not found:
        raise InputError(f"{path}: the end mark of a part that llmsizer writes is missing; put it back: {end}")
    return before.rstrip() + "\n" + after.lstrip("\n"), block


def parsed(text: str, path: Path) -> dict[str, Any]:
    """A part of the file as a dict. Raises CatalogError naming the file."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path}: {' '.join(str(error).split())}; valid TOML would work") from None


def row_lines(kind: str, row: Mapping[str, Any]) -> list[str]:
    """A row as TOML, its provenance last; ``None`` is left out."""
    lines = ["", f"[[{kind}]]"]
    lines += [f"{key} = {literal(value)}" for key, value in row.items() if key != "provenance" and value is not None]
    inner = ", ".join(f"{key} = {literal(value)}" for key, value in row["provenance"].items())
    return [*lines, f"provenance = {{ {inner} }}"]


def literal(value: object) -> str:
    """A number, a truth value, or anything else as a quoted text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return json.dumps(str(value), ensure_ascii=True)
