"""Weight formats and engines as measured rows write them: bytes, compute class, and the class evidence is pooled by."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from llmsizer.physics.steps.cases import GpuRates, Words

# llama.cpp tools/quantize/README.md, Llama-3.1-8B: bits per weight with scales and the mix over layers.
GGUF_BITS = {
    "iq1_s": 2.00, "iq1_m": 2.15, "iq2_xxs": 2.38, "iq2_xs": 2.59, "iq2_s": 2.74, "iq2_m": 2.93, "iq3_xxs": 3.25,
    "iq3_xs": 3.50, "iq3_s": 3.66, "iq3_m": 3.76, "iq4_xs": 4.46, "iq4_nl": 4.68, "q2_k_s": 2.97, "q2_k": 3.16,
    "q3_k_s": 3.64, "q3_k_m": 4.00, "q3_k_l": 4.30, "q4_0": 4.67, "q4_1": 5.10, "q4_k_s": 4.67, "q4_k_m": 4.89,
    "q4_k_xl": 4.95, "q5_0": 5.60, "q5_1": 6.10, "q5_k_s": 5.57, "q5_k_m": 5.70, "q6_k": 6.56, "q8_0": 8.50,
    "f16": 16.0, "bf16": 16.0, "f32": 32.0,
}  # fmt: skip
_GGUF_BY_DIGIT = {"1": 2.1, "2": 3.16, "3": 4.00, "4": 4.89, "5": 5.70, "6": 6.56, "8": 8.50}
KV_BYTES = {
    "fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "8bit": 1.0, "int4": 0.5, "4bit": 0.5,
    "nvfp4": 0.5625, "q8_0": 1.06, "q5_1": 0.75, "q5_0": 0.69, "q4_1": 0.625, "q4_0": 0.5625,
}  # fmt: skip

# llama.cpp multiplies its block formats in INT8 on the cards its kernels were tuned on (ggml-cuda/mmq.cuh); blocks of
# 32 weights with a scale each leave about this share of the INT8 rate.
INTEGER_GGUF_FAMILIES = frozenset({"ada", "ampere-gddr", "blackwell-gddr"})
INTEGER_GGUF_SHARE = 0.7

# Architectures published in a quantized format: what an empty dtype means.
NATIVE_FORMATS = {
    "gpt-oss-120b": "mxfp4",
    "gpt-oss-20b": "mxfp4",
    "deepseek-v3": "fp8",
    "minimax-m2": "fp8",
    "kimi-k2": "fp8",
}
UNSTATED = "unstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """Bytes of a weight and how it is multiplied."""

    weight_class: str  # 16bit fp8 int8 int8-wo int4 fp4 mxfp4 gguf fp32 unstated
    bits: float  # per quantized weight with scales
    rest_bits: float  # embeddings and output matrix


def weight_format(dtype: str, architecture: str) -> WeightFormat:
    """The format a dtype label means. ``int8`` is W8A8; ``int8-gptq``, ``-bnb``, ``-awq`` are weight-only."""
    text = _plain_label(dtype)
    if text in SAYS_NOTHING:
        native = NATIVE_FORMATS.get(architecture)
        if native is None:
            return WeightFormat(weight_class=UNSTATED, bits=16.0, rest_bits=16.0)
        text = native
    if text.startswith("gguf") or text in GGUF_BITS or re.match(r"(ud-)?i?q\d_", text):
        return _gguf(re.sub(r"^gguf[-_]?|^ud-", "", text))
    if text.startswith("exl") or text.endswith("bpw"):
        bits = float(match[1]) if (match := re.search(r"(?:-|^)(\d+(?:\.\d+)?)", text)) else 4.0
        rest = min(bits + 2.0, 8.0)
        return WeightFormat(weight_class="int4" if bits < 6.5 else "int8-wo", bits=bits, rest_bits=rest)
    for pattern, weight_class, bits in _LABELS:
        if re.fullmatch(pattern, text):
            return WeightFormat(weight_class=weight_class, bits=bits, rest_bits=32.0 if bits == 32.0 else 16.0)
    known = re.fullmatch(_SIXTEEN_BITS, text)
    return WeightFormat(weight_class="16bit" if known else UNSTATED, bits=16.0, rest_bits=16.0)


def _plain_label(dtype: str) -> str:
    return re.sub(r"(\d)[-_ ]?bits?\b", r"\1bit", dtype.strip().lower())


def is_weight_format(dtype: str) -> bool:
    """Whether a label says which format is meant; an empty one says none, and is none the worse for it."""
    text = _plain_label(dtype)
    return text in SAYS_NOTHING or weight_format(text, "").weight_class != UNSTATED


_SIXTEEN_BITS = r".*(fp16|bf16|float16|f16|half|16bit|w16a16|none|unquantized).*"
# Labels that say nothing of the format.
SAYS_NOTHING = frozenset({"", "auto", "native", "nan", "null", "n/a", "-", "unknown", "default", "unstated"})

_LABELS = (
    (r"t?fp?32|float32|32bit", "fp32", 32.0),
    (r".*(fp8|float8|e4m3|e5m2).*", "fp8", 8.03),
    (r"1(\.58)?bit|tq[12].*|bitnet.*|ternary", "int4", 2.0),
    (r"int8-(gptq|awq|bnb|wo)|.*gptq-?(int)?8.*|.*w8a16.*|.*(?<!\d)8bit.*|int8wo|eetq|.*q8.*", "int8-wo", 8.15),
    (r"int8.*|.*w8a8.*|smoothquant|.*[-_]int8", "int8", 8.03),
    (r".*mxfp4.*", "mxfp4", 4.25),
    (r".*(nvfp4|w4a4).*|.*[-_]?fp4", "fp4", 4.5),
    (r".*(fp6|int6|(?<!\d)6bit).*", "int8-wo", 6.25),
    (r".*(int5|5bit).*", "int4", 5.2),
    (r".*(int2|2bit|aqlm|quip).*", "int4", 2.25),
    (r".*(int3|3bit).*", "int4", 3.25),
    (r".*(int4|awq|gptq|4bit|nf4|w4a16|w4a8|q4|hqq|marlin).*", "int4", 4.16),
)


def _gguf(quant: str) -> WeightFormat:
    bits = GGUF_BITS.get(quant)
    if bits is None:
        digit = re.search(r"q(\d)", quant)
        bits = _GGUF_BY_DIGIT.get(digit[1], 4.89) if digit else 4.89
    return WeightFormat(weight_class="gguf" if bits < 15 else "16bit", bits=bits, rest_bits=bits)


def class_on_device(weight_class: str, gpu: GpuRates) -> str:
    """FP8 without FP8 units is another thing: weights stored small, multiplied in 16 bit after a conversion."""
    return "fp8-wo" if weight_class == "fp8" and not gpu.flops_fp8 else weight_class


def peak_flops(weight_class: str, gpu: GpuRates) -> tuple[float, bool]:
    """Rate of the matrix products and whether weights are only stored small.

    A format without units on the device falls back to 16 bit (FP8 on Ampere); FP4 without FP4 units runs weight-only.
    """
    if weight_class == "fp32":
        return gpu.flops_16bit / 4, False
    if weight_class == "fp8":
        return gpu.flops_fp8 or gpu.flops_16bit, not gpu.flops_fp8
    if weight_class == "int8":
        return gpu.flops_int8 or gpu.flops_fp8 or gpu.flops_16bit, False
    if weight_class == "fp4":
        return gpu.flops_fp4 or gpu.flops_16bit, not gpu.flops_fp4
    if weight_class == "mxfp4":  # 8-bit activations where the device has block-scaled units
        eight = gpu.flops_fp8 or gpu.flops_16bit  # a data sheet may print the one rate and not the other
        return (eight if gpu.flops_fp4 else gpu.flops_16bit), not gpu.flops_fp4
    if weight_class == "gguf" and gpu.family in INTEGER_GGUF_FAMILIES:
        return max(INTEGER_GGUF_SHARE * gpu.flops_int8, gpu.flops_16bit), True
    return gpu.flops_16bit, weight_class in {"int4", "int8-wo", "gguf"}


def kv_bytes(dtype: str, weight_class: str, engine: str) -> float:
    """Bytes of a cached value; unstated: 16 bit, except TensorRT-LLM's FP8 and FP4 checkpoints, which cache FP8."""
    text = _plain_label(dtype)
    if text in KV_BYTES:
        return KV_BYTES[text]
    if re.match(r"fp8|e4m3|e5m2|float8", text):
        return 1.0
    return 1.0 if weight_class in {"fp8", "fp4"} and engine.startswith("trtllm") else 2.0


