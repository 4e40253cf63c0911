"""Rows written otherwise are read as what they mean, what is missing is said, what nobody measured gets wide limits."""

from __future__ import annotations

import math

import pytest

from llmsizer.facts.aliases import active_billions_in_name, billions_in_name, generic_model, names
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.rows.labels import format_in_name, gpus_in_name, load_kind
from llmsizer.physics.rows.reading import number
from llmsizer.physics.steps.cases import shape_of
from llmsizer.physics.steps.formats import engine_class, is_weight_format, kv_bytes, weight_format

ROW = {
    "engine": "vllm",
    "engine_version": "0.10.0",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "input_len": "512",
    "output_len": "128",
    "load_kind": "single-stream",
    "weight_dtype": "bf16",
}


def predicted(**cells: str) -> dict[str, str]:
    (found,) = predict_rows([{**ROW, **cells}])
    return found


def width(found: dict[str, str]) -> float:
    return float(found["pred_tpot_ms_high"]) / float(found["pred_tpot_ms_low"])


@pytest.mark.parametrize(
    ("written", "weight_class", "bits"),
    [
        ("4-bit", "int4", 4.16), ("GPTQ-Int4", "int4", 4.16), ("bnb-nf4", "int4", 4.16), ("W4A16", "int4", 4.16),
        ("GPTQ-Int8", "int8-wo", 8.15), ("8-bit", "int8-wo", 8.15), ("w8a8-int8", "int8", 8.03), ("W8A8", "int8", 8.03),
        ("fp8_e4m3", "fp8", 8.03), ("FP8-dynamic", "fp8", 8.03), ("w8a8-fp8", "fp8", 8.03), ("mxfp4", "mxfp4", 4.25),
        ("NVFP4", "fp4", 4.5), ("IQ4_XS", "gguf", 4.46), ("UD-Q4_K_XL", "gguf", 4.95), ("4.65bpw", "int4", 4.65),
        ("6bit", "int8-wo", 6.25), ("1.58bit", "int4", 2.0), ("q0f16", "16bit", 16.0), ("16-bit", "16bit", 16.0),
    ],
)  # fmt: skip
def test_usual_spellings_of_a_weight_format(written: str, weight_class: str, bits: float) -> None:
    found = weight_format(written, "llama-3-8b")
    assert (found.weight_class, found.bits) == (weight_class, bits)
    assert is_weight_format(written)


@pytest.mark.parametrize(
    ("model", "label"),
    [
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", "fp8"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "int4"),
        ("unsloth/Meta-Llama-3.1-8B-Instruct-bnb-4bit", "int4"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int8", "int8-gptq"),
        ("RedHatAI/Llama-3.1-8B-quantized.w8a8", "int8"),
        ("nvidia/DeepSeek-R1-FP4", "nvfp4"),
        ("Meta-Llama-3-8B-Instruct.IQ4_XS.gguf", "gguf-iq4_xs"),
        ("llama3.1:8b-instruct-q4_K_M", "gguf-q4_k_m"),
        ("turboderp/Llama-3-8B-exl2-5.0bpw", "exl2-5.0"),
        ("google/gemma-3-4b-it", ""),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", ""),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", ""),
    ],
)
def test_a_models_name_carries_its_format(model: str, label: str) -> None:
    assert format_in_name(model) == label


def test_an_empty_weight_format_is_read_from_the_name_and_said() -> None:
    named = predicted(model="neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", weight_dtype="")
    assert "weight_dtype read from the model's name: fp8" in named["basis"]
    stated = predicted(model="neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", weight_dtype="fp8")
    assert named["pred_tpot_ms"] == stated["pred_tpot_ms"]


def test_a_stated_weight_format_goes_before_the_name() -> None:
    assert predicted(model="x/Llama-3.1-8B-FP8")["pred_tpot_ms"] == predicted(model="x/Llama-3.1-8B")["pred_tpot_ms"]


