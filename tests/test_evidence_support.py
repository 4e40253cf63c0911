"""Which devices get a number, which none, and what is said of the VRAM of measured rows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.physics.answers.predict import predict_rows
from llmsizer.physics.answers.step_times import decode_step_seconds
from llmsizer.physics.answers.steps import StepQuestion, answer_many, answer_one
from llmsizer.physics.calibration.store import default_calibration
from llmsizer.physics.calibration.support import FAMILY_UNSEEN, evidence_problem, stack_of
from llmsizer.units import GIB

CATALOG = default_catalog()
MODEL = CATALOG.model("llama-3.1-8b")
ALIEN = ("gaudi2", "gaudi3", "inferentia2", "trainium2", "tpu-v5e", "tpu-v5p", "tpu-v6e")


@pytest.mark.parametrize("gpu", ALIEN)
def test_a_stack_without_one_measured_row_gets_no_number_and_says_what_would_do(gpu: str):
    with pytest.raises(NoEvidenceError, match="not one measured row is of them; one static batch") as caught:
        decode_step_seconds(deployment(MODEL, CATALOG.gpu(gpu)), 1, 1000)
    assert f"measured on {gpu} would do" in str(caught.value)


@pytest.mark.parametrize("gpu", ["mi210", "mi250x", "mi355x"])
def test_another_chip_of_a_measured_stack_is_predicted_with_a_wider_interval(gpu: str):
    known = decode_step_seconds(deployment(MODEL, CATALOG.gpu("mi300x")), 1, 1000)
    other = decode_step_seconds(deployment(MODEL, CATALOG.gpu(gpu)), 1, 1000)
    assert other.reason.startswith(FAMILY_UNSEEN)
    widths = [(e.high or 0) / (e.low or 1) for e in (known, other)]
    assert widths[1] > 1.3 * widths[0]


def test_a_catalogue_is_answered_around_those_without_evidence():
    asked = [
        StepQuestion(deployment=deployment(MODEL, CATALOG.gpu(gpu)), batches=(1,), contexts=(100.0,))
        for gpu in ("gaudi3", "h100", "tpu-v5e", "l4")
    ]
    found = [isinstance(answer, NoEvidenceError) for answer in answer_many(asked)]
    assert found == [True, False, True, False]


def test_own_records_of_a_device_are_evidence():
    calibration = default_calibration()
    assert evidence_problem("gaudi3", "gaudi", "vllm-v1", calibration)
    measured = replace(calibration, seen_gpus=calibration.seen_gpus | {"gaudi3"})
    assert not evidence_problem("gaudi3", "gaudi", "vllm-v1", measured)
    question = StepQuestion(deployment=deployment(MODEL, CATALOG.gpu("gaudi3")), batches=(1,), contexts=(100.0,))
    assert answer_one(question, measured).decode_seconds[0, 0] > 0


def test_intels_graphics_are_not_evidence_for_gaudi():
    assert stack_of("gaudi") != stack_of("intel")
    assert stack_of("cdna2") == stack_of("cdna3") == stack_of("cdna4")


def row(**cells: str) -> dict[str, str]:
    plain = {"engine": "vllm", "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm-80gb", "n_gpus": "1"}
    lengths = {"input_len": "1000", "output_len": "200", "load_kind": "single-stream", "weight_dtype": "bf16"}
    return {**plain, **lengths, **cells}


def predicted(**cells: str) -> dict[str, str]:
    (found,) = predict_rows([row(**cells)])
    return found


def test_a_row_on_an_alien_device_is_the_data_sheets_and_says_so():
    found, known = predicted(gpu="gaudi3"), predicted()
    assert found["basis"].startswith("datasheet (GPU family unseen); no evidence for Gaudi")
    widths = [float(row["pred_tpot_ms_high"]) / float(row["pred_tpot_ms_low"]) for row in (known, found)]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize("engine", ["vllm", "sglang", "tensorrt-llm"])
def test_an_engine_that_reserves_a_pool_shows_the_pool_whatever_it_serves(engine: str):
    small, large = (float(predicted(engine=engine, model=m)["pred_vram_gb"]) for m in (SMALL, LARGE))
    whole = (CATALOG.gpu("h100").memory_bytes or 0) / GIB
    assert 0.8 * whole < small <= whole
    assert large == pytest.approx(small, rel=0.06)


SMALL, LARGE = "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-14B-Instruct"


def test_vllm_shows_its_fraction_and_what_lies_outside():
    # 0.9 of 79.19 GiB, CUDA graphs (0.7 GiB + 1,700 bytes · 32 layers · 4,096), context and driver of 0.97 GiB
    found = float(predicted(engine_version="0.19.0")["pred_vram_gb"])
    assert found == pytest.approx(0.9 * 79.19 + 0.7 + 1700 * 32 * 4096 / GIB + 0.97, rel=0.005)


def test_llama_cpp_takes_weights_the_context_it_was_started_with_and_its_buffers():
    found = float(predicted(engine="llama.cpp", weight_dtype="gguf-q8_0")["pred_vram_gb"])
    weights, cache = 8.03e9 * 8.5 / 8 / GIB, 4096 * 32 * 8 * 128 * 2 * 2 / GIB
    assert found == pytest.approx(weights + cache + 0.51 + 0.1 + 0.2, rel=0.03)


@pytest.mark.parametrize("engine", ["exllamav2", "mlc-llm", "ctranslate2", "autoawq"])
def test_vram_is_unknown_where_the_engines_rule_is(engine: str):
    found = predicted(engine=engine, weight_dtype="int4")
    assert found["pred_vram_gb"] == ""
    assert "vram unknown: how" in found["basis"]
    assert float(found["pred_tpot_ms"]) > 0
