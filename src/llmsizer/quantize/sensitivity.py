"""What fewer bits for one unit of a layer cost in the model's predictions, by each scheme.

A unit is what engines fuse and so store alike: q, k and v together, o, gate and up together, down. Its sensitivity is
the KL divergence of the predictions when the unit alone is rounded by the coarsest scheme, as the recipe will round it:
GPTQ leaves between a twentieth and a third of what rounding to nearest loses, and sensitivities to the latter send the
bits to the wrong units. GPTQ's inputs and the text of the divergence are different sequences, because GPTQ fits its
own. For small roundings the divergence is proportional to the squared error of the unit's outputs, so that the other
schemes follow from theirs:

    error = sum over columns of step² / 12 · H[i, i]           H = inputsᵀ · inputs
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llmsizer.errors import QuantizationError
from llmsizer.installed import optional
from llmsizer.progress import Progress
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.formats.compressed_tensors import PLAIN, base_of, group_size_of, unit_of
from llmsizer.quantize.groups import check_groups
from llmsizer.quantize.layers.experts import EXTRA
from llmsizer.quantize.layers.layered import quietly
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.round_trip import plain_model
from llmsizer.quantize.stored.checkpoint import Checkpoint

SEQUENCES = 32  # enough to rank units
JUDGING = 4  # one in four shows the divergence, once a unit; GPTQ looks at the others, once a layer
MOST_PARAMS = 4_000_000_000  # the whole model is held in single precision to see its predictions
Unit = tuple[int, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One way to store one unit: what it weighs, and the divergence (nats a token) that it costs."""

    scheme: str
    bytes: int
    loss: float


def units_of(checkpoint: Checkpoint) -> dict[Unit, list[str]]:
    """The matrices of every unit of the layers."""
    units: dict[Unit, list[str]] = {}
    for name, tensor in sorted(checkpoint.tensors.items()):
        if name.startswith("model.layers.") and len(tensor.shape) == 2:
            stem = name.removesuffix(".weight")
            units.setdefault(unit_of(stem), []).append(stem)
    return dict(sorted(units.items()))


def bits_of(scheme: str) -> int:
    """
    >>> bits_of("W4A16_ASYM-g64"), bits_of("W8A16")
    (4, 8)
    """
    return int(base_of(scheme)[1])


