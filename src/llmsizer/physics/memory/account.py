"""Where the memory of one GPU goes: an account whose parts sum to the whole, under the engine's own reservation rule.

Weights and cache are arithmetic on the published geometry. Activations, CUDA graphs and the engine's own share are
versioned data per engine. With pipeline stages the account is of the stage whose cache fills first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.engine import Batching, EngineSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.provenance import Basis
from llmsizer.physics.memory.drafting import draft_weight_bytes, with_draft_cache
from llmsizer.physics.memory.kv_cache import KvLayout, kv_layout
from llmsizer.physics.memory.parallelism import Stage, check_parallelism, shard, stages
from llmsizer.units import GIB

LARGE_GPU_BYTES = 60 * GIB  # above it SGLang keeps a floor of its reserve free
VISION_PARAMS = 100_000_000  # so many parameters beside the text model are an image encoder, not a position table


@dataclass(frozen=True, kw_only=True)
class MemoryBudget:
    """One GPU's account. The parts sum to the GPU, or to more by ``overflow_bytes`` where they do not fit on it."""

    deployment: Deployment
    engine: EngineSpec
    gpu_bytes: float
    budget_bytes: float  # what the engine's rule gives weights, activations and cache together
    quantized_weight_bytes: float
    unquantized_weight_bytes: float  # embeddings, output matrix, norms, routers, towers
    draft_bytes: float  # weights of what drafts speculated tokens
    activation_bytes: float
    graph_bytes: float
    engine_bytes: float  # communicators and kernels' work spaces
    driver_bytes: float  # what the driver keeps, and the device context
    kv_cache_bytes: float  # reserved for the cache; 0 where nothing is left for it
    layout: KvLayout
    max_sequences: int
    max_batched_tokens: int
    stage: Stage

    @property
    def weight_bytes(self) -> float:
        return self.quantized_weight_bytes + self.unquantized_weight_bytes

    @property
    def replica_weight_bytes(self) -> float:
        """Weights of the whole replica as one copy: what a checkpoint of this precision holds."""
        return replica_weight_bytes(self.deployment)

    @property
    def used_bytes(self) -> float:
        fixed = self.weight_bytes + self.draft_bytes + self.activation_bytes + self.graph_bytes + self.engine_bytes
        return fixed + self.driver_bytes + self.kv_cache_bytes

    @property
    def unused_bytes(self) -> float:
        """What the rule leaves free beyond every part."""
        return max(0.0, self.gpu_bytes - self.used_bytes)

    @property
    def overflow_bytes(self) -> float:
        """How far the parts exceed the GPU."""
        return max(0.0, self.used_bytes - self.gpu_bytes)

    @property
    def parts(self) -> dict[str, float]:
        """Name → bytes; they sum to ``gpu_bytes + overflow_bytes``."""
        return {
            "quantized weights": self.quantized_weight_bytes,
            "unquantized weights": self.unquantized_weight_bytes,
            **({"draft model": self.draft_bytes} if self.draft_bytes else {}),
            "KV cache": self.kv_cache_bytes,
            "activations": self.activation_bytes,
            "CUDA graphs": self.graph_bytes,
            "engine": self.engine_bytes,
            "driver and context": self.driver_bytes,
            "unused": self.unused_bytes,
        }

    @property
    def basis(self) -> dict[str, Basis]:
        """How each part is known."""
        geometry = self.deployment.model.provenance.basis
        weights: Basis = "assumed" if geometry == "assumed" else "published"
        engine = self.engine.provenance.basis
        memory = self.deployment.gpu.provenance_by_field.get("memory_bytes", self.deployment.gpu.provenance).basis
        return {
            "quantized weights": weights,
            "unquantized weights": weights,
            **({"draft model": weights} if self.draft_bytes else {}),
            "KV cache": engine,
            "activations": engine,
            "CUDA graphs": engine,
            "engine": engine,
            "driver and context": engine,
            "unused": memory,
        }

    @property
    def kv_bytes_per_token(self) -> float:
        return self.layout.bytes_per_token

    @property
    def kv_capacity_tokens(self) -> int:
        """Tokens of the cache as the engine reports them at start-up."""
        return self.layout.capacity_tokens(self.kv_cache_bytes)

    @cached_property
    def max_context_tokens(self) -> int:
        """The longest context of one request, at most the model's own limit."""
        return self.layout.longest_context(self.kv_cache_bytes, self.deployment.model.max_context_tokens)

    def max_concurrency(self, context_tokens: int | None = None, *, shared_tokens: int = 0) -> int:
        """Requests the cache holds at a context (the deployment's where none is given).

        ``shared_tokens`` are a beginning that all of them have in common: prefix caching keeps it once.
        """
        context = context_tokens or self.deployment.max_context_tokens
        return self.layout.concurrency(self.kv_cache_bytes, context, shared_tokens=shared_tokens)

    def longest_context_of(self, requests: int) -> int:
        """The longest context at which the cache holds so many requests while they decode; 0 where it never does."""
        low, high = 0, self.deployment.model.max_context_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.max_concurrency(middle) >= requests else (low, middle - 1)
        return low

    def largest_batch(self, context_tokens: int | None = None) -> int:
        """Requests that run at once: the cache's or the engine's own limit."""
        return min(self.max_concurrency(context_tokens), self.max_sequences)

    @cached_property
    def shortfall_bytes(self) -> float:
        """Bytes missing for one request of the deployment's context; 0 where it fits."""
        fixed = self.budget_bytes - self._inside_bytes
        needed = self.layout.request_bytes(self.deployment.max_context_tokens, reading=True)
        return max(0.0, needed - fixed, self.overflow_bytes)

    @property
    def _inside_bytes(self) -> float:
        """Parts other than the cache that the rule counts against its budget."""
        weights = self.weight_bytes + self.draft_bytes
        if self.engine.rule == "static pool":
            return weights
        graphs = self.graph_bytes if self.engine.graphs_inside_budget else 0.0
        return weights + self.activation_bytes + self.engine_bytes + graphs

    @property
    def fits(self) -> bool:
        """Whether the engine starts and takes one request of the deployment's context."""
        context_ok = self.deployment.max_context_tokens <= self.deployment.model.max_context_tokens
        return context_ok and self.shortfall_bytes <= 0

    @property
    def reason(self) -> str:
        """Why it does not fit, in one sentence; empty where it fits."""
        wanted, limit = self.deployment.max_context_tokens, self.deployment.model.max_context_tokens
        if wanted > limit:
            return f"the context of {wanted:,} tokens is beyond the model's {limit:,}"
        if self.fits:
            return ""
        if self.budget_bytes < self._inside_bytes:
            lacking = (self._inside_bytes - self.budget_bytes) / GIB
            return f"weights and activations exceed what {self.engine.engine} may use of the GPU by {lacking:.1f} GiB"
        if self.overflow_bytes > 0:
            return (
                f"nothing is left outside the reservation for graphs and context: {self.overflow_bytes / GIB:.1f} GiB"
            )
        return (
            f"the cache holds {self.max_context_tokens:,} tokens of one request, not {wanted:,}: "
            f"{self.shortfall_bytes / GIB:.1f} GiB are missing"
        )


