"""One model in several formats on one GPU: what is predicted for the question, and what was measured."""

from __future__ import annotations

import streamlit as st

import drawing
from cached import formats, measurements, places
from cached.formats import Formats
from drawing import safe
from llmsizer.decide.precision.choice import choice_sentence
from llmsizer.deliver.charts import precision as drawn
from llmsizer.deliver.charts.precision import Row
from llmsizer.deliver.elements.wording import sentence
from llmsizer.deliver.views import precision as tables
from llmsizer.facts.catalog import default_catalog
from measuring import variants
from question import inputs
from texts import say, told

DEFAULT_GPU = "h100-sxm-80"


def asked() -> tuple[str, float | None]:
    """The GPU, and the user's own price of an hour of it."""
    catalog = default_catalog()
    gpus = [gpu.id for gpu in catalog.gpus() if gpu.memory_bytes]
    first, second, _ = st.columns((3, 2, 3))
    gpu = first.selectbox(
        say("precision.gpu"),
        gpus,
        index=gpus.index(DEFAULT_GPU),
        key="precision_gpu",
        bind="query-params",
    )
    # A price of the user's own stays out of the address.
    usd = second.number_input(
        say("precision.price"),
        0.0,
        1e6,
        0.0,
        step=0.1,
        key="precision_price",
        help=say("precision.price_help"),
        persist_state="session",
    )
    return gpu or DEFAULT_GPU, usd or None


def show_memory(found: Formats) -> None:
    side = found.side
    drawing.section(say("precision.memory"))
    st.caption(safe(say("precision.width", width=side.width, gpu=side.gpu.name, context=f"{side.context_tokens:,}")))
    drawing.chart(drawn.vram_figure(side), drawn.vram_alt(side), "vram", tables.vram_table(side))


def show_quality(found: Formats) -> None:
    """What each format keeps: measured where own records say so, with the published figure beside it."""
    drawing.section(say("precision.quality"))
    st.caption(safe(say("precision.quality_how")))
    floor = found.question.scenario.slo.quality_floor
    rows = quality_rows(found)
    lines = ((floor, say("precision.floor", floor=f"{floor:.1%}")), (1.0, say("precision.reference")))
    figure = drawn.forest_figure(rows, lines=lines, starts_at_zero=False)
    title = say("precision.quality")
    drawing.chart(figure, drawn.forest_alt(title, rows), "quality-forest", tables.forest_table(title, rows))


def quality_rows(found: Formats) -> tuple[Row, ...]:
    rows: list[Row] = []
    for name, own in drawn.option_rows(found.side, "quality"):
        if own.basis == "measured":
            rows.append((say("precision.own", name=name), own))
            rows.append((say("precision.others", name=name), found.published[name]))
        else:
            rows.append((name, own))
    return tuple(rows)


def show_forest(found: Formats, quantity: str, key: str) -> None:
    """One predicted figure of every format with its interval."""
    title, rows = say(f"precision.{key}"), drawn.option_rows(found.side, quantity)
    drawing.section(title)
    st.caption(safe(say(f"precision.{key}_how")))
    figure = drawn.forest_figure(rows)
    drawing.chart(figure, drawn.forest_alt(title, rows), f"{key}-forest", tables.forest_table(title, rows))


def show_speed(found: Formats) -> None:
    """Lines over the reference, with a ring where a lead ends."""
    side = found.side
    drawing.section(say("precision.speed"))
    if side.reference is None:
        st.caption(safe("; ".join(f"{one.precision}: {told(one.why_unknown)}" for one in side.formats)))
        return
    st.caption(safe(say("precision.speed_how", reference=side.reference.precision)))
    sentences = drawn.lead_sentences(side.crossovers)
    drawing.chart(drawn.speed_figure(side), drawn.speed_alt(side, sentences), "speed-up", tables.speed_table(side))
    st.markdown("\n".join(f"- {safe(told(text))} {drawing.mark('calibrated')}" for text in sentences))


def show_kernels(found: Formats) -> None:
    drawing.section(say("precision.kernels"))
    drawing.table(tables.kernels_table(found.options, found.question.engine), key="kernels")


def show_predicted(found: Formats) -> None:
    first, _, rest = choice_sentence(found.options, found.question.scenario.slo.quality_floor).partition("; ")
    drawing.headline(told(first))
    if rest:
        st.markdown(safe(sentence(told(rest))))
    st.caption(safe(say("precision.is_predicted")))
    if not found.side.formats:
        st.info(safe(say("precision.nothing_runs", gpu=found.side.gpu.name)))
        show_kernels(found)
        return
    drawing.table(tables.formats_table(found.side), key="formats")
    left, right = st.columns(2)
    with left:
        show_memory(found)
        show_forest(found, "usd_per_million_tokens", "dollars")
    with right:
        show_quality(found)
        show_forest(found, "joules_per_output_token", "joules")
    show_speed(found)
    show_kernels(found)


@st.fragment
def predicted() -> None:
    """The upper half with its own inputs: another GPU does not draw the measurements anew."""
    with drawing.mistakes_as_sentences(), drawing.money_as_asked():
        gpu, usd_per_gpu_hour = asked()
        own_quality = measurements.records(places.output_folder()).quality
        with st.spinner(say("common.working")):
            found = formats.formats(inputs.question(), gpu, usd_per_gpu_hour, own_quality)
        show_predicted(found)


st.caption(safe(say("precision.heading")))
predicted()
st.divider()
model = default_catalog().model(inputs.question().model)
variants.show({model.name, model.hf_repo, inputs.question().model})
