"""Published recovery of the 16-bit reference's scores: what to expect of a format, and of it in a task at a size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from llmsizer.errors import CatalogError, UnknownNameError
from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.profile_files import find_profiles, read_rows
from llmsizer.facts.provenance import Estimate, Provenance
from llmsizer.units import GIGA

ANY_SIZE = "any"
UNIT = "of the 16-bit reference's scores"
UNIT_OF_TASK = "of the 16-bit reference's score"
_SIZES = ((3 * GIGA, "under 3B"), (15 * GIGA, "3B to 15B"), (50 * GIGA, "15B to 50B"))
Table = dict[tuple[str, str, str], Figure]


def load_quality_prior(root: Path | None = None) -> dict[str, Figure]:
    """Recovery of the 16-bit reference's scores by format, median and 90 % range over published models."""
    return {
        cells["precision"]: _figure(
            cells, origin, f"median over {cells.get('models')} models, {cells.get('rows')} published evaluations", UNIT
        )
        for cells, origin in _rows("quality_prior.toml", ("precision",), root)
    }


def load_recovery(root: Path | None = None) -> Table:
    """Precision, task and size class → recovery. Raises CatalogError."""
    table: Table = {}
    for cells, origin in _rows("quality_by_task.toml", ("precision", "task", "size"), root):
        counts = f"published, not of this model: {cells.get('rows')} evaluations of {cells.get('models')} models"
        key = cells["precision"], cells["task"], cells["size"]
        table[key] = _figure(cells, origin, f"{counts}, size {key[2]}", UNIT_OF_TASK)
    return table


def _rows(file: str, names: tuple[str, ...], root: Path | None) -> Iterator[tuple[dict[str, Any], Provenance]]:
    for where, cells, origin in read_rows(find_profiles(root) / "measured" / "public" / file):
        numbers = all(isinstance(cells.get(key), int | float) for key in ("recovery", "low", "high"))
        if not numbers or not all(isinstance(cells.get(key), str) for key in names):
            raise CatalogError(f"{where}: {', '.join(names)} are needed as texts, recovery, low and high as numbers")
        yield cells, origin


def _figure(cells: Mapping[str, Any], origin: Provenance, reason: str, unit: str) -> Figure:
    median, low, high = (float(cells[key]) for key in ("recovery", "low", "high"))
    estimate = Estimate(value=median, low=low, high=high, basis=origin.basis, reason=reason)
    return Figure(estimate=estimate, unit=unit, source=origin.source, as_of=origin.as_of)


def size_class(params: float) -> str:
    """``3B to 15B`` and the like, by all parameters."""
    return next((name for most, name in _SIZES if params < most), "over 50B")


def published_recovery(table: Table, precision: str, task: str, params: float) -> Figure:
    """Of models of this size where three or more were evaluated, else of all sizes; unknown where nobody published.

    Raises UnknownNameError for a task that no row names.
    """
    tasks = {known for _, known, _ in table}
    if task not in tasks:
        raise UnknownNameError("task with published recovery", task, tasks)
    for size in (size_class(params), ANY_SIZE):
        if (precision, task, size) in table:
            return table[precision, task, size]
    return unknown(f"fewer than three models were published in {precision} on {task}; run it", UNIT_OF_TASK)
