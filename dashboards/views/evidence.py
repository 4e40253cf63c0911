"""Where every number comes from: the answer's, the catalogue's, the predictor's, and the user's own."""

from __future__ import annotations

import datetime

import streamlit as st

import drawing
from cached import answers, measurements, places
from drawing import safe
from llmsizer.deliver.elements.basis import MEANINGS
from llmsizer.deliver.elements.glossary import GLOSSARY
from llmsizer.deliver.elements.tables import Table, words
from llmsizer.deliver.elements.wording import sentence
from llmsizer.deliver.tables.plans import assumptions_table
from llmsizer.deliver.tables.residuals import bands_table, residuals_table
from llmsizer.deliver.views.evidence import answer_evidence_table, catalogue_kinds, catalogue_table
from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.money.currency import US_DOLLARS, shown_in
from llmsizer.physics.calibration.store import default_calibration
from parts import editing
from question import inputs
from texts import known, say, told

TABS = ("answer", "catalogue", "accuracy", "own_values", "glossary")


def show_answer() -> None:
    """Every figure of the answer to the question in the side bar."""
    scenario = inputs.question()
    recommendation = answers.recommendation(scenario)
    st.caption(safe(say("evidence.answer_help", model=recommendation.model, date=recommendation.priced_on)))
    found = answer_evidence_table(recommendation)
    if not found.rows:
        st.info(say("evidence.no_figures"))
    drawing.table(found, alt=say("evidence.answer_alt"), key="figures")
    drawing.section(say("evidence.assumptions"))
    drawing.table(assumptions_table(recommendation), alt=say("evidence.assumptions"), key="assumptions")


def show_catalogue() -> None:
    """One kind of fact with source and date, what is old flagged."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox(
            say("evidence.kind"), catalogue_kinds(), key="catalogue_kind", width=220,
            format_func=lambda name: say(f"evidence.kind_{name}"),
        )  # fmt: skip
        wanted = st.text_input(
            say("evidence.filter"), key="catalogue_filter", placeholder=say("evidence.filter_example")
        )
        old_only = st.toggle(say("evidence.old_only"), key="catalogue_old")
    found = catalogue_table(
        default_catalog(), kind, datetime.date.today(), matching=wanted or "", old_only=bool(old_only)
    )  # fmt: skip
    if not found.rows:
        st.info(safe(f"{say('evidence.nothing_matches')} {told(found.note)}"))
    drawing.table(found, alt=say("evidence.catalogue_alt", kind=say(f"evidence.kind_{kind}")))


def show_accuracy() -> None:
    """How wrong the shipped predictor is, and how wrong it is on the records of this folder."""
    st.markdown(safe(say("evidence.accuracy_help")))
    drawing.table(bands_table(default_calibration().bands.bands), key="accuracy")
    drawing.section(say("evidence.own_records"))
    kept = measurements.records(places.output_folder())
    if not kept.profiles:
        st.caption(say("evidence.no_own_records"))
        return
    try:
        summary = measurements.calibration(kept.profiles)
    except LlmSizerError as error:
        st.caption(safe(told(str(error))))
        return
    if summary is None or not summary.checks:
        st.caption(say("evidence.too_few"))
        return
    st.markdown(safe(sentence(told(summary.text))))
    st.markdown(safe(say("evidence.half", error=f"{summary.median_error or 0.0:.1%}", count=len(summary.checks))))
    drawing.table(residuals_table(summary.checks))


def show_glossary() -> None:
    """What the words and the shapes mean."""
    rows = tuple((words(told(term), strong=True), words(known(meaning, "glossary"))) for term, meaning in GLOSSARY)
    headers = (say("evidence.term"), say("evidence.meaning"))
    drawing.table(Table(title=say("evidence.glossary"), headers=headers, rows=rows))
    drawing.section(say("evidence.bases"))
    bases = tuple(
        (words(drawing.mark(basis), strong=True), words(known(meaning, "glossary")))
        for basis, meaning in MEANINGS.items()
    )  # fmt: skip
    headers = (say("evidence.basis"), say("evidence.meaning"))
    drawing.table(Table(title=say("evidence.bases"), headers=headers, rows=bases))


drawing.headline(say("evidence.heading"))
answer, catalogue, accuracy, own, glossary = st.tabs([say(f"evidence.{tab}") for tab in TABS], key="evidence_part")
with answer:
    try:
        show_answer()
    except LlmSizerError as error:  # the other parts do not hang on the question
        st.warning(safe(told(str(error))))
with catalogue, shown_in(US_DOLLARS):  # as the price lists print them
    show_catalogue()
with accuracy:
    show_accuracy()
with own, shown_in(US_DOLLARS):
    editing.show()
with glossary:
    show_glossary()
