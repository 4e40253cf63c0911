"""Tables of other people: their columns and cells are read as what they mean, and what could mean two things is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsizer.cli import main
from llmsizer.facts.aliases import names
from llmsizer.physics.answers.predict import OUTPUT_COLUMNS, predict_rows
from llmsizer.physics.answers.validate import validate
from llmsizer.physics.rows.columns import LOADS, MEASURED, SYNONYMS, TWO_MEANINGS, header_of, plain_column
from llmsizer.physics.rows.reading import INPUT_COLUMNS, number, read_row

OURS = {
    "model": "meta-llama/Llama-3.1-70B-Instruct",
    "gpu": "H100",
    "n_gpus": "4",
    "tp": "4",
    "engine": "vllm",
    "engine_version": "0.11.0",
    "weight_dtype": "fp8",
    "input_len": "1024",
    "output_len": "256",
    "load_kind": "concurrency",
    "load_value": "32",
}
THEIRS = {
    "Model Name": "meta-llama/Llama-3.1-70B-Instruct",
    "Accelerator": "H100",
    "num_gpus": "4",
    "tensor_parallel_size": "TP4",
    "Framework": "vllm",
    "framework_version": "0.11.0",
    "quantization": "fp8",
    "dtype": "bfloat16",
    "ISL": "1K",
    "OSL": "256 tokens",
    "max_concurrency": "32",
}


def figures(row: dict[str, str]) -> list[str]:
    (found,) = predict_rows([row])
    assert found["abstained"] == ""
    return [found[key] for key in OUTPUT_COLUMNS if key.startswith("pred_")]


def test_a_table_with_other_peoples_columns_is_predicted_as_ours_and_copied_as_it_was() -> None:
    assert figures(THEIRS) == figures(OURS)
    (found,) = predict_rows([THEIRS])
    assert list(found) == [*THEIRS, *OUTPUT_COLUMNS]
    assert {key: found[key] for key in THEIRS} == THEIRS


def test_what_is_called_as_here_goes_before_what_means_the_same() -> None:
    assert header_of([*OURS, "isl", "quantization", "max_concurrency"]).read_as == {}
    assert figures({**OURS, "isl": "99999", "max_concurrency": "1"}) == figures(OURS)


def test_a_format_that_says_nothing_leaves_it_to_the_next_column() -> None:
    plain = {key: value for key, value in OURS.items() if key != "weight_dtype"}
    for nothing in ("", "None", "nan", "-"):
        assert figures({**plain, "quantization": nothing, "dtype": "fp8"}) == figures(OURS)
    assert figures({**plain, "quantization": "none"}) == figures({**OURS, "weight_dtype": "none"})


def test_of_a_rate_and_a_concurrency_the_concurrency_says_what_runs() -> None:
    bare = {key: value for key, value in OURS.items() if not key.startswith("load")}
    assert figures({**bare, "request_rate": "inf", "max_concurrency": "32"}) == figures(OURS)
    rate = {**OURS, "load_kind": "request_rate", "load_value": "2"}
    assert figures({**bare, "request_rate": "2 req/s", "max_concurrency": ""}) == figures(rate)


def test_what_could_be_asked_for_or_reached_is_named_and_not_read() -> None:
    header = header_of(["model", "gpu", "rps", "throughput"])
    assert set(header.unread) == {"rps", "throughput"} and header.read_as == {}
    assert header_of(["model", "gpu", "load_value", "rps", "output_tok_s", "tps"]).unread == {}


def test_no_name_means_two_columns() -> None:
    listed = [name for names_ in (*SYNONYMS.values(), *LOADS.values()) for name in names_]
    listed += [name for pairs in MEASURED.values() for name, _ in pairs] + list(TWO_MEANINGS)
    assert len(listed) == len(set(listed))
    assert not set(listed) & set(INPUT_COLUMNS)
    assert all(plain_column(name) == name for name in listed)


def test_measured_columns_of_vllms_benchmark_are_held_against_the_prediction() -> None:
    (found,) = predict_rows([OURS])
    ours = {**OURS, "tpot_ms_mean": found["pred_tpot_ms"], "output_tok_s": found["pred_output_tok_s"]}
    theirs = {**OURS, "Mean TPOT (ms)": ours["tpot_ms_mean"]}
    each = str(float(ours["output_tok_s"]) / 4)
    report = validate([{**theirs, "output_tput_per_gpu": each}])
    assert {line.label[0]: line.median_error for line in report.by_metric} == pytest.approx(
        {"TPOT under load": 0.0, "throughput under load": 0.0}, abs=1e-9
    )


@pytest.mark.parametrize(
    ("key", "written", "value"),
    [
        ("tp", "TP8", 8), ("tp", "tp=2", 2), ("n_gpus", "8 GPUs", 8), ("n_gpus", "8x", 8), ("load_value", "4 req/s", 4),
        ("load_value", "c=64", 64), ("load_value", "100 concurrent users", 100), ("load_value", "inf", float("inf")),
        ("input_len", "1K", 1024), ("output_len", "2k tokens", 2048), ("input_len", "1,024 tokens", 1024),
        ("batch_size", "bs=16", 16), ("n_params_b", "70 billion", 70), ("tp", "8 x 2", None),
        ("input_len", "128k-ish", None), ("batch_size", "1K", None), ("load_value", "-3", -3),
        ("load_value", "1e2", 100),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(key: str, written: str, value: float | None) -> None:
    assert number({key: written}, key) == value


@pytest.mark.parametrize(
    ("written", "gpu"),
    [
        ("A100-80G", "a100-sxm-80"), ("A100-40G", "a100-sxm-40"), ("A10G (g5.xlarge)", "a10g"), ("A10G", "a10g"),
        ("Apple M4 Max (40-core GPU)", "m4-max"), ("RTX 3090 + RTX 3090", "rtx-3090"), ("H100 NVL", "h100-nvl-94"),
        ("GB200 NVL72", "gb200-186"), ("MI355X", "mi355x"), ("Gaudi 3", "gaudi3"), ("TPU v5e", "tpu-v5e"),
        ("L40S-48GB", "l40s"), ("NVIDIA GeForce RTX 3080 Laptop GPU 16GB", "rtx-3080-laptop"),
    ],
)  # fmt: skip
def test_devices_as_people_write_them(written: str, gpu: str) -> None:
    assert names().gpu(written).id == gpu


def test_two_different_cards_are_not_one() -> None:
    (found,) = predict_rows([{**OURS, "gpu": "RTX 3090 + RTX 4090"}])
    assert "no GPU named" in found["abstained"]


def test_gpus_under_llama_cpp_wait_for_one_another() -> None:
    # 32.8e9 parameters at 4.89 bits are 20.0 GB: at 936 GB/s no token is out before 21.4 ms on however many RTX 3090
    row = {"model": "Qwen2.5-32B-Instruct-Q4_K_M", "gpu": "RTX 3090", "n_gpus": "2", "engine": "llama.cpp"}
    case = read_row({**row, "load_kind": "single-stream"}, names()).case
    assert case is not None and (case.tensor, case.pipeline) == (1.0, 2.0)
    (found,) = predict_rows([{**row, "load_kind": "single-stream"}])
    assert float(found["pred_tpot_ms"]) > 21.4


def test_memory_is_known_of_devices_without_a_file_and_of_padded_checkpoints() -> None:
    (found,) = predict_rows([{**OURS, "gpu": "H20-3e"}])
    assert float(found["pred_vram_gb"]) == pytest.approx(4 * 0.9 * 141 / 1.0, rel=0.05)
    awq = {"model": "Qwen/Qwen2.5-72B-Instruct-AWQ", "gpu": "RTX A6000", "n_gpus": "2", "engine": "vllm"}
    (found,) = predict_rows([awq])
    assert float(found["pred_vram_gb"]) == pytest.approx(2 * 0.9 * 48, rel=0.05)


def test_predict_says_in_a_line_what_was_read_as_what(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, output = tmp_path / "rows.csv", tmp_path / "out.csv"
    table.write_text("model,hardware,isl,rps\nllama-3.1-8b,L40S,512,3\n", encoding="utf-8")
    assert main(["predict", str(table), "--output", str(output)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "read as: hardware → gpu, isl → input_len" in said
    assert "not read, unless called as in brackets: rps (request_rate if offered)" in said
