"""What vLLM's own log says ran: the kernels, the attention backend, the KV pool, where the memory went, its version.

A checkpoint's name says what is stored; only this says what it ran as. A line that a version does not print leaves its
field None. Where several workers print the same line, bytes are those of one GPU, and the KV pool is the smallest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

GIBI = 2.0**30
UNITS = {"GiB": GIBI, "GB": GIBI, "MiB": 2.0**20}  # before 0.8 vLLM wrote GB and meant 2³⁰
NUMBER = r"(-?[\d,]+(?:\.\d+)?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmLog:
    """None where the log has no such line."""

    version: str | None
    attention: str | None
    kernels: tuple[str, ...]  # of the weights' products, in the order they were chosen
    quantization_method: str | None  # what the checkpoint was converted to while loading
    weights_bytes: float | None
    load_seconds: float | None
    kv_pool_bytes: float | None
    kv_tokens: int | None
    kv_blocks: int | None
    activation_peak_bytes: float | None
    non_torch_bytes: float | None
    graph_bytes: float | None
    compile_seconds: float | None
    graph_capture_seconds: float | None
    prefix_caching: bool | None


def parse_log(log: str) -> VllmLog:
    """Read a whole log; later lines of one kind replace earlier ones, as an engine may profile twice."""
    return VllmLog(
        version=_text(log, r"LLM engine \(v([^)]+)\)", r"vLLM API server version (\S+)", r"vLLM version (\S+)"),
        attention=_attention(log),
        kernels=tuple(dict.fromkeys(re.findall(r"(?:Using|Selected) (\w+(?:Kernel|LinearMethod|MoEMethod)) for", log))),
        quantization_method=_text(log, r"during runtime\. Using (\w+) kernel", r"Detected .*? using (\w+) kernel"),
        weights_bytes=_bytes(log, rf"Model loading took {NUMBER} (GiB|GB)")
        or _bytes(log, rf"[Ll]oading model weights took {NUMBER} (GiB|GB)")
        or _bytes(log, rf"model weights take {NUMBER}(GiB|GB)"),
        load_seconds=_number(log, rf"Model loading took [\d.]+ (?:GiB|GB)(?: memory)? and {NUMBER} seconds"),
        kv_pool_bytes=_bytes(log, rf"Available KV cache memory: {NUMBER} (GiB|GB)", least=True)
        or _bytes(log, rf"reserved for KV Cache is {NUMBER}(GiB|GB)", least=True),
        kv_tokens=_whole(log, rf"GPU KV cache size: {NUMBER} tokens"),
        kv_blocks=_whole(log, rf"# (?:GPU|cuda) blocks: {NUMBER}"),
        activation_peak_bytes=_bytes(log, rf"activation peak memory takes {NUMBER}(GiB|GB)"),
        non_torch_bytes=_bytes(log, rf"non_torch_memory takes {NUMBER}(GiB|GB)"),
        graph_bytes=_bytes(log, rf"Graph capturing finished in [\d.]+ secs?, took {NUMBER} (GiB|GB)")
        or _bytes(log, rf"Estimated CUDA graph memory: {NUMBER} (GiB|GB)"),
        compile_seconds=_number(log, rf"torch\.compile (?:takes|took) {NUMBER} s"),
        graph_capture_seconds=_number(log, rf"Graph capturing finished in {NUMBER} sec"),
        prefix_caching=_flag(log, r"enable_prefix_caching=(True|False)"),
    )


def _attention(log: str) -> str | None:
    found = _text(
        log,
        r"Using (?:AttentionBackendEnum\.)?(\w+) attention backend",
        r"Using (Flash ?Attention|FlashInfer|Triton|FlashMLA|XFormers|[A-Z]\w+) backend",
    )
    return found.replace(" ", "") if found else None


def _text(log: str, *patterns: str) -> str | None:
    for pattern in patterns:
        if found := re.findall(pattern, log):
            return str(found[-1]).rstrip(".,;")
    return None


def _bytes(log: str, pattern: str, *, least: bool = False) -> float | None:
    values = [float(number.replace(",", "")) * UNITS[unit] for number, unit in re.findall(pattern, log)]
    if not values:
        return None
    return min(values) if least else values[-1]


def _number(log: str, pattern: str) -> float | None:
    found = re.findall(pattern, log)
    return float(found[-1].replace(",", "")) if found else None


def _whole(log: str, pattern: str) -> int | None:
    found = [int(number.replace(",", "")) for number in re.findall(pattern, log)]
    return min(found) if found else None


def _flag(log: str, pattern: str) -> bool | None:
    found = re.findall(pattern, log)
    return found[-1] == "True" if found else None