def stored_bytes(shape: tuple[int, ...], scheme: str, group_size: int) -> int:
    """Bytes of a matrix by scheme: packed words, a 16-bit scale a group, packed zero points, two numbers of shape.

    >>> stored_bytes((64, 256), "W4A16", 128), stored_bytes((64, 256), "W8A16", 128), stored_bytes((64, 256), "16", 128)
    (8464, 16656, 32768)
    """
    rows, columns = shape
    if scheme == PLAIN:
        return 2 * rows * columns
    words = -(-columns * bits_of(scheme) // 32)
    groups = columns // group_size
    zeros = 4 * -(-rows * bits_of(scheme) // 32) * groups if "ASYM" in scheme else 0
    return 4 * rows * words + 2 * rows * groups + zeros + 16


def sizes_of(checkpoint: Checkpoint, recipe: Recipe, stems: Sequence[str]) -> dict[str, int]:
    """Bytes of a unit's matrices by each of the recipe's choices."""
    shapes = [checkpoint.tensor(f"{stem}.weight").shape for stem in stems]
    return {
        scheme: sum(stored_bytes(shape, scheme, _group(scheme, recipe)) for shape in shapes)
        for scheme in recipe.choices
    }


def rounded(matrix: Any, scheme: str, group_size: int) -> Any:
    """A matrix rounded to nearest, one scale a group."""
    grouped = matrix.reshape(matrix.shape[0], -1, group_size)
    step, first = _grid(grouped, scheme)
    most = first + 2 ** bits_of(scheme) - 1
    return ((grouped / step).round().clamp(first, most) * step).reshape(matrix.shape)


def _grid(grouped: Any, scheme: str) -> tuple[Any, Any]:
    """The rounding step of every group, and the first of its whole numbers."""
    bits = bits_of(scheme)
    high, low = grouped.amax(dim=-1, keepdim=True).clamp(min=0), grouped.amin(dim=-1, keepdim=True).clamp(max=0)
    if "ASYM" not in scheme:
        high = high.maximum(-low)
        low = -high
    step = ((high - low) / (2**bits - 1)).clamp(min=1e-12)
    return step, (low / step).round() if "ASYM" in scheme else (0 * low - 2 ** (bits - 1))


def output_error(matrix: Any, scheme: str, group_size: int, hessian: Any) -> float:
    """Expected squared error of a matrix' outputs when it is rounded to nearest; 0 where it is not."""
    if scheme == PLAIN:
        return 0.0
    step, _ = _grid(matrix.reshape(matrix.shape[0], -1, group_size), scheme)
    inputs = hessian.diagonal().reshape(-1, group_size).sum(dim=-1)
    return float((step[..., 0].square().sum(dim=0) * inputs).sum()) / 12.0


def sensitivities(
    checkpoint: Checkpoint, recipe: Recipe, texts: Sequence[str], progress: Progress
) -> Iterator[tuple[Unit, Choice]]:
    """Every choice of every unit, by one pass a unit and one a layer. Raises QuantizationError."""
    total = sum(tensor.params for tensor in checkpoint.tensors.values())
    if total > MOST_PARAMS:
        raise QuantizationError(
            f"{checkpoint.path}: {total / 1e9:.1f}B weights; sensitivities are measured with the whole model in memory "
            f"and up to {MOST_PARAMS / 1e9:.0f}B here; use int4-gptq"
        )
    schemes = [scheme for scheme in recipe.choices if scheme != PLAIN]
    if not schemes:
        raise QuantizationError(f"{recipe.name}: choices = {list(recipe.choices)} quantize nothing; add W4A16 or W8A16")
    for scheme in schemes:
        check_groups(checkpoint, replace(recipe, group_size=_group(scheme, recipe)))
    torch = optional("torch", what="measuring sensitivities", extra="quantize")
    tokens = torch.from_numpy(token_rows(checkpoint, texts, recipe)[:SEQUENCES])
    judging = torch.arange(len(tokens)) % JUDGING == 0
    model = plain_model(checkpoint, {name: t.float32() for name, t in checkpoint.tensors.items()})
    units = units_of(checkpoint)
    coarsest = min(schemes, key=lambda scheme: stored_bytes((8, 4096), scheme, _group(scheme, recipe)))
    hessians: dict[str, Any] = {}
    with torch.inference_mode():
        expected = [_log_probabilities(torch, model, row) for row in tokens[judging]]
        for done, ((layer, unit), stems) in enumerate(units.items()):
            progress(f"{recipe.name}: sensitivity of layer {layer + 1}, {unit}", done / len(units))
            if stems[0] not in hessians:  # of one layer at a time: those of all would outweigh the model
                own = [stem for (owner, _), found in units.items() if owner == layer for stem in found]
                hessians = _hessians(model, own, tokens[~judging])
            weights = {stem: model.get_submodule(stem).weight for stem in stems}
            originals = {stem: weight.clone() for stem, weight in weights.items()}
            for stem, weight in weights.items():
                weight.copy_(_as_recipe(weight, coarsest, recipe, hessians[stem]))
            measured = _divergence(torch, model, tokens[judging], expected)
            for stem, weight in weights.items():
                weight.copy_(originals[stem])
            errors = {
                scheme: sum(output_error(weights[s], scheme, _group(scheme, recipe), hessians[s]) for s in stems)
                for scheme in recipe.choices
            }
            sizes = sizes_of(checkpoint, recipe, stems)
            for scheme, error in errors.items():
                loss = measured * error / errors[coarsest] if error else 0.0
                yield (layer, unit), Choice(scheme=scheme, bytes=sizes[scheme], loss=loss)


def _as_recipe(weight: Any, scheme: str, recipe: Recipe, hessian: Any) -> Any:
    """The matrix as the recipe's method rounds it: by the toolkit's GPTQ, or to nearest."""
    group_size = _group(scheme, recipe)
    if recipe.algorithm != "gptq":
        return rounded(weight, scheme, group_size)
    with quietly():
        gptq = optional("llmcompressor.modifiers.gptq.gptq_quantize", what="measuring sensitivities", extra=EXTRA)
    quantization = optional("compressed_tensors.quantization", what="measuring sensitivities", extra=EXTRA)
    arguments = quantization.preset_name_to_scheme(base_of(scheme), ["Linear"]).weights
    arguments = arguments.model_copy(update={"group_size": group_size, "actorder": recipe.act_order})
    step, first = _grid(weight.reshape(weight.shape[0], -1, group_size), scheme)
    zero = -(2 ** (bits_of(scheme) - 1)) - first[..., 0]
    held = (weight.clone()[None], hessian.clone()[None])  # the toolkit works in place
    found, *_ = gptq.quantize_weight(*held, step[..., 0][None], zero[None], None, arguments)
    return found[0]


def _divergence(torch: Any, model: Any, tokens: Any, expected: Sequence[Any]) -> float:
    """Mean KL of the model's predictions from the expected ones, nats a token."""
    rows = zip(expected, tokens, strict=True)
    sums = (float((e.exp() * (e - _log_probabilities(torch, model, row))).sum(-1).mean()) for e, row in rows)
    return max(0.0, sum(sums) / len(expected))


def _group(scheme: str, recipe: Recipe) -> int:
    return 0 if scheme == PLAIN else group_size_of(scheme, recipe)


def _hessians(model: Any, stems: Sequence[str], tokens: Any) -> dict[str, Any]:
    """Sum of inputs times their transpose for each matrix, over all tokens."""
    sums: dict[str, Any] = {}

    def add(stem: str) -> Any:
        def hook(_: Any, inputs: tuple[Any, ...]) -> None:
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            sums[stem] = sums.get(stem, 0.0) + flat.T @ flat

        return hook

    with contextlib.ExitStack() as stack:
        for stem in stems:
            stack.callback(model.get_submodule(stem).register_forward_pre_hook(add(stem)).remove)
        for row in tokens:
            model(row[None], use_cache=False)
    return sums


def _log_probabilities(torch: Any, model: Any, row: Any) -> Any:
    return torch.log_softmax(model(row[None], use_cache=False).logits[0], dim=-1)
