"""Which spreads a shape allows, and what each GPU then holds."""

from __future__ import annotations

import pytest

from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.precision import PRECISIONS
from llmsizer.physics.memory.parallelism import Stage, shard, stages, tensor_problem

CATALOG = load_catalog()
BF16 = PRECISIONS["bf16"]


def degrees(model: str, tensors: tuple[int, ...] = (1, 2, 3, 4, 8, 16)) -> list[int]:
    return [tensor for tensor in tensors if tensor_problem(CATALOG.model(model), BF16, tensor) is None]


def test_degrees_follow_the_heads():
    assert degrees("llama-3.1-8b") == [1, 2, 4, 8, 16]  # 32 heads; 3 does not divide them
    assert degrees("qwen2.5-7b") == [1, 2, 4]  # 28 heads do not divide by 8


def test_groups_of_scales_must_not_be_cut():
    # Qwen2.5-14B: 13,824 over 8 GPUs is 1,728 = 13.5 groups of 128
    assert tensor_problem(CATALOG.model("qwen2.5-14b"), BF16, 8) is None
    assert "groups of 128" in str(tensor_problem(CATALOG.model("qwen2.5-14b"), PRECISIONS["int4"], 8))


def test_layers_that_do_not_divide_go_to_the_stages_before_the_last():
    # Gemma-3-27B: 62 layers over 4 stages
    assert [s.layers for s in stages(CATALOG.model("gemma-3-27b"), 4)] == [15, 16, 16, 15]
    assert [s.layers for s in stages(CATALOG.model("llama-3.1-8b"), 1)] == [32]


@pytest.mark.parametrize("name", CATALOG.model_names)
def test_one_gpu_holds_every_parameter_once(name: str):
    model = CATALOG.model(name)
    part = shard(model, BF16, 1, Stage(layers=model.layers, has_embedding=True, has_head=True))
    padding = -model.vocab_size % 64 * model.hidden_size * (1 if model.tied_embeddings else 2)
    assert part.quantized_params + part.rest_params == pytest.approx(model.total_params + padding, rel=1e-9)


def test_stages_together_hold_the_model():
    model = CATALOG.model("llama-3.1-8b")
    parts = [shard(model, BF16, 1, stage) for stage in stages(model, 4)]
    assert sum(p.quantized_params + p.rest_params for p in parts) == pytest.approx(model.total_params)


def test_two_gpus_split_heads_and_copy_norms():
    # Llama-3.1-8B on 2 GPUs: all halves, but 65 norms of 4,096
    model = CATALOG.model("llama-3.1-8b")
    part = shard(model, BF16, 2, Stage(layers=32, has_embedding=True, has_head=True))
    norms = 65 * 4096
    assert part.quantized_params + part.rest_params == (model.total_params - norms) / 2 + norms
