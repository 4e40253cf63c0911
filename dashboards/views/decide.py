"""The answer first: what to run, on what, for how much, how sure, and what would change it."""

from __future__ import annotations

import json

import streamlit as st

import cached
import drawing
import inputs
from drawing import safe
from llmsizer.decide.answer import Recommendation
from llmsizer.deliver import answer_tables, figures
from llmsizer.deliver.basis import MEANINGS, mark
from llmsizer.deliver.charts import memory_chart
from llmsizer.deliver.confidence import best_by_path, confidence
from llmsizer.deliver.glossary import GLOSSARY
from llmsizer.deliver.report import render_report
from llmsizer.deliver.residuals import bands_table
from llmsizer.deliver.wording import headline, sentence
from llmsizer.facts.scenario import Scenario
from llmsizer.physics.store import default_calibration
from texts import say

PLANS_SHOWN = 3


def show_answer(recommendation: Recommendation) -> None:
    words = say("decide.priced_on", scenario=recommendation.scenario, date=recommendation.priced_on)
    st.caption(safe(words))
    first, rest = headline(recommendation.sentence)
    drawing.headline(first)
    if rest:
        st.markdown(safe(rest))
    options = best_by_path(recommendation)
    if options:
        for index, (column, option) in enumerate(zip(drawing.columns_of(len(options)), options, strict=True)):
            lowest = f" · {say('decide.lowest')}" if index == 0 and len(options) > 1 else ""
            with column:
                heading, remark = say(f"paths.{option.path}") + lowest, sentence("; ".join(option.notes))
                drawing.figure_card(heading, option.usd_per_month, below=option.label, remark=remark)
    clear = confidence(recommendation)
    st.markdown(f"**{safe(say('decide.confidence', word=clear.word))}** {safe(clear.text)}")
    if recommendation.flips:
        st.markdown(f"**{say('decide.flips')}**")
        lines = [
            f"- **{safe(f.what)}**: {safe(f.text)} :small[{drawing.safe_kept(drawing.surety(f.threshold))}]"
            for f in recommendation.flips
        ]
        st.markdown("\n".join(lines))
    reading = [say("decide.model", model=recommendation.model), sentence(recommendation.reading)]
    st.info(f"{safe(' '.join(reading))}  \n{safe(sentence(recommendation.memory_note))}".strip())
    for flag in recommendation.flags:
        st.warning(safe(sentence(flag)))


def show_plans(recommendation: Recommendation) -> None:
    drawing.section(say("decide.plans"))
    plans = recommendation.plans[:PLANS_SHOWN]
    if not plans:
        st.info(say("decide.no_plan"))
        return
    best = plans[0]
    facts = (
        ("ttft", best.at_peak.ttft_p95),
        ("tpot", best.at_peak.tpot_p95),
        ("per_million", best.cost.usd_per_million_tokens),
        ("quality", best.quality_recovery),
    )
    st.markdown(f"**{safe(say('decide.best', label=best.label))}**")
    for column, (name, value) in zip(drawing.columns_of(len(facts)), facts, strict=True):
        with column:
            drawing.figure_card(say(f"decide.{name}"), value, large=False)
    drawing.table(answer_tables.plans_table(plans))
    more = sum(plan.is_robust for plan in recommendation.plans[PLANS_SHOWN:])
    if more:
        st.caption(say("decide.more_plans", count=more))
    unsure = answer_tables.unsure_table(recommendation)
    if unsure.rows:
        with st.expander(say("decide.unsure")):
            drawing.table(unsure)
    drawing.section(say("decide.memory"))
    content = memory_chart(plans)
    drawing.chart(figures.memory_figure(plans), content.alt, "memory", content.table)


def show_rejections(recommendation: Recommendation) -> None:
    drawing.section(say("decide.near"))
    near = answer_tables.near_misses_table(recommendation)
    if near.rows:
        drawing.table(near)
    else:
        st.caption(say("decide.no_near"))
    with st.expander(say("decide.rejections", count=len(recommendation.rejections))):
        for group in answer_tables.rejection_groups(recommendation):
            st.markdown(f"**{safe(group.words)}: {group.count:,}**")
            drawing.table(group.table)


def show_rest(recommendation: Recommendation) -> None:
    apis = answer_tables.apis_table(recommendation)
    if apis.rows:
        with st.expander(say("decide.apis")):
            drawing.table(apis)
    with st.expander(say("decide.assumptions")):
        drawing.table(answer_tables.assumptions_table(recommendation))
    with st.expander(say("decide.accuracy")):
        accuracy = bands_table(default_calibration().bands.bands)
        st.markdown(safe(accuracy.title))
        drawing.table(accuracy)
    with st.expander(say("decide.leaves_out")):
        st.markdown("\n".join(f"- {safe(sentence(words))}" for words in recommendation.leaves_out))
    with st.expander(say("decide.definitions")):
        lines = [(mark(basis), meaning) for basis, meaning in MEANINGS.items()]
        st.markdown("\n".join(f"- **{safe(word)}**: {safe(meaning)}" for word, meaning in [*lines, *GLOSSARY]))


def show_downloads(scenario: Scenario, recommendation: Recommendation) -> None:
    drawing.section(say("decide.take_away"))
    kept = cached.records(cached.output_folder())

    def report() -> str:
        return render_report(
            recommendation=recommendation,
            profiles=kept.profiles,
            quality=kept.quality,
            calibration=cached.calibration(kept.profiles),
            scenario=scenario,
        )

    def answer() -> str:
        return json.dumps(recommendation.to_dict(), indent=2, ensure_ascii=False)

    files = (
        ("report", report, "llmsizer-report.html", "text/html"),
        ("json", answer, "llmsizer-answer.json", "application/json"),
        ("scenario", lambda: scenario.model_dump_json(indent=2), "llmsizer-scenario.json", "application/json"),
    )
    for column, (name, make, file_name, mime) in zip(drawing.columns_of(len(files)), files, strict=True):
        column.download_button(
            say(f"decide.download_{name}"), make, file_name, mime, on_click="ignore", width="stretch"
        )


scenario = inputs.question()
recommendation = cached.recommendation(scenario)
show_answer(recommendation)
show_plans(recommendation)
show_rejections(recommendation)
show_rest(recommendation)
show_downloads(scenario, recommendation)
