"""OpenVINO IR, the fastest CPU format tried: GenAI reads GGUF into its graph, NNCF compresses the weights.

GenAI's own reader makes the graph, so no exporter is needed (optimum-intel would pin transformers below 5.6).
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
from pathlib import Path
from typing import Any

import llmsizer.quantize.gguf_file as gguf_file
from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import WeightPart
from llmsizer.gguf_graph import GGUF_FILE, MODEL_FILE, read_unmapped, replace_model, save_as_ir
from llmsizer.installed import optional
from llmsizer.progress import Progress, part_of
from llmsizer.quantize.checkpoint import Checkpoint
from llmsizer.quantize.recipes import RECIPES, Recipe

PACKAGES = ("openvino", "openvino-genai", "openvino-tokenizers", "nncf", "gguf")
STORED = {"i4": "int4", "u4": "int4", "i8": "int8", "u8": "int8", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}


def write(
    checkpoint: Checkpoint, recipe: Recipe, folder: Path, progress: Progress, *, base: Path | None = None
) -> tuple[WeightPart, ...]:
    """Write the IR into a folder; ``base`` is an unquantized IR of the same checkpoint that saves the conversion."""
    if recipe.is_quantized:
        check_groups(checkpoint, recipe)
    if base is None:
        convert(checkpoint, folder, part_of(progress, 0.0, 0.6))
    else:
        for file in base.glob("openvino_*"):
            shutil.copy2(file, folder / file.name)
    if recipe.is_quantized:
        progress(f"NNCF {recipe.name}", 0.6)
        _compress(folder, recipe)
    progress(f"OpenVINO IR {recipe.name} written", 1.0)
    return weight_parts(folder / MODEL_FILE)


def convert(checkpoint: Checkpoint, folder: Path, progress: Progress) -> None:
    """An unquantized IR (16 bit) of a checkpoint, with its tokenizer where GGUF can carry it."""
    gguf_folder = folder / "gguf"
    gguf_folder.mkdir()
    gguf_file.write(checkpoint, RECIPES["gguf-f16"], gguf_folder, part_of(progress, 0.0, 0.5))
    progress("OpenVINO GenAI reads the graph", 0.5)
    save_as_ir(gguf_folder / GGUF_FILE, checkpoint.config)
    has_tokenizer = gguf_file.has_byte_level_tokenizer(checkpoint)
    for file in gguf_folder.glob("openvino_*"):
        if has_tokenizer or file.stem == Path(MODEL_FILE).stem:
            file.rename(folder / file.name)
    shutil.rmtree(gguf_folder)
    progress("OpenVINO GenAI reads the graph", 1.0)


def check_groups(checkpoint: Checkpoint, recipe: Recipe) -> None:
    """Raises QuantizationError where a matrix cannot be cut into the recipe's groups."""
    if recipe.group_size is None:
        return
    kept = (*recipe.kept_8bit, *recipe.kept_16bit)
    for tensor in checkpoint.matrices():
        if tensor.shape[1] % recipe.group_size and not any(name in tensor.name for name in kept):
            raise QuantizationError(
                f"{checkpoint.path}: {tensor.name} has rows of {tensor.shape[1]} weights, not divisible by the group "
                f"size {recipe.group_size} of {recipe.name}; an 8-bit method has no groups and would work"
            )


def _compress(folder: Path, recipe: Recipe) -> None:
    # NNCF reports usage to its makers unless told that it runs in CI; a planner must not phone home.
    os.environ.setdefault("NNCF_CI", "1")
    nncf = optional("nncf", what="compressing OpenVINO IR", extra="quantize")
    openvino = optional("openvino", what="compressing OpenVINO IR", extra="quantize")
    options: dict[str, Any] = {"mode": nncf.CompressWeightsMode.INT8_SYM}
    if recipe.bits == 4:
        mode = nncf.CompressWeightsMode.INT4_SYM if recipe.symmetric else nncf.CompressWeightsMode.INT4_ASYM
        options = {"mode": mode, "group_size": recipe.group_size, "ratio": 1.0, "all_layers": not recipe.kept_8bit}
    # NNCF draws tables and bars of its own, which would break into our progress.
    nncf.set_log_level("ERROR")
    with contextlib.redirect_stdout(io.StringIO()):
        model = nncf.compress_weights(read_unmapped(openvino, folder / MODEL_FILE), **options)
    replace_model(openvino, model, folder / MODEL_FILE)


def weight_parts(graph: Path) -> tuple[WeightPart, ...]:
    """What the weights of an IR weigh by stored format; scales and zero points count with their matrix."""
    openvino = optional("openvino", what="reading OpenVINO IR", extra="quantize")
    parts: dict[str, tuple[int, int]] = {}
    stored_as: dict[str, str] = {}
    extras: list[tuple[str, int]] = []
    for op in openvino.Core().read_model(graph).get_ops():
        if op.get_type_name() != "Constant":
            continue
        stored = STORED.get(op.get_element_type().get_type_name())
        params, size = math.prod(int(length) for length in op.shape), int(op.get_byte_size())
        owner, dot, extra = op.get_friendly_name().partition(".weight")
        if extra.startswith("/"):  # "….weight/scale", "….weight/zero_point"
            extras.append((owner, size))
        elif stored and (dot or _is_norm(op.shape)):
            stored_as[owner] = stored
            count, total = parts.get(stored, (0, 0))
            parts[stored] = (count + params, total + size)
    for owner, size in extras:
        count, total = parts[stored_as[owner]]
        parts[stored_as[owner]] = (count, total + size)
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))


def _is_norm(shape: Any) -> bool:
    """GenAI drops the names of norms; they are the constants of shape [1, 1, hidden]."""
    return len(shape) == 3 and int(shape[0]) == int(shape[1]) == 1 and int(shape[2]) > 1
