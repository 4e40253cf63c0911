"""Own, rent or pay by token: the stairs and the lines, where they cross, and where the money goes."""

from __future__ import annotations

import streamlit as st

import cached
import drawing
import inputs
from drawing import safe
from llmsizer.decide.answer import Recommendation
from llmsizer.deliver import answer_tables, figures
from llmsizer.deliver.charts import cost_chart, stairs_chart
from llmsizer.deliver.confidence import best_by_path
from llmsizer.deliver.wording import headline, sentence
from llmsizer.money.comparison import Comparison
from texts import say


def show_comparison(comparison: Comparison, tokens_per_month: float | None) -> None:
    first, rest = headline(comparison.sentence)
    drawing.headline(first or say("build_vs_buy.heading"))
    if rest:
        st.markdown(safe(rest))
    st.caption(safe(" ".join((say("decide.model", model=comparison.model), sentence(comparison.reading)))))
    if not comparison.paths:
        st.info(say("build_vs_buy.no_paths"))
        return
    content = stairs_chart(comparison, tokens_per_month)
    drawing.chart(figures.stairs_figure(comparison, tokens_per_month), content.alt, "stairs", content.table)
    st.caption(safe(content.note))
    drawing.section(say("build_vs_buy.crossovers"))
    crossings = answer_tables.crossovers_table(comparison)
    if crossings.rows:
        drawing.table(crossings)
    else:
        st.caption(say("build_vs_buy.no_crossovers"))


def show_money(recommendation: Recommendation) -> None:
    named = [(option.label, option.cost) for option in best_by_path(recommendation)]
    if not named:
        return
    drawing.section(say("build_vs_buy.money"))
    for column, option in zip(drawing.columns_of(len(named)), best_by_path(recommendation), strict=True):
        with column:
            drawing.figure_card(say(f"paths.{option.path}"), option.usd_per_month, below=option.label)
    bills = answer_tables.costs_table(named)
    drawing.chart(figures.cost_figure(named), cost_chart(named, bills).alt, "money", bills, is_open=True)
    with st.expander(say("build_vs_buy.arithmetic")):
        drawing.table(answer_tables.arithmetic_table(named))


scenario = inputs.question()
recommendation = cached.recommendation(scenario)
comparison = recommendation.comparison
if comparison is None:
    st.info(say("build_vs_buy.no_paths"))
    st.stop()
show_comparison(comparison, scenario.workload.tokens_per_month)
show_money(recommendation)
if comparison.leaves_out:
    with st.expander(say("build_vs_buy.leaves_out")):
        st.markdown("\n".join(f"- {safe(sentence(words))}" for words in comparison.leaves_out))
