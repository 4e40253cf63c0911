"""Everything behind the answer, closed until it is asked for."""

from __future__ import annotations

import streamlit as st

import drawing
from drawing import mark, safe
from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.charts import figures
from llmsizer.deliver.charts.charts import memory_chart
from llmsizer.deliver.elements.basis import MEANINGS
from llmsizer.deliver.elements.glossary import GLOSSARY
from llmsizer.deliver.elements.wording import sentence
from llmsizer.deliver.tables.bills import apis_table
from llmsizer.deliver.tables.plans import assumptions_table, plans_table, unsure_table
from llmsizer.deliver.tables.rejections import rejection_groups
from llmsizer.deliver.tables.residuals import bands_table
from llmsizer.physics.calibration.store import default_calibration
from texts import known, say, told

PLANS_SHOWN = 3


def show(recommendation: Recommendation) -> None:
    """Everything behind the answer, closed until it is asked for."""
    drawing.section(say("decide.detail"))
    unsure, apis = unsure_table(recommendation), apis_table(recommendation)
    drawing.folded(say("decide.notes"), "notes", lambda: _notes(recommendation))
    drawing.folded(say("decide.machines"), "plans", lambda: _plans(recommendation))
    if unsure.rows:
        drawing.folded(say("decide.unsure"), "unsure", lambda: drawing.table(unsure, key="unsure"))
    count = len(recommendation.rejections)
    drawing.folded(say("decide.rejections", count=count), "rejections", lambda: _rejections(recommendation))
    if apis.rows:
        drawing.folded(say("decide.apis"), "apis", lambda: drawing.table(apis, key="apis"))
    drawing.folded(
        say("decide.assumptions"),
        "assumptions",
        lambda: drawing.table(assumptions_table(recommendation), key="assumptions"),
    )
    drawing.folded(say("decide.accuracy"), "accuracy", _accuracy)
    left_out = "\n".join(f"- {safe(sentence(told(words)))}" for words in recommendation.leaves_out)
    drawing.folded(say("decide.leaves_out"), "leaves_out", lambda: st.markdown(left_out))
    drawing.folded(say("decide.definitions"), "definitions", _definitions)


def _plans(recommendation: Recommendation) -> None:
    plans = recommendation.plans[:PLANS_SHOWN]
    if not plans:
        st.info(say("decide.no_plan"))
        return
    drawing.table(plans_table(plans), key="plans")
    more = sum(plan.is_robust for plan in recommendation.plans[PLANS_SHOWN:])
    if more:
        st.caption(say("decide.more_plans", count=more))
    st.markdown(f"**{say('decide.memory')}**")
    content = memory_chart(plans)
    drawing.chart(figures.memory_figure(plans), content.alt, "memory", content.table, is_open=True)


def _rejections(recommendation: Recommendation) -> None:
    for group in rejection_groups(recommendation):
        st.markdown(f"**{safe(told(group.words))}: {group.count:,}**")
        drawing.table(group.table)


def _accuracy() -> None:
    accuracy = bands_table(default_calibration().bands.bands)
    st.markdown(safe(told(accuracy.title)))
    drawing.table(accuracy)


def _notes(recommendation: Recommendation) -> None:
    st.markdown(safe(sentence(told(recommendation.memory_note))))
    said = (recommendation.sentence, *recommendation.flags)
    st.markdown("\n".join(f"- {safe(sentence(told(words)))}" for words in said))


def _definitions() -> None:
    lines = [(mark(basis), known(meaning, "glossary")) for basis, meaning in MEANINGS.items()]
    lines += [(told(word), known(meaning, "glossary")) for word, meaning in GLOSSARY]
    st.markdown("\n".join(f"- **{safe(word)}**: {safe(meaning)}" for word, meaning in lines))
