"""A fit finds what made the data, keeps its ranges, and listens most to the user's own machine."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import CatalogError, InputError
from llmsizer.facts.aliases import names
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.calibration.evidence import public_rows
from llmsizer.physics.calibration.fitting import (
    cross_validated_residuals,
    fit_coefficients,
    linearise,
    publisher,
    solve,
    with_logs,
)
from llmsizer.physics.calibration.intervals import bands_of, effective_groups, weighted_quantile
from llmsizer.physics.calibration.own_records import calibrate
from llmsizer.physics.calibration.store import default_calibration, load_stored, save_stored
from llmsizer.physics.rows.observations import observe
from llmsizer.physics.steps.coefficients import Coefficients
from llmsizer.physics.steps.formulas import StepModel
from llmsizer.physics.steps.loads import load_times

ROW = {
    "engine": "vllm",
    "engine_version": "0.19.0",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "weight_dtype": "bf16",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "input_len": "512",
    "output_len": "256",
    "load_kind": "concurrency",
}


def synthetic_rows(truth: Coefficients) -> list[dict[str, str]]:
    """Rows whose measured TPOT is the physics at ``truth``."""
    rows = [
        ROW | {"load_value": str(users), "gpu": gpu, "tpot_ms_mean": "1", "split_group": f"{gpu}|{users}"}
        for users in (1, 4, 16, 64, 200)
        for gpu in ("h100-sxm-80gb", "h200-sxm-141gb", "a100-80gb")
    ]
    seen = observe(rows, names())
    times = load_times(StepModel(seen.cases, truth))
    return [row | {"tpot_ms_mean": f"{1e3 * t:.9f}"} for row, t in zip(rows, times.tpot_seconds, strict=True)]


def test_a_fit_explains_data_made_with_other_coefficients() -> None:
    start = default_calibration().coefficients
    logs = start.logs
    logs[start.position["memory.efficiency"]] -= 0.15
    logs[start.position["overhead.layer.vllm-v1"]] += 0.4
    seen = observe(synthetic_rows(with_logs(start, logs)), names())
    before = seen.residuals(load_times(StepModel(seen.cases, start)))
    fitted = fit_coefficients(start, seen, iterations=6)
    after = seen.residuals(load_times(StepModel(seen.cases, fitted)))
    assert np.abs(after).mean() < 0.4 * np.abs(before).mean()


def test_leaving_a_fold_out_equals_fitting_without_it() -> None:
    start = default_calibration().coefficients
    seen = observe(synthetic_rows(start), names())
    problem, _ = linearise(start, seen)
    _, robust = solve(problem, rounds=1)
    folds = seen.group
    out = cross_validated_residuals(problem, robust, folds)
    kept = folds != folds[0]
    matrix, target = problem.matrix[kept], problem.start[kept]
    gram = matrix.T @ (matrix * robust[kept][:, None]) + np.eye(matrix.shape[1])
    by_hand = np.linalg.solve(gram, matrix.T @ (robust[kept] * target))
    held = ~kept
    assert out[held] == pytest.approx(problem.start[held] - problem.matrix[held] @ by_hand, abs=1e-6)


def test_shipped_coefficients_are_named_ranged_and_plausible() -> None:
    for coefficient in default_calibration().coefficients.items:
        assert coefficient.unit and coefficient.low <= coefficient.prior <= coefficient.high
        assert coefficient.is_plausible, coefficient


def test_public_rows_carry_source_and_licence() -> None:
    rows = public_rows()
    assert len(rows) > 4000
    assert all(row["source_id"] and row["source_url"] and row["license"] for row in rows)


def test_stored_calibration_survives_the_file(tmp_path: Path) -> None:
    stored = default_calibration()
    save_stored(tmp_path, stored, note="again")
    again = load_stored(tmp_path)
    assert predict_rows([ROW | {"load_value": "8"}], calibration=again) == predict_rows([ROW | {"load_value": "8"}])


def test_a_broken_calibration_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="re-fit"):
        load_stored(tmp_path)


def test_bands_hold_nine_of_ten() -> None:
    values = np.linspace(-1, 1, 1001)
    weight = np.ones_like(values)
    assert weighted_quantile(values, weight, 0.05) == pytest.approx(-0.9, abs=0.01)
    bands = bands_of({"seen": values}, np.full(len(values), "offline"), np.arange(len(values)).astype(str))
    band = bands.of("offline", "seen")
    assert 0.9 <= ((values >= band.low) & (values <= band.high)).mean() < 1


def test_effective_groups_by_hand() -> None:
    assert effective_groups(np.array(["a", "b", "c", "d"])) == pytest.approx(4)
    # (3 + 1)² / (3² + 1²) = 1.6: one group that fills three quarters says little more than one
    assert effective_groups(np.array(["a", "a", "a", "b"])) == pytest.approx(1.6)


def test_a_target_that_one_group_fills_gets_the_wider_band_of_all() -> None:
    wide, narrow = np.linspace(-1, 1, 400), np.linspace(-0.1, 0.1, 400)
    targets = np.array(["offline"] * 400 + ["lone-tpot"] * 400)
    many, one = np.arange(400).astype(str), np.full(400, "one")
    lonely = bands_of({"seen": np.append(wide, narrow)}, targets, np.append(many, one)).of("lone-tpot", "seen")
    broad = bands_of({"seen": np.append(wide, narrow)}, targets, np.append(many, many)).of("lone-tpot", "seen")
    assert broad.high < lonely.high
    assert broad.low > lonely.low


def test_sources_of_one_publisher_are_one_fold() -> None:
    assert publisher("trtllm-docs-v0.8.0") == publisher("trtllm-docs-main-2025h2")
    assert publisher("qwen2.5-speed-benchmark") == publisher("qwen3-speed-benchmark")
    assert publisher("inferencex-via-aic") == publisher("nvidia-aic-silicon")  # derived from the same dumps
    assert publisher("gpustack-perf-lab") != publisher("redhatai-granite31-cards")


def record(slowdown: float, batch: int = 1) -> ProfileRecord:
    """An own measurement on an H100 that is so much slower than the shipped calibration says."""
    found = predict_rows(
        [
            ROW
            | {
                "engine_version": "",
                "load_kind": "single-stream" if batch == 1 else "single-batch-static",
                "load_value": str(batch),
                "batch_size": str(batch),
            }
        ]
    )[0]
    return ProfileRecord(
        record_id=f"{slowdown}-{batch}",
        model="meta-llama/Llama-3.1-8B-Instruct",
        variant="bf16",
        precision="bf16",
        engine="vllm",
        engine_version="",
        device=DeviceRecord(name="h100-sxm-80", kind="gpu"),
        batch=batch,
        prompt_tokens=512,
        output_tokens=256,
        tpot_seconds=float(found["pred_tpot_ms"]) / 1e3 * slowdown,
    )


def test_own_records_move_this_gpu_and_engine_the_most() -> None:
    calibrated, moves = calibrate([record(1.3, b) for b in (1, 2, 4, 8)])
    assert len(moves) == 1
    assert moves[0].factor == pytest.approx(1.3, rel=0.05)
    assert moves[0].residual_after < moves[0].residual_before
    assert "4 own records make predictions 1.3" in moves[0].text()
    mine, other = ROW | {"load_value": "8"}, ROW | {"load_value": "8", "gpu": "a100-80gb"}
    before, after = predict_rows([mine, other]), predict_rows([mine, other], calibration=calibrated)
    assert float(after[0]["pred_tpot_ms"]) == pytest.approx(1.3 * float(before[0]["pred_tpot_ms"]), rel=0.06)
    assert after[1]["pred_tpot_ms"] == before[1]["pred_tpot_ms"]
    assert "own" in after[0]["basis"]


def test_one_record_moves_less_than_many() -> None:
    (one,), (many,) = (calibrate([record(1.5)] * count)[1] for count in (1, 8))
    assert 1 < one.factor < many.factor < 1.5001


def test_an_own_cpu_is_taken_at_its_measured_bandwidth() -> None:
    cpu = DeviceRecord(
        name="my laptop",
        kind="cpu",
        read_bytes_per_second=30e9,
        gemm_flops_per_second={"fp32": 400e9},
        memory_bytes=16e9,
    )
    mine = record(1.0).model_copy(update={"device": cpu, "engine": "transformers", "tpot_seconds": 0.9})
    calibrated, moves = calibrate([mine])
    assert moves[0].gpu == "my laptop" and math.isfinite(moves[0].factor)
    assert "my laptop" in calibrated.seen_gpus


def test_records_without_a_measurement_are_refused() -> None:
    with pytest.raises(InputError, match="no usable record"):
        calibrate([record(1.0).model_copy(update={"tpot_seconds": None})])
