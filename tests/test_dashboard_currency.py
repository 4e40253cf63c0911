"""Amounts in the currency asked for: on every part of a page, at a rate that is said, and by the link."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import dashboards as dashboards
from dashboard_pages import show, words_of

RATE = 1.25  # dollars a euro: 5,615 dollars are 4,492 euros
OWN_RATE = b"""
name = "in euros"
model = "llama-3.1-8b"
currency = "EUR"
[workload]
preset = "chat"
tokens_per_month = 1e9
[money.rates.EUR]
usd = 1.25
as_of = "2026-11-01"
"""


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalogue's rate, by hand."""
    from llmsizer.facts.figure import exact
    from llmsizer.money.currency import Currency

    euros = Currency(code="EUR", usd_per_unit=exact(RATE, "USD/EUR", "assumed", "by hand", "2026-11-01"))
    monkeypatch.setattr("cached.currencies._currency", lambda *_: euros)


@pytest.mark.usefixtures("rate")
def test_a_page_is_in_the_currency_of_its_link_and_says_the_rate() -> None:
    app = show("decide", currency="EUR")
    assert not app.exception
    assert "€4,492 a month" in str(app.main.subheader[0].value)
    assert "1 EUR = 1.25 USD (by hand, 2026-11-01)" in words_of(app)
    assert "€3,643 to €5,342" in words_of(app)  # 4,554 and 6,677 dollars


@pytest.mark.usefixtures("rate")
def test_what_is_opened_later_is_in_that_currency_too() -> None:
    app = show("decide", currency="EUR")
    before = words_of(app).count("€")
    app.session_state["folded_plans"] = True
    app.run()
    assert words_of(app).count("€") > before


@pytest.mark.usefixtures("rate")
def test_the_currency_chosen_in_the_side_bar_goes_into_the_link_and_dollars_leave_it() -> None:
    app = show("decide")
    assert "currency" not in app.query_params
    assert "$5,615 a month" in str(app.main.subheader[0].value).replace("\\", "")
    app.segmented_control(key="currency").set_value("EUR").run()
    assert app.query_params["currency"] == ["EUR"] or app.query_params["currency"] == "EUR"
    app.segmented_control(key="currency").set_value("USD").run()
    assert "currency" not in app.query_params
    assert "converted from US dollars" not in words_of(app)


@pytest.mark.usefixtures("rate")
def test_the_catalogue_stays_in_the_dollars_of_the_price_lists() -> None:
    app = show("evidence", currency="EUR")
    assert not app.exception
    lists = [table.value for table in app.dataframe]
    assert lists, "the catalogue is a grid"
    assert not any("€" in str(cell) for frame in lists[-1:] for row in frame.to_numpy().tolist() for cell in row)


def test_a_scenario_with_a_rate_of_its_own_is_shown_at_that_rate() -> None:
    from cached import currencies
    from question import inputs, scenarios

    asked = inputs.read_scenario(io.BytesIO(OWN_RATE).read(), "euros.toml")
    assert currencies.currency(asked).rate == RATE
    assert scenarios.values_of(asked)["currency"] == "EUR"
    assert "currency" not in scenarios.beyond(asked)


def test_the_catalogue_says_which_currencies_there_are() -> None:
    from cached import currencies

    assert list(currencies.with_a_rate())[:2] == ["USD", "EUR"]
