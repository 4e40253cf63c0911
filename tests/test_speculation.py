"""Speculative decoding: published laws, what it costs in memory, and what is said of it."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.cli import main
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.speculation import Speculation, SpeculationChoice
from llmsizer.physics.answers.speculation import speculation_effect
from llmsizer.physics.answers.step_times import decode_seconds_grid, decode_step, prefill_seconds
from llmsizer.physics.answers.steps import StepQuestion, answer_many, answer_one
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.traffic.simulator.deployed import step_table

CATALOG = default_catalog()
PLAIN = deployment(CATALOG.model("llama-3.3-70b"), CATALOG.gpu("h100"), "fp8", tp=2)
SMALL = CATALOG.model("llama-3.1-8b")
BATCHES = (1, 4, 16, 64, 256)
rates = st.floats(0, 1)
counts = st.integers(0, 8)


def speculating(rate: float, tokens: int = 4, **options: object) -> Deployment:
    return replace(PLAIN, speculation=Speculation(draft_tokens=tokens, acceptance_rate=rate, **options))  # type: ignore[arg-type]


def speedups(one: Deployment, context: float = 1000.0) -> list[float]:
    plain = replace(one, speculation=None)
    ratio = decode_seconds_grid(plain, BATCHES, [context]) / decode_seconds_grid(one, BATCHES, [context])
    return [float(value) for value in ratio[:, 0]]


def test_a_step_yields_what_the_paper_says():
    # (1 − 0.8⁵)/(1 − 0.8) = 3.3616; all accepted: 4 + 1; none: the one the model itself gives
    assert Speculation(draft_tokens=4, acceptance_rate=0.8).tokens_per_step == pytest.approx(3.3616)
    assert Speculation(draft_tokens=4, acceptance_rate=1.0).tokens_per_step == 5
    assert Speculation(draft_tokens=4, acceptance_rate=0.0).tokens_per_step == 1


@settings(deadline=None, max_examples=40)
@given(tokens=counts)
def test_drafts_that_are_never_accepted_never_help(tokens: int):
    assert max(speedups(speculating(0.0, tokens))) <= 1 + 1e-12


def test_free_drafts_always_accepted_give_all_of_them_while_memory_binds():
    assert speedups(speculating(1.0, 4))[0] == pytest.approx(5, rel=0.03)
    assert speedups(speculating(1.0, 1))[0] == pytest.approx(2, rel=0.03)


@settings(deadline=None, max_examples=40)
@given(low=rates, high=rates, tokens=counts)
def test_more_acceptance_is_never_slower(low: float, high: float, tokens: int):
    low, high = sorted((low, high))
    worse, better = (decode_seconds_grid(speculating(rate, tokens), BATCHES, [1000.0]) for rate in (low, high))
    assert np.all(better <= worse * (1 + 1e-12))


def test_no_drafted_tokens_have_no_effect():
    none = speculating(0.9, 0, method="draft-model", draft=SMALL)
    assert speedups(none) == [1.0] * len(BATCHES)
    assert estimate_memory(none).parts == estimate_memory(PLAIN).parts
    assert prefill_seconds(none, 1000).value == prefill_seconds(PLAIN, 1000).value


@pytest.mark.parametrize("method", ["ngram", "eagle"])
def test_the_gain_shrinks_with_the_batch(method: str):
    gains = speedups(speculating(0.7, method=method))
    assert all(later <= earlier * 1.001 for earlier, later in pairwise(gains))
    assert gains[-1] < 0.6 * gains[0]


def test_a_draft_model_costs_more_than_a_head_and_a_head_more_than_nothing():
    free, head = (speedups(speculating(0.7, method=m)) for m in ("ngram", "eagle"))
    model = speedups(speculating(0.7, method="draft-model", draft=SMALL))
    assert all(a > b > c for a, b, c in zip(free, head, model, strict=True))


def test_experts_reached_by_the_extra_tokens_cost_a_mixture_most_at_small_batches():
    moe = deployment(CATALOG.model("deepseek-v3"), CATALOG.gpu("h200"), "fp8", tp=8)
    gains = speedups(replace(moe, speculation=Speculation(draft_tokens=3, acceptance_rate=1.0)))
    dense = speedups(speculating(1.0, 3))
    assert gains[1] < 0.85 * dense[1]  # at batch 4 hardly an expert is reached twice
    assert gains[3] > gains[1]  # at 64 all are read anyway


def test_a_step_with_drafts_is_the_verification_and_the_drafts():
    one = speculating(0.7, method="draft-model", draft=SMALL)
    step = decode_step(one, 8, 1000)
    assert step.total.basis == "assumed"
    assert "acceptance rate assumed" in step.total.reason
    assert sum(step.seconds_by_part.values()) == pytest.approx(step.total.value)
    assert one.drafting is not None
    drafts = 4 * float(decode_seconds_grid(one.drafting, [8], [1000])[0, 0]) / one.speculation.tokens_per_step  # type: ignore[union-attr]
    assert step.seconds_by_part["drafting"] == pytest.approx(drafts, rel=0.02)


def test_a_measured_acceptance_rate_leaves_the_step_calibrated():
    measured = speculating(0.7, acceptance_basis="measured")
    assert decode_step(measured, 8, 1000).total.basis == "calibrated"


def test_the_draft_model_reads_the_prompt_too():
    one = speculating(0.7, method="draft-model", draft=SMALL)
    assert one.drafting is not None
    both = (prefill_seconds(PLAIN, 2000).value or 0) + (prefill_seconds(one.drafting, 2000).value or 0)
    assert prefill_seconds(one, 2000).value == pytest.approx(both)


def test_the_simulator_takes_the_same_step_times():
    one = speculating(0.7)
    sizes = {"max_sequences": 64, "max_batched_tokens": 2048}
    slow, fast = step_table(PLAIN, **sizes), step_table(one, **sizes)
    at = int(np.searchsorted(fast.knots_tokens, 1024))
    assert slow.decode_seconds[1, at] / fast.decode_seconds[1, at] == pytest.approx(2.72, rel=0.05)


# one by one and all at once -------------------------------------------------------------------------------------------


def test_a_catalogue_is_answered_as_each_of_it():
    one = speculating(0.6, method="draft-model", draft=SMALL)
    question = StepQuestion(
        deployment=one, batches=(1, 3, 48), contexts=(900.0, 4000.0), prompts=((700.0, 1.0), (90.0, 8.0))
    )
    other = StepQuestion(deployment=PLAIN, batches=(7,), contexts=(50.0,), prompts=((5.0, 1.0),))
    for answer, alone in zip(
        answer_many([other, question, other]), map(answer_one, (other, question, other)), strict=True
    ):
        assert not isinstance(answer, Exception)
        np.testing.assert_allclose(answer.decode_seconds, alone.decode_seconds, rtol=1e-9)
        np.testing.assert_allclose(answer.prefill_seconds, alone.prefill_seconds, rtol=1e-9)


def test_a_question_without_points_is_answered_with_the_distance_alone():
    answer = answer_one(StepQuestion(deployment=PLAIN))
    assert answer.distance == "seen"
    assert answer.decode_seconds.size == answer.prefill_seconds.size == 0


def test_nothing_asked_is_nothing_answered():
    assert answer_many([]) == []


# memory ---------------------------------------------------------------------------------------------------------------


def test_the_draft_model_takes_weights_and_cache():
    one = speculating(0.7, method="draft-model", draft=SMALL)
    budget, plain = estimate_memory(one), estimate_memory(PLAIN)
    # 8.03 B parameters over 2 GPUs: 6.98 B in FP8 and 1.05 B of embedding and output matrix in 16 bit
    assert budget.draft_bytes == pytest.approx((6.98e9 + 1.05e9 * 2) / 2, rel=0.01)
    # 32 layers · 4 heads per GPU · 128 · 2 · 2 bytes
    assert budget.kv_bytes_per_token - plain.kv_bytes_per_token == pytest.approx(32 * 4 * 128 * 2 * 2)
    assert sum(budget.parts.values()) == pytest.approx(budget.gpu_bytes)
    assert budget.kv_capacity_tokens < plain.kv_capacity_tokens
    assert set(budget.basis) == set(budget.parts)


def test_a_head_is_a_layer_and_n_grams_are_nothing():
    head, free = (estimate_memory(speculating(0.7, method=m)) for m in ("eagle", "ngram"))
    plain = estimate_memory(PLAIN)
    assert free.parts == plain.parts
    # one of 80 layers of 68.45 B parameters in FP8 over 2 GPUs, and a projection of 2 · 8,192² in 16 bit
    assert head.draft_bytes == pytest.approx(68.45e9 / 80 / 2 + 2 * 8192**2 * 2, rel=0.01)
    assert head.kv_bytes_per_token / plain.kv_bytes_per_token == pytest.approx(81 / 80)


def test_a_draft_that_does_not_split_is_copied():
    three = deployment(CATALOG.model("qwen2.5-7b"), CATALOG.gpu("h100"), "bf16", tp=4)
    odd = CATALOG.model("qwen2.5-0.5b")  # 14 heads
    one = replace(
        three,
        speculation=Speculation(method="draft-model", draft_tokens=2, acceptance_rate=0.5, draft=odd),
    )
    # 0.494 B parameters tied, 16 bit; a replica that stores both matrices holds 0.63 B
    assert estimate_memory(one).draft_bytes > 0.9e9


# what is said ---------------------------------------------------------------------------------------------------------


def test_the_batch_from_which_it_is_a_loss_is_said():
    effect = speculation_effect(speculating(0.5, method="draft-model", draft=SMALL), context_tokens=1000)
    assert effect.loss_batch is not None
    assert effect.speedup_at(effect.loss_batch) < 1
    assert all(s >= 1 for b, s in zip(effect.batches, effect.speedups, strict=True) if b < effect.loss_batch)
    assert f"a loss from batch {effect.loss_batch} on" in effect.sentence or "at every batch" in effect.sentence
    assert effect.basis == "assumed"
    assert "acceptance 50% (assumed)" in effect.sentence


def test_drafts_nobody_accepts_are_a_loss_at_every_batch():
    effect = speculation_effect(speculating(0.0, method="eagle"))
    assert effect.loss_batch == 1
    assert "a loss at every batch" in effect.sentence


def test_the_effect_of_no_speculation_is_not_a_question():
    with pytest.raises(InputError, match="nothing is speculated"):
        speculation_effect(PLAIN)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draft_tokens": -1, "acceptance_rate": 0.5}, "give 0 to 32"),
        ({"draft_tokens": 4, "acceptance_rate": 1.2}, "give a probability from 0 to 1"),
        ({"draft_tokens": 4, "acceptance_rate": 0.5, "method": "medusa"}, "no speculative method"),
        ({"draft_tokens": 4, "acceptance_rate": 0.5, "method": "draft-model"}, "name it"),
        ({"draft_tokens": 4, "acceptance_rate": 0.5, "method": "ngram", "draft": SMALL}, "use draft-model"),
        ({"draft_tokens": 4, "acceptance_rate": 0.5, "method": "eagle", "draft_layers": 0}, "give 1 or more"),
    ],
)
def test_parts_that_do_not_go_together_are_said_in_a_line(options: dict[str, object], said: str):
    with pytest.raises(InputError, match=said):
        Speculation(**options)  # type: ignore[arg-type]


def test_a_draft_of_another_vocabulary_is_refused():
    with pytest.raises(InputError, match=r"vocabulary of 151,936 tokens is not that of llama-3\.3-70b"):
        speculating(0.5, method="draft-model", draft=CATALOG.model("qwen2.5-0.5b"))


def test_a_scenario_names_its_draft_model():
    choice = SpeculationChoice(
        draft_tokens=4, acceptance_rate=0.6, draft_model="llama-3.1-8b", acceptance_measured=True
    )
    found = choice.resolve(CATALOG.model)
    assert (found.method, found.acceptance_basis, found.draft) == ("draft-model", "measured", SMALL)
    with pytest.raises(ValueError, match="name it"):
        SpeculationChoice(method="draft-model", draft_tokens=4, acceptance_rate=0.6)


MEMORY = ["memory", "llama-3.3-70b", "--gpu", "h100", "--tp", "4", "--weights", "fp8"]


def test_the_command_says_speed_up_loss_and_what_it_takes(capsys: pytest.CaptureFixture[str]):
    asked = ["--speculative-tokens", "4", "--acceptance-rate", "0.6", "--draft-model", "llama-3.1-8b"]
    assert main([*MEMORY, *asked]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "2.31 tokens a step; speed-up ×" in text
    assert "a loss from batch" in text
    assert "drafting takes" in text
    assert main([*MEMORY, *asked, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["speculation"]["basis"] == "assumed"
    assert found["parts_bytes"]["draft model"] > 0


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--speculative-tokens", "4"], "--acceptance-rate too"),
        (["--acceptance-rate", "0.5"], "--speculative-tokens too"),
        (["--speculative-tokens", "4", "--acceptance-rate", "0.5", "--draft-model", "llama"], "no model named"),
        (["--speculative-tokens", "4", "--acceptance-rate", "0.5", "--speculative-method", "draft-model"], "name it"),
    ],
)
def test_half_a_speculation_is_refused_in_one_line(asked: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main([*MEMORY, *asked]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_common_beginning_is_kept_once(capsys: pytest.CaptureFixture[str]):
    assert main([*MEMORY, "--context", "8192", "--shared-prefix", "4096", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    pool_tokens, own = found["kv_capacity_tokens"], 4096
    assert found["max_concurrency_sharing_prefix"] == pytest.approx((pool_tokens - 4096) / own, abs=1)
    assert main([*MEMORY, "--context", "8192", "--shared-prefix", "4096"]) == 0
    assert "50% of the prefill saved" in " ".join(capsys.readouterr().out.split())


# in a plan ------------------------------------------------------------------------------------------------------------

PLAN = """
model = "llama-3.1-8b"
electricity_area = "DEU"
[workload]
preset = "chat"
tokens_per_month = 1e9
cached_prompt_fraction = 0.5
[constraints]
gpus = {gpus}
precisions = ["bf16"]
api = false
"""
SPECULATED = "[speculation]\ndraft_tokens = 4\nacceptance_rate = 0.7\n"


def planned(text: str, gpus: str = '["h100-sxm-80"]') -> Recommendation:
    asked = parse_scenario(PLAN.format(gpus=gpus) + text)
    return recommend(CATALOG.model(asked.model), asked, CATALOG, today=datetime.date(2026, 11, 21))


def test_a_plan_that_speculates_is_faster_and_says_by_how_much_and_on_what():
    plain, fast = planned(""), planned(SPECULATED)
    assert plain.best is not None
    assert fast.best is not None
    tpot = [plan.at_peak.tpot_p95 for plan in (plain.best, fast.best)]
    assert (tpot[1].value or 0) < 0.6 * (tpot[0].value or 0)
    assert tpot[1].estimate.basis == "assumed"
    assert any(flag.startswith("speculation (ngram, 4 tokens a step, acceptance 70% (assumed))") for flag in fast.flags)
    assert not any(flag.startswith("speculation") for flag in plain.flags)


def test_a_plan_says_what_the_prefix_cache_saves():
    (said,) = [flag for flag in planned("").flags if flag.startswith("prefix cache")]
    assert "50% of each prompt hits: 600 of 1,200 tokens are not prefilled" in said
    assert "the cache is counted as if nothing were shared" in said


def test_a_plan_on_an_unmeasured_family_says_whose_evidence_it_rests_on():
    found = planned("", '["mi250x"]')
    assert found.best is not None
    assert any("no cdna2 GPU was ever measured" in flag for flag in found.flags)


@pytest.mark.parametrize("gpu", ["gaudi3", "tpu-v5e"])
def test_a_device_without_evidence_is_rejected_with_a_reason_and_never_ranked(gpu: str):
    found = planned("", f'["{gpu}"]')
    assert found.plans == ()
    assert found.rejections
    assert all(rejection.reason for rejection in found.rejections)
