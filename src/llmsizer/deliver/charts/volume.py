"""Build against buy over the volume, for the screen: stairs and lines, P10–P90 around them, crossovers, your volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from llmsizer.decide.certainty.volume_spread import VolumeSpread
from llmsizer.deliver.charts.colours import GREY, PATH_COLOURS
from llmsizer.deliver.charts.figures import LINE_DASHES, MARKERS, Spec, layout_of, plain
from llmsizer.deliver.charts.stairs import drawn_paths, known_runs
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.chart import axis_ticks, money_ticks, short_tokens
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import amount, tokens
from llmsizer.money.comparison import Comparison, Crossover, PathCost
from llmsizer.money.currency import format_usd, shown

_LEAST_USD, _ROOM = 10.0, 1.5
_MARKERS_SHOWN = 7  # of each line: enough to tell them apart without colour
_BEYOND = 2.5  # times your volume and the last crossover that a proportional axis shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """Which of the two axes are logarithmic; a proportional one starts at zero."""

    log_volume: bool = True
    log_usd: bool = True


def volume_figure(
    comparison: Comparison,
    spreads: Sequence[VolumeSpread] = (),
    tokens_per_month: float | None = None,
    axes: Axes = Axes(),
) -> Spec:
    """Own and rent as stairs, APIs as lines, with P10–P90 where they were drawn; crossovers and your volume marked."""
    bands = {(spread.path, spread.label): spread for spread in spreads}
    banded: set[str] = set()
    data: list[Spec] = []
    for index, path in enumerate(drawn_paths(comparison)):
        spread = bands.pop((path.path, path.label), None)
        if spread is not None and path.path not in banded:  # one band a way: around every line they hide one another
            banded.add(path.path)
            data.extend(_band(spread))
        data.extend(_stair(path, run, index, named=n == 0) for n, run in enumerate(known_runs(path)))
    crossed = _reached(comparison)
    data.extend(_crossing_markers(crossed))
    shapes, notes = _volume_line(tokens_per_month, axes)
    notes += [_crossing_note(crossover, cost, row, axes) for row, (crossover, cost) in enumerate(crossed)]
    left, right = _volume_bounds(comparison, tokens_per_month, axes)
    low, high = _usd_bounds(comparison, right, axes)
    layout = layout_of(
        480,
        xaxis=_volume_axis(left, right, logarithmic=axes.log_volume),
        yaxis=_money_axis(low, high, logarithmic=axes.log_usd),
        shapes=shapes,
        annotations=notes,
    )
    return {"data": data, "layout": layout}


def _volume_axis(low: float, high: float, *, logarithmic: bool) -> Spec:
    ticks = svg.decades(low, high) if logarithmic else svg.linear_ticks(0, high)
    marks = {"tickvals": ticks, "ticktext": [short_tokens(tick) for tick in ticks]}
    return _axis("tokens a month, in and out", low, high, logarithmic=logarithmic) | marks


def _money_axis(low: float, high: float, *, logarithmic: bool) -> Spec:
    ticks = money_ticks(low, high, svg.decades) if logarithmic else money_ticks(0, high, svg.linear_ticks)
    return _axis(f"{shown().words} a month", low, high, logarithmic=logarithmic) | axis_ticks(ticks)


def _axis(title: str, low: float, high: float, *, logarithmic: bool) -> Spec:
    base: Spec = {"title": {"text": title}, "fixedrange": True}
    if logarithmic:
        return base | {"type": "log", "range": [log10(low), log10(high)]}
    return base | {"type": "linear", "range": [0, high]}


def _volume_bounds(comparison: Comparison, asked: float | None, axes: Axes) -> tuple[float, float]:
    volumes = [volume for volume in comparison.tokens_per_month if volume > 0] or [1e6, 1e9]
    if axes.log_volume:
        return min(volumes), max(volumes)
    near = [c.tokens_per_month for c in comparison.crossovers if c.tokens_per_month is not None]
    far = _BEYOND * max([*near, asked or 0.0])
    return 0.0, min(far or max(volumes), max(volumes))


def _usd_bounds(comparison: Comparison, right: float, axes: Axes) -> tuple[float, float]:
    runs = [run for path in drawn_paths(comparison) for run in known_runs(path)]
    costs = [value for run in runs for volume, value, *_ in run if volume <= right]
    highest = max(costs, default=10_000.0) * _ROOM
    return (
        (min(max(_LEAST_USD, min(costs, default=_LEAST_USD) * 0.8), highest / 10), highest)
        if axes.log_usd
        else (
            0.0,
            highest,
        )
    )


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
        "mode": "lines+markers",
        "name": plain(path.label) + ("" if same else " (another model)"),
        "legendgroup": str(index),
        "showlegend": named,
        "x": [v for v, *_ in run],
        "y": [value for _, value, *_ in run],
        "text": hover,
        "hoverinfo": "text",
        "marker": {"symbol": MARKERS[index % len(MARKERS)], "size": 8, "maxdisplayed": _MARKERS_SHOWN},
        "line": {
            "color": PATH_COLOURS[path.path],
            "width": 2.5 if same else 1.5,
            "shape": _shape(path.path),
            "dash": LINE_DASHES[0] if same else LINE_DASHES[1],
        },
    }


def _shape(path: str) -> str:
    return "linear" if path == "api" else "hv"


def _band(spread: VolumeSpread) -> list[Spec]:
    if spread.usd_p10 == spread.usd_p90:
        return []
    edge: Spec = {
        "type": "scatter",
        "mode": "lines",
        "x": list(spread.tokens_per_month),
        "line": {"width": 0, "shape": _shape(spread.path)},
        "hoverinfo": "skip",
        "showlegend": False,
    }
    fill = {"fill": "tonexty", "fillcolor": _faint(PATH_COLOURS[spread.path])}
    return [edge | {"y": list(spread.usd_p10), "name": "P10"}, edge | {"y": list(spread.usd_p90), "name": "P90"} | fill]


def _faint(colour: str) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},0.14)"


def _reached(comparison: Comparison) -> list[tuple[Crossover, float]]:
    """Crossovers with a volume, and the cost there. They name machines by their path, an API in words around it."""
    found = []
    for crossover in comparison.crossovers:
        above = crossover.cheaper_above
        path = next((p for p in comparison.paths if above in (p.label, f"API ({p.label})")), None)
        if crossover.tokens_per_month is None or path is None:
            continue
        cost = next(
            (s.usd_per_month.value for s in path.steps if s.tokens_per_month >= crossover.tokens_per_month), None
        )
        if cost is not None:
            found.append((crossover, cost))
    return found


def _crossing_markers(crossed: Sequence[tuple[Crossover, float]]) -> list[Spec]:
    if not crossed:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "crossover",
            "x": [c.tokens_per_month for c, _ in crossed],
            "y": [cost for _, cost in crossed],
            "text": [plain(c.text) for c, _ in crossed],
            "hoverinfo": "text",
            "marker": {"size": 13, "symbol": "circle-open", "color": GREY, "line": {"width": 3}},
        }
    ]


def _crossing_note(crossover: Crossover, cost: float, row: int, axes: Axes) -> Spec:
    volume = crossover.tokens_per_month or 1.0
    return {
        "x": log10(volume) if axes.log_volume else volume,
        "y": log10(cost) if axes.log_usd else cost,
        "text": f"<b>{short_tokens(float(f'{volume:.3g}'))}</b>",
        "showarrow": False,
        "yshift": (18, -18, 34, -34)[row % 4],  # neighbours stand above and below
    }


def _volume_line(asked: float | None, axes: Axes) -> tuple[list[Spec], list[Spec]]:
    if asked is None or asked <= 0:
        return [], []
    line = {"dash": "dot", "width": 1.5, "color": GREY}
    shape = {"type": "line", "x0": asked, "x1": asked, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    at = log10(asked) if axes.log_volume else asked
    note = {"x": at, "y": 1, "yref": "paper", "text": "your volume", "showarrow": False, "yanchor": "top"}
    return [shape], [note | {"xanchor": "right", "xshift": -4}]


def spreads_table(spreads: Sequence[VolumeSpread], columns_shown: int = 7) -> Table:
    """P10 to P90 of each path at a few of the volumes."""
    volumes = sorted({volume for spread in spreads for volume in spread.tokens_per_month})
    step = max(1, (len(volumes) - 1) // max(1, columns_shown - 1))
    chosen = sorted({*volumes[::step], *volumes[-1:]})
    rows = tuple((words(spread.label), *(_range(spread, volume) for volume in chosen)) for spread in spreads)
    headers = ("P10 to P90 a month", *(tokens(volume) for volume in chosen))
    return Table(title=f"P10 to P90 by volume, {shown().words} a month", headers=headers, rows=rows)


def _range(spread: VolumeSpread, volume: float) -> Cell:
    if volume not in spread.tokens_per_month:
        return words("–")
    at = spread.tokens_per_month.index(volume)
    return Cell(text=f"{format_usd(spread.usd_p10[at])} to {format_usd(spread.usd_p90[at])}", basis="assumed")
