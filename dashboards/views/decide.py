"""The answer first: what to run, on what, for how much, how sure, and what would change it; the rest once opened."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from itertools import islice

import streamlit as st

import drawing
from cached import answers
from drawing import mark, safe
from llmsizer.decide.answer import ApiPlan, Flip, Plan, Recommendation
from llmsizer.decide.certainty.uncertainty import share_text
from llmsizer.decide.pricing.study import workload_of
from llmsizer.deliver.charts import ways
from llmsizer.deliver.elements.confidence import PATH_WORDS, Option, best_by_path, confidence
from llmsizer.deliver.elements.wording import amount, figure_amount, figure_range, sentence, tokens
from llmsizer.deliver.tables.rejections import near_misses_table, rejection_groups
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import Figure
from llmsizer.facts.scenario import Scenario
from llmsizer.money.cost import Path
from llmsizer.money.currency import format_usd
from parts import answer_detail, exports
from parts.answer_words import concerns, counted, drawn_cost, flip_words, headline, runs, taken
from question import inputs
from texts import say, told

SIDE_BY_SIDE, FLIPS_SHOWN = 3, 3
NEXT_PAGES = ("build_vs_buy", "load", "precision", "evidence")
CLEAR, LEANING = 0.9, 0.6  # share of the draws in which the answer is the cheapest way


def show_question(scenario: Scenario) -> None:
    catalog = default_catalog()
    asked = workload_of(scenario, catalog)
    said = say(
        "decide.asked",
        model=catalog.model(scenario.model).name,
        preset=scenario.workload.preset or say("decide.own_lengths"),
        volume=counted(tokens(asked.input_tokens_per_month + asked.output_tokens_per_month)),
        date=datetime.date.today(),
    )
    st.caption(safe(said))


def show_headline(scenario: Scenario) -> Recommendation:
    """What to do as soon as it is known; then the whole answer, which takes longer, and what it says."""
    place = st.empty()
    early = headline(answers.first(scenario))
    with place:
        drawing.headline(early)
    recommendation = answers.recommendation(scenario)
    if (whole := headline(taken(recommendation))) != early:
        with place:
            drawing.headline(whole)
    return recommendation


def show_answer(scenario: Scenario, recommendation: Recommendation) -> None:
    answer = taken(recommendation)
    if answer is None:
        why = " · ".join(f"{told(group.words)}: {group.count:,}" for group in rejection_groups(recommendation))
        st.markdown(safe(why or sentence(told(recommendation.sentence))))
        return
    if isinstance(answer, Plan):
        st.markdown(safe(runs(answer)))
    cost, sureness, speed = drawing.columns_of(3)
    with cost.container(border=True, height="stretch"):
        show_cost(recommendation, answer)
    with sureness.container(border=True, height="stretch"):
        show_sureness(recommendation)
    with speed.container(border=True, height="stretch"):
        show_speed(scenario, answer)
    show_ways(recommendation, answer)
    if recommendation.reading:
        st.caption(safe(sentence(told(recommendation.reading))))


def show_cost(recommendation: Recommendation, answer: Plan | ApiPlan) -> None:
    """The range within which the cost lies in 80 of 100 draws, or of its parts where nothing was drawn."""
    usd = answer.cost.usd_per_month
    sure = recommendation.uncertainty
    st.caption(say("decide.range"), help=None if sure is None else say("decide.draws_help"))
    if sure is not None:
        low, high = format_usd(sure.taken.usd_p10), format_usd(sure.taken.usd_p90)
        between = say("common.between", low=low, high=high)
    else:
        between = figure_range(usd) or figure_amount(usd)
    st.markdown(f"#### {safe(between)}")
    drawn = say("decide.drawn") if sure is not None else say("decide.parts")
    st.caption(" · ".join((safe(drawn), safe(mark(usd.basis)), *_stale(usd))))


def show_ways(recommendation: Recommendation, answer: Plan | ApiPlan) -> None:
    """The strip of the cheapest way over the volume, where it says of the volume asked what the answer says."""
    comparison = recommendation.comparison
    asked = comparison.tokens_per_month_asked if comparison else None
    if comparison is None or asked is None:
        return
    found = ways.stretches(comparison, _why_not(recommendation))
    # Growth, a budget or hours without machines can choose another way than a month of this volume alone would.
    if ways.way_at(found, asked) != ("api" if isinstance(answer, ApiPlan) else answer.path):
        return
    names = {path: say(f"paths.{path}") for path in PATH_WORDS}
    alt = ways.ways_alt(found, names, say("decide.ways_between"), lambda volume: counted(tokens(volume)))
    st.markdown(f"**{safe(say('decide.ways'))}** :small[{safe(mark('calibrated'))}]")
    yours = say("decide.ways_yours", volume=counted(tokens(asked)))
    st.html(ways.ways_html(found, names, asked, yours=yours, alt=alt))


def _stale(usd: Figure) -> tuple[str, ...]:
    return (safe(say("common.stale", date=usd.as_of or say("common.no_date"))),) if usd.stale else ()


def show_sureness(recommendation: Recommendation) -> None:
    st.caption(say("decide.confidence"), help=say("decide.draws_help"))
    sure = recommendation.uncertainty
    if sure is None:
        clear = confidence(recommendation)
        st.markdown(f"#### {safe(say(f'decide.{clear.clearness}'))}")
        st.caption(safe(told(clear.text)))
        return
    rivals, wins = sum(path.wins is not None for path in sure.paths), sure.taken.wins
    if wins is None or rivals < 2:
        st.markdown(f"#### {safe(say('decide.alone'))}")
        st.caption(safe(say("decide.within_slo", share=share_text(sure.taken.within_slo), basis=mark("calibrated"))))
        return
    word = "clear" if wins >= CLEAR else "leaning" if wins >= LEANING else "close"
    st.markdown(f"#### {safe(say(f'decide.{word}'))}")
    st.caption(safe(say("decide.wins", count=rivals, share=share_text(wins), basis=mark("calibrated"))))


def show_speed(scenario: Scenario, answer: Plan | ApiPlan) -> None:
    st.caption(say("decide.speed"))
    asked = scenario.slo
    if isinstance(answer, ApiPlan):
        st.markdown(f"#### {safe(say('decide.not_in_price_list'))}")
        st.caption(safe(f"{mark('unknown')} · {say('decide.measure_api')}"))
        return
    first, each = answer.at_peak.ttft_p95, answer.at_peak.tpot_p95
    st.markdown(f"#### {safe(say('decide.first_token', value=figure_amount(first)))}")
    words = say(
        "decide.asked_speed",
        tpot=figure_amount(each),
        ttft_asked=amount(asked.ttft_p95_seconds, "s"),
        tpot_asked=amount(asked.tpot_p95_seconds, "s"),
    )
    st.caption(safe(f"{words} · {mark(first.basis)}"))


def show_flips(recommendation: Recommendation) -> None:
    """The few changes that would turn the answer, nearest to it first; all of them once asked for."""
    answer = taken(recommendation)
    if answer is None or not recommendation.flips:
        return
    known_ones = [flip for flip in recommendation.flips if flip.threshold.value is not None]
    ordered = sorted(known_ones, key=lambda flip: not concerns(flip, answer))
    st.markdown(f"**{safe(say('decide.flips'))}**")
    st.markdown("\n".join(_flip_line(recommendation, flip) for flip in ordered[:FLIPS_SHOWN]))
    rest = [*ordered[FLIPS_SHOWN:], *(flip for flip in recommendation.flips if flip not in known_ones)]
    if rest:
        lines = "\n".join(_flip_line(recommendation, flip) for flip in rest)
        drawing.folded(say("decide.more_flips", count=len(rest)), "flips", lambda: st.markdown(lines))


def _flip_line(recommendation: Recommendation, flip: Flip) -> str:
    basis = drawing.safe_kept(drawing.surety(flip.threshold))
    return f"- {safe(flip_words(recommendation, flip))} :small[{basis}]"


def show_next_pages() -> None:
    """Where the parts of the answer are looked into."""
    with st.container(horizontal=True):
        for name in NEXT_PAGES:
            st.page_link(f"views/{name}.py", label=say(f"decide.next_{name}"), icon=":material/arrow_forward:")


def options(recommendation: Recommendation) -> Iterator[tuple[Option, Figure, Plan | None]]:
    """The cheapest of each way with its cost; where there are fewer than three, the next plans."""
    plans = {plan.label: plan for plan in recommendation.plans}
    first = best_by_path(recommendation)
    labels = {option.label for option in first}
    more = (Option(path=p.path, label=p.label, cost=p.cost) for p in recommendation.plans if p.label not in labels)
    for option in first:
        yield option, drawn_cost(recommendation, option), plans.get(option.label)
    for option in islice(more, max(0, SIDE_BY_SIDE - len(first))):
        yield option, option.usd_per_month, plans.get(option.label)


def show_side_by_side(recommendation: Recommendation) -> None:
    found = list(options(recommendation))
    if not found:
        return
    drawing.section(say("decide.plans"))
    out = _why_not(recommendation)
    lowest = min((usd.value or 0.0 for option, usd, _ in found if option.path not in out), default=0.0)
    for column, (option, usd, plan) in zip(drawing.columns_of(len(found)), found, strict=True):
        heading = [say(f"paths.{option.path}")]
        if option.path in out:
            heading.append(say("decide.not_allowed"))
        elif usd.value == lowest and len(found) > 1:
            heading.append(say("decide.lowest"))
        with column:
            drawing.figure_card(
                " · ".join(heading),
                usd,
                below=_described(recommendation, option, plan),
                remark=_remark(option, plan),
            )
    if recommendation.uncertainty is not None:
        st.caption(safe(say("decide.ranges")))


def _why_not(recommendation: Recommendation) -> dict[Path, str]:
    """Ways that the answer may not take, and why: they are shown for their price alone."""
    sure = recommendation.uncertainty
    return {path.path: path.why_not for path in sure.paths if path.why_not} if sure else {}


def _described(recommendation: Recommendation, option: Option, plan: Plan | None) -> str:
    if plan is None:
        api = next(api for api in recommendation.apis if api.same_model and api.cost is option.cost)
        return say("decide.api_of", provider=api.provider, model=api.model)
    d = plan.deployment
    count = plan.replicas + plan.spare_replicas
    where = f", {plan.provider}" if plan.path == "rent" else ""
    return f"{count} × {d.weights.name}, {d.parallelism.gpus} × {d.gpu.name}{where}"


def _remark(option: Option, plan: Plan | None) -> str:
    if plan is None:
        return sentence("; ".join(map(told, option.notes)))
    kept = plan.quality_recovery
    return say("decide.kept", quality=figure_amount(kept), basis=mark(kept.basis))


def show_near_misses(recommendation: Recommendation) -> None:
    drawing.section(say("decide.near"))
    near = near_misses_table(recommendation)
    if near.rows:
        drawing.table(near, key="near-misses")
    else:
        st.caption(say("decide.no_near"))


scenario = inputs.question()
show_question(scenario)
recommendation = show_headline(scenario)
show_answer(scenario, recommendation)
show_flips(recommendation)
if taken(recommendation) is not None:
    show_next_pages()
show_side_by_side(recommendation)
show_near_misses(recommendation)
answer_detail.show(recommendation)
exports.offer(scenario, recommendation)
