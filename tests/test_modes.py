"""Rented machines that follow the week: priced in every mode, as the week runs, and only where the SLO holds."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deciding import CATALOG, TODAY, RooflinePhysics
from llmsizer.decide.answer import ModePrice, Recommendation
from llmsizer.decide.recommend import recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import parse_scenario
from llmsizer.traffic.hours.elastic import Following, Packing, Sleep, awake_shares, caught_share, kept_up, shape_of
from llmsizer.traffic.hours.week import Sizing, awake_share, run_week, unit_share

WEEKS = st.lists(st.floats(0, 10), min_size=168, max_size=168).filter(lambda week: max(week) > 0.01)


@given(WEEKS, st.floats(0.01, 40), st.floats(0.1, 3), st.integers(0, 2), st.integers(1, 4), st.floats(0, 4000))
@settings(max_examples=40, deadline=None)
def test_the_closed_form_bills_what_the_week_hour_by_hour_bills(
    week: list[float], peak: float, each: float, spare: int, per_unit: int, start: float
) -> None:
    rates = np.array(week) / max(week) * peak
    sizing = Sizing(requests_per_second_each=each, spare_replicas=spare, start_seconds=start)
    one = Following(mode="by-hour", shape=shape_of(week), start_share=sizing.start_share)
    packing = Packing(spare=spare, per_unit=per_unit)
    share = one.billed_share(np.array([peak / each]), np.array([rates.mean()]), packing)[0]
    assert share == pytest.approx(unit_share(run_week(rates, sizing, "by-hour"), per_unit), abs=2e-9)


@given(WEEKS, st.floats(0.001, 3), st.integers(0, 1))
@settings(max_examples=25, deadline=None)
def test_the_closed_form_of_sleeping_is_the_weeks(week: list[float], peak: float, spare: int) -> None:
    rates = np.array(week) / max(week) * peak
    sizing = Sizing(requests_per_second_each=1.0, spare_replicas=spare, start_seconds=300, stay_seconds=10,
                    idle_seconds=590, turns=2.0, think_seconds=60)  # fmt: skip
    sleep = Sleep(start_seconds=300, hold_seconds=sizing.hold_seconds + 60, turns=2.0)
    one = Following(
        mode="scale-to-zero", shape=shape_of(week), start_share=sizing.start_share, closes=True, sleep=sleep
    )
    share = one.billed_share(np.array([peak]), np.array([rates.mean()]), Packing(spare=spare, per_unit=1))[0]
    assert share == pytest.approx(unit_share(run_week(rates, sizing, "scale-to-zero"), 1), rel=1e-6, abs=1e-9)


def test_hours_by_hand() -> None:
    # One busy hour of four replicas, one of two, 166 of one; a start takes a quarter of an hour. Billed: 4 + 2 + 166,
    # and before the busy hour a quarter of three, before the other (which follows the busy one) nothing: 172.75.
    week = [0.1] * 30 + [1.0, 0.4] + [0.1] * 136
    one = Following(mode="by-hour", shape=shape_of(week), start_share=0.25)
    share = one.billed_share(np.array([4.0]), np.array([1.0]), Packing(spare=0, per_unit=1))[0]
    assert share == pytest.approx(172.75 / (168 * 4))
    # Two replicas to an instance and one spare: 5, 3 and 2 replicas are 3, 2 and 1 instances.
    packed = one.billed_share(np.array([4.0]), np.array([1.0]), Packing(spare=1, per_unit=2))[0]
    assert packed == pytest.approx((3 + 2 + 166 + 0.25 * 2) / (168 * 3))


def test_interruptible_machines_are_enough_in_ninety_five_moments_of_a_hundred() -> None:
    for lost in (0.02, 0.1, 0.3):
        for serving in (1, 2, 3, 7, 20, 45):
            rented = int(kept_up(np.array([float(serving)]), lost)[0])
            enough = [sum(math.comb(n, k) * (1 - lost) ** k * lost ** (n - k) for k in range(serving, n + 1)) >= 0.95
                      for n in (rented - 2, rented)]  # fmt: skip
            assert enough[1] and (not enough[0] or rented == serving), (lost, serving, rented)
    assert kept_up(np.array([3.0]), 0.0)[0] == 3


@pytest.mark.parametrize("seconds_apart", [3600, 900, 200])
def test_who_meets_a_cold_start_by_the_formula_is_who_meets_it_in_the_simulation(seconds_apart: int) -> None:
    pytest.importorskip("numba")
    from llmsizer.traffic.hours.cold_starts import cold_starts
    from test_week import GOAL, REPLICA, SIZING, stream

    rate = 1 / seconds_apart
    found = cold_starts(REPLICA, stream(rate, 1.0), run_week(np.full(168, rate), SIZING, "scale-to-zero"), SIZING, GOAL)
    expected = caught_share(rate, SIZING.hold_seconds, SIZING.start_seconds)
    assert found.caught / found.requests == pytest.approx(expected, rel=0.1)
    # Nearly all who are caught miss the SLO: minutes of a start against a second.
    assert found.missed_share == pytest.approx(expected, rel=0.12)


@given(st.floats(1e-6, 1), st.floats(1, 2000), st.floats(0, 900))
def test_the_share_awake_over_an_array_is_that_of_one(rate: float, hold: float, start: float) -> None:
    assert awake_shares(np.array([rate]), hold, start)[0] == pytest.approx(awake_share(rate, hold, start), rel=1e-9)


# which mode a plan takes ----------------------------------------------------------------------------------------------


OFFICE = 'hours = "office-hours-europe"'


@cache
def of(
    money: str = "", constraints: str = "", slo: str = "", workload: str = OFFICE, tokens: float = 2e11
) -> Recommendation:
    scenario = parse_scenario(
        f'model = "mistral-small-2409"\nelectricity_area = "USA"\nspare_replicas = 0\n[constraints]\n{constraints}\n'
        'gpus = ["l40s", "h100-sxm-80"]\nown = false\napi = false\n[workload]\npreset = "chat"\n'
        f"tokens_per_month = {tokens}\n{workload}\n[slo]\n{slo}\n{money}"
    )
    model = default_catalog().model(scenario.model)
    return recommend(model, scenario, CATALOG, today=TODAY, physics=RooflinePhysics())


def taken(found: Recommendation) -> ModePrice:
    (one,) = [mode for mode in found.rent_modes if mode.is_taken]
    return one


def usd(found: Recommendation) -> float:
    value = found.plans[0].cost.usd_per_month.value
    assert value is not None
    return value


def test_a_plan_takes_the_cheapest_mode_that_keeps_the_slo_and_shows_the_others_priced() -> None:
    found = of()
    plan, one = found.plans[0], taken(found)
    assert plan.mode == one.mode == "by-hour" and plan.label.endswith("by-hour")
    assert one.usd_per_month == pytest.approx(usd(found)) and one.billed_share == plan.billed_share < 1
    assert "fewer in quiet hours" in found.sentence
    possible = [mode.usd_per_month for mode in found.rent_modes if mode.usd_per_month is not None and not mode.why_not]
    assert len(possible) > 1 and min(possible) == one.usd_per_month
    assert all(mode.why_not for mode in found.rent_modes if mode.usd_per_month is None)
    asleep = next(mode for mode in found.rent_modes if mode.mode == "scale-to-zero")
    assert asleep.why_not.startswith(("a start takes", "it would hardly ever"))


def test_all_hours_alike_leave_nothing_to_follow() -> None:
    found = of(workload="peak_to_average = 1.0")
    assert found.plans[0].mode == "always-on" and taken(found).billed_share == 1
    assert "by-hour" not in found.plans[0].label


def test_a_years_term_is_taken_only_where_it_is_asked_for_and_cheaper_and_pays_every_hour() -> None:
    listed, either, year = of(), of('[money]\nrent_term = "cheapest"'), of('[money]\nrent_term = "reserved-1y"')
    assert usd(either) <= min(usd(listed), usd(year)) * (1 + 1e-12)
    for_a_year = [plan for plan in year.plans if plan.term == "reserved for a year"]
    assert for_a_year and all(plan.mode == "always-on" and plan.billed_share == 1 for plan in for_a_year)
    assert not any(plan.term == "on-demand" for plan in year.plans)
    shown = next(mode for mode in listed.rent_modes if mode.term == "reserved for a year")
    assert "rent_term" in shown.why_not and shown.mode == "always-on" and shown.usd_per_month is not None


def test_interruptible_machines_follow_the_hours_too_where_they_may_be_taken() -> None:
    spot = of(constraints="interruptible = true")
    assert usd(spot) <= usd(of())
    kept_out = [mode for mode in of().rent_modes if mode.term in ("spot", "community")]
    assert kept_out and all(mode.why_not.startswith("interruptible") for mode in kept_out)


def test_down_to_zero_is_taken_where_an_slo_leaves_the_time_to_start() -> None:
    patient, hasty = (of(slo=f"ttft_p95_seconds = {seconds}", tokens=1e7) for seconds in (3600, 2))
    one = taken(patient)
    assert one.mode == patient.plans[0].mode == "scale-to-zero" and one.billed_share is not None
    assert one.billed_share < 0.9 and usd(patient) < usd(hasty)
    assert hasty.plans[0].mode == "always-on"
    (why,) = [mode.why_not for mode in hasty.rent_modes if mode.mode == "scale-to-zero"]
    assert "a start takes" in why and "5 % may" in why


def test_hours_in_which_nobody_comes_cost_nothing() -> None:
    # From nine to five: eight of 24 hours, and the start before them.
    weights = ", ".join("1" if 9 <= hour < 17 else "0" for hour in range(24))
    found = of(workload=f"hours = [{weights}]", tokens=1e7)
    assert found.plans[0].mode == "scale-to-zero"
    assert 8 / 24 < found.plans[0].billed_share < 9 / 24


def test_a_window_that_the_scenario_draws_is_one_of_the_modes_and_says_whom_it_leaves_out() -> None:
    found = of(money="[fleet]\nactive_from_hour = 8\nactive_to_hour = 18", tokens=1e9)
    assert found.plans[0].mode == "active-window"
    assert any("when the window is closed" in note for note in found.plans[0].notes)
    assert taken(found).served_share == found.plans[0].served_share < 1
    assert f"for the {taken(found).served_share:.0%} of requests that come then" in found.sentence
