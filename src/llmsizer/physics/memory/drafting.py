"""What speculation adds to a GPU's memory: the drafting model or head, and its own cache."""

from __future__ import annotations

from dataclasses import replace

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.engine import EngineSpec
from llmsizer.facts.precision import Precision
from llmsizer.physics.memory.kv_cache import KvLayout, kv_layout
from llmsizer.physics.memory.parallelism import Shard, Stage, shard, tensor_problem

HEAD_BYTES_PER_VALUE = 2.0  # a head projects two hidden states to one, in 16 bit


def draft_weight_bytes(deployment: Deployment, stage: Stage) -> float:
    """Weights of what drafts, on one GPU of the stage that holds the output matrix; it drafts nowhere else."""
    speculation, drafting = deployment.speculates, deployment.drafting
    if speculation is None or not stage.has_head or speculation.method == "ngram":
        return 0.0
    if drafting is not None:
        whole = Stage(layers=drafting.model.layers, has_embedding=True, has_head=True)
        return _bytes(shard(drafting.model, drafting.weights, _draft_tensor(drafting), whole), drafting.weights)
    model = deployment.model
    layers = Stage(layers=speculation.draft_layers, has_embedding=False, has_head=False)
    head = _bytes(shard(model, deployment.weights, deployment.parallelism.tensor, layers), deployment.weights)
    return head + 2 * model.hidden_size**2 * HEAD_BYTES_PER_VALUE * speculation.draft_layers


def _bytes(part: Shard, precision: Precision) -> float:
    quantized = part.quantized_params * precision.bytes_per_quantized_weight
    return quantized + part.rest_params * precision.bytes_per_rest_weight


def _draft_tensor(drafting: Deployment) -> int:
    """The draft model is split like the model; where its shape forbids that, every GPU holds all of it."""
    tensor = drafting.parallelism.tensor
    return tensor if tensor_problem(drafting.model, drafting.weights, tensor) is None else 1


def with_draft_cache(layout: KvLayout, deployment: Deployment, engine: EngineSpec, stage: Stage) -> KvLayout:
    """The layout with the drafting layers' share in every block.

    Exact where all layers keep the whole context; where some keep a window, the draft's are taken as mixed alike.
    """
    added = _draft_cache_bytes_per_token(deployment, engine, layout.batched_tokens) if stage.has_head else 0.0
    if not added or not layout.bytes_per_token:
        return layout
    return replace(layout, block_bytes=layout.block_bytes * (1 + added / layout.bytes_per_token))


def _draft_cache_bytes_per_token(deployment: Deployment, engine: EngineSpec, batched_tokens: int) -> float:
    speculation, drafting = deployment.speculates, deployment.drafting
    if speculation is None or speculation.method == "ngram":
        return 0.0
    if drafting is None:
        whole = kv_layout(
            deployment.model,
            engine,
            tensor=deployment.parallelism.tensor,
            layers=deployment.model.layers,
            bytes_per_value=deployment.kv_bytes_per_value,
            batched_tokens=batched_tokens,
        ).bytes_per_token
        return speculation.draft_layers * whole / deployment.model.layers
    return kv_layout(
        drafting.model,
        engine,
        tensor=_draft_tensor(drafting),
        layers=drafting.model.layers,
        bytes_per_value=drafting.kv_bytes_per_value,
        batched_tokens=batched_tokens,
    ).bytes_per_token
