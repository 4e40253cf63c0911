"""Step times obey the laws that no fit may break, and the signs that planners get wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.gpu import GpuSpec
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.answers.step_times import (
    case_of,
    decode_seconds_grid,
    decode_step,
    decode_step_seconds,
    prefill_seconds,
)
from llmsizer.physics.calibration.store import default_calibration
from llmsizer.physics.steps.cases import Cases, shape_of
from llmsizer.physics.steps.formats import engine_class, weight_format
from llmsizer.physics.steps.formulas import StepModel

CATALOG = load_catalog()


def llama(weights: str = "bf16", gpu: str = "h100-sxm-80", **options: object) -> Deployment:
    return deployment(CATALOG.model("llama-3.1-8b"), CATALOG.gpu(gpu), weights, **options)


def seconds(d: Deployment, batch: float = 1, context: float = 1000) -> float:
    value = decode_step_seconds(d, batch, context).value
    assert value is not None
    return value


def raw_times(d: Deployment, batch: float = 8.0, context: float = 1000.0) -> float:
    """Physics alone, without effects."""
    model = StepModel(Cases.of([case_of(d)]), default_calibration().coefficients)
    one = np.array([1.0])
    return float(model.decode(batch * one, context * one, context * one).total[0])


def faster(gpu: GpuSpec, *, bandwidth: float = 1.0, flops: float = 1.0) -> GpuSpec:
    return gpu.model_copy(
        update={
            "memory_bytes_per_second": gpu.memory_bytes_per_second * bandwidth,
            "flops_per_second": {name: rate * flops for name, rate in gpu.flops_per_second.items()},
        }
    )


def test_weights_of_llama_8b_by_hand() -> None:
    # 32 layers x (attention 2*4096*4096 + 2*4096*1024, MLP 3*4096*14336)
    assert shape_of(CATALOG.model("llama-3.1-8b")).dense_params == 32 * (41_943_040 + 176_160_768)


def test_decode_is_not_faster_than_the_bytes_allow() -> None:
    # 16.06 GB of weights less the embedding, over 3.35 TB/s: 4.5 ms
    assert seconds(llama()) > 0.0045


def test_a_bigger_batch_never_lowers_the_step_time() -> None:
    grid = decode_seconds_grid(llama("fp8"), [1, 2, 3, 5, 8, 16, 32, 64, 100, 256, 512], [128, 1024, 8192])
    assert (np.diff(grid, axis=0) >= 0).all()


def test_a_longer_context_is_never_faster() -> None:
    for batch in (1, 16, 128):
        times = [seconds(llama(), batch, context) for context in (16, 256, 1024, 4096, 32768)]
        assert times == sorted(times)


def test_a_longer_prompt_is_never_faster() -> None:
    times = [prefill_seconds(llama(), tokens).value or 0.0 for tokens in (16, 128, 512, 2048, 8192, 32768)]
    assert times == sorted(times)


@pytest.mark.parametrize("batch", [1.0, 16.0, 256.0])
def test_more_bandwidth_or_arithmetic_is_never_slower(batch: float) -> None:
    base = llama()
    assert raw_times(replace(base, gpu=faster(base.gpu, bandwidth=1.5)), batch) <= raw_times(base, batch)
    assert raw_times(replace(base, gpu=faster(base.gpu, flops=2.0)), batch) <= raw_times(base, batch)


def test_parts_sum_to_the_whole() -> None:
    step = decode_step(llama(), 32, 2000)
    assert sum(step.seconds_by_part.values()) == pytest.approx(step.total.value)


def test_a_step_carries_its_interval_and_basis() -> None:
    step = decode_step_seconds(llama(), 8, 1000)
    assert step.basis == "calibrated"
    assert step.low is not None and step.high is not None and step.value is not None
    assert step.low < step.value < step.high


def test_int4_wins_alone_and_loses_its_lead_in_a_large_batch() -> None:
    alone = seconds(llama("int4")) / seconds(llama("bf16"))
    crowded = seconds(llama("int4"), 512, 512) / seconds(llama("bf16"), 512, 512)
    assert alone < 0.75 < crowded


@pytest.mark.parametrize("gpu", ["h100-sxm-80", "a100-sxm-80"])
def test_fp8_is_faster_than_16_bit_for_one_user_on_hopper_and_ampere(gpu: str) -> None:
    assert seconds(llama("fp8", gpu)) < 0.9 * seconds(llama("bf16", gpu))


def capacity(weights: str, gpu: str) -> float:
    """Output tokens per second of vLLM with all requests at once, 512 in and 256 out."""
    asked = {"engine": "vllm", "model": "meta-llama/Llama-3.1-8B-Instruct", "weight_dtype": weights, "gpu": gpu}
    load = {"load_kind": "offline-max-throughput", "load_value": "1000", "input_len": "512", "output_len": "256"}
    return float(predict_rows([asked | load])[0]["pred_output_tok_s"])


def test_fp8_has_more_capacity_on_hopper_and_less_on_ampere() -> None:
    assert capacity("fp8", "h100-sxm-80") > 1.1 * capacity("bf16", "h100-sxm-80")
    assert capacity("fp8", "a100-sxm-80") < capacity("bf16", "a100-sxm-80")


def test_a_sliding_window_caps_the_cache_that_is_read() -> None:
    gemma = deployment(CATALOG.model("gemma-3-27b"), CATALOG.gpu("h100-sxm-80"))
    model = StepModel(Cases.of([case_of(gemma)]), default_calibration().coefficients)
    full, windowed = model.kept_token_layers(np.array([32_000.0]), np.array([32_000.0]))
    assert full[0] == pytest.approx(32_000)
    assert windowed[0] == pytest.approx(1024)


def test_a_batch_reaches_the_experts_it_can_and_not_all() -> None:
    qwen = deployment(CATALOG.model("qwen3-30b-a3b"), CATALOG.gpu("h100-sxm-80"))
    model = StepModel(Cases.of([case_of(qwen)]), default_calibration().coefficients)
    assert model.experts_touched(np.array([1.0]))[0] == pytest.approx(8)
    assert model.experts_touched(np.array([16.0]))[0] == pytest.approx(62.5, abs=0.1)  # tests/test_routing.py
    mixtral = StepModel(
        Cases.of([case_of(deployment(CATALOG.model("mixtral-8x7b"), CATALOG.gpu("h100-sxm-80")))]),
        default_calibration().coefficients,
    )
    # 8 * (1 - (6/8)^3) = 4.625
    assert mixtral.experts_touched(np.array([3.0]))[0] == pytest.approx(4.625)
    assert model.experts_touched(np.array([4096.0]))[0] == pytest.approx(128)


def test_tensor_parallelism_helps_a_large_model_and_costs_collectives() -> None:
    model, gpu = CATALOG.model("llama-3.3-70b"), CATALOG.gpu("h100-sxm-80")
    two, eight = (decode_step(deployment(model, gpu, "bf16", tp=tp), 8, 1000) for tp in (2, 8))
    assert (eight.total.value or 0) < (two.total.value or 0)
    assert eight.seconds_by_part["collectives"] > 0


def test_an_unknown_engine_has_no_step_time() -> None:
    with pytest.raises(NoEvidenceError, match="no evidence for the engine"):
        decode_step_seconds(llama(engine="abacus"), 1, 100)


@pytest.mark.parametrize(
    ("label", "weight_class", "bits"),
    [
        ("fp8", "fp8", 8.03),
        ("int4-awq", "int4", 4.16),
        ("int8", "int8", 8.03),
        ("int8-gptq", "int8-wo", 8.15),
        ("gguf-q4_k_m", "gguf", 4.89),
        ("exl2-4.0bpw", "int4", 4.0),
        ("bf16", "16bit", 16.0),
        ("", "unstated", 16.0),
    ],
)
def test_weight_labels(label: str, weight_class: str, bits: float) -> None:
    found = weight_format(label, "llama-3-8b")
    assert (found.weight_class, found.bits) == (weight_class, bits)


@pytest.mark.parametrize(
    ("engine", "version", "date", "expected"),
    [
        ("vllm", "0.3.2", "", "vllm-first"),
        ("vllm", "0.6.6.post1", "2025-01", "vllm-v0"),
        ("vllm", "0.19.0", "", "vllm-v1"),
        ("vllm", "", "2024", "vllm-first"),
        ("tensorrt-llm", "0.14.0", "", "trtllm-cpp"),
        ("tensorrt-llm", "1.0.0rc3", "", "trtllm-pytorch"),
        ("ollama", "", "", "llama.cpp"),
        ("abacus", "", "", ""),
    ],
)
def test_engine_eras(engine: str, version: str, date: str, expected: str) -> None:
    assert engine_class(engine, version, date) == expected


def test_a_decode_step_is_never_faster_than_its_bytes_at_the_data_sheet_bandwidth() -> None:
    # 22.2 billion INT8 weights over two L4 (300 GB/s each) take 37 ms; nine tenths of that is the limit everywhere.
    model = CATALOG.model("mistral-small-4-press-22b")
    for gpu in CATALOG.gpus():
        try:
            step = seconds(deployment(model, gpu, "int8", tp=2, max_context_tokens=4096), 1, 1024)
        except NoEvidenceError:
            continue
        assert step >= 0.89 * model.quantizable_params / 2 / gpu.memory_bytes_per_second
