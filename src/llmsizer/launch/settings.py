"""The exact flags of one replica, each with why it has its value: from the deployment, its memory account and its load.

Spellings are looked up in the version's own table, newest first. What the checkpoint says of itself (how it is
quantized) is never said again, and no code of a checkpoint is trusted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmsizer.errors import InputError
from llmsizer.facts.speculation import Speculation
from llmsizer.launch.engine_data import Engine
from llmsizer.launch.fleet import Fleet, default_checkpoint
from llmsizer.units import GIB

_OLD_FAMILIES = ("volta", "turing")  # without bfloat16
HEAD, _HEAD_PORT = "127.0.0.1", 20000  # of the first server of a replica; a start script asks for it
_LLAMA_CONTEXT_STEP = 256  # a slot's context is padded to it


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One flag; ``value`` None for a switch."""

    flag: str
    value: str | None
    why: str

    @property
    def words(self) -> tuple[str, ...]:
        return (self.flag,) if self.value is None else (self.flag, self.value)


class _Flags:
    """Settings in order, spelled as the engine's version spells them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.made: list[Setting] = []

    def add(self, names: Sequence[str] | str, value: object, why: str) -> None:
        """The first spelling this version has. Raises InputError where it has none."""
        tried = [names] if isinstance(names, str) else list(names)
        spec = self._engine.table.first(tried)
        if spec is None:
            raise InputError(f"{self._engine.label} has no {tried[0]}; bundle for another version")
        spelled = next(name for name in tried if self._engine.table.find(name) is spec)
        shown = None if value is None else f"{value:g}" if isinstance(value, float) else str(value)
        self.made.append(Setting(flag=spelled, value=shown, why=why))

    def has(self, name: str) -> bool:
        spec = self._engine.table.find(name)
        return spec is not None and not spec.deprecated


def settings_of(fleet: Fleet, *, host: str = "0.0.0.0") -> tuple[Setting, ...]:
    """Everything after the command and the model. Raises InputError where the version cannot be told what is needed."""
    flags = _Flags(fleet.engine)
    _WRITERS[fleet.engine.name](fleet, flags)
    flags.add("--host", host, "listens on; inside a container, on all of its addresses")
    flags.add("--port", fleet.engine.facts.port, "the engine's usual port")
    return tuple(flags.made)


def model_words(fleet: Fleet) -> tuple[str, ...]:
    """The words that name the checkpoint."""
    named = {"vllm": (), "transformers": (), "sglang": ("--model-path",), "llama.cpp": ("--model",)}
    if fleet.engine.name == "llama.cpp" and not fleet.is_local_checkpoint:
        return "--hf-repo", fleet.checkpoint
    return *named[fleet.engine.name], fleet.checkpoint


def memory_fraction(fleet: Fleet) -> float:
    """What the engine is told it may take, on the safe side of the account: never more than the account says."""
    if fleet.engine.name == "sglang":
        free = fleet.budget.gpu_bytes - fleet.budget.driver_bytes
        return math.floor(fleet.budget.budget_bytes / free * 1000) / 1000
    return fleet.deployment.memory_fraction or fleet.budget.engine.memory_fraction


def _vllm(fleet: Fleet, flags: _Flags) -> None:
    deployment, budget = fleet.deployment, fleet.budget
    spread = deployment.parallelism
    flags.add("--served-model-name", fleet.served_name, "the name requests ask for")
    flags.add("--dtype", _dtype(fleet, "float16"), "what products are computed in")
    flags.add("--tensor-parallel-size", spread.tensor, "GPUs that share each layer")
    if spread.pipeline > 1:
        flags.add("--pipeline-parallel-size", spread.pipeline, "stages of whole layers")
    if spread.data > 1:
        flags.add("--data-parallel-size", spread.data, "attention ranks, each with sequences and a cache of its own")
    if spread.expert > 1:
        flags.add("--enable-expert-parallel", None, "experts are divided among the GPUs")
    if deployment.servers > 1:
        flags.add("--nnodes", deployment.servers, "servers of one replica")
        flags.add("--node-rank", 0, "of this server: 0 answers requests, the others work for it")
        flags.add("--master-addr", HEAD, "server 0, as the others reach it")
    _window_and_batch(fleet, flags, "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens")
    flags.add("--gpu-memory-utilization", memory_fraction(fleet),
              f"leaves {budget.kv_cache_bytes / GIB:.1f} GiB of cache on each GPU by the account")  # fmt: skip
    flags.add("--kv-cache-dtype", fleet.engine.facts.kv_formats[deployment.kv_format], "format of the KV cache")
    switch = "--enable-prefix-caching" if fleet.caches_prefixes else "--no-enable-prefix-caching"
    flags.add(switch, None, _prefix_reason(fleet))
    if deployment.speculates is not None:
        flags.add("--speculative-config", _vllm_speculation(deployment.speculates, fleet), deployment.speculates.label)


def _sglang(fleet: Fleet, flags: _Flags) -> None:
    deployment = fleet.deployment
    spread = deployment.parallelism
    flags.add("--served-model-name", fleet.served_name, "the name requests ask for")
    flags.add("--dtype", _dtype(fleet, "half"), "what products are computed in")
    flags.add(("--tensor-parallel-size", "--tp-size"), spread.tensor, "GPUs that share each layer")
    if spread.pipeline > 1:
        flags.add(("--pipeline-parallel-size", "--pp-size"), spread.pipeline, "stages of whole layers")
    if spread.data > 1:
        raise InputError("SGLang divides its limits among attention ranks, which is not modelled here; take vllm")
    if deployment.servers > 1:
        flags.add("--nnodes", deployment.servers, "servers of one replica")
        flags.add("--node-rank", 0, "of this server: 0 answers requests, the others work for it")
        flags.add("--dist-init-addr", f"{HEAD}:{_HEAD_PORT}", "server 0, as the others reach it")
    if spread.expert > 1:
        flags.add(("--expert-parallel-size", "--ep-size"), spread.expert, "experts are divided among the GPUs")
    _window_and_batch(fleet, flags, "--context-length", "--max-running-requests", "--chunked-prefill-size")
    flags.add("--max-prefill-tokens", max(fleet.budget.max_batched_tokens, deployment.max_context_tokens),
              "one prompt of full length is admitted")  # fmt: skip
    flags.add("--mem-fraction-static", memory_fraction(fleet), "weights and cache, by the account of each GPU")
    flags.add("--kv-cache-dtype", fleet.engine.facts.kv_formats[deployment.kv_format], "format of the KV cache")
    if not fleet.caches_prefixes:
        flags.add("--disable-radix-cache", None, _prefix_reason(fleet))
    if deployment.speculates is not None:
        _sglang_speculation(deployment.speculates, flags)
    flags.add("--enable-metrics", None, "queue depth and cache use, for autoscaling")


def _llama_cpp(fleet: Fleet, flags: _Flags) -> None:
    deployment, budget = fleet.deployment, fleet.budget
    slots = budget.max_sequences
    context = math.ceil(deployment.max_context_tokens / _LLAMA_CONTEXT_STEP) * _LLAMA_CONTEXT_STEP
    kv_format = fleet.engine.facts.kv_formats[deployment.kv_format]
    flags.add("--alias", fleet.served_name, "the name requests ask for")
    flags.add("--ctx-size", slots * context, f"{slots} slots of {context:,} tokens")
    flags.add("--parallel", slots, "requests at once at the edge of the SLO")
    flags.add("--batch-size", max(budget.max_batched_tokens, slots), "tokens of a step")
    flags.add(
        "--ubatch-size", budget.max_batched_tokens, "tokens computed in one go, as the memory account counts them"
    )
    flags.add("--cache-type-k", kv_format, "format of the KV cache")
    flags.add("--cache-type-v", kv_format, "format of the KV cache")
    if not deployment.gpu.is_cpu:
        flags.add("--n-gpu-layers", 999, "all layers on the GPU")
    if deployment.parallelism.pipeline > 1:
        flags.add("--split-mode", "layer", "each GPU holds whole layers")
    if flags.has("--metrics"):
        flags.add("--metrics", None, "queue depth, for autoscaling")


def _transformers(fleet: Fleet, flags: _Flags) -> None:
    flags.add("--dtype", _dtype(fleet, "float16"), "what products are computed in")
    flags.add("--device", "cpu" if fleet.deployment.gpu.is_cpu else "cuda", "where it runs")
    if not fleet.deployment.gpu.is_cpu:
        flags.add("--continuous-batching", None, "requests join a running batch")
        flags.add("--cb-max-batch-tokens", fleet.budget.max_batched_tokens, "tokens of a step")


_WRITERS: dict[str, Callable[[Fleet, _Flags], None]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "llama.cpp": _llama_cpp,
    "transformers": _transformers,
}


def _window_and_batch(fleet: Fleet, flags: _Flags, context: str, sequences: str, batched: str) -> None:
    budget = fleet.budget
    flags.add(
        context, fleet.deployment.max_context_tokens, "the longest request of the workload, not the model's limit"
    )
    flags.add(sequences, budget.max_sequences, "requests that the cache holds, within the limit the plan counted with")
    flags.add(batched, max(budget.max_batched_tokens, budget.max_sequences), "tokens of a step, as the account counts")


def _prefix_reason(fleet: Fleet) -> str:
    share = fleet.workload.cached_prompt_fraction
    if share > 0:
        return f"{share:.0%} of all prompt tokens were seen before, and the plan counts on that"
    return "no two prompts of the workload begin alike: nothing to keep"


def _dtype(fleet: Fleet, half: str) -> str:
    name = fleet.deployment.weights.name
    if fleet.deployment.gpu.family in _OLD_FAMILIES:
        return half
    return {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}.get(name, "auto")


def _vllm_speculation(speculation: Speculation, fleet: Fleet) -> str:
    made: dict[str, object] = {"num_speculative_tokens": speculation.draft_tokens}
    if speculation.draft is not None:
        drafting = fleet.deployment.drafting
        assert drafting is not None
        made |= {"method": "draft_model", "model": default_checkpoint(drafting)}
    elif speculation.method == "eagle":
        raise InputError("no scenario names the repository of an EAGLE head; plan with draft-model, mtp or ngram")
    elif speculation.method == "ngram":
        made |= {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 2}
    else:
        made |= {"method": speculation.method}
    return json.dumps(made, sort_keys=True)


def _sglang_speculation(speculation: Speculation, flags: _Flags) -> None:
    if speculation.method in {"eagle", "draft-model"}:
        raise InputError(
            f"{speculation.method} under SGLang needs the draft's repository and tree; use mtp or ngram, or vllm"
        )
    algorithm = {"mtp": "NEXTN", "ngram": "NGRAM"}[speculation.method]
    flags.add("--speculative-algorithm", algorithm, speculation.label)
    if speculation.method == "mtp":
        flags.add("--speculative-num-steps", speculation.draft_tokens, "drafted one after the other")
        flags.add("--speculative-eagle-topk", 1, "a chain, no tree")
    flags.add("--speculative-num-draft-tokens", speculation.draft_tokens + 1, "verified a step, the sure one included")
