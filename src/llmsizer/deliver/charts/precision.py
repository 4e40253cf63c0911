"""Formats side by side on the screen: memory, speed over concurrency, quality, dollars and joules."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from llmsizer.decide.precision.choice import PrecisionOption
from llmsizer.decide.precision.crossover import Crossover, concurrencies
from llmsizer.decide.precision.side_by_side import FormatOnGpu, SideBySide
from llmsizer.decide.quality import UNIT as QUALITY_UNIT
from llmsizer.deliver.charts.charts import Bar, Segment
from llmsizer.deliver.charts.colours import GREY, PART_COLOURS
from llmsizer.deliver.charts.figures import LINE_DASHES, MARKERS, Spec, layout_of, plain, stacked
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import MARKS, mark
from llmsizer.deliver.elements.chart import axis_ticks, money_ticks
from llmsizer.deliver.elements.wording import amount, figure_amount, figure_range, size
from llmsizer.deliver.tables.residuals import Check
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Basis
from llmsizer.money.currency import is_money

# The shapes of ``basis.MARKS`` as Plotly names them.
SYMBOLS: dict[Basis, str] = {
    "measured": "circle",
    "calibrated": "diamond",
    "datasheet": "square",
    "price list": "triangle-up",
    "published": "square-open",
    "assumed": "circle-open",
    "unknown": "x-thin-open",
}
TICKS = (1, 4, 16, 64, 256, 1024)
LEFT_THIRD = 0.33  # of an axis: words centred on a point in it would run over the names at its side
Row = tuple[str, Figure]


def format_bars(side: SideBySide) -> tuple[Bar, ...]:
    """What one GPU of each format takes, part by part; what its shape forbids at this width has no bar."""
    budgets = [one.budget for one in side.formats if one.budget is not None]
    taken = {name for budget in budgets for name, value in budget.parts.items() if value > 0} - {"unused"}
    return tuple(_bar(one, taken) for one in side.formats if one.budget is not None)


def _bar(one: FormatOnGpu, taken: set[str]) -> Bar:
    """Parts of nothing stay where another format has them, so that all bars have one order."""
    budget = one.budget
    assert budget is not None, "a format without an account has no bar"
    return Bar(
        label=one.precision,
        segments=tuple(
            Segment(name=name, value=value, basis=budget.basis[name])
            for name, value in budget.parts.items()
            if name in taken
        ),
        end=f"✓ holds {one.held_at_once:,} at once" if budget.fits else "✗ does not fit",
    )


def vram_figure(side: SideBySide) -> Spec:
    """One GPU's memory in each format, with the card's limit as a line."""
    bars = format_bars(side)
    if not bars:
        return {"data": [], "layout": {}}
    figure = stacked(bars, "bytes")
    card = side.gpu.memory_bytes or 0.0
    line: Spec = {"type": "line", "x0": card, "x1": card, "line": {"dash": "dot", "width": 3, "color": GREY}}
    figure["layout"]["shapes"] = [line | {"y0": row - 0.34, "y1": row + 0.34} for row in range(len(bars))]
    figure["layout"]["xaxis"]["range"] = [0, max(card, *(bar.total for bar in bars)) * 1.004]
    return figure


def vram_alt(side: SideBySide) -> str:
    """The bars for those who cannot see them."""
    bars = [f"{b.label}: " + ", ".join(f"{s.name} {size(s.value)}" for s in b.segments) for b in format_bars(side)]
    return f"Memory of one of {side.width} {side.gpu.name}, predicted. {'; '.join(bars)}"


def speed_figure(side: SideBySide) -> Spec:
    """Tokens a second over the reference's at the same concurrency; dotted where the cache holds no more requests."""
    base = side.reference
    if base is None:
        return {"data": [], "layout": {}}
    data: list[Spec] = []
    for index, one in enumerate(side.formats):
        data.extend(_speed_lines(side, one, index))
    ended = _lead_ends(side)
    data += [_rings(ended)] if ended else []
    x_axis = {"title": {"text": "requests at once"}, "type": "log", "tickvals": list(TICKS), "fixedrange": True,
              "ticktext": [f"{tick:,}" for tick in TICKS], "range": [0, log10(TICKS[-1])]}  # fmt: skip
    y_axis = {"title": {"text": f"times as fast as {plain(base.precision)}"}, "rangemode": "tozero", "fixedrange": True}
    layout = layout_of(420, xaxis=x_axis, yaxis=y_axis, annotations=_ring_notes(ended))
    return {"data": data, "layout": layout | {"margin": {"l": 8, "r": 8, "t": 40, "b": 8}}}


