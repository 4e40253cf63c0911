"""The screen's charts as Plotly specifications: plain data, so that only drawing them needs Plotly."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from llmsizer.decide.answer import Plan
from llmsizer.deliver.charts.charts import Bar, Measure, Segment, cost_bars, memory_bars
from llmsizer.deliver.charts.colours import GREY, LOOK_OF_PART, PART_COLOURS, PART_PATTERNS, WORDS_ON_MARKS
from llmsizer.deliver.elements.basis import MARKS, mark
from llmsizer.deliver.elements.wording import amount, size
from llmsizer.deliver.tables.variants import Group
from llmsizer.facts.figure import weakest_basis
from llmsizer.money.cost import Cost

Spec = dict[str, Any]  # a Plotly figure: {"data": [...], "layout": {...}}

WRAP = "<br />"  # within a name; a plain <br> stands between sentences
LINE_DASHES = ("solid", "dash", "dashdot", "dot")
LEAST_DRAWN, SLIVERS = 0.01, "parts below 1 %"
LEAST_LABELLED = 0.1  # of the longest bar: a narrower segment keeps its number for the table and the hover
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def plain(words: str) -> str:
    """Plotly reads a little HTML in its texts; names from outside are not to use it."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def in_lines(words: str, longest: int) -> str:
    """A name over two lines of so many characters; what is longer still is cut, and said in full where it is pointed
    at. Plotly breaks no line itself and does not know how wide its words will stand."""
    lines = textwrap.wrap(words, longest, max_lines=2, placeholder=" …", break_on_hyphens=False)
    return WRAP.join(map(plain, lines))


def layout_of(height: int, **extra: Any) -> Spec:
    """What every chart has alike: pixels high, small margins, the legend below, no dragging."""
    base: Spec = {
        "height": height,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "traceorder": "normal"},
        "hovermode": "closest",
        "dragmode": False,
    }
    return base | extra


def memory_figure(plans: Sequence[Plan]) -> Spec:
    """One GPU's memory in each plan: weights, engine, room for context, up to the card's limit."""
    return stacked(memory_bars(plans), "bytes")


def cost_figure(costs: Sequence[tuple[str, Cost]]) -> Spec:
    """Where the money goes, a bar for each bill."""
    return stacked(_without_slivers(cost_bars(costs)), "USD")


def _without_slivers(bars: Sequence[Bar]) -> tuple[Bar, ...]:
    """Parts that no bar shows wider than a hundredth of the longest become one: a legend names what can be seen."""
    longest = max((bar.total for bar in bars), default=0.0)
    widest: dict[str, float] = {}
    for bar in bars:
        for segment in bar.segments:
            widest[segment.name] = max(widest.get(segment.name, 0.0), segment.value)
    small = {name for name, value in widest.items() if value < LEAST_DRAWN * longest}
    return tuple(replace(bar, segments=_merged(bar.segments, small)) for bar in bars) if len(small) > 1 else tuple(bars)


def _merged(segments: Sequence[Segment], small: Collection[str]) -> tuple[Segment, ...]:
    kept = [segment for segment in segments if segment.name not in small]
    merged = [segment for segment in segments if segment.name in small]
    if merged:
        basis = weakest_basis([segment.basis for segment in merged])
        kept.append(Segment(name=SLIVERS, value=sum(segment.value for segment in merged), basis=basis))
    return tuple(kept)


