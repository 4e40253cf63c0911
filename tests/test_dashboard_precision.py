"""The page of precisions: what was measured side by side, nothing measured, torn records, the example."""

from __future__ import annotations

from pathlib import Path

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from dashboard_pages import show, words_of, write


def test_without_measurements_the_page_says_how_to_make_them(tmp_path: Path) -> None:
    app = show("precision")
    assert not app.exception
    text = words_of(app)
    assert str(tmp_path) in text
    assert "llmsizer demo" in text


@pytest.mark.usefixtures("measured")
def test_the_variants_are_shown_with_what_was_measured() -> None:
    app = show("precision")
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
    app = show("precision")
    app.selectbox(key="point").select_index(1).run()
    assert "488 ms" in words_of(app)


def test_a_torn_record_is_reported_and_the_rest_shown(tmp_path: Path) -> None:
    (tmp_path / "profiles.jsonl").write_text(answers.profile("fp16", 1).model_dump_json() + '\n{"record_id": "x"\n')
    app = show("precision")
    assert not app.exception
    assert "Skipped, because they are not whole records: 1" in words_of(app)
    assert "fp16" in words_of(app)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "requests.jsonl").write_text('{"prompt": "x"}\n')
    app = show("precision")
    assert not app.exception
    assert "There are no measurements" in words_of(app)
    assert not app.warning


def test_a_group_that_only_failed_says_so(tmp_path: Path) -> None:
    failed = [r for r in answers.profiles() if r.status != "ok"]
    write(tmp_path / "profiles.jsonl", failed)
    app = show("precision")
    assert not app.exception
    assert "Every point of this group failed" in words_of(app)


def test_the_example_can_be_loaded_and_left_again() -> None:
    app = show("precision")
    app.button[0].click().run()
    assert not app.exception
    assert "They are not from this machine" in words_of(app)
    assert "int4" in words_of(app)
    app.button[0].click().run()
    assert "There are no measurements" in words_of(app)
