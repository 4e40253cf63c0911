"""Tables are predicted row by row; what cannot be known is not guessed."""

from __future__ import annotations

import pytest

from llmsizer.facts.aliases import billions_in_name, names
from llmsizer.physics.answers.predict import OUTPUT_COLUMNS, predict_rows
from llmsizer.physics.answers.validate import validate

FULL = {
    "row_id": "1",
    "engine": "vllm",
    "engine_version": "0.19.0",
    "date": "2026-04",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "n_params_b": "8.03",
    "weight_dtype": "bf16",
    "kv_dtype": "",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "tp": "1",
    "pp": "1",
    "ep": "1",
    "dp": "",
    "input_len": "1024",
    "output_len": "256",
    "load_kind": "concurrency",
    "load_value": "16",
    "batch_size": "",
}


def row(**cells: str) -> dict[str, str]:
    return {**FULL, **cells}


def predicted(**cells: str) -> dict[str, str]:
    return predict_rows([row(**cells)])[0]


def test_every_output_column_is_there_and_others_pass_through() -> None:
    found = predict_rows([row(my_own="kept")])[0]
    assert set(OUTPUT_COLUMNS) <= set(found)
    assert found["my_own"] == "kept" and found["row_id"] == "1"
    assert found["abstained"] == ""


def test_measured_columns_are_never_used() -> None:
    assert predicted(tpot_ms_mean="1", output_tok_s="999999") | {"tpot_ms_mean": "", "output_tok_s": ""} == predicted(
        tpot_ms_mean="", output_tok_s=""
    )


def test_limits_enclose_the_value() -> None:
    found = predicted()
    for name in ("output_tok_s", "ttft_ms", "tpot_ms", "e2e_ms", "vram_gb"):
        low, value, high = (float(found[f"pred_{name}{end}"]) for end in ("_low", "", "_high"))
        assert 0 < low < value < high


@pytest.mark.parametrize("column", [c for c in FULL if c not in {"engine", "model", "gpu"}])
def test_any_other_column_may_be_empty(column: str) -> None:
    assert predicted(**{column: ""})["abstained"] == ""


@pytest.mark.parametrize(
    "load", ["single-stream", "single-batch-static", "concurrency", "request_rate", "offline-max-throughput"]
)
def test_each_kind_of_load_is_predicted(load: str) -> None:
    found = predicted(load_kind=load, load_value="8", batch_size="8")
    assert float(found["pred_output_tok_s"]) > 0 and float(found["pred_ttft_ms"]) > 0


def test_an_infinite_rate_is_a_full_house() -> None:
    slow, full = (
        predicted(load_kind="request_rate", load_value="0.5"),
        predicted(load_kind="request_rate", load_value="inf"),
    )
    assert float(full["pred_output_tok_s"]) > 10 * float(slow["pred_output_tok_s"])
    assert "saturated" in full["basis"] and "saturated" not in slow["basis"]


def test_an_open_loop_delivers_what_comes_in() -> None:
    found = predicted(load_kind="request_rate", load_value="2")
    assert float(found["pred_output_tok_s"]) == pytest.approx(2 * 256, rel=0.5)


def test_an_unknown_gpu_abstains_with_the_nearest_names() -> None:
    found = predicted(gpu="h1000-sxm")
    assert found["pred_tpot_ms"] == "" and "did you mean" in found["abstained"]


def test_an_unknown_model_uses_its_size_with_a_wider_interval() -> None:
    def width(cells: dict[str, str]) -> float:
        return float(cells["pred_tpot_ms_high"]) / float(cells["pred_tpot_ms_low"])

    strange = predicted(model="someone/entirely-new", n_params_b="8")
    assert strange["abstained"] == "" and "assumed from its size" in strange["basis"]
    assert width(strange) > width(predicted())
    assert "no model named" in predicted(model="someone/entirely-new", n_params_b="")["abstained"]


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama-3-70b"),
        ("neuralmagic/Meta-Llama-3.1-8B-Instruct-FP8", "llama-3-8b"),
        ("RedHatAI/DeepSeek-R1-Distill-Qwen-32B-quantized.w4a16", "qwen2.5-32b"),
        ("TheBloke/Llama-2-70B-Chat-AWQ", "llama-2-70b"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-v3"),
        ("deepseek-r1:7b", "qwen2.5-7b"),
        ("Qwen3-8B-Q4_K_M.gguf", "qwen3-8b"),
        ("facebook/opt-13b", "opt-13b"),
        ("01-ai/Yi-1.5-34B-Chat", "yi-34b"),
        ("microsoft/Phi-3-medium-4k-instruct", "phi-3-medium"),
    ],
)
def test_derivatives_resolve_to_their_architecture(name: str, architecture: str) -> None:
    assert names().model(name).architecture == architecture