def estimate_memory(deployment: Deployment, engine: EngineSpec | None = None) -> MemoryBudget:
    """The account of one GPU of a replica. "Does not fit" is an answer (``fits``, ``reason``), not an error.

    Raises InputError where the shape forbids the spread or the device has no memory of its own, UnknownNameError for an
    engine that is not described.
    """
    check_parallelism(deployment)
    if deployment.gpu.memory_bytes is None:
        raise InputError(
            f"{deployment.gpu.id} has no memory size of its own; set gpus.{deployment.gpu.id}.memory_bytes"
        )
    spec = engine or default_catalog().engine(deployment.engine, deployment.engine_version)
    budgets = [
        _stage_budget(deployment, spec, stage)
        for stage in dict.fromkeys(stages(deployment.model, deployment.parallelism.pipeline))
    ]
    return min(budgets, key=lambda budget: (budget.budget_bytes - budget._inside_bytes) / budget.layout.bytes_per_token)


def replica_weight_bytes(deployment: Deployment) -> float:
    """Weights of one copy of the whole model: 22.2 B parameters at 16 bit are 44.5 GB."""
    return checkpoint_bytes(deployment.model, deployment.weights)


def checkpoint_bytes(model: ModelSpec, precision: Precision) -> float:
    """Weights of a model at a precision, embeddings and what else stays wide included."""
    whole = Stage(layers=model.layers, has_embedding=True, has_head=True)
    part = shard(model, precision, 1, whole)
    return (
        part.quantized_params * precision.bytes_per_quantized_weight
        + part.rest_params * precision.bytes_per_rest_weight
    )


