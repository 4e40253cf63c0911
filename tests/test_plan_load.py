"""One plan under its load: the closed form at once, and what the simulator says of the same fleet."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import answers
from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.fleets import FleetChoice, closed_form, served_fleet
from llmsizer.decide.plan_load import PlanLoad, plan_load, simulate_load
from llmsizer.decide.pricing.study import workload_of
from llmsizer.decide.recommend import recommend
from llmsizer.deliver.charts import plan_latency as plan_latency_figures
from llmsizer.deliver.charts.load_charts import limit_of
from llmsizer.deliver.charts.plan_hours import losses_figure, losses_table, week_figure, week_table
from llmsizer.deliver.charts.plan_latency import latency_alt, latency_figure, latency_table
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Slo
from llmsizer.traffic.closed_form.meanfield import Replica, saturation_rate
from llmsizer.traffic.closed_form.sizing import hold
from llmsizer.traffic.closed_load import closed_curve, closed_losses, closed_week, fleet_at, hosts_that_may_be_down
from llmsizer.traffic.failing.failures import Domains

TODAY = datetime.date(2026, 7, 15)
SLO = Slo(ttft_p95_seconds=2.0, tpot_p95_seconds=0.05)


def scenario(tokens_per_month: float = 3e9) -> Scenario:
    return Scenario.model_validate(
        {
            "model": "llama-3.1-8b",
            "workload": {"preset": "chat", "tokens_per_month": tokens_per_month},
            "constraints": {"gpus": ["l40s"], "precisions": ["fp8"], "api": False, "max_gpus_per_replica": 1},
        }
    )


@cache
def answer(tokens_per_month: float = 3e9) -> Recommendation:
    catalog, asked = default_catalog(), scenario(tokens_per_month)
    return recommend(catalog.model(asked.model), asked, catalog, today=TODAY)


def plan() -> Plan:
    best = answer().best
    assert best is not None
    return best


@cache
def load() -> PlanLoad:
    return plan_load(plan(), scenario(), default_catalog(), today=TODAY)


@cache
def replica() -> Replica:
    asked, physics = scenario(), ModelledPhysics()
    workload = workload_of(asked, default_catalog())
    deployment = plan().deployment
    return closed_form(deployment, workload, physics, physics.memory(deployment, workload))


def test_the_fleet_is_that_of_the_answer_and_holds_as_much_as_the_plan_says() -> None:
    catalog = default_catalog()
    served = served_fleet(catalog.model("llama-3.1-8b"), scenario(), catalog, FleetChoice(), today=TODAY)
    assert (load().fleet.label, load().fleet.replicas_per_host) == (served.label, served.replicas_per_host)
    each = plan().capacity.requests_per_second.value
    assert each is not None
    assert load().curve.held_requests_per_second == pytest.approx(each * plan().gpus)


def test_two_replicas_hold_twice_of_one_and_saturate_at_twice() -> None:
    one, two = (closed_curve(replica(), count, SLO) for count in (1, 2))
    assert two.held_requests_per_second == pytest.approx(2 * one.held_requests_per_second)
    assert two.saturated_requests_per_second == pytest.approx(2 * saturation_rate(replica(), replica().mid))


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 3.0), st.integers(1, 9))
def test_at_saturation_and_beyond_there_is_no_latency_and_below_there_is(share: float, replicas: int) -> None:
    rate = share * replicas * saturation_rate(replica(), replica().mid)
    point = fleet_at(replica(), replicas, rate, SLO)
    if share >= 1:
        assert (point.each.verdict, point.missed) == ("OVERLOADED", "OVERLOADED")
        assert point.each.ttft_p95.value is None and "OVERLOADED" in point.each.ttft_p95.estimate.reason
    elif share < 0.99:
        assert point.each.ttft_p95.value is not None
    assert point.each.utilisation == pytest.approx(share)


def test_the_slo_is_held_up_to_the_held_rate_and_missed_just_above() -> None:
    held = hold(replica(), SLO).rate
    assert fleet_at(replica(), 3, 3 * held, SLO).missed == ""
    assert fleet_at(replica(), 3, 3 * held * 1.03, SLO).missed in ("TTFT p95", "TPOT p95", "OVERLOADED")


def test_a_week_of_equal_hours_is_one_hour_and_an_empty_hour_misses_nothing() -> None:
    held = 2 * hold(replica(), SLO).rate
    hours = closed_week(replica(), [2] * 168, SLO, [0.5 * held] * 167 + [0.0])
    assert len({hour.of_held for hour in hours[:-1]}) == 1 and hours[0].of_held == pytest.approx(0.5)
    assert (hours[-1].of_held, hours[-1].missed) == (0.0, "")


def test_a_fleet_that_holds_nothing_is_asked_for_infinitely_much_of_it() -> None:
    hopeless = Slo(ttft_p95_seconds=1e-6, tpot_p95_seconds=1e-6)
    hour = closed_week(replica(), [1], hopeless, [0.1])[0]
    assert hour.of_held == math.inf and hour.missed == "TTFT p95"


def test_an_hour_of_half_the_replicas_is_twice_as_full_and_one_of_none_is_closed() -> None:
    held = hold(replica(), SLO).rate
    full, half, none = closed_week(replica(), [2, 1, 0], SLO, [0.8 * held] * 3)
    assert half.of_held == pytest.approx(2 * full.of_held) == pytest.approx(0.8)
    assert (none.of_held, none.missed) == (math.inf, "closed")


def test_a_plan_that_follows_the_hours_keeps_fewer_replicas_up_at_night_and_the_slo_all_week() -> None:
    busy = answer(60e9).plans[0]
    always, following = (
        plan_load(replace(busy, mode=mode), scenario(60e9), default_catalog(), today=TODAY).hours
        for mode in ("always-on", "by-hour")
    )
    assert {hour.replicas for hour in always} == {busy.replicas + busy.spare_replicas}
    counts = [hour.replicas for hour in following]
    assert min(counts) == 1 + busy.spare_replicas < max(counts) <= busy.replicas + busy.spare_replicas
    assert not any(hour.missed for hour in following)


def test_with_the_larger_of_two_hosts_gone_its_replicas_are_missing() -> None:
    # 5 replicas, 3 to a host: without the first host 2 are left.
    rate = hold(replica(), SLO).rate
    found = closed_losses(replica(), Domains(replicas=5, replicas_per_host=3), SLO, 2.5 * rate)
    assert [(lost.what, lost.replicas_left, lost.holds_slo) for lost in found] == [
        ("nothing", 5, True),
        ("one replica", 4, True),
        ("one host", 2, False),
    ]


def test_on_a_single_host_nothing_is_left_to_serve() -> None:
    lost = closed_losses(replica(), Domains(replicas=2, replicas_per_host=2), SLO, 0.1)[-1]
    assert (lost.replicas_left, lost.point, lost.holds_slo) == (0, None, False)


@pytest.mark.parametrize(("load_in_replicas", "down"), [(6.5, -1), (6.0, 0), (4.0, 1), (2.0, 2), (1.9, 2), (0.1, 2)])
def test_hosts_that_may_be_down_leave_enough_replicas(load_in_replicas: float, down: int) -> None:
    # 6 replicas on 3 hosts of 2: with k hosts down 6 − 2k are left, and one host has to be.
    domains = Domains(replicas=6, replicas_per_host=2)
    rate = load_in_replicas * hold(replica(), SLO).rate
    assert hosts_that_may_be_down(replica(), domains, SLO, rate) == down


def test_the_latency_chart_ends_where_overloaded_begins_and_marks_slo_peak_and_held_rate() -> None:
    spec = latency_figure(load(), "TTFT")
    saturated = load().curve.saturated_requests_per_second
    assert all(x < saturated for trace in spec["data"] for x in trace["x"])
    notes = [note["text"] for note in spec["layout"]["annotations"]]
    assert notes[:2] == ["SLO 2 s", "OVERLOADED"]
    assert sum(words.startswith(("your peak hour", "holds")) for words in notes) == 2
    shaded = next(shape for shape in spec["layout"]["shapes"] if shape["type"] == "rect")
    assert shaded["x0"] == saturated
    assert "from " in latency_alt(load(), "TTFT") and "OVERLOADED" in latency_alt(load(), "TTFT")


@pytest.mark.parametrize(("seconds", "side"), [([1.05, 1.1], "top"), ([0.95], "bottom"), ([0.1, 5.0], "bottom")])
def test_the_words_of_the_limit_stand_on_the_side_where_no_curve_lies(seconds: list[float], side: str) -> None:
    assert plan_latency_figures._side_of_limit(seconds, limit=1.0, room=1.2) == side


def test_an_overloaded_row_has_a_dash_for_each_latency() -> None:
    rows = latency_table(load(), "TPOT").rows
    overloaded = [row for row in rows if row[4].text == "OVERLOADED"]
    assert overloaded
    assert all((row[1].text, row[2].text) == ("–", "–") for row in overloaded)
    assert all(row[5].text == "no: OVERLOADED" for row in overloaded)


def test_the_week_has_24_rows_of_7_cells_with_numbers_in_them() -> None:
    heat = week_figure(load().hours)["data"][0]
    assert [len(row) for row in heat["z"]] == [7] * 24
    busiest = max(hour.of_held for hour in load().hours)
    assert f"{100 * busiest:.0f}" in [text.rstrip("!") for row in heat["text"] for text in row]
    assert len(week_table(load().hours, "closed form").rows) == 7


def test_what_is_left_is_said_in_words_in_the_table_and_by_pattern_in_the_chart() -> None:
    bad = replace(load(), losses=closed_losses(replica(), Domains(replicas=2, replicas_per_host=2), SLO, 0.1))
    bar = losses_figure(bad)["data"][0]
    assert bar["marker"]["pattern"]["shape"] == ["", "", "/"]
    assert losses_table(bad).rows[-1][-1].text == "no: nothing is left to serve"


# simulated ------------------------------------------------------------------------------------------------------------


def test_a_simulation_is_of_the_same_fleet_and_says_how_far_it_is() -> None:
    pytest.importorskip("numba")
    told: list[float] = []
    found = simulate_load(load(), seed=3, replications=2, progress=lambda _, fraction: told.append(fraction))
    assert told == sorted(told) and told[-1] == 1.0 and len(told) > 20
    assert found.peak.replicas == load().fleet.replicas and found.peak.replications == 2
    assert {each.metric for each in found.distributions} == {"TTFT", "TPOT", "E2E"}
    assert len(found.hours) == 168
    dots = [trace for trace in latency_figure(load(), "TPOT", found)["data"] if trace["mode"] == "markers"]
    stable = [point for point in found.curve.points if point.verdict == "STABLE"]
    assert [dot["y"] for dot in dots] == [[p.tpot_p95_seconds for p in stable], [p.tpot_p50_seconds for p in stable]]
    assert any("simulated" in cell.remark for row in losses_table(load(), found).rows for cell in row)
    assert limit_of(load().slo, "TPOT") == SLO.tpot_p95_seconds


def test_whoever_listens_can_end_a_simulation_between_two_runs() -> None:
    pytest.importorskip("numba")

    class Stopped(Exception):
        pass

    def stop(what: str, fraction: float) -> None:
        if fraction > 0.3:
            raise Stopped

    with pytest.raises(Stopped):
        simulate_load(load(), progress=stop)


def test_a_hand_made_plan_is_loaded_like_any_other() -> None:
    made = answers.recommendation().plans[0]
    found = plan_load(made, scenario(), default_catalog(), today=TODAY)
    assert found.fleet.replicas == made.replicas + made.spare_replicas
