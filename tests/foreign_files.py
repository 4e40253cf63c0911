"""Real files of other tools, and ways to break them: cut, flipped, swapped, scaled, nested, repeated."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llmsizer.exchange.columns import read_map
from llmsizer.exchange.given import Given
from llmsizer.exchange.importing import import_file
from llmsizer.facts.records import ProfileRecord

SAMPLES = Path(__file__).parent / "samples" / "exchange"
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, -0.0, 1e308, -1e308, math.nan, math.inf, -math.inf, 10**400, "", "x", "nan", "-5",
    "1e999", "\ud800",
    "\x00", "‮ms", "s" * 5000, [], {}, [[]], [None] * 50, {"mean": {}}, {"": ""}, "2026-11-22T00:00:00Z",
)  # fmt: skip
TOKENS = (
    "NaN",
    "-Infinity",
    "null",
    "{",
    "}",
    "[",
    "]",
    ",",
    '"',
    ":",
    "\x00",
    "\n",
    "--- &a [*a]",
    "!!python/object:os.system",
)


def samples() -> list[Path]:
    """All samples but their README and map."""
    return sorted(p for p in SAMPLES.iterdir() if p.suffix not in (".md", ".toml"))


def import_sample(path: Path) -> list[ProfileRecord]:
    """A sample or what became of it, with what those files do not say that state no shape."""
    mapping = read_map(SAMPLES / "table_map.toml") if path.name == "table.csv" else None
    given = mapping.given if mapping else Given(batch=8, prompt_tokens=32, output_tokens=128)
    return import_file(path, mapping=mapping, given=given)


def broken(data: bytes, chance: random.Random) -> bytes:
    """A file in another shape: of its bytes, of its text or of its values."""
    how = chance.choice((_cut, _flipped, _doubled, _token, _numbers, _values, _values, _values, _empty))
    return how(data, chance)


def _cut(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] if chance.random() < 0.7 else data[at:]


def _empty(data: bytes, chance: random.Random) -> bytes:
    return chance.choice(
        (b"", b"\n", b"{}", b"[]", b"null", b"[" * 100_000, b"\xff\xfe\x00", b"a,b\n1,2\n", b"{" * 2000)
    )


def _flipped(data: bytes, chance: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(chance.randint(1, 20)):
        out[chance.randrange(len(out))] = chance.randrange(256)
    return bytes(out)


def _doubled(data: bytes, chance: random.Random) -> bytes:
    at, end = sorted(chance.randrange(len(data)) for _ in range(2))
    return data[:end] + data[at:end] * chance.randint(1, 3) + data[end:]


def _token(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + chance.choice(TOKENS).encode() + data[at + chance.randint(0, 5) :]


def _numbers(data: bytes, chance: random.Random) -> bytes:
    """Some numbers negative, gigantic, of another unit or none at all."""
    kinds: tuple[Callable[[str], str], ...] = (
        lambda n: f"-{n}", lambda n: f"{n}e300", lambda n: f"{n}000",
        lambda n: "NaN", lambda n: "0", lambda n: f'"{n}"',
    )  # fmt: skip
    change, share = chance.choice(kinds), chance.choice((0.01, 0.1, 1.0))
    text = data.decode("utf-8", "replace")
    return re.sub(r"\d+\.\d+", lambda m: change(m[0]) if chance.random() < share else m[0], text).encode()


def _values(data: bytes, chance: random.Random) -> bytes:
    """Parts of the document replaced, removed, moved or given to each other."""
    try:
        document = json.loads(data)
    except ValueError:
        return _numbers(data, chance)
    for _ in range(chance.randint(1, 6)):
        places = list(_places(document))
        if not places:
            break
        holder, key = chance.choice(places)
        action = chance.random()
        if action < 0.5:
            holder[key] = copy.deepcopy(chance.choice(STRANGE))
        elif action < 0.7 and isinstance(holder, dict):
            del holder[key]
        elif action < 0.85:
            other, name = chance.choice(places)
            holder[key] = json.loads(json.dumps(other[name]))
        else:
            holder[key] = {"successful": holder[key], "mean": holder[key]}
    return json.dumps(document).encode("utf-8", "replace")


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
