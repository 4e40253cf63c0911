"""compressed-tensors by llm-compressor: what vLLM, SGLang and transformers load."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import WeightPart
from llmsizer.installed import optional
from llmsizer.progress import Progress, part_of
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.groups import check_groups
from llmsizer.quantize.layers.experts import EXTRA
from llmsizer.quantize.layers.files import Work, assemble, layer_count, layers_beyond, modules_beside
from llmsizer.quantize.layers.layered import quantize_layers, quietly
from llmsizer.quantize.layers.shared_gptq import shared_gptq
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.stored.checkpoint import STORED, Checkpoint, open_checkpoint
from llmsizer.quantize.stored.experts import ROUTERS

# Engines read what is fused in one kernel in one scheme, so these are stored alike.
UNITS = {
    "qkv": r"self_attn\.(q|k|v)_proj",
    "o": r"self_attn\.o_proj",
    "gate_up": r"mlp\.(gate|up)_proj",
    "down": r"mlp\.down_proj",
}
PLAIN = "16"  # the scheme of a unit that is left as it is
Assignment = Mapping[tuple[int, str], str]  # layer and unit to scheme


def write(
    checkpoint: Checkpoint,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    work: Path,
    calibration: Sequence[str] = (),
    assignment: Assignment | None = None,
) -> tuple[WeightPart, ...]:
    """Quantize layer by layer with llm-compressor and save into a folder; ``assignment`` is of a mixed recipe."""
    check_groups(checkpoint, recipe)
    optional("torch", what=f"the method {recipe.name}", extra="quantize")
    with quietly():  # its import warns where there is no accelerator
        optional("llmcompressor", what=f"the method {recipe.name}", extra=EXTRA)
    rows = token_rows(checkpoint, calibration, recipe) if recipe.is_calibrated else None
    place = Work(work)
    settings = quantize_layers(
        checkpoint,
        modifiers_of(recipe, assignment, plain=ROUTERS if checkpoint.has_experts else ()),
        place,
        part_of(progress, 0.0, 0.95),
        rows=rows,
        name=recipe.name,
    )
    progress(f"{recipe.name}: saving", 0.95)
    with quietly():
        assemble(checkpoint, place, folder, whole_settings(checkpoint, settings, assignment))
    parts = weight_parts(
        open_checkpoint(folder),
        checkpoint,
        lambda stem: recipe.part if assignment is None else f"int{base_of(assignment[unit_of(stem)])[1]}",
    )
    if not any(part.format not in STORED.values() for part in parts):
        raise QuantizationError(f"{checkpoint.path}: {recipe.name} found nothing to quantize in layers of this kind")
    return parts


def base_of(scheme: str) -> str:
    """The toolkit's name of a scheme of ours.

    >>> base_of("W4A16-g32"), base_of("W8A16")
    ('W4A16', 'W8A16')
    """
    return scheme.partition("-g")[0]


def group_size_of(scheme: str, recipe: Recipe) -> int:
    """The scheme's own group size, else the recipe's."""
    return int(scheme.partition("-g")[2] or recipe.group_size or 128)


def modifiers_of(
    recipe: Recipe, assignment: Assignment | None = None, *, plain: Sequence[str] = ()
) -> Callable[[int], Any]:
    """The toolkit's modifiers for a layer, which stands as layer 0 in its own model, ``plain`` modules left alone."""

    def modifiers(layer: int) -> list[Any]:
        if assignment is None:
            return _modifiers(recipe, {recipe.scheme: ["Linear"]}, plain)
        targets: dict[str, list[str]] = {}
        for (owner, unit), scheme in assignment.items():
            if owner == layer and scheme != PLAIN:
                targets.setdefault(scheme, []).append(rf"re:.*layers\.0\.{UNITS[unit]}$")
        return _modifiers(recipe, targets, plain)

    return modifiers


