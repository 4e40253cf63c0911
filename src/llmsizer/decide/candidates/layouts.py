"""Layouts beyond tensor parallelism in one server, only where they can be worth it.

A model that no width of one server holds is put into pipeline stages over whole servers. Experts whose attention tensor
parallelism would copy the cache of (a latent vector, fewer key/value heads than GPUs) may be served by data-parallel
attention: each rank keeps its own sequences, the experts are divided among all GPUs of one server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from llmsizer.decide.question import TENSOR_PARALLEL
from llmsizer.facts.deployment import Parallelism
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.scenario import Constraints

Allows = Callable[[int], bool]  # whether the model's shape divides by a tensor-parallel degree


def may_span(gpu: GpuSpec, constraints: Constraints) -> bool:
    """Whether a replica over several servers of it is looked at: data-centre cards, and whatever was named."""
    return gpu.device_class.startswith("datacenter") or bool(constraints.gpus)


def staged_layouts(model: ModelSpec, gpu: GpuSpec, most_gpus: int, allows: Allows) -> Iterator[Parallelism]:
    """Stages as wide as a server allows, over one server and more: fewest servers first, each used whole."""
    node = gpu.max_per_node
    tensor = max((w for w in TENSOR_PARALLEL if w <= node and node % w == 0 and allows(w)), default=None)
    if tensor is None:
        return
    for servers in range(1, most_gpus // node + 1):
        pipeline = node // tensor * servers
        if 1 < pipeline <= model.layers:
            yield Parallelism(tensor=tensor, pipeline=pipeline)


def ranked_layout(model: ModelSpec, width: int, allows: Allows) -> Parallelism | None:
    """Data-parallel attention on as many GPUs, as wide as no cache is copied; None where nothing would be."""
    experts = [group.feed_forward.experts for group in model.layer_groups if group.feed_forward.is_moe]
    if not experts or any(count % width for count in experts) or not _copies_cache(model, width):
        return None
    narrower = [t for t in TENSOR_PARALLEL if t < width and width % t == 0]
    tensor = max((t for t in narrower if allows(t) and not _copies_cache(model, t)), default=None)
    return None if tensor is None else Parallelism(tensor=tensor, data=width // tensor, expert=width)


def _copies_cache(model: ModelSpec, tensor: int) -> bool:
    """Whether GPUs of a tensor-parallel group keep the same values: the latent vector, or shared key/value heads."""
    attentions = [group.attention for group in model.layer_groups]
    return any(
        tensor > (1 if attention.kind == "latent" else attention.kv_heads)
        for attention in attentions
        if attention.kind != "linear"
    )
