"""How long requests take, for the screen: distributions as a Plotly specification, which is plain data."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

from llmsizer.deliver.charts.colours import BLUE, GREEN, GREY, ORANGE
from llmsizer.facts.workload import Slo
from llmsizer.traffic.load_curves import Distribution
from llmsizer.units import format_seconds

Spec = dict[str, Any]  # a Plotly figure: {"data": [...], "layout": {...}}
COLOURS = (BLUE, ORANGE, GREEN)  # dashes tell them apart too
DASHES = ("solid", "dash", "dot")


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


def _upright(at: float) -> Spec:
    return {
        "type": "line",
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "x0": at,
        "x1": at,
        "line": {"dash": "dot", "width": 1.5, "color": GREY},
    }


def _note(words: str, *, x: float) -> Spec:
    """Words beside an upright line, at the top. On a logarithmic axis Plotly takes log10 for x."""
    base: Spec = {"text": words, "showarrow": False, "font": {"size": 11}, "textangle": -90}
    return base | {"x": x, "y": 1, "yref": "paper", "yanchor": "top", "xanchor": "left"}
