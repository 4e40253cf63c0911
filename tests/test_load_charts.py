"""Charts of load: what they draw, say and tabulate, on paper and on the screen."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from llmsizer.cli import main
from llmsizer.cli.traffic.charts import html_file
from llmsizer.deliver.charts.load_charts import cdf_chart, latency_chart, latency_lines, occupancy_charts, week_chart
from llmsizer.deliver.charts.load_drawing import Axis, Line, Mark, draw_lines
from llmsizer.deliver.charts.load_figures import cdf_figure
from llmsizer.deliver.charts.plan_hours import week_figure
from llmsizer.deliver.pages.load import LoadPage, render_load_page
from llmsizer.errors import InputError
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.failing.availability import Site
from llmsizer.traffic.load_curves import SHARES, LoadCurve, distributions, load_curve, occupancy_series, week
from llmsizer.traffic.service import Goal, observe
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.replications import Replications
from llmsizer.traffic.simulator.steps import tabulate

SLO = Slo(ttft_p95_seconds=0.5, tpot_p95_seconds=0.1)


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


TABLE = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
SITE = Site(
    replica=Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024),
    stream=Stream(
        arrivals=Arrivals(requests_per_second=1),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    ),
    goal=Goal(slo=SLO),
    replicas=2,
    replicas_per_host=1,
    gpus_per_replica=1,
    replications=2,
)


@pytest.fixture(scope="module")
def curves() -> list[LoadCurve]:
    return [load_curve(SITE, 2, "all up"), load_curve(SITE, 1, "one host down")]


@pytest.fixture(scope="module")
def runs() -> Replications:
    return observe(SITE.replica, SITE.stream.at_rate(20), SITE.fleet(2), SITE.goal, hours=0.25, replications=2)


def test_a_curve_runs_from_nearly_idle_through_what_is_held_to_overload(curves: list[LoadCurve]) -> None:
    all_up = curves[0]
    held = all_up.held.requests_per_second
    assert [point.requests_per_second / held for point in all_up.points] == pytest.approx(SHARES)
    by_share = dict(zip(SHARES, all_up.points, strict=True))
    assert by_share[0.05].ttft_p95_seconds == pytest.approx(0.02, rel=0.5)  # one prompt alone: 20 ms
    assert not by_share[0.9].missed
    assert by_share[1.35].verdict == "OVERLOADED" and by_share[1.35].ttft_p95_seconds is None
    assert held > 1.9 * curves[1].held.requests_per_second


def test_a_line_ends_where_the_fleet_is_overloaded(curves: list[LoadCurve]) -> None:
    for curve, line in zip(curves, latency_lines(curves, "TTFT"), strict=True):
        known = [p.requests_per_second for p in curve.points if p.verdict != "OVERLOADED"]
        assert [x for x, _ in line.points] == known


def test_a_latency_chart_says_in_words_and_rows_what_it_draws(curves: list[LoadCurve]) -> None:
    chart = latency_chart(curves, "TTFT", SLO, 50.0)
    assert "simulated" in chart.alt and "one host down: holds" in chart.alt
    drawn = chart.draw(960)
    assert 'role="img"' in drawn and "peak hour 50/s" in drawn and "TTFT p95 of the SLO, 500 ms" in drawn
    assert "nan" not in drawn and "inf" not in drawn
    assert len(chart.table.rows) == 2 * len(SHARES)
    assert [key.words for key in chart.legend] == ["all up (solid)", "one host down (dashed)"]  # not by colour alone


def test_a_distribution_rises_to_one_and_knows_its_median(runs: Replications) -> None:
    found = {each.metric: each for each in distributions(runs)}
    assert list(found) == ["TTFT", "TPOT", "E2E"]
    for each in found.values():
        assert np.all(np.diff(each.share) > 0) and np.all(np.diff(each.seconds) > 0)
        assert each.share[-1] == 1
    ttft = runs.latency("ttft")
    assert ttft is not None and ttft.p50_seconds is not None
    assert found["TTFT"].within(ttft.p50_seconds) == pytest.approx(0.5, abs=0.02)
    assert "within the SLO" in " ".join(cdf_chart(list(found.values()), SLO, "here").table.headers)
    figure = cdf_figure(list(found.values()), SLO)
    assert [line["name"] for line in figure["data"]] == ["TTFT", "TPOT", "E2E"]
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["SLO TPOT 100 ms", "SLO TTFT 500 ms"]
    json.dumps(figure, allow_nan=False)


def test_an_overloaded_run_has_no_distribution() -> None:
    over = observe(SITE.replica, SITE.stream.at_rate(500), SITE.fleet(1), SITE.goal, hours=0.02, replications=1)
    assert over.verdict == "OVERLOADED" and distributions(over) == ()


def test_a_week_counts_demand_against_what_is_held_and_marks_what_misses(curves: list[LoadCurve]) -> None:
    held = curves[0].held
    day = [0.0] * 12 + [1.0] * 11 + [3.0]
    average = held.requests_per_second * 14 / 24  # so that an hour of weight 1 is all that is held, of weight 3 triple
    hours = week(SITE, day, average * 0.9, held)
    assert [round(hour.of_held, 3) for hour in hours[10:14]] == [0, 0, 0.9, 0.9]
    assert hours[23].of_held == pytest.approx(2.7) and hours[23].missed == "OVERLOADED"
    assert not any(hour.missed for hour in hours[:23])
    chart = week_chart(hours, "by hand")
    assert "missed in 1 of 24 hours" in chart.alt
    assert "270!" in chart.draw(960) and ">90<" in chart.draw(350)
    text = week_figure(hours)["data"][0]["text"]
    assert (text[0][0], text[12][0], text[23][0]) == ("0", "90", "270!")


def test_occupancy_is_of_one_replica_and_against_its_room(runs: Replications) -> None:
    series = occupancy_series(runs, SITE.replica, 2)
    # Little's law for one of two replicas: 10 requests a second, each decoding for ten steps of about 10 ms.
    assert float(np.mean(series.batch)) == pytest.approx(runs.runs[0].mean_batch / 2, rel=1e-6)
    kv, batch = occupancy_charts(series)
    assert "of 100,000" in kv.alt and "of 16" in batch.alt


def test_a_page_holds_everything_and_the_same_input_gives_the_same_page(curves: list[LoadCurve]) -> None:
    page = LoadPage(title="<b>", sentences=("a & b",), charts=(latency_chart(curves, "TPOT", SLO),), basis="simulated")
    text = render_load_page(page)
    assert text == render_load_page(page)
    assert "<h1>&lt;b&gt;</h1>" in text and "a &amp; b" in text
    assert not re.search(r'(src|href)="http', text)
    assert text.count("<svg") == 2 and text.count("<table") == 1  # wide and narrow; its numbers under it


def test_what_lies_outside_the_axes_gets_no_mark() -> None:
    axis = Axis(title="x", low=0.0, high=1.0, words=str)
    drawn = draw_lines([Line(name="a", points=((0, 0), (1, 1)), style=0)],
                       [Mark(words="beyond", at=2.0, upright=True), Mark(words="within", at=0.5, upright=False)],
                       axis, axis, 960, "alt")  # fmt: skip
    assert "within" in drawn and "beyond" not in drawn


@pytest.mark.parametrize("bad", ["chart.png", "no-such-folder/a.html"])
def test_a_plot_that_cannot_be_written_is_refused_before_anything_is_simulated(bad: str) -> None:
    with pytest.raises(InputError, match="--plot"):
        html_file(bad)


def test_both_commands_write_their_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ("eu-chat", "--gpu", "h100-sxm-80", "--weights", "int4", "--replicas", "2", "--replications", "2", "--json")
    for command in ("simulate", "capacity"):
        path = tmp_path / f"{command}.html"
        assert main([command, *asked, "--plot", str(path)]) == 0
        out, err = capsys.readouterr()
        json.loads(out)
        assert str(path.name) in err.replace("\n", "")
        assert "The hours of a week" in path.read_text(encoding="utf-8")
