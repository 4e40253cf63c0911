"""Where one GPU's memory goes, what fits on what, and the nearest change that would make it fit."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

import drawing
from drawing import safe
from llmsizer import Deployment, Parallelism, get_precision
from llmsizer.deliver.charts import memory as drawn
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import weakest_basis
from llmsizer.facts.precision import KV_BYTES_PER_VALUE, PRECISIONS
from llmsizer.physics.answers.memory import MemoryAnswer, answer_memory
from llmsizer.physics.memory.fit_cell import FitCell, fit_cell
from question import inputs
from texts import say, told

DEFAULT_GPU, DEFAULT_KV, DEFAULT_CONTEXT_TOKENS = "h100-sxm-80", "bf16", 8192
MOST_CONTEXT_TOKENS, MOST_REQUESTS = 10_000_000, 65_536
PUBLISHED = "published"
TENSOR = (1, 2, 4, 8, 16)
CHANGES_SHOWN = 4
MAP_GPUS = ("l4", "l40s", "rtx-4090", "rtx-pro-6000-server", "a100-sxm-80", "h100-sxm-80", "h200-sxm-141", "mi300x")
MAP_MODELS = (
    "ministral-3-8b-2512",
    "llama-3.1-8b",
    "gpt-oss-20b",
    "mistral-small-3.2-24b-2506",
    "qwen3-32b",
    "llama-3.3-70b",
    "gpt-oss-120b",
    "mistral-small-4-119b-2603",
    "qwen3-235b-a22b",
)
MAP_CONTEXTS = (2_048, 8_192, 32_768, 131_072, 262_144, 1_048_576)
MAP_REQUESTS = (1, 4, 16, 64, 256)


def asked() -> tuple[Deployment, int, bool]:
    """The form: one replica, how many requests it is to hold, and whether weights are as each maker publishes them."""
    catalog = default_catalog()
    names = sorted({*catalog.model_names, inputs.question().model})
    follow_the_question()
    first = st.columns((3, 3, 2, 2))
    with first[0]:
        model = catalog.model(_choice("model", names, inputs.question().model))
    with first[1]:
        gpus = [gpu.id for gpu in catalog.gpus() if gpu.memory_bytes]
        gpu = catalog.gpu(_choice("gpu", gpus, DEFAULT_GPU))
    with first[2]:
        help_text = say("memory.weights_help", native=model.native_weights)
        weights = _choice("weights", [PUBLISHED, *PRECISIONS], PUBLISHED, help_text=help_text)
    with first[3]:
        kv_format = _choice("kv", list(KV_BYTES_PER_VALUE), DEFAULT_KV)
    second = st.columns(3)
    limit = say("memory.context_help", limit=f"{model.max_context_tokens:,}")
    with second[0]:
        context = _whole("context", DEFAULT_CONTEXT_TOKENS, MOST_CONTEXT_TOKENS, 1024, limit)
    with second[1]:
        requests = _whole("concurrency", 1, MOST_REQUESTS, 1)
    with second[2]:
        tensor = _choice("tensor", [str(width) for width in TENSOR], "1", help_text=say("memory.tensor_help"))
    deployment = Deployment(
        model=model,
        gpu=gpu,
        weights=get_precision(model.native_weights if weights == PUBLISHED else weights),
        kv_format=kv_format,
        parallelism=Parallelism(tensor=int(tensor)),
        max_context_tokens=context,
    )
    return deployment, requests, weights == PUBLISHED


def follow_the_question() -> None:
    """Another model in the side bar is another model here, until this page's own choice is made."""
    state, wanted = st.session_state, inputs.question().model
    if state.get("memory_follows") not in (None, wanted):
        state["memory_model"] = wanted
    state["memory_follows"] = wanted


def _choice(key: str, options: list[str], default: str, *, help_text: str | None = None) -> str:
    """Options stand as links write them: the same in every language."""
    chosen = st.selectbox(
        say(f"memory.{key}"),
        options,
        index=options.index(default) if default in options else 0,
        key=f"memory_{key}",
        help=help_text,
        bind="query-params",
    )
    return default if chosen is None else str(chosen)


def _whole(key: str, default: int, most: int, step: int, help_text: str | None = None) -> int:
    value = st.number_input(
        say(f"memory.{key}"), 1, most, default, step=step, key=f"memory_{key}", help=help_text, bind="query-params"
    )
    return default if value is None else int(value)


def show_verdict(answer: MemoryAnswer) -> None:
    budget = answer.budget
    deployment, most = budget.deployment, budget.max_concurrency()
    context = f"{deployment.max_context_tokens:,}"
    said = {"gpus": gpus_of(deployment), "context": context, "asked": f"{answer.concurrency:,}", "most": f"{most:,}"}
    if answer.holds:
        drawing.headline(say("memory.holds", **said))
    elif budget.fits:
        drawing.headline(say("memory.holds_not", **said))
    else:
        drawing.headline(say("memory.fits_not", gpus=said["gpus"], reason=told(budget.reason)))
    if budget.max_context_tokens:
        longest, tokens = f"{budget.max_context_tokens:,}", f"{budget.kv_capacity_tokens:,}"
        each = f"{budget.kv_bytes_per_token:,.0f}"
        st.caption(safe(say("memory.longest", longest=longest, tokens=tokens, bytes=each)))
    if budget.fits and most > budget.max_sequences:
        st.caption(safe(say("memory.sequences", count=f"{budget.max_sequences:,}")))
    if deployment.model.reading:
        st.caption(safe(f"{say('memory.reading')}: {told(deployment.model.reading)}"))