def _speed_lines(side: SideBySide, one: FormatOnGpu, index: int) -> list[Spec]:
    ratio = side.speed_up(one)
    if ratio is None or one.tokens_per_second is None:
        return []
    counts = concurrencies()
    held = int((counts <= max(one.held_at_once, 1)).sum())
    colour = PART_COLOURS[index % len(PART_COLOURS)]
    hover = [
        f"{plain(one.precision)}, {count:,.0f} at once: {r:.2f}× ({amount(speed, 'tok/s')}) {mark(one.basis)}"
        + ("" if count <= one.held_at_once else "<br>more than the cache holds")
        for count, r, speed in zip(counts, ratio, one.tokens_per_second, strict=True)
    ]
    common: Spec = {"type": "scatter", "mode": "lines", "legendgroup": one.precision, "hoverinfo": "text"}
    name = f"{plain(one.precision)} {MARKS[one.basis]}"
    every = [
        (slice(0, held), LINE_DASHES[index % 3], 2.5, True),
        (slice(max(held - 1, 0), None), "dot", 1.2, False),
    ]
    return [
        common
        | {
            "name": name,
            "showlegend": is_named,
            "x": counts[part].tolist(),
            "y": ratio[part].tolist(),
            "hovertext": hover[part],
            "line": {"color": colour, "dash": dash, "width": width},
        }
        for part, dash, width, is_named in every
    ]


def _lead_ends(side: SideBySide) -> list[tuple[Crossover, float]]:
    """The crossovers at which the challenger stops leading, with how fast the other is there."""
    counts = concurrencies().tolist()
    by_name = {one.precision: side.speed_up(one) for one in side.formats}
    ended = [(c, by_name.get(c.second)) for c in side.crossovers if c.loses_at is not None and c.lead_alone > 1]
    return [(c, float(line[counts.index(c.loses_at)])) for c, line in ended if line is not None]


def _rings(found: Sequence[tuple[Crossover, float]]) -> Spec:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "crossover",
        "x": [c.loses_at for c, _ in found],
        "y": [y for _, y in found],
        "hovertext": [plain(c.sentence) for c, _ in found],
        "hoverinfo": "text",
        "marker": {"size": 13, "symbol": "circle-open", "color": GREY, "line": {"width": 3}},
    }


def _ring_notes(found: Sequence[tuple[Crossover, float]]) -> list[Spec]:
    """Each ring's words, above and below the lines by turns: on narrow screens neighbours would meet."""
    return [
        {
            "x": log10(c.loses_at or 1),
            "y": y,
            "text": f"{plain(c.second)} leads<br>from {c.loses_at:,}",
            "ax": 0,
            "ay": 46 if index % 2 else -46,
            "arrowcolor": GREY,
            "arrowwidth": 1,
            "arrowhead": 0,
            "standoff": 8,
        }
        for index, (c, y) in enumerate(found)
    ]


def speed_alt(side: SideBySide, sentences: Sequence[str]) -> str:
    """The lines for those who cannot see them."""
    return f"Speed by requests at once on {side.width} {side.gpu.name}, predicted. {' '.join(sentences)}"


def lead_sentences(crossovers: Sequence[Crossover]) -> tuple[str, ...]:
    return tuple(f"{one.sentence}." for one in crossovers)


def forest_figure(rows: Sequence[Row], *, lines: Sequence[tuple[float, str]] = (), starts_at_zero: bool = True) -> Spec:
    """A point with its interval for every row, its shape the basis; ``lines`` are values marked across, with words."""
    known = [(name, figure) for name, figure in rows if figure.value is not None]
    names = [plain(name) for name, _ in rows]
    if not known:
        return {"data": [], "layout": {}}
    ends = [end for _, f in known for end in (f.low, f.value, f.high) if end is not None]
    low, high = min([*ends, *(x for x, _ in lines)]), max([*ends, *(x for x, _ in lines)])
    left = 0.0 if starts_at_zero else low - (high - low or high or 1.0) * 0.1
    data: Spec = {
        "type": "scatter",
        "mode": "markers",
        "x": [f.value for _, f in known],
        "y": [plain(name) for name, _ in known],
        "error_x": _spread([f for _, f in known]),
        "marker": {"symbol": [SYMBOLS[f.basis] for _, f in known], "size": 11, "color": PART_COLOURS[0],
                   "line": {"width": 2, "color": PART_COLOURS[0]}},
        "hovertext": [f"{plain(name)}: {plain(figure_words(f))}" for name, f in known],
        "hoverinfo": "text",
        "showlegend": False,
    }  # fmt: skip
    right = high + (high - left) * 0.06
    notes = [_row_note(name, figure, (left, right)) for name, figure in rows]
    tops = [_line_note(x, text, (x - left) / (right - left), is_first=i == 0) for i, (x, text) in enumerate(lines)]
    return {
        "data": [data],
        "layout": layout_of(
            70 + 46 * len(rows) + (18 if lines else 0),
            margin={"l": 8, "r": 8, "t": 26 if lines else 8, "b": 8},
            xaxis={"fixedrange": True, "range": [left, right], "zeroline": starts_at_zero, "nticks": 5,
                   **_ticks(known[0][1].unit, left, right)},
            yaxis={"automargin": True, "fixedrange": True, "showgrid": False, "type": "category",
                   "categoryorder": "array", "categoryarray": names, "range": [len(names) - 0.5, -0.6]},
            annotations=[*notes, *tops],
            shapes=[_across(x, index) for index, (x, _) in enumerate(lines)],
        ),
    }  # fmt: skip


