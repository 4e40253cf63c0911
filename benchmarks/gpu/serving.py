"""(e) Real vLLM where it can be brought: the models of the grid in its own formats, with what its log says ran.

The weights are vLLM's dummies: a config with a ``quantization_config`` is enough for its INT8 and INT4 kernels to run.
``--checkpoint`` measures a folder that ``llmsizer quantize`` wrote instead.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import campaign
from campaign import say

from llmsizer.facts.variant import Variant
from llmsizer.profile import describe_device, profile
from llmsizer.profile.engines.vllm import EXTRA_FLAGS
from llmsizer.quantize import read_variant

BATCHES, PROMPTS, OUTPUT_TOKENS = (1, 4, 16, 64), (128, 2048), 64
REPEATS = 5


def scheme(bits: int, *, group_size: int | None = None, both: bool = False) -> dict[str, Any]:
    """A ``quantization_config`` of compressed-tensors: weights alone, or activations in 8 bit too."""
    weights: dict[str, Any] = {"num_bits": bits, "type": "int", "symmetric": True, "dynamic": False}
    weights |= {"strategy": "group", "group_size": group_size} if group_size else {"strategy": "channel"}
    inputs = {"num_bits": 8, "type": "int", "symmetric": True, "strategy": "token", "dynamic": True}
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs if both else None}
    return {
        "quant_method": "compressed-tensors",
        "format": "int-quantized" if both else "pack-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": group},
    }


QUANTIZATION: dict[str, dict[str, Any] | None] = {
    "fp16": None,
    "int8": scheme(8),
    "int8-w8a8": scheme(8, both=True),
    "int4": scheme(4, group_size=128),
}


def dummy(model: str, precision: str, folder: Path, *, dry_run: bool) -> Variant:
    """A folder of which vLLM makes a model of that geometry and format by itself."""
    variant = campaign.variant_of(model, precision, folder, dry_run=dry_run)
    config = {**variant.config, "dtype": "float16"}
    if quantization := QUANTIZATION[precision]:
        config["quantization_config"] = quantization
    (variant.path / "config.json").write_text(json.dumps(config))
    return variant


def run(arguments: list[str] | None = None) -> None:
    parser = campaign.parser(__doc__ or "")
    parser.add_argument("--model", choices=sorted(campaign.MODELS), default="22b")
    parser.add_argument("--precision", choices=list(QUANTIZATION), default="fp16")
    parser.add_argument("--checkpoint", type=Path, help="a variant's folder, instead of dummy weights")
    parser.add_argument("--flags", default="", help="further flags of vllm serve, in one string")
    parser.add_argument("--engine", choices=("vllm", "vllm-offline"), default="vllm")
    asked = parser.parse_args(arguments)
    at = campaign.stage("serving", asked)
    os.environ[EXTRA_FLAGS] = asked.flags
    if asked.checkpoint:
        variant = read_variant(asked.checkpoint)
    else:
        variant = dummy(asked.model, asked.precision, at.out / "vllm-models", dry_run=at.dry_run)
    points = campaign.grid((1, 2), (8,), 3) if at.dry_run else campaign.grid(BATCHES, PROMPTS, OUTPUT_TOKENS)
    repeats = 2 if at.dry_run else REPEATS
    with campaign.stopping_at(at):
        for record in profile(
            [variant],
            points,
            records_path=at.file,
            repeats=repeats,
            engine=asked.engine,
            device=describe_device(),
            in_laps=False,
        ):
            ran = record.failure or record.engine_options.get("kernels", "16 bit")
            say(f"{record.batch}×{record.prompt_tokens}: {record.status}, TPOT {record.tpot_seconds} s, {ran}")


if __name__ == "__main__":
    campaign.main(run)
