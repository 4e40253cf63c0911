"""The dashboard through its real router: the usual answer, nothing fits, mistakes, hostile names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import answers
import hostile_answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import HOSTILE, PAGES, REAL, show, turn_to, usual, words_of, write
from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.errors import InputError
from llmsizer.facts.scenario import Scenario


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", PAGES)
def test_every_page_opens_with_the_meaning_of_every_shape_and_words_for_every_chart(view: str) -> None:
    app = show(view)
    assert not app.exception
    text = words_of(app)
    assert all(f"{shape} {basis}" in text for basis, shape in MARKS.items())
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))


def test_the_expert_drawer_changes_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Scenario] = []

    def remember(scenario: Scenario) -> Recommendation:
        asked.append(scenario)
        return usual()

    monkeypatch.setattr("cached.answers.recommendation", remember)
    app = show("decide")
    app.toggle(key="lengths").set_value(True).run()
    app.number_input(key="prompt_tokens").set_value(7_000).run()
    app.multiselect(key="paths").set_value(["api"]).run()
    app.number_input(key="budget").set_value(900.0).run()
    assert asked[-1].workload.prompt_tokens == 7_000
    assert (asked[-1].constraints.own, asked[-1].constraints.api) == (False, True)
    assert asked[-1].constraints.max_usd_per_month == 900.0


@pytest.mark.parametrize("view", ("decide", "build_vs_buy"))
def test_a_mistake_is_one_sentence_and_ends_the_page(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = "context = 9; the workload needs 10, give 10 or more"

    def refuse(_: Scenario) -> Recommendation:
        raise InputError(mistake)

    monkeypatch.setattr("cached.answers.recommendation", refuse)
    app = show(view)
    assert not app.exception
    assert [str(w.value).replace("\\", "") for w in app.warning] == [
        "context = 9; the workload needs 10, give 10 or more"
    ]
    assert not app.table


@pytest.mark.parametrize("view", ("decide", "build_vs_buy"))
def test_forbidding_every_path_is_a_sentence(view: str) -> None:
    app = show("decide")
    app.multiselect(key="paths").set_value([]).run()
    if view != "decide":
        turn_to(app, view)
    assert not app.exception
    assert any("allow at least one" in str(w.value) for w in app.warning) or view != "decide"


@pytest.mark.parametrize("view", ("decide", "build_vs_buy"))
def test_where_nothing_fits_the_page_says_what_would(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: answers.nothing_fits())
    app = show(view)
    assert not app.exception


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", PAGES)
def test_hostile_names_stay_names(view: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = replace(hostile_answers.hostile(HOSTILE), comparison=hostile_answers.hostile_comparison(HOSTILE))
    monkeypatch.setattr("cached.answers.recommendation", lambda _: bad)
    write(tmp_path / "run" / "profiles.jsonl", hostile_answers.hostile_profiles(HOSTILE))
    app = show(view)
    assert not app.exception
    shown = [str(e.value) for e in (*app.markdown, *app.caption, *app.info, *app.warning, *app.subheader)]
    shown += [str(cell) for table in app.table for row in table.value.to_dict("records") for cell in row.values()]
    for text in shown:
        unescaped = text.replace("\\<", "").replace("\\$", "").replace("\\:", "").replace("\\`", "").replace("\\[", "")
        assert "<script" not in unescaped
        assert "$x" not in unescaped
        assert ":red[" not in unescaped
    for chart in app.get("plotly_chart"):
        assert "<script" not in chart.proto.spec


def test_a_missing_language_falls_back_to_english(monkeypatch: pytest.MonkeyPatch) -> None:
    import texts

    monkeypatch.setenv("LLMSIZER_LANGUAGE", "../etc")
    assert texts.language() == "en"
    monkeypatch.setenv("LLMSIZER_LANGUAGE", "xx")
    assert texts.say("app.title") == "llmsizer"
    with pytest.raises(KeyError):
        texts.say("no.such.key")


def test_the_real_catalogue_answers_the_default_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", REAL["cached.answers.recommendation"])
    app = show("decide")
    assert not app.exception
    assert not any("no model named" in str(w.value) for w in app.warning)
    assert "mistral-small-4" in words_of(app)


def test_the_question_stays_when_the_page_changes() -> None:
    app = show("decide")
    app.number_input(key="volume").set_value(500.0).run()
    turn_to(app, "build_vs_buy")
    assert app.number_input(key="volume").value == 500.0
