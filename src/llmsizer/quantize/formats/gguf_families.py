"""Model types as llama.cpp's graphs: which of them, what its header says, and what lies in one tensor of the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llmsizer.errors import QuantizationError
from llmsizer.gguf_graph import head_dim, rope_parameters
from llmsizer.quantize.stored.checkpoint import Checkpoint
from llmsizer.quantize.stored.tensors import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """``rotates_neighbours``: rows of queries and keys in llama.cpp's order, where Hugging Face rotates two halves."""

    graph: str  # llama.cpp's name
    splitter: str = "gpt-2"  # how text is cut before byte pairs are merged
    rotates_neighbours: bool = True


FAMILIES: Mapping[str, Family] = {
    "llama": Family(graph="llama"),
    "mistral": Family(graph="llama"),
    "mixtral": Family(graph="llama"),
    "qwen3_moe": Family(graph="qwen3moe", splitter="qwen2", rotates_neighbours=False),
}
MIXTURES = ("mixtral", "qwen3_moe")
EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(.+)\.weight")
ROUTER = re.compile(r"\.(mlp|block_sparse_moe)\.gate\.weight$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One tensor of the file: a tensor of the checkpoint, or the same matrix of all experts of a layer."""

    name: str  # on the hub, without the experts' numbers
    members: tuple[Tensor, ...]
    is_stacked: bool

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.members), *self.members[0].shape) if self.is_stacked else self.members[0].shape

    @property
    def params(self) -> int:
        return sum(member.params for member in self.members)


def stacked(tensors: Mapping[str, Tensor]) -> list[Stack]:
    """The checkpoint's tensors in their order, those of experts together by number."""
    experts: dict[str, dict[int, Tensor]] = {}
    found: dict[str, Stack] = {}
    for name, tensor in tensors.items():
        if match := EXPERT.fullmatch(name):
            stem = f"{match[1]}.{match[3]}"
            own = experts.setdefault(stem, {})
            own[int(match[2])] = tensor
            members = tuple(own[number] for number in sorted(own))
            found[stem] = Stack(name=f"{stem}.weight", members=members, is_stacked=True)
        else:
            found[name] = Stack(name=name, members=(tensor,), is_stacked=False)
    return list(found.values())


def family_of(checkpoint: Checkpoint) -> Family:
    """Raises QuantizationError where the model is no graph of llama.cpp that is written here."""
    config = checkpoint.config
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise QuantizationError(
            f"{checkpoint.path}: no GGUF or OpenVINO writer for model_type {kind!r}; known: {', '.join(FAMILIES)}"
        )
    for key in ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise QuantizationError(f"{checkpoint.path}/config.json: {key} is {config.get(key)!r}, not a count")
    if isinstance(config.get("sliding_window"), int) and config.get("use_sliding_window", True):
        raise QuantizationError(
            f"{checkpoint.path}/config.json: the graph has no sliding_window; known: full attention"
        )
    scaling = rope_parameters(config).get("rope_type", "default")
    if scaling != "default":
        raise QuantizationError(
            f"{checkpoint.path}/config.json: rope_type {scaling!r} is not written here; known: default"
        )
    if kind == "qwen3_moe":
        _check_qwen3_moe(checkpoint)
    return FAMILIES[kind]


def _check_qwen3_moe(checkpoint: Checkpoint) -> None:
    """llama.cpp's graph has experts in every layer and lets the chosen ones' shares add up to one."""
    for key, known in (("norm_topk_prob", True), ("decoder_sparse_step", 1), ("mlp_only_layers", [])):
        value = checkpoint.config.get(key, known)
        if value != known and not (value is None and not known):
            raise QuantizationError(
                f"{checkpoint.path}/config.json: {key} is {value!r}; llama.cpp's graph has {known!r}"
            )


def add_geometry(writer: Any, checkpoint: Checkpoint, file_type: int) -> None:
    """The header's numbers of a model: widths, heads, rotary base, and those of its experts."""
    config = checkpoint.config
    heads = int(config["num_attention_heads"])
    writer.add_name(checkpoint.name)
    writer.add_block_count(int(config["num_hidden_layers"]))
    writer.add_context_length(int(config.get("max_position_embeddings", 4096)))
    writer.add_embedding_length(int(config["hidden_size"]))
    writer.add_feed_forward_length(int(config["intermediate_size"]))
    writer.add_head_count(heads)
    writer.add_head_count_kv(int(config.get("num_key_value_heads") or heads))
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    writer.add_layer_norm_rms_eps(float(config.get("rms_norm_eps", 1e-6)))
    writer.add_rope_freq_base(float(rope_parameters(config)["rope_theta"]))
    writer.add_rope_dimension_count(head_dim(config))
    writer.add_vocab_size(int(config["vocab_size"]))
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    experts = config.get("num_local_experts") or config.get("num_experts")
    if config.get("model_type") in MIXTURES and experts:
        writer.add_expert_count(int(experts))
        writer.add_expert_used_count(int(config["num_experts_per_tok"]))
        if config.get("moe_intermediate_size"):
            writer.add_expert_feed_forward_length(int(config["moe_intermediate_size"]))
