"""Numbers out of foreign documents: finite, of a believable size, in SI units, or a refusal that names the place."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llmsizer.errors import InputError

LONGEST_SECONDS = 1e6  # eleven days: no request, and no unit mistaken by a thousand, comes near
LEAST_SECONDS = 1e-12  # no clock tells them; what is smaller would only overflow when something is divided by it
MOST_TOKENS = 10**9
MOST_RATE = 1e12
LONGEST_TEXT, LONGEST_WORD = 500, 40
SECONDS = {
    "s": 1.0, "sec": 1.0, "seconds": 1.0, "s/token": 1.0,
    "ms": 1e-3, "milliseconds": 1e-3, "ms/token": 1e-3,
    "us": 1e-6, "µs": 1e-6, "microseconds": 1e-6, "ns": 1e-9, "nanoseconds": 1e-9,
}  # fmt: skip
Path = Sequence[str | int]


class Refused(InputError):
    """A foreign file, or a point in it, that cannot be converted; the text says what and where."""


def at(document: Any, *path: str | int) -> Any:
    """What stands under a path of keys and positions; None where any part of it is missing."""
    for key in path:
        if isinstance(document, Mapping) and isinstance(key, str):
            document = document.get(key)
        elif isinstance(document, list) and isinstance(key, int) and -len(document) <= key < len(document):
            document = document[key]
        else:
            return None
    return document


def first_at(document: Any, *paths: Path) -> Any:
    """The first of several places that holds anything: one tool's versions put a thing in different places."""
    return next((found for path in paths if (found := at(document, *path)) not in (None, "")), None)


def items_at(document: Any, *path: str | int) -> list[Any]:
    """The list under a path; empty where there is none."""
    found = at(document, *path)
    return found if isinstance(found, list) else []


def text_at(document: Any, *path: str | int) -> str:
    """A name under a path; empty where there is none or it is no plain text or number."""
    found = at(document, *path)
    if isinstance(found, str):
        # half a surrogate pair is valid JSON and no valid text
        return " ".join(found.encode("utf-8", "replace").decode().split())[:LONGEST_TEXT]
    if isinstance(found, datetime.date):  # YAML knows dates
        return found.isoformat()
    plain = isinstance(found, int | float) and not isinstance(found, bool)
    return str(found)[:LONGEST_TEXT] if plain and abs(found) < 1e18 else ""


def word_at(document: Any, *path: str | int) -> str:
    """A unit, version or kind under a path: short, as it may be quoted in a refusal."""
    return text_at(document, *path)[:LONGEST_WORD]


def number(value: Any, where: str, *, most: float = MOST_RATE) -> float | None:
    """A finite number from 0 to ``most``; None for null or an empty cell. Raises Refused for anything else."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Refused(f"{where} is no number ({type(value).__name__})")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise Refused(f"{where} is no number ({str(value)[:40]!r})") from None
    if not math.isfinite(found):
        raise Refused(f"{where} is {found}; a measured figure is finite")
    if found < 0:
        raise Refused(f"{where} is {found:g}; it cannot be negative")
    if found > most:
        raise Refused(f"{where} is {found:g}, beyond the most that is believed ({most:g}); is its unit right?")
    return found


def number_at(document: Any, *path: str | int) -> float | None:
    """``number`` of what stands under a path."""
    return number(at(document, *path), dotted(path))


def seconds(value: Any, where: str, unit: str = "s") -> float | None:
    """A time in seconds from one in ``unit``. Raises Refused for a unit or a time that is not believed."""
    scale = SECONDS.get(unit.strip().lower())
    if scale is None:
        raise Refused(f"{where} is in {unit!r}; known units of time are {', '.join(SECONDS)}")
    found = number(value, where, most=LONGEST_SECONDS / scale)
    if found and found * scale < LEAST_SECONDS:
        raise Refused(f"{where} is {found:g} {unit}, shorter than any clock tells; is its unit right?")
    return None if found is None else found * scale


def whole(value: Any, where: str, *, most: int = MOST_TOKENS) -> int | None:
    """A count, rounded where a mean stands for it; None where there is none."""
    found = number(value, where, most=most)
    return None if found is None else round(found)


def dotted(path: Path) -> str:
    """A path for people: ``benchmarks.0.metrics``."""
    return ".".join(str(part) for part in path)