def _stage_budget(deployment: Deployment, engine: EngineSpec, stage: Stage) -> MemoryBudget:
    gpu_bytes = deployment.gpu.memory_bytes or 0.0
    tensor = deployment.parallelism.tensor
    limits = engine.defaults_for(deployment.gpu)
    sequences = deployment.max_sequences or limits.max_sequences
    batched = deployment.max_batched_tokens or limits.max_batched_tokens
    if deployment.max_batched_tokens is None and deployment.max_context_tokens <= engine.whole_prompt_tokens:
        batched = max(batched, deployment.max_context_tokens)
    precision = deployment.weights
    part = shard(
        deployment.model,
        precision,
        tensor,
        stage,
        padded_dims=2 if engine.mxfp4_pads_hidden else 1,
        absorbs=engine.engine == "vllm",
        data=deployment.parallelism.data,
    )
    weights = part.quantized_params * precision.bytes_per_quantized_weight
    rest = part.rest_params * precision.bytes_per_rest_weight + part.extra_16bit_params * 2
    rest += deployment.model.rope_table_values * 2
    draft = draft_weight_bytes(deployment, stage)
    activations = activation_bytes(deployment, engine, stage, sequences=sequences, batched_tokens=batched)
    graphs = graph_bytes(deployment, engine, stage)
    own, context = _engine_bytes(deployment, engine)
    usable = deployment.gpu.allocatable_bytes or max(0.0, gpu_bytes - engine.driver_bytes)
    inside = weights + rest + draft
    if engine.rule != "static pool":
        inside += activations + own + (graphs if engine.graphs_inside_budget else 0.0)
    budget = _budget_bytes(deployment, engine, limits, usable, context, inside)
    layout = kv_layout(
        deployment.model,
        engine,
        tensor=tensor,
        layers=stage.layers,
        bytes_per_value=deployment.kv_bytes_per_value,
        batched_tokens=batched,
    )
    return MemoryBudget(
        deployment=deployment,
        engine=engine,
        gpu_bytes=gpu_bytes,
        budget_bytes=budget,
        quantized_weight_bytes=weights if precision.is_quantized else 0.0,
        unquantized_weight_bytes=rest + (0.0 if precision.is_quantized else weights),
        draft_bytes=draft,
        activation_bytes=activations,
        graph_bytes=graphs,
        engine_bytes=own,
        driver_bytes=gpu_bytes - usable + context,
        kv_cache_bytes=max(0.0, budget - inside),
        layout=with_draft_cache(layout, deployment, engine, stage),
        max_sequences=sequences,
        max_batched_tokens=batched,
        stage=stage,
    )


def _engine_bytes(deployment: Deployment, engine: EngineSpec) -> tuple[float, float]:
    """The engine's own share of its budget, and the device context outside of it."""
    spread = deployment.parallelism
    if spread.tensor > 1 or spread.data > 1:
        return engine.non_torch_bytes_tensor_parallel, engine.context_bytes_tensor_parallel
    if spread.pipeline > 1:
        return engine.non_torch_bytes_pipeline, engine.context_bytes_tensor_parallel
    return engine.non_torch_bytes, engine.context_bytes