def decimal_year(date: str) -> float | None:
    """``2024-06`` → 2024.46; None where no year is given."""
    match = re.match(r"(\d{4})(?:-(\d{2}))?", date.strip())
    if match is None:
        return None
    return int(match[1]) + ((int(match[2]) - 0.5) / 12 if match[2] else 0.5)


def version_number(version: str) -> float | None:
    """Major × 100 + minor: ``0.19.1`` → 19."""
    match = re.match(r"v?(\d+)\.(\d+)", version.strip().lower())
    return int(match[1]) * 100.0 + int(match[2]) if match else None


def minor_version(version: str) -> str:
    """``0.19.1`` → ``0.19``; what is no such number stays as it is."""
    return re.sub(r"^(v?\d+\.\d+).*", r"\1", version)


def setups_of(engine: Words, version: Words, gpu: Words, target: Words) -> Words:
    """Engine, minor version, GPU and what was measured there as one word; without the version where none is stated."""
    rows = zip(engine.tolist(), version.tolist(), gpu.tolist(), target.tolist(), strict=True)
    return np.array([f"{e} {minor_version(v)}|{g}|{t}" if v else f"{e}|{g}|{t}" for e, v, g, t in rows], dtype=np.str_)


def engine_class(engine: str, version: str, date: str) -> str:
    """Engine and era: releases between which the same GPU and model differ by up to 2×. Empty: not known."""
    name = engine.strip().lower()
    number, year = version_number(version), decimal_year(date)
    if "vllm" in name or name in _VLLM_KIN:
        if number is None:
            number = 20.0 if year is None or "nightly" in version or year >= 2025.5 else 4.0 if year < 2024.7 else 7.0
        return "vllm-first" if number < 5 else "vllm-v0" if number < 9 else "vllm-v1"
    if "trt" in name or "tensorrt" in name or re.search(r"\bnim\b", name):
        old = number < 16 if number is not None else year is not None and year < 2025.0
        return "trtllm-cpp" if old else "trtllm-pytorch"
    return next((known for known, pattern in _ENGINES if re.search(pattern, name)), "")


