"""Number formats: what a weight takes in storage, and what it is multiplied as.

The two are kept apart: weight-only INT4 and INT8 are stored small and computed in 16 bit; W8A8 and FP8 use their own
units where the GPU has them and fall back to weight-only where it has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import UnknownNameError

ComputeFormat = Literal["fp32", "16bit", "fp8", "int8", "fp4", "int4"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """A weight format. Unquantized parts (embeddings, output matrix, norms, routers) keep ``rest_bits``."""

    name: str
    weight_bits: float
    compute: ComputeFormat  # of the matrix products, where the GPU has the units
    group_size: int | None = None  # weights that share one scale; None: one scale per output channel
    scale_bits: float = 0.0
    zero_point_bits: float = 0.0
    rest_bits: float = 16.0
    experts_only: bool = False  # in a mixture of experts only the routed experts are quantized
    description: str = ""

    @property
    def is_quantized(self) -> bool:
        return self.weight_bits < self.rest_bits

    @property
    def bits_per_quantized_weight(self) -> float:
        """Stored bits with scales and zero points; one scale per channel is counted as one per 4,096 weights."""
        return self.weight_bits + (self.scale_bits + self.zero_point_bits) / (self.group_size or 4096)

    @property
    def bytes_per_quantized_weight(self) -> float:
        return self.bits_per_quantized_weight / 8.0

    @property
    def bytes_per_rest_weight(self) -> float:
        return self.rest_bits / 8.0


def _gguf(name: str, bits: float, description: str) -> Precision:
    """A llama.cpp format: its published bits per weight already contain scales and the mix over layers."""
    return Precision(name=name, weight_bits=bits, compute="16bit", rest_bits=bits, description=description)


PRECISIONS: dict[str, Precision] = {
    p.name: p
    for p in (
        Precision(name="fp32", weight_bits=32, compute="fp32", rest_bits=32, description="single precision"),
        Precision(name="fp16", weight_bits=16, compute="16bit", description="half precision"),
        Precision(name="bf16", weight_bits=16, compute="16bit", description="bfloat16"),
        Precision(
            name="fp8",
            weight_bits=8,
            compute="fp8",
            scale_bits=32,
            description="FP8 E4M3 weights and activations",
        ),
        Precision(
            name="int8",
            weight_bits=8,
            compute="int8",
            scale_bits=16,
            description="INT8 weights and activations (W8A8)",
        ),
        Precision(
            name="int8-wo",
            weight_bits=8,
            compute="16bit",
            scale_bits=16,
            description="INT8 weights only (W8A16)",
        ),
        Precision(
            name="int4",
            weight_bits=4,
            compute="16bit",
            group_size=128,
            scale_bits=16,
            zero_point_bits=4,
            description="INT4 weights only, group 128 (GPTQ, AWQ, W4A16)",
        ),
        Precision(
            name="nvfp4",
            weight_bits=4,
            compute="fp4",
            group_size=16,
            scale_bits=8,
            description="NVFP4 weights and activations",
        ),
        Precision(
            name="mxfp4",
            weight_bits=4,
            compute="16bit",
            group_size=32,
            scale_bits=8,
            experts_only=True,
            description="MXFP4 weights (of the experts only, as gpt-oss publishes them)",
        ),
        # bits per weight: llama.cpp tools/quantize/README.md, Llama-3.1-8B, embeddings and output included
        _gguf("gguf-q8_0", 8.50, "llama.cpp Q8_0"),
        _gguf("gguf-q6_k", 6.56, "llama.cpp Q6_K"),
        _gguf("gguf-q5_k_m", 5.70, "llama.cpp Q5_K_M"),
        _gguf("gguf-q4_k_m", 4.89, "llama.cpp Q4_K_M"),
        _gguf("gguf-q4_0", 4.67, "llama.cpp Q4_0"),
        _gguf("gguf-q4_k_s", 4.67, "llama.cpp Q4_K_S"),
        _gguf("gguf-q3_k_m", 4.00, "llama.cpp Q3_K_M"),
    )
}

KV_BYTES_PER_VALUE: dict[str, float] = {
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "fp8": 1.0,
    "int8": 1.0,
    "int4": 0.5,
    "nvfp4": 0.5625,
}
"""Bytes of one cached value by KV format; NVFP4 stores an 8-bit scale for 16 values."""

ALIASES = {
    "float16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
    "w8a8": "int8",
    "w8a16": "int8-wo",
    "w4a16": "int4",
    "gptq": "int4",
    "awq": "int4",
    "int4-gptq": "int4",
    "int4-awq": "int4",
    "fp4": "nvfp4",
    "16bit": "bf16",
}


def get_precision(name: str) -> Precision:
    """The format of that name or usual other name. Raises UnknownNameError."""
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in PRECISIONS:
        raise UnknownNameError("precision", name, [*PRECISIONS, *ALIASES])
    return PRECISIONS[key]


def kv_bytes_per_value(name: str) -> float:
    """Bytes of one cached value. Raises UnknownNameError."""
    key = ALIASES.get(name.lower(), name.lower())
    key = "fp8" if key.startswith("fp8") else key  # fp8_e4m3, fp8_e5m2
    if key not in KV_BYTES_PER_VALUE:
        raise UnknownNameError("KV-cache format", name, KV_BYTES_PER_VALUE)
    return KV_BYTES_PER_VALUE[key]
