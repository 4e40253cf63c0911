"""Beside the stairs and lines: P10–P90 over the volume, idle as a part of its own, cash, and three places."""

from __future__ import annotations

import datetime
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import answers
from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.certainty.volume_spread import VolumeSpread, volume_spreads
from llmsizer.decide.places import BOUNDS, AtPlace, at_places
from llmsizer.decide.pricing.apis import api_choices
from llmsizer.decide.pricing.idle import BY_TIME, IDLE, used_share, with_idle
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.recommend import answer_of, first_plans, recommend
from llmsizer.deliver.charts.cash import cash_alt, cash_figure, cash_table, paybacks_table
from llmsizer.deliver.charts.figures import cost_figure
from llmsizer.deliver.charts.volume import Axes, spreads_table, volume_figure
from llmsizer.deliver.views.places import places_alt, places_figure, places_table
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import unknown
from llmsizer.facts.scenario import Scenario
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart

TODAY = datetime.date(2026, 7, 15)


def scenario(**constraints: object) -> Scenario:
    few = {"gpus": ["l40s", "h100-sxm-80"], "precisions": ["fp8"], "max_gpus_per_replica": 2}
    return Scenario.model_validate(
        {
            "model": "llama-3.1-8b",
            "workload": {"preset": "chat", "tokens_per_month": 1e9},
            "constraints": few | constraints,
        }
    )


@cache
def found() -> Study:
    catalog, asked = default_catalog(), scenario()
    return study(catalog.model(asked.model), asked, catalog, today=TODAY)


@cache
def answer() -> Recommendation:
    return answer_of(found(), default_catalog())


def comparison() -> Comparison:
    compared = answer().comparison
    assert compared is not None
    return compared


@cache
def spreads() -> tuple[VolumeSpread, ...]:
    return volume_spreads(found(), comparison(), api_choices(found()))


# P10 to P90 over the volume -------------------------------------------------------------------------------------------


def test_every_path_has_its_band_in_order_at_every_volume_that_has_a_price() -> None:
    assert [spread.label for spread in spreads()] == [path.label for path in comparison().paths]
    for spread, path in zip(spreads(), comparison().paths, strict=True):
        priced = [step.tokens_per_month for step in path.steps if step.usd_per_month.value is not None]
        assert list(spread.tokens_per_month) == priced
        ends = np.array([spread.usd_p10, spread.usd_p50, spread.usd_p90])
        assert (np.diff(ends, axis=0) >= 0).all()
        assert (np.diff(ends, axis=1) >= -1e-6 * ends[:, :-1]).all(), "no bill falls with the volume"


def test_a_band_at_your_volume_is_that_of_the_answers_own_draws() -> None:
    sure = answer().uncertainty
    assert sure is not None
    for spread in spreads()[:2]:
        own = next(path for path in sure.paths if path.path == spread.path)
        at = spread.tokens_per_month.index(1e9)
        assert spread.usd_p10[at] == pytest.approx(own.usd_p10, rel=0.05)
        assert spread.usd_p90[at] == pytest.approx(own.usd_p90, rel=0.05)


def test_the_band_of_an_api_grows_in_proportion() -> None:
    api = next(spread for spread in spreads() if spread.path == "api")
    each = np.array(api.usd_p90) / np.array(api.tokens_per_month)
    assert each == pytest.approx(each[0])


def test_the_chart_draws_the_comparisons_own_costs_and_the_bands_around_them() -> None:
    data = volume_figure(comparison(), spreads(), 1e9)["data"]
    own = next(trace for trace in data if trace.get("name") == "own" and trace["mode"] == "lines+markers")
    steps = {step.tokens_per_month: step.usd_per_month.value for step in comparison().paths[0].steps}
    assert dict(zip(own["x"], own["y"], strict=True)) == steps
    bands = [trace for trace in data if trace.get("name") in ("P10", "P90")]
    assert list(spreads()[0].usd_p10) == bands[0]["y"] and list(spreads()[0].usd_p90) == bands[1]["y"]
    assert own["line"]["shape"] == bands[0]["line"]["shape"] == "hv"


