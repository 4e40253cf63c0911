"""What a plan promises is simulated before it is shown: it holds, or it is said how many replicas would."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from llmsizer.cli import main
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.checked import Check, check_plans
from llmsizer.decide.plan_file import load_plan_file
from llmsizer.decide.pricing.study import workload_of
from llmsizer.decide.recommend import recommend
from llmsizer.errors import MissingExtraError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.traffic.closed_form.sizing import replicas_for

TODAY = datetime.date(2026, 7, 15)
SCENARIO = """
name = "l40s-chat"
model = "llama-3.1-8b"
[workload]
preset = "chat"
tokens_per_month = 3_000_000_000
[constraints]
gpus = ["l40s"]
precisions = ["fp8"]
api = false
max_gpus_per_replica = 1
"""


@cache
def asked() -> tuple[Recommendation, Scenario, Workload]:
    scenario = Scenario.model_validate(
        {
            "model": "llama-3.1-8b",
            "workload": {"preset": "chat", "tokens_per_month": 3e9},
            "constraints": {"gpus": ["l40s"], "precisions": ["fp8"], "api": False, "max_gpus_per_replica": 1},
        }
    )
    catalog = default_catalog()
    answer = recommend(catalog.model(scenario.model), scenario, catalog, today=TODAY)
    return answer, scenario, workload_of(scenario, catalog)


def busy(times: float) -> Workload:
    """So many times the demand."""
    workload = asked()[2]
    return workload.model_copy(update={"requests_per_second": times * workload.requests_per_second})


@cache
def checked(replicas: int) -> Check:
    """The first plan with so many replicas under eight times its demand."""
    answer, scenario, _ = asked()
    return check_plans([replace(answer.plans[0], replicas=replicas)], scenario, busy(8))[0]


def test_the_first_plan_holds_its_busiest_hour_in_the_simulation_without_its_spares() -> None:
    answer, scenario, workload = asked()
    first, *others = check_plans(answer.plans, scenario, workload)
    plan = answer.plans[0]
    assert (first.label, first.replicas, first.replicas_needed, first.basis) == (
        plan.label, plan.replicas, plan.replicas, "simulated",
    )  # fmt: skip
    assert first.requests_per_second == pytest.approx(workload.peak_requests_per_second)
    assert first.ttft_p95 is not None and first.ttft_p95.value is not None and first.ttft_p95.low is not None
    assert first.holds_slo and first.ttft_p95.value < scenario.slo.ttft_p95_seconds
    assert others == []  # a plan that holds needs no other beside it
    assert f"of {scenario.slo.ttft_p95_seconds:g} s" in first.sentence(scenario.slo)
    assert check_plans(answer.plans, scenario, workload)[0] == first  # the same of the same seed


def test_a_fleet_that_misses_says_how_many_replicas_hold_it_and_the_next_plan_is_looked_at() -> None:
    answer, scenario, _ = asked()
    enough = next(count for count in range(1, 20) if checked(count).holds_slo)
    assert enough > 1  # the demand is more than one replica's
    short = checked(enough - 1)
    assert (short.holds_slo, short.replicas_needed) == (False, enough)
    assert f"{enough} hold it" in short.sentence(scenario.slo)
    each = answer.plans[0].capacity.requests_per_second.value
    assert each and short.headroom_needed is not None
    assert replicas_for(busy(8).peak_requests_per_second * (1 + short.headroom_needed), each) == enough
    plans = [replace(answer.plans[0], replicas=count) for count in (enough - 1, enough, enough + 1)]
    assert [check.holds_slo for check in check_plans(plans, scenario, busy(8))] == [False, True]


def test_a_fleet_that_is_far_too_small_is_overloaded_and_no_number_is_made_up() -> None:
    answer, scenario, _ = asked()
    (found,) = check_plans([replace(answer.plans[0], replicas=1)], scenario, busy(60))
    assert (found.missed, found.replicas_needed) == ("OVERLOADED", None)
    assert found.ttft_p95 is not None and found.ttft_p95.value is None
    assert "OVERLOADED" in found.sentence(scenario.slo) and "twice as many" in found.sentence(scenario.slo)


def test_without_the_simulator_it_is_said_that_nothing_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, what: str, extra: str) -> None:
        raise MissingExtraError(what, extra)

    monkeypatch.setattr("llmsizer.decide.checked.optional", missing)
    answer, scenario, workload = asked()
    (found,) = check_plans(answer.plans, scenario, workload)
    assert (found.holds_slo, found.basis, found.ttft_p95) == (None, "unknown", None)
    assert "pip install 'llmsizer[simulate]'" in found.sentence(scenario.slo)


def test_plan_prints_the_check_and_its_json_has_it_beside_the_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "scenario.toml"
    path.write_text(SCENARIO, encoding="utf-8")
    assert main(["plan", str(path), "--json"]) == 0
    text = capsys.readouterr().out
    (first,) = json.loads(text)["checked"]
    assert (first["holds_slo"], first["ttft_p95"]["basis"]) == (True, "simulated")
    (tmp_path / "plan.json").write_text(text, encoding="utf-8")
    assert load_plan_file(tmp_path / "plan.json")  # what plan writes, verify and bundle still read
    assert main(["plan", str(path)]) == 0
    assert "checked by simulation" in capsys.readouterr().out
    assert main(["plan", str(path), "--no-simulation"]) == 0
    assert "checked by simulation" not in capsys.readouterr().out
