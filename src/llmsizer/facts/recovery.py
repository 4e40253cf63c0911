"""Published recovery by format, task and size of the model: what to expect of a task where nothing was measured."""

from __future__ import annotations

from pathlib import Path

from llmsizer.errors import CatalogError, UnknownNameError
from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.profile_files import find_profiles, read_rows
from llmsizer.facts.provenance import Estimate
from llmsizer.units import GIGA

ANY_SIZE = "any"
UNIT = "of the 16-bit reference's score"
_SIZES = ((3 * GIGA, "under 3B"), (15 * GIGA, "3B to 15B"), (50 * GIGA, "15B to 50B"))
Table = dict[tuple[str, str, str], Figure]


def load_recovery(root: Path | None = None) -> Table:
    """Precision, task and size class → recovery. Raises CatalogError."""
    table: Table = {}
    for where, cells, origin in read_rows(find_profiles(root) / "measured" / "public" / "quality_by_task.toml"):
        try:
            median, low, high = (float(cells[key]) for key in ("recovery", "low", "high"))
            key = (str(cells["precision"]), str(cells["task"]), str(cells["size"]))
        except (KeyError, TypeError, ValueError):
            raise CatalogError(f"{where}: precision, task, size, recovery, low and high are needed") from None
        counts = f"published, not of this model: {cells.get('rows')} evaluations of {cells.get('models')} models"
        table[key] = Figure(
            estimate=Estimate(value=median, low=low, high=high, basis=origin.basis, reason=f"{counts}, size {key[2]}"),
            unit=UNIT,
            source=origin.source,
            as_of=origin.as_of,
        )
    return table


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
    return unknown(f"fewer than three models were published in {precision} on {task}; run it", UNIT)
