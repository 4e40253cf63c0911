"""Fine-tuning: memory by hand and against published figures, sharding laws, time against published GPU-hours."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.cli import main
from llmsizer.decide.tuning import plan_tuning
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.model import Attention, FeedForward, LayerGroup, ModelSpec
from llmsizer.facts.provenance import Provenance
from llmsizer.physics.fine_tuning import (
    OPTIMIZER_BYTES,
    FineTuning,
    activation_bytes,
    adapter_params,
    communicated_bytes,
    fewest_gpus,
    flops_per_token,
    training_memory,
    training_time,
    usable_bytes,
)

SOURCE = Provenance(source="by hand", as_of="2026-11", confidence="exact", basis="published")


def dense(layers: int, hidden: int, heads: int, inner: int, vocab: int = 32_000) -> ModelSpec:
    size = hidden // heads
    attention = Attention(kind="full", query_heads=heads, kv_heads=heads, head_dim=size, value_head_dim=size)
    group = LayerGroup(count=layers, attention=attention, feed_forward=FeedForward(hidden_size=inner))
    return ModelSpec(name="by-hand", hf_repo="", model_type="llama", hidden_size=hidden, vocab_size=vocab,
                     layer_groups=(group,), max_context_tokens=4096, provenance=SOURCE)  # fmt: skip


LLAMA_7B, LLAMA_33B, LLAMA_65B = dense(32, 4096, 32, 11008), dense(60, 6656, 52, 17920), dense(80, 8192, 64, 22016)
MISTRAL_22B = load_model("mistral-small-4-press-22b", default_catalog())


def states(model: ModelSpec, job: FineTuning, gpus: int) -> float:
    """What ZeRO shards."""
    memory = training_memory(model, job, gpus)
    return memory.weights + memory.gradients + memory.optimizer


def test_mixed_precision_adam_takes_sixteen_bytes_a_parameter() -> None:
    # ZeRO, arXiv 1910.02054, section 3.1: 2 + 2 + K with K = 12.
    assert states(LLAMA_7B, FineTuning(method="full"), 1) == 16 * LLAMA_7B.total_params
    # Gradients accumulated in 32 bit: 18.
    assert states(LLAMA_7B, FineTuning(method="full", gradient_bytes=4), 1) == 18 * LLAMA_7B.total_params


@pytest.mark.parametrize(("sharding", "gigabytes"), [("none", 120.0), ("zero1", 31.4), ("zero2", 16.6), ("zero3", 1.9)])
def test_zero_shards_7_5_billion_parameters_over_64_gpus_as_published(sharding: str, gigabytes: float) -> None:
    # ZeRO, figure 1: 7.5 B parameters, 64 GPUs, K = 12.
    each = states(LLAMA_7B, FineTuning(method="full", sharding=sharding), 64) / LLAMA_7B.total_params  # type: ignore[arg-type]
    assert each * 7.5 == pytest.approx(gigabytes, abs=0.06)


def test_adapters_by_hand() -> None:
    # Rank 64 on all seven matrices of 80 layers: 4 of 8192 + 8192, 3 of 8192 + 22016.
    assert adapter_params(LLAMA_65B, 64) == 80 * 64 * (4 * 2 * 8192 + 3 * (8192 + 22016)) == 799_539_200


def test_qlora_holds_65b_on_one_48_gb_card_with_its_paged_optimizer_and_not_without() -> None:
    # QLoRA, arXiv 2305.14314: 65 B on one 48 GB GPU (rank 64, batch 1, 512 tokens); paging is what makes room.
    card = default_catalog().gpu("rtx-a6000")
    job = FineTuning(method="qlora", rank=64, sequence_tokens=512, optimizer="paged-adamw")
    assert fewest_gpus(LLAMA_65B, job, card) == 1
    assert training_memory(LLAMA_65B, job).total_bytes < 48e9
    unpaged = FineTuning(method="qlora", rank=64, sequence_tokens=512)
    assert training_memory(LLAMA_65B, unpaged).total_bytes > usable_bytes(card)
    # and 33 B on one of 24 GB
    assert fewest_gpus(LLAMA_33B, job, default_catalog().gpu("rtx-3090")) == 1
    # more than 780 GB in 16 bit, as the paper's introduction says
    assert training_memory(LLAMA_65B, FineTuning(method="full", sequence_tokens=512)).total_bytes > 780e9


def test_activations_by_hand() -> None:
    # A layer keeps 4 × 4096 inputs, 4 × 4096 of attention, 3 × 11008: 65,792 values of 2 bytes a token.
    job = FineTuning(method="lora", sequence_tokens=100, checkpointing=False)
    assert activation_bytes(LLAMA_7B, job) == 32 * 100 * 2 * (7 * 4096 + 4096 + 3 * 11008)
    kept = FineTuning(method="lora", sequence_tokens=100)
    assert activation_bytes(LLAMA_7B, kept) == 32 * 100 * 4096 * 2 + 100 * 2 * (8 * 4096 + 3 * 11008)


def test_a_22b_model_by_hand() -> None:
    full = training_memory(MISTRAL_22B, FineTuning(method="full"))
    assert full.weights == 2 * MISTRAL_22B.total_params == pytest.approx(44.5e9, rel=0.001)
    assert full.optimizer == pytest.approx(267e9, rel=0.001)
    lora = training_memory(MISTRAL_22B, FineTuning(method="lora"))
    assert lora.gradients + lora.optimizer == 14 * adapter_params(MISTRAL_22B, 16)
    qlora = training_memory(MISTRAL_22B, FineTuning(method="qlora"))
    assert 11e9 < qlora.weights < 13e9
    assert fewest_gpus(MISTRAL_22B, FineTuning(method="qlora"), default_catalog().gpu("rtx-4090")) == 1
    assert fewest_gpus(MISTRAL_22B, FineTuning(method="full"), default_catalog().gpu("h100-sxm-80")) == 5


@given(st.sampled_from(["full", "lora", "qlora"]), st.integers(1, 64), st.integers(128, 8192), st.integers(1, 8))
def test_more_gpus_never_need_more_each_and_more_tokens_never_less(
    method: str, gpus: int, length: int, batch: int
) -> None:
    job = FineTuning(method=method, sequence_tokens=length, batch=batch)  # type: ignore[arg-type]
    here, more = training_memory(MISTRAL_22B, job, gpus + 1), training_memory(MISTRAL_22B, job, gpus + 2)
    assert more.total_bytes <= here.total_bytes
    longer = FineTuning(method=method, sequence_tokens=length + 1, batch=batch)  # type: ignore[arg-type]
    assert training_memory(MISTRAL_22B, longer, gpus).total_bytes > training_memory(MISTRAL_22B, job, gpus).total_bytes
    assert sum(here.parts.values()) == here.total_bytes
    bare = FineTuning(method=method, sequence_tokens=length, batch=batch, checkpointing=False)  # type: ignore[arg-type]
    assert activation_bytes(MISTRAL_22B, bare) >= activation_bytes(MISTRAL_22B, job)


def test_the_fewest_gpus_hold_it_and_one_less_does_not() -> None:
    card = default_catalog().gpu("a100-sxm-80")
    for method in ("full", "lora", "qlora"):
        job = FineTuning(method=method)  # type: ignore[arg-type]
        fewest = fewest_gpus(MISTRAL_22B, job, card)
        assert fewest is not None
        assert training_memory(MISTRAL_22B, job, fewest).total_bytes <= usable_bytes(card)
        assert fewest == 1 or training_memory(MISTRAL_22B, job, fewest - 1).total_bytes > usable_bytes(card)
    assert fewest_gpus(MISTRAL_22B, FineTuning(method="lora", sequence_tokens=1_000_000), card) is None


def test_six_flops_a_parameter_and_token_when_all_are_trained_four_when_frozen() -> None:
    short = {"sequence_tokens": 1, "checkpointing": False}
    inside = LLAMA_7B.total_params - LLAMA_7B.embedding_params  # looking a token up is no arithmetic
    full = flops_per_token(LLAMA_7B, FineTuning(method="full", **short))  # type: ignore[arg-type]
    assert full == pytest.approx(6 * inside, rel=0.001)
    lora = flops_per_token(LLAMA_7B, FineTuning(method="lora", rank=1, **short))  # type: ignore[arg-type]
    assert lora == pytest.approx(4 * inside, rel=0.001)
    again = flops_per_token(LLAMA_7B, FineTuning(method="full", sequence_tokens=1))
    assert again == pytest.approx(8 * inside, rel=0.001), "recomputation is one more forward pass"


@pytest.mark.parametrize(("name", "gpu_hours"), [("llama-2-7b", 184_320), ("llama-2-70b", 1_720_320)])
def test_two_trillion_tokens_take_the_gpu_hours_that_llama_2_took(name: str, gpu_hours: float) -> None:
    # Llama 2, arXiv 2307.09288, table 2: A100 80 GB hours of pretraining; 2 T tokens at 4,096 each.
    catalog = default_catalog()
    job = FineTuning(method="full", sequence_tokens=4096, checkpointing=False)
    time = training_time(load_model(name, catalog), job, catalog.gpu("a100-sxm-80"), 1, 2e12)
    low, middle, high = time.gpu_hours.low, time.gpu_hours.value, time.gpu_hours.high
    assert low is not None and middle is not None and high is not None
    assert low < gpu_hours < high
    assert middle == pytest.approx(gpu_hours, rel=0.25)


def test_sharded_weights_travel_in_every_step_and_may_take_longer_than_the_arithmetic() -> None:
    full = FineTuning(method="full")
    # ZeRO, section 7: stage 3 moves three times the parameters, stages 1 and 2 twice; of 16 bit, (n - 1)/n of it.
    params = LLAMA_7B.total_params
    assert communicated_bytes(LLAMA_7B, full, 8) == pytest.approx(3 * 2 * params * 7 / 8)
    assert communicated_bytes(LLAMA_7B, FineTuning(method="full", sharding="zero2"), 8) == pytest.approx(
        4 * params * 7 / 8
    )
    assert communicated_bytes(LLAMA_7B, full, 1) == 0
    # 31 × H100 are four nodes: 6 × 119.4 GB × 30/31 over 12.5 GB/s is 55 s a step of 2,048 tokens on each.
    catalog = default_catalog()
    real = load_model("mistral-small-4", catalog)
    time = training_time(real, full, catalog.gpu("h100-sxm-80"), 31, 1e7)
    steps = 1e7 / (31 * 2048)
    assert time.hours.value == pytest.approx(steps * 6 * real.total_params * 30 / 31 / 12.5e9 / 3600)
    assert "links" in time.hours.estimate.reason
    larger = training_time(real, FineTuning(method="full", batch=8), catalog.gpu("h100-sxm-80"), 31, 1e7)
    assert larger.hours.value is not None and time.hours.value is not None
    assert larger.hours.value == pytest.approx(time.hours.value / 8)


def test_a_job_that_does_not_fit_has_no_time_no_cost_and_a_way_out() -> None:
    catalog = default_catalog()
    plan = plan_tuning(MISTRAL_22B, FineTuning(method="full"), catalog.gpu("h100-sxm-80"), 1e7, catalog, gpus=1)
    assert not plan.fits and plan.time is None and plan.usd.value is None
    assert "5 of them hold it" in plan.reason
    fitting = plan_tuning(MISTRAL_22B, FineTuning(method="full"), catalog.gpu("h100-sxm-80"), 1e7, catalog)
    assert fitting.gpus == 5 and fitting.usd.value and fitting.usd.low and fitting.usd.low < fitting.usd.value


def test_the_mixture_trains_fewer_flops_and_stores_all_its_experts() -> None:
    real = load_model("mistral-small-4", default_catalog())
    job = FineTuning(method="full")
    assert training_memory(real, job).weights == 2 * real.total_params
    assert flops_per_token(real, job) < flops_per_token(MISTRAL_22B, job) / 2
    assert set(OPTIMIZER_BYTES) >= {"adamw", "adamw-8bit", "paged-adamw", "sgd"}


def test_the_command_answers_in_json_and_refuses_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fine-tune", "mistral-small-4-press-22b", "--method", "qlora", "--gpu", "rtx-4090", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)["plans"][0]
    assert plan["fits"] and plan["gpus"] == 1 and plan["hours"]["basis"] == "assumed"
    assert sum(plan["parts_bytes"].values()) == pytest.approx(plan["total_bytes"])
    for bad in (["nothing-of-that-name"], ["llama-3.1-8b", "--gpu", "nope"], ["llama-3.1-8b", "--tokens", "0"]):
        assert main(["fine-tune", *bad]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(InputError, match="batch = 0"):
        FineTuning(batch=0)
