"""Mixed precision under a size budget: bits go where a layer's rounding shows most in the model's output.

Sensitivity of a unit (q, k and v together, o, gate and up together, down: engines fuse them) is the KL divergence of
the model's predictions on calibration text when that unit alone is rounded to nearest. Divergences of small roundings
about add, so the choice is a knapsack.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.files import whole_file
from llmsizer.installed import optional
from llmsizer.progress import Progress
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.checkpoint import Checkpoint
from llmsizer.quantize.compressed_tensors import PLAIN, base_of, group_size_of, unit_of
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.round_trip import plain_model

BITS = {"W4A16": 4, "W8A16": 8}
SEQUENCES = 8  # enough to rank units; each is read once for every unit and scheme
STEPS = 4000  # the knapsack's resolution of the budget
MOST_PARAMS = 4_000_000_000  # the whole model is held in single precision to see its predictions
Unit = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to store one unit: what it weighs, and the divergence that it costs."""

    scheme: str
    bytes: int
    loss: float


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
    file = work / "sensitivity.json"
    if file.is_file():
        rows = json.loads(file.read_text(encoding="utf-8"))
    else:
        rows = [list(row) for row in _measured(checkpoint, recipe, texts, progress)]
        with whole_file(file) as partial:
            partial.write_text(json.dumps(rows), encoding="utf-8")
    options: dict[Unit, list[Choice]] = {}
    for layer, unit, scheme, size, loss in rows:
        options.setdefault((layer, unit), []).append(Choice(scheme=scheme, bytes=size, loss=loss))
    inside = {f"{stem}.weight" for stem in _units(checkpoint, flat=True)}
    rest = sum(tensor.byte_count for name, tensor in checkpoint.tensors.items() if name not in inside)
    chosen = knapsack(options, budget_bytes - rest)
    if chosen is None:
        least = rest + sum(min(c.bytes for c in choices) for choices in options.values())
        raise QuantizationError(
            f"{checkpoint.path}: a budget of {budget_bytes:,} bytes is too small for {recipe.name}; "
            f"{least:,} is the least (embeddings, norms and output matrix keep {rest:,})"
        )
    return chosen


def knapsack(options: Mapping[Unit, Sequence[Choice]], budget_bytes: int) -> dict[Unit, str] | None:
    """The schemes of least summed loss within the budget; None where even the smallest do not fit.

    Dynamic programming over sizes rounded up to a 4,000th of the budget: never over it, and best to that resolution.
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


def _units(checkpoint: Checkpoint, *, flat: bool = False) -> Any:
    stems = [
        name.removesuffix(".weight")
        for name, tensor in checkpoint.tensors.items()
        if name.startswith("model.layers.") and len(tensor.shape) == 2
    ]
    if flat:
        return stems
    units: dict[Unit, list[str]] = {}
    for stem in sorted(stems):
        units.setdefault(unit_of(stem), []).append(stem)
    return dict(sorted(units.items()))


def stored_bytes(shape: tuple[int, ...], scheme: str, group_size: int) -> int:
    """Bytes of a matrix by scheme: packed words, one 16-bit scale a group or row, and two numbers of shape.

    >>> stored_bytes((64, 256), "W4A16", 128), stored_bytes((64, 256), "W8A16", 128), stored_bytes((64, 256), "16", 128)
    (8464, 16528, 32768)
    """
    rows, columns = shape
    if scheme == PLAIN:
        return 2 * rows * columns
    bits = BITS[base_of(scheme)]
    words = -(-columns * bits // 32)
    groups = columns // group_size if bits == 4 else 1
    return 4 * rows * words + 2 * rows * groups + 16


def rounded(matrix: Any, scheme: str, group_size: int) -> Any:
    """A matrix rounded to nearest, symmetric, one scale a group (4 bit) or row (8 bit)."""
    bits = BITS[base_of(scheme)]
    rows, columns = matrix.shape
    grouped = matrix.reshape(rows, -1, group_size if bits == 4 else columns)
    most = 2 ** (bits - 1) - 1
    scale = grouped.abs().amax(dim=-1, keepdim=True).clamp(min=1e-12) / (most + 0.5)
    return ((grouped / scale).round().clamp(-most - 1, most) * scale).reshape(rows, columns)


def _measured(checkpoint: Checkpoint, recipe: Recipe, texts: Sequence[str], progress: Progress) -> Any:
    """Rows of layer, unit, scheme, bytes and divergence when that unit alone is stored so."""
    total = sum(tensor.params for tensor in checkpoint.tensors.values())
    if total > MOST_PARAMS:
        raise QuantizationError(
            f"{checkpoint.path}: {total / 1e9:.1f}B weights; sensitivities are measured with the whole model in memory "
            f"and up to {MOST_PARAMS / 1e9:.0f}B here; use int4-gptq"
        )
    torch = optional("torch", what="measuring sensitivities", extra="quantize")
    tokens = torch.from_numpy(token_rows(checkpoint, texts, recipe)[:SEQUENCES])
    model = plain_model(checkpoint, {name: t.float32() for name, t in checkpoint.tensors.items()})
    units = _units(checkpoint)
    with torch.inference_mode():
        expected = [_log_probabilities(torch, model, row) for row in tokens]
        for done, ((layer, unit), stems) in enumerate(units.items()):
            progress(f"{recipe.name}: sensitivity of layer {layer + 1}, {unit}", done / len(units))
            originals = {stem: model.get_submodule(stem).weight.clone() for stem in stems}
            for scheme in recipe.choices:
                group_size = 0 if scheme == PLAIN else group_size_of(scheme, recipe)
                size = sum(stored_bytes(tuple(w.shape), scheme, group_size) for w in originals.values())
                loss = 0.0
                if scheme != PLAIN:
                    for stem, weight in originals.items():
                        model.get_submodule(stem).weight.copy_(rounded(weight, scheme, group_size))
                    loss = sum(
                        float((e.exp() * (e - _log_probabilities(torch, model, row))).sum(-1).mean())
                        for e, row in zip(expected, tokens, strict=True)
                    ) / len(expected)
                yield layer, unit, scheme, size, max(0.0, loss)
            for stem, weight in originals.items():
                model.get_submodule(stem).weight.copy_(weight)


def _log_probabilities(torch: Any, model: Any, row: Any) -> Any:
    return torch.log_softmax(model(row[None], use_cache=False).logits[0], dim=-1)
