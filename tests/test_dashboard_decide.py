"""The landing page: one sentence first, how sure it is, what would turn it, and everything else once opened."""

from __future__ import annotations

from dataclasses import replace

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import really_answer, show, small, usual, words_of
from llmsizer.decide.answer import Rejection

FOLDED = ("notes", "plans", "rejections", "apis", "assumptions", "accuracy", "leaves_out", "definitions")


def test_the_answer_is_one_sentence_with_its_range_its_clearness_and_its_speed() -> None:
    app = show("decide")
    said = str(app.main.subheader[0].value).replace("\\", "")
    assert said == "Rent 2 × NVIDIA H100 SXM at Nebius: $5,615 a month."
    text = words_of(app)
    assert "mistral-small-4-22b in fp8 on 2 instances: 2 × (1 × NVIDIA H100 SXM), of which 1 spare." in text
    for expected in (
        "$4,554 to $6,677",
        "○ assumed",
        "stale: 2026-06-01",
        "Leaning",
        "to the first token",
        "What would change this answer",
        "The cheapest, side by side",
        "Near misses",
        "the press's 22B",
    ):
        assert expected.lower() in text.lower(), expected


def test_what_nobody_opens_is_not_made() -> None:
    app = show("decide")
    assert not app.get("plotly_chart")
    assert "How each line" not in words_of(app)


def test_every_closed_section_opens_without_an_exception() -> None:
    app = show("decide")
    before = len(words_of(app))
    for section in FOLDED:
        app.session_state[f"folded_{section}"] = True
        app.run()
        assert not app.exception, section
        assert len(words_of(app)) > before, section
        before = len(words_of(app))


def test_the_three_cheapest_stand_side_by_side_with_the_lowest_named() -> None:
    text = words_of(show("decide"))
    assert text.count("· lowest") == 1
    assert all(f"{way}" in text for way in ("own", "rent", "API"))


def test_an_answer_that_only_one_way_is_open_to_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = replace(usual(), plans=usual().plans[:1], apis=())
    monkeypatch.setattr("cached.answers.recommendation", lambda _: alone)
    assert "One way only" in words_of(show("decide"))


def test_where_nothing_fits_the_page_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: answers.nothing_fits())
    app = show("decide")
    assert not app.exception
    text = words_of(app)
    assert "Nothing meets everything asked" in text
    assert "Too slow for what was asked: 2 · Does not fit in memory: 1" in text
    assert "fp8 weights, or two cards" in text
    assert "Where it flips" not in text  # there is no answer to look into


def test_at_most_seven_things_are_asked_before_the_drawer() -> None:
    app = show("decide")
    drawer = app.sidebar.expander[0]
    widgets = ("selectbox", "number_input", "slider", "select_slider", "multiselect", "toggle", "text_input")
    everywhere = sum(len(app.sidebar.get(kind)) for kind in widgets)
    inside = sum(len(drawer.get(kind)) for kind in widgets)
    assert inside > 0
    assert everywhere - inside == 7


def test_the_page_gives_the_figures_of_the_command_line() -> None:
    """The same scenario through the page and through the package, to the cent."""
    from cached import answers as kept
    from llmsizer.decide.recommend import recommend
    from llmsizer.facts.catalog import default_catalog

    scenario = small()
    catalog = default_catalog()
    found = kept.answer(scenario)
    import datetime

    same = recommend(catalog.model(scenario.model), scenario, catalog, today=datetime.date.today())
    assert [p.cost.usd_per_month.value for p in found.plans] == [p.cost.usd_per_month.value for p in same.plans]


def test_the_launch_bundle_is_made_when_its_section_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    really_answer(monkeypatch, small())
    app = show("decide")
    app.session_state["folded_bundle"] = True
    app.run()
    assert not app.exception
    assert "start.sh" in words_of(app)
    app.segmented_control(key="bundle_target").set_value("k8s").run()
    assert not app.exception
    assert "deployment.yaml" in words_of(app)


def test_what_would_fit_in_a_format_that_is_out_too_is_no_near_miss() -> None:
    nothing = answers.nothing_fits()
    wide = Rejection(
        candidate="m int8 on L4 ×2", kind="memory", reason="does not fit", nearest_fix="fits in int4", shortfall=0.01
    )  # fmt: skip
    narrow = Rejection(candidate="m int4 on L4 ×2", kind="slo", reason="too slow", nearest_fix="", shortfall=9.0)
    assert replace(nothing, rejections=(wide,)).near_misses == (wide,)
    assert replace(nothing, rejections=(wide, narrow)).near_misses == (narrow,)
    elsewhere = replace(narrow, candidate="m int4 on L40S ×2")
    assert replace(nothing, rejections=(wide, elsewhere)).near_misses == (wide, elsewhere)
