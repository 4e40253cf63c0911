"""The page of evidence: every figure's source, the catalogue's age, and own values that every answer follows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from streamlit.testing.v1 import AppTest

import answers
import hostile_answers
from dashboard_pages import HOSTILE, show, turn_to, words_of
from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from llmsizer.decide.answer import Recommendation
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog, load_catalog, own_values
from llmsizer.facts.scenario import Scenario


@pytest.fixture(autouse=True)
def own_file(dashboards: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No values of the user's own, in a file of this test alone; the catalogue is as it was afterwards."""
    monkeypatch.setenv("LLMSIZER_OVERRIDES", "")
    monkeypatch.delenv("LLMSIZER_OVERRIDES")
    file = tmp_path / "overrides.toml"
    yield file
    if file.exists() or "LLMSIZER_OVERRIDES" in os.environ:
        default_catalog.cache_clear()


def opened() -> AppTest:
    app = show("evidence")
    assert not app.exception
    return app


def cells(app: AppTest) -> str:
    """What stands in the grids that scroll, beside what ``words_of`` finds."""
    return "\n".join(
        str(cell) for grid in app.dataframe for row in grid.value.to_dict("records") for cell in row.values()
    )


def edited(app: AppTest, words: str, key: str, value: float | None, kind: str = "offers") -> AppTest:
    """The first row with these words changed in the grid, not kept yet."""
    app.session_state["editor_kind"] = kind
    app.text_input(key="editor_filter").set_value(words).run()
    turn = app.session_state["editor_round"] if "editor_round" in app.session_state else 0  # noqa: SIM401
    change = {"edited_rows": {0: {key: value}}, "added_rows": [], "deleted_rows": []}
    app.session_state[f"grid {kind} {words} {turn}"] = change
    app.run()
    assert not app.exception
    return app


def test_every_figure_of_the_answer_has_its_basis_source_and_date() -> None:
    app = opened()
    text = words_of(app) + cells(app)
    assert "$5,615 / month" in text
    assert "TTFT p95 in the peak hour" in text
    assert "2026-06-01 · older than 90 days" in text
    assert "sum of its parts" in text


def test_an_answer_that_cannot_be_had_leaves_the_other_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Scenario) -> Recommendation:
        raise InputError("context = 9; the workload needs 10, give 10 or more")

    monkeypatch.setattr("cached.answers.recommendation", refuse)
    app = opened()
    assert [str(w.value).replace("\\", "") for w in app.warning] == [
        "context = 9; the workload needs 10, give 10 or more"
    ]
    assert "aquila-7b" in cells(app)


def test_where_nothing_fits_the_page_says_that_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = replace(answers.nothing_fits(), flips=(), apis=())
    monkeypatch.setattr("cached.answers.recommendation", lambda _: nothing)
    assert "holds no figure" in words_of(opened())


def test_hostile_names_in_an_answer_stay_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: hostile_answers.hostile(HOSTILE))
    app = opened()
    shown = [str(e.value) for e in (*app.markdown, *app.caption, *app.info, *app.warning)]
    shown += [str(cell) for table in app.table for row in table.value.to_dict("records") for cell in row.values()]
    assert not [text for text in shown if "<script" in text.replace("\\<", "")]


def test_every_kind_of_fact_is_listed_with_source_and_what_is_old_is_flagged() -> None:
    from llmsizer.deliver.views.evidence import catalogue_kinds

    app = opened()
    for kind in catalogue_kinds():
        app.selectbox(key="catalogue_kind").set_value(kind).run()
        assert not app.exception
        assert "older than 90 days" in words_of(app), kind
    app.text_input(key="catalogue_filter").set_value("no such words anywhere").run()
    assert "No row has these words" in words_of(app)


def test_old_facts_can_be_looked_at_alone() -> None:
    app = opened()
    app.toggle(key="catalogue_old").set_value(True).run()
    models = next(grid.value for grid in app.dataframe if "Model" in grid.value)
    assert len(models) > 0
    assert all("older than 90 days" in date for date in models["As of"])


@pytest.mark.usefixtures("measured")
def test_the_predictor_is_held_against_public_and_against_own_measurements() -> None:
    text = words_of(opened())
    assert "Another GPU" not in text or "measurements" in text
    assert "Cross-validated by group" in text
    assert "On your own records" in text


def test_without_own_records_the_page_says_where_to_make_them() -> None:
    assert "the page Profiles can do that here" in words_of(opened())


def test_the_glossary_defines_words_and_bases() -> None:
    text = words_of(opened())
    assert "first output token − arrival" in text
    assert "a provider's published price on a date" in text