def _budget_bytes(
    deployment: Deployment, engine: EngineSpec, limits: Batching, usable: float, context: float, inside: float
) -> float:
    """What weights, activations and cache may take together under the engine's rule."""
    fraction = deployment.memory_fraction or engine.memory_fraction
    free = max(0.0, usable - context)
    if engine.rule == "fraction of total":
        return min(usable * fraction, free)
    if engine.rule == "fraction of free":
        return inside + fraction * max(0.0, free - inside) if free >= inside else free
    if engine.rule == "static pool":
        if deployment.memory_fraction is None:
            reserve = engine.reserve_base_bytes + engine.reserve_bytes_per_token * limits.max_batched_tokens
            reserve += engine.reserve_bytes_per_graph_sequence * limits.graph_sequences
            if usable > LARGE_GPU_BYTES:
                reserve = max(reserve, engine.reserve_floor_bytes)
            fraction = max(0.0, 1 - reserve / usable) if usable else 0.0
        return free * fraction
    return free * fraction


def activation_bytes(
    deployment: Deployment, engine: EngineSpec, stage: Stage, *, sequences: int, batched_tokens: int
) -> float:
    """The peak beside weights and cache: the sampler over the whole vocabulary, or the widest layer, whichever is more.

    The sampler keeps several float32 copies of (sequences × vocabulary): for vocabularies over 100,000 it is the peak.
    """
    model, tensor = deployment.model, deployment.parallelism.tensor
    value_bytes = max(2.0, deployment.weights.bytes_per_rest_weight)  # what products are computed in
    hidden = batched_tokens * model.hidden_size * value_bytes
    forward = 0.0
    for group in model.layer_groups:
        part = group.feed_forward
        inner = batched_tokens * part.hidden_size * value_bytes / tensor
        if part.is_moe:
            routed = batched_tokens * part.active_experts * model.hidden_size * value_bytes
            layer = engine.forward_expert_copies * inner * part.active_experts + engine.forward_routed_copies * routed
        else:
            layer = engine.forward_inner_copies * inner
        forward = max(forward, layer + engine.forward_hidden_copies * hidden)
    if deployment.parallelism.pipeline > 1:
        forward += 2 * hidden  # sent and received
    forward += 2 * (deployment.parallelism.data - 1) * hidden  # of the other ranks: gathered, and given back
    sees = model.extra_params > VISION_PARAMS
    copies = engine.sampler_float32_copies
    if sees and engine.sampler_float32_copies_vision is not None:
        copies = engine.sampler_float32_copies_vision
    sampler = 0.0
    if stage.has_head:
        logits = min(sequences, engine.sampler_sequences_limit) * model.vocab_size
        sampler = logits * (4 * copies + value_bytes) + engine.sampler_hidden_copies * hidden
    vision = engine.activation_vision_bytes if sees else 0.0
    return max(forward, sampler) + engine.activation_base_bytes + vision


def graph_bytes(deployment: Deployment, engine: EngineSpec, stage: Stage) -> float:
    """Captured CUDA graphs: a base, and more for deep and wide models and for mixtures of experts."""
    model = deployment.model
    active = max(group.feed_forward.active_experts for group in model.layer_groups)
    depth = engine.graph_bytes_per_layer_hidden * stage.layers * model.hidden_size
    return engine.graph_base_bytes + depth + engine.graph_bytes_per_active_expert * active


def memory_in_use(deployment: Deployment, *, sequences: int, prompt_tokens: int, context_tokens: int) -> float:
    """Bytes per GPU that weights, the cache of these sequences and the activation peak take, device context left out.

    What a single-stream measurement shows, for engines that allocate what they need. An engine that reserves a pool
    shows ``estimate_memory(deployment).used_bytes`` instead, however few requests it serves.
    """
    engine = default_catalog().engine(deployment.engine, deployment.engine_version)
    limit = deployment.max_batched_tokens or engine.defaults_for(deployment.gpu).max_batched_tokens
    whole = prompt_tokens <= engine.whole_prompt_tokens
    batched = max(sequences, sequences * prompt_tokens if whole else min(sequences * prompt_tokens, limit))
    asked = replace(
        deployment, max_sequences=sequences, max_batched_tokens=batched, max_context_tokens=max(context_tokens, 1)
    )
    budget = estimate_memory(asked, engine)
    cache = sequences * budget.layout.request_bytes(context_tokens)
    return budget.weight_bytes + budget.draft_bytes + cache + budget.activation_bytes + budget.engine_bytes
