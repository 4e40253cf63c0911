"""Which spreads a model's shape allows, and what each GPU then holds.

Tensor parallelism splits attention heads, inner sizes and the vocabulary, and copies what cannot be split: norms,
routers, the low-rank input projections of latent attention, and key/value heads once there are fewer of them than GPUs.
Pipeline stages take whole layers; the first holds the embedding, the last the output matrix. Expert parallelism uses
the tensor-parallel GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment, Parallelism
from llmsizer.facts.model import Attention, FeedForward, LayerGroup, ModelSpec
from llmsizer.facts.precision import Precision

VOCABULARY_PADDING = 64  # rows of embedding and output matrix are padded to a multiple of it before they are split
MXFP4_PADDING = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pipeline stage: how many of the model's layers, and which end."""

    layers: int
    has_embedding: bool
    has_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Parameters one GPU of a stage holds: those that are quantized and those that are left as they are."""

    quantized_params: float
    rest_params: float
    extra_16bit_params: float = 0.0  # copies an engine keeps in 16 bit whatever the precision


@lru_cache(maxsize=1024)
def stages(model: ModelSpec, pipeline: int) -> tuple[Stage, ...]:
    """Layers by stage as vLLM divides them: what does not divide goes to the stages before the last, back to front."""
    counts = [model.layers // pipeline] * pipeline
    for extra in range(model.layers % pipeline):
        counts[pipeline - 2 - extra if pipeline > 1 else 0] += 1
    last = pipeline - 1
    return tuple(Stage(layers=n, has_embedding=i == 0, has_head=i == last) for i, n in enumerate(counts))


def tensor_problem(model: ModelSpec, precision: Precision, tensor: int) -> str | None:
    """Why this tensor-parallel degree is impossible, or None."""
    for group in model.layer_groups:
        attention, feed_forward = group.attention, group.feed_forward
        if attention.kind != "linear" and attention.query_heads % tensor:
            return f"{attention.query_heads} attention heads do not divide by {tensor}"
        if attention.kind not in {"latent", "linear"} and max(attention.kv_heads, tensor) % min(
            attention.kv_heads, tensor
        ):
            return f"{attention.kv_heads} key/value heads neither divide by {tensor} nor into it"
        if feed_forward.hidden_size % tensor:
            return f"the inner size {feed_forward.hidden_size} does not divide by {tensor}"
        size = precision.group_size or 1
        if tensor > 1 and not precision.experts_only and (feed_forward.hidden_size // tensor) % size:
            return f"the inner size {feed_forward.hidden_size} over {tensor} GPUs breaks groups of {size}"
    return None


def check_parallelism(deployment: Deployment) -> None:
    """Raise InputError where the shape forbids the spread, naming degrees that work."""
    model, spread = deployment.model, deployment.parallelism
    problem = tensor_problem(model, deployment.weights, spread.tensor)
    if problem is None and spread.pipeline > model.layers:
        problem = f"{model.layers} layers do not fill {spread.pipeline} pipeline stages"
    if problem is None and spread.data > 1:
        problem = _data_problem(model, spread)
    if problem is None and spread.expert > 1 and not model.is_moe:
        raise InputError(f"ep = {spread.expert}: {model.name} has no experts; use ep = 1")
    if problem is None and spread.expert > 1:
        problem = _expert_problem(model, spread)
    if problem is None:
        return
    works = [d for d in (1, 2, 4, 8, 16) if tensor_problem(model, deployment.weights, d) is None]
    raise InputError(
        f"{model.name}: {problem}; tp = {', '.join(map(str, works)) or 'none'} and pp up to {model.layers} would work"
    )


def _data_problem(model: ModelSpec, spread: Parallelism) -> str | None:
    if not model.is_moe:
        return f"dp = {spread.data} inside a replica divides experts, and the model has none"
    if spread.pipeline > 1:
        return f"dp = {spread.data} inside a replica is not computed together with pp = {spread.pipeline}"
    if spread.expert != spread.tensor * spread.data:
        return f"dp = {spread.data} divides the experts among all GPUs: ep = {spread.tensor * spread.data}"
    return None


def _expert_problem(model: ModelSpec, spread: Parallelism) -> str | None:
    ranks = spread.tensor * spread.data
    if ranks % spread.expert:
        return f"expert degree {spread.expert} does not divide the {ranks} tensor-parallel GPUs it uses"
    for group in model.layer_groups:
        if group.feed_forward.experts % spread.expert:
            return f"{group.feed_forward.experts} experts do not divide by {spread.expert}"
    return None


@lru_cache(maxsize=1024)
def shard(
    model: ModelSpec,
    precision: Precision,
    tensor: int,
    stage: Stage,
    *,
    padded_dims: int = 0,
    absorbs: bool = False,
    data: int = 1,
) -> Shard:
    """Parameters on one GPU of a stage. ``data``: attention ranks, each with a copy of all but the routed experts.

    Layers of different kinds are spread evenly over stages. ``absorbs``: the engine keeps the latent up-projection a
    second time in 16 bit for decoding (vLLM). ``padded_dims``: how many dimensions of MXFP4 experts kernels pad.
    """
    share = stage.layers / model.layers
    quantized, rest, copies = 0.0, 0.0, 0.0
    for group in model.layer_groups:
        layer_quantized, layer_rest = _layer_shard(model, group, precision, tensor, padded_dims, data)
        quantized += share * group.count * layer_quantized
        rest += share * group.count * layer_rest
        attention = group.attention
        if absorbs and attention.kind == "latent":
            up_width = attention.head_dim - attention.rope_head_dim + attention.value_head_dim
            copies += share * group.count * attention.kv_lora_rank * attention.query_heads * up_width / tensor
    rows = -(-model.vocab_size // VOCABULARY_PADDING) * VOCABULARY_PADDING / tensor
    rest += rows * model.hidden_size if stage.has_embedding else 0.0
    own_head = stage.has_head and not (model.tied_embeddings and stage.has_embedding)
    rest += rows * model.hidden_size if own_head else 0.0
    rest += model.hidden_size if stage.has_head else 0.0
    rest += model.extra_params / tensor if stage.has_embedding else 0.0
    return Shard(quantized_params=quantized, rest_params=rest, extra_16bit_params=copies)


def _layer_shard(
    model: ModelSpec, group: LayerGroup, precision: Precision, tensor: int, padded_dims: int, data: int
) -> tuple[float, float]:
    """Quantized and other parameters of one layer on one GPU."""
    hidden = model.hidden_size
    attention, replicated = _attention_matrices(group.attention, hidden, tensor)
    attention += replicated
    feed_forward = group.feed_forward
    dense, experts = _feed_forward_matrices(feed_forward, hidden, tensor)
    experts /= data
    norms = group.norms * hidden * (2 if group.norm_has_bias else 1)
    vectors: float = norms + group.attention.vector_params(hidden) + feed_forward.router_params(hidden)
    biases = feed_forward.vector_params(hidden) - feed_forward.router_params(hidden)
    vectors += biases / tensor
    if precision.experts_only and model.is_moe:
        inner = feed_forward.hidden_size / (tensor if data == 1 else 1)  # expert parallel: experts stay whole
        padding = _padded(inner) / inner if feed_forward.is_moe and padded_dims else 1.0
        padding *= _padded(hidden) / hidden if padded_dims > 1 else 1.0
        return experts * padding, attention + dense + vectors
    return attention + dense + experts, vectors


def _padded(size: float) -> float:
    return -(-int(size) // MXFP4_PADDING) * MXFP4_PADDING


def _attention_matrices(attention: Attention, hidden: int, tensor: int) -> tuple[float, float]:
    """Matrix parameters of one layer's attention on one GPU: the split part and the copied part."""
    total = attention.params(hidden) - attention.vector_params(hidden)
    if attention.kind == "linear":
        return total / tensor, 0.0
    if attention.kind == "latent":
        copied = hidden * (attention.query_lora_rank + attention.kv_lora_rank + attention.rope_head_dim)
        return (total - copied) / tensor, float(copied)
    kv = hidden * attention.kv_heads * (attention.head_dim + attention.value_head_dim)
    kept_heads = kv_heads_per_gpu(attention, tensor) / attention.kv_heads
    return (total - kv) / tensor + kv * kept_heads, 0.0


def _feed_forward_matrices(feed_forward: FeedForward, hidden: int, tensor: int) -> tuple[float, float]:
    """Matrix parameters of one layer's dense and shared part, and of its routed experts, on one GPU."""
    matrices = 3 if feed_forward.gated else 2
    shared = matrices * hidden * feed_forward.shared_hidden_size / tensor
    routed = matrices * hidden * feed_forward.hidden_size / tensor
    if feed_forward.is_moe:
        return shared, routed * feed_forward.experts
    return shared + routed, 0.0


def kv_heads_per_gpu(attention: Attention, tensor: int) -> int:
    """Key/value heads one GPU keeps: its share, and at least one, which is then copied."""
    return max(1, attention.kv_heads // tensor)
