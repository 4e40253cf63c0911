"""vLLM where it is installed: served, as users run it, or offline, step by step in this process.

The profiler starts it, reads from its log what really ran, and ends it with all its workers. Prefix caching is off and
prompts are token numbers, so that no prefill is served from an earlier one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llmsizer.errors import MissingExtraError
from llmsizer.facts.record_parts import MemoryUse, Phases
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional
from llmsizer.profile.engines.served import HOST, Chunk, start_server, stream_steps, token_lists
from llmsizer.profile.engines.vllm_log import VllmLog, parse_log
from llmsizer.profile.measure import Tokens

MODEL = "llmsizer"  # the served name: no path of this machine in requests
EXTRA_FLAGS = "LLMSIZER_VLLM_FLAGS"  # environment: further flags of `vllm serve`, separated by blanks


class Vllm:
    """``vllm serve``, measured over HTTP on the loopback interface."""

    def __init__(self, variant: Variant) -> None:
        program = shutil.which("vllm")
        if program is None:
            raise MissingExtraError("the vllm engine (a `vllm` command on the PATH)", "vllm")
        self.vocabulary = int(variant.config["vocab_size"])  # type: ignore[call-overload]
        self._server = start_server(
            lambda port: [program, "serve", str(variant.path), "--host", HOST, "--port", str(port), *flags(variant)],
            what="vLLM's server",
            environment={"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1"},
        )
        log = parse_log(self._server.log())
        self._log = log
        self.version = log.version or str(self._server.get("/version").get("version", ""))
        self.options = options(log) | {"time_to_ready_seconds": f"{self._server.ready_seconds:.1f}"}
        self.kernels = log.kernels

    @property
    def url(self) -> str:
        """For a load generator that measures the same server from outside."""
        return self._server.url

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        settings = {
            "model": MODEL,
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
            "max_tokens": output_tokens,
            "min_tokens": output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
        }
        bodies = [{**settings, "prompt": tokens} for tokens in token_lists(prompts)]
        return stream_steps(self._server.port, "/v1/completions", bodies, output_tokens, tokens_made)

    def peak_memory_bytes(self) -> float | None:
        return None  # a pool reserved in advance is no peak; memory_use says how large it is

    def memory_use(self) -> MemoryUse:
        return memory_of(self._log)

    def phases(self) -> Phases:
        return phases_of(self._log)

    def process_ids(self) -> tuple[int, ...]:
        return self._server.process_ids()

    def close(self) -> None:
        self._server.close()


class VllmOffline:
    """vLLM's engine in this process: its steps are counted without a server and a client in between."""

    def __init__(self, variant: Variant) -> None:
        os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        vllm = optional("vllm", what="the vllm-offline engine", extra="vllm")
        self._sampling: Any = vllm.SamplingParams
        self._engine: Any = vllm.LLM(
            model=str(variant.path),
            skip_tokenizer_init=not has_tokenizer(variant.path),
            load_format="auto" if has_weights(variant.path) else "dummy",
            enable_prefix_caching=False,
        ).llm_engine
        self.version = str(vllm.__version__)
        self.vocabulary = int(variant.config["vocab_size"])  # type: ignore[call-overload]
        self.options = {"prefix_caching": "False", "mode": "offline"}
        self._made = 0

    def steps(self, prompts: Tokens, output_tokens: int) -> Iterator[None]:
        sampling = self._sampling(
            max_tokens=output_tokens, min_tokens=output_tokens, ignore_eos=True, temperature=0.0, detokenize=False
        )
        counts: dict[str, int] = {}
        for tokens in token_lists(prompts):
            self._made += 1
            counts[f"r{self._made}"] = 0
            self._engine.add_request(f"r{self._made}", {"prompt_token_ids": tokens}, sampling)
        made = 0
        while self._engine.has_unfinished_requests():
            for output in self._engine.step():
                counts[output.request_id] = len(output.outputs[0].token_ids)
            while made < min(counts.values()):
                made += 1
                yield

    def peak_memory_bytes(self) -> float | None:
        return None


def flags(variant: Variant) -> list[str]:
    """Of ``vllm serve``: random weights where the folder has none, no tokenizer where it has none."""
    asked = ["--served-model-name", MODEL, "--no-enable-prefix-caching"]
    if not has_weights(variant.path):
        asked += ["--load-format", "dummy"]
    if not has_tokenizer(variant.path):
        asked += ["--skip-tokenizer-init"]
    return asked + os.environ.get(EXTRA_FLAGS, "").split()


def has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors"))


def has_tokenizer(folder: Path) -> bool:
    return (folder / "tokenizer.json").is_file()


def tokens_made(chunk: Chunk) -> int | None:
    """Tokens so far, as the server counts them: one chunk may carry several."""
    usage = chunk.get("usage")
    return None if not usage else int(usage["completion_tokens"])


def options(log: VllmLog) -> dict[str, str]:
    """What decided the speed, as the log says it."""
    found = {
        "attention": log.attention,
        "kernels": ", ".join(log.kernels) or None,
        "quantization": log.quantization_method,
        "kv_tokens": log.kv_tokens,
        "prefix_caching": log.prefix_caching,
        "compile_seconds": log.compile_seconds,
        "graph_capture_seconds": log.graph_capture_seconds,
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def phases_of(log: VllmLog) -> Phases:
    """What vLLM compiled before it was ready: no part of the first call."""
    return Phases(compile_seconds=log.compile_seconds)


def memory_of(log: VllmLog) -> MemoryUse:
    """The ledger of vLLM's own profiling run; the KV pool is what was left, not what was needed."""
    peaks = {"load": log.weights_bytes, "prefill": log.activation_peak_bytes}
    per_token = log.kv_pool_bytes / log.kv_tokens if log.kv_pool_bytes and log.kv_tokens else None
    return MemoryUse(
        weights_bytes=log.weights_bytes,
        kv_pool_bytes=log.kv_pool_bytes,
        kv_blocks=log.kv_blocks,
        kv_bytes_per_token=per_token,
        peak_allocated_bytes={phase: value for phase, value in peaks.items() if value is not None},
        graph_pool_bytes=log.graph_bytes,
    )
