"""(f) GPTQ of the 22B: seconds and peak memory, ours layer by layer beside the toolkit's own one-shot.

Both quantize the same checkpoint of random weights on the same random tokens, each in a process of its own. Needs the
extra ``compressed-tensors`` (llm-compressor), and disk for the 16-bit weights and a variant: 60 GB for the 22B. Random
weights say what it costs, nothing of quality: ``benchmarks/quantizers.py`` says that of the reference model.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import campaign
import numpy as np

from llmsizer.installed import optional
from llmsizer.quantize import RECIPES, Job, quantize
from llmsizer.quantize.calibration import token_rows
from llmsizer.quantize.formats.compressed_tensors import modifiers_of
from llmsizer.quantize.layers.layered import quietly
from llmsizer.quantize.recipes import Recipe, get_recipe
from llmsizer.quantize.stored.checkpoint import open_checkpoint
from llmsizer.reference_model import random_checkpoint

METHOD = "int4-gptq"
WHO = ("ours", "toolkit")
DRY_SEQUENCES, DRY_TOKENS = 8, 32
Alone = Callable[[str, Path, Path, bool], dict[str, Any]]


def checkpoint_of(model: str, folder: Path, *, dry_run: bool) -> Path:
    """Random FP16 weights of the model's geometry, with a tokenizer of one word a token; kept between the parts."""
    path = folder / f"{model}-random"
    if not (path / "tokenizer.json").is_file():
        config = campaign.config_of(model, dry_run=dry_run)
        if not path.is_dir():
            random_checkpoint(config, path)
        words = {f"w{i}": i for i in range(int(config["vocab_size"]))}
        level = {"type": "WordLevel", "vocab": words, "unk_token": "w0"}
        (path / "tokenizer.json").write_text(
            json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": level})
        )
    return path


def texts_of(checkpoint: Path, recipe: Recipe) -> list[str]:
    """As many random tokens as the recipe calibrates on."""
    size = int(json.loads((checkpoint / "config.json").read_text())["vocab_size"])
    shape = (recipe.calibration_sequences, recipe.sequence_tokens)
    rows = np.random.default_rng(0).integers(0, size, shape)
    return [" ".join(f"w{token}" for token in row) for row in rows.tolist()]


def ours(checkpoint: Path, recipe: Recipe, out: Path) -> None:
    quantize(checkpoint, recipe.name, out, job=Job(calibration=texts_of(checkpoint, recipe), verify=False))


def toolkit(checkpoint: Path, recipe: Recipe, out: Path) -> None:
    """llm-compressor as its documentation uses it, on the same tokens."""
    llmcompressor = optional("llmcompressor", what="the toolkit's own GPTQ", extra="compressed-tensors")
    transformers = optional("transformers", what="the toolkit's own GPTQ", extra="compressed-tensors")
    dataset = optional("datasets", what="the toolkit's own GPTQ", extra="compressed-tensors").Dataset
    rows = token_rows(open_checkpoint(checkpoint), texts_of(checkpoint, recipe), recipe)
    data = dataset.from_dict({"input_ids": rows.tolist(), "attention_mask": [[1] * rows.shape[1]] * len(rows)})
    with quietly():
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype="auto")
        llmcompressor.oneshot(
            model=model,
            recipe=modifiers_of(recipe)(0),
            dataset=data,
            max_seq_length=rows.shape[1],
            num_calibration_samples=len(rows),
            shuffle_calibration_samples=False,
        )
        model.save_pretrained(out, save_compressed=True)


def measured(who: str, checkpoint: Path, out: Path, dry_run: bool) -> dict[str, Any]:
    """One way, in this process; peak bytes are the host's, and the allocator's where there is a device."""
    torch = optional("torch", what="the GPU campaign", extra="quantize")
    if dry_run:
        small = {"calibration_sequences": DRY_SEQUENCES, "sequence_tokens": DRY_TOKENS}
        RECIPES[METHOD] = dataclasses.replace(RECIPES[METHOD], **small)
    recipe, on_gpu = get_recipe(METHOD), torch.cuda.is_available()
    began = time.perf_counter()
    {"ours": ours, "toolkit": toolkit}[who](checkpoint, recipe, out)
    return {
        "quantizing_seconds": time.perf_counter() - began,
        "host_peak_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        "peak_allocated_bytes": float(torch.cuda.max_memory_allocated()) if on_gpu else None,
        "file_bytes": float(sum(file.stat().st_size for file in out.rglob("*.safetensors"))),
        "calibration_tokens": recipe.calibration_sequences * recipe.sequence_tokens,
    }


def alone(who: str, checkpoint: Path, out: Path, dry_run: bool) -> dict[str, Any]:
    """The same in a process of its own, so that its peak is its own."""
    command = [sys.executable, __file__, "--child", who, str(checkpoint), str(out), str(int(dry_run))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no reason given").splitlines()[-1])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def parts(
    at: campaign.Stage, models: tuple[str, ...], run_alone: Alone
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    def part(model: str, who: str) -> dict[str, Any]:
        checkpoint = checkpoint_of(model, at.out / "models", dry_run=at.dry_run)
        out = at.out / "models" / f"{model}-{METHOD}-{who}"
        try:
            return {"model": model, "method": METHOD, "by": who, **run_alone(who, checkpoint, out, at.dry_run)}
        finally:
            shutil.rmtree(out, ignore_errors=True)  # the disk must hold the next one

    for model in models:
        for who in WHO:
            yield f"{model} {METHOD} {who}", partial(part, model, who)


def run(arguments: list[str] | None = None, *, run_alone: Alone = alone) -> None:
    parser = campaign.parser(__doc__ or "")
    parser.add_argument("--model", choices=sorted(campaign.MODELS), action="append")
    asked = parser.parse_args(arguments)
    at = campaign.stage("gptq", asked)
    at.run(parts(at, tuple(asked.model or ("3b", "8b", "22b")), run_alone), seconds_each=60.0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        who, checkpoint, out, dry = sys.argv[2:]
        print(json.dumps(measured(who, Path(checkpoint), Path(out), dry == "1")))
    else:
        campaign.main(run)