def gpus_of(deployment: Deployment) -> str:
    count, gpu = deployment.parallelism.gpus, deployment.gpu.name
    return say("memory.one_gpu", gpu=gpu) if count == 1 else say("memory.gpus", count=count, gpu=gpu)


def show_changes(answer: MemoryAnswer) -> None:
    """Each change that alone suffices, the one that costs the user least first."""
    if answer.holds:
        return
    st.markdown(f"**{safe(say('memory.changes_hold' if answer.budget.fits else 'memory.changes'))}**")
    if not answer.changes:
        st.markdown(safe(say("memory.no_change")))
    for index, change in enumerate(answer.changes[:CHANGES_SHOWN]):
        budget = change.budget
        context = f"{budget.deployment.max_context_tokens:,}"
        then = say("memory.then", most=requests_in_words(budget.max_concurrency()), context=context)
        first = f" **({safe(say('memory.change_nearest'))})**" if index == 0 else ""
        st.markdown(f"- {safe(told(change.text))}{first}: {safe(then)}")


def show_waterfall(answer: MemoryAnswer) -> None:
    drawing.section(say("memory.waterfall"))
    figure, table = drawn.waterfall_figure(answer.budget), drawn.waterfall_table(answer)
    drawing.chart(figure, drawn.waterfall_alt(answer), "memory-waterfall", table)
    marks = dict.fromkeys(drawing.mark(step.basis) for step in drawn.waterfall(answer.budget))
    st.caption(safe(say("memory.basis", marks=" · ".join(marks))))


def show_command(deployment: Deployment, requests: int) -> None:
    """The same question for a terminal."""
    st.caption(safe(say("memory.same_as")))
    st.code(
        f"llmsizer memory {deployment.model.name} --gpu {deployment.gpu.id} --weights {deployment.weights.name} "
        f"--kv {deployment.kv_format} --tp {deployment.parallelism.tensor} "
        f"--context {deployment.max_context_tokens} --concurrency {requests}",
        language=None,
        wrap_lines=True,
    )


def show_models(deployment: Deployment, requests: int, is_published: bool) -> None:
    """Models × GPUs, everything else as asked."""
    drawing.section(say("memory.models"))
    catalog, chosen = default_catalog(), deployment.model.name
    with st.expander(say("memory.choose")):
        known = sorted({*catalog.model_names, chosen})
        usual = [name for name in MAP_MODELS if name in known]
        models = _several("shown_models", known, usual)
        every = [gpu.id for gpu in catalog.gpus() if gpu.memory_bytes]
        gpus = _several("shown_gpus", every, [name for name in MAP_GPUS if name in every])
    models = list(dict.fromkeys([chosen, *models]))
    gpus = list(dict.fromkeys([*gpus, deployment.gpu.id]))
    cells = []
    for model in map(catalog.model, models):
        weights = get_precision(model.native_weights) if is_published else deployment.weights
        one = replace(deployment, model=model, weights=weights)
        cells.append([fit_cell(replace(one, gpu=catalog.gpu(gpu)), requests) for gpu in gpus])
    how = say(
        "memory.models_how",
        weights=say("memory.each_published") if is_published else deployment.weights.name,
        kv=deployment.kv_format,
        requests=requests_in_words(requests),
        context=f"{deployment.max_context_tokens:,}",
        tensor=f"TP={deployment.parallelism.tensor}",
    )
    show_map("models", models, gpus, cells, how, (say("memory.gpu_axis"), ""))


def show_contexts(deployment: Deployment) -> None:
    """Context × concurrency of this replica."""
    drawing.section(say("memory.contexts"))
    contexts = [c for c in MAP_CONTEXTS if c <= deployment.model.max_context_tokens] or [MAP_CONTEXTS[0]]
    contexts = sorted({*contexts, min(deployment.max_context_tokens, deployment.model.max_context_tokens)})
    cells = [[fit_cell(replace(deployment, max_context_tokens=c), n) for n in MAP_REQUESTS] for c in contexts]
    rows, columns = [f"{c:,}" for c in contexts], [f"{n:,}" for n in MAP_REQUESTS]
    how = say(
        "memory.contexts_how",
        model=deployment.model.name,
        weights=deployment.weights.name,
        kv=deployment.kv_format,
        gpus=gpus_of(deployment),
    )
    show_map("contexts", rows, columns, cells, how, (say("memory.requests_axis"), say("memory.context_axis")))


def show_map(
    key: str, rows: list[str], columns: list[str], cells: list[list[FitCell]], how: str, axes: tuple[str, str]
) -> None:
    st.caption(safe(how))
    title = say(f"memory.{key}")
    figure = drawn.fit_figure(rows, columns, cells, x_title=axes[0], y_title=axes[1])
    table = drawn.fit_table(title, rows, columns, cells)
    drawing.chart(figure, drawn.fit_alt(f"{title}. {how}", cells), f"memory-{key}", table)
    basis = weakest_basis([cell.basis for line in cells for cell in line])
    st.caption(safe(f"{say('memory.cells')} {say('memory.basis', marks=drawing.mark(basis))}"))


def _several(key: str, options: list[str], usual: list[str]) -> list[str]:
    return st.multiselect(say(f"memory.{key}"), options, usual, key=f"memory_{key}", bind="query-params")


def requests_in_words(count: int) -> str:
    return say("memory.request") if count == 1 else say("memory.requests", count=f"{count:,}")


st.caption(say("memory.heading"))
deployment, requests, is_published = asked()
answer = answer_memory(deployment, default_catalog().gpus_on_sale, concurrency=requests)
show_verdict(answer)
show_changes(answer)
left, right = st.columns((3, 2))
with left:
    show_waterfall(answer)
with right:
    show_contexts(deployment)
show_models(deployment, requests, is_published)
show_command(deployment, requests)
