"""How sure an answer is, on a page and on a screen: nothing certain, nothing dropped, the same numbers everywhere."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

import answers
from llmsizer.decide.certainty.drivers import driver_words
from llmsizer.decide.certainty.uncertainty import share_text
from llmsizer.deliver.charts.figures import WRAP
from llmsizer.deliver.charts.uncertainty import (
    bands_chart,
    bands_figure,
    cost_bands,
    information_table,
    tornado_chart,
    tornado_figure,
    tornado_table,
    win_table,
)
from llmsizer.deliver.pages.report import render_report
from llmsizer.money.spread import Bar, Information, PathSpread, Uncertainty

HOSTILE = "<b>x</b>&"


def spread(path: str, label: str, middle: float, wins: float | None, why_not: str = "") -> PathSpread:
    return PathSpread(
        path=path,  # type: ignore[arg-type]
        label=label,
        usd_p10=0.8 * middle,
        usd_p50=middle,
        usd_p90=1.3 * middle,
        usd_mean=1.02 * middle,
        within_slo=1.0,
        wins=wins,
        why_not=why_not,
    )


def bar(driver: str, low: float, high: float, cheapest_at_high: str = "rent it") -> Bar:
    return Bar(
        driver=driver,
        unit="USD",
        low=1,
        mid=2,
        high=3,
        usd_at_low=low,
        usd_at_high=high,
        cheapest_at_low="rent it",
        cheapest_at_high=cheapest_at_high,
    )


SURE = Uncertainty(
    draws=1000,
    seed=1,
    recommended="rent it",
    paths=(
        spread("own", HOSTILE, 12_000, 0.0),
        spread("rent", "rent it", 10_000, 1.0),
        spread("api", "an API", 20, None, "another model"),
    ),
    none_within_slo=0.0,
    tornado=(
        bar("people_fte_rent", 8_000, 13_000, "own it"),
        bar("usd_per_kwh", 9_900, 10_200),
        bar("pue", 10_000, 10_000),
    ),
    flips=(),
    perfect_information_usd_per_month=300.0,
    information=(
        Information(driver="people_fte_own", usd_per_month=200.0, variance_share=0.0, measurement="ask"),
        Information(driver="usd_per_kwh", usd_per_month=0.0, variance_share=0.2, measurement="read the bill"),
        Information(driver="pue", usd_per_month=0.0, variance_share=0.001, measurement="measure it"),
    ),
    text="P10–P90",
)


@pytest.mark.parametrize(
    ("share", "words"),
    [(1.0, "> 99 %"), (0.996, "> 99 %"), (0.99, "99 %"), (0.751, "75 %"), (0.004, "< 1 %"), (0.0, "< 1 %")],
)
def test_draws_make_nothing_certain(share: float, words: str) -> None:
    assert share_text(share) == words


def test_bands_are_sorted_by_their_median_and_say_who_may_not_be_taken() -> None:
    bands = cost_bands(SURE)
    assert [band.label for band in bands] == ["an API", "rent it", HOSTILE]
    assert [band.odds for band in bands] == ["out", "> 99 %", "< 1 %"]
    assert [band.is_recommended for band in bands] == [False, True, False]


def test_a_path_without_a_price_has_no_band() -> None:
    nan = replace(SURE.paths[0], usd_p10=math.nan, usd_p50=math.nan, usd_p90=math.nan)
    assert [band.label for band in cost_bands(replace(SURE, paths=(nan, *SURE.paths[1:])))] == ["an API", "rent it"]


def test_tables_name_every_path_every_moving_driver_and_what_is_worth_measuring() -> None:
    assert [row[0].text for row in win_table(SURE).rows] == [HOSTILE, "rent it", "an API"]
    moved = tornado_table(SURE).rows
    assert [row[2].text for row in moved] == ["$8,000", "$9,900"]  # what moves nothing has no bar
    assert [row[4].text for row in moved] == ["at its high: own it", "the same path"]
    asked = information_table(SURE).rows
    assert [row[0].text for row in asked] == ["Ask", "Read the bill"]
    assert [row[2].text for row in asked] == ["$200", "nothing"]


def test_the_figures_hold_the_same_dollars_as_the_tables() -> None:
    bands = bands_figure(SURE)["data"][0]
    assert bands["base"] == [16.0, 8_000.0, 9_600.0]
    assert [base + x for base, x in zip(bands["base"], bands["x"], strict=True)] == pytest.approx([26, 13_000, 15_600])
    low, high = tornado_figure(SURE)["data"]
    # A driver that moves nothing stands at the cost with all in the middle.
    assert low["base"] == high["base"] == [10_000.0, 10_000.0]
    assert [base + x for base, x in zip(high["base"], high["x"], strict=True)] == [13_000.0, 10_200.0]


def test_a_long_name_leaves_room_for_its_figures_on_a_narrow_screen() -> None:
    bar = replace(SURE.tornado[0], driver="a price that somebody described at more length than any chart is wide")
    notes = tornado_figure(replace(SURE, tornado=(bar,)))["layout"]["annotations"]
    name, ends = (note["text"] for note in notes)
    lines = name.split(WRAP)
    assert all(len(line) + len(ends) <= 54 for line in lines)  # characters, in 342 of 390 pixels
    assert " ".join(lines) == driver_words(bar.driver)  # and nothing of the name is lost
    far_longer = replace(SURE.tornado[0], driver="a price " * 40)
    name = tornado_figure(replace(SURE, tornado=(far_longer,)))["layout"]["annotations"][0]["text"]
    assert name.endswith("…") and name.count(WRAP) == 1


def test_names_from_outside_are_harmless_in_both() -> None:
    assert "<b>x" not in bands_chart(SURE).draw(900) and "&lt;b&gt;" in bands_chart(SURE).draw(350)
    assert "<b>x" not in str(bands_figure(SURE))
    assert tornado_chart(SURE).draw(900).count("<rect") == 4


def test_the_report_shows_how_sure_it_is() -> None:
    page = render_report(recommendation=replace(answers.recommendation(), uncertainty=SURE))
    assert all(title in page for title in ("How sure it is", "What each path may cost", "What to measure first"))
    assert "100 %" not in page.split("How sure it is")[1].split("<h2>")[0]


def test_without_a_bar_that_moves_the_cost_nothing_is_drawn() -> None:
    still = replace(SURE, tornado=SURE.tornado[2:])
    assert tornado_figure(still)["data"] == [] and "<rect" not in tornado_chart(still).draw(900)
