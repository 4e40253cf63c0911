"""Figures, tables and charts on the screen: each number with its basis, a table under each chart."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import unescape
from typing import Any

import streamlit as st

from llmsizer.deliver.charts.figures import WRAP, Spec, in_lines, plain
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.tables import Cell, Table
from llmsizer.deliver.elements.wording import figure_amount, figure_range
from llmsizer.errors import LlmSizerError
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Basis
from llmsizer.money.currency import US_DOLLARS, Currency, shown, shown_in
from texts import FALLBACK, known, language, say, told

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~$<>:&])")
_BLANKS = re.compile(r"[^\S\u00a0]+")  # but those that hold words together
_MARKUP = re.compile(r"(<[^>]*>)")  # of a figure's words
LONGEST_PLAIN_TABLE = 30
WORDS_OF_A_FIGURE = {
    "text", "title", "name", "hovertext", "hovertemplate", "ticktext", "x", "y", "categoryarray", "customdata", "labels"
}  # fmt: skip
WORDS_ON_WHITE = "#4b4e5a"  # of charts
NO_BREAK = "\u00a0"
MONEY = "currency that is shown"  # of the session's question


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


def show_money_in(currency: Currency) -> None:
    """Amounts that this session's pages write from now on are in this currency."""
    st.session_state[MONEY] = currency


@contextmanager
def money_as_asked() -> Iterator[None]:
    """For whatever writes amounts: a page, and a part of one that is made anew alone."""
    with shown_in(st.session_state.get(MONEY, US_DOLLARS)):
        yield


@contextmanager
def mistakes_as_sentences() -> Iterator[None]:
    """A mistake the user can mend becomes one sentence and ends the page."""
    try:
        yield
    except LlmSizerError as error:
        st.warning(safe(told(str(error))))
        st.caption(say("app.stop_help"))
        st.stop()


@st.fragment
def folded(heading: str, key: str, show: Callable[[], None]) -> None:
    """A section that is made when it is opened, and not before: what nobody reads costs nothing."""
    box = st.expander(heading, key=f"folded_{key}", on_change="rerun")
    if box.open:
        with box, mistakes_as_sentences(), money_as_asked():
            show()


def figure_card(heading: str, value: Figure, *, below: str = "", remark: str = "", large: bool = True) -> None:
    """One figure in a box: value, interval, basis, and what it belongs to."""
    with st.container(border=True, height="stretch"):
        st.caption(safe(heading))
        level = "####" if large else "#####"
        st.markdown(f"{level} {safe(told(figure_amount(value)))}")
        st.caption(safe_kept(surety(value)))
        if below:
            st.markdown(safe(told(below)))
        if remark:
            st.caption(safe(told(remark)))


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


def table(content: Table, *, alt: str = "", key: str = "") -> None:
    """A short table as text that wraps, with a ``key`` to be taken away as CSV; a long one as a grid that scrolls,
    sorts, can be searched and has a button for that of its own."""
    if not content.rows:
        return
    names = [told(name) for name in content.distinct_headers]
    if len(content.rows) <= LONGEST_PLAIN_TABLE:
        rows = [dict(zip(map(safe, names), map(_cell, row), strict=True)) for row in content.rows]
        st.table(rows, border="horizontal", hide_index=True, alt=alt or told(content.title))
    else:
        rows = [dict(zip(names, map(_line, row), strict=True)) for row in content.rows]
        st.dataframe(rows, hide_index=True, alt=alt or told(content.title))
    if content.note:
        st.caption(safe(told(content.note)))
    if key and len(content.rows) <= LONGEST_PLAIN_TABLE:
        st.download_button(
            say("common.csv"), _csv(names, content), f"llmsizer-{key}.csv", "text/csv", key=f"csv_{key}",
            on_click="ignore", type="tertiary", icon=":material/download:",
            help=say("common.csv_help", name=told(content.title)),
        )  # fmt: skip


def _csv(names: Sequence[str], content: Table) -> bytes:
    """The table as a spreadsheet opens it: in each cell its value, interval, basis and remark."""
    held = io.StringIO()
    csv.writer(held).writerows([names, *([_line(cell) for cell in row] for row in content.rows)])
    return held.getvalue().encode("utf-8-sig")  # the mark at its beginning tells spreadsheets how it is written


def _line(cell: Cell) -> str:
    """The cell as one line of text, for a grid."""
    said = [] if cell.is_only_unknown else [told(cell.text)]
    said += [f"({between(cell.between)})"] if cell.between else []
    said += [mark(cell.basis)] if cell.basis else []
    return " · ".join(words for words in (" ".join(said), told(cell.remark)) if words)


def _cell(cell: Cell) -> str:
    text = safe(told(cell.text)) if cell.basis is None else _joined(safe(told(cell.text)))
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
        st.plotly_chart(_readable(_in_language(spec)), key=key, alt=told(alt), config=config, theme="streamlit")
    else:
        st.caption(say("common.nothing_to_draw"))
    if under is not None:
        with st.expander(say("common.table"), expanded=is_open):
            table(under, key=key)


def _in_language(spec: Spec) -> Spec:
    """The figure with its words in the page's language; names of categories too, wherever they stand."""
    if language() == FALLBACK:
        return spec
    return {key: _words_told(value, key in WORDS_OF_A_FIGURE) for key, value in spec.items()}


def _words_told(value: Any, are_words: bool) -> Any:
    if isinstance(value, dict):
        return {key: _words_told(each, key in WORDS_OF_A_FIGURE) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_words_told(each, are_words) for each in value]
    return _marked_told(value) if are_words and isinstance(value, str) else value


def _marked_told(words: str) -> str:
    """Words between the little HTML that Plotly reads; its signs for < and > stand for themselves in a pattern."""
    lines = words.split(WRAP)
    if len(lines) > 1:
        return in_lines(told(unescape(" ".join(lines))), max(map(len, lines)))
    parts = _MARKUP.split(words)
    return "".join(part if part.startswith("<") else _told_between_blanks(part) for part in parts)


def _told_between_blanks(words: str) -> str:
    bare = words.strip()
    return words.replace(bare, plain(told(unescape(bare)))) if bare else words


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
    if shown().note:
        st.caption(safe(say("common.currency", note=told(shown().note))))
    if language() != FALLBACK:
        st.caption(say("common.in_english"))
