"""The dashboard through its real router: the usual answer, nothing measured, nothing fits, mistakes, hostile names."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from streamlit.testing.v1 import AppTest

from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.basis import MARKS
from llmsizer.errors import InputError
from llmsizer.facts.figure import unknown
from llmsizer.facts.scenario import Scenario

DASHBOARDS = Path(__file__).parent.parent / "dashboards"
VIEWS = ("views/recommendation.py", "views/variants.py", "views/build_vs_buy.py")
HOSTILE = "<script>alert(1)</script> **b** $x$ :red[y] `z` [l](http://e.x)"


def usual(_: Scenario | None = None) -> Recommendation:
    return replace(answers.recommendation(), comparison=answers.comparison())


@pytest.fixture(autouse=True)
def dashboards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The dashboard's own modules can be imported, afresh, and its records lie in an empty folder."""
    monkeypatch.syspath_prepend(str(DASHBOARDS))
    monkeypatch.setenv("LLMSIZER_OUTPUT", str(tmp_path))
    monkeypatch.delenv("LLMSIZER_LANGUAGE", raising=False)
    monkeypatch.setattr("cached.recommendation", usual)
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main  # Streamlit puts the script in its place, and worker processes would start that
    for name in ("cached", "drawing", "inputs", "texts"):
        sys.modules.pop(name, None)


@pytest.fixture
def measured(tmp_path: Path) -> None:
    """Records as the demo leaves them."""
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder / "profiles.jsonl", answers.profiles())
    write(folder / "quality.jsonl", answers.quality())


def write(path: Path, records: list[Any]) -> None:
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")


def show(view: str, **query: str) -> AppTest:
    app = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=60)
    for key, value in query.items():
        app.query_params[key] = value
    app.run()
    if view != VIEWS[0]:
        app.switch_page(view).run()
    return app


def words_of(app: AppTest) -> str:
    """Everything the page says, as Markdown shows it."""
    elements = [*app.title, *app.header, *app.subheader, *app.markdown, *app.caption, *app.info, *app.warning]
    tables = [str(cell) for table in app.table for row in table.value.to_dict("records") for cell in row.values()]
    return "\n".join([*(str(e.value) for e in elements), *tables]).replace("\\", "").replace("\u00a0", " ")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_opens_through_the_router_without_an_exception(view: str) -> None:
    app = show(view)
    assert not app.exception
    assert words_of(app)


def test_the_landing_page_answers_first() -> None:
    app = show(VIEWS[0])
    assert "Rent 2 × NVIDIA H100 SXM" in str(app.main.subheader[0].value)
    text = words_of(app)
    for expected in (
        "$5,615 / month",
        "$4,554 to $6,677 · ○ assumed · stale: 2026-06-01",
        "Confidence: leaning.",
        "What would change this answer",
        "the press's 22B",
        "1 price is older than 90 days",
        "Near misses",
    ):
        assert expected.lower() in text.lower(), expected


def test_the_landing_page_asks_at_most_seven_things_before_its_drawer() -> None:
    app = show(VIEWS[0])
    drawer = app.sidebar.expander[0]
    widgets = ("selectbox", "number_input", "slider", "select_slider", "multiselect", "toggle", "text_input")
    everywhere = sum(len(app.sidebar.get(kind)) for kind in widgets)
    inside = sum(len(drawer.get(kind)) for kind in widgets)
    assert inside > 0
    assert 0 < everywhere - inside <= 7


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", VIEWS)
def test_the_meaning_of_every_shape_is_on_every_page(view: str) -> None:
    assert all(f"{shape} {basis}" in words_of(show(view)) for basis, shape in MARKS.items())


def test_a_link_brings_its_question_along(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Scenario] = []

    def remember(scenario: Scenario) -> Recommendation:
        asked.append(scenario)
        return usual()

    monkeypatch.setattr("cached.recommendation", remember)
    show(VIEWS[0], volume="50", place="In the EU, under EU law", horizon="60", quality="99")
    last = asked[-1]
    assert last.workload.tokens_per_month == 50e6
    assert last.constraints.eu_only
    assert last.horizon_months == 60
    assert last.slo.quality_floor == 0.99


def test_the_expert_drawer_changes_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Scenario] = []

    def remember(scenario: Scenario) -> Recommendation:
        asked.append(scenario)
        return usual()

    monkeypatch.setattr("cached.recommendation", remember)
    app = show(VIEWS[0])
    app.toggle(key="lengths").set_value(True).run()
    app.number_input(key="prompt_tokens").set_value(7_000).run()
    app.multiselect(key="paths").set_value(["api"]).run()
    app.number_input(key="budget").set_value(900.0).run()
    assert asked[-1].workload.prompt_tokens == 7_000
    assert (asked[-1].constraints.own, asked[-1].constraints.api) == (False, True)
    assert asked[-1].constraints.max_usd_per_month == 900.0


