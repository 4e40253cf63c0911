"""A Mistral-architecture checkpoint small enough to quantize in a second, with a byte-level BPE tokenizer."""

from __future__ import annotations

import importlib.util
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
    "sliding_window": None,
    "tie_word_embeddings": False,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# embeddings and output 2 × 320 × 128; a layer: q and o 128 × 128, k and v 64 × 128, three 256 × 128; five norms of 128
MATRIX_PARAMS = 2 * 320 * 128 + 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 256 * 128)
NORM_PARAMS = 5 * 128
TEXT = "The quick brown fox jumps over the lazy dog. " * 40


def needs(*modules: str) -> pytest.MarkDecorator:
    """Skip where a toolkit is not installed; `make test` installs them all."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def shapes(config: dict[str, Any] = CONFIG) -> dict[str, tuple[int, ...]]:
    hidden, middle, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    query, key = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (config["vocab_size"], hidden)}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}"
        found |= {
            f"{name}.self_attn.q_proj.weight": (query, hidden),
            f"{name}.self_attn.k_proj.weight": (key, hidden),
            f"{name}.self_attn.v_proj.weight": (key, hidden),
            f"{name}.self_attn.o_proj.weight": (hidden, query),
            f"{name}.mlp.gate_proj.weight": (middle, hidden),
            f"{name}.mlp.up_proj.weight": (middle, hidden),
            f"{name}.mlp.down_proj.weight": (hidden, middle),
            f"{name}.input_layernorm.weight": (hidden,),
            f"{name}.post_attention_layernorm.weight": (hidden,),
        }
    return found | {"model.norm.weight": (hidden,), "lm_head.weight": (config["vocab_size"], hidden)}


def write_safetensors(file: Path, tensors: dict[str, np.ndarray]) -> None:
    """The format by hand: a length, a JSON header, the bytes. FP16 only."""
    header: dict[str, Any] = {}
    offset = 0
    for name, values in tensors.items():
        header[name] = {"dtype": "F16", "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(v.tobytes() for v in tensors.values()))


def write_checkpoint(folder: Path, *, tokenizer: bool = True, **changes: Any) -> Path:
    """A checkpoint with seeded random weights; spread wide enough (0.08) that rounding shows in its logits."""
    config = CONFIG | changes
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    tensors = {
        name: generator.normal(*((1, 0.1) if len(shape) == 1 else (0, 0.08)), shape).astype(np.float16)
        for name, shape in shapes(config).items()
    }
    write_safetensors(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps(config))
    if tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(config["vocab_size"])))
    return folder


def _tokenizer(size: int) -> dict[str, Any]:
    """Byte-level BPE with all bytes, two merges, and names for the rest, as the `tokenizers` library stores it."""
    from llmsizer.quantize.formats.gguf_file import GPT2_BYTES

    tokens = ["<unk>", "<s>", "</s>", *GPT2_BYTES.values(), "th", "the"]
    tokens += [f"extra{i}" for i in range(len(tokens), size)]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **special} for i in range(3)],
        "normalizer": None,
        "pre_tokenizer": level,
        "post_processor": None,
        "decoder": level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [["t", "h"], ["th", "e"]],
        },
    }
