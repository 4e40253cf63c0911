"""Answers, kept while their inputs stay the same. Only the public functions of llmsizer are called."""

from __future__ import annotations

import datetime

import streamlit as st

from cached.places import catalogue_state
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.recommend import answer_of
from llmsizer.decide.study import Study, study
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from texts import say


def recommendation(scenario: Scenario) -> Recommendation:
    """What to run, on what, for how much, with the comparison over the volume in it. Raises LlmSizerError."""
    with st.spinner(say("common.thinking")):
        return answer(scenario)


def answer(scenario: Scenario) -> Recommendation:
    """The same without a word on the page, for threads that have none. Raises LlmSizerError."""
    return _answer(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


# Answers are frozen, so every session may have the same one: kept as a resource nobody has to copy it.
@st.cache_resource(max_entries=64, show_spinner=False)
def _answer(scenario: str, today: datetime.date, catalogue: str) -> Recommendation:
    return answer_of(_study(scenario, today, catalogue), default_catalog())


def studied(scenario: Scenario) -> Study:
    """What the answer is made of, for those who ask it more: every replica that fits, with its prices."""
    return _study(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


@st.cache_resource(max_entries=16, show_spinner=False)
def _study(scenario: str, today: datetime.date, catalogue: str) -> Study:
    catalog, asked = default_catalog(), Scenario.model_validate_json(scenario)
    return study(catalog.model(asked.model), asked, catalog, today=today)
