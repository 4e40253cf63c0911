"""The accuracy table's own arithmetic, and what the shipped calibration must keep."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from llmsizer.facts.aliases import names
from llmsizer.physics.answers.validate import validate
from llmsizer.physics.calibration.evidence import public_rows
from llmsizer.physics.calibration.store import default_calibration
from llmsizer.physics.rows.observations import observe


def _benchmark() -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / "accuracy.py"
    spec = importlib.util.spec_from_file_location("accuracy_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["accuracy_benchmark"] = module
    sys.path.insert(0, str(path.parent))  # as `python benchmarks/accuracy.py` has it
    spec.loader.exec_module(module)
    return module


ACCURACY = _benchmark()

ALONE = {
    "engine": "vllm",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "weight_dtype": "bf16",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "input_len": "100",
    "output_len": "100",
    "load_kind": "single-stream",
    "load_value": "1",
    "tpot_ms_mean": "10",
    "split_group": "a",
}


def test_the_naive_peer_is_bytes_over_bandwidth() -> None:
    seen = observe([ALONE], names())
    # 8.03 B parameters x 2 bytes / 3.35 TB/s = 4.79 ms, measured 10 ms
    residual = ACCURACY.naive_seconds(seen, default_calibration().coefficients)
    assert np.exp(residual[0]) == pytest.approx(10 / 4.79, rel=0.01)


def test_a_group_counts_once_however_many_rows_it_has() -> None:
    rows = [ALONE | {"split_group": "many"}] * 9 + [ALONE | {"split_group": "one"}]
    seen = observe(rows, names())
    # predictions 10 % too high in the large group, 30 % too high in the small one: the median over groups is 20 %
    residual = np.where(seen.group == "many", -np.log(1.1), -np.log(1.3))
    median, p90, groups = ACCURACY.errors(seen, residual, "lone-tpot")
    assert (median, groups) == (pytest.approx(0.2), 2)
    assert p90 == pytest.approx(0.28)


def test_a_constant_per_gpu_is_fitted_on_the_other_folds() -> None:
    seen = observe([ALONE | {"split_group": group} for group in "ab"], names())
    naive = np.array([0.5, 0.3])
    assert ACCURACY.constant_per_gpu(seen, naive, seen.group) == pytest.approx([0.2, -0.2])


def test_the_shipped_calibration_stays_within_its_bars_on_rows_it_knows() -> None:
    """In sample, so weaker than the benchmark; it catches a calibration that no longer belongs to the formulas."""
    rows = [row for row in public_rows() if row["source_id"] != "llmfit-community"][::5]
    report = validate(rows)
    assert report.abstained <= 0.05 * report.rows
    found = {line.label[0]: line for line in report.by_metric}
    for metric, bar in (
        ("TPOT under load", 0.10),
        ("offline throughput", 0.12),
        ("single stream", 0.10),
        ("static batch", 0.12),
        ("TTFT of single requests", 0.20),
    ):
        assert found[metric].median_error <= bar, metric
        assert found[metric].coverage >= 0.85, metric