def test_a_changed_price_is_shown_before_it_is_kept_then_counts_and_can_be_taken_back(own_file: Path) -> None:
    app = opened()
    offer = next(o for o in load_catalog().offers() if "l40s" in o.id)
    edited(app, offer.id, "usd_per_gpu_hour", 7.77)
    text = words_of(app)
    assert "What would change: 1" in text
    assert "7.77" in text
    assert f"{offer.provenance.as_of}, {offer.provenance.source}" in text
    assert not own_file.exists()
    app.button(key="editor_save").click().run()
    assert not app.exception
    assert "Kept in" in words_of(app)
    assert next(o for o in load_catalog(overrides=own_file).offers() if o.id == offer.id).usd_per_gpu_hour == 7.77
    assert os.environ["LLMSIZER_OVERRIDES"] == str(own_file)
    assert next(o for o in default_catalog().offers() if o.id == offer.id).usd_per_gpu_hour == 7.77
    app.button(key="editor_undo").click().run()
    assert "is taken back" in words_of(app)
    assert next(o for o in default_catalog().offers() if o.id == offer.id).usd_per_gpu_hour == offer.usd_per_gpu_hour


def test_memory_is_typed_in_gigabytes_and_kept_in_bytes(own_file: Path) -> None:
    app = edited(opened(), "l40s", "memory_bytes", 40.0, kind="gpus")
    app.button(key="editor_save").click().run()
    assert load_catalog(overrides=own_file).gpu("l40s").memory_bytes == 40e9
    app.button(key="take_out gpus l40s").click().run()
    assert own_values.own_values(own_file) == {}


def test_a_price_beyond_belief_is_a_sentence_and_cannot_be_kept(own_file: Path) -> None:
    app = opened()
    edited(app, "l40s", "usd_per_gpu_hour", 50_000.0)
    assert any("beyond belief" in str(w.value) for w in app.warning)
    assert app.button(key="editor_save").disabled
    app.button(key="editor_discard").click().run()
    assert "What would change" not in words_of(app)
    edited(app, "l40s", "usd_per_gpu_hour", None)
    assert app.button(key="editor_save").disabled
    assert not own_file.exists()


def test_a_negotiated_offer_is_added_once_it_is_whole(own_file: Path) -> None:
    app = opened()
    app.button(key="FormSubmitter:own_offer-Keep this offer").click().run()
    assert "Still missing: Provider, GPU, $ a GPU-hour." in words_of(app)
    app.text_input(key="own_provider").set_value("our host")
    app.selectbox(key="own_gpu").set_value("l40s")
    app.number_input(key="own_usd").set_value(0.42)
    app.button(key="FormSubmitter:own_offer-Keep this offer").click().run()
    assert not app.exception
    assert [offer.usd_per_gpu_hour for offer in default_catalog().offers(provider="our host")] == [0.42]
    assert "our-host/eu/l40s/on-demand" in words_of(app)


def test_what_another_browser_kept_meanwhile_is_not_written_over(own_file: Path) -> None:
    app = edited(opened(), "l40s", "tdp_watts", 300.0, kind="gpus")
    own_file.write_text("# somebody else's\n")
    app.button(key="editor_save").click().run()
    assert not app.exception
    assert "somebody changed it meanwhile" in words_of(app)
    assert own_file.read_text() == "# somebody else's\n"


def test_every_answer_follows_a_file_that_was_changed_with_an_editor(own_file: Path) -> None:
    app = opened()
    before = default_catalog().gpu("l40s").tdp_watts
    own_file.write_text("[gpus.l40s]\ntdp_watts = 123.0\n")
    turn_to(app, "profiles")
    assert default_catalog().gpu("l40s").tdp_watts == 123.0
    own_file.unlink()
    turn_to(app, "evidence")
    assert not app.exception
    assert default_catalog().gpu("l40s").tdp_watts == before


def test_an_answer_is_made_anew_with_an_own_price(monkeypatch: pytest.MonkeyPatch, own_file: Path) -> None:
    from cached import answers as kept
    from cached import following

    monkeypatch.setattr("cached.answers.study", lambda model, asked, catalog, *, today: catalog)
    monkeypatch.setattr(
        "cached.answers.answer_of", lambda study, catalog: {offer.provider for offer in catalog.offers()}
    )
    asked = Scenario.model_validate({"name": "x", "model": "llama-3.1-8b", "workload": {"preset": "chat"}})
    assert "negotiated" not in kept.answer(asked)
    own_file.write_text('[[offers]]\nprovider = "negotiated"\ngpu = "l40s"\nusd_per_gpu_hour = 0.01\n')
    following.follow()
    assert "negotiated" in kept.answer(asked)


def test_a_broken_file_of_own_values_is_a_sentence_on_every_page(own_file: Path) -> None:
    own_file.write_text("[gpus\n")
    app = show("evidence")
    assert not app.exception
    assert any("valid TOML would work" in str(w.value).replace("\\", "") for w in app.warning)
