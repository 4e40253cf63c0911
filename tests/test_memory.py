"""The account of one GPU: by hand, and by laws that hold for every model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import InputError, LlmSizerError, UnknownNameError
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.deployment import Deployment, Parallelism, deployment
from llmsizer.facts.precision import PRECISIONS
from llmsizer.physics.answers.memory import answer_memory
from llmsizer.physics.memory.account import estimate_memory, replica_weight_bytes
from llmsizer.physics.memory.fit import changes_to_fit, smallest_change_to_fit
from llmsizer.physics.memory.kv_cache import CacheGroup, KvLayout
from llmsizer.units import GIB

CATALOG = load_catalog()
H100 = CATALOG.gpu("h100")
MODELS = st.sampled_from(CATALOG.model_names)
GPUS = st.sampled_from([gpu.id for gpu in CATALOG.gpus() if gpu.memory_bytes])
ENGINES = st.sampled_from(CATALOG.engine_names)
WEIGHTS = st.sampled_from(["bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4", "gguf-q4_k_m"])
PRECISIONS_BY_SIZE = ("fp32", "bf16", "int8", "int4")


def made(model: str, gpu: str = "h100", weights: str = "bf16", **options: object) -> Deployment:
    return deployment(CATALOG.model(model), CATALOG.gpu(gpu), weights, **options)


def test_22b_at_16_bit_is_44_and_a_half_gigabytes():
    assert replica_weight_bytes(made("mistral-small-4-press-22b")) / 1e9 == pytest.approx(44.5, abs=0.05)


def test_the_press_forty_to_fifty_gigabytes_hold_for_weights_and_short_contexts_only():
    # 44.5 GB of weights and 229,376 bytes a token: 50 GB are passed at 24,000 tokens
    model = CATALOG.model("mistral-small-4-press-22b")
    assert model.kv_bytes_per_token() == 2 * 56 * 8 * 128 * 2
    room = (50e9 - replica_weight_bytes(made(model.name))) / model.kv_bytes_per_token()
    assert 23_000 < room < 25_000


def test_int4_weights_by_hand():
    # Llama-3.1-8B: matrices of the layers at 4 bits with a 16-bit scale and a 4-bit zero point for 128; the rest at 16
    model = CATALOG.model("llama-3.1-8b")
    matrices = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    rest = model.total_params - matrices
    expected = matrices * (4 + 20 / 128) / 8 + rest * 2
    assert replica_weight_bytes(made("llama-3.1-8b", weights="int4")) == pytest.approx(expected, rel=1e-9)


def test_mxfp4_quantizes_the_experts_only():
    # gpt-oss-20b as published: 12.8 GiB of weights on disk, attention and embeddings at 16 bit
    assert replica_weight_bytes(made("gpt-oss-20b", weights="mxfp4")) / 1e9 == pytest.approx(13.76, abs=0.05)


def test_kv_capacity_by_hand():
    # Llama-3.1-8B: 131,072 bytes a token, blocks of 16 tokens
    budget = estimate_memory(made("llama-3.1-8b"))
    assert budget.kv_bytes_per_token == 131_072
    assert budget.kv_capacity_tokens == int(budget.kv_cache_bytes // (16 * 131_072)) * 16


def test_layout_of_a_hybrid_model_by_hand():
    # Gemma-3-27B: 10 full and 52 windowed layers → groups of 10: 1 full, 6 windowed
    layout = estimate_memory(made("gemma-3-27b")).layout
    assert [(g.window_tokens, g.count) for g in layout.groups] == [(1024, 6), (None, 1)]
    assert layout.block_bytes == 10 * 16 * (2 * 16 * 128) * 2
    # a decoding request of 8,192 tokens: 512 blocks of the full group, 64 + 1 of each windowed one
    assert layout.blocks_per_request(8192) == 512 + 6 * 65
    # while its prompt is read in chunks of 8,192 the windowed groups hold all of it, and one block more
    assert layout.blocks_per_request(8192, reading=True) == 512 + 6 * 513


def test_sliding_windows_are_not_charged_in_full():
    budget = estimate_memory(made("gemma-3-27b", max_context_tokens=32_768))
    full = budget.kv_cache_bytes / (62 * 2 * 16 * 128 * 2 * 32_768)
    assert budget.max_concurrency(32_768) > 3 * math.floor(full)


def test_latent_cache_is_copied_to_every_tensor_parallel_gpu():
    one, eight = (estimate_memory(made("deepseek-v3", "b200", "fp8", tp=tp)).kv_bytes_per_token for tp in (1, 8))
    assert one == eight == 61 * 576 * 2


def test_key_value_heads_are_copied_once_there_are_fewer_than_gpus():
    # Qwen3-30B-A3B has 4 KV heads: 8 GPUs keep one each
    four, eight = (estimate_memory(made("qwen3-30b-a3b", tp=tp)).kv_bytes_per_token for tp in (4, 8))
    assert four == eight == 2 * 48 * 128 * 2


def test_fp8_cache_holds_twice_the_tokens():
    half = estimate_memory(made("llama-3.1-8b", kv_format="fp8"))
    full = estimate_memory(made("llama-3.1-8b"))
    assert half.kv_capacity_tokens / full.kv_capacity_tokens == pytest.approx(2, rel=1e-4)


def test_rules_of_the_engines_differ():
    newer = estimate_memory(made("llama-3.1-8b", engine_version="0.22.0"))
    older = estimate_memory(made("llama-3.1-8b", engine_version="0.19.0"))
    usable = H100.allocatable_bytes or 0.0
    assert older.budget_bytes == pytest.approx(0.90 * usable)
    assert newer.budget_bytes == pytest.approx(0.92 * usable)
    inside = older.weight_bytes + older.activation_bytes + older.engine_bytes
    assert older.kv_cache_bytes == pytest.approx(older.budget_bytes - inside)
    trt = estimate_memory(made("llama-3.1-8b", engine="tensorrt-llm"))
    taken = trt.weight_bytes + trt.activation_bytes + trt.engine_bytes + trt.graph_bytes + trt.driver_bytes
    assert trt.kv_cache_bytes == pytest.approx(0.9 * (trt.gpu_bytes - taken))
    sglang = estimate_memory(made("llama-3.1-8b", engine="sglang"))
    assert 0.80 < (sglang.kv_cache_bytes + sglang.weight_bytes) / sglang.gpu_bytes < 0.88


def test_pipeline_stages_hold_their_ends():
    # 2 stages of 16 layers; the last one has the output matrix and the sampler, and fills first
    budget = estimate_memory(made("llama-3.1-8b", pp=2))
    assert budget.stage.has_head and budget.stage.layers == 16
    assert budget.kv_bytes_per_token == 131_072 / 2


def test_it_says_why_it_does_not_fit():
    budget = estimate_memory(made("llama-3.3-70b"))
    assert not budget.fits
    assert "exceed" in budget.reason
    assert budget.kv_cache_bytes == 0 == budget.max_context_tokens
    long = estimate_memory(made("llama-3.1-8b", "l4", max_context_tokens=131_072))
    assert not long.fits and "not 131,072" in long.reason
    beyond = estimate_memory(made("llama-3.1-8b", max_context_tokens=200_000))
    assert not beyond.fits and "beyond the model's 131,072" in beyond.reason


def test_the_smallest_change_that_makes_it_fit():
    change = smallest_change_to_fit(made("llama-3.1-8b", "l4", max_context_tokens=40_000))
    assert change is not None and change.text == "keep the KV cache in FP8"
    change = smallest_change_to_fit(made("mistral-small-2409", "l40s"))
    assert change is not None and change.text == "quantize the weights to FP8"
    change = smallest_change_to_fit(made("llama-3.3-70b", "a100-80gb"))
    assert change is not None and change.text == "quantize the weights to INT8"  # Ampere has no FP8 units
    every = [c.text for c in changes_to_fit(made("llama-3.3-70b"), CATALOG.gpus())]
    assert every[0] == "quantize the weights to INT4" and "use 2 GPUs (tp 2)" in every
    assert all(c.budget.fits for c in changes_to_fit(made("llama-3.3-70b"), CATALOG.gpus()))


def test_what_fits_needs_no_change():
    assert smallest_change_to_fit(made("llama-3.1-8b")) is None


def test_a_bad_question_gets_one_line():
    with pytest.raises(InputError, match="32 attention heads do not divide by 3"):
        estimate_memory(made("llama-3.1-8b", tp=3))
    with pytest.raises(InputError, match="no memory size"):
        estimate_memory(made("llama-3.1-8b", "epyc-9654"))
    with pytest.raises(UnknownNameError, match="vllm"):
        estimate_memory(made("llama-3.1-8b", engine="vlm"))
    with pytest.raises(InputError, match="has no experts"):
        estimate_memory(made("llama-3.1-8b", tp=2, ep=2))


def test_every_part_says_how_it_is_known():
    budget = estimate_memory(made("mistral-small-4-press-22b", engine_version="0.19"))
    assert set(budget.basis) == set(budget.parts)
    assert budget.basis["unquantized weights"] == "assumed"  # the press's reading
    assert budget.basis["activations"] == "calibrated"
    assert estimate_memory(made("llama-3.1-8b")).basis["quantized weights"] == "published"


@settings(max_examples=150, deadline=None)
@given(model=MODELS, gpu=GPUS, engine=ENGINES, weights=WEIGHTS, tp=st.sampled_from([1, 2, 4, 8]), pp=st.integers(1, 3))
def test_parts_sum_to_the_whole(model: str, gpu: str, engine: str, weights: str, tp: int, pp: int):
    try:
        budget = estimate_memory(made(model, gpu, weights, engine=engine, tp=tp, pp=pp))
    except LlmSizerError:
        return  # the shape forbids that spread
    assert sum(budget.parts.values()) == pytest.approx(budget.gpu_bytes + budget.overflow_bytes, rel=1e-9)
    assert all(part >= 0 for part in budget.parts.values())
    assert budget.overflow_bytes == 0 or budget.unused_bytes == 0
    assert not (budget.fits and budget.overflow_bytes > 0)
    assert budget.fits == (budget.reason == "")
    if budget.fits:
        assert budget.max_context_tokens >= budget.deployment.max_context_tokens
        assert budget.max_concurrency() >= 1


@settings(max_examples=100, deadline=None)
@given(model=MODELS, weights=WEIGHTS, engine=ENGINES)
def test_more_tensor_parallelism_never_means_more_weights_per_gpu(model: str, weights: str, engine: str):
    sizes = []
    for tp in (1, 2, 4, 8):
        try:
            sizes.append(estimate_memory(made(model, "b200", weights, engine=engine, tp=tp)).weight_bytes)
        except LlmSizerError:
            continue
    assert sizes == sorted(sizes, reverse=True)


@settings(max_examples=100, deadline=None)
@given(model=MODELS, short=st.integers(1, 200_000), more=st.integers(0, 200_000), engine=ENGINES)
def test_a_longer_context_never_takes_less_cache(model: str, short: int, more: int, engine: str):
    layout = estimate_memory(made(model, "b200", "int4", engine=engine)).layout
    for reading in (True, False):
        assert layout.request_bytes(short, reading=reading) <= layout.request_bytes(short + more, reading=reading)
    assert layout.blocks_per_request(short) <= layout.blocks_per_request(short, reading=True)


@settings(max_examples=60, deadline=None)
@given(model=MODELS)
def test_a_smaller_precision_never_takes_more_bytes(model: str):
    sizes = [replica_weight_bytes(made(model, weights=name)) for name in PRECISIONS_BY_SIZE]
    assert sizes == sorted(sizes, reverse=True)
    caches = [CATALOG.model(model).kv_bytes_per_token(size) for size in (4.0, 2.0, 1.0)]
    assert caches == sorted(caches, reverse=True)


@settings(max_examples=60, deadline=None)
@given(model=MODELS, tp=st.sampled_from([1, 2, 4, 8]))
def test_gpus_together_hold_at_least_one_copy(model: str, tp: int):
    try:
        budget = estimate_memory(made(model, "b200", tp=tp))
    except LlmSizerError:
        return
    assert budget.weight_bytes * tp >= replica_weight_bytes(budget.deployment) * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(pool=st.floats(0, 1e12), context=st.integers(1, 10**6), block=st.sampled_from([1, 16, 32, 128]))
def test_what_is_admitted_fits_and_the_longest_context_is_the_longest(pool: float, context: int, block: int):
    groups = (CacheGroup(window_tokens=None), CacheGroup(window_tokens=1024, count=5))
    layout = KvLayout(block_tokens=block, block_bytes=65_536.0 * block, groups=groups, batched_tokens=2048)
    assert layout.concurrency(pool, context) * layout.request_bytes(context) <= pool
    longest = layout.longest_context(pool, context)
    assert longest == 0 or layout.admits(pool, longest)
    assert longest == context or not layout.admits(pool, longest + 1)


def test_memory_is_computed_in_microseconds():
    # a planner asks tens of thousands of times; this guards against reading files for every question
    one = made("llama-3.1-8b")
    estimate_memory(one)
    for tensor in (1, 2, 4, 8) * 50:
        estimate_memory(replace(one, parallelism=Parallelism(tensor=tensor)))


def test_precisions_are_all_placed():
    for name in PRECISIONS:
        assert estimate_memory(made("llama-3.1-8b", "b200", name)).weight_bytes > 0


def test_gib_is_binary():
    assert GIB == 1024**3


def test_settings_of_the_engine_come_before_anything_that_costs():
    # 64.6 + 4.1 GiB of weights: 92 % of 79.2 GiB less the activation peak of 1,024 sequences is not enough
    change = smallest_change_to_fit(made("gpt-oss-120b", "h100", "mxfp4", max_context_tokens=131_072))
    assert change is not None
    assert change.text == "let vllm take 95% of the memory and run at most 64 sequences and 2,048 tokens a step"
    assert change.budget.fits
    assert change.deployment.memory_fraction == 0.95


def test_what_would_hold_so_many_at_once():
    asked = made("mistral-small-2409", "h100", max_context_tokens=32_768)
    assert estimate_memory(asked).fits
    changes = list(changes_to_fit(asked, CATALOG.gpus(), requests=8))
    assert changes[0].text == "keep the KV cache in FP8"
    assert all(change.budget.max_concurrency() >= 8 for change in changes)
    shorter = next(change for change in changes if change.text.startswith("limit the context"))
    longer = replace(asked, max_context_tokens=shorter.deployment.max_context_tokens + 16)
    assert estimate_memory(longer).max_concurrency() == 7


def test_the_longest_context_of_so_many_is_the_longest():
    budget = estimate_memory(made("gpt-oss-20b", "h100", "mxfp4"))
    longest = budget.longest_context_of(20)
    assert budget.max_concurrency(longest) >= 20 > budget.max_concurrency(longest + 64)
    assert budget.longest_context_of(10**9) == 0


@pytest.mark.parametrize(
    ("version", "note"),
    [
        (None, ""), ("0.22.0", ""), ("0.22", ""), ("0.21.3", ""), ("v0.19.1rc2", ""),
        ("9.9", "vllm 9.9 is newer than any described: its memory is counted as that of 0.22.0"),
        ("0.1", "vllm 0.1 is older than any described: its memory is counted as that of 0.2.0"),
        ("latest", "'vllm latest' names no version: read as 0.22.0, the newest described"),
    ],
)  # fmt: skip
def test_a_version_that_is_not_described_says_which_one_stands_in(version: str | None, note: str) -> None:
    assert CATALOG.engine_note("vllm", version) == note
    document = answer_memory(made("llama-3.1-8b", engine_version=version)).to_dict()
    assert document.get("engine_note", "") == note and document["engine_version"].startswith("0.")
