"""Answers, kept while their inputs stay the same. Only the public functions of llmsizer are called."""

from __future__ import annotations

import datetime

import streamlit as st

from cached.places import catalogue_state
from llmsizer.decide.answer import ApiPlan, Plan, Recommendation
from llmsizer.decide.certainty.sure import why_not_called
from llmsizer.decide.pricing.apis import api_choices, api_plans
from llmsizer.decide.pricing.study import Study, study
from llmsizer.decide.recommend import answer_of, first_plans
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


def first(scenario: Scenario) -> Plan | ApiPlan | None:
    """What the answer will say to do, known in a fraction of its time: what stands beside it and how sure it is come
    later. None where nothing does. Raises LlmSizerError."""
    return _first(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


@st.cache_resource(max_entries=64, show_spinner=False)
def _first(scenario: str, today: datetime.date, catalogue: str) -> Plan | ApiPlan | None:
    found = _study(scenario, today, catalogue)
    plan = next(iter(first_plans(found)), None)
    choices = api_choices(found) if found.question.scenario.constraints.api else []
    called = next(iter(api_plans(found, [each for each in choices[:1] if not why_not_called(found, each)])), None)
    if plan is None or called is None:
        return plan or called
    return called if (called.cost.usd_per_month.value or 0.0) < (plan.cost.usd_per_month.value or 0.0) else plan


def studied(scenario: Scenario) -> Study:
    """What the answer is made of, for those who ask it more: every replica that fits, with its prices."""
    return _study(scenario.model_dump_json(), datetime.date.today(), catalogue_state())


@st.cache_resource(max_entries=16, show_spinner=False)
def _study(scenario: str, today: datetime.date, catalogue: str) -> Study:
    catalog, asked = default_catalog(), Scenario.model_validate_json(scenario)
    return study(catalog.model(asked.model), asked, catalog, today=today)
