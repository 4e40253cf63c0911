"""One plan under its load, for the screen: latency over the rate, up to where it is OVERLOADED.

The closed form's numbers carry the basis of its step times; simulated ones say that they are simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import Any

from llmsizer.decide.plan_load import PlanLoad, SimulatedLoad
from llmsizer.deliver.charts.colours import BLUE, GREEN, GREY, ORANGE
from llmsizer.deliver.charts.load_charts import SIMULATED, Tail, limit_of
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.tables import Cell, Table, figure, words
from llmsizer.deliver.elements.wording import plain_number
from llmsizer.facts.figure import Figure
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.traffic.closed_load import FleetPoint
from llmsizer.traffic.load_curves import RatePoint
from llmsizer.units import format_seconds

Spec = dict[str, Any]  # a Plotly figure: {"data": [...], "layout": {...}}
_MARK_ROW = 18  # pixels for the words of an upright mark, above the chart
_LABEL_WIDTH, _LABEL_HEIGHT = 0.3, 0.08  # of a narrow chart: the words at the left end of the limit's line
_MOST_TIMES_LIMIT = 5.0  # a latency beyond so many times its limit is off the chart


def latency_figure(load: PlanLoad, metric: Tail, simulated: SimulatedLoad | None = None) -> Spec:
    """Mean and p95 by the closed form, p50 and p95 simulated, with the limit, the peak hour and what the fleet holds.

    Lines end where the fleet is OVERLOADED, which is shaded: there is no latency to show.
    """
    curve, limit = load.curve, limit_of(load.slo, metric)
    stable = [point for point in curve.points if point.each.verdict == "STABLE"]
    dots = [] if simulated is None else [p for p in simulated.curve.points if p.verdict == "STABLE"]
    basis = MARKS[load.fleet.closed.basis]
    data = [
        *_band(stable, metric),
        _line(f"p95, closed form {basis}", stable, [_tail(p.each, metric).value for p in stable], BLUE, "solid"),
        _line(f"mean, closed form {basis}", stable, [_mean(p.each, metric).value for p in stable], GREEN, "dot"),
    ]
    if dots:
        data += [_dots("p95, simulated", dots, metric, 95), _dots("p50, simulated", dots, metric, 50)]
    furthest = max([1.12 * curve.saturated_requests_per_second, *(p.requests_per_second for p in dots)])
    seconds = [y for trace in data for y in trace["y"] if y]
    low, high = min([*seconds, limit]) / 1.3, min(max([*seconds, limit]), _MOST_TIMES_LIMIT * limit) * 1.4
    points = [point for trace in data for point in zip(trace["x"], trace["y"], strict=True)]
    beside = [y for x, y in points if y and x <= _LABEL_WIDTH * furthest]
    side = _side_of_limit(beside, limit, (high / low) ** _LABEL_HEIGHT)
    shapes, notes = _marks(load, simulated, limit, furthest, side)
    ticks = _second_ticks(low, high)
    layout: Spec = {
        "height": 400,
        "margin": {"l": 8, "r": 8, "t": 8 + _MARK_ROW * (len(shapes) - 2), "b": 8},
        "legend": {"orientation": "h", "yanchor": "top", "y": -0.22, "x": 0},
        "hovermode": "closest",
        "dragmode": False,
        "xaxis": {"title": {"text": "requests per second, whole fleet"}, "range": [0, furthest], "fixedrange": True},
        "yaxis": {
            "type": "log",
            "title": {"text": metric},
            "range": [log10(low), log10(high)],
            "tickvals": ticks,
            "ticktext": [_tick(tick) for tick in ticks],
            "fixedrange": True,
        },
        "shapes": shapes,
        "annotations": notes,
    }
    return {"data": data, "layout": layout}


def _tail(point: LoadPoint, metric: Tail) -> Figure:
    return point.ttft_p95 if metric == "TTFT" else point.tpot_p95


def _mean(point: LoadPoint, metric: Tail) -> Figure:
    return point.ttft_mean if metric == "TTFT" else point.tpot_mean


def _simulated(point: RatePoint, metric: Tail, share: int) -> float | None:
    found: float | None = getattr(point, f"{metric.lower()}_p{share}_seconds")
    return found


def _line(name: str, points: Sequence[FleetPoint], seconds: Sequence[float | None], colour: str, dash: str) -> Spec:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [p.requests_per_second for p in points],
        "y": list(seconds),
        "hovertemplate": "%{x:,.3~r}/s: %{y:,.3~r} s<extra>" + name + "</extra>",
        "line": {"color": colour, "dash": dash, "width": 2.5},
    }


def _band(points: Sequence[FleetPoint], metric: Tail) -> list[Spec]:
    """The 90 % interval of the p95; it ends where slow steps would mean OVERLOADED."""
    known = [(p.requests_per_second, _tail(p.each, metric)) for p in points]
    ends = [(x, f.low, f.high) for x, f in known if f.low is not None and f.high is not None]
    if not ends:
        return []
    edge: Spec = {
        "type": "scatter",
        "mode": "lines",
        "x": [x for x, *_ in ends],
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    return [
        edge | {"y": [low for _, low, _ in ends]},
        edge | {"y": [high for *_, high in ends], "fill": "tonexty", "fillcolor": "rgba(43,131,198,0.16)"},
    ]


def _dots(name: str, points: Sequence[RatePoint], metric: Tail, share: int) -> Spec:
    symbol = "diamond" if share == 95 else "circle-open"
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [p.requests_per_second for p in points],
        "y": [_simulated(p, metric, share) for p in points],
        "hovertemplate": "%{x:,.3~r}/s: %{y:,.3~r} s<extra>" + name + "</extra>",
        "marker": {"color": ORANGE, "symbol": symbol, "size": 9, "line": {"width": 2, "color": ORANGE}},
    }


def _marks(
    load: PlanLoad, simulated: SimulatedLoad | None, limit: float, furthest: float, side: str
) -> tuple[list[Spec], list[Spec]]:
    saturated = load.curve.saturated_requests_per_second
    shapes: list[Spec] = [
        stroke(x0=0, x1=1, xref="paper", y0=limit, y1=limit),
        {
            "type": "rect",
            "x0": saturated,
            "x1": furthest,
            "yref": "paper",
            "y0": 0,
            "y1": 1,
            "fillcolor": "rgba(122,127,135,0.22)",
            "line": {"width": 0},
        },
    ]
    middle = (saturated + furthest) / 2
    notes = [
        note(f"SLO {format_seconds(limit)}", x=0, xref="paper", y=log10(limit), xanchor="left", yanchor=side),
        note("OVERLOADED", x=middle, y=0, yref="paper", yanchor="bottom", textangle=-90),
    ]
    uprights = [("your peak hour", load.peak_requests_per_second), ("holds", load.curve.held_requests_per_second)]
    if simulated is not None:
        uprights.append(("simulated: holds", simulated.curve.held.requests_per_second))
    shown = sorted((at, name) for name, at in uprights if at <= furthest)
    for row, (at, name) in enumerate(shown):
        shapes.append(stroke(x0=at, x1=at, y0=0, y1=1, yref="paper"))
        notes.append(_above(f"{name} {plain_number(at)}/s", at, _MARK_ROW * row, leftwards=at > 0.6 * furthest))
    return shapes, notes


def _side_of_limit(seconds: Sequence[float], limit: float, room: float) -> str:
    """``bottom``: the limit's words stand on its line, ``top``: below it, where fewer points of curves lie."""
    above = sum(limit <= y <= limit * room for y in seconds)
    below = sum(limit / room <= y < limit for y in seconds)
    return "top" if below < above else "bottom"


