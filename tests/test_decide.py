"""From a scenario to an answer: shipped scenarios, published facts, constraints, the two readings of one name."""

from __future__ import annotations

from pathlib import Path

import pytest

from deciding import (
    CATALOG,
    FEW,
    SCENARIOS,
    TODAY,
    BlindPhysics,
    answer,
    answer_to_file,
    scenario,
    usd,
)
from llmsizer.decide.pricing.study import workload_of
from llmsizer.decide.recommend import recommend
from llmsizer.deliver.tables.plans import excluded_table
from llmsizer.errors import LlmSizerError, ScenarioError, UnknownNameError
from llmsizer.facts.deployment import deployment
from llmsizer.physics.memory.account import estimate_memory


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_every_shipped_scenario_is_answered_in_one_sentence(path: Path) -> None:
    found = answer_to_file(path.stem)
    assert found.sentence and "\n" not in found.sentence
    assert (found.plans or found.near_misses) and found.leaves_out and found.assumptions
    assert found.reading  # both readings of mistral-small-4 say which they are


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_plans_are_priced_in_order_and_rejections_say_why_and_what_would_do(path: Path) -> None:
    found = answer_to_file(path.stem)
    ranks = [(not plan.is_robust, round(usd(plan), 2)) for plan in found.plans]
    assert ranks == sorted(ranks)
    for plan in found.plans:
        assert usd(plan) == pytest.approx(sum(part.usd_per_month.value or 0 for part in plan.cost.parts))
        assert plan.at_peak.verdict == "STABLE"
        assert plan.fit.used_bytes <= plan.fit.gpu_bytes
    for rejection in found.rejections:
        assert rejection.reason and rejection.nearest_fix, rejection


