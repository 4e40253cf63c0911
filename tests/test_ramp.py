"""A ramp from a pilot to full use: its shape, what is ordered when, and what each way costs while it lasts."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import papers
from deciding import CATALOG, TODAY, scenario
from llmsizer.decide.comparison.following import Months, months_of, owned_by_month
from llmsizer.decide.pricing.orders import Fleet, first_orders, orders_for
from llmsizer.decide.pricing.study import study, workload_of
from llmsizer.decide.recommend import recommend
from llmsizer.deliver.papers.conditions import conditions
from llmsizer.deliver.papers.order_dates import order_dates
from llmsizer.deliver.papers.power_and_rack import power_sheet
from llmsizer.errors import ScenarioError
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.workload import Growth
from llmsizer.money.ranges import counted

START, UNTIL = datetime.date(2027, 1, 1), datetime.date(2028, 1, 1)
LEAD = counted(3.0, "months")
FEW = '[constraints]\ngpus = ["h100-sxm-80"]\n'


def ramp(share: float = 0.1, shape: str | None = None) -> Growth:
    return Growth.model_validate({"from_share": share, "shape": shape, "start": START, "until": UNTIL})


def test_a_linear_ramp_by_hand() -> None:
    years = ramp(0.2, "linear").years
    assert [ramp(0.2, "linear").factor_after(years * x) for x in (-1, 0, 0.5, 1, 2)] == pytest.approx(
        [0.2, 0.2, 0.6, 1, 1]
    )


def test_an_s_curve_by_hand_is_slow_quick_slow() -> None:
    # 3x² − 2x³ is 0.15625 at a quarter, a half at a half, 0.84375 at three quarters.
    one = ramp(0.2)
    found = [one.factor_after(one.years * x) for x in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([0.2, 0.2 + 0.8 * 0.15625, 0.6, 0.2 + 0.8 * 0.84375, 1])
    assert one.largest_factor == 1 and ramp(0.2, "s-curve").factor(START) == pytest.approx(0.2)


@given(st.floats(0.01, 0.99), st.sampled_from([None, "linear", "s-curve"]), st.floats(0, 1))
def test_use_on_the_day_that_a_share_is_reached_is_that_share(share: float, shape: str | None, part: float) -> None:
    one = ramp(share, shape)
    wanted = share + (1 - share) * part
    years = one.years_to(wanted)
    assert years is not None and one.factor_after(years) == pytest.approx(wanted, rel=1e-6)
    assert one.years_to(1.01) is None


def test_growth_that_compounds_is_what_it_was() -> None:
    one = Growth(per_year=1.0, start=START, until=datetime.date(2030, 1, 1))
    assert one.factor(UNTIL) == pytest.approx(2 ** (365 / 365.25))
    assert one.years_to(8.0) == pytest.approx(3.0) and one.years_to(16.0) == pytest.approx(4.0)  # beyond its last day
    assert not one.is_ramp


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"from_share": 0.1, "per_year": 0.5}, "one of them, or from_share"),
        ({"per_year": 0.5, "shape": "linear"}, "shape = linear is that of a ramp"),
        ({"from_share": 0.0}, "greater than 0"),
        ({"from_share": 1.0}, "less than 1"),
    ],
)
def test_what_is_no_ramp_is_refused(said: dict[str, object], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        Growth.model_validate({**said, "start": START, "until": UNTIL})


def test_a_scenario_that_says_two_rates_is_refused_in_one_line() -> None:
    with pytest.raises(ScenarioError, match="from_share") as refused:
        parse_scenario(
            'model = "m"\n[workload]\npreset = "chat"\n'
            "growth = { from_share = 0.1, per_year = 1.0, start = 2027-01-01, until = 2028-01-01 }"
        )
    assert "\n" not in str(refused.value)


def test_servers_are_ordered_when_those_before_them_are_full_by_hand() -> None:
    # A linear ramp from a tenth; at its end ten requests a second; two a replica, four replicas a server, one spare.
    workload = workload_of(scenario(FEW), CATALOG).model_copy(
        update={
            "requests_per_second": 10.0,
            "peak_to_average": 1.0,
            "hourly_weights": (),
            "growth": ramp(0.1, "linear"),
        }
    )
    fleet = Fleet(serving=5, spare=1, rate_each=2.0, replicas_per_server=4)
    found = orders_for(workload, fleet, LEAD, TODAY)
    assert [(step.servers, step.replicas) for step in found.steps] == [(1, 4), (2, 6)]
    # Three serving replicas hold six a second: 0.6 of the volume, five ninths of the way through the year.
    assert found.steps[1].needed_on == START + datetime.timedelta(days=365 * 5 / 9)
    assert found.steps[0].needed_on == START and (START - found.steps[0].order_by).days == int(3 * 30.4375)
    assert "In steps: 1 server by 2026-10-02, 2 in all by 2027-04-22" in first_orders(found)
    assert "takes 100% of the fleet" in found.text and found.exhausted_on is None


def ramped(tokens: float = 4e11, **extra: object) -> dict[str, object]:
    return {"workload": {"tokens_per_month": tokens, "growth": {"from_share": 0.1, "start": "2027-04-01",
                                                                "until": "2028-04-01"}}, **extra}  # fmt: skip


def test_machines_never_leave_and_end_as_the_fleet_of_full_use() -> None:
    made = papers.decision(papers.scenario(**ramped()))
    own = made.path("own")
    assert own is not None and own.sized is not None and own.plan is not None
    growth = made.found.question.workload.growth
    assert growth is not None
    drivers, tranches = owned_by_month(made.found, own.sized, months_of(growth, 36))
    servers = np.asarray(drivers.servers)
    assert (tranches >= 0).all() and servers[0] < servers[-1] == own.plan.units
    full = Months(mean=np.ones(36), most=np.ones(36))
    whole, at_once = owned_by_month(made.found, own.sized, full)
    assert (np.asarray(whole.servers) == own.plan.units).all() and at_once[0] == own.plan.units
    assert float(np.ravel(whole.busy_gpus)[0]) >= float(np.ravel(drivers.busy_gpus)[0])


def test_a_ramp_costs_less_than_full_use_from_the_first_day_and_the_answer_says_so() -> None:
    asked = papers.scenario(**ramped())
    slow = recommend(CATALOG.model("mistral-small-4"), asked, CATALOG, today=papers.TODAY)
    flat = papers.scenario(**{**ramped(), "workload": {"tokens_per_month": 4e11}})
    whole = recommend(CATALOG.model("mistral-small-4"), flat, CATALOG, today=papers.TODAY)
    assert slow.comparison is not None and whole.comparison is not None
    for mine, its in zip(slow.comparison.cash_flows, whole.comparison.cash_flows, strict=True):
        assert mine.label == its.label and 0 < (mine.total_usd or 0) < (its.total_usd or 0)
    # The bill and its plan are those of full use.
    assert slow.plans[0].cost.usd_per_month.value == whole.plans[0].cost.usd_per_month.value
    assert any("from 10% of full use on 2027-04-01 to all of it on 2028-04-01" in flag for flag in slow.flags)
    own = next(plan for plan in slow.plans if plan.path == "own")
    (note,) = [note for note in own.notes if "First order by" in note]
    assert "In steps: 1 server by 2026-12-31, 2 in all by 2027-" in note


def test_an_api_under_a_ramp_is_paid_for_the_tokens_of_each_month() -> None:
    made = study(CATALOG.model("mistral-small-4"), papers.scenario(**ramped()), CATALOG, today=TODAY)
    growth = made.question.workload.growth
    assert growth is not None
    months = months_of(growth, 24)
    assert months.mean[0] < months.most[0] < months.most[-1] == 1
    assert months.mean[12:].tolist() == [1.0] * 12


def test_cash_of_tranches_is_bought_and_sold_once_each() -> None:
    made = papers.decision(papers.scenario(**ramped()))
    own = made.path("own")
    comparison = made.recommendation.comparison
    assert own is not None and comparison is not None
    flow = next(flow for flow in comparison.cash_flows if flow.label == own.cost.label)
    bought = [event for event in flow.events if "bought" in event]
    sold = [event for event in flow.events if "sold" in event]
    servers = [int(event.split(": ")[1].split(" ")[0]) for event in bought]
    months = [int(event.split(":")[0].removeprefix("month ")) for event in bought]
    assert own.plan is not None
    assert months[0] == 0 and months == sorted(set(months)) and len(sold) == 1
    assert 1 <= servers[0] < own.plan.units == sum(servers)


def test_a_load_below_the_crossing_of_owning_does_not_send_a_cheaper_rental_to_the_api() -> None:
    made = papers.decision(papers.scenario(**ramped()))
    found = conditions(made, order_dates(made), power_sheet(made))
    said = [one.consequence for one in found if one.text.startswith("The load stays below")]
    own, rent, api = (made.path(path) for path in ("own", "rent", "api"))  # type: ignore[arg-type]
    assert own is not None and rent is not None and api is not None
    assert rent.bill.total.value < api.bill.total.value
    assert not any("should stay on the API" in one for one in said if one.startswith("owning"))
