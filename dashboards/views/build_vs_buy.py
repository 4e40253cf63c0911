"""Own, rent or pay by token: stairs and lines, how sure, where the money goes and when, and what a place changes."""

from __future__ import annotations

import streamlit as st

import drawing
from cached import answers, money
from drawing import safe
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.pricing.idle import used_share, with_idle
from llmsizer.deliver.charts import figures
from llmsizer.deliver.charts.cash import cash_alt, cash_figure, cash_table, paybacks_table
from llmsizer.deliver.charts.charts import cost_chart, stairs_chart
from llmsizer.deliver.charts.uncertainty import (
    bands_chart,
    bands_figure,
    information_table,
    tornado_chart,
    tornado_figure,
    win_table,
)
from llmsizer.deliver.charts.volume import Axes, spreads_table, volume_figure
from llmsizer.deliver.elements.confidence import Option, best_by_path
from llmsizer.deliver.elements.wording import sentence
from llmsizer.deliver.tables.bills import arithmetic_table, costs_table, crossovers_table
from llmsizer.deliver.views.places import places_alt, places_figure, places_table
from llmsizer.facts.scenario import Scenario
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Cost
from llmsizer.money.currency import format_usd
from llmsizer.money.spread import Uncertainty
from parts.answer_words import drawn_cost, flip_words, headline, taken
from question import inputs
from texts import say, told

LEAST_USD = 0.01  # a month: less is nothing


def show_answer(recommendation: Recommendation, comparison: Comparison) -> None:
    """What to do at the volume that was asked, and where it turns; each volume in full stands further down."""
    drawing.headline(headline(taken(recommendation)))
    crossings = {crossover.text for crossover in comparison.crossovers}
    turns = [flip for flip in recommendation.flips if flip.text in crossings]
    if turns:
        st.markdown("\n".join(f"- {safe(flip_words(recommendation, flip))}" for flip in turns))
    st.caption(safe(" ".join((say("decide.model", model=comparison.model), sentence(told(comparison.reading))))))


def show_comparison(comparison: Comparison, scenario: Scenario, tokens_per_month: float | None) -> None:
    if not comparison.paths:
        st.info(say("build_vs_buy.no_paths"))
        return
    with st.spinner(say("common.working")):
        spreads = money.spreads(scenario)
    content = stairs_chart(comparison, tokens_per_month)
    spec = volume_figure(comparison, spreads, tokens_per_month, chosen_axes())
    drawing.chart(spec, content.alt, "stairs", content.table)
    if spreads:
        with st.expander(say("build_vs_buy.bands_table")):
            drawing.table(spreads_table(spreads), key="spreads")
    st.caption(safe(say("build_vs_buy.bands_note")))
    drawing.section(say("build_vs_buy.crossovers"))
    crossings = crossovers_table(comparison)
    if crossings.rows:
        drawing.table(crossings, key="crossovers")
        st.caption(safe(say("build_vs_buy.crossovers_note")))
    else:
        st.caption(say("build_vs_buy.no_crossovers"))


def chosen_axes() -> Axes:
    with st.container(horizontal=True):
        volume = st.toggle(say("build_vs_buy.log_volume"), value=True, key="log_volume")
        usd = st.toggle(say("build_vs_buy.log_usd"), value=True, key="log_usd")
    return Axes(log_volume=volume, log_usd=usd)


def show_sureness(sure: Uncertainty | None) -> None:
    drawing.section(say("build_vs_buy.sure"))
    if sure is None:
        st.caption(say("build_vs_buy.no_sure"))
        return
    st.markdown(safe(sentence(told(sure.text))))
    bands = bands_chart(sure)
    drawing.chart(bands_figure(sure), bands.alt, "bands", win_table(sure), is_open=True)
    st.markdown(f"**{safe(say('build_vs_buy.tornado', label=told(sure.recommended)))}**")
    tornado = tornado_chart(sure)
    drawing.chart(tornado_figure(sure), tornado.alt, "tornado", tornado.table)
    usd = sure.perfect_information_usd_per_month
    worth = say("build_vs_buy.perfect", usd=format_usd(usd)) if usd >= LEAST_USD else say("build_vs_buy.perfect_none")
    st.markdown(f"**{safe(say('build_vs_buy.information'))}** {safe(worth)}")
    with st.expander(say("build_vs_buy.information_table")):
        drawing.table(information_table(sure), key="information")


def show_money(recommendation: Recommendation, scenario: Scenario) -> None:
    options = best_by_path(recommendation)
    if not options:
        return
    drawing.section(say("build_vs_buy.money"))
    for column, option in zip(drawing.columns_of(len(options)), options, strict=True):
        with column:
            drawing.figure_card(say(f"paths.{option.path}"), drawn_cost(recommendation, option), below=option.label)
    if recommendation.uncertainty is not None:
        st.caption(safe(say("decide.ranges")))
    named = [(option.label, bill_with_idle(option, recommendation, scenario)) for option in options]
    bills = costs_table(named)
    drawing.chart(figures.cost_figure(named), cost_chart(named, bills).alt, "money", bills)
    st.caption(safe(say("build_vs_buy.idle_note")))
    with st.expander(say("build_vs_buy.arithmetic")):
        drawing.table(arithmetic_table(named), key="arithmetic")


def bill_with_idle(option: Option, recommendation: Recommendation, scenario: Scenario) -> Cost:
    plan = next((p for p in recommendation.plans if p.path == option.path and p.label == option.label), None)
    if plan is None:
        return option.cost
    return with_idle(plan.cost, used_share(plan, money.workload(scenario)))


def show_cash(comparison: Comparison) -> None:
    if not comparison.cash_flows:
        return
    drawing.section(say("build_vs_buy.cash"))
    drawing.chart(cash_figure(comparison), cash_alt(comparison), "cash", cash_table(comparison), is_open=True)
    paybacks = paybacks_table(comparison)
    if paybacks.rows:
        st.markdown(f"**{safe(say('build_vs_buy.paybacks'))}**")
        drawing.table(paybacks, key="paybacks")


def show_places(scenario: Scenario) -> None:
    drawing.section(say("build_vs_buy.places"))
    with st.spinner(say("common.working")):
        found = money.places(scenario)
    drawing.chart(places_figure(found), places_alt(found), "places", places_table(found), is_open=True)


scenario = inputs.question()
recommendation = answers.recommendation(scenario)
comparison = recommendation.comparison
if comparison is None:
    st.info(say("build_vs_buy.no_paths"))
    st.stop()
show_answer(recommendation, comparison)
show_comparison(comparison, scenario, comparison.tokens_per_month_asked or scenario.workload.tokens_per_month)
show_sureness(recommendation.uncertainty)
show_money(recommendation, scenario)
show_cash(comparison)
show_places(scenario)
if comparison.leaves_out:
    with st.expander(say("build_vs_buy.leaves_out")):
        st.markdown("\n".join(f"- {safe(sentence(told(words)))}" for words in comparison.leaves_out))
