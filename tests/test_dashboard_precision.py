"""The page of precisions: predicted for the question, measured on this machine, and nothing of either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import hostile_answers
import measured_by_hand

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import HOSTILE, show, words_of, write
from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from llmsizer.cli import main
from llmsizer.facts.records import ProfileRecord, QualityRecord

PREDICTED_CHARTS = ("vram", "dollars-forest", "quality-forest", "joules-forest", "speed-up")
MODEL = "llama-3.1-8b"


def charts(app: object) -> list[str]:
    return [chart.proto.spec for chart in app.get("plotly_chart")]  # type: ignore[attr-defined]


def test_the_page_says_what_the_command_says(capsys: pytest.CaptureFixture[str]) -> None:
    app = show("precision", model=MODEL)
    main(["choose-precision", MODEL, "--gpu", "h100-sxm-80", "--quality-floor", "0.97",
          "--precisions", "bf16,fp8,int8,int4", "--json"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    text = words_of(app)
    first, _, rest = told["sentence"].partition("; ")
    assert first in text
    assert rest[1:] in text
    for crossing in told["crossovers"]:
        assert crossing["sentence"] in text
    for option in told["options"]:
        assert option["kernel"] in text


def test_every_format_shows_memory_speed_quality_dollars_joules_and_its_kernel() -> None:
    app = show("precision", model=MODEL)
    assert not app.exception
    assert len(charts(app)) == len(PREDICTED_CHARTS)
    for spec in charts(app):
        assert all(name in spec for name in ("bf16", "fp8", "int8", "int4"))
    assert sum("crossover" in spec for spec in charts(app)) == 1
    text = words_of(app)
    for expected in ("J/output token", "/ 1M tokens", "Marlin W4A16", "□ published", "◆ calibrated", "at once"):
        assert expected in text, expected


def test_every_chart_has_words_for_those_who_cannot_see_it_and_its_numbers_below() -> None:
    app = show("precision", model=MODEL)
    for chart in app.get("plotly_chart"):
        assert len(chart.proto.alt) > 20
    below = [box for box in app.main.expander if box.label == "The same in numbers"]
    assert len(below) == len(PREDICTED_CHARTS) and all(len(box.table) == 1 for box in below)


def test_another_gpu_is_another_kernel() -> None:
    app = show("precision", model=MODEL)
    app.selectbox(key="precision_gpu").set_value("a100-sxm-80").run()
    assert "Marlin W8A16: weights alone are FP8" in words_of(app)


def test_an_own_price_replaces_the_price_lists_and_stays_out_of_the_link() -> None:
    app = show("precision", model=MODEL)
    app.number_input(key="precision_price").set_value(36.0).run()
    assert "(assumed)" in app.main.subheader[0].value.replace("\\", "")
    assert not any("36" in str(value) for value in dict(app.query_params).values())


def test_a_model_of_119_billion_on_a_card_of_8_gb_is_an_answer_and_not_a_crash() -> None:
    app = show("precision", model="mistral-small-4-119b-2603", precision_gpu="rtx-4060")
    assert not app.exception
    text = words_of(app)
    assert "No format keeps 97.0% of the quality and runs" in text
    assert "does not fit" in text


def test_a_context_beyond_the_model_is_said_of_every_format() -> None:
    app = show("precision", model=MODEL, lengths="1", prompt_tokens="1000000")
    assert not app.exception
    assert "is beyond the model's 131,072" in words_of(app)


def test_a_gpu_that_no_source_names_shows_no_numbers_but_says_so() -> None:
    app = show("precision", model=MODEL)
    app.selectbox(key="precision_gpu").set_value("gaudi2").run()
    assert not app.exception
    assert "No source names a kernel that runs any of these formats" in words_of(app)
    assert not charts(app)


def test_a_mistake_in_the_question_is_one_sentence() -> None:
    app = show("precision", model=MODEL)
    app.multiselect(key="precisions").set_value([]).run()
    assert not app.exception
    assert len(app.warning) == 1


def test_without_measurements_the_page_predicts_and_says_how_to_measure(tmp_path: Path) -> None:
    app = show("precision", model=MODEL)
    assert not app.exception
    text = words_of(app)
    assert str(tmp_path) in text
    assert "llmsizer demo" in text
    assert "per 1M tokens at capacity" in text


@pytest.mark.usefixtures("measured")
def test_the_variants_are_shown_with_what_was_measured() -> None:
    app = show("precision", model=MODEL)
    text = words_of(app)
    assert "48.1 MB" in text
    assert "33.90 ± 0.62" in text
    assert "INT4 against INT8: 1.07 times as slow" in text
    assert "out of memory" in text
    own = charts(app)[len(PREDICTED_CHARTS) :]
    assert all("fp16" in c.proto.alt or "int4" in c.proto.alt or "within" in c.proto.alt
               for c in app.get("plotly_chart")[len(PREDICTED_CHARTS) :])  # fmt: skip
    # four of speed and size, throughput, divergence and first choice, then predicted against measured
    assert len(own) == 8
    assert sum("fp16" in spec for spec in own) == 6  # losses are of the smaller formats


@pytest.mark.usefixtures("measured")
def test_records_of_another_model_are_not_mixed_with_the_question() -> None:
    text = words_of(show("precision", model=MODEL))
    assert "not of the model you ask about" in text
    assert "int4, yours" not in text


def test_own_quality_of_the_model_asked_about_replaces_what_was_published(tmp_path: Path) -> None:
    write(tmp_path / "profiles.jsonl", [renamed(r) for r in measured_by_hand.profiles()])
    write(tmp_path / "quality.jsonl", [r.model_copy(update={"model": MODEL}) for r in measured_by_hand.quality()])
    app = show("precision", model=MODEL)
    assert not app.exception
    text = words_of(app)
    assert "These records are of the model you ask about" in text
    assert "int4, yours" in text and "int4, others" in text
    assert "● measured" in text


def renamed(record: ProfileRecord) -> ProfileRecord:
    return record.model_copy(update={"model": MODEL})


def test_measured_joules_are_shown_where_a_record_has_them(tmp_path: Path) -> None:
    from llmsizer.facts.record_parts import Energy

    record = measured_by_hand.profile("fp16", 1)
    write(tmp_path / "profiles.jsonl", [record.model_copy(update={"energy": Energy(joules_per_output_token=0.5)})])
    assert "0.5 J" in words_of(show("precision", model=MODEL))


@pytest.mark.usefixtures("measured")
def test_predictions_after_learning_are_made_when_they_are_asked_for() -> None:
    app = show("precision", model=MODEL)
    assert "Half of these predictions" not in words_of(app)
    app.session_state["folded_learned"] = True
    app.run()
    assert not app.exception
    assert "Half of these predictions" in words_of(app)


@pytest.mark.usefixtures("measured")
def test_another_operating_point_can_be_chosen() -> None:
    app = show("precision")
    app.selectbox(key="point").select_index(1).run()
    assert "488 ms" in words_of(app)


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    write(tmp_path / "profiles.jsonl", hostile_answers.hostile_profiles(HOSTILE))
    write(tmp_path / "quality.jsonl", [hostile(r) for r in measured_by_hand.quality()])
    app = show("precision", model=MODEL)
    assert not app.exception
    for element in (*app.markdown, *app.caption, *app.info, *app.warning, *app.subheader):
        assert "<script>" not in str(element.value)
    for spec in charts(app):
        assert "<script>" not in spec


def hostile(record: QualityRecord) -> QualityRecord:
    return record.model_copy(update={"model": HOSTILE, "dataset": HOSTILE})


def test_a_torn_record_is_reported_and_the_rest_shown(tmp_path: Path) -> None:
    whole = measured_by_hand.profile("fp16", 1).model_dump_json()
    (tmp_path / "profiles.jsonl").write_text(whole + '\n{"record_id": "x"\n')
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
    failed = [r for r in measured_by_hand.profiles() if r.status != "ok"]
    write(tmp_path / "profiles.jsonl", failed)
    app = show("precision")
    assert not app.exception
    assert "Every point of this group failed" in words_of(app)


def test_the_example_can_be_loaded_and_left_again() -> None:
    app = show("precision")
    button(app, "Load an example").click().run()
    assert not app.exception
    assert "They are not from this machine" in words_of(app)
    assert "int4" in words_of(app)
    button(app, "Back to my own records").click().run()
    assert "There are no measurements" in words_of(app)


def button(app: object, label: str) -> object:
    return next(b for b in app.main.button if b.label == label)  # type: ignore[attr-defined]
