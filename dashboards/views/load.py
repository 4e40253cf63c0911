"""One plan under its load: latency over the rate, distributions, the hours of a week, and one host down."""

from __future__ import annotations

import streamlit as st

import drawing
from cached import answers, loads
from drawing import mark, safe
from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.decide.plan_load import PlanLoad, SimulatedLoad
from llmsizer.deliver.charts.load_charts import SIMULATED, Tail, cdf_chart
from llmsizer.deliver.charts.load_figures import cdf_figure
from llmsizer.deliver.charts.plan_hours import (
    losses_alt,
    losses_figure,
    losses_table,
    week_alt,
    week_figure,
    week_table,
)
from llmsizer.deliver.charts.plan_latency import latency_alt, latency_figure, latency_table
from llmsizer.deliver.elements.wording import plain_number
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.scenario import Scenario
from question import inputs
from texts import known, say, told

PLANS_OFFERED = 5
METRICS: tuple[Tail, ...] = ("TTFT", "TPOT")
SIMULATED_KEY = "load_simulated"


def chosen_plan(recommendation: Recommendation, scenario: Scenario) -> Plan:
    """The best plan, or another of the first; ends the page where there is none."""
    plans = recommendation.plans[:PLANS_OFFERED]
    if not plans:
        machines = scenario.constraints.own or scenario.constraints.rent
        st.info(say("load.no_plan") if machines else say("load.api_only"))
        st.page_link("views/decide.py", label=say("pages.decide"), icon=":material/arrow_back:")
        st.stop()
    sure = recommendation.uncertainty
    if sure is not None and sure.taken.path == "api":
        st.caption(say("load.api_answer"))
    at = st.selectbox(
        say("load.plan"),
        range(len(plans)),
        format_func=lambda index: f"{index + 1}. {told(plans[index].label)}",
        key="load_plan",
        help=say("load.plan_help"),
        width=720,
    )
    return plans[at or 0]


def show_verdict(load: PlanLoad) -> None:
    point, held = load.all_up.point, load.curve.held_requests_per_second
    assert point is not None, "a fleet has a replica"
    said = {"when": say("load.when", name=hour_words(load.peak_name)) if load.peak_name else ""}
    said["rate"] = plain_number(load.peak_requests_per_second)
    if point.missed == "OVERLOADED":
        drawing.headline(say("load.overloaded", **said))
    elif point.missed:
        drawing.headline(say("load.missed", missed=told(point.missed), **said))
    else:
        share = load.peak_requests_per_second / held
        drawing.headline(say("load.held", share="< 1 %" if share < 0.01 else f"{share * 100:.0f} %", **said))
    cards = drawing.columns_of(4)
    with cards[0]:
        drawing.figure_card(say("load.capacity"), rate_figure(load), large=False)
    with cards[1]:
        drawing.figure_card(say("load.ttft"), point.each.ttft_p95, remark=why(point.each.ttft_p95), large=False)
    with cards[2]:
        drawing.figure_card(say("load.tpot"), point.each.tpot_p95, remark=why(point.each.tpot_p95), large=False)
    with cards[3], st.container(border=True, height="stretch"):
        st.caption(safe(say("load.hosts")))
        st.markdown(f"##### {safe(hosts_words(load))}")
        st.caption(safe(mark(load.fleet.closed.basis)))


def hour_words(name: str) -> str:
    """``mon 10:00`` with the day in the page's language."""
    day, _, hour = name.partition(" ")
    return f"{known(day.capitalize())} {hour}".strip()


def why(value: Figure) -> str:
    """What there is to say of a known value: that it has no upper end. Of an unknown one the card says it itself."""
    return "" if value.value is None else value.estimate.reason


def rate_figure(load: PlanLoad) -> Figure:
    estimate = Estimate(value=load.curve.held_requests_per_second, basis=load.fleet.closed.basis)
    return Figure(estimate=estimate, unit="requests/s", source=say("load.closed"))


def hosts_words(load: PlanLoad) -> str:
    if load.hosts_that_may_be_down < 0:
        return say("load.hosts_none")
    return say("load.hosts_of", down=load.hosts_that_may_be_down, hosts=load.domains.hosts)


