"""Laws that every answer keeps, whatever is asked, and the published shape of its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from deciding import (
    CATALOG,
    FEW,
    PROFILES,
    SCENARIOS,
    TODAY,
    answer,
    answer_to_file,
    scenario,
    usd,
)
from llmsizer.decide.answer import RecommendationDoc, Rejection
from llmsizer.decide.pricing.study import workload_of
from llmsizer.decide.recommend import recommend
from llmsizer.decide.schema import published_schemas, schema_text
from llmsizer.errors import ScenarioError
from llmsizer.facts.scenario import load_scenario, parse_scenario


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