def test_the_interval_of_a_cost_counts_the_replicas_that_the_interval_of_the_step_times_may_take() -> None:
    busy = answer(scenario(FEW, tokens_per_month=8e10, peak_to_average=1.0))  # all hours alike: always on
    plan = next(p for p in busy.plans if p.path == "rent" and any("replicas for the peak" in n for n in p.notes))
    rate = plan.capacity.requests_per_second
    peak = busy_peak(8e10)
    assert rate.low is not None and rate.high is not None
    most, fewest = (int(-(-peak // end)) + plan.spare_replicas for end in (rate.low, rate.high))
    (instances,) = [part.usd_per_month for part in plan.cost.parts if part.name == "instances"]
    each = (instances.value or 0) / plan.units
    assert (instances.low or 0) == pytest.approx(fewest * each) and (instances.high or 0) >= most * each * (1 - 1e-9)


def busy_peak(tokens: float) -> float:
    asked = scenario(FEW, tokens_per_month=tokens, peak_to_average=1.0)
    return workload_of(asked, CATALOG).peak_requests_per_second


def test_in_eu_mode_data_and_operator_have_to_be_european_and_what_is_unknown_is_not_taken_for_it() -> None:
    found = answer(scenario("[constraints]\neu_only = true\n", model="mistral-small-4"))
    assert not [plan for plan in found.plans if plan.path == "rent"]  # no list names a region of an EU operator
    reasons = {r.candidate: r.reason for r in found.rejections if r.candidate.startswith("rent at")}
    assert reasons["rent at GCP"] == "operator jurisdiction: GCP stands under US law; asked EU"
    assert reasons["rent at Genesis Cloud"] == "data location: the price list names no region; asked EU"
    assert found.apis and all("not in the price list" in " ".join(api.notes) for api in found.apis)
    assert not found.sentence.startswith("Call")


def test_data_location_alone_lets_a_foreign_operator_in_and_an_unknown_one_fails_a_jurisdiction() -> None:
    here = answer(scenario('[constraints]\nzones = ["EU"]\n' + FEW.removeprefix("[constraints]\n")))
    rented = [plan for plan in here.plans if plan.path == "rent"]
    assert {plan.zone for plan in rented} == {"EU"}
    assert all("stands under US law" in " ".join(plan.notes) for plan in rented if plan.provider == "GCP")
    text = '[constraints]\noperator_jurisdictions = ["GB"]\n' + FEW.removeprefix("[constraints]\n")
    british = answer(scenario(text))
    assert {plan.provider for plan in british.plans if plan.path == "rent"} == {"Hyperstack"}
    reasons = {r.candidate: r.reason for r in british.rejections}
    assert "has an unknown jurisdiction" in reasons["rent at Vultr"]


def test_the_real_reading_is_the_default_and_its_own_api_comes_first() -> None:
    found = answer_to_file("eu-chat")
    assert found.model == "mistral-small-4-119b-2603" and "119B" in found.reading
    assert found.apis[0].same_model and found.apis[0].model == found.model
    # Of those who serve it, one under EU law comes before a cheaper one whose law nobody knows.
    assert found.apis[0].provider == "mistral" and "whose operator stands under EU law" in found.sentence
    assert "openrouter asks $20.97 and is not known to stand under EU law" in found.sentence
    # openrouter's list: 80 M in × (70 % × 0.15 + 30 % × 0.015) + 20 M out × 0.60
    router = next(api for api in found.apis if api.provider == "openrouter")
    assert router.cost.usd_per_month.value == pytest.approx(
        1.01 * (80 * (0.7 * 0.15 + 0.3 * 0.015) + 20 * 0.6)
    )  # one retry in a hundred


def test_the_press_reading_of_22b_says_so_and_where_40_to_50_gb_stops_holding() -> None:
    found = answer_to_file("eu-chat-22b")
    assert "22B" in found.reading and "assumed" in found.reading
    # 22,247,282,688 parameters × 2 bytes = 44.5 GB; (50 GB − 44.4946 GB) / 229,376 bytes a token = 24,001 tokens
    assert "44.5 GB" in found.memory_note and "40–50 GB up to 24,001 tokens" in found.memory_note
    assert "fits one H100 SXM5 80GB" in found.memory_note
    assert not any(api.same_model for api in found.apis)
    assert "No API serves this reading" in found.sentence


def test_the_room_on_one_80_gb_card_is_what_the_memory_account_says() -> None:
    found = answer_to_file("eu-chat-22b")
    model, context = CATALOG.model("mistral-small-4-press-22b"), 4300  # the chat preset's longest usual request
    budget = estimate_memory(deployment(model, CATALOG.gpu("h100-sxm-80"), max_context_tokens=context))
    assert budget.fits and f"{budget.kv_capacity_tokens:,} tokens" in found.memory_note


def test_an_api_is_the_answer_where_it_is_cheaper_and_data_may_go_anywhere() -> None:
    found = answer_to_file("build-or-buy")
    assert found.sentence.startswith("Call mistral-small-4-119b-2603 at ")


def test_one_card_means_one_card_and_no_api_means_none() -> None:
    found = answer_to_file("one-card-22b")
    assert {plan.deployment.parallelism.gpus for plan in found.plans} == {1}
    assert found.apis == () and "API" not in found.sentence


def test_nothing_feasible_still_names_the_closest() -> None:
    found = answer(scenario("[slo]\ntpot_p95_seconds = 0.0001\n" + FEW + "api = false"))
    assert found.plans == () and found.best is None
    assert found.sentence.startswith("Nothing meets everything asked")
    assert 1 <= len(found.near_misses) <= 3
    assert "meets it at" in found.near_misses[0].nearest_fix


def test_where_nothing_is_known_the_answer_abstains() -> None:
    asked = scenario(FEW)
    found = recommend(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=BlindPhysics())
    assert found.plans == ()
    kinds = {rejection.kind for rejection in found.rejections}
    assert "no evidence" in kinds and not any(r.kind == "slo" for r in found.rejections)


def test_a_budget_turns_plans_into_rejections_that_name_the_budget_they_need() -> None:
    every = answer(scenario(FEW))
    limit = usd(every.plans[2]) + 1
    found = answer(scenario(FEW + f"max_usd_per_month = {limit}"))
    assert all(usd(plan) <= limit for plan in found.plans)
    assert {r.kind for r in found.rejections} >= {"budget"}


def test_a_context_beyond_the_model_is_one_rejection() -> None:
    found = answer(scenario("max_context_tokens = 100000\n" + FEW))
    assert [r.kind for r in found.rejections] == ["constraint"] and "32,768" in found.rejections[0].reason


def test_a_prompt_beyond_the_model_is_a_sentence_with_the_nearest_fix() -> None:
    found = answer(scenario(FEW, prompt_tokens=300_000))
    assert "1 × constraint" not in found.sentence
    assert "the model holds 32,768. What would do: prompts of at most 32,468 tokens" in found.sentence


def test_what_a_constraint_excludes_is_shown_by_reason_with_everyone_it_excludes() -> None:
    found = answer(scenario('[constraints]\nzones = ["EU"]\ngpus = ["h100-sxm-80", "l40s", "l4"]'))
    rows = excluded_table(found).rows
    listed = " ".join(row[0].text for row in rows)
    out = [r.candidate.removeprefix("rent at ") for r in found.rejections if r.kind == "constraint"]
    assert out and all(name in listed for name in out) and len(rows) < len(out)
    assert all(row[1].text and row[2].text for row in rows)


def test_api_only_asks_for_no_machines() -> None:
    found = answer(scenario("[constraints]\nown = false\nrent = false", model="mistral-small-4"))
    assert found.plans == () and found.rejections == () and found.apis
    assert found.sentence.startswith("Call mistral-small-4-119b-2603")


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ('[constraints]\ngpus = ["h100-smx-80"]', UnknownNameError, "did you mean h100-sxm-80"),
        ('[constraints]\nexclude_gpus = ["abacus"]', UnknownNameError, "no GPU named"),
        ("max_context_tokens = 10", ScenarioError, "less than a mean request"),
        ("[assumptions]\npuee = 1", ScenarioError, "did you mean pue"),
    ],
)
def test_names_and_numbers_that_cannot_be_meant_are_refused(text: str, error: type[LlmSizerError], says: str) -> None:
    with pytest.raises(error, match=says):
        answer(scenario(text))


def test_a_gpu_without_a_known_power_draw_is_out_of_a_rack_in_words() -> None:
    blind = [gpu.id for gpu in CATALOG.gpus() if gpu.tdp_watts is None and gpu.device_class == "datacenter"]
    assert blind
    names = ", ".join(f'"{name}"' for name in blind)
    found = answer(scenario(f"[constraints]\ngpus = [{names}]\nmax_kw_per_rack = 15\n"))
    reasons = {r.candidate: r.reason for r in found.rejections if r.candidate.startswith("own: ")}
    assert reasons and all("power draw is not in the catalogue" in reason for reason in reasons.values())
