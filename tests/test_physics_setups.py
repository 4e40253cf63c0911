"""A version of an engine that nobody ran on a GPU is likely somebody else's set-up, and its interval knows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.calibration.fitting import bands_by_distance
from llmsizer.physics.calibration.intervals import MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN
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


def test_a_set_up_is_an_engines_version_on_a_gpu() -> None:
    words = [np.array(column) for column in (["vllm-v1", "vllm-v1"], ["0.19.1", ""], ["h100", "h100"])]
    assert setups_of(*words).tolist() == ["vllm-v1 0.19|h100", "vllm-v1|h100"]


def found(version: str, model: str = ROW["model"], **changes: frozenset[str]) -> dict[str, str]:
    calibration = replace(default_calibration(), **changes)
    return predict_rows([{**ROW, "engine_version": version, "model": model}], calibration=calibration)[0]


def width(row: dict[str, str]) -> float:
    return float(row["pred_tpot_ms_high"]) / float(row["pred_tpot_ms_low"])


def test_a_pair_that_nobody_measured_is_wider_and_says_so() -> None:
    known = default_calibration().seen_setups | {"vllm-v1 0.19|h100-sxm-80"}
    seen, strange = (found("0.19.0", seen_setups=known), found("0.77.0", seen_setups=known))
    assert "(seen)" in seen["basis"] and f"({SETUP_UNSEEN})" in strange["basis"]
    assert width(strange) > width(seen)


def test_a_version_that_is_not_stated_may_be_any() -> None:
    assert "(seen)" in found("")["basis"]


def test_a_new_model_in_a_new_set_up_is_the_wider_of_both() -> None:
    both = found("0.77.0", "facebook/opt-30b")
    assert f"({MODEL_AND_SETUP_UNSEEN})" in both["basis"]
    assert width(both) > max(width(found("0.77.0")), width(found("", "facebook/opt-30b")))


def test_somebody_elses_set_up_is_never_surer_than_a_known_one() -> None:
    rng = np.random.default_rng(3)
    targets, groups = np.full(400, "offline"), np.arange(400).astype(str)
    narrow, wide = rng.normal(0, 0.1, 400), rng.normal(0, 0.4, 400)
    for others, own in ((narrow, wide), (wide, narrow)):
        bands = bands_by_distance(targets, groups, {"group": own, "gpu": own, "model": own, "source": others})
        known, foreign = bands.of("offline", "seen"), bands.of("offline", SETUP_UNSEEN)
        assert foreign.low <= known.low and foreign.high >= known.high