def _line_note(x: float, text: str, share: float, *, is_first: bool) -> Spec:
    """The words of a line on the side that has room: two lines' words part from one another where they can."""
    at_left = share > 0.3 if is_first else share > 0.75
    place: Spec = {"x": x, "y": 1, "yref": "paper", "showarrow": False, "yanchor": "bottom", "text": plain(text)}
    return place | {"xanchor": "right" if at_left else "left"}


def _ticks(unit: str, left: float, right: float) -> Spec:
    """How the axis writes its numbers."""
    if is_money(unit):
        return axis_ticks(money_ticks(left, right, svg.linear_ticks))
    return {"tickformat": ".0%"} if unit == QUALITY_UNIT else {}


def _spread(figures: Sequence[Figure]) -> Spec:
    return {
        "type": "data",
        "symmetric": False,
        "array": [(f.high if f.high is not None else f.value or 0.0) - (f.value or 0.0) for f in figures],
        "arrayminus": [(f.value or 0.0) - (f.low if f.low is not None else f.value or 0.0) for f in figures],
        "color": GREY,
        "thickness": 2,
    }


def _row_note(name: str, figure: Figure, axis: tuple[float, float]) -> Spec:
    """The number above its point, on the side that has room; an unknown one is said at the left of its row."""
    note: Spec = {"y": plain(name), "showarrow": False, "yanchor": "bottom", "yshift": 7}
    if figure.value is None:
        return note | {"x": 0, "xref": "paper", "xanchor": "left", "text": f"unknown {MARKS['unknown']}"}
    text = f"{figure_amount(figure)} {MARKS[figure.basis]}"
    share = (figure.value - axis[0]) / (axis[1] - axis[0] or 1.0)
    side, shift = ("left", -8) if share < LEFT_THIRD else ("right", 8) if share > 1 - LEFT_THIRD else ("center", 0)
    return note | {"x": figure.value, "xanchor": side, "xshift": shift, "text": plain(text)}


def _across(x: float, index: int) -> Spec:
    line = {"dash": ("dash", "dot")[index % 2], "width": 1.5, "color": GREY}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def figure_words(figure: Figure) -> str:
    """Value, interval and basis in one line; the reason where it is unknown."""
    if figure.value is None:
        return f"unknown: {figure.estimate.reason}"
    between = figure_range(figure)
    return f"{figure_amount(figure)}{f' ({between})' if between else ''} {mark(figure.basis)}"


def forest_alt(what: str, rows: Sequence[Row]) -> str:
    return f"{what}: " + "; ".join(f"{name} {figure_words(figure)}" for name, figure in rows)


def option_rows(side: SideBySide, quantity: str) -> tuple[Row, ...]:
    """One figure of every format that runs, by the name of its field."""
    return tuple((one.precision, _figure(one.option, quantity)) for one in side.formats)


def _figure(option: PrecisionOption, quantity: str) -> Figure:
    found = getattr(option, quantity)
    assert isinstance(found, Figure), f"{quantity} is no figure"
    return found


def checks_figure(checks: Sequence[Check]) -> Spec:
    """Predicted over measured seconds; on the line they agree."""
    known = [check for check in checks if check.measured > 0 and check.predicted > 0]
    if not known:
        return {"data": [], "layout": {}}
    data: list[Spec] = []
    for index, quantity in enumerate(dict.fromkeys(check.quantity for check in known)):
        own = [check for check in known if check.quantity == quantity]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": plain(quantity),
                "x": [check.measured for check in own],
                "y": [check.predicted for check in own],
                "hovertext": [
                    f"{plain(c.what)}<br>{plain(quantity)}: measured {amount(c.measured, c.unit)} {MARKS['measured']}, "
                    f"predicted {amount(c.predicted, c.unit)} {MARKS['calibrated']} ({c.error:+.1%})"
                    for c in own
                ],
                "hoverinfo": "text",
                "marker": {"symbol": MARKERS[index % len(MARKERS)], "size": 9, "color": PART_COLOURS[index]},
            }
        )
    low, high = _decades([value for check in known for value in (check.measured, check.predicted)])
    line = {"type": "line", "x0": low, "y0": low, "x1": high, "y1": high, "line": {"color": GREY, "dash": "dash"}}
    axis: Spec = {"type": "log", "range": [log10(low), log10(high)], "fixedrange": True, "dtick": "D2"}
    return {
        "data": data,
        "layout": layout_of(
            360,
            xaxis=axis | {"title": {"text": f"measured seconds {MARKS['measured']}"}},
            yaxis=axis | {"title": {"text": f"predicted seconds {MARKS['calibrated']}"}},
            shapes=[line | {"layer": "below"}],
        ),
    }


def _decades(values: Sequence[float]) -> tuple[float, float]:
    """A little beyond the least and the largest."""
    return min(values) / 1.3, max(values) * 1.3
