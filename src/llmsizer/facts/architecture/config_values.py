"""Checked reading of a foreign JSON object: every value that leaves is what it claims to be."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from llmsizer.errors import InputError

# Far above every published model; a config beyond them is broken, and its arithmetic would only look like an answer.
LARGEST_INTEGER = 2**31


@dataclass(frozen=True, slots=True)
class ConfigValues:
    """A config under a name for messages. ``defaults`` stand in for keys the file may leave out.

    ``asked``: every key that was looked for, so that a reader can say what it did not look at.
    """

    where: str
    values: Mapping[str, object]
    defaults: Mapping[str, object]
    asked: set[str] = field(default_factory=set, compare=False, repr=False)

    def raw(self, *keys: str) -> object:
        """The first value present under any of the names (null counts as absent), else the default, else None."""
        self.asked.update(keys)
        for source in (self.values, self.defaults):
            for key in keys:
                value = source.get(key)
                if value is not None:
                    return value
        return None

    def has(self, *keys: str) -> bool:
        return self.raw(*keys) is not None

    def integer(self, *keys: str, minimum: int = 1) -> int:
        """A required whole number."""
        value = self.optional_integer(*keys, minimum=minimum)
        if value is None:
            raise InputError(
                f"{self.where}: {' or '.join(keys)} is missing; a config.json of a text decoder (causal LM) would work"
            )
        return value

    def optional_integer(self, *keys: str, minimum: int = 1) -> int | None:
        """A whole number, or None where it is absent or null."""
        value = self.raw(*keys)
        if value is None:
            return None
        key = next((k for k in keys if self.values.get(k) is not None), keys[0])
        return self._whole(key, value, minimum)

    def boolean(self, *keys: str, default: bool = False) -> bool:
        value = self.raw(*keys)
        if value is None:
            return default
        if not isinstance(value, bool) and value not in (0, 1):
            raise InputError(f"{self.where}: {keys[0]} = {_short(value)}; give true or false")
        return bool(value)

    def text(self, *keys: str) -> str:
        value = self.raw(*keys)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise InputError(f"{self.where}: {keys[0]} = {_short(value)}; give a text")
        return value

    def section(self, *keys: str) -> Mapping[str, object]:
        """A nested object, or an empty one where it is absent."""
        value = self.raw(*keys)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise InputError(f"{self.where}: {keys[0]} = {_short(value)}; give an object")
        return value

    def texts(self, key: str, length: int) -> tuple[str, ...] | None:
        """A list of texts with an entry for each layer, or None where it is absent."""
        value = self.raw(key)
        if value is None:
            return None
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            raise InputError(f"{self.where}: {key} = {_short(value)}; give a list of texts, one for each layer")
        if len(value) != length:
            raise InputError(f"{self.where}: {key} has {len(value)} entries for {length} layers; give one for each")
        return tuple(str(item) for item in value)

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers ≥ 0, empty where it is absent."""
        value = self.raw(key)
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise InputError(f"{self.where}: {key} = {_short(value)}; give a list of whole numbers")
        return tuple(self._whole(key, item, 0) for item in value)

    def _whole(self, key: str, value: object, minimum: int) -> int:
        whole = isinstance(value, int | float) and not isinstance(value, bool)
        number = float(value) if whole else math.nan  # type: ignore[arg-type]
        if not math.isfinite(number) or number != int(number):
            raise InputError(f"{self.where}: {key} = {_short(value)}; give a whole number")
        if not minimum <= number <= LARGEST_INTEGER:
            raise InputError(f"{self.where}: {key} = {_short(value)}; give {minimum} to {LARGEST_INTEGER}")
        return int(number)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
