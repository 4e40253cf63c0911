"""The page of memory: the same account as the command's, what fits where, and what is asked beyond reason."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import show, words_of
from llmsizer.cli import main
from llmsizer.units import GIGA

MODEL = "llama-3.1-8b"
CHARTS = ("waterfall", "contexts", "models")


def charts(app: Any) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]


def waterfall_of(app: Any) -> dict[str, Any]:
    return dict(next(spec for spec in charts(app) if spec["data"][0]["type"] == "bar")["data"][0])


@pytest.mark.parametrize(
    ("model", "gpu", "weights", "tensor", "context"),
    [(MODEL, "h100-sxm-80", "fp8", 1, 8192), ("mistral-small-4-119b-2603", "rtx-4060", "int4", 2, 4096)],
)
def test_the_waterfall_is_the_account_of_llmsizer_memory(
    model: str, gpu: str, weights: str, tensor: int, context: int, capsys: pytest.CaptureFixture[str]
) -> None:
    app = show("memory", model=model)
    app.selectbox(key="memory_gpu").set_value(gpu)
    app.selectbox(key="memory_weights").set_value(weights)
    app.selectbox(key="memory_tensor").set_value(str(tensor))
    app.number_input(key="memory_context").set_value(context).run()
    main(["memory", model, "--gpu", gpu, "--weights", weights, "--tp", str(tensor),
          "--context", str(context), "--json"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert app.code[0].value.startswith(f"llmsizer memory {model} --gpu {gpu} --weights {weights}")
    bars = waterfall_of(app)
    drawn = {name.rsplit(" ", 1)[0]: value for name, value in zip(bars["y"], bars["x"], strict=True)}
    assert drawn == pytest.approx({k: v / GIGA for k, v in told["parts_bytes"].items() if v or k == "KV cache"})
    assert bars["base"][-1] + bars["x"][-1] == pytest.approx(
        max(told["gpu_bytes"], sum(told["parts_bytes"].values())) / GIGA
    )
    text = words_of(app)
    if told["fits"]:
        assert f"It fits: {told['max_concurrency']:,} requests of {context:,} tokens at once" in text
    else:
        assert told["reason"] in text and told["would_fit"][0] in text


def test_every_chart_has_words_for_those_who_cannot_see_it_and_its_numbers_below() -> None:
    app = show("memory", model=MODEL)
    assert not app.exception
    assert len(charts(app)) == len(CHARTS)
    assert all(len(chart.proto.alt) > 20 for chart in app.get("plotly_chart"))
    below = [box for box in app.main.expander if box.label == "The same in numbers"]
    assert len(below) == len(CHARTS) and all(len(box.table) == 1 for box in below)
    assert "○ assumed" in words_of(app)


def test_cells_hold_free_gigabytes_or_the_width_that_would_do() -> None:
    app = show("memory", model="mistral-small-4-119b-2603")
    cells = {text for spec in charts(app) if spec["data"][0]["type"] == "heatmap"
             for row in spec["data"][0]["text"] for text in row}  # fmt: skip
    assert {"TP=2", "TP=4"} <= cells
    assert any(text.replace(".", "").isdigit() for text in cells)


def test_more_requests_than_the_cache_holds_names_what_would_hold_them() -> None:
    app = show("memory", model=MODEL)
    app.number_input(key="memory_concurrency").set_value(200).run()
    text = words_of(app)
    assert "It starts, but does not hold 200 requests" in text
    assert "nearest change" in text and "use 4 GPUs (tp 4)" in text


def test_another_question_is_another_model_until_the_page_chooses_its_own() -> None:
    app = show("memory", model=MODEL)
    app.selectbox(key="model").set_value("qwen3-32b").run()
    assert app.selectbox(key="memory_model").value == "qwen3-32b"
    app.selectbox(key="memory_model").set_value("gpt-oss-20b").run()
    assert app.selectbox(key="memory_model").value == "gpt-oss-20b"
    assert "gpt-oss-20b" in words_of(app)


def test_a_link_brings_the_form_along() -> None:
    app = show("memory", model=MODEL, memory_context="32768", memory_tensor="2", memory_kv="fp8", memory_gpu="l40s")
    assert app.number_input(key="memory_context").value == 32_768
    assert "2 × L40S" in words_of(app)


def test_a_million_tokens_on_a_small_card_is_an_answer() -> None:
    app = show("memory", model="mistral-small-4-119b-2603")
    app.selectbox(key="memory_gpu").set_value("rtx-4060")
    app.number_input(key="memory_concurrency").set_value(65_536)
    app.number_input(key="memory_context").set_value(1_048_576).run()
    assert not app.exception
    assert "It does not fit on one GeForce RTX 4060" in words_of(app)


def test_a_context_beyond_the_models_own_limit_is_no_question_of_memory() -> None:
    app = show("memory", model=MODEL)
    app.number_input(key="memory_context").set_value(10_000_000).run()
    assert not app.exception
    text = words_of(app)
    assert "beyond the model's 131,072" in text
    assert "limit the context to 131,072 tokens" in text


def test_a_width_the_shape_forbids_is_one_sentence() -> None:
    app = show("memory", model="qwen2.5-0.5b")  # 14 attention heads
    app.selectbox(key="memory_tensor").set_value("4").run()
    assert not app.exception
    assert len(app.warning) == 1 and "14 attention heads" in str(app.warning[0].value)


def test_without_a_model_or_a_gpu_to_show_the_map_keeps_those_asked_about() -> None:
    app = show("memory", model=MODEL)
    app.multiselect(key="memory_shown_models").set_value([])
    app.multiselect(key="memory_shown_gpus").set_value([]).run()
    assert not app.exception
    heatmap = charts(app)[-1]["data"][0]
    assert (heatmap["y"], heatmap["x"]) == ([MODEL], ["h100-sxm-80"])