@pytest.mark.parametrize("view", (VIEWS[0], VIEWS[2]))
def test_a_mistake_is_one_sentence_and_ends_the_page(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mistake = "context = 9; the workload needs 10, give 10 or more"

    def refuse(_: Scenario) -> Recommendation:
        raise InputError(mistake)

    monkeypatch.setattr("cached.recommendation", refuse)
    app = show(view)
    assert not app.exception
    assert [str(w.value).replace("\\", "") for w in app.warning] == [
        "context = 9; the workload needs 10, give 10 or more"
    ]
    assert not app.table


@pytest.mark.parametrize("view", (VIEWS[0], VIEWS[2]))
def test_forbidding_every_path_is_a_sentence(view: str) -> None:
    app = show(VIEWS[0])
    app.multiselect(key="paths").set_value([]).run()
    if view != VIEWS[0]:
        app.switch_page(view).run()
    assert not app.exception
    assert any("allow at least one" in str(w.value) for w in app.warning) or view != VIEWS[0]


@pytest.mark.parametrize("view", (VIEWS[0], VIEWS[2]))
def test_where_nothing_fits_the_page_says_what_would(view: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.recommendation", lambda _: answers.nothing_fits())
    app = show(view)
    assert not app.exception
    if view == VIEWS[0]:
        assert "No plan meets everything asked" in words_of(app)
        assert "fp8 weights, or two cards" in words_of(app)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", VIEWS)
def test_hostile_names_stay_names(view: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bad = replace(answers.hostile(HOSTILE), comparison=answers.hostile_comparison(HOSTILE))
    monkeypatch.setattr("cached.recommendation", lambda _: bad)
    write(tmp_path / "run" / "profiles.jsonl", answers.hostile_profiles(HOSTILE))
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


def test_without_measurements_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    app = show(VIEWS[1])
    assert not app.exception
    text = words_of(app)
    assert str(tmp_path) in text
    assert "llmsizer demo" in text


@pytest.mark.usefixtures("measured")
def test_the_variants_are_shown_with_what_was_measured() -> None:
    app = show(VIEWS[1])
    text = words_of(app)
    assert "48.1 MB" in text
    assert "33.90 ± 0.62" in text
    assert "INT4 against INT8: 1.07 times as slow" in text
    assert "out of memory" in text
    specs = [chart.proto.spec for chart in app.get("plotly_chart")]
    assert len(specs) == 7  # four of speed and size, throughput, divergence and first choice
    assert sum("fp16" in spec for spec in specs) == 5  # losses are of the smaller formats


@pytest.mark.usefixtures("measured")
def test_another_operating_point_can_be_chosen() -> None:
    app = show(VIEWS[1])
    app.selectbox(key="point").select_index(1).run()
    assert "488 ms" in words_of(app)


def test_a_torn_record_is_reported_and_the_rest_shown(tmp_path: Path) -> None:
    (tmp_path / "profiles.jsonl").write_text(answers.profile("fp16", 1).model_dump_json() + '\n{"record_id": "x"\n')
    app = show(VIEWS[1])
    assert not app.exception
    assert "Skipped, because they are not whole records: 1" in words_of(app)
    assert "fp16" in words_of(app)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"prompt": "x"}\n')
    app = show(VIEWS[1])
    assert not app.exception
    assert "There are no measurements" in words_of(app)
    assert not app.warning


def test_a_group_that_only_failed_says_so(tmp_path: Path) -> None:
    failed = [r for r in answers.profiles() if r.status != "ok"]
    write(tmp_path / "profiles.jsonl", failed)
    app = show(VIEWS[1])
    assert not app.exception
    assert "Every point of this group failed" in words_of(app)


def test_build_or_buy_draws_stairs_and_lines_with_the_table_under_them() -> None:
    app = show(VIEWS[2])
    stairs, money = (chart.proto.spec for chart in app.get("plotly_chart"))
    assert '"shape":"hv"' in stairs.replace(" ", "")
    assert "crossover" in stairs
    assert '"barmode":"stack"' in money.replace(" ", "")
    text = words_of(app)
    assert "not reached" in text
    assert "9.5 billion tokens a month" in text
    assert "Total a month" in text


def test_where_no_cost_is_known_nothing_is_drawn_and_the_table_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    base = answers.comparison()
    unpriced = tuple(
        replace(step, usd_per_month=unknown("nobody sells it", "USD/month")) for step in base.paths[0].steps
    )
    bare = replace(base, paths=(replace(base.paths[0], steps=unpriced),), crossovers=())
    monkeypatch.setattr("cached.recommendation", lambda _: replace(answers.nothing_fits(), comparison=bare))
    app = show(VIEWS[2])
    assert not app.exception
    assert "Nothing to draw" in words_of(app)
    assert "nobody sells it" in words_of(app)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("view", VIEWS)
def test_every_chart_has_words_for_those_who_cannot_see_it(view: str) -> None:
    charts = show(view).get("plotly_chart")
    assert charts
    assert all(chart.proto.alt for chart in charts)


def test_a_missing_language_falls_back_and_every_key_used_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    import texts

    monkeypatch.setenv("LLMSIZER_LANGUAGE", "../etc")
    assert texts.language() == "en"
    monkeypatch.setenv("LLMSIZER_LANGUAGE", "xx")
    assert texts.say("app.title") == "llmsizer"
    with pytest.raises(KeyError):
        texts.say("no.such.key")


@pytest.mark.parametrize("view", (VIEWS[0], VIEWS[2]))
def test_the_real_catalogue_answers_the_default_question(view: str) -> None:
    import importlib

    import cached

    importlib.reload(cached)  # undoes the hand-made answer
    app = show(view)
    assert not app.exception
    assert not any("no model named" in str(w.value) for w in app.warning)
    assert "mistral-small-4" in words_of(app)
    assert app.get("plotly_chart")


def test_the_question_stays_when_the_page_changes() -> None:
    app = show(VIEWS[0])
    app.number_input(key="volume").set_value(500.0).run()
    app.switch_page(VIEWS[2]).run()
    assert app.number_input(key="volume").value == 500.0


def test_the_example_can_be_loaded_and_left_again() -> None:
    app = show(VIEWS[1])
    app.button[0].click().run()
    assert not app.exception
    assert "They are not from this machine" in words_of(app)
    assert "int4" in words_of(app)
    app.button[0].click().run()
    assert "There are no measurements" in words_of(app)