def stacked(bars: Sequence[Bar], unit: str) -> Spec:
    """Bars of parts, ``unit`` bytes or USD; their labels stand above them: narrow screens keep the whole width."""
    names = list(dict.fromkeys(segment.name for bar in bars for segment in bar.segments))
    longest = max((bar.total for bar in bars), default=1.0) or 1.0
    data = [_part_trace(bars, name, index, unit, longest) for index, name in enumerate(names)]
    place = {"xref": "paper", "showarrow": False, "yanchor": "bottom", "yshift": 25, "align": "left"}
    notes: list[Spec] = []
    for row, bar in enumerate(bars):
        notes.append(place | {"x": 0, "y": row, "xanchor": "left", "text": in_lines(bar.label, 40)})
        notes.append(place | {"x": 1, "y": row, "xanchor": "right", "text": f"<b>{plain(bar.end)}</b>"})
    layout = layout_of(
        90 + 76 * len(bars) + 20 * ((len(names) + 2) // 3),
        barmode="stack",
        bargap=0.5,
        annotations=notes,
        xaxis={"visible": False, "fixedrange": True, "range": [0, longest]},
        yaxis={"visible": False, "fixedrange": True, "range": [len(bars) - 0.65, -0.75]},
    )
    layout["legend"]["y"] = -0.02
    return {"data": data, "layout": layout}


def _part_trace(bars: Sequence[Bar], name: str, index: int, unit: str, longest: float) -> Spec:
    found = [(row, [s for s in bar.segments if s.name == name]) for row, bar in enumerate(bars)]
    used = [(row, segments) for row, segments in found if segments]
    values = [sum(s.value for s in segments) for _, segments in used]
    shown = [size(v) if unit == "bytes" else amount(v, unit) for v in values]
    turn = index + index // len(PART_COLOURS)  # an eleventh part has the first one's colour, not its pattern too
    by_order = PART_COLOURS[index % len(PART_COLOURS)], PART_PATTERNS[turn % len(PART_PATTERNS)]
    colour, pattern = LOOK_OF_PART.get(name, by_order)
    return {
        "type": "bar",
        "orientation": "h",
        "name": f"{plain(name)} {' '.join(dict.fromkeys(MARKS[s.basis] for _, ss in used for s in ss))}",
        "x": values,
        "y": [row for row, _ in used],
        "text": [words if v > LEAST_LABELLED * longest else "" for words, v in zip(shown, values, strict=True)],
        "textposition": "inside",
        "insidetextanchor": "middle",
        "textangle": 0,
        "textfont": {"color": WORDS_ON_MARKS},
        "hovertext": [f"{plain(name)}: {s} {mark(segs[0].basis)}" for s, (_, segs) in zip(shown, used, strict=True)],
        "hoverinfo": "text",
        "marker": {
            "color": colour,
            "pattern": {
                "shape": pattern,
                "fillmode": "overlay",
                "solidity": 0.12,
                "fgcolor": "#ffffff",
                "fgopacity": 0.6,
            },
            "line": {"width": 0},
        },
    }


def measure_figure(measure: Measure) -> Spec:
    """One quantity over the variants with its interval; an unknown one is said in words."""
    known = [(n, v, low, high) for n, v, low, high in measure.values if v is not None]
    spread = {
        "type": "data",
        "symmetric": False,
        "array": [(high - v) if high is not None else 0 for _, v, _, high in known],
        "arrayminus": [(v - low) if low is not None else 0 for _, v, low, _ in known],
        "visible": any(low is not None for _, _, low, _ in known),
        "color": GREY,
    }
    highest = max((high or v for _, v, _, high in known), default=1.0)
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "x": [v for _, v, *_ in known],
            "y": [plain(n) for n, *_ in known],
            "error_x": spread,
            "hoverinfo": "text",
            "hovertext": [f"{plain(n)}: {amount(v, measure.unit)} {mark('measured')}" for n, v, *_ in known],
            "marker": {"color": PART_COLOURS[0]},
            "showlegend": False,
        }
    ]
    notes: list[Spec] = [
        _beside(n, high or v, f"{amount(v, measure.unit)} {MARKS['measured']}") for n, v, _, high in known
    ]
    notes += [_beside(n, 0.0, f"unknown {MARKS['unknown']}") for n, v, *_ in measure.values if v is None]
    names = [plain(n) for n, *_ in measure.values]
    return {
        "data": data,
        "layout": layout_of(
            46 + 34 * len(names),
            xaxis={"visible": False, "fixedrange": True, "range": [0, highest * 1.45]},
            yaxis={
                "automargin": True,
                "fixedrange": True,
                "showgrid": False,
                "type": "category",
                "categoryorder": "array",
                "categoryarray": names[::-1],
                "range": [-0.5, len(names) - 0.5],
            },
            annotations=notes,
        ),
    }


def _beside(name: str, x: float, words: str) -> Spec:
    return {"x": x, "y": plain(name), "text": plain(words), "showarrow": False, "xanchor": "left", "xshift": 8}


def batch_figure(group: Group) -> Spec:
    """Tokens a second over the number of requests at once, a line for each variant."""
    worked = group.over_load
    variants = list(dict.fromkeys(r.variant for r in worked))
    data = []
    for index, variant in enumerate(variants):
        records = [r for r in worked if r.variant == variant]
        colour = PART_COLOURS[index % len(PART_COLOURS)]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": f"{plain(variant)} {MARKS['measured']}",
                "x": [r.batch for r in records],
                "y": [r.output_tokens_per_second for r in records],
                "line": {"color": colour, "dash": LINE_DASHES[index % len(LINE_DASHES)]},
                "marker": {"symbol": MARKERS[index % len(MARKERS)], "size": 9, "color": colour},
            }
        )
    batches = sorted({r.batch for r in worked})
    x_axis = {"title": {"text": "requests at once"}, "tickvals": batches, "fixedrange": True, "type": "log"}
    y_axis = {"title": {"text": "output tokens a second"}, "rangemode": "tozero", "fixedrange": True}
    return {"data": data, "layout": layout_of(340, xaxis=x_axis, yaxis=y_axis)}
