"""OpenVINO IR, the fastest CPU format tried: GenAI reads GGUF into its graph, NNCF compresses the weights.

GenAI's own reader makes the graph, so no exporter is needed (optimum-intel would pin transformers below 5.6).
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import llmsizer.quantize.formats.gguf_file as gguf_file
from llmsizer.facts.variant import WeightPart
from llmsizer.gguf_graph import GGUF_FILE, MODEL_FILE, read_unmapped, replace_model, save_as_ir
from llmsizer.installed import optional
from llmsizer.progress import Progress, part_of
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.groups import check_groups
from llmsizer.quantize.recipes import RECIPES, Recipe
from llmsizer.quantize.stored.checkpoint import Checkpoint

ALGORITHMS = {"awq": "awq", "scale-estimation": "scale_estimation", "gptq": "gptq"}  # NNCF's names
STORED = {"i4": "int4", "u4": "int4", "i8": "int8", "u8": "int8", "f16": "fp16", "bf16": "bf16", "f32": "fp32"}


def write(
    checkpoint: Checkpoint,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    base: Path | None = None,
    calibration: Sequence[str] = (),
) -> tuple[WeightPart, ...]:
    """Write the IR into a folder; ``base`` is an unquantized IR of the same checkpoint that saves the conversion."""
    if recipe.is_quantized:
        check_groups(checkpoint, recipe)
    rows = token_rows(checkpoint, calibration, recipe) if recipe.is_calibrated else None
    if base is None:
        convert(checkpoint, folder, part_of(progress, 0.0, 0.6))
    else:
        for file in base.glob("openvino_*"):
            shutil.copy2(file, folder / file.name)
    if recipe.is_quantized:
        progress(f"NNCF {recipe.name}", 0.6)
        _compress(folder, recipe, rows)
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


def _compress(folder: Path, recipe: Recipe, rows: NDArray[np.int64] | None) -> None:
    # NNCF reports usage to its makers unless told that it runs in CI; a planner must not phone home.
    os.environ.setdefault("NNCF_CI", "1")
    nncf = optional("nncf", what="compressing OpenVINO IR", extra="quantize")
    openvino = optional("openvino", what="compressing OpenVINO IR", extra="quantize")
    options: dict[str, Any] = {"mode": nncf.CompressWeightsMode.INT8_SYM}
    if recipe.bits == 4:
        mode = nncf.CompressWeightsMode.INT4_SYM if recipe.symmetric else nncf.CompressWeightsMode.INT4_ASYM
        options = {"mode": mode, "group_size": recipe.group_size, "ratio": 1.0, "all_layers": not recipe.kept_8bit}
    if rows is not None:
        options |= {"dataset": nncf.Dataset([_inputs(row) for row in rows]), "subset_size": len(rows)}
        options |= {ALGORITHMS[recipe.algorithm]: True}
    # NNCF draws tables and bars of its own, which would break into our progress.
    nncf.set_log_level("ERROR")
    with contextlib.redirect_stdout(io.StringIO()):
        model = nncf.compress_weights(read_unmapped(openvino, folder / MODEL_FILE), **options)
    replace_model(openvino, model, folder / MODEL_FILE)


def _inputs(row: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    count = row.size
    return {
        "input_ids": row.reshape(1, count),
        "attention_mask": np.ones((1, count), np.int64),
        "position_ids": np.arange(count, dtype=np.int64).reshape(1, count),
        "beam_idx": np.zeros(1, np.int32),
    }


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
