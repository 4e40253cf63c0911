"""VRAM of one row by the memory account, for every engine whose reservation rule is described.

Engines that reserve a pool (vLLM, SGLang, TensorRT-LLM) show the pool, however few requests they serve; the others
(transformers, llama.cpp) take what the run needs.

What tables print as GB are GiB where it can be told: Qwen2.5-72B at 16 bit and 16,384 tokens is printed as 149.14, and
its weights and cache alone are 150.8e9 bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from llmsizer.errors import LlmSizerError
from llmsizer.facts.aliases import names
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import PRECISIONS, Precision
from llmsizer.physics.memory.account import estimate_memory, memory_in_use
from llmsizer.physics.memory.parallelism import tensor_problem
from llmsizer.physics.steps.cases import Case

_PRECISION_OF = {
    "16bit": "bf16",
    "unstated": "bf16",
    "fp32": "fp32",
    "fp8": "fp8",
    "fp8-wo": "fp8",
    "int8": "int8",
    "int8-wo": "int8-wo",
    "int4": "int4",
    "fp4": "nvfp4",
    "mxfp4": "mxfp4",
}
# Class of evidence → engine in profiles/engines and the version meant where a row states none.
_ENGINE_OF = {
    "vllm-first": ("vllm", "0.4"),
    "vllm-first-rocm": ("vllm", "0.4"),
    "vllm-v0": ("vllm", "0.7"),
    "vllm-v0-rocm": ("vllm", "0.7"),
    "vllm-v1": ("vllm", "0.19"),
    "sglang": ("sglang", None),
    "trtllm-cpp": ("tensorrt-llm", None),
    "trtllm-pytorch": ("tensorrt-llm", None),
    "llama.cpp": ("llama.cpp", None),
    "transformers": ("transformers", None),
}
_ALLOCATES_AS_NEEDED = frozenset({"transformers", "llama.cpp"})
_SHOWN_WITH_CONTEXT = frozenset({"llama.cpp"})  # read off the device; transformers' rows count what torch allocated


@dataclass(frozen=True, slots=True)
class RowMemory:
    """Bytes of all GPUs of one replica, or why there are none."""

    value_bytes: float | None
    reason: str = ""


def vram_bytes(case: Case, model: ModelSpec, gpu: GpuSpec) -> RowMemory:
    """What the devices of one replica show in use."""
    if gpu.memory_bytes is None:
        return RowMemory(None, f"{gpu.id} has no memory of its own")
    if case.engine not in _ENGINE_OF:
        return RowMemory(None, f"how {case.engine} reserves memory is not described")
    precision = _precision(case)
    if precision is None:
        return RowMemory(None, f"bytes of {case.weight_class} weights are not described")
    precision = _padded(precision, model, int(case.tensor))
    name, version = _ENGINE_OF[case.engine]
    try:
        if name in _ALLOCATES_AS_NEEDED:
            each = _used_bytes(case, model, gpu, precision, name)
        else:
            stated = (case.engine_version or version) if version else None
            spread = _tensor(case, model, precision), int(case.pipeline)
            each = _reserved_bytes(model, gpu.id, precision, _kv_format(case), spread, name, stated)
    except LlmSizerError as error:  # a spread the shape forbids
        return RowMemory(None, str(error))
    return RowMemory(each * case.tensor * case.pipeline * case.data)


@lru_cache(maxsize=4096)
def _reserved_bytes(
    model: ModelSpec,
    gpu: str,
    weights: Precision,
    kv_format: str,
    spread: tuple[int, int],
    engine: str,
    version: str | None,
) -> float:
    """One GPU of an engine that reserves: the same whatever it serves."""
    asked = Deployment(
        model=model,
        gpu=names().gpu(gpu),  # of devices without a file of their own too
        weights=weights,
        kv_format=kv_format,
        parallelism=Parallelism(tensor=spread[0], pipeline=spread[1]),
        engine=engine,
        engine_version=version,
    )
    return min(estimate_memory(asked).used_bytes, asked.gpu.memory_bytes or math.inf)


def _used_bytes(case: Case, model: ModelSpec, gpu: GpuSpec, precision: Precision, engine: str) -> float:
    """One GPU of an engine that takes what the run needs."""
    context = max(1, int(case.input_tokens + case.output_tokens))
    asked = Deployment(
        model=model,
        gpu=gpu,
        weights=precision,
        kv_format=_kv_format(case),
        parallelism=Parallelism(tensor=_tensor(case, model, precision), pipeline=int(case.pipeline)),
        engine=engine,
        max_context_tokens=context,
    )
    spec = default_catalog().engine(engine)
    used = memory_in_use(
        asked,
        sequences=1 if math.isnan(case.batch_size) else max(1, int(case.batch_size)),
        prompt_tokens=int(case.input_tokens),
        context_tokens=max(context, spec.started_context_tokens),
    )
    return used + (spec.context_bytes if engine in _SHOWN_WITH_CONTEXT else 0.0)


def _kv_format(case: Case) -> str:
    return {4.0: "fp32", 1.0: "fp8"}.get(case.kv_bytes, "bf16")


def _tensor(case: Case, model: ModelSpec, precision: Precision) -> int:
    """The tensor degree; data-parallel ranks that share the experts hold their part of them like more of it."""
    whole = int(case.tensor * case.data)
    return whole if model.is_moe and tensor_problem(model, precision, whole) is None else int(case.tensor)


def _padded(precision: Precision, model: ModelSpec, tensor: int) -> Precision:
    """The format without groups where a degree would break them: what was measured ran.

    Checkpoints are padded for it; Qwen2.5-72B's inner size of 29,568 is 29,696 where it is published in four bits.
    """
    whole = replace(precision, weight_bits=precision.bits_per_quantized_weight, scale_bits=0.0, zero_point_bits=0.0)
    whole = replace(whole, group_size=None)
    breaks = tensor_problem(model, precision, tensor) is not None and tensor_problem(model, whole, tensor) is None
    return whole if breaks else precision


def _precision(case: Case) -> Precision | None:
    if case.weight_class != "gguf":
        name = _PRECISION_OF.get(case.weight_class)
        return PRECISIONS[name] if name else None
    sized = [precision for name, precision in PRECISIONS.items() if name.startswith("gguf")]
    closest = min(sized, key=lambda precision: abs(precision.bytes_per_quantized_weight - case.weight_bytes))
    return closest if abs(closest.bytes_per_quantized_weight / case.weight_bytes - 1) < 0.1 else None
