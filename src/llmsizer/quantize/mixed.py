"""Mixed precision under a size budget: bits go where a layer's rounding shows most in the model's output.

Divergences of small roundings about add, so that the choice of a scheme for every unit is a knapsack.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.files import whole_file
from llmsizer.progress import Progress
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.sensitivity import Choice, Unit, sensitivities, sizes_of, units_of
from llmsizer.quantize.stored.checkpoint import Checkpoint

STEPS = 20_000  # the knapsack's resolution of the budget


def choose(
    checkpoint: Checkpoint,
    recipe: Recipe,
    texts: Sequence[str],
    budget_bytes: int | None,
    work: Path,
    progress: Progress,
) -> dict[Unit, str]:
    """The scheme of every unit within a budget for all weight bytes. Raises QuantizationError."""
    if budget_bytes is None:
        raise QuantizationError(f"{recipe.name} needs a size budget; give --size-budget, e.g. 14GB")
    units = units_of(checkpoint)
    inside = {f"{stem}.weight" for stems in units.values() for stem in stems}
    rest = sum(tensor.byte_count for name, tensor in checkpoint.tensors.items() if name not in inside)
    least = rest + sum(min(sizes_of(checkpoint, recipe, stems).values()) for stems in units.values())
    if budget_bytes < least:  # known before an hour of measuring
        raise QuantizationError(
            f"{checkpoint.path}: a budget of {budget_bytes:,} bytes is too small for {recipe.name}; "
            f"{least:,} is the least (embeddings, norms and output matrix keep {rest:,})"
        )
    file = work / "sensitivity.json"
    if file.is_file():
        rows = json.loads(file.read_text(encoding="utf-8"))
    else:
        found = sensitivities(checkpoint, recipe, texts, progress)
        rows = [[*unit, choice.scheme, choice.bytes, choice.loss] for unit, choice in found]
        with whole_file(file) as partial:
            partial.write_text(json.dumps(rows), encoding="utf-8")
    options: dict[Unit, list[Choice]] = {}
    for layer, unit, scheme, size, loss in rows:
        options.setdefault((layer, unit), []).append(Choice(scheme=scheme, bytes=size, loss=loss))
    smallest = {unit: min(choices, key=lambda choice: choice.bytes).scheme for unit, choices in options.items()}
    return knapsack(options, budget_bytes - rest) or smallest  # what fits may not fit in whole steps of the knapsack


def knapsack(options: Mapping[Unit, Sequence[Choice]], budget_bytes: int) -> dict[Unit, str] | None:
    """The schemes of least summed loss within the budget; None where even the smallest do not fit.

    Dynamic programming over sizes rounded up to a 20,000th of the budget: never over it, and best to that resolution.
    """
    if budget_bytes <= 0:
        return None
    step = max(1, -(-budget_bytes // STEPS))
    room = budget_bytes // step
    best: NDArray[np.float64] = np.zeros(room + 1)
    taken: list[NDArray[np.int64]] = []
    for choices in options.values():
        columns = np.full((len(choices), room + 1), np.inf)
        for index, choice in enumerate(choices):
            size = -(-choice.bytes // step)
            if size <= room:
                columns[index, size:] = best[: room + 1 - size] + choice.loss
        taken.append(columns.argmin(axis=0))
        best = columns.min(axis=0)
    if not np.isfinite(best[room]):
        return None
    found: dict[Unit, str] = {}
    left = room
    for (unit, choices), column in zip(reversed(list(options.items())), reversed(taken), strict=True):
        choice = choices[int(column[left])]
        found[unit] = choice.scheme
        left -= -(-choice.bytes // step)
    return {unit: found[unit] for unit in options}
