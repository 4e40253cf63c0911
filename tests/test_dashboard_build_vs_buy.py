"""The page of own, rent or API: stairs and lines with their tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

import answers

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import show, words_of
from llmsizer.facts.figure import unknown


def test_build_or_buy_draws_stairs_and_lines_with_the_table_under_them() -> None:
    app = show("build_vs_buy")
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
    app = show("build_vs_buy")
    assert not app.exception
    assert "Nothing to draw" in words_of(app)
    assert "nobody sells it" in words_of(app)
