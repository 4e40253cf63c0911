"""Public measured rows that ship with the profiles, as plain rows of text."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

from llmsizer.errors import CatalogError
from llmsizer.facts.catalog import load_catalog
from llmsizer.physics.rows.reading import Row

TABLES = ("serving.csv.gz", "community.csv.gz")


def read_table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file, gzipped or not. Raises CatalogError where it cannot be read."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: cannot be read as a table ({error})") from error
    return [{key: value or "" for key, value in row.items() if key} for row in csv.DictReader(io.StringIO(text))]


def public_rows(root: Path | None = None) -> list[Row]:
    """Every public measured row with its source and licence."""
    folder = (root or load_catalog().root) / "measured" / "public"
    return [row for name in TABLES for row in read_table(folder / name)]
