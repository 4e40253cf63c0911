"""GGUF: one file that llama.cpp and OpenVINO GenAI read, written by llama.cpp's own Python package."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import WeightPart
from llmsizer.gguf_graph import GGUF_FILE
from llmsizer.installed import optional
from llmsizer.progress import Progress
from llmsizer.quantize.formats.gguf_families import ROUTER, Family, Stack, add_geometry, family_of, stacked
from llmsizer.quantize.recipes import Recipe
from llmsizer.quantize.stored.checkpoint import Checkpoint
from llmsizer.quantize.stored.tensors import Tensor

# What llama.cpp's mixes give more bits: in some layers values and down projections, those of experts among them, and
# keys and values throughout where there are eight experts, being small beside them (src/llama-quant.cpp).
FAVOURED = re.compile(
    r"model\.layers\.(\d+)\.(self_attn\.v_proj|mlp\.(?:experts\.)?down_proj|block_sparse_moe\.experts\.w2)\.weight"
)
ATTENTION_OF_EIGHT = re.compile(r"self_attn\.[kv]_proj\.weight")
EIGHT = 8
PART_NAMES = {
    "F32": "fp32",
    "F16": "fp16",
    "Q8_0": "int8",
    "Q6_K": "int6",
    "Q5_K": "int5",
    "Q4_K": "int4",
    "Q4_0": "int4",
}
# What a file is mostly: OpenVINO GenAI goes by this, llama.cpp by each tensor. Q4_K_M and Q5_K_M by name.
FILE_TYPES = {"F16": 1, "Q8_0": 7, "Q4_0": 2, "Q4_K": 15, "Q5_K": 17, "Q6_K": 18}
GPT2_BYTES = {  # the printable stand-ins of byte-level BPE for bytes that are no printable character
    byte: chr(byte) for byte in (*range(33, 127), *range(161, 173), *range(174, 256))
}
GPT2_BYTES |= {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in GPT2_BYTES)}


def write(checkpoint: Checkpoint, recipe: Recipe, folder: Path, progress: Progress) -> tuple[WeightPart, ...]:
    """Write ``model.gguf`` into a folder; what it weighs by stored format. Raises QuantizationError."""
    gguf = optional("gguf", what="writing GGUF", extra="quantize")
    family = family_of(checkpoint)
    writer: Any = gguf.GGUFWriter(folder / GGUF_FILE, family.graph)
    add_geometry(writer, checkpoint, FILE_TYPES[recipe.tensor_types["other"]])
    _add_tokenizer(writer, checkpoint, family)
    layers = int(checkpoint.config["num_hidden_layers"])
    names = name_map(gguf, family, layers)
    parts: dict[str, tuple[int, int]] = {}
    experts = int(checkpoint.config.get("num_local_experts") or checkpoint.config.get("num_experts") or 0)
    planned = [(stack, _stored_format(stack, recipe, layers, experts)) for stack in stacked(checkpoint.tensors)]
    for stack, stored in planned:
        name = names.get_name(stack.name, try_suffixes=(".weight",))
        if name is None:
            raise QuantizationError(f"{checkpoint.path}: GGUF has no place for tensor {stack.name}")
        qtype = getattr(gguf.GGMLQuantizationType, stored)
        shape = _check_blocks(stack, stored, int(gguf.GGML_QUANT_SIZES[qtype][0]))
        byte_shape = gguf.quant_shape_to_byte_shape(shape, qtype) if stored.startswith("Q") else shape
        byte_count = stack.params // gguf.GGML_QUANT_SIZES[qtype][0] * gguf.GGML_QUANT_SIZES[qtype][1]
        dtype = np.uint8 if stored.startswith("Q") else np.dtype(np.float32 if stored == "F32" else np.float16)
        writer.add_tensor_info(name, byte_shape, np.dtype(dtype), int(byte_count), raw_dtype=qtype)
        params, size = parts.get(PART_NAMES[stored], (0, 0))
        parts[PART_NAMES[stored]] = (params + stack.params, size + int(byte_count))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for index, (stack, stored) in enumerate(planned):
        values = [_values(member, stored, checkpoint, family, gguf) for member in stack.members]
        writer.write_tensor_data(np.stack(values) if stack.is_stacked else values[0])
        progress(f"GGUF {recipe.name}: {stack.name}", (index + 1) / len(planned))
    writer.close()
    return tuple(WeightPart(format=name, params=n, bytes=size) for name, (n, size) in sorted(parts.items()))


def name_map(gguf: Any, family: Family, layers: int) -> Any:
    """From names on the hub to those in the file."""
    graph = next(number for number, name in gguf.MODEL_ARCH_NAMES.items() if name == family.graph)
    return gguf.get_tensor_name_map(graph, layers)


def _add_tokenizer(writer: Any, checkpoint: Checkpoint, family: Family) -> None:
    """Vocabulary and merges; a model without a tokenizer gets bytes, because readers demand some vocabulary."""
    tokens, merges = read_vocabulary(checkpoint)
    special = {int(checkpoint.config.get(key) or 0) for key in ("bos_token_id", "eos_token_id")} | {0}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(family.splitter)
    writer.add_token_list(tokens)
    writer.add_token_types([3 if i in special else 1 for i in range(len(tokens))])  # 3 control, 1 normal
    writer.add_token_merges(merges)
    for add, key in ((writer.add_bos_token_id, "bos_token_id"), (writer.add_eos_token_id, "eos_token_id")):
        if isinstance(checkpoint.config.get(key), int):
            add(checkpoint.config[key])


def has_byte_level_tokenizer(checkpoint: Checkpoint) -> bool:
    """True where tokenizer.json is a byte-level BPE, the one kind whose vocabulary is carried over to GGUF."""
    file = checkpoint.path / "tokenizer.json"
    return file.is_file() and '"ByteLevel"' in file.read_text(encoding="utf-8")


def read_vocabulary(checkpoint: Checkpoint) -> tuple[list[str], list[str]]:
    size = int(checkpoint.config["vocab_size"])
    if not has_byte_level_tokenizer(checkpoint):
        tokens = ["<unk>", "<s>", "</s>", *GPT2_BYTES.values()][:size]
        first, second = GPT2_BYTES[ord("a")], GPT2_BYTES[ord("b")]
        return tokens + [f"<extra_{i}>" for i in range(len(tokens), size)], [f"{first} {second}"]
    model = json.loads((checkpoint.path / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    by_id = {index: token for token, index in model["vocab"].items()}
    merges = [" ".join(merge) if isinstance(merge, list) else merge for merge in model["merges"]]
    return [by_id.get(i, f"<extra_{i}>") for i in range(size)], merges


def _stored_format(stack: Stack, recipe: Recipe, layers: int, experts: int) -> str:
    if len(stack.members[0].shape) != 2 or ROUTER.search(stack.name):
        return "F32"  # norms and routers: a handful of values that every reader expects in full
    for part, stored in recipe.tensor_types.items():
        if part in stack.name:
            return stored
    if recipe.more_bits and experts == EIGHT and ATTENTION_OF_EIGHT.search(stack.name):
        return "Q8_0"
    favoured = FAVOURED.fullmatch(stack.name)
    if recipe.more_bits and favoured and uses_more_bits(int(favoured[1]), layers):
        return recipe.more_bits
    return recipe.tensor_types["other"]


def uses_more_bits(layer: int, layers: int) -> bool:
    """Whether llama.cpp's mixes favour a layer: the first and last eighth, and every third between them."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _check_blocks(stack: Stack, stored: str, block: int) -> tuple[int, ...]:
    if stack.shape[-1] % block:
        works = "gguf-q8_0, whose groups are of 32," if stack.shape[-1] % 32 == 0 else "openvino-int8"
        raise QuantizationError(
            f"{stack.members[0].file}: {stack.name} has rows of {stack.shape[-1]} weights, not divisible by the "
            f"{stored} group of {block}; use {works} or a 16-bit method"
        )
    return stack.shape


