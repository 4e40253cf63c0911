"""What a row may hold: empty cells are assumed and said, impossible ones abstain, and nothing raises."""

from __future__ import annotations

import math
import random

import pytest

from llmsizer.physics.answers.predict import OUTPUT_COLUMNS, predict_rows
from llmsizer.physics.rows.reading import INPUT_COLUMNS, LOAD_KINDS

ROW = {
    "engine": "vllm",
    "engine_version": "0.8.5",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "input_len": "512",
    "output_len": "128",
    "load_kind": "concurrency",
    "load_value": "16",
}
JUNK = ["", "nan", "inf", "-1", "0", "abc", "1e400", "∞", "=cmd()", "<script>", "9" * 400, "1,5", " 7 ", "None", "🦄"]


def numbers(row: dict[str, str]) -> list[float]:
    return [float(row[key]) for key in OUTPUT_COLUMNS if key.startswith("pred_") and row[key]]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("n_params_b", "-1", "n_params_b = -1 is out of range"),
        ("n_gpus", "0", "n_gpus = 0 is out of range"),
        ("input_len", "inf", "input_len = inf is out of range"),
        ("tp", "two", "tp = 'two' is not a number"),
        ("load_value", "-3", "load_value = -3 is out of range"),
        ("load_kind", "sometimes", "load kind 'sometimes' is not one of"),
        ("gpu", "h1000x", "no GPU named 'h1000x'"),
    ],
)
def test_a_cell_that_cannot_be_abstains_with_the_reason(key: str, value: str, reason: str) -> None:
    (found,) = predict_rows([{**ROW, key: value}])
    assert reason in found["abstained"] and found["basis"] == "unknown" and numbers(found) == []


def test_an_empty_engine_is_assumed_said_and_wider() -> None:
    stated, empty = predict_rows([ROW, {**ROW, "engine": ""}])
    assert "engine assumed" in empty["basis"] and "assumed" not in stated["basis"]

    def width(row: dict[str, str]) -> float:
        return float(row["pred_tpot_ms_high"]) / float(row["pred_tpot_ms_low"])

    assert width(empty) > width(stated)


def test_transformers_memory_is_the_account_in_gib() -> None:
    # Qwen's speed benchmark prints 14.38 "GB" for Qwen2.5-7B at BF16 and one prompt token: GiB.
    row = {
        "engine": "transformers",
        "model": "Qwen/Qwen2.5-7B-Instruct",
        "gpu": "a100-sxm-80gb",
        "weight_dtype": "bf16",
    }
    (found,) = predict_rows([{**row, "input_len": "1", "output_len": "2048", "load_kind": "single-stream"}])
    assert float(found["pred_vram_gb"]) == pytest.approx(14.38, rel=0.035)


def test_no_junk_raises_and_every_number_is_finite_and_in_order() -> None:
    choose = random.Random(7)
    rows = []
    for _ in range(400):
        row = {**ROW, "load_kind": choose.choice(LOAD_KINDS)}
        row |= {key: choose.choice(JUNK) for key in choose.sample(INPUT_COLUMNS, choose.randint(1, 5))}
        rows.append(row)
    for found in predict_rows(rows):
        assert all(math.isfinite(value) and value > 0 for value in numbers(found)), found
        if not found["abstained"]:
            for name in ("output_tok_s", "ttft_ms", "tpot_ms", "e2e_ms", "vram_gb"):
                low, value, high = (float(found[f"pred_{name}{end}"]) for end in ("_low", "", "_high"))
                assert low <= value <= high


def test_other_columns_pass_through_and_are_never_used() -> None:
    plain, loaded = predict_rows([ROW, {**ROW, "output_tok_s": "1", "note": "=1+1"}])
    assert loaded["note"] == "=1+1" and loaded["output_tok_s"] == "1"
    assert [plain[k] for k in OUTPUT_COLUMNS] == [loaded[k] for k in OUTPUT_COLUMNS]
