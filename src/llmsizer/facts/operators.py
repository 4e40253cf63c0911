"""Under whose law a cloud's operator stands, from ``profiles/operators.toml``. Who is not listed is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llmsizer.errors import CatalogError
from llmsizer.facts.profile_files import find_profiles, make_provenance, read_toml

_PROVENANCE = ("source", "as_of", "confidence", "basis", "note")


def load_jurisdictions(root: Path | None = None) -> dict[str, str]:
    """Jurisdiction by provider. Raises CatalogError for an entry without a name, a jurisdiction or a source."""
    path = find_profiles(root) / "operators.toml"
    if not path.is_file():
        return {}
    return dict(
        _entry(entry, f"{path}: operator {n}") for n, entry in enumerate(read_toml(path).get("operator", ()), 1)
    )


def _entry(entry: Mapping[str, Any], where: str) -> tuple[str, str]:
    for key in ("provider", "jurisdiction"):
        if not isinstance(entry.get(key), str) or not entry[key]:
            raise CatalogError(f"{where}: {key} is missing; give a text")
    make_provenance({key: entry[key] for key in _PROVENANCE if key in entry}, where)
    return entry["provider"], entry["jurisdiction"]
