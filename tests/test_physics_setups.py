"""A version of an engine that nobody ran on a GPU is likely somebody else's set-up, and its interval knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.calibration.fitting import bands_by_distance
from llmsizer.physics.calibration.intervals import MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN
from llmsizer.physics.calibration.publishers import next_publisher_bands
from llmsizer.physics.calibration.store import default_calibration
from llmsizer.physics.steps.formats import minor_version, setups_of

ROW = {
    "engine": "vllm",
    "engine_version": "0.19.0",
    "model": "meta-llama/Llama-3.1-8B-Instruct",
    "weight_dtype": "bf16",
    "gpu": "h100-sxm-80gb",
    "n_gpus": "1",
    "input_len": "1024",
    "output_len": "256",
    "load_kind": "concurrency",
    "load_value": "16",
}


@pytest.mark.parametrize(("version", "minor"), [("0.19.1", "0.19"), ("v0.9", "v0.9"), ("1.0rc3", "1.0"), ("", "")])
def test_versions_are_known_by_their_minor(version: str, minor: str) -> None:
    assert minor_version(version) == minor


def test_a_set_up_is_an_engines_version_on_a_gpu_and_what_was_measured_there() -> None:
    columns = (["vllm-v1", "vllm-v1"], ["0.19.1", ""], ["h100", "h100"], ["offline", "ttft"])
    words = [np.array(column) for column in columns]
    assert setups_of(*words).tolist() == ["vllm-v1 0.19|h100|offline", "vllm-v1|h100|ttft"]


def found(version: str, model: str = ROW["model"], **changes: frozenset[str]) -> dict[str, str]:
    calibration = replace(default_calibration(), **changes)
    return predict_rows([{**ROW, "engine_version": version, "model": model}], calibration=calibration)[0]


def width(row: dict[str, str]) -> float:
    return float(row["pred_tpot_ms_high"]) / float(row["pred_tpot_ms_low"])


def above(row: dict[str, str]) -> float:
    return float(row["pred_tpot_ms_high"]) / float(row["pred_tpot_ms"])


def test_a_pair_that_nobody_measured_is_wider_and_says_so() -> None:
    known = default_calibration().seen_setups | {"vllm-v1 0.19|h100-sxm-80|load-tpot"}
    seen, strange = (found("0.19.0", seen_setups=known), found("0.77.0", seen_setups=known))
    assert "(seen)" in seen["basis"] and f"({SETUP_UNSEEN})" in strange["basis"]
    assert width(strange) > width(seen)


def test_a_version_that_is_not_stated_may_be_any() -> None:
    assert "(seen)" in found("")["basis"]


def test_a_new_model_in_a_new_set_up_is_the_wider_of_both() -> None:
    both = found("0.77.0", "facebook/opt-30b")
    assert f"({MODEL_AND_SETUP_UNSEEN})" in both["basis"]
    # upwards: downwards no token is faster than its bytes, which a large model is near
    assert above(both) > max(above(found("0.77.0")), above(found("", "facebook/opt-30b")))


def test_somebody_elses_set_up_is_never_surer_than_a_known_one() -> None:
    rng = np.random.default_rng(3)
    targets, groups = np.full(400, "offline"), np.arange(400).astype(str)
    narrow, wide = rng.normal(0, 0.1, 400), rng.normal(0, 0.4, 400)
    for others, own in ((narrow, wide), (wide, narrow)):
        residuals = {"group": own, "gpu": own, "model": own, "source": others}
        bands = bands_by_distance(targets, groups, residuals, np.full(400, "one"))
        known, foreign = bands.of("offline", "seen"), bands.of("offline", SETUP_UNSEEN)
        assert foreign.low <= known.low and foreign.high >= known.high


def test_what_was_not_measured_there_is_another_set_up() -> None:
    known = frozenset({"vllm-v1 0.19|h100-sxm-80|load-tpot"})
    only_tpot = found("0.19.0", seen_setups=known)
    both = found("0.19.0", seen_setups=known | {"vllm-v1 0.19|h100-sxm-80|load-ttft"})
    assert "(seen)" in only_tpot["basis"] and width(only_tpot) == width(both)
    assert float(only_tpot["pred_ttft_ms_high"]) > float(both["pred_ttft_ms_high"])


def publisher_rows(effects: list[float], rows: list[int], scatter: float = 0.05) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(11)
    who = np.repeat([f"p{i}" for i in range(len(effects))], rows)
    residual = np.repeat(effects, rows) + rng.normal(0, scatter, len(who))
    return residual, np.full(len(who), "offline"), np.arange(len(who)).astype(str), who


def test_a_publisher_counts_once_however_many_rows_it_fills() -> None:
    few = next_publisher_bands(*publisher_rows([0.4, -0.4, 0.4, -0.4], [50, 50, 50, 50]))["offline"]
    many = next_publisher_bands(*publisher_rows([0.4, -0.4, 0.4, -0.4], [2000, 50, 50, 50]))["offline"]
    assert many.high == pytest.approx(few.high, rel=0.03) and many.low == pytest.approx(few.low, rel=0.03)


def test_the_next_publishers_band_by_hand() -> None:
    # Effects of ±0.4 have a variance of 0.16; 4 + 4 degrees of freedom: t = 1.860, so 0.744 and the scatter beside it
    band = next_publisher_bands(*publisher_rows([0.4, -0.4, 0.4, -0.4], [200] * 4, scatter=1e-9))["offline"]
    assert band.high == pytest.approx(0.744, rel=1e-3) and band.low == pytest.approx(-0.744, rel=1e-3)


def test_nineteen_of_twenty_publishers_lie_below_the_upper_limit() -> None:
    rng = np.random.default_rng(5)
    inside = []
    for _ in range(300):
        effects = rng.normal(0, 0.3, 6)
        band = next_publisher_bands(*publisher_rows(list(effects[:5]), [20] * 5))["offline"]
        inside.append(band.low <= effects[5] + rng.normal(0, 0.05) <= band.high)
    assert 0.85 < np.mean(inside) < 0.97
