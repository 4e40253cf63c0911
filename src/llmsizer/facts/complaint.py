"""The first thing wrong with what a user wrote, in one line."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

from llmsizer.errors import nearest_names, suggest


def explain(error: ValidationError, where: str, tables: Mapping[tuple[str, ...], type[BaseModel]]) -> str:
    """Where, which key, what is wrong, what would work. ``tables``: the model of each table, by its path."""
    first = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        table = tables.get(path[:-1], tables[()])
        known = sorted(table.model_fields)
        return f"{where}: {one_line(key)}: no such key; {suggest(nearest_names(path[-1], known), known)}"
    if first["type"] == "missing":
        example = {"model": ' = "mistral-small-4"', "workload": ' = "chat"'}.get(key, "")
        return f"{where}: {key}: missing; add {key}{example}"
    what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if isinstance(first["input"], dict) else f" = {one_line(repr(first['input']))}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    said = f"{one_line(what, limit=300)}{more}"
    return f"{where}: {key}{shown}: {said}" if key else f"{where}: {said}"


def one_line(text: str, limit: int = 120) -> str:
    """Printable, on one line, and short: a bad value may be anything."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
