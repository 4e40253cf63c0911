"""Weights as each stored format defines them, in numpy: a reader that shares no code with toolkit or engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import QuantizationError
from llmsizer.facts.variant import Variant
from llmsizer.gguf_graph import GGUF_FILE, MODEL_FILE
from llmsizer.installed import optional
from llmsizer.quantize.formats.gguf_families import FAMILIES
from llmsizer.quantize.formats.gguf_file import name_map
from llmsizer.quantize.stored.checkpoint import Checkpoint, open_checkpoint, open_source
from llmsizer.quantize.stored.numbers import fp4, fp8, powers_of_two, raw, unpacked
from llmsizer.quantize.stored.tensors import Tensor

Weights = dict[str, NDArray[np.float32]]
AWQ_ORDER = (0, 4, 1, 5, 2, 6, 3, 7)  # where the value of each column lies in its word of eight
GGUF_INNER = (
    *(f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")),
    *(f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj", "gate")),
    *(f"mlp.experts.{name}" for name in ("gate_proj", "up_proj", "down_proj")),
    "input_layernorm",
    "post_attention_layernorm",
)
GPTQ_ZERO_SHIFT = 1  # the format's first version stores zero points less one


def stored_weights(variant: Variant) -> Weights:
    """Every tensor of a variant by its Hugging Face name, in single precision. Raises QuantizationError."""
    if variant.format == "gguf":
        return _gguf(variant)
    if variant.format == "openvino-ir":
        return _openvino(variant.path)
    if variant.format == "huggingface":
        return {name: tensor.float32() for name, tensor in open_source(variant.path).tensors.items()}
    stored = open_checkpoint(variant.path)
    settings = stored.config.get("quantization_config")
    if not isinstance(settings, Mapping):
        raise QuantizationError(f"{variant.path}/config.json: no quantization_config")
    read = {"compressed-tensors": _compressed, "gptq": _gptq, "awq": _awq}[variant.format]
    return read(stored, settings)


def _per_column(scales: NDArray[Any], columns: int) -> NDArray[Any]:
    """Scales of groups, of whole rows or of a whole tensor, one for each column."""
    if scales.size == 1:
        return scales.reshape(1, 1)
    return np.repeat(scales, columns // scales.shape[-1], axis=-1)


def _compressed(stored: Checkpoint, settings: Mapping[str, Any]) -> Weights:
    found: Weights = {}
    stems = {name.removesuffix(".weight_scale") for name in stored.tensors if name.endswith(".weight_scale")}
    for name, tensor in stored.tensors.items():
        stem, _, kind = name.rpartition(".")
        if stem not in stems or kind == "bias":
            if tensor.dtype in ("F16", "BF16", "F32") and kind not in ("k_scale", "v_scale"):
                found[name] = tensor.float32()
            continue
        found[f"{stem}.weight"] = _compressed_matrix(stored, stem)
    return found


def _compressed_matrix(stored: Checkpoint, stem: str) -> NDArray[np.float32]:
    scale, packed = stored.tensor(f"{stem}.weight_scale"), stored.tensors.get(f"{stem}.weight_packed")
    values: NDArray[Any]
    scales: NDArray[Any]
    if packed is None:
        plain = stored.tensor(f"{stem}.weight")
        values = fp8(raw(plain)) if plain.dtype == "F8_E4M3" else raw(plain)
        scales = scale.float32().reshape(scale.shape)
    elif packed.dtype == "U8":  # four-bit floats, with scales that are powers of two or FP8 under one of the matrix
        values = fp4(raw(packed))
        if scale.dtype == "U8":
            scales = powers_of_two(raw(scale))
        else:
            scales = fp8(raw(scale)) / stored.tensor(f"{stem}.weight_global_scale").float32().reshape(1, 1)
    else:
        values, scales = _packed_integers(stored, stem, packed), scale.float32()
    return np.asarray(values * _per_column(scales, values.shape[1]), dtype=np.float32)


def _packed_integers(stored: Checkpoint, stem: str, packed: Tensor) -> NDArray[np.int32]:
    rows, columns = (int(n) for n in raw(stored.tensor(f"{stem}.weight_shape")))
    bits = packed.shape[1] * 32 // columns
    values = unpacked(raw(packed), bits, columns)
    zero = stored.tensors.get(f"{stem}.weight_zero_point")
    if zero is None:
        return values - np.int32(1 << (bits - 1))
    zeros = unpacked(np.ascontiguousarray(raw(zero).T), bits, rows).T  # packed along the rows
    return values - np.asarray(_per_column(zeros, columns), dtype=np.int32)


def _integer_format(
    stored: Checkpoint, one: Callable[[Checkpoint, str, int, int], NDArray[np.float32]], settings: Mapping[str, Any]
) -> Weights:
    bits, group = int(settings["bits"]), int(settings["group_size"])
    found: Weights = {}
    for name, tensor in stored.tensors.items():
        stem, _, kind = name.rpartition(".")
        if kind == "qweight":
            found[f"{stem}.weight"] = one(stored, stem, bits, group)
        elif kind not in ("qzeros", "scales", "g_idx"):
            found[name] = tensor.float32()
    return found


def _gptq(stored: Checkpoint, settings: Mapping[str, Any]) -> Weights:
    shift = 0 if settings.get("checkpoint_format") == "gptq_v2" else GPTQ_ZERO_SHIFT

    def one(stored: Checkpoint, stem: str, bits: int, group: int) -> NDArray[np.float32]:
        words = raw(stored.tensor(f"{stem}.qweight"))  # input channels packed along the rows
        values = unpacked(np.ascontiguousarray(words.T), bits, words.shape[0] * 32 // bits).T
        scales = stored.tensor(f"{stem}.scales").float32()
        zeros = unpacked(raw(stored.tensor(f"{stem}.qzeros")), bits, scales.shape[1]) + shift
        order = stored.tensors.get(f"{stem}.g_idx")
        groups = raw(order) if order is not None else np.arange(values.shape[0]) // group
        return np.ascontiguousarray(((values - zeros[groups]) * scales[groups]).T.astype(np.float32))

    return _integer_format(stored, one, settings)


def _awq(stored: Checkpoint, settings: Mapping[str, Any]) -> Weights:
    def one(stored: Checkpoint, stem: str, bits: int, group: int) -> NDArray[np.float32]:
        scales = stored.tensor(f"{stem}.scales").float32()
        columns = scales.shape[1]
        place = np.arange(columns).reshape(-1, 8)[:, AWQ_ORDER].reshape(-1)
        values = unpacked(raw(stored.tensor(f"{stem}.qweight")), bits, columns)[:, place]
        zeros = unpacked(raw(stored.tensor(f"{stem}.qzeros")), bits, columns)[:, place]
        groups = np.arange(values.shape[0]) // group
        return np.ascontiguousarray(((values - zeros[groups]) * scales[groups]).T.astype(np.float32))

    return _integer_format(stored, one, settings)


def _gguf(variant: Variant) -> Weights:
    """By llama.cpp's Python package, which dequantizes in numpy; the rotated rows go back to their places."""
    gguf = optional("gguf", what="reading GGUF", extra="quantize")
    config: Any = variant.config
    layers = int(config["num_hidden_layers"])
    family = FAMILIES[str(config.get("model_type"))]
    names = name_map(gguf, family, layers)
    ours = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    ours += [f"model.layers.{layer}.{inner}.weight" for layer in range(layers) for inner in GGUF_INNER]
    back = {names.get_name(name, try_suffixes=(".weight",)): name for name in ours}
    found: Weights = {}
    for tensor in gguf.GGUFReader(variant.path / GGUF_FILE).tensors:
        values = np.array(gguf.quants.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        name = back[tensor.name]
        for projection, key in (("q_proj.", "num_attention_heads"), ("k_proj.", "num_key_value_heads")):
            if projection in name and family.rotates_neighbours:
                heads = int(config.get(key) or config["num_attention_heads"])
                values = values.reshape(heads, -1, 2, values.shape[-1]).swapaxes(1, 2).reshape(values.shape)
        if ".experts." in name:
            found |= {name.replace(".experts.", f".experts.{i}."): expert for i, expert in enumerate(values)}
        else:
            found[name] = values
    return found


def _openvino(folder: Path) -> Weights:
    """The constants of the graph with their scales and zero points."""
    openvino = optional("openvino", what="reading OpenVINO IR", extra="quantize")
    constants = {
        op.get_friendly_name(): op
        for op in openvino.Core().read_model(folder / MODEL_FILE).get_ops()
        if op.get_type_name() == "Constant"
    }
    found: Weights = {}
    for name, op in constants.items():
        stem, dot, extra = name.partition(".weight")
        if not dot or extra.startswith("/"):
            continue
        values = _constant(op)
        scale = constants.get(f"{stem}.weight/scale")
        zero = constants.get(f"{stem}.weight/zero_point")
        if zero is not None:
            values = values - _constant(zero)
        if scale is not None:
            values = values * _constant(scale)
        name = re.sub(r"\[(\d+)\]", r".\1", stem)  # GenAI calls a layer layers[3]
        found[f"{name}.weight"] = values.reshape(values.shape[0], -1) if values.ndim == 3 else values
    return found


def _constant(op: Any) -> NDArray[np.float32]:
    kind, shape = op.get_element_type().get_type_name(), tuple(int(n) for n in op.shape)
    if kind in ("i4", "u4"):
        packed = np.frombuffer(op.get_data().tobytes(), dtype=np.uint8)
        halves = np.stack([packed & 0xF, packed >> 4], axis=-1).reshape(-1)[: int(np.prod(shape))].astype(np.int8)
        values = np.where(halves > 7, halves - 16, halves) if kind == "i4" else halves
        return values.reshape(shape).astype(np.float32)
    return np.array(op.get_data(), dtype=np.float32).reshape(shape)
