"""The currency that amounts are shown in, kept while its rate stays the same."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from functools import cache

import streamlit as st

from cached.places import catalogue_state
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.money.currency import US_DOLLARS, USD, Currency, currency_of

RATE = "usd_per_"  # begins the name of an assumption that is a rate of exchange


def currency(scenario: Scenario) -> Currency:
    """Raises ScenarioError where no rate is known."""
    if scenario.currency == USD:
        return US_DOLLARS
    return _currency(
        scenario.model_dump_json(include={"currency", "money", "assumptions"}), catalogue_state(), scenario
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _currency(key: str, catalogue: str, _scenario: Scenario) -> Currency:
    assumed = load_assumptions(_scenario.assumptions, datetime.date.today(), default_catalog().root)
    return currency_of(_scenario.currency, assumed, _scenario.money.rates)


@cache
def with_a_rate() -> Sequence[str]:
    """Codes of the currencies that the catalogue has a rate of, dollars first."""
    names = load_assumptions({}, datetime.date.min, default_catalog().root)  # how old a rate is is shown elsewhere
    return [USD, *sorted(name.removeprefix(RATE).upper() for name in names if _is_rate(name))]


def _is_rate(name: str) -> bool:
    return name.startswith(RATE) and len(name) == len(RATE) + 3