def _values(tensor: Tensor, stored: str, checkpoint: Checkpoint, family: Family, gguf: Any) -> NDArray[Any]:
    if stored == "F32":
        return tensor.float32()
    values: NDArray[Any] = tensor.float16() if stored == "F16" else tensor.float32()
    for projection, key in (("q_proj.", "num_attention_heads"), ("k_proj.", "num_key_value_heads")):
        if family.rotates_neighbours and projection in tensor.name:
            values = _interleaved(values, int(checkpoint.config.get(key) or checkpoint.config["num_attention_heads"]))
    values = np.ascontiguousarray(values)
    if stored == "F16":
        return values
    kind = getattr(gguf.GGMLQuantizationType, stored)
    if stored.endswith("_K"):
        return _by_llama_cpp(values.astype(np.float32), kind, gguf)
    quantized: NDArray[Any] = gguf.quants.quantize(values, kind)
    return quantized


def _by_llama_cpp(values: NDArray[np.float32], kind: Any, gguf: Any) -> NDArray[np.uint8]:
    """K-quants by llama.cpp's own quantizer, out of the library in the xllamacpp wheel: gguf-py only reads them."""
    xllamacpp = optional("xllamacpp.xllamacpp", what="writing K-quants", extra="llama-cpp")
    quantize = ctypes.CDLL(xllamacpp.__file__).ggml_quantize_chunk
    quantize.restype = ctypes.c_size_t
    rows, columns = values.shape
    block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    out = np.empty((rows, columns // block * block_bytes), dtype=np.uint8)
    written = quantize(
        ctypes.c_int(int(kind)),
        values.ctypes.data_as(ctypes.c_void_p),
        out.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_int64(0),
        ctypes.c_int64(rows),
        ctypes.c_int64(columns),
        None,  # no importance matrix
    )
    if written != out.nbytes:
        raise QuantizationError(f"llama.cpp wrote {written} bytes where {out.nbytes} were due; use xllamacpp 2026.10")
    return out


def _interleaved(matrix: NDArray[Any], heads: int) -> NDArray[Any]:
    """Rows in GGUF's order: llama.cpp rotates neighbouring pairs, Hugging Face the two halves of a head."""
    rows = matrix.shape[0]
    return matrix.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(matrix.shape)