def test_without_draws_there_are_no_bands() -> None:
    assert not [trace for trace in volume_figure(answers.comparison())["data"] if trace.get("fill")]


def test_reached_crossovers_are_marked_and_others_are_not() -> None:
    spec = volume_figure(answers.comparison())
    marked = next(trace for trace in spec["data"] if trace.get("name") == "crossover")
    assert marked["x"] == [9.5e9]
    assert [note["text"] for note in spec["layout"]["annotations"]] == ["<b>9.5B</b>"]


def test_a_proportional_axis_starts_at_zero_and_ends_beyond_what_matters() -> None:
    linear = volume_figure(answers.comparison(), (), 2e10, Axes(log_volume=False, log_usd=False))["layout"]
    assert (linear["xaxis"]["type"], linear["xaxis"]["range"]) == ("linear", [0, 5e10])  # 2.5 times your volume
    assert linear["yaxis"]["type"] == "linear" and linear["yaxis"]["range"][0] == 0
    note = linear["annotations"][0]
    assert (note["text"], note["x"]) == ("your volume", 2e10)


def test_the_table_of_bands_says_a_dash_where_nothing_is_known() -> None:
    cut = replace(spreads()[0], tokens_per_month=spreads()[0].tokens_per_month[:3])
    cells = spreads_table((cut, spreads()[1])).rows[0]
    assert cells[-1].text == "–" and " to " in cells[1].text


# idle -----------------------------------------------------------------------------------------------------------------


def bill(**parts: float) -> Cost:
    return replace(
        answers.rent_cost(),
        parts=tuple(CostPart(name=name, usd_per_month=answers.usd(usd)) for name, usd in parts.items()),
    )


def test_three_quarters_of_the_instances_wait_and_none_of_the_people() -> None:
    split = with_idle(bill(instances=1000, people=500), 0.25)
    assert {part.name: part.usd_per_month.value for part in split.parts} == {
        IDLE: 750,
        "instances": 250,
        "people": 500,
    }


@given(st.floats(0, 1), st.lists(st.floats(0, 1e6), min_size=1, max_size=5))
def test_whatever_waits_the_bill_stays_the_bill(used: float, amounts: list[float]) -> None:
    names = [*sorted(BY_TIME)[:4], "people"]
    whole = bill(**dict(zip(names, amounts, strict=False)))
    split = with_idle(whole, used)
    assert split.usd_per_month.value == pytest.approx(whole.usd_per_month.value, abs=1e-6)
    assert split.usd_per_month.low == pytest.approx(whole.usd_per_month.low, abs=1e-6)
    assert split.usd_per_month.high == pytest.approx(whole.usd_per_month.high, abs=1e-6)


def test_an_api_has_no_idle_part_and_an_unknown_part_stays_unknown() -> None:
    assert with_idle(answers.api_cost(), 0.1) == answers.api_cost()
    holed = bill(instances=1000)
    holed = replace(holed, parts=(*holed.parts, CostPart(name="storage", usd_per_month=unknown("none", USD_PER_MONTH))))
    split = with_idle(holed, 0.5)
    assert split.usd_per_month.value is None and split.at_least_usd_per_month == pytest.approx(1000)


def test_used_is_the_average_over_what_all_replicas_hold() -> None:
    # 1 replica and 1 spare of 9.4 requests a second each.
    workload = found().question.workload.model_copy(update={"requests_per_second": 1.88})
    plan = answers.recommendation().plans[0]
    assert used_share(plan, workload) == pytest.approx(0.1)
    # Machines that are given back for half of the hours are not paid for while they would wait.
    assert used_share(replace(plan, billed_share=0.5), workload) == pytest.approx(0.2)


