"""What would make a replica fit: each change that alone suffices, the smallest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.precision import PRECISIONS
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory

MOST_GPUS = 64
SHORTEST_USEFUL_CONTEXT_TOKENS = 1024
MOST_OF_A_GPU = 0.95  # what engines' own guides go up to
SMALL_STEP_TOKENS, SMALL_BATCH = 2048, 64


@dataclass(frozen=True, kw_only=True)
class Change:
    """One change, the replica after it, and its account."""

    text: str
    deployment: Deployment
    budget: MemoryBudget


def smallest_change_to_fit(deployment: Deployment, gpus: Sequence[GpuSpec] = ()) -> Change | None:
    """The smallest single change that makes the replica fit; None where it fits already or nothing here helps."""
    return next(changes_to_fit(deployment, gpus), None)


def changes_to_fit(deployment: Deployment, gpus: Sequence[GpuSpec] = (), *, requests: int = 1) -> Iterator[Change]:
    """Every kind of change that suffices by itself, each in its smallest form, in the order of what it costs the user.

    The engine's settings, the cache's precision, then the weights', then twice the GPUs (and again) of one node, then a
    larger GPU of those given, then several nodes, then a shorter context. ``requests``: so many at once are to be held.
    """

    def holds(budget: MemoryBudget) -> bool:
        return budget.fits and (requests <= 1 or budget.max_concurrency() >= requests)

    if holds(estimate_memory(deployment)):
        return
    one_node, several_nodes = max(deployment.gpu.max_per_node, deployment.parallelism.gpus), None
    for kind in (
        _engine_settings(deployment),
        _smaller_cache(deployment),
        _smaller_weights(deployment),
        _more_gpus(deployment),
        _larger_gpu(deployment, gpus),
    ):
        for text, changed in kind:
            try:
                budget = estimate_memory(changed)
            except InputError:  # the shape forbids that spread
                continue
            if holds(budget):
                change = Change(text=text, deployment=changed, budget=budget)
                if changed.parallelism.gpus > one_node:
                    several_nodes = change
                else:
                    yield change
                break
    if several_nodes is not None:
        yield several_nodes
    yield from _shorter_context(deployment, requests)


def _engine_settings(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """More of the GPU for an engine that reserves a fraction; fewer sequences and tokens a step; both.

    The activation peak goes with the size of a step. Neither costs anything but speed at high load.
    """
    budget = estimate_memory(deployment)
    tokens, sequences = min(budget.max_batched_tokens, SMALL_STEP_TOKENS), min(budget.max_sequences, SMALL_BATCH)
    smaller = replace(deployment, max_sequences=sequences, max_batched_tokens=tokens)
    step = f"run at most {sequences} sequences and {tokens:,} tokens a step"
    is_smaller = (tokens, sequences) != (budget.max_batched_tokens, budget.max_sequences)
    engine = budget.engine
    grows = (
        engine.rule == "fraction of total" and (deployment.memory_fraction or engine.memory_fraction) < MOST_OF_A_GPU
    )
    share = f"let {engine.engine} take {MOST_OF_A_GPU:.0%} of the memory"
    if grows:
        yield share, replace(deployment, memory_fraction=MOST_OF_A_GPU)
    if is_smaller:
        yield step, smaller
    if grows and is_smaller:
        yield f"{share} and {step}", replace(smaller, memory_fraction=MOST_OF_A_GPU)


def _smaller_cache(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    if deployment.kv_bytes_per_value > 1:
        yield "keep the KV cache in FP8", replace(deployment, kv_format="fp8")


def _smaller_weights(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """The next smaller formats; eight bits in the form the GPU multiplies natively."""
    native_fp8 = deployment.gpu.effective_compute("fp8") == "fp8"
    for name in ("fp8" if native_fp8 else "int8", "int4"):
        precision = PRECISIONS[name]
        if precision.bytes_per_quantized_weight < deployment.weights.bytes_per_quantized_weight * 0.9:
            yield f"quantize the weights to {name.upper()}", replace(deployment, weights=precision)


def _more_gpus(deployment: Deployment) -> Iterator[tuple[str, Deployment]]:
    """Tensor parallelism up to one node, then pipeline stages on top of it."""
    spread = deployment.parallelism
    tensor, pipeline = spread.tensor, spread.pipeline
    while tensor * pipeline * 2 <= MOST_GPUS:
        if tensor * 2 <= max(deployment.gpu.max_per_node, 1):
            tensor *= 2
        else:
            pipeline *= 2
        wider = Parallelism(tensor=tensor, pipeline=pipeline, expert=spread.expert)
        how = f"tp {tensor}" + (f", pp {pipeline}" if pipeline > 1 else "")
        yield f"use {wider.gpus} GPUs ({how})", replace(deployment, parallelism=wider)


def _larger_gpu(deployment: Deployment, gpus: Sequence[GpuSpec]) -> Iterator[tuple[str, Deployment]]:
    own = deployment.gpu.memory_bytes or 0.0
    larger = [gpu for gpu in gpus if (gpu.memory_bytes or 0.0) > own]
    for gpu in sorted(larger, key=lambda gpu: gpu.memory_bytes or 0.0):
        yield f"use {gpu.name}", replace(deployment, gpu=gpu)


def _shorter_context(deployment: Deployment, requests: int) -> Iterator[Change]:
    budget = estimate_memory(deployment)
    longest = budget.max_context_tokens if requests <= 1 else budget.longest_context_of(requests)
    if longest < min(SHORTEST_USEFUL_CONTEXT_TOKENS, deployment.max_context_tokens):
        return
    shorter = replace(deployment, max_context_tokens=longest)
    budget = estimate_memory(shorter)
    if budget.fits:
        yield Change(text=f"limit the context to {longest:,} tokens", deployment=shorter, budget=budget)