@pytest.mark.parametrize(
    ("name", "gpu"),
    [
        ("h200-sxm-141gb", "h200-sxm-141"),
        ("H100 80GB", "h100-sxm-80"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("rtx-pro-6000-blackwell-server-96gb", "rtx-pro-6000-server"),
        ("mi300x-192gb", "mi300x"),
        ("Apple M2 Max", "m2-max"),
        ("v100-32gb", "v100-sxm2-32"),
        ("8x-a100-40gb", "a100-sxm-40"),
        ("Tesla T4", "t4"),
    ],
)
def test_usual_gpu_names_resolve(name: str, gpu: str) -> None:
    assert names().gpu(name).id == gpu


def test_every_accelerator_of_the_catalogue_resolves_by_id_and_name() -> None:
    for gpu in names().catalog.gpus():
        assert names().gpu(gpu.id).id == gpu.id
        assert names().gpu(gpu.name).id == gpu.id


@pytest.mark.parametrize(
    ("name", "billions"), [("Foo-13B-Chat", 13.0), ("bar-8x7b", 56.0), ("baz-350m", 0.35), ("nameless", None)]
)
def test_sizes_in_names(name: str, billions: float | None) -> None:
    assert billions_in_name(name) == billions


def test_a_table_is_answered_row_by_row_whatever_stands_beside_it() -> None:
    table = [row(load_value=str(1 + i % 300), input_len=str(64 + i % 4000)) for i in range(40)]
    assert [predict_rows([one])[0] for one in table] == predict_rows(table)


def test_validation_compares_counts_and_reports() -> None:
    report = validate(
        [
            row(tpot_ms_mean="9", ttft_ms_mean="60", output_tok_s="1500", split_group="a"),
            row(gpu="nothing-like-it", tpot_ms_mean="9", split_group="b"),
        ]
    )
    assert (report.rows, report.abstained) == (2, 1)
    assert {line.label[0] for line in report.by_metric} >= {"TPOT under load"}
    assert "abstained on 1 (50.0%)" in report.text()


def test_what_was_assumed_for_an_empty_cell_stands_in_the_basis() -> None:
    assert "load_kind assumed: concurrency" in predicted(load_kind="")["basis"]
    assert "load_value assumed: 1" in predicted(load_value="", batch_size="")["basis"]
    assert "load_value assumed: 1" in predicted(load_kind="request_rate", load_value="")["basis"]
    assert "load_value" not in predicted(load_value="", batch_size="8")["basis"]
    assert "assumed" not in predicted()["basis"]


def test_a_weight_format_nobody_knows_is_read_as_16_bit_and_said() -> None:
    assert "weight_dtype 'bananas' not understood: 16 bit assumed" in predicted(weight_dtype="bananas")["basis"]
    assert predicted(weight_dtype="bananas")["pred_tpot_ms"] == predicted(weight_dtype="")["pred_tpot_ms"]
    for known in ("", "fp16", "bfloat16", "w4a16", "gguf-q4_k_m", "exl2-4.0bpw", "int8-gptq", "mxfp4"):
        assert "not understood" not in predicted(weight_dtype=known)["basis"]


def test_weights_far_beyond_the_memory_abstain_except_where_the_host_holds_them() -> None:
    large = {"model": "meta-llama/Llama-3.1-405B", "n_params_b": "", "gpu": "rtx-4090"}
    assert predicted(**large)["abstained"].startswith("does not fit: 8")
    assert predicted(**large, engine="llama.cpp", weight_dtype="gguf-q4_k_m")["pred_tpot_ms"]


def test_a_row_without_gpu_or_model_says_so_in_words() -> None:
    assert predicted(gpu="")["abstained"] == "the row names no GPU"
    assert predicted(model="", n_params_b="")["abstained"] == "the row names no model and no n_params_b"
    assert predicted(model="nobody/thing", n_params_b="")["abstained"].endswith("n_params_b would do")
    assert "h100-sxm-80" in predicted(gpu="h101")["abstained"]
