"""compressed-tensors by llm-compressor: what vLLM, SGLang and transformers load."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import WeightPart
from llmsizer.installed import optional, quiet_transformers
from llmsizer.progress import Progress
from llmsizer.quantize.checkpoint import Checkpoint, open_checkpoint
from llmsizer.quantize.openvino_ir import check_groups
from llmsizer.quantize.recipes import Recipe

PACKAGES = ("llmcompressor", "compressed-tensors", "transformers", "torch")
SEQUENCE_TOKENS = 256
MINIMUM_SEQUENCES = 8  # GPTQ's Hessian of fewer tokens than this is noise
MODIFIERS = {
    "gptq": ("llmcompressor.modifiers.gptq", "GPTQModifier"),
    "round-to-nearest": ("llmcompressor.modifiers.quantization", "QuantizationModifier"),
}
STORED = {"F16": "fp16", "BF16": "bf16", "F32": "fp32", "I8": "int8"}


def write(
    checkpoint: Checkpoint, recipe: Recipe, folder: Path, progress: Progress, *, calibration: Sequence[str] = ()
) -> tuple[WeightPart, ...]:
    """Quantize with llm-compressor and save into a folder."""
    check_groups(checkpoint, recipe)
    torch = optional("torch", what=f"the method {recipe.name}", extra="quantize")
    transformers = quiet_transformers(what=f"the method {recipe.name}")
    llmcompressor = optional("llmcompressor", what=f"the method {recipe.name}", extra="compressed-tensors")
    logging.getLogger("llmcompressor").setLevel(logging.ERROR)
    _quiet_loguru()
    progress(f"{recipe.name}: loading", 0.0)
    data = _calibration_set(checkpoint, calibration) if recipe.algorithm == "gptq" else None
    load = transformers.AutoModelForCausalLM.from_pretrained
    model = load(checkpoint.path, dtype=torch.float32, local_files_only=True)
    progress(f"{recipe.name}: quantizing", 0.2)
    options: dict[str, Any] = {"model": model, "recipe": _modifier(recipe)}
    if data is not None:
        options |= {"dataset": data, "max_seq_length": SEQUENCE_TOKENS, "num_calibration_samples": len(data)}
    llmcompressor.oneshot(**options)
    progress(f"{recipe.name}: saving", 0.9)
    model.to(torch.float16).save_pretrained(folder, save_compressed=True)
    return weight_parts(open_checkpoint(folder), f"int{recipe.bits}")


def _modifier(recipe: Recipe) -> Any:
    module, kind = MODIFIERS[recipe.algorithm]
    modifier = getattr(optional(module, what=f"the method {recipe.name}", extra="compressed-tensors"), kind)
    return modifier(targets="Linear", scheme="W4A16" if recipe.bits == 4 else "W8A16", ignore=["lm_head"])


def _calibration_set(checkpoint: Checkpoint, texts: Sequence[str]) -> Any:
    """The texts as equal sequences of tokens; too few are refused, since their Hessian would be noise."""
    datasets = optional("datasets", what="calibration", extra="compressed-tensors")
    transformers = quiet_transformers(what="calibration")
    if not (checkpoint.path / "tokenizer.json").is_file():
        raise QuantizationError(f"{checkpoint.path}: no tokenizer.json, which calibration needs; use int4-rtn")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint.path, local_files_only=True)
    ids = [token for text in texts for token in tokenizer(text)["input_ids"]]
    rows = [ids[i : i + SEQUENCE_TOKENS] for i in range(0, len(ids) - SEQUENCE_TOKENS + 1, SEQUENCE_TOKENS)]
    if len(rows) < MINIMUM_SEQUENCES:
        raise QuantizationError(
            f"too little calibration text: {len(ids)} tokens, at least {MINIMUM_SEQUENCES * SEQUENCE_TOKENS} "
            "are needed; give more text, or use int4-rtn, which needs none"
        )
    return datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * SEQUENCE_TOKENS] * len(rows)})


def _quiet_loguru() -> None:
    """llm-compressor logs each layer through loguru to stderr, which would break into our progress."""
    optional("loguru", what="llm-compressor", extra="compressed-tensors").logger.remove()


def weight_parts(checkpoint: Checkpoint, quantized: str) -> tuple[WeightPart, ...]:
    """What the tensors weigh by stored format; packed weights, scales and shapes belong to the quantized part."""
    parts: dict[str, tuple[int, int]] = {}
    bits = int(quantized.removeprefix("int"))
    for tensor in checkpoint.tensors.values():
        stem, _, kind = tensor.name.rpartition(".")
        if kind.startswith("weight_") or (kind == "weight" and f"{stem}.weight_scale" in checkpoint.tensors):
            packed = kind in ("weight_packed", "weight")
            # weight_packed holds 32 bits an element, weight itself one value an element
            count = tensor.byte_count * 8 // bits if packed else 0
            name = quantized
        else:
            count, name = tensor.params, STORED.get(tensor.dtype, tensor.dtype.lower())
        params, size = parts.get(name, (0, 0))
        parts[name] = (params + count, size + tensor.byte_count)
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))