def test_ollamas_models_are_four_bit_files_unless_a_row_says_otherwise() -> None:
    found = predicted(engine="ollama", model="llama3.1:8b", weight_dtype="")
    assert "weight_dtype assumed: gguf-q4_k_m" in found["basis"]
    assert float(found["pred_tpot_ms"]) < 0.6 * float(predicted(engine="ollama", weight_dtype="fp16")["pred_tpot_ms"])


def test_what_would_not_fit_at_16_bit_was_run_smaller() -> None:
    # 70.6e9 parameters: 141 GB at 16 bit, 71 GB at 8 bit, on a card of 85.5e9 bytes
    found = predicted(model="meta-llama/Llama-3.3-70B-Instruct", weight_dtype="")
    assert "weight_dtype assumed: fp8, 16 bit would not fit" in found["basis"]
    two = predicted(model="meta-llama/Llama-3.3-70B-Instruct", weight_dtype="", n_gpus="2", tp="2")
    assert "would not fit" not in two["basis"]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("Single Stream", "single-stream"), ("closed-loop", "concurrency"), ("request rate", "request_rate"),
        ("QPS", "request_rate"), ("offline", "offline-max-throughput"), ("static batch", "single-batch-static"),
        ("sometimes", ""),
    ],
)  # fmt: skip
def test_usual_words_for_a_load(written: str, kind: str) -> None:
    assert load_kind(written) == kind


@pytest.mark.parametrize(
    ("written", "count"), [("8xH100", 8), ("4x RTX 4090", 4), ("RTX 3090 x2", 2), ("H100 (8x)", 8), ("RTX 4090", None)]
)
def test_gpus_counted_in_a_name(written: str, count: float | None) -> None:
    assert gpus_in_name(written) == count


def test_a_count_in_the_name_stands_where_n_gpus_is_empty() -> None:
    assert predicted(gpu="8xH100", n_gpus="")["pred_tpot_ms"] == predicted(n_gpus="8")["pred_tpot_ms"]
    assert predicted(gpu="8xH100", n_gpus="1")["pred_tpot_ms"] == predicted()["pred_tpot_ms"]


def test_the_degrees_say_how_many_gpus_there_are_where_nothing_else_does() -> None:
    both = {"tp": "2", "dp": "4", "model": "deepseek-ai/DeepSeek-R1", "weight_dtype": "fp8", "gpu": "h200"}
    assert predicted(**both, n_gpus="")["pred_tpot_ms"] == predicted(**both, n_gpus="8")["pred_tpot_ms"]


@pytest.mark.parametrize(
    ("engine", "known"),
    [
        ("LM Studio", "llama.cpp"), ("llama_cpp", "llama.cpp"), ("llama-bench", "llama.cpp"), ("exllamav3", "exllama"),
        ("text-generation-webui", "exllama"), ("text generation inference", "tgi"), ("NVIDIA NIM", "trtllm-pytorch"),
        ("hf", "transformers"), ("AutoGPTQ", "transformers"), ("ktransformers", "other"), ("vllm-ascend", "vllm-v1"),
        ("DeepSpeed-FastGen", "deepspeed"), ("abacus", ""),
    ],
)  # fmt: skip
def test_usual_names_of_engines(engine: str, known: str) -> None:
    assert engine_class(engine, "", "2026-01") == known


def test_an_engine_nobody_knows_is_read_as_the_usual_one_said_and_wider() -> None:
    strange, known = predicted(engine="abacus", engine_version=""), predicted(engine="vllm", engine_version="")
    assert "no evidence for the engine 'abacus': read as vllm" in strange["basis"]
    assert strange["pred_tpot_ms"] == known["pred_tpot_ms"] and width(strange) > width(known)


@pytest.mark.parametrize("gpu", ["gaudi2", "HL-225", "Intel Gaudi 3", "TPU v5e", "sn40l", "EPYC 9654", "trn1"])
def test_a_device_nobody_measured_gets_its_data_sheet_and_the_widest_interval(gpu: str) -> None:
    found = predicted(gpu=gpu)
    assert found["abstained"] == "" and found["basis"].startswith("datasheet (GPU family unseen); no evidence for")
    assert width(found) > 1.4 * width(predicted(gpu="mi250"))