def _above(text: str, at: float, shift: float, *, leftwards: bool) -> Spec:
    """Words above the chart, each in a row of its own, on the side that has room."""
    side = "right" if leftwards else "left"
    return note(text, x=at, y=1, yref="paper", xanchor=side, yanchor="bottom", yshift=shift)


def stroke(**place: Any) -> Spec:
    return {"type": "line", "line": {"dash": "dash", "width": 1.5, "color": GREY}} | place


def note(text: str, **place: Any) -> Spec:
    return {"text": text, "showarrow": False, "font": {"size": 12}} | place


def _second_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of every decade within the bounds."""
    first, last = int(log10(low)) - 1, int(log10(high)) + 1
    return [s for d in range(first, last + 1) for m in (1, 2, 5) if low <= (s := float(f"{m}e{d}")) <= high]


def _tick(seconds: float) -> str:
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"


def latency_alt(load: PlanLoad, metric: Tail, simulated: SimulatedLoad | None = None) -> str:
    """The chart in a sentence or two."""
    curve, limit = load.curve, limit_of(load.slo, metric)
    held = curve.held_requests_per_second
    said = (
        f"{metric} over requests per second of {load.fleet.label}, closed form. The fleet holds {plain_number(held)}/s "
        f"within {metric} p95 ≤ {format_seconds(limit)} and the rest of the SLO; the peak hour has "
        f"{plain_number(load.peak_requests_per_second)}/s; from {plain_number(curve.saturated_requests_per_second)}/s "
        "on it is OVERLOADED and has no latency."
    )
    if simulated is None:
        return said
    return f"{said} Simulated, it holds {plain_number(simulated.curve.held.requests_per_second)}/s."


def latency_table(load: PlanLoad, metric: Tail, simulated: SimulatedLoad | None = None) -> Table:
    """The chart in numbers: every rate of the closed form, then every simulated one."""
    rows = [_closed_row(point, metric) for point in load.curve.points]
    if simulated is not None:
        rows += [_simulated_row(point, metric) for point in simulated.curve.points]
    middle = "Mean" if simulated is None else "Mean (simulated: p50)"
    headers = ("Rate", middle, f"{metric} p95", "Load", "Verdict", "SLO held")
    note = "Load: closed form, ρ of the rate that saturates; simulated, the share of time in which a replica steps."
    return Table(title=f"{metric} by rate", headers=headers, rows=tuple(rows), note=note)


def _closed_row(point: FleetPoint, metric: Tail) -> tuple[Cell, ...]:
    each = point.each
    seconds = [words("–"), words("–")]
    if each.verdict == "STABLE":
        seconds = [figure(_mean(each, metric)), figure(_tail(each, metric))]
    basis = each.ttft_mean.basis if each.verdict == "STABLE" else None
    load = Cell(text=f"{each.utilisation:.0%}".replace("%", " %"), basis=basis)
    return (
        words(f"{plain_number(point.requests_per_second)}/s"),
        *seconds,
        load,
        words(each.verdict),
        held_cell(point.missed),
    )


def _simulated_row(point: RatePoint, metric: Tail) -> tuple[Cell, ...]:
    return (
        words(f"{plain_number(point.requests_per_second)}/s"),
        simulated_seconds(_simulated(point, metric, 50)),
        simulated_seconds(_simulated(point, metric, 95)),
        words(f"{point.utilisation:.0%}".replace("%", " %"), remark=SIMULATED),
        words(point.verdict, remark=SIMULATED),
        held_cell(point.missed),
    )


def simulated_seconds(seconds: float | None) -> Cell:
    return words("–") if seconds is None else words(format_seconds(seconds), remark=SIMULATED)


def held_cell(missed: str) -> Cell:
    return words("yes") if not missed else words(f"no: {missed}")
