"""The formats ``gptq`` and ``awq`` by GPTQModel, in an environment of its own, since its pins do not fit ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import llmsizer.quantize.formats.sixteen_bit as sixteen_bit
from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.progress import Progress, part_of, silent
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.formats.environments import Environment, ensure, is_made
from llmsizer.quantize.groups import check_groups
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.stored.checkpoint import STORED, Checkpoint, open_checkpoint

ENVIRONMENT = Environment(name="gptqmodel", requirements=("gptqmodel==7.6.0", "optimum==2.3.0"))
WORKER = Path(__file__).with_name("gptqmodel_worker.py")
QUANTIZED = ("qweight", "qzeros", "scales", "g_idx")


def versions() -> dict[str, str]:
    """What the environment is asked to hold."""
    return dict(tuple(line.split("==")) for line in ENVIRONMENT.requirements)  # type: ignore[misc]


def write(
    checkpoint: Checkpoint,
    recipe: Recipe,
    folder: Path,
    progress: Progress,
    *,
    work: Path,
    calibration: Sequence[str] = (),
) -> tuple[WeightPart, ...]:
    """Quantize in GPTQModel's environment and save into a folder."""
    check_groups(checkpoint, recipe)
    rows = token_rows(checkpoint, calibration, recipe)
    python = ensure(ENVIRONMENT, part_of(progress, 0.0, 0.1))
    np.save(work / "rows.npy", rows)
    progress(f"{recipe.name}: quantizing", 0.1)
    job = {
        "source": str(_plain(checkpoint, work).resolve()),
        "out": str(folder.resolve()),
        "rows": str(work.resolve() / "rows.npy"),
        "format": recipe.format,
        "bits": recipe.bits,
        "group_size": recipe.group_size,
        "symmetric": recipe.symmetric,
        "act_order": recipe.act_order,
    }
    run_worker(python, "quantize", job)
    for name in ("quant_log.csv", "README.md"):
        (folder / name).unlink(missing_ok=True)
    progress(f"{recipe.name}: written", 1.0)
    return weight_parts(open_checkpoint(folder), checkpoint, recipe)


def _plain(checkpoint: Checkpoint, work: Path) -> Path:
    """The folder that the toolkit reads: a copy in 16 bit where the source is packed."""
    if checkpoint.packed_format is None:
        return checkpoint.path
    folder = work / "sixteen-bit"
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
    folder.mkdir()
    sixteen_bit.write(checkpoint, folder, silent)
    for file in checkpoint.path.glob("*.json"):
        if not (folder / file.name).exists() and "index" not in file.name:
            shutil.copy2(file, folder / file.name)
    return folder


def run_worker(python: Path, command: str, arguments: Mapping[str, Any]) -> None:
    """One command in GPTQModel's environment. Raises QuantizationError with the last line it said."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment.setdefault("GPTQMODEL_CPU_WORKERS", str(max(2, (os.cpu_count() or 2) // 2)))
    with tempfile.TemporaryDirectory(prefix="llmsizer-gptqmodel-") as scratch:  # it writes logs/ where it stands
        done = subprocess.run(  # -P: this folder holds a module of the toolkit's own name
            [str(python), "-P", str(WORKER), command, json.dumps(arguments)],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            cwd=scratch,
        )
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        raise QuantizationError(f"GPTQModel failed in its own environment: {lines[-1]}")


def logits(variant: Variant, tokens: np.ndarray[Any, Any], scratch: Path) -> np.ndarray[Any, Any] | None:
    """Logits by transformers with GPTQModel's kernels; None where its environment has not been made."""
    if not is_made(ENVIRONMENT):
        return None
    np.save(scratch / "tokens.npy", tokens)
    python = ensure(ENVIRONMENT, lambda what, fraction: None)
    scratch = scratch.resolve()  # the worker runs in a folder of its own
    files = {"tokens": str(scratch / "tokens.npy"), "out": str(scratch / "logits.npy")}
    arguments = {"folder": str(variant.path.resolve()), **files}
    run_worker(python, "logits", arguments)
    found: np.ndarray[Any, Any] = np.load(scratch / "logits.npy")
    return found


def weight_parts(stored: Checkpoint, source: Checkpoint, recipe: Recipe) -> tuple[WeightPart, ...]:
    """What the tensors weigh; scales, zero points and the order of columns count with their matrix."""
    parts: dict[str, tuple[int, int]] = {}
    for tensor in stored.tensors.values():
        stem, _, kind = tensor.name.rpartition(".")
        if kind in QUANTIZED:
            count = source.tensor(f"{stem}.weight").params if kind == "qweight" else 0
            name = recipe.part
        else:
            count, name = tensor.params, STORED.get(tensor.dtype, tensor.dtype.lower())
        params, size = parts.get(name, (0, 0))
        parts[name] = (params + count, size + tensor.byte_count)
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))
