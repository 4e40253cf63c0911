"""Formats drawn side by side: every figure keeps its basis and interval, and what is unknown is said, not drawn."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from llmsizer.decide.precision.choice import PrecisionQuestion, choose_precision, precisions_of
from llmsizer.decide.precision.side_by_side import SideBySide, side_by_side
from llmsizer.decide.pricing.study import workload_of
from llmsizer.deliver.charts.precision import (
    SYMBOLS,
    checks_figure,
    figure_words,
    forest_figure,
    option_rows,
    speed_figure,
    vram_figure,
)
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.tables.residuals import Check
from llmsizer.deliver.views.precision import forest_table, formats_table, kernels_table, speed_table, vram_table
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.scenario import Scenario
from llmsizer.money.prices import price_book

CATALOG = default_catalog()
HOSTILE = "<script>x</script>"


def compared(model: str, gpu: str, *precisions: str) -> SideBySide:
    scenario = Scenario.model_validate({"model": model, "workload": {"preset": "chat"}})
    asked = PrecisionQuestion(
        model=CATALOG.model(model),
        gpus=(CATALOG.gpu(gpu),),
        workload=workload_of(scenario, CATALOG),
        scenario=scenario,
        precisions=precisions_of(precisions),
    )
    options = choose_precision(asked, CATALOG, price_book(CATALOG, scenario, datetime.date(2026, 11, 21)))
    return side_by_side(asked, options, asked.gpus[0])


@pytest.fixture(scope="module")
def side() -> SideBySide:
    return compared("llama-3.1-8b", "h100-sxm-80", "bf16", "fp8", "int8", "int4")


@pytest.fixture(scope="module")
def small() -> SideBySide:
    return compared("mistral-small-4-119b-2603", "rtx-4060", "bf16", "int4")


def fig(value: float, basis: Any = "measured", **changes: Any) -> Figure:
    return Figure(estimate=Estimate(value=value, basis=basis, **changes), unit="USD/1M tokens")


def test_bars_of_every_format_have_their_parts_in_one_order(side: SideBySide) -> None:
    names = [trace["name"] for trace in vram_figure(side)["data"]]
    assert names[0].startswith("quantized weights") and names[2].startswith("KV cache")
    for index, one in enumerate(side.formats):
        assert one.budget is not None
        drawn = sum(dict(zip(t["y"], t["x"], strict=True)).get(index, 0.0) for t in vram_figure(side)["data"])
        assert drawn == pytest.approx(one.budget.used_bytes)


def test_the_cards_limit_is_drawn_at_the_cards_size(small: SideBySide) -> None:
    figure = vram_figure(small)
    assert {shape["x0"] for shape in figure["layout"]["shapes"]} == {small.gpu.memory_bytes}
    assert figure["layout"]["xaxis"]["range"][1] > (small.gpu.memory_bytes or 0)
    assert "✗ does not fit" in str(figure["layout"]["annotations"])


def test_lines_are_dotted_from_where_the_cache_holds_no_more(side: SideBySide) -> None:
    figure = speed_figure(side)
    for one in side.formats:
        solid, dotted = (t for t in figure["data"] if t.get("legendgroup") == one.precision)
        assert solid["x"][-1] <= one.held_at_once < dotted["x"][1]
        assert solid["x"][-1] == dotted["x"][0]
        assert dotted["line"]["dash"] == "dot"


def test_a_ring_stands_where_a_lead_ends(side: SideBySide) -> None:
    (rings,) = (t for t in speed_figure(side)["data"] if t["name"] == "crossover")
    assert rings["x"] == [c.loses_at for c in side.crossovers if c.loses_at is not None]


def test_every_basis_has_a_shape_of_its_own() -> None:
    assert set(SYMBOLS) == set(MARKS) and len(set(SYMBOLS.values())) == len(SYMBOLS)


def test_a_forest_draws_value_interval_and_basis() -> None:
    figure = forest_figure([("a", fig(2.0, "assumed", low=1.0, high=4.0)), ("b", fig(3.0))], lines=[(2.5, "floor")])
    (points,) = figure["data"]
    assert points["x"] == [2.0, 3.0]
    assert (points["error_x"]["array"], points["error_x"]["arrayminus"]) == ([2.0, 0.0], [1.0, 0.0])
    assert points["marker"]["symbol"] == ["circle-open", "circle"]
    assert figure["layout"]["xaxis"]["ticktext"][:2] == ["$0", "$1"]


def test_an_unknown_row_is_said_and_not_drawn() -> None:
    rows = [("a", fig(2.0)), ("b", unknown("nobody said", "USD/1M tokens"))]
    figure = forest_figure(rows)
    assert figure["data"][0]["x"] == [2.0]
    assert "unknown ?" in str(figure["layout"]["annotations"])
    assert figure_words(rows[1][1]) == "unknown: nobody said"
    assert forest_table("t", rows).rows[1][1].remark == "nobody said"
    assert forest_figure([rows[1]])["data"] == []


def test_names_from_outside_use_none_of_plotlys_html() -> None:
    check = Check(what=HOSTILE, quantity=HOSTILE, measured=1.0, predicted=2.0, unit="s")
    assert "<script>" not in str(checks_figure([check])) + str(forest_figure([(HOSTILE, fig(1.0))]))


def test_predicted_against_measured_leaves_out_what_has_no_logarithm() -> None:
    good = Check(what="a", quantity="TPOT", measured=0.1, predicted=0.2, unit="s")
    figure = checks_figure([good, Check(what="b", quantity="TPOT", measured=0.0, predicted=0.2, unit="s")])
    assert figure["data"][0]["x"] == [0.1]
    assert checks_figure([])["data"] == []


def test_tables_say_what_the_charts_draw(side: SideBySide, small: SideBySide) -> None:
    memory = vram_table(side)
    columns = list(zip(*memory.rows, strict=True))[1:]
    for column in columns:
        parts = [float(c.text.removesuffix(" GB")) for c in column if c.text != "–"]
        assert sum(parts[:-1]) == pytest.approx(parts[-1])
    speeds = speed_table(side)
    assert speeds.rows[0][1].remark == "1.00×" and "more than the cache holds" in speeds.rows[0][-1].remark
    assert [row[0].text for row in formats_table(side).rows] == ["bf16", "fp8", "int8", "int4"]
    out = formats_table(small).rows[0]
    assert out[2].text == "out" and "does not fit" in out[2].remark


def test_kernels_say_what_runs_what_does_not_and_what_nobody_said() -> None:
    side = compared("llama-3.1-8b", "b200-sxm-180", "bf16", "int8", "nvfp4")
    assert [one.precision for one in side.formats] == ["bf16", "nvfp4"]
    scenario = Scenario.model_validate({"model": "llama-3.1-8b", "workload": {"preset": "chat"}})
    asked = PrecisionQuestion(
        model=CATALOG.model("llama-3.1-8b"),
        gpus=(CATALOG.gpu("b200-sxm-180"), CATALOG.gpu("gaudi2")),
        workload=workload_of(scenario, CATALOG),
        scenario=scenario,
        precisions=precisions_of(["int8"]),
    )
    options = choose_precision(asked, CATALOG, price_book(CATALOG, scenario, datetime.date(2026, 11, 21)))
    cells = [row[1] for row in kernels_table(options, "vllm").rows]
    assert {c.text for c in cells} == {"✗ no kernel", "unknown"}
    assert next(c for c in cells if c.text == "unknown").basis == "unknown"


def test_the_rows_of_a_quantity_are_the_options_figures(side: SideBySide) -> None:
    rows = option_rows(side, "usd_per_million_tokens")
    assert [figure for _, figure in rows] == [one.option.usd_per_million_tokens for one in side.formats]
