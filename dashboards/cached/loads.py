"""Plans under load, kept while their inputs stay: the closed form by question and plan, simulations by seed."""

from __future__ import annotations

import datetime
import threading
from collections import OrderedDict

import streamlit as st

from cached.places import catalogue_state
from llmsizer.decide import plan_load as asked
from llmsizer.decide.answer import Plan
from llmsizer.decide.plan_load import PlanLoad, SimulatedLoad
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.progress import Progress

MOST_KEPT = 32
_SIMULATED: OrderedDict[tuple[str, int], SimulatedLoad] = OrderedDict()
_LOCK = threading.Lock()


def key_of(scenario: Scenario, plan: Plan) -> str:
    """What a plan's load depends on."""
    return f"{catalogue_state()} {scenario.model_dump_json()} {plan.label} {plan.units} {plan.provider} {plan.zone}"


def plan_load(scenario: Scenario, plan: Plan) -> PlanLoad:
    """The closed form's answer. Raises LlmSizerError."""
    return _plan_load(key_of(scenario, plan), datetime.date.today(), plan, scenario)


@st.cache_data(max_entries=64, show_spinner=False)
def _plan_load(key: str, today: datetime.date, _plan: Plan, _scenario: Scenario) -> PlanLoad:
    return asked.plan_load(_plan, _scenario, default_catalog(), today=today)


def simulation(key: str, seed: int) -> SimulatedLoad | None:
    """One that was finished before, by anyone."""
    with _LOCK:
        return _SIMULATED.get((key, seed))


def simulate(key: str, load: PlanLoad, seed: int, progress: Progress) -> SimulatedLoad:
    """Simulate and keep. What ``progress`` raises ends the work. Raises LlmSizerError."""
    found = asked.simulate_load(load, seed=seed, progress=progress)
    with _LOCK:
        _SIMULATED[key, seed] = found
        while len(_SIMULATED) > MOST_KEPT:
            _SIMULATED.popitem(last=False)
    return found
