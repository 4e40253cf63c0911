"""The page of load: the closed form at once, a simulation on demand, one host down; nothing to load, and too much."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import figures_of, really_answer, show, small, turn_to, words_of
from llmsizer.decide.plan_load import PlanLoad, SimulatedLoad
from llmsizer.deliver.elements.wording import figure_amount
from llmsizer.errors import InputError
from llmsizer.facts.scenario import Scenario
from llmsizer.progress import Progress
from llmsizer.traffic.failing.availability import HeldRate
from llmsizer.traffic.load_curves import Distribution, LoadCurve, RatePoint
from llmsizer.traffic.service import Simulated


def asked(tokens_per_month: float) -> Scenario:
    return small(tokens_per_month, gpus=["l40s"], max_gpus_per_replica=1, api=False)


def names_of(figure: dict[str, Any]) -> list[str]:
    return [trace.get("name", "") for trace in figure["data"]]


def test_the_verdict_comes_first_then_latency_week_and_what_is_left_with_a_part_gone() -> None:
    app = show("load")
    assert not app.exception
    assert "In the peak hour" in str(app.main.subheader[0].value)
    ttft, tpot, week, left = figures_of(app)
    assert any(name.startswith("p95, closed form") for name in names_of(ttft))
    assert any(name.startswith("mean, closed form") for name in names_of(tpot))
    assert week["data"][0]["type"] == "heatmap"
    assert left["data"][0]["orientation"] == "h"
    assert "Distributions come from the event simulator" in words_of(app)


def test_the_numbers_are_those_of_plan_json(monkeypatch: pytest.MonkeyPatch) -> None:
    best = really_answer(monkeypatch, asked(3e9)).to_dict()["plans"][0]
    each = best["capacity"]["requests_per_second"]["value"]
    assert each is not None
    page = show("load")
    held = each * (best["replicas"] + best["spare_replicas"])
    assert f"{held:.3g} requests/s" in words_of(page)
    notes = [note["text"] for note in figures_of(page)[0]["layout"]["annotations"]]
    assert f"holds {held:.3g}/s" in notes
    peak = best["at_peak"]["requests_per_second"] * best["replicas"]
    assert f"your peak hour {peak:.3g}/s" in notes


def test_the_latency_of_the_peak_hour_is_the_closed_forms_for_all_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    import datetime

    from llmsizer.decide.plan_load import plan_load
    from llmsizer.facts.catalog import default_catalog

    best = really_answer(monkeypatch, asked(3e9)).best
    assert best is not None
    point = plan_load(best, asked(3e9), default_catalog(), today=datetime.date.today()).all_up.point
    assert point is not None
    text = words_of(show("load"))
    assert figure_amount(point.each.ttft_p95) in text and figure_amount(point.each.tpot_p95) in text


def test_another_of_the_first_plans_can_be_loaded() -> None:
    app = show("load")
    before = words_of(app)
    app.selectbox(key="load_plan").select_index(1).run()
    assert not app.exception
    assert words_of(app) != before


def by_hand(load: PlanLoad, *, seed: int, progress: Progress) -> SimulatedLoad:
    """A simulation of 1,200 requests that nobody ran: the simulator has tests of its own."""
    progress("the peak hour", 0.5)
    held = HeldRate(requests_per_second=3.0, low=None, high=None, limited_by="TTFT", simulations=1)
    point = RatePoint(
        requests_per_second=2.0, verdict="STABLE", missed="", ttft_p50_seconds=0.1, ttft_p95_seconds=0.4,
        tpot_p50_seconds=0.01, tpot_p95_seconds=0.02, utilisation=0.5,
    )  # fmt: skip
    row = SimpleNamespace(p50=Simulated(value=0.1), p95=Simulated(value=0.4))
    peak: Any = SimpleNamespace(verdict="STABLE", missed="", requests=1_200, row=lambda metric: row)
    return SimulatedLoad(
        seed=seed,
        replications=1,
        curve=LoadCurve(label="by hand", replicas=load.fleet.replicas, held=held, points=(point,)),
        peak=peak,
        distributions=tuple(
            Distribution(metric=metric, seconds=(0.01, 0.1, 1.0), share=(0.0, 0.5, 1.0))
            for metric in ("TTFT", "TPOT", "E2E")
        ),
        losses=(),
        hours=load.hours,
    )


def test_a_simulation_is_asked_for_says_its_seed_and_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmsizer.decide.plan_load.simulate_load", by_hand)
    app = show("load")
    app.number_input(key="load_seed").set_value(7).run()
    app.button(key="load_simulate").click().run()
    assert not app.exception
    assert "seed 7" in words_of(app) and "Simulated is not measured" in str([s.label for s in app.status])
    cdf = figures_of(app)[2]
    assert names_of(cdf) == ["TTFT", "TPOT", "E2E"]
    assert "p50, simulated" in names_of(figures_of(app)[0])
    app.run()  # whatever else is pressed
    assert not app.exception and not app.status
    assert names_of(figures_of(app)[2]) == ["TTFT", "TPOT", "E2E"]
    app.number_input(key="load_seed").set_value(8).run()
    assert len(figures_of(app)) == 4, "another seed is another simulation"


def test_a_simulation_that_cannot_be_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("the event simulator needs numba: pip install 'llmsizer[simulate]'")

    monkeypatch.setattr("llmsizer.decide.plan_load.simulate_load", refuse)
    app = show("load")
    app.button(key="load_simulate").click().run()
    assert not app.exception
    assert "llmsizer[simulate]" in str(app.warning[0].value).replace("\\", "")


def test_stopping_leaves_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    from streamlit.runtime.scriptrunner_utils.exceptions import StopException

    def interrupted(*_: object, **__: object) -> None:
        raise StopException  # as Streamlit does between two runs when a button is pressed

    monkeypatch.setattr("llmsizer.decide.plan_load.simulate_load", interrupted)
    app = show("load")
    app.button(key="load_simulate").click().run()
    assert not app.exception
    app.run()
    assert len(figures_of(app)) == 4


def test_at_saturation_the_page_says_overloaded_and_shows_no_latency(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = asked(60e9)
    found = really_answer(monkeypatch, scenario)
    too_few = replace(found.plans[0], replicas=1, spare_replicas=0, units=1)
    monkeypatch.setattr("cached.answers.recommendation", lambda _: replace(found, plans=(too_few,)))
    app = show("load")
    assert not app.exception
    assert "OVERLOADED" in str(app.main.subheader[0].value)
    text = words_of(app)
    assert text.count("##### unknown") == 2  # TTFT and TPOT
    assert "? unknown: OVERLOADED" in text
    assert "none: with all up it is missed already" in text


def test_where_nothing_is_feasible_there_is_nothing_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: answers.nothing_fits())
    app = show("load")
    assert not app.exception
    assert "nothing to load" in str(app.info[0].value)
    assert not app.get("plotly_chart")


def test_an_api_alone_has_no_machines_to_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: answers.nothing_fits())
    app = show("decide")
    app.multiselect(key="paths").set_value(["api"]).run()
    turn_to(app, "load")
    assert not app.exception
    assert "Only the API path is allowed" in str(app.info[0].value)


@pytest.mark.parametrize("millions", (0.1, 1e6))
def test_extreme_volumes_are_loaded_too(millions: float, monkeypatch: pytest.MonkeyPatch) -> None:
    really_answer(monkeypatch, asked(millions * 1e6))
    app = show("load")
    assert not app.exception and not app.warning
    assert len(figures_of(app)) == 4
    assert "meets the SLO" in str(app.main.subheader[0].value)


def test_a_demand_without_hours_has_no_week(monkeypatch: pytest.MonkeyPatch) -> None:
    from cached import loads

    plain = loads.plan_load

    def without_hours(scenario: Scenario, plan: Any) -> Any:
        return replace(plain(scenario, plan), hours=())

    monkeypatch.setattr("cached.loads.plan_load", without_hours)
    app = show("load")
    assert not app.exception
    assert "Nobody said when requests come" in words_of(app)