def test_idle_looks_the_same_in_every_bill() -> None:
    own, rent = with_idle(answers.own_cost(), 0.5), with_idle(bill(instances=10), 0.5)
    looks = [
        trace["marker"]["color"]
        for bills in ([("a", own)], [("b", rent)])
        for trace in cost_figure(bills)["data"]
        if trace["name"].startswith(IDLE)
    ]
    assert len(looks) == 2 and len(set(looks)) == 1


# cash -----------------------------------------------------------------------------------------------------------------


def test_the_cash_line_ends_at_the_total_and_begins_with_the_purchase() -> None:
    own = cash_figure(comparison())["data"][0]
    flow = comparison().cash_flows[0]
    assert flow.usd_by_month is not None and flow.total_usd is not None
    assert own["y"][0] == flow.usd_by_month[0] > 0
    assert own["y"][-1] == pytest.approx(flow.total_usd)
    assert "in all" in cash_alt(comparison())


def test_a_path_without_a_price_is_a_row_that_says_why_and_no_line() -> None:
    flow = replace(comparison().cash_flows[0], usd_by_month=None, reason="no price of a server")
    holed = replace(comparison(), cash_flows=(flow, *comparison().cash_flows[1:]))
    assert len(cash_figure(holed)["data"]) == len(comparison().cash_flows) - 1
    assert cash_table(holed).rows[0][1].remark == "no price of a server"


def test_what_is_not_earned_back_says_whether_it_was_searched() -> None:
    rows = paybacks_table(comparison()).rows
    assert rows
    assert {row[1].text.split(" ")[0] for row in rows} <= {"month", "not"}
    unsearched = replace(comparison().paybacks[0], state="not searched", month=None)
    assert paybacks_table(replace(comparison(), paybacks=(unsearched,))).rows[0][1].text == "not searched"


# three places ---------------------------------------------------------------------------------------------------------


@cache
def three() -> tuple[AtPlace, ...]:
    return at_places(found(), api_choices(found()))


def test_each_place_gives_what_its_own_question_gives() -> None:
    catalog = default_catalog()
    for at in three():
        asked = scenario(**BOUNDS[at.place])
        plans = recommend(catalog.model(asked.model), asked, catalog, today=TODAY).plans
        firsts: dict[str, Plan] = {}
        for plan in plans:
            firsts.setdefault(plan.path, plan)
        for path in ("own", "rent"):
            here: Plan | None = getattr(at, path)
            assert (here and here.label) == ((path in firsts and firsts[path].label) or None)
            if here is not None:
                assert here.cost.usd_per_month == firsts[path].cost.usd_per_month


def test_the_first_plans_are_the_first_of_each_path() -> None:
    firsts = {plan.path: plan.label for plan in reversed(answer().plans)}
    assert {plan.path: plan.label for plan in first_plans(found())} == firsts


def test_a_tighter_place_is_never_cheaper_and_an_api_may_not_be_taken_there() -> None:
    anywhere, eu, law = three()
    usd = [at.rent.cost.usd_per_month.value if at.rent else None for at in (anywhere, eu, law)]
    known = [value or 0.0 for value in usd if value is not None]
    assert known == sorted(known)
    assert not anywhere.why_no_api and eu.why_no_api and law.why_no_api


def test_what_a_place_rules_out_is_said_and_drawn_hollow() -> None:
    bare = (three()[0], replace(three()[2], rent=None))
    table = places_table(bare)
    assert table.rows[1][2].text == "none" and "no offer" in table.rows[1][2].remark
    api = places_figure(bare)["data"][-1]
    assert api["marker"]["symbol"] == ["diamond", "diamond-open"]
    assert "In the EU, under EU law" in places_alt(bare)


def test_with_nothing_anywhere_there_is_nothing_to_draw() -> None:
    empty = tuple(replace(at, own=None, rent=None, api=None) for at in three())
    assert places_figure(empty)["data"] == []
    assert places_alt(empty).count("nothing") == 3
