"""The screen's charts as Plotly specifications: plain data, so that only drawing them needs Plotly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10
from typing import Any

from llmsizer.decide.answer import Plan
from llmsizer.deliver import svg
from llmsizer.deliver.basis import MARKS, mark
from llmsizer.deliver.chart import short_tokens, short_usd
from llmsizer.deliver.charts import Bar, Measure, cost_bars, memory_bars
from llmsizer.deliver.stairs import drawn_paths, known_runs
from llmsizer.deliver.variants import Group
from llmsizer.deliver.wording import amount, size, tokens
from llmsizer.money.comparison import Comparison, Crossover, PathCost
from llmsizer.money.cost import Cost, Path

Spec = dict[str, Any]  # a Plotly figure: {"data": [...], "layout": {...}}

# Mid-tones that keep 3:1 against white and against near-black; never the only difference between two things.
PATH_COLOURS: dict[Path, str] = {"own": "#2b83c6", "rent": "#d2691e", "api": "#1b9270"}
PART_COLOURS = (
    "#4a8fcb",
    "#d9962f",
    "#8f9dab",
    "#3f9f7c",
    "#b5709f",
    "#a89a1e",
    "#6f7b88",
    "#cc7350",
    "#8f7fc4",
    "#3f9aa0",
)
PART_PATTERNS = ("", "/", ".", "x", "\\", "+", "-", "|", "", "/")
LINE_DASHES = ("solid", "dash", "dashdot", "dot")
LEAST_LABELLED = 0.1  # of the longest bar: a narrower segment keeps its number for the table and the hover
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "star")


def plain(words: str) -> str:
    """Plotly reads a little HTML in its texts; names from outside are not to use it."""
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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


def stairs_figure(comparison: Comparison, tokens_per_month: float | None = None) -> Spec:
    """Own and rent as stairs with their bands, APIs as lines; crossovers and your own volume marked."""
    data: list[Spec] = []
    for index, path in enumerate(drawn_paths(comparison)):
        for number, run in enumerate(known_runs(path)):
            data.extend(_band(path, run))
            data.append(_stair(path, run, index, named=number == 0))
    data.extend(_crossing_markers(comparison))
    shapes, notes = _volume_line(tokens_per_month)
    low, high = _usd_bounds(comparison)
    volumes = comparison.tokens_per_month or (1e6, 1e9)
    x_axis = _log_axis("tokens a month, in and out", min(volumes), max(volumes), short_tokens)
    y_axis = _log_axis("US dollars a month", low, high, short_usd)
    return {"data": data, "layout": layout_of(460, xaxis=x_axis, yaxis=y_axis, shapes=shapes, annotations=notes)}


def _log_axis(title: str, low: float, high: float, words: Callable[[float], str]) -> Spec:
    ticks = svg.Scale(low=low, high=high, start=0, end=1, logarithmic=True).ticks
    return {
        "type": "log",
        "title": {"text": title},
        "range": [log10(low), log10(high)],
        "tickvals": ticks,
        "ticktext": [words(tick) for tick in ticks],
        "fixedrange": True,
    }


def _usd_bounds(comparison: Comparison) -> tuple[float, float]:
    costs = [value for path in drawn_paths(comparison) for run in known_runs(path) for _, value, _, _ in run]
    highest = max(costs, default=10_000.0) * 1.5
    return min(max(10.0, min(costs, default=10.0) * 0.8), highest / 10), highest


def _stair(path: PathCost, run: Sequence[tuple[float, ...]], index: int, *, named: bool) -> Spec:
    labels = {step.tokens_per_month: step for step in path.steps}
    hover = [
        f"{plain(path.label)}<br>{tokens(v)} tokens a month: {amount(value, 'USD')}"
        f"<br>{plain(labels[v].label)} {mark(labels[v].usd_per_month.basis)}"
        for v, value, *_ in run
    ]
    same = path.same_model
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plain(path.label) + ("" if same else " (another model)"),
        "legendgroup": str(index),
        "showlegend": named,
        "x": [v for v, *_ in run],
        "y": [value for _, value, *_ in run],
        "text": hover,
        "hoverinfo": "text",
        "line": {
            "color": PATH_COLOURS[path.path],
            "width": 2.5 if same else 1.5,
            "shape": "linear" if path.path == "api" else "hv",
            "dash": LINE_DASHES[0] if same else LINE_DASHES[1],
        },
    }


def _band(path: PathCost, run: Sequence[tuple[float, ...]]) -> list[Spec]:
    lows, highs = [low for _, _, low, _ in run], [high for _, _, _, high in run]
    if lows == highs:
        return []
    shape = "linear" if path.path == "api" else "hv"
    edge: Spec = {
        "type": "scatter",
        "mode": "lines",
        "x": [v for v, *_ in run],
        "line": {"width": 0, "shape": shape},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [edge | {"y": lows}, edge | {"y": highs, "fill": "tonexty", "fillcolor": _faint(PATH_COLOURS[path.path])}]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"


def _crossing_markers(comparison: Comparison) -> list[Spec]:
    by_label = {path.label: path for path in comparison.paths}
    reached = [c for c in comparison.crossovers if c.tokens_per_month is not None and c.cheaper_above in by_label]
    points = [(c, _cost_at(by_label[c.cheaper_above], c)) for c in reached]
    known = [(c, cost) for c, cost in points if cost is not None]
    if not known:
        return []
    marker = {"size": 13, "symbol": "circle-open", "color": "#7a7f87", "line": {"width": 3}}
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "crossover",
            "x": [c.tokens_per_month for c, _ in known],
            "y": [cost for _, cost in known],
            "text": [plain(c.text) for c, _ in known],
            "hoverinfo": "text",
            "marker": marker,
        }
    ]


def _cost_at(path: PathCost, crossover: Crossover) -> float | None:
    volume = crossover.tokens_per_month or 0.0
    return next((s.usd_per_month.value for s in path.steps if s.tokens_per_month >= volume), None)


def _volume_line(tokens_per_month: float | None) -> tuple[list[Spec], list[Spec]]:
    if tokens_per_month is None or tokens_per_month <= 0:
        return [], []
    line = {"dash": "dot", "width": 1.5, "color": "#7a7f87"}
    shape = {"type": "line", "x0": tokens_per_month, "x1": tokens_per_month, "y0": 0, "y1": 1, "yref": "paper"}
    note = {"x": log10(tokens_per_month), "y": 1, "yref": "paper", "text": "your volume", "showarrow": False}
    return [shape | {"line": line}], [note | {"xanchor": "right", "yanchor": "top", "xshift": -4}]


def memory_figure(plans: Sequence[Plan]) -> Spec:
    """One GPU's memory in each plan: weights, engine, room for context, up to the card's limit."""
    return stacked(memory_bars(plans), "bytes")


def cost_figure(costs: Sequence[tuple[str, Cost]]) -> Spec:
    """Where the money goes, a bar for each bill."""
    return stacked(cost_bars(costs), "USD")


def stacked(bars: Sequence[Bar], unit: str) -> Spec:
    """Bars of parts, ``unit`` bytes or USD; their labels stand above them: narrow screens keep the whole width."""
    names = list(dict.fromkeys(segment.name for bar in bars for segment in bar.segments))
    longest = max((bar.total for bar in bars), default=1.0) or 1.0
    data = [_part_trace(bars, name, index, unit, longest) for index, name in enumerate(names)]
    place = {"xref": "paper", "showarrow": False, "yanchor": "bottom", "yshift": 25}
    notes: list[Spec] = []
    for row, bar in enumerate(bars):
        label = bar.label if len(bar.label) <= 40 else bar.label[:39] + "…"
        notes.append(place | {"x": 0, "y": row, "xanchor": "left", "text": plain(label)})
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
        "textfont": {"color": "#10151b"},
        "hovertext": [f"{plain(name)}: {s} {mark(segs[0].basis)}" for s, (_, segs) in zip(shown, used, strict=True)],
        "hoverinfo": "text",
        "marker": {
            "color": PART_COLOURS[index % len(PART_COLOURS)],
            "pattern": {
                "shape": PART_PATTERNS[index % len(PART_PATTERNS)],
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
        "color": "#7a7f87",
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