_VLLM_KIN = frozenset({"aphrodite", "atom", "dynamo", "llm-d", "lmi", "nano-vllm"})  # forks of it, or built on it
_ENGINES = (
    ("sglang", r"sglang"),
    ("mlx", r"mlx"),
    ("mlc", r"mlc|web-?llm"),
    ("exllama", r"exl|tabby|text[-_ ]generation[-_ ]web|oobabooga"),
    (
        "llama.cpp",
        r"llama[\W_]*(cpp|bench)|ollama|kobold|lm[-_ ]?studio|ctransf|llamafile|gguf|gpt4all|\bjan\b|powerinfer",
    ),
    ("autoawq", r"autoawq"),
    ("lmdeploy", r"lm[-_ ]?deploy|turbomind"),
    ("qserve", r"qserve"),
    ("tgi", r"text[-_ ]generation|\btgi\b"),
    ("deepspeed", r"deep[-_ ]?speed|mii"),
    ("transformers", r"(?<!k)transformers|hugging|\bhf\b|pytorch|auto-?gptq|gptq-for"),
    (
        "other",
        r"ctranslate|onnx|openvino|lightllm|optimum|gaudi|habana|neuron|tpu|jetstream|ipex|faster-?transf"
        r"|mistral\.?rs|candle|ktransformers|scalellm|rtp-?llm|mindie|tinygrad|executorch|directml",
    ),
)

EARLY_ROCM = frozenset({"vllm-first", "vllm-v0"})


def engine_on(engine: str, family: str) -> str:
    """The engine as built for a device: vLLM's first ROCm builds ran without its CUDA kernels and graphs."""
    return f"{engine}-rocm" if engine in EARLY_ROCM and family.startswith("cdna") else engine


# Engines with too little evidence of their own share the coefficients of a relative.
POOLED_ENGINES = {
    "autoawq": "exllama",
    "mlc": "exllama",
    "qserve": "trtllm-cpp",
    "lmdeploy": "vllm-v0",
    "tgi": "vllm-v0",
    "deepspeed": "other",
}
# Several GPUs mean layers one after the other, by default: llama.cpp's --split-mode layer (since January 2024,
# ggml-org/llama.cpp docs/multi-gpu.md), transformers' device_map, ExLlama's automatic split.
LAYER_SPLIT_ENGINES = frozenset({"transformers", "exllama", "llama.cpp"})
