"""What an answer stands on: quality by format, what an engine runs, and step times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from deciding import (
    CATALOG,
    FEW,
    answer,
    scenario,
)
from llmsizer.decide.candidates.stepping import sample_many
from llmsizer.decide.quality import quality_recovery
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import deployment
from llmsizer.facts.kernels import load_support
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.recovery import load_quality_prior
from llmsizer.physics.answers.step_times import decode_step_seconds, prefill_seconds
from llmsizer.traffic.closed_form.meanfield import Probe, StepSample


def test_a_format_below_the_quality_floor_is_out_with_the_evidence() -> None:
    found = answer(scenario("[slo]\nquality_floor = 0.995\n" + FEW))
    (refused,) = [r for r in found.rejections if r.kind == "quality"]
    assert "int4" in refused.candidate and "models" in refused.reason and "quality_floor" in refused.nearest_fix
    assert all(plan.deployment.weights.name != "int4" for plan in found.plans)


def test_a_format_nobody_evaluated_is_not_planned_with() -> None:
    found = answer(scenario(FEW + 'precisions = ["mxfp4", "bf16"]'))
    assert any(r.kind == "no evidence" and "mxfp4" in r.candidate for r in found.rejections)
    assert {plan.deployment.weights.name for plan in found.plans} == {"bf16"}


def test_what_was_measured_here_comes_before_the_prior() -> None:
    prior, model = load_quality_prior(), CATALOG.model("mistral-small-2409")
    int4 = get_precision("int4")
    record = QualityRecord(
        model=model.name,
        variant="int4",
        precision="int4",
        engine="e",
        dataset="d",
        documents=9,
        tokens=9,
        perplexity=5.5,
        perplexity_standard_error=0.1,
        perplexity_ratio=1.1,
        perplexity_ratio_low=1.05,
        perplexity_ratio_high=1.25,
    )
    seen = quality_recovery(model, int4, prior, [record])
    assert seen.value == pytest.approx(1 / 1.1) and seen.basis == "measured"
    assert seen.low == pytest.approx(0.8) and seen.high == pytest.approx(1 / 1.05)
    assert quality_recovery(model, int4, prior, []).basis == "published"
    assert quality_recovery(model, get_precision("bf16"), prior, []).value == 1
    native = replace(model, native_weights="fp8")
    assert quality_recovery(native, get_precision("fp8"), prior, []).value == 1


def test_published_medians_stand_in_the_usual_order() -> None:
    prior = load_quality_prior()
    median = {name: figure.value or 0 for name, figure in prior.items()}
    assert median["int4"] < median["fp8"] < 1 and median["int4"] < median["int8"] < 1
    assert all(
        (f.low or 0) <= (f.value or 0) <= (f.high or 0) and "models" in f.estimate.reason for f in prior.values()
    )


@pytest.mark.parametrize(
    ("precision", "gpu", "runs"),
    [
        ("fp8", "h100-sxm-80", True),
        ("fp8", "a100-sxm-80", True),  # weight-only
        ("fp8", "t4", False),
        ("int8", "a100-sxm-80", True),
        ("int8", "mi300x", False),
        ("int4", "t4", True),
        ("bf16", "gaudi3", False),
        ("gguf-q4_k_m", "rtx-4090", True),
    ],
)
def test_formats_run_where_the_engine_documents_kernels(precision: str, gpu: str, runs: bool) -> None:
    problem = load_support("vllm").problem(CATALOG.model("llama-3.1-8b"), get_precision(precision), CATALOG.gpu(gpu))
    assert (problem == "") is runs


def test_experts_and_latent_attention_are_not_planned_on_gpus_nobody_reported_them_on() -> None:
    problem = load_support("vllm").problem(CATALOG.model("mistral-small-4"), get_precision("int4"), CATALOG.gpu("t4"))
    assert "no report of vllm running mixtures of experts on turing" in problem


@pytest.mark.parametrize(
    ("model", "gpu", "precision", "tp"),
    [("mistral-small-2409", "h100-sxm-80", "bf16", 1), ("mistral-small-4", "l40s", "int4", 4)],
)
def test_step_times_of_many_are_those_of_one(model: str, gpu: str, precision: str, tp: int) -> None:
    one = deployment(CATALOG.model(model), CATALOG.gpu(gpu), precision, tp=tp, max_context_tokens=4300)
    points = Probe(batches=(1, 2, 4, 8, 16, 32, 50), context_tokens=1350, prompt_tokens=840, prompt_tokens_p95=2450)
    other = deployment(CATALOG.model("llama-3.1-8b"), CATALOG.gpu("l4"), "fp8")
    _, sample, _ = sample_many([(other, points), (one, points), (other, points)])
    assert isinstance(sample, StepSample)
    for batch, seconds in zip(points.batches, np.maximum.accumulate(sample.decode_seconds), strict=True):
        estimate = decode_step_seconds(one, batch, 1350)
        # One by one, a step also takes no less than at any shorter context; a catalogue has no time for that.
        assert seconds == pytest.approx(estimate.value, rel=1e-9)
        assert estimate.low == pytest.approx((estimate.value or 0) * sample.decode_interval[0])
        assert estimate.high == pytest.approx((estimate.value or 0) * sample.decode_interval[1])
    assert sample.first_token_seconds == pytest.approx(prefill_seconds(one, 840).value, rel=0.1)
    assert sample.first_token_p95_seconds == pytest.approx(prefill_seconds(one, 2450).value, rel=0.1)


def test_an_engine_nobody_measured_is_an_abstention() -> None:
    unknown = replace(deployment(CATALOG.model("llama-3.1-8b"), CATALOG.gpu("l4")), engine="abacus")
    (sample,) = sample_many([(unknown, Probe(batches=(1,), context_tokens=9, prompt_tokens=9, prompt_tokens_p95=9))])
    assert isinstance(sample, NoEvidenceError)
