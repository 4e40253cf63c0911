"""From a scenario to an answer: laws that every answer keeps, the published facts, and the two readings of one name."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from llmsizer.decide.answer import Plan, Recommendation, RecommendationDoc, Rejection
from llmsizer.decide.compare import LEAST_TOKENS, _crossover
from llmsizer.decide.curves import at_volume
from llmsizer.decide.modelled import ModelledPhysics
from llmsizer.decide.quality import quality_recovery
from llmsizer.decide.recommend import compare, recommend
from llmsizer.decide.schema import published_schemas, schema_text
from llmsizer.decide.stepping import sample_many
from llmsizer.decide.study import study, workload_of
from llmsizer.deliver.answer_tables import excluded_table
from llmsizer.errors import LlmSizerError, NoEvidenceError, ScenarioError, UnknownNameError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.evidence import load_quality_prior, load_support
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario, load_scenario, parse_scenario
from llmsizer.physics.memory import estimate_memory
from llmsizer.physics.step_times import decode_step_seconds, prefill_seconds
from llmsizer.traffic.meanfield import Probe, StepSample

TODAY = datetime.date(2026, 11, 21)
CATALOG = default_catalog()
PROFILES = Path(__file__).parent.parent / "profiles"
SCENARIOS = sorted((PROFILES / "scenarios").glob("*.toml"))


class RooflinePhysics(ModelledPhysics):
    """Real memory; weights and cache over most of the bandwidth, arithmetic over some of the peak."""

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> list[StepSample | NoEvidenceError]:
        return [roofline(deployment, points) for deployment, points in asked]


def roofline(d: Deployment, points: Probe) -> StepSample:
    model, gpus, batch = d.model, d.parallelism.gpus, np.array(points.batches, dtype=float)
    params = np.minimum(model.total_params, model.active_params * batch) if model.is_moe else model.total_params
    read = params * d.weights.bytes_per_quantized_weight + batch * model.kv_values(points.context_tokens) * 2
    prefill_rate = (d.gpu.flops_16bit_per_second or 1e12) * 0.4 * gpus / 2 / model.active_params
    return StepSample(
        decode_seconds=read / (d.gpu.memory_bytes_per_second * 0.7 * gpus) + 0.004,
        first_token_seconds=0.02 + points.prompt_tokens / prefill_rate,
        first_token_p95_seconds=0.02 + points.prompt_tokens_p95 / prefill_rate,
        prefill_seconds=points.prompt_tokens / prefill_rate,
        overhead_seconds=0.01,
        decode_interval=(0.9, 1.1),
        prefill_interval=(0.9, 1.1),
    )


class BlindPhysics(ModelledPhysics):
    """No evidence for any step time."""

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> list[StepSample | NoEvidenceError]:
        return [NoEvidenceError("nobody measured this") for _ in asked]


def scenario(text: str = "", *, model: str = "mistral-small-2409", **workload: float) -> Scenario:
    lines = "\n".join(f"{key} = {value}" for key, value in ({"tokens_per_month": 1e9} | workload).items())
    return parse_scenario(f'model = "{model}"\nelectricity_area = "DEU"\n{text}\n[workload]\npreset = "chat"\n{lines}')


FEW = '[constraints]\ngpus = ["h100-sxm-80", "l40s", "a100-sxm-80", "l4"]\n'


def answer(asked: Scenario) -> Recommendation:
    return recommend(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())


@cache
def answer_to_file(name: str) -> Recommendation:
    return answer(load_scenario(PROFILES / "scenarios" / f"{name}.toml"))


def usd(plan: Plan) -> float:
    value = plan.cost.usd_per_month.value
    assert value is not None
    return value


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
    # openrouter's list: 80 M in × (70 % × 0.15 + 30 % × 0.015) + 20 M out × 0.60
    assert found.apis[0].cost.usd_per_month.value == pytest.approx(
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


# step times -----------------------------------------------------------------------------------------------------------


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


# comparison -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["eu-chat", "build-or-buy"])
def test_stairs_never_go_down_and_hold_the_bill_of_their_plan(name: str) -> None:
    comparison = answer_to_file(name).comparison
    assert comparison is not None
    for path in comparison.paths:
        costs = [step.usd_per_month.value for step in path.steps]
        assert None not in costs or (path.path, set(costs)) == ("rent", {None})  # nothing may be rented in EU mode
        known = [cost for cost in costs if cost is not None]
        assert all(b >= a * (1 - 1e-9) for a, b in pairwise(known)), path.label


def test_the_quick_sum_is_the_bill_in_full() -> None:
    asked = scenario(FEW)
    found = study(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())
    for tokens in (1e8, 3e10, 1e12):
        workload = at_volume(found.question.workload, tokens)
        for sized in found.sized[::3]:
            for path in ("own", "rent"):
                quick = found.pricer.usd(sized, "own" if path == "own" else "rent", workload)
                if quick is not None:
                    plan = found.pricer.plan(sized, "own" if path == "own" else "rent", workload)
                    assert quick == pytest.approx(usd(plan), rel=1e-12)


def _cross(below: dict[str, float], above: dict[str, float | None]) -> tuple[str, float | None]:
    """Fixed and per-token costs, crossed."""

    def line(spec: Mapping[str, float | None]):  # type: ignore[no-untyped-def]
        fixed, each = (math.nan if value is None else value for value in (spec["fixed"], spec["each"]))
        return lambda tokens: fixed + each * tokens

    crossing = _crossover("below", "above", line(below), line(above), {})
    return crossing.state, crossing.tokens_per_month


def test_crossovers_by_hand() -> None:
    # $0.50 a million against $1,000 a month: equal at 2,000 million
    state, tokens = _cross({"fixed": 0, "each": 0.5e-6}, {"fixed": 1000, "each": 0})
    assert (state, tokens) == ("reached", 2e9)


def test_not_reached_is_not_the_same_as_not_searched() -> None:
    assert _cross({"fixed": 0, "each": 1e-10}, {"fixed": 1000, "each": 0}) == ("not reached", None)
    assert _cross({"fixed": 0, "each": 1e-6}, {"fixed": None, "each": None}) == ("not searched", None)
    assert _cross({"fixed": 1000, "each": 0}, {"fixed": 0, "each": 0}) == ("reached", LEAST_TOKENS)


def test_compare_is_the_comparison_of_the_recommendation() -> None:
    asked = scenario(FEW)
    alone = compare(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())
    whole = answer(asked).comparison
    assert whole is not None and alone.to_dict() == whole.to_dict()


# laws -----------------------------------------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None)
@given(st.floats(1e6, 1e11), st.floats(1.0, 30.0))
def test_more_tokens_never_cost_less(tokens: float, more: float) -> None:
    few = answer(scenario(FEW, tokens_per_month=tokens)).best
    many = answer(scenario(FEW, tokens_per_month=tokens * more)).best
    assert few is not None and many is not None
    assert usd(many) >= usd(few) * (1 - 1e-9)


@settings(max_examples=8, deadline=None)
@given(st.floats(0.02, 0.2), st.floats(1.0, 4.0))
def test_a_looser_slo_never_costs_more(tpot: float, looser: float) -> None:
    tight = answer(scenario(f"[slo]\ntpot_p95_seconds = {tpot}\n" + FEW)).best
    loose = answer(scenario(f"[slo]\ntpot_p95_seconds = {tpot * looser}\n" + FEW)).best
    if tight is not None and tight.is_robust:
        assert loose is not None and usd(loose) <= usd(tight) * (1 + 1e-3)


@settings(max_examples=20, deadline=None)
@given(
    tokens=st.floats(1, 1e15),
    prompt=st.integers(1, 30_000),
    output=st.integers(1, 2_000),
    cached=st.floats(0, 0.99),
    ttft=st.floats(0.001, 1000),
    tpot=st.floats(0.0001, 10),
    horizon=st.integers(1, 120),
    spare=st.integers(0, 64),
    tp=st.integers(1, 1024),
)
def test_whatever_is_asked_is_answered_in_plain_numbers(
    tokens: float,
    prompt: int,
    output: int,
    cached: float,
    ttft: float,
    tpot: float,
    horizon: int,
    spare: int,
    tp: int,
) -> None:
    asked = parse_scenario(
        f"""model = "mistral-small-2409"
        horizon_months = {horizon}
        spare_replicas = {spare}
        workload = {{ tokens_per_month = {tokens}, prompt_tokens = {prompt}, output_tokens = {output}, """
        f"""cached_prompt_fraction = {cached} }}
        slo = {{ ttft_p95_seconds = {ttft}, tpot_p95_seconds = {tpot} }}
        constraints = {{ gpus = ["h100-sxm-80", "l4", "m4-max"], max_gpus_per_replica = {tp} }}"""
    )
    try:
        found = recommend(CATALOG.model(asked.model), asked, CATALOG, today=TODAY)
    except ScenarioError as refused:  # more requests a second than a workload may have
        assert "1000000" in str(refused)
        return
    json.dumps(found.to_dict(), allow_nan=False)
    assert found.sentence
    for plan in found.plans:
        assert 0 < usd(plan) < float("inf")


# documents ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda p: p.stem)
def test_the_result_as_json_keeps_to_the_published_schema(path: Path) -> None:
    document = json.loads(json.dumps(answer_to_file(path.stem).to_dict(), allow_nan=False))
    TypeAdapter(RecommendationDoc).validate_python(document)


def test_published_schemas_are_current() -> None:
    for name, schema in published_schemas().items():
        text = (PROFILES / "schema" / name).read_text(encoding="utf-8")
        assert text == schema_text(schema), f"{name} is old: run llmsizer.decide.schema.write_schemas"


def test_every_number_in_a_plan_says_how_it_is_known() -> None:
    best = answer_to_file("eu-chat").to_dict()["plans"][0]
    for part in best["cost"]["parts"]:
        figure = part["usd_per_month"]
        assert figure["basis"] and figure["source"] and figure["as_of"] and part["how"]
    assert best["capacity"]["requests_per_second"]["low"] is not None
    assert best["quality_recovery"]["reason"]


def test_rejections_are_distinct() -> None:
    rejections = answer_to_file("eu-chat").rejections
    assert len({(r.candidate, r.reason) for r in rejections}) == len(rejections)
    assert all(isinstance(r, Rejection) for r in rejections)


def test_a_workload_is_the_preset_scaled_to_the_tokens() -> None:
    workload = workload_of(load_scenario(PROFILES / "scenarios" / "eu-chat.toml"), CATALOG)
    assert workload.name == "chat"
    assert workload.input_tokens_per_month + workload.output_tokens_per_month == pytest.approx(100e6)
