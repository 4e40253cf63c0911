"""`[offered]`: these servers or rent. Owning is exactly what a quote says, at its price, idle GPUs included."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.pricing.study import study
from llmsizer.decide.recommend import recommend
from llmsizer.errors import ScenarioError, UnknownNameError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario, parse_scenario

TODAY = datetime.date(2026, 11, 22)
OFFERED = {"gpu": "h100", "servers": 2, "gpus_per_server": 8, "usd_per_server": 290_000, "quoted_on": "2026-11-20"}


def asked(tokens_per_month: float = 1e9, **offered: Any) -> Scenario:
    return Scenario.model_validate(
        {
            "model": "llama-3.1-8b",
            "workload": {"preset": "chat", "tokens_per_month": tokens_per_month},
            "offered": OFFERED | offered,
            "constraints": {"gpus": ["h100-sxm-80", "l40s"], "precisions": ["bf16"], "api": False, "rent": False},
        }
    )


def answer(scenario: Scenario) -> Recommendation:
    catalog = default_catalog()
    return recommend(catalog.model(scenario.model), scenario, catalog, today=TODAY)


def owned(scenario: Scenario) -> list[Plan]:
    return [plan for plan in answer(scenario).plans if plan.path == "own"]


def test_owning_is_the_servers_offered_and_nothing_else() -> None:
    plans = owned(asked())
    assert plans and {plan.deployment.gpu.id for plan in plans} == {"h100-sxm-80"}  # an L40S would do, and is cheaper
    assert {plan.units for plan in plans} == {2}  # one server would do: both are paid
    assert any("the servers offered are taken whole: " in note for note in plans[0].notes)


def test_the_quote_is_the_price_and_what_follows_from_it_is_in_the_bill() -> None:
    def hardware(**offered: Any) -> float:
        part = next(part for part in owned(asked(**offered))[0].cost.parts if part.name == "hardware")
        assert part.usd_per_month.value is not None
        return part.usd_per_month.value

    assert hardware() == pytest.approx(2 * hardware(servers=1))
    assert hardware(usd_per_server=580_000) == pytest.approx(2 * hardware())


def test_where_the_offer_does_not_hold_the_load_more_of_the_same_are_counted_and_said() -> None:
    [plan, *_] = owned(asked(2e12, servers=1))
    assert plan.units > 1
    said = f"offered: 1; the load needs {plan.units} such servers, all priced like these"
    assert said in plan.notes


@pytest.mark.parametrize("tokens_per_month", [1e9, 5e11, 2e12])
def test_the_quick_total_is_the_bills_total(tokens_per_month: float) -> None:
    scenario, catalog = asked(tokens_per_month), default_catalog()
    found = study(catalog.model("llama-3.1-8b"), scenario, catalog, today=TODAY)
    workload = found.question.workload
    priced = [(one, usd) for one in found.sized if (usd := found.pricer.usd(one, "own", workload)) is not None]
    assert priced
    for sized, usd in priced:
        assert found.pricer.plan(sized, "own", workload).cost.usd_per_month.value == pytest.approx(usd)


def test_a_replica_that_no_server_offered_holds_is_not_owned() -> None:
    scenario = asked(gpus_per_server=1).model_copy(update={"model": "llama-3.3-70b"})  # 141 GB of weights
    recommendation = answer(scenario)
    assert recommendation.plans == ()
    assert any("no place in what is offered" in one.reason for one in recommendation.rejections)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("servers = 0", "greater than or equal to 1"),
        ("server = 2", "server"),
        ('servers = 2\nquoted_on = "yesterday"', "quoted_on"),
        ("servers = 2\nusd_per_server = 0", "greater than 0"),
        ("servers = 2\n[constraints]\nown = false", "own is false"),
    ],
)
def test_what_is_wrong_with_an_offer_is_one_line(line: str, said: str) -> None:
    head = 'model = "llama-3.1-8b"\nworkload = {preset = "chat", tokens_per_month = 1e9}\n[offered]\ngpu = "h100"\n'
    with pytest.raises(ScenarioError, match=said):
        parse_scenario(f"{head}gpus_per_server = 8\n{line}\n")


def test_a_gpu_that_nobody_knows_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean h100"):
        owned(asked(gpu="h10"))
