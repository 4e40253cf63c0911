"""What the page of own, rent or API asks beside the answer, kept while the question stays the same."""

from __future__ import annotations

import datetime

import streamlit as st

from cached import answers
from llmsizer.decide.certainty.volume_spread import VolumeSpread, volume_spreads
from llmsizer.decide.places import AtPlace, at_places
from llmsizer.decide.pricing.apis import api_choices
from llmsizer.decide.pricing.study import workload_of
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload


def workload(scenario: Scenario) -> Workload:
    """The question's demand, preset and all. Raises LlmSizerError."""
    return workload_of(scenario, default_catalog())


def spreads(scenario: Scenario) -> tuple[VolumeSpread, ...]:
    """P10 to P90 of every path of the answer's comparison over its volumes. Raises LlmSizerError."""
    return _spreads(scenario.model_dump_json(), datetime.date.today(), scenario)


@st.cache_resource(max_entries=64, show_spinner=False)
def _spreads(key: str, today: datetime.date, _scenario: Scenario) -> tuple[VolumeSpread, ...]:
    comparison, found = answers.answer(_scenario).comparison, answers.studied(_scenario)
    choices = api_choices(found) if _scenario.constraints.api else []
    return () if comparison is None else volume_spreads(found, comparison, choices)


def places(scenario: Scenario) -> tuple[AtPlace, ...]:
    """The question anywhere, in the EU, and under EU law. Raises LlmSizerError."""
    return _places(scenario.model_dump_json(), datetime.date.today(), scenario)


@st.cache_resource(max_entries=64, show_spinner=False)
def _places(key: str, today: datetime.date, _scenario: Scenario) -> tuple[AtPlace, ...]:
    found = answers.studied(_scenario)
    return at_places(found, api_choices(found) if _scenario.constraints.api else [])
