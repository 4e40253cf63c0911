"""A measured load stands beside what is predicted for it, where it is known what was served."""

from __future__ import annotations

from typing import Any

import pytest

from llmsizer.facts.record_parts import Distribution, Load
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile.load.predicted import RATE, beside


def record(**changes: Any) -> ProfileRecord:
    values: dict[str, Any] = {
        "record_id": "r",
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "variant": "as served",
        "precision": "fp16",
        "engine": "vllm",
        "engine_version": "",
        "device": DeviceRecord(name="h200-sxm-141", kind="gpu"),
        "batch": 8,
        "prompt_tokens": 512,
        "output_tokens": 128,
        "load": Load(pattern="closed", concurrency=8),
        "distributions": {"effective_ttft": Distribution(n=100, mean=0.05), "tpot": Distribution(n=100, mean=0.006)},
        "output_tokens_per_second": 1200.0,
    }
    return ProfileRecord(**(values | changes))


def test_each_mean_stands_beside_its_prediction() -> None:
    found, without = beside([record()])
    assert without == "" and [one.quantity for one in found] == ["TTFT", "TPOT", RATE]
    tpot = found[1]
    assert tpot.measured == 0.006 and tpot.low < tpot.predicted < tpot.high
    # 16 GB of weights at 4.8 TB/s are 3.3 ms: no prediction may be below that
    assert tpot.predicted > 0.0033
    assert all(one.basis for one in found)


def test_more_users_are_predicted_more_tokens() -> None:
    few, many = (
        beside([record(batch=users, load=Load(pattern="closed", concurrency=users))])[0][2] for users in (1, 32)
    )
    assert many.predicted > 4 * few.predicted


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "unknown"}, "nobody said what is served"),
        ({"device": DeviceRecord(name="unknown (behind far)", kind="unknown")}, "unknown"),
        ({"model": "no-such-model"}, "no-such-model"),
    ],
)
def test_what_says_too_little_has_a_reason_instead(changes: dict[str, Any], said: str) -> None:
    found, without = beside([record(**changes)])
    assert found == [] and said in without


def test_failed_points_and_loads_nobody_predicts_are_left_out() -> None:
    assert beside([record(status="failed", failure="x")]) == ([], "")
    assert beside([record(load=Load(pattern="trace", trace="azure.csv"))]) == ([], "")
