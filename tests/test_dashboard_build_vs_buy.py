"""The page of own, rent or API: the command's own figures, how sure, idle, cash and places; empty and extreme."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from streamlit.testing.v1 import AppTest

from dashboard_pages import dashboards as dashboards
from dashboard_pages import figures_of, really_answer, show, small, words_of
from llmsizer.cli import main
from llmsizer.decide.certainty.volume_spread import DRAWS
from llmsizer.errors import InputError
from llmsizer.facts.figure import unknown
from llmsizer.facts.scenario import Scenario
from llmsizer.money.currency import format_usd


def trace_of(figure: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(trace for trace in figure["data"] if trace.get("name") == name and trace.get("text"))
    return found


def test_stairs_and_lines_come_with_their_table_and_their_crossovers() -> None:
    app = show("build_vs_buy")
    stairs, money = figures_of(app)
    assert {trace["line"]["shape"] for trace in stairs["data"] if "line" in trace} == {"hv", "linear"}
    assert money["layout"]["barmode"] == "stack"
    text = words_of(app)
    for expected in ("not reached", "9.5 billion tokens a month", "Total a month", "a price is missing"):
        assert expected in text, expected


def test_where_no_cost_is_known_nothing_is_drawn_and_the_table_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    base = answers.comparison()
    unpriced = tuple(
        replace(step, usd_per_month=unknown("nobody sells it", "USD/month")) for step in base.paths[0].steps
    )
    bare = replace(base, paths=(replace(base.paths[0], steps=unpriced),), crossovers=())
    monkeypatch.setattr("cached.answers.recommendation", lambda _: replace(answers.nothing_fits(), comparison=bare))
    app = show("build_vs_buy")
    assert not app.exception
    assert "Nothing to draw" in words_of(app)
    assert "nobody sells it" in words_of(app)


def test_the_figures_are_those_of_compare_json_and_plan_json(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenario = small()
    path = tmp_path / "scenario.toml"
    path.write_text(
        'name = "test"\nmodel = "llama-3.1-8b"\n[workload]\npreset = "chat"\ntokens_per_month = 1e9\n[constraints]\n'
        'gpus = ["l40s", "h100-sxm-80"]\nprecisions = ["fp8"]\nmax_gpus_per_replica = 2\n',
        encoding="utf-8",
    )
    said = {}
    for command in ("compare", "plan"):
        assert main([command, str(path), "--json"]) == 0
        said[command] = json.loads(capsys.readouterr().out)
    really_answer(monkeypatch, scenario)
    app = show("build_vs_buy")
    assert not app.exception
    stairs, bands, tornado, money, cash, _ = figures_of(app)
    for documented in said["compare"]["paths"][:2]:
        drawn = trace_of(stairs, documented["label"])
        steps = {s["tokens_per_month"]: s["usd_per_month"]["value"] for s in documented["steps"]}
        assert dict(zip(drawn["x"], drawn["y"], strict=True)) == steps
    reached = [c["tokens_per_month"] for c in said["compare"]["crossovers"] if c["state"] == "reached"]
    assert [x for trace in stairs["data"] if trace.get("name") == "crossover" for x in trace["x"]] == reached
    for flow, line in zip(said["compare"]["cash_flows"], cash["data"], strict=True):
        assert line["y"][-1] == pytest.approx(flow["total_usd"])
    spread = {one["label"]: one for one in said["plan"]["uncertainty"]["paths"]}
    drawn_p10 = sorted(bands["data"][0]["base"])
    assert drawn_p10 == pytest.approx(sorted(one["usd_p10"] for one in spread.values()))
    widest = said["plan"]["uncertainty"]["tornado"][0]
    assert tornado["data"][0]["base"][0] + tornado["data"][0]["x"][0] == pytest.approx(widest["usd_at_low"])
    first = said["plan"]["plans"][0]
    total = first["cost"]["usd_per_month"]["value"]
    row = money["layout"]["annotations"]
    assert f"<b>{format_usd(total)}</b>" in [note["text"] for note in row]
    bars = [sum(t["x"][t["y"].index(y)] for t in money["data"] if y in t["y"]) for y in (0, 1, 2)]
    assert any(bar == pytest.approx(total) for bar in bars), "idle and the rest are the whole bill"


def test_bands_odds_tornado_worth_of_knowing_idle_cash_and_places_are_all_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really_answer(monkeypatch, small())
    app = show("build_vs_buy")
    assert not app.exception
    stairs, _, _, money, _, places = figures_of(app)
    assert [t["name"] for t in stairs["data"] if t.get("fill")] == ["P90"] * sum(
        t.get("name") == "P10" for t in stairs["data"]
    )
    assert any(trace["name"].startswith("idle") for trace in money["data"])
    assert [trace["name"][:4] for trace in places["data"]] == ["own", "rent", "API "]
    text = words_of(app)
    for expected in (
        "Probability to be the cheapest",
        "would save",
        "Net present value",
        "Earned back in",
        "In the EU, under EU law",
        "no legal advice",
        f"{DRAWS} draws",
    ):
        assert expected in "\n".join([text, *headers_of(app)]), expected
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))


def headers_of(app: AppTest) -> list[str]:
    return [str(name).replace("\\", "") for table in app.table for name in table.value.columns]


def test_both_axes_can_be_proportional() -> None:
    app = show("build_vs_buy")
    app.toggle(key="log_volume").set_value(False).run()
    app.toggle(key="log_usd").set_value(False).run()
    assert not app.exception
    layout = figures_of(app)[0]["layout"]
    assert (layout["xaxis"]["type"], layout["yaxis"]["type"]) == ("linear", "linear")


@pytest.mark.parametrize("tokens_per_month", (1e5, 1e12))
def test_extreme_volumes_are_compared_too(tokens_per_month: float, monkeypatch: pytest.MonkeyPatch) -> None:
    really_answer(monkeypatch, small(tokens_per_month))
    app = show("build_vs_buy")
    assert not app.exception and not app.warning
    assert len(figures_of(app)) == 6


def test_an_api_alone_is_a_line_without_stairs_idle_or_purchase(monkeypatch: pytest.MonkeyPatch) -> None:
    really_answer(monkeypatch, small(own=False, rent=False))
    app = show("build_vs_buy")
    assert not app.exception
    stairs, *_, places = figures_of(app)
    assert {trace["line"]["shape"] for trace in stairs["data"] if "line" in trace} == {"linear"}
    assert [trace["name"][:3] for trace in places["data"]] == ["API"]
    text = words_of(app)
    assert "No crossover was searched for" in text
    assert "Is what was bought earned back?" not in text


def test_where_nothing_is_feasible_the_page_says_so_and_draws_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    hopeless = small(api=False).model_copy(
        update={"slo": small().slo.model_copy(update={"tpot_p95_seconds": 1e-6, "ttft_p95_seconds": 1e-6})}
    )
    really_answer(monkeypatch, hopeless)
    app = show("build_vs_buy")
    assert not app.exception
    text = words_of(app)
    assert "Nothing to draw" in text and "nothing to be sure of" in text
    assert "not searched" in text
    assert "nothing to own meets it here" in text


def test_without_a_comparison_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cached.answers.recommendation", lambda _: replace(answers.nothing_fits(), comparison=None))
    app = show("build_vs_buy")
    assert not app.exception
    assert "No path has a known price" in str(app.info[0].value)


def test_a_mistake_in_what_is_asked_beside_the_answer_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Scenario) -> Any:
        raise InputError("own price 0 of l40s; give one above 0")

    monkeypatch.setattr("cached.money.places", refuse)
    app = show("build_vs_buy")
    assert not app.exception
    assert "give one above 0" in str(app.warning[0].value).replace("\\", "")
