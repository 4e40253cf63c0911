"""The charts of load for the screen, as Plotly specifications: plain data, so that only drawing them needs Plotly."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, isfinite, log10
from typing import Any

from llmsizer.deliver.load_charts import Tail, latency_axes, latency_lines, limit_of
from llmsizer.deliver.load_drawing import DAYS
from llmsizer.facts.workload import Slo
from llmsizer.traffic.load_curves import Distribution, Hour, LoadCurve, OccupancySeries
from llmsizer.units import format_seconds

Spec = dict[str, Any]  # a Plotly figure: {"data": [...], "layout": {...}}
COLOURS = ("#2b83c6", "#d2691e", "#1b9270")  # 3:1 against white and near-black; dashes tell them apart too
DASHES = ("solid", "dash", "dot")
MARK = "#7a7f87"
HEAT = [[0.0, "#d6e4f2"], [0.5, "#74a9d8"], [1.0, "#0a4a85"]]


def latency_figure(curves: Sequence[LoadCurve], metric: Tail, slo: Slo, peak: float | None = None) -> Spec:
    """One latency's p95 over the rate: its limit, what each fleet holds, and the peak hour."""
    lines, limit = latency_lines(curves, metric), limit_of(slo, metric)
    data = [_line(line.name, [x for x, _ in line.points], [y for _, y in line.points], line.style) for line in lines]
    shapes, notes = [_across(limit)], [_note(f"SLO {format_seconds(limit)}", y=limit)]
    marks = [(curve.held.requests_per_second, f"{curve.label} holds") for curve in curves]
    for at, said in [*marks, *([] if peak is None else [(peak, "peak hour")])]:
        shapes.append(_upright(at))
        notes.append(_note(f"{said} {at:.3g}/s", x=at))
    x_axis, _ = latency_axes(curves, metric, [*(y for line in lines for _, y in line.points), limit])
    layout = _layout("requests per second", f"{metric} p95, seconds (simulated)", shapes, notes)
    layout["xaxis"]["range"] = [x_axis.low, x_axis.high]
    layout["yaxis"]["type"] = "log"
    return {"data": data, "layout": layout}


def cdf_figure(found: Sequence[Distribution], slo: Slo) -> Spec:
    """Share of requests within a time."""
    data = [_line(each.metric, each.seconds, each.share, index) for index, each in enumerate(found)]
    limits = {"TTFT": slo.ttft_p95_seconds, "TPOT": slo.tpot_p95_seconds}
    shapes = [_upright(at) for at in limits.values()]
    words = [(name, f"SLO {name} {format_seconds(at)}", at) for name, at in limits.items()]
    notes = [_note(text, x=log10(at)) for _, text, at in sorted(words)]
    layout = _layout("", "share of requests within (simulated)", shapes, notes)
    layout["xaxis"] |= {"type": "log"} | _second_ticks([s for each in found for s in each.seconds])
    layout["yaxis"] |= {"range": [0, 1.02], "tickformat": ".0%"}
    return {"data": data, "layout": layout}


def week_figure(hours: Sequence[Hour]) -> Spec:
    """Demand over what the fleet holds, by day and hour, numbers in the cells; ! where the SLO is missed."""
    days = len(hours) // 24
    rows = [hours[24 * day : 24 * day + 24] for day in range(days)]
    heat = {
        "type": "heatmap",
        "x": [f"{hour:02d}" for hour in range(24)],
        "y": list(DAYS[:days]) if days == 7 else ["day"],
        "z": [[hour.of_held if isfinite(hour.of_held) else None for hour in row] for row in rows],
        "text": [[f"{hour.of_held * 100:.0f}{'!' if hour.missed else ''}" for hour in row] for row in rows],
        "customdata": [[[hour.requests_per_second, hour.missed or "held"] for hour in row] for row in rows],
        "texttemplate": "%{text}",
        "hovertemplate": "%{y} %{x}:00<br>%{customdata[0]:.3g} requests/s<br>%{z:.0%} of what the fleet holds<br>"
        "SLO: %{customdata[1]}<extra></extra>",
        "colorscale": HEAT,
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "colorbar": {"tickformat": ".0%", "title": {"text": "of what it holds"}},
    }
    layout = _layout("hour of the day", "", [], [])
    layout["yaxis"]["autorange"] = "reversed"
    return {"data": [heat], "layout": layout}


def occupancy_figure(series: OccupancySeries) -> Spec:
    """KV cache and batch of one replica over time, as shares of their room."""
    kv = [value / series.kv_capacity_tokens for value in series.kv_tokens]
    batch = [value / series.max_sequences for value in series.batch]
    data = [_line("KV cache", series.hours, kv, 0), _line("batch", series.hours, batch, 1)]
    layout = _layout("hours since the start of the run", "share of its room, one replica (simulated)", [], [])
    layout["yaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    return {"data": data, "layout": layout}


def _second_ticks(seconds: Sequence[float]) -> Spec:
    """1, 2 and 5 of every decade, in words."""
    first, last = floor(log10(min(seconds))), ceil(log10(max(seconds)))
    ticks = [float(f"{step}e{decade}") for decade in range(first, last + 1) for step in (1, 2, 5)]
    words = [f"{tick * 1e3:g} ms" if tick < 1 else f"{tick:g} s" for tick in ticks]
    return {"tickvals": ticks, "ticktext": words}


def _line(name: str, x: Sequence[float], y: Sequence[float], style: int) -> Spec:
    line = {"color": COLOURS[style % 3], "dash": DASHES[style % 3], "width": 2.5}
    return {"type": "scatter", "mode": "lines", "name": name, "x": list(x), "y": list(y), "line": line}


def _layout(x_title: str, y_title: str, shapes: list[Spec], notes: list[Spec]) -> Spec:
    return {
        "height": 380,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0},
        "hovermode": "closest",
        "dragmode": False,
        "xaxis": {"title": {"text": x_title}, "fixedrange": True},
        "yaxis": {"title": {"text": y_title}, "fixedrange": True},
        "shapes": shapes,
        "annotations": notes,
    }


def _across(at: float) -> Spec:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": at,
        "y1": at,
        "line": {"dash": "dot", "width": 1.5, "color": MARK},
    }


def _upright(at: float) -> Spec:
    return {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "x0": at,
        "x1": at,
        "line": {"dash": "dot", "width": 1.5, "color": MARK},
    }


def _note(words: str, *, x: float | None = None, y: float | None = None) -> Spec:
    """Words at a line: beside an upright one at the top, above a level one at the left. Plotly takes log10 for y."""
    base: Spec = {"text": words, "showarrow": False, "font": {"size": 11}}
    if x is not None:
        return base | {"x": x, "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "left", "textangle": -90}
    assert y is not None
    return base | {"x": 0, "xref": "paper", "y": log10(y), "xanchor": "left", "yanchor": "bottom"}
