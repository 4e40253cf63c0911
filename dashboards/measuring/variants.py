"""What was measured of a model in several formats, and how far the predictor was from it: a part of a page."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from statistics import median

import streamlit as st

import drawing
from cached import measurements, places
from drawing import safe
from llmsizer.deliver.charts import figures
from llmsizer.deliver.charts.charts import Measure
from llmsizer.deliver.charts.precision import checks_figure
from llmsizer.deliver.elements.tables import Table, number, words
from llmsizer.deliver.elements.wording import amount, sentence
from llmsizer.deliver.pages.sections import measures
from llmsizer.deliver.tables.residuals import residuals_table
from llmsizer.deliver.tables.variants import Group, Point, groups, speed_sentences, variants_table
from llmsizer.deliver.views.qualities import quality_groups, quality_measures, quality_table
from llmsizer.errors import LlmSizerError
from llmsizer.facts.records import ProfileRecord
from texts import say, told


def show(asked_names: Collection[str]) -> None:
    """The user's own records, of the model asked about where there are some, else of another and saying so."""
    drawing.headline(say("precision.measured"))
    kept = chosen_records()
    if kept is None:
        return
    found = sorted(groups(kept.profiles), key=lambda group: group.model not in asked_names)
    group = found[0]
    if len(found) > 1:
        labels = {g.label: g for g in found}
        group = labels[st.selectbox(say("precision.group"), list(labels), key="group", width=460) or found[0].label]
    else:
        st.caption(safe(group.label))
    is_asked = group.model in asked_names
    st.caption(safe(say("precision.same_model" if is_asked else "precision.other_model", model=group.model)))
    show_group(group)
    show_quality(kept, group.model)
    show_predictions(group)
    if kept.problems:
        st.warning(say("precision.problems", count=len(kept.problems)))


def chosen_records() -> measurements.Records | None:
    """The user's own records, or the example's once asked for; None where there are none."""
    folder = places.output_folder()
    own = measurements.records(folder)
    if own.profiles:
        return own
    if not st.session_state.get("example"):
        st.info(safe(say("precision.empty", folder=str(folder))) + f"  \n{say('precision.empty_how')}")
        if measurements.records(measurements.EXAMPLE).profiles:
            st.button(say("precision.example"), on_click=lambda: st.session_state.update(example=True), type="primary")
        return None
    example = measurements.records(measurements.EXAMPLE)
    device = example.profiles[0].device.name
    st.info(safe(say("precision.example_note", device=device, date=example.profiles[0].measured_at[:10])))
    st.button(say("precision.own_records"), on_click=lambda: st.session_state.update(example=False))
    return example


def show_group(group: Group) -> None:
    if not group.points:
        st.warning(say("precision.only_failed"))
        show_failures(group)
        return
    point = st.selectbox(say("precision.point"), group.points, format_func=lambda p: p.label, key="point", width=460)
    show_point(group, point or group.points[0])
    load = group.over_load
    if load:
        drawing.section(say("precision.load"))
        st.caption(say("precision.lengths", prompt=load[0].prompt_tokens, output=load[0].output_tokens))
        drawing.chart(figures.batch_figure(group), batch_alt(load), "batch", batch_table(group))
    show_failures(group)


def show_point(group: Group, point: Point) -> None:
    drawing.section(say("precision.side_by_side"))
    show_measures(measures(group, point))
    drawing.table(variants_table(group, point))
    sentences = speed_sentences(group, point)
    if sentences:
        drawing.section(say("precision.why"))
        st.markdown("\n".join(f"- {safe(told(text))}" for text in sentences))


def show_measures(shown: Sequence[Measure]) -> None:
    for start in range(0, len(shown), 2):
        for column, measure in zip(drawing.columns_of(2), shown[start : start + 2], strict=False):
            with column:
                better = say("precision.better", name=told(measure.name), direction=say(f"precision.{measure.better}"))
                st.markdown(f"**{safe(better)}**")
                drawing.chart(figures.measure_figure(measure), measure_alt(measure), f"measure-{measure.name}")


def measure_alt(measure: Measure) -> str:
    """The bars for those who cannot see them."""
    values = "; ".join(f"{name} {amount(value, measure.unit)}" for name, value, *_ in measure.values)
    return f"{told(measure.name)}, {drawing.mark('measured')}: {values}"


def show_quality(kept: measurements.Records, model: str) -> None:
    """What the formats lose; of another model where the one that was timed was not evaluated."""
    found = quality_groups(kept.quality)
    same = [g for g in found if g.model == model]
    drawing.section(say("precision.loses"))
    if not found:
        st.caption(say("precision.no_quality"))
    for group in same or found:
        st.caption(safe(group.label))
        show_measures(quality_measures(group.records))
        drawing.table(quality_table(group))


def show_predictions(group: Group) -> None:
    """The predictor against these records; a group it cannot predict says so and the page goes on."""
    drawing.section(say("precision.predicted"))
    try:
        unseen = measurements.checks(group.records)
    except LlmSizerError as error:
        st.caption(safe(told(str(error))))
        return
    if not unseen:
        st.caption(say("precision.no_prediction"))
        return
    errors = f"{median(abs(check.error) for check in unseen):.0%}"
    st.markdown(safe(say("precision.shipped", error=errors)))
    drawing.chart(checks_figure(unseen), say("precision.shipped_alt", error=errors), "checks", residuals_table(unseen))
    # Fitting anew for every point takes seconds.
    drawing.folded(say("precision.learned"), "learned", partial(show_learned, group))


def show_learned(group: Group) -> None:
    """Each operating point predicted by what the others taught."""
    summary = measurements.calibration(group.records)
    if summary is None or not summary.checks:
        st.caption(say("precision.no_prediction"))
        return
    st.markdown(safe(sentence(told(summary.text))))
    st.markdown(safe(say("precision.half", error=f"{summary.median_error or 0.0:.1%}")))
    drawing.table(residuals_table(summary.checks))


def batch_alt(records: Sequence[ProfileRecord]) -> str:
    """The lines for those who cannot see them."""
    points = "; ".join(f"{r.variant} {amount(r.output_tokens_per_second, 'tok/s')} at {r.batch}" for r in records)
    return f"{say('precision.load')}, {drawing.mark('measured')}: {points}"


def batch_table(group: Group) -> Table:
    """Every operating point that worked, in numbers."""
    rows = tuple(
        (
            words(r.variant),
            words(f"{r.batch} × {r.prompt_tokens:,} in, {r.output_tokens:,} out"),
            number(r.output_tokens_per_second, "tok/s", "measured"),
            number(r.tpot_seconds, "s", "measured"),
            number(r.ttft_seconds, "s", "measured"),
        )
        for r in group.records
        if r.status == "ok"
    )
    return Table(title=say("precision.load"), headers=("Variant", "Load", "Tokens / s", "TPOT", "TTFT"), rows=rows)


def show_failures(group: Group) -> None:
    if group.failures:
        drawing.section(say("precision.failed"))
        lines = [
            f"- {safe(r.variant)}, {safe(told(f'{r.batch} at once'))}: {safe(told(r.failure or 'failed'))}"
            for r in group.failures
        ]
        st.markdown("\n".join(lines))
