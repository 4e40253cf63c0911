"""Laws that hold for every model on every GPU, whatever was fitted: sampled over the whole catalogue."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.answers.step_times import decode_seconds_grid, prefill_seconds
from llmsizer.physics.memory.account import checkpoint_bytes, estimate_memory

CATALOG = load_catalog()
BATCHES, CONTEXTS = (1.0, 2.0, 8.0, 17.0, 64.0, 256.0), (1.0, 128.0, 1024.0, 8192.0)
PROMPTS = (1.0, 16.0, 128.0, 512.0, 2048.0, 8192.0, 32_768.0)
ENGINES = ("vllm", "sglang", "tensorrt-llm", "llama.cpp")
FORMATS = ("bf16", "fp8", "int8", "int4", "int4-awq", "nvfp4", "mxfp4")


def sampled(seed: int, count: int) -> list[Deployment]:
    """Deployments that evidence supports, drawn from all models, GPUs, formats, degrees and engines."""
    rng, found = random.Random(seed), []
    while len(found) < count:
        model, gpu = CATALOG.model(rng.choice(CATALOG.model_names)), CATALOG.gpu(rng.choice(CATALOG.gpu_names))
        weights, tp, engine = rng.choice(FORMATS), rng.choice((1, 2, 4, 8)), rng.choice(ENGINES)
        try:
            one = deployment(model, gpu, weights, tp=tp, engine=engine)
            estimate_memory(one)
            decode_seconds_grid(one, (1.0,), (1.0,))
        except LlmSizerError:
            continue
        found.append(one)
    return found


SAMPLE = sampled(0, 40)


def decode(one: Deployment) -> np.ndarray:
    return np.array(decode_seconds_grid(one, BATCHES, CONTEXTS))


@pytest.mark.parametrize("one", SAMPLE, ids=lambda one: one.label)
def test_more_requests_and_more_context_are_never_faster_and_a_longer_prompt_never_sooner(one: Deployment) -> None:
    seconds = decode(one)
    assert np.isfinite(seconds).all() and (seconds > 0).all()
    assert (np.diff(seconds, axis=0) >= -1e-12).all() and (np.diff(seconds, axis=1) >= -1e-12).all()
    prompts = [prefill_seconds(one, prompt).value or 0 for prompt in PROMPTS]
    assert all(longer >= shorter * (1 - 1e-9) for shorter, longer in pairwise(prompts))


@pytest.mark.parametrize("one", SAMPLE[:20], ids=lambda one: one.label)
def test_a_gpu_with_twice_the_bandwidth_or_arithmetic_is_never_slower(one: Deployment) -> None:
    gpu = one.gpu
    assert gpu.memory_bytes_per_second
    wide = gpu.model_copy(update={"memory_bytes_per_second": 2 * gpu.memory_bytes_per_second})
    rates = {name: 2 * rate for name, rate in gpu.flops_per_second.items()}
    strong = gpu.model_copy(update={"flops_per_second": rates})
    for better in (wide, strong):
        other = replace(one, gpu=better)
        assert (decode(other) <= decode(one) * (1 + 1e-9)).all()
        for prompt in PROMPTS[2:]:
            assert (prefill_seconds(other, prompt).value or 0) <= (prefill_seconds(one, prompt).value or 0) * (1 + 1e-9)


@pytest.mark.parametrize("name", CATALOG.model_names)
def test_a_smaller_format_is_fewer_bytes_for_every_model(name: str) -> None:
    from llmsizer.facts.precision import get_precision

    model = CATALOG.model(name)
    wide, eight, four = (checkpoint_bytes(model, get_precision(weights)) for weights in ("bf16", "fp8", "int4"))
    assert wide > eight > four > wide / 8


@pytest.mark.parametrize("one", SAMPLE[:20], ids=lambda one: one.label)
def test_the_parts_of_every_account_sum_to_the_gpu_and_a_wider_cache_holds_fewer_tokens(one: Deployment) -> None:
    budget = estimate_memory(one)
    assert sum(budget.parts.values()) == pytest.approx(budget.gpu_bytes + budget.overflow_bytes)
    narrow = estimate_memory(replace(one, kv_format="fp8"))
    assert narrow.kv_capacity_tokens >= budget.kv_capacity_tokens


@pytest.mark.parametrize("gpu", ["h100-sxm-80", "a100-sxm-80", "l4", "rtx-4090", "mi300x", "b200-sxm-180"])
def test_more_users_of_a_table_never_wait_less(gpu: str) -> None:
    cells = {"engine": "vllm", "model": "meta-llama/Llama-3.1-8B", "gpu": gpu, "input_len": "512", "output_len": "128"}
    rows = [{**cells, "load_kind": "concurrency", "load_value": str(users)} for users in (1, 2, 8, 32, 128, 512)]
    found = predict_rows(rows)
    for metric in ("pred_ttft_ms", "pred_tpot_ms", "pred_e2e_ms"):
        values = [float(row[metric]) for row in found]
        assert all(more >= fewer * 0.999 for fewer, more in pairwise(values)), (metric, values)
    rates = [float(row["pred_output_tok_s"]) for row in found]
    assert all(more >= fewer * 0.98 for fewer, more in pairwise(rates)), rates


@pytest.mark.parametrize("gpu", ["h100-sxm-80", "a100-sxm-80", "rtx-4090", "h200"])
@pytest.mark.parametrize("users", [1, 8, 32, 128])
def test_users_throughput_and_latency_obey_littles_law(gpu: str, users: int) -> None:
    cells = {"engine": "vllm", "engine_version": "0.19.0", "model": "meta-llama/Llama-3.1-8B", "gpu": gpu}
    lengths = {"input_len": "256", "output_len": "512", "load_kind": "concurrency", "load_value": str(users)}
    (row,) = predict_rows([cells | lengths])
    if "saturated" in row["basis"]:
        return  # those who wait have TTFT of their own
    by_law = users * 512 / (float(row["pred_e2e_ms"]) / 1e3)
    assert float(row["pred_output_tok_s"]) == pytest.approx(by_law, rel=0.1)
    assert float(row["pred_output_tok_s_low"]) < float(row["pred_output_tok_s"]) < float(row["pred_output_tok_s_high"])


@pytest.mark.parametrize("rate", ["0.1", "1", "4"])
def test_an_open_loop_below_saturation_delivers_exactly_what_comes(rate: str) -> None:
    cells = {"engine": "vllm", "model": "meta-llama/Llama-3.1-8B", "gpu": "h100", "input_len": "512"}
    (row,) = predict_rows([cells | {"output_len": "256", "load_kind": "request_rate", "load_value": rate}])
    assert float(row["pred_output_tok_s"]) == pytest.approx(256 * float(rate), rel=1e-4)