def test_kv_labels_of_llama_cpp_and_of_vllm() -> None:
    assert kv_bytes("q4_0", "gguf", "llama.cpp") == 4.5 / 8
    assert kv_bytes("fp8_e5m2", "16bit", "vllm-v1") == kv_bytes("8-bit", "16bit", "vllm-v1") == 1.0


def test_numbers_with_thousands_and_units() -> None:
    assert number({"input_len": "1,024"}, "input_len") == 1024
    assert number({"n_params_b": "8B"}, "n_params_b") == 8
    assert number({"input_len": "1,5"}, "input_len") is None


def test_an_unknown_mixture_reads_only_what_a_token_passes() -> None:
    assert active_billions_in_name("someone/New-120B-A12B-FP8") == 12
    assert active_billions_in_name("Qwen2.5-7B-Instruct") is None
    shape = shape_of(generic_model("New-120B-A12B", 120.0))
    active = shape.dense_params + shape.experts_per_token * shape.expert_params * shape.moe_layers + shape.head_params
    assert active / 1e9 == pytest.approx(12, rel=0.15)
    assert (shape.layer_params + shape.stored_embedding_params) / 1e9 == pytest.approx(120, rel=0.05)
    dense, mixture = (
        float(predicted(model=f"someone/New-{size}", n_params_b="60", gpu="b300")["pred_tpot_ms"])
        for size in ("60B", "60B-A6B")
    )
    assert mixture < 0.4 * dense


def test_experts_counted_in_a_name_are_no_size() -> None:
    assert billions_in_name("Llama-4-Maverick-17B-128E-Instruct") is None
    assert names().model("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8").architecture == "llama-4-maverick"


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80"), ("8xH100", "h100-sxm-80"), ("NVIDIA A10G", "a10g"),
        ("MacBook Pro M3 Max", "m3-max"), ("AMD Instinct MI300X VF", "mi300x"), ("Ponte Vecchio", "max-1550"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "rtx-4090-laptop"), ("Jetson AGX Orin", "jetson-agx-orin-64"),
        ("Intel Xeon Platinum 8480+", "xeon-8480"), ("RTX PRO 6000 Max-Q", "rtx-pro-6000-max-q"),
    ],
)  # fmt: skip
def test_names_that_drivers_and_people_print(name: str, gpu: str) -> None:
    assert names().gpu(name).id == gpu


def test_nothing_is_slower_than_light_on_any_listed_device() -> None:
    rows = [{**ROW, "gpu": gpu, "weight_dtype": "int4", "n_gpus": "1"} for gpu in names().catalog.gpu_names]
    for row, found in zip(rows, predict_rows(rows), strict=True):
        if not found["abstained"]:
            device = names().gpu(row["gpu"])
            least = 0.9 * 8.0e9 * 0.5 / device.memory_bytes_per_second
            assert math.isfinite(float(found["pred_tpot_ms"])) and float(found["pred_tpot_ms"]) / 1e3 > least


@pytest.mark.parametrize(
    ("name", "total", "active"),
    [("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", 120, 12), ("Qwen/Qwen3-235B-A22B-FP8", 235, 22)],
)
def test_a_listed_mixture_reads_what_its_name_says_a_token_passes(name: str, total: float, active: float) -> None:
    shape = shape_of(names().model(name).spec)
    assert (shape.layer_params + shape.stored_embedding_params) / 1e9 == pytest.approx(total, rel=0.03)
    passed = shape.dense_params + shape.experts_per_token * shape.expert_params * shape.moe_layers + shape.head_params
    assert passed / 1e9 == pytest.approx(active, rel=0.05)


def test_an_offline_run_of_unstated_length_says_so() -> None:
    stated = predicted(load_kind="offline", load_value="1000")
    assert "requests not stated" not in stated["basis"]
    assert "requests not stated" in predicted(load_kind="offline")["basis"]