def asked_simulation(key: str, load: PlanLoad) -> SimulatedLoad | None:
    """The simulation of this plan, where it was asked for: run now, or kept from before."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        seed = int(st.number_input(say("load.seed"), 0, 2**31 - 1, 0, key="load_seed", width=150) or 0)
        pressed = st.button(say("load.simulate"), key="load_simulate", help=say("load.simulate_help"))
    found = loads.simulation(key, seed)
    if pressed:
        found = found or run_simulation(key, load, seed)
        st.session_state[SIMULATED_KEY] = key, seed
    if st.session_state.get(SIMULATED_KEY) != (key, seed):
        return None
    if found is not None:
        show_simulated(load, found)
    return found


def run_simulation(key: str, load: PlanLoad, seed: int) -> SimulatedLoad:
    """Any press of a button while it runs, that of "Stop" too, begins the page anew and ends the work."""
    with st.status(say("load.simulating", seed=seed), expanded=True) as status:
        bar = st.progress(0.0)
        st.button(say("load.stop"), key="load_stop")
        found = loads.simulate(key, load, seed, lambda what, fraction: _told(bar, what, fraction))
        status.update(
            label=say("load.simulated", seed=seed, runs=found.replications, verdict=told(found.peak.verdict)),
            state="complete",
            expanded=False,
        )
    return found


def _told(bar: st.delta_generator.DeltaGenerator, what: str, fraction: float) -> None:
    bar.progress(fraction, text=told(what))


def show_simulated(load: PlanLoad, found: SimulatedLoad) -> None:
    st.caption(safe(say("load.simulated_kept", seed=found.seed, count=f"{found.peak.requests:,}")))
    closed, simulated = load.curve.held_requests_per_second, found.curve.held.requests_per_second
    if closed > 0:
        apart = f"{(simulated / closed - 1) * 100:+.0f} %".replace("-", "−")
        values = {"simulated": plain_number(simulated), "closed": plain_number(closed), "apart": apart}
        st.markdown(safe(say("load.simulated_apart", **values)))
    if found.peak.missed:
        st.warning(safe(say("load.simulated_missed", missed=told(found.peak.missed))))


def show_latency(load: PlanLoad, simulated: SimulatedLoad | None) -> None:
    drawing.section(say("load.latency"))
    for metric, column in zip(METRICS, drawing.columns_of(2), strict=True):
        with column:
            st.markdown(f"**{safe(say(f'load.metric_{metric}'))}**")
            spec = latency_figure(load, metric, simulated)
            table = latency_table(load, metric, simulated)
            drawing.chart(spec, latency_alt(load, metric, simulated), f"load-{metric}", table)
    st.caption(safe(say("load.basis", basis=mark(load.fleet.closed.basis))))


def show_distributions(load: PlanLoad, simulated: SimulatedLoad | None) -> None:
    drawing.section(say("load.cdf"))
    if simulated is None:
        st.caption(safe(say("load.cdf_ask", button=say("load.simulate"))))
        return
    if not simulated.distributions:
        st.caption(say("load.cdf_none"))
        return
    content = cdf_chart(simulated.distributions, load.slo, f"in the peak hour, seed {simulated.seed}")
    drawing.chart(cdf_figure(simulated.distributions, load.slo), content.alt, "load-cdf", content.table)
    st.caption(safe(told(content.note)))


def show_week(load: PlanLoad, simulated: SimulatedLoad | None) -> None:
    drawing.section(say("load.week"))
    follows = load.mode != "always-on"  # simulated weeks are of the whole fleet
    hours = load.hours if simulated is None or follows else simulated.hours
    how = say("load.closed") if simulated is None or follows else f"{SIMULATED}, seed {simulated.seed}"
    if not hours:
        st.caption(say("load.week_unknown"))
        return
    drawing.chart(week_figure(hours), week_alt(hours, how), "load-week", week_table(hours, how))
    source = told(load.fleet.workload.hours or "") or say("load.week_own")
    st.caption(safe(say("load.week_note", how=how, source=source)))
    if follows:
        counts = [hour.replicas for hour in load.hours]
        st.caption(safe(say("load.week_mode", mode=told(load.mode), least=min(counts), most=max(counts))))


def show_losses(load: PlanLoad, simulated: SimulatedLoad | None) -> None:
    drawing.section(say("load.losses"))
    table = losses_table(load, simulated)
    drawing.chart(losses_figure(load), losses_alt(load), "load-losses", table, is_open=True)
    down, beyond = load.hosts_that_may_be_down, load.hours_a_year_beyond
    first = (
        say("load.losses_none") if down < 0 else say("load.losses_down", down=down, hosts=load.domains.hosts)
    )  # fmt: skip
    band = (
        ""
        if beyond.low is None or beyond.high is None
        else f" ({plain_number(beyond.low)}–{plain_number(beyond.high)})"
    )
    hours = f"{plain_number(beyond.value or 0.0)} h"
    st.caption(
        safe(
            say(
                "load.losses_note",
                down=first,
                hours=hours,
                band=band,
                basis=f"{mark(beyond.basis)}: {told(beyond.reason)}",
            )
        )
    )


scenario = inputs.question()
recommendation = answers.recommendation(scenario)
plan = chosen_plan(recommendation, scenario)
with st.spinner(say("common.working")):
    load = loads.plan_load(scenario, plan)
show_verdict(load)
simulated = asked_simulation(loads.key_of(scenario, plan), load)
show_latency(load, simulated)
show_distributions(load, simulated)
show_week(load, simulated)
show_losses(load, simulated)
