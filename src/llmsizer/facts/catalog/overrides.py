"""One file of the user's own facts on top of the shared ones: changed figures, further GPUs, negotiated prices."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmsizer.errors import CatalogError
from llmsizer.facts.profile_files import make_provenance, read_toml

_BY_NAME = ("gpus", "models", "workloads")
_ROWS = ("offers", "apis", "purchase", "energy", "tco")


class Overrides:
    """What the file says, by kind. Everything from it carries the file as its source and the basis ``assumed``."""

    def __init__(self, data: Mapping[str, Any], path: str = "") -> None:
        self._data, self.path = data, path
        for kind, value in data.items():
            if kind not in (*_BY_NAME, *_ROWS):
                raise CatalogError(f"{path}: {kind} is not known; known: {', '.join((*_BY_NAME, *_ROWS))}")
            if not isinstance(value, dict if kind in _BY_NAME else list):
                shape = f"[{kind}.NAME]" if kind in _BY_NAME else f"[[{kind}]]"
                raise CatalogError(f"{path}: {kind} has the wrong shape; write it as {shape}")

    @property
    def provenance(self) -> dict[str, str]:
        return {"source": self.path, "as_of": "as given", "confidence": "the user's own", "basis": "assumed"}

    def names(self, kind: str) -> set[str]:
        return set(self._data.get(kind, {}))

    def entry(self, kind: str, name: str, path: Path) -> tuple[str, dict[str, Any]]:
        """A file's data with the changes on top; each changed GPU field says whose change it is."""
        own = self._data.get(kind, {}).get(name)
        if own is None:
            return str(path), read_toml(path)
        where = f"{self.path}: {kind}.{name}"
        if not isinstance(own, Mapping):
            raise CatalogError(f"{where} = {own!r}; give a table")
        if not path.exists():
            return where, {"id": name, "provenance": self.provenance} | dict(own)
        base = read_toml(path)
        if kind == "gpus":
            changed = {key: self.provenance for key in own if key != "provenance"}
            base["provenance_by_field"] = dict(base.get("provenance_by_field", {})) | changed
        elif kind == "models":
            base["provenance"] = self.provenance | {"note": f"changed on top of {path.name}"}
        return where, _merged(base, own)

    def rows(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        """The rows of a kind, with where each stands."""
        result = []
        for number, row in enumerate(self._data.get(kind, []), start=1):
            where = f"{self.path}: {kind} entry {number}"
            if not isinstance(row, Mapping):
                raise CatalogError(f"{where} = {row!r}; give a table [[{kind}]]")
            given = row.get("provenance", {})
            if not isinstance(given, Mapping):
                raise CatalogError(f"{where}: provenance = {given!r}; give a table")
            origin = make_provenance(self.provenance | dict(given), where)
            result.append((where, dict(row) | {"provenance": origin}))
        return result


def load_overrides(path: Path | str | None) -> Overrides:
    """The file named, or the one of $LLMSIZER_OVERRIDES, or none. Raises CatalogError."""
    named = path or os.environ.get("LLMSIZER_OVERRIDES") or None
    return Overrides({}) if named is None else Overrides(read_toml(Path(named)), str(named))


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for key, value in own.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = _merged(inner, value) if both and isinstance(inner, Mapping) else value
    return result
