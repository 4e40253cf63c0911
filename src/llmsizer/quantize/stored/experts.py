"""Mixtures of experts by the names that hubs and engines use: a matrix an expert and projection.

transformers 5 holds a layer's experts as two parameters of three dimensions, and so do some checkpoints (Mistral Small
4's). In the file an expert's matrix is a run of bytes of such a parameter, so that it can be taken for a tensor of its
own; compressed-tensors, vLLM and llama.cpp's quantizer know experts in no other form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from llmsizer.quantize.stored.packed import Packed
from llmsizer.quantize.stored.tensors import Tensor

EXPERT_NAMES = ".experts."  # in the name of every routed expert
FUSED = re.compile(r"(.+\.experts)\.(gate_up_proj|down_proj)(?:\.weight)?")
EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(gate_proj|up_proj|down_proj)\.weight")
PROJECTIONS = ("gate_proj", "up_proj", "down_proj")
# What chooses or weighs experts keeps 16 bit: a rounded router sends tokens elsewhere, and engines expect it plain.
ROUTERS = (r"re:.*\.(mlp|block_sparse_moe)\.gate$", r"re:.*\.shared_expert_gate$")
# By model type, names of the hub and of transformers, where they differ.
RENAMED: Mapping[str, tuple[tuple[str, str], ...]] = {
    "mixtral": (
        (".block_sparse_moe.", ".mlp."),
        (".w1.", ".gate_proj."),
        (".w3.", ".up_proj."),
        (".w2.", ".down_proj."),
    ),
}
# Fused the other way round, inputs before outputs: no expert's matrix is one run of bytes.
TRANSPOSED = ("gpt_oss", "llama4", "llama4_text", "qwen3_vl_moe", "qwen3_vl_moe_text")


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The decoder's own part of a configuration."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def is_mixture(config: Mapping[str, Any]) -> bool:
    """Whether a configuration names experts, by any of the keys in use."""
    return any(text_config(config).get(key) for key in ("num_local_experts", "num_experts", "n_routed_experts"))


def model_type_of(config: Mapping[str, Any]) -> str:
    return str(text_config(config).get("model_type") or "")


def in_memory(name: str, model_type: str) -> str:
    """A hub's name as transformers calls it, the experts apart.

    >>> in_memory("model.layers.0.block_sparse_moe.experts.3.w1.weight", "mixtral")
    'model.layers.0.mlp.experts.3.gate_proj.weight'
    """
    for stored, held in RENAMED.get(model_type, ()):
        name = name.replace(stored, held)
    return name


def on_disk(name: str, model_type: str) -> str:
    """A name of transformers as the hub has it; a hub's name stays as it is.

    >>> on_disk("model.layers.0.mlp.experts.3.down_proj.weight_packed", "mixtral")
    'model.layers.0.block_sparse_moe.experts.3.w2.weight_packed'
    """
    for stored, held in RENAMED.get(model_type, ()):
        if stored.startswith(".w") and ".experts." not in name:
            continue
        name = name.replace(held, stored)
    return name


def split(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Tensor]:
    """Tensors by their names on the hub, with fused experts as matrices: the same bytes, nothing is read or copied."""
    model_type, hidden = model_type_of(config), text_config(config).get("hidden_size")
    found: dict[str, Tensor] = {}
    for tensor in tensors.values():
        fused = FUSED.fullmatch(tensor.name)
        inputs_last = (
            fused and len(tensor.shape) == 3 and tensor.shape[2 if fused[2] == "gate_up_proj" else 1] == hidden
        )
        parts = _experts_of(tensor, fused) if fused and inputs_last and model_type not in TRANSPOSED else (tensor,)
        for part in parts:
            name = on_disk(part.name, model_type)
            found[name] = part if part.name == name else replace(part, name=name)
    return found


def _experts_of(tensor: Tensor, fused: re.Match[str]) -> Iterator[Tensor]:
    experts, rows, columns = tensor.shape
    names = ("gate_proj", "up_proj") if fused[2] == "gate_up_proj" else ("down_proj",)
    own, size = rows // len(names), tensor.byte_count // experts // len(names)
    for number in range(experts * len(names)):
        expert, half = divmod(number, len(names))
        name = f"{fused[1]}.{expert}.{names[half]}.weight"
        if isinstance(tensor, Packed):
            yield tensor.part(expert, half * own, own, name)
            continue
        yield replace(
            tensor,
            name=name,
            shape=(own, columns),
            offset=tensor.offset + number * size,
            byte_count=size,
        )


def expert_matrices(tensors: Mapping[str, Tensor], model_type: str) -> dict[int, dict[str, Tensor]]:
    """The matrices of each expert by projection, out of one layer's tensors; none for a dense layer."""
    found: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if match := EXPERT.fullmatch(in_memory(f".{name}", model_type)):
            found.setdefault(int(match[2]), {})[match[3]] = tensor
    return dict(sorted(found.items()))


def is_expert(name: str, model_type: str) -> bool:
    """Whether a tensor of a layer is a matrix of one routed expert."""
    return EXPERT.fullmatch(in_memory(f".{name}", model_type)) is not None