def _modifiers(recipe: Recipe, targets: Mapping[str, list[str]], plain: Sequence[str]) -> list[Any]:
    def load(module: str, name: str) -> Any:
        what = f"the method {recipe.name}"
        return getattr(optional(f"llmcompressor.modifiers.{module}", what=what, extra=EXTRA), name)

    preset = optional("compressed_tensors.quantization", what="quantizing", extra=EXTRA).preset_name_to_scheme
    groups: dict[str, Any] = {}
    for scheme, names in sorted(targets.items()):
        group = preset(base_of(scheme), names)
        if group.weights.group_size is not None:
            group.weights.group_size = group_size_of(scheme, recipe)  # the preset's is its own
        groups[f"group_{len(groups)}"] = group
    options: dict[str, Any] = {"config_groups": groups, "ignore": [*recipe.kept_16bit, *plain]}
    if recipe.kv_scales == "fp8":
        options["kv_cache_scheme"] = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}
    found: list[Any] = []
    rounding = recipe.algorithm
    if recipe.algorithm == "smoothquant":
        strength = recipe.smoothing_strength
        found.append(load("transform.smoothquant", "SmoothQuantModifier")(smoothing_strength=strength))
        rounding = recipe.then
    elif recipe.algorithm == "awq":
        found.append(load("transform.awq", "AWQModifier")())
        rounding = recipe.then
    if rounding == "gptq":
        return [*found, shared_gptq(actorder=recipe.act_order, **options)]
    return [*found, load("quantization", "QuantizationModifier")(**options)]


def whole_settings(
    checkpoint: Checkpoint, settings: Mapping[str, Any], assignment: Assignment | None
) -> dict[str, Any]:
    """The quantization settings of the whole model from those of its layers."""
    first = next(iter(settings.values()))
    plain = ["lm_head", *(rf"re:.*layers\.{layer}\..*" for layer in layers_beyond(checkpoint))]
    plain += [
        *(ROUTERS if checkpoint.has_experts else ()),
        *(rf"re:.*{name}\..*" for name in modules_beside(checkpoint)),
    ]
    if assignment is None:
        return {**first, "ignore": sorted({*first.get("ignore", ()), *plain})}
    groups: dict[str, Any] = {}
    for layer in range(layer_count(checkpoint)):
        for group in settings[str(layer)]["config_groups"].values():
            names = [name.replace(r"layers\.0\.", rf"layers\.{layer}\.") for name in group["targets"]]
            scheme = json.dumps(group["weights"], sort_keys=True)
            groups.setdefault(scheme, {**group, "targets": []})["targets"] += sorted(names)
    for (layer, unit), scheme in sorted(assignment.items()):
        if scheme == PLAIN:
            plain.append(rf"re:.*layers\.{layer}\.{UNITS[unit]}$")
    return {
        **first,
        "config_groups": {f"group_{i}": groups[scheme] for i, scheme in enumerate(sorted(groups))},
        "ignore": plain,
    }


def unit_of(stem: str) -> tuple[int, str]:
    """Layer and unit of a module's name.

    >>> unit_of("model.layers.3.self_attn.k_proj")
    (3, 'qkv')
    """
    found = re.fullmatch(r"model\.layers\.(\d+)\.(.+)", stem)
    for unit, pattern in UNITS.items():
        if found and re.fullmatch(pattern, found[2]):
            return int(found[1]), unit
    raise QuantizationError(f"{stem} is no projection that mixed precision knows; known: q, k, v, o, gate, up, down")


def weight_parts(stored: Checkpoint, source: Checkpoint, label: Callable[[str], str]) -> tuple[WeightPart, ...]:
    """What the tensors weigh by stored format; scales, zero points and shapes count with their matrix."""
    parts: dict[str, tuple[int, int]] = {}
    quantized = {name.removesuffix(".weight_scale") for name in stored.tensors if name.endswith(".weight_scale")}
    for tensor in stored.tensors.values():
        stem, _, kind = tensor.name.rpartition(".")
        if stem in quantized:
            # the count is the source's: a packed tensor does not say how many weights its last word holds
            count = source.tensor(f"{stem}.weight").params if kind in ("weight", "weight_packed") else 0
            name = label(stem)
        else:
            count = 0 if kind in ("k_scale", "v_scale") else tensor.params
            name = STORED.get(tensor.dtype, tensor.dtype.lower())
        params, size = parts.get(name, (0, 0))
        parts[name] = (params + count, size + tensor.byte_count)
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))
