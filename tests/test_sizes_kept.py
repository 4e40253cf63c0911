"""Sizes are kept over volumes and money, and asked anew for everything that they depend on."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from llmsizer.decide.pricing import study as module
from llmsizer.decide.recommend import recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario

USUAL: dict[str, Any] = {"model": "llama-3.1-8b", "workload": {"preset": "chat", "tokens_per_month": 1e9}}
LIMITS: dict[str, Any] = {"gpus": ["h100-sxm-80", "l40s-48"], "precisions": ["bf16", "fp8"]}


def asked(**changes: Any) -> Scenario:
    constraints = LIMITS | changes.pop("constraints", {})
    workload = USUAL["workload"] | changes.pop("workload", {})
    return Scenario.model_validate(USUAL | {"constraints": constraints, "workload": workload} | changes)


def answer(scenario: Scenario) -> dict[str, Any]:
    catalog = default_catalog()
    found = recommend(catalog.model(scenario.model), scenario, catalog, today=datetime.date(2026, 11, 21))
    return dict(found.to_dict())


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    module._sized.cache_clear()


def test_an_answer_from_kept_sizes_is_the_answer_from_new_ones() -> None:
    scenario = asked(workload={"tokens_per_month": 7e9}, horizon_months=24)
    fresh = answer(scenario)
    module._sized.cache_clear()
    answer(asked())
    assert answer(scenario) == fresh
    assert module._sized.cache_info().misses == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"slo": {"tpot_p95_seconds": 0.02}},
        {"slo": {"quality_floor": 0.9999}},  # which leaves bf16 alone
        {"workload": {"prompt_tokens": 3000}},
        {"constraints": {"max_gpus_per_replica": 2}},
        {"constraints": {"kv_format": "fp8"}},
        {"constraints": {"gpus": ["h100-sxm-80"]}},
        {"constraints": {"precisions": ["bf16"]}},
        {"max_context_tokens": 9000},
        {"model": "qwen3-32b"},
    ],
    ids=str,
)
def test_what_sizes_depend_on_is_sized_anew(changes: dict[str, Any]) -> None:
    answer(asked())
    answer(asked(**changes))
    assert module._sized.cache_info().misses == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"workload": {"tokens_per_month": 3e9}},
        {"horizon_months": 12},
        {"constraints": {"eu_only": True}},
        {"slo": {"quality_floor": 0.9}},
    ],
    ids=str,
)
def test_volume_money_and_a_quality_that_the_same_formats_keep_are_not_sized_anew(changes: dict[str, Any]) -> None:
    answer(asked())
    answer(asked(**changes))
    assert module._sized.cache_info().misses == 1
