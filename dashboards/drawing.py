"""Figures, tables and charts on the screen: each number with its basis, a table under each chart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import streamlit as st

from llmsizer.deliver.basis import MARKS
from llmsizer.deliver.charts.figures import Spec
from llmsizer.deliver.tables import Cell, Table
from llmsizer.deliver.wording import figure_amount, figure_range
from llmsizer.errors import LlmSizerError
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Basis
from texts import FALLBACK, known, language, say, told

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$<>:&])")
_BLANKS = re.compile(r"[^\S\u00a0]+")  # but those that hold words together
LONGEST_PLAIN_TABLE = 30
WORDS_ON_WHITE = "#4b4e5a"  # of charts
NO_BREAK = "\u00a0"


def mark(basis: Basis) -> str:
    """Shape and word of a basis, in the page's language and on one line: ``● measured``."""
    return _joined(f"{MARKS[basis]} {known(basis)}")


def safe(words: str) -> str:
    """Words from outside as they stand, with nothing that Markdown would read as a sign."""
    return safe_kept(_BLANKS.sub(" ", words).strip())


def safe_kept(words: str) -> str:
    """The same with its blanks as they are."""
    return _MARKDOWN.sub(r"\\\1", words)


def headline(words: str) -> None:
    """The answer, large."""
    st.subheader(safe(words), anchor=False)


def section(words: str) -> None:
    """The heading of what follows."""
    st.space("small")
    st.markdown(f"#### {safe(words)}")


@contextmanager
def mistakes_as_sentences() -> Iterator[None]:
    """A mistake the user can mend becomes one sentence and ends the page."""
    try:
        yield
    except LlmSizerError as error:
        st.warning(safe(str(error)))
        st.caption(say("app.stop_help"))
        st.stop()


@st.fragment
def folded(heading: str, key: str, show: Callable[[], None]) -> None:
    """A section that is made when it is opened, and not before: what nobody reads costs nothing."""
    box = st.expander(heading, key=f"folded_{key}", on_change="rerun")
    if box.open:
        with box, mistakes_as_sentences():
            show()


def figure_card(heading: str, value: Figure, *, below: str = "", remark: str = "", large: bool = True) -> None:
    """One figure in a box: value, interval, basis, and what it belongs to."""
    with st.container(border=True, height="stretch"):
        st.caption(safe(heading))
        level = "####" if large else "#####"
        st.markdown(f"{level} {safe(told(figure_amount(value)))}")
        st.caption(safe_kept(surety(value)))
        if below:
            st.markdown(safe(below))
        if remark:
            st.caption(safe(remark))


def surety(value: Figure) -> str:
    """Interval, basis and staleness in a line; the reason where the value is unknown."""
    if value.value is None:
        return f"{mark('unknown')}: {told(value.estimate.reason)}"
    stale = say("common.stale", date=value.as_of or say("common.no_date")) if value.stale else ""
    return " · ".join(_joined(words) for words in (between(figure_range(value)), mark(value.basis), stale) if words)


def between(words: str) -> str:
    """``$10 to $20`` in the page's language; nothing stays nothing."""
    low, to, high = words.partition(" to ")
    return say("common.between", low=told(low), high=told(high)) if to else told(words)


def _joined(words: str) -> str:
    """Words that stay on one line."""
    return words.replace(" ", NO_BREAK)


def table(content: Table, *, alt: str = "") -> None:
    """A short table as text that wraps, a long one as a grid that scrolls and can be searched."""
    if not content.rows:
        return
    if len(content.rows) <= LONGEST_PLAIN_TABLE:
        names = [safe(known(name)) for name in content.distinct_headers]
        rows = [dict(zip(names, map(_cell, row), strict=True)) for row in content.rows]
        st.table(rows, border="horizontal", hide_index=True, alt=alt or known(content.title))
    else:
        rows = [{known(name): text for name, text in row.items()} for row in content.plain_rows]
        st.dataframe(rows, hide_index=True, alt=alt or known(content.title))
    if content.note:
        st.caption(safe(content.note))


def _cell(cell: Cell) -> str:
    text = safe(told(cell.text)) if cell.basis is None else _joined(safe(cell.text))
    small = [_joined(between(cell.between)), mark(cell.basis) if cell.basis else ""]
    below = " · ".join(safe_kept(words) for words in (*small, told(cell.remark)) if words)
    if cell.is_only_unknown:
        return below
    text = f"**{text}**" if cell.strong else text
    return f"{text}  \n:small[{below}]" if below else text


def chart(spec: Spec, alt: str, key: str, under: Table | None = None, *, is_open: bool = False) -> None:
    """A chart with its words for those who cannot see it, and the same in numbers under it."""
    config = {"displayModeBar": False, "responsive": True}
    if spec["data"]:  # Plotly refuses a figure of nothing
        st.plotly_chart(_readable(spec), key=key, alt=alt, config=config, theme="streamlit")
    else:
        st.caption(say("common.nothing_to_draw"))
    if under is not None:
        with st.expander(say("common.table"), expanded=is_open):
            table(under)


def _readable(spec: Spec) -> Spec:
    """Streamlit's grey for a chart's words has 3.7:1 on white; what the figure says itself stays."""
    if st.context.theme.type == "dark":
        return spec
    layout, font = spec["layout"], {"color": WORDS_ON_WHITE}
    axes = {}
    for name in ("xaxis", "yaxis"):
        axis = layout.get(name, {})
        title = {"font": font} | axis.get("title", {})
        axes[name] = axis | {"tickfont": font | axis.get("tickfont", {}), "title": title}
    return spec | {"layout": layout | axes | {"font": font}}


def columns_of(count: int) -> Sequence[st.delta_generator.DeltaGenerator]:
    return st.columns(max(count, 1))


def legend_of_bases() -> None:
    """What the shapes mean, once at the foot of a page."""
    st.caption(safe(say("common.basis", marks=" · ".join(mark(basis) for basis in MARKS))))
    if language() != FALLBACK:
        st.caption(say("common.in_english"))
