"""How sure an answer is, as a page or a screen shows it: bands of each path, odds, tornado, what to measure first.

Tables and drawings for the report, Plotly specifications for the screen, all from one ``Uncertainty``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any

from llmsizer.decide.certainty.drivers import driver_words
from llmsizer.decide.certainty.uncertainty import share_text
from llmsizer.deliver.charts.colours import BLUE, GREY, ORANGE, PATH_COLOURS, WORDS_ON_MARKS
from llmsizer.deliver.charts.figures import Spec, in_lines, plain
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.chart import Chart, Key, axis_ticks, money_ticks
from llmsizer.deliver.elements.confidence import PATH_WORDS
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import from_to
from llmsizer.facts.provenance import Basis
from llmsizer.money.cost import Path
from llmsizer.money.currency import format_usd, shown
from llmsizer.money.spread import Bar, PathSpread, Uncertainty

SHOWN_BARS, SHOWN_MEASUREMENTS = 8, 6
LEAST_SHARE = 1e-3  # of the cost: a driver that moves it less is not worth a bar, nor knowing it a line
LEAST_VARIANCE = 0.01  # of the spread
_ROW_CHARACTERS = 54  # above a bar on the narrowest screen, name and figures together
_DRAWN: Basis = "assumed"  # draws are no surer than the ranges they are taken from
_LOW, _HIGH = BLUE, ORANGE  # a driver at its low and at its high end


@dataclass(frozen=True, slots=True, kw_only=True)
class CostBand:
    """One path's cost over the draws, in dollars a month; ``odds`` says how often it is the one to take."""

    path: Path
    label: str
    usd_p10: float
    usd_p50: float
    usd_p90: float
    odds: str
    is_recommended: bool


def cost_bands(sure: Uncertainty) -> tuple[CostBand, ...]:
    """P10, P50 and P90 of every path that was drawn and has a price, cheapest in the middle first."""
    found = [
        CostBand(
            path=one.path,
            label=one.label,
            usd_p10=one.usd_p10,
            usd_p50=one.usd_p50,
            usd_p90=one.usd_p90,
            odds=win_text(one),
            is_recommended=one.label == sure.recommended,
        )
        for one in sure.paths
        if one.usd_p50 == one.usd_p50  # not a number: a price is missing
    ]
    return tuple(sorted(found, key=lambda band: band.usd_p50))


def win_text(one: PathSpread) -> str:
    """How probable it is that a path is the cheapest that may be taken: ``75 %``; ``out`` where it may not be."""
    if one.why_not:
        return "out"
    return "unknown" if one.wins is None else share_text(one.wins)


# tables ---------------------------------------------------------------------------------------------------------------


def win_table(sure: Uncertainty) -> Table:
    """Each path: its P10, P50 and P90, how often it meets the SLO, and how probable it is that it is the cheapest."""
    rows = tuple(_win_row(one, is_taken=one.label == sure.recommended) for one in sure.paths)
    headers = ("Path", "P10 a month", "P50", "P90", "Within the SLO", "Probability to be the cheapest")
    none = f" In {share_text(sure.none_within_slo)} none meets the SLO." if sure.none_within_slo else ""
    note = f"Over {sure.draws:,} draws, seed {sure.seed}.{none} {' '.join(f'{_capital(n)}.' for n in sure.notes[1:])}"
    return Table(title="How sure, path by path", headers=headers, rows=rows, note=note.strip())


def _win_row(one: PathSpread, *, is_taken: bool) -> tuple[Cell, ...]:
    usd = (Cell(text=format_usd(value), basis=_DRAWN) for value in (one.usd_p10, one.usd_p50, one.usd_p90))
    served = words("not listed") if one.path == "api" else Cell(text=share_text(one.within_slo), basis=_DRAWN)
    odds = words("out", remark=one.why_not) if one.why_not else Cell(text=win_text(one), basis=_DRAWN, strong=is_taken)
    return words(one.label, strong=is_taken, remark="recommended" if is_taken else ""), *usd, served, odds


def shown_bars(sure: Uncertainty) -> tuple[Bar, ...]:
    """The drivers that move the recommended path's cost most, widest first."""
    return _moving_bars(sure)[:SHOWN_BARS]


def _moving_bars(sure: Uncertainty) -> tuple[Bar, ...]:
    return tuple(bar for bar in sure.tornado if bar.width_usd > LEAST_SHARE * abs(bar.usd_at_high))


def tornado_table(sure: Uncertainty) -> Table:
    """Each driver alone from its low to its high: what the recommended path then costs, and which path is cheapest."""
    bars = shown_bars(sure)
    rows = tuple(
        (
            words(_capital(driver_words(bar.driver))),
            Cell(text=from_to(bar.low, bar.high, bar.unit), basis=_DRAWN),
            Cell(text=format_usd(bar.usd_at_low), basis=_DRAWN),
            Cell(text=format_usd(bar.usd_at_high), basis=_DRAWN),
            words(_cheapest(bar, sure)),
        )
        for bar in bars
    )
    headers = ("Moved alone", "From – to", "A month at its low", "A month at its high", "Cheapest then")
    left = len(_moving_bars(sure)) - len(bars)
    note = f"{left} more move it less." if left else ""
    return Table(title=f"What moves {sure.recommended}", headers=headers, rows=rows, note=note)


def _cheapest(bar: Bar, sure: Uncertainty) -> str:
    """Empty of news where the answer stays; else which path takes over, and at which end."""
    ends = [("low", bar.cheapest_at_low), ("high", bar.cheapest_at_high)]
    turned = [f"at its {end}: {label}" for end, label in ends if label and label != sure.recommended]
    return "; ".join(turned) or "the same path"


def information_table(sure: Uncertainty) -> Table:
    """What is most worth measuring: what knowing it would save before choosing, and its part in the spread."""
    least = LEAST_SHARE * sure.taken.usd_mean
    worth = [one for one in sure.information if one.usd_per_month > least or one.variance_share >= LEAST_VARIANCE]
    rows = tuple(
        (
            words(_capital(one.measurement)),
            words(driver_words(one.driver)),
            Cell(text=format_usd(one.usd_per_month), basis=_DRAWN)
            if one.usd_per_month > least
            else words("nothing", remark="it changes no choice"),
            Cell(text=share_text(one.variance_share), basis=_DRAWN),
        )
        for one in worth[:SHOWN_MEASUREMENTS]
    )
    headers = ("Measure or ask", "It settles", "Worth a month, before choosing", "Its part of the spread")
    all_of_it = format_usd(sure.perfect_information_usd_per_month)
    note = f"To know everything before choosing would save {all_of_it} a month on average: no measuring is worth more."
    return Table(title="What to measure first", headers=headers, rows=rows, note=note)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# drawings for the page ------------------------------------------------------------------------------------------------


def bands_chart(sure: Uncertainty) -> Chart:
    """P10 to P90 of each path as a bar with its median, on one logarithmic axis of dollars a month."""
    bands = cost_bands(sure)
    alt = f"{shown().words} a month, P10 to P90. " + "; ".join(_band_words(band) for band in bands)
    return Chart(
        title="What each path may cost",
        alt=alt,
        draw=lambda width: _draw_bands(bands, width, alt),
        table=win_table(sure),
    )


def _band_words(band: CostBand) -> str:
    usd = f"{format_usd(band.usd_p10)} to {format_usd(band.usd_p90)}, half below {format_usd(band.usd_p50)}"
    return f"{band.label}: {usd}, cheapest: {band.odds}"


def _usd_axis(values: Sequence[float]) -> tuple[float, float]:
    positive = [value for value in values if value > 0]
    low, high = min(positive, default=1.0), max(positive, default=10.0)
    return low / 1.15, max(high * 1.15, low * 2)


def _draw_bands(bands: Sequence[CostBand], width: float, alt: str) -> str:
    low, high = _usd_axis([usd for band in bands for usd in (band.usd_p10, band.usd_p90)])
    x = svg.Scale(low=low, high=high, start=4, end=width - 4, logarithmic=True)
    body: list[str] = []
    top = 4.0
    for band in bands:
        said = f"cheapest: {band.odds}" if band.odds not in ("out", "unknown") else band.odds
        body.append(
            svg.text(0, top + 12, svg.shortened(band.label, width - svg.text_width(said) - 16), css="bar-label")
        )
        body.append(svg.text(width, top + 12, said, css="bar-end", anchor="end"))
        left, right = x(max(band.usd_p10, low)), x(max(band.usd_p90, low))
        tip = f"{MARKS[_DRAWN]} {_band_words(band)}"
        body.append(svg.rect(left, top + 20, max(right - left, 2), 16, fill=f"var(--{band.path})", title=tip))
        middle = x(max(band.usd_p50, low))
        body.append(svg.line(middle, top + 17, middle, top + 39, "whisker"))
        top += 50
    return svg.document(width, top + 22, alt, [*body, *_ticks(x, top)])


def _ticks(x: svg.Scale, top: float) -> list[str]:
    body = [svg.line(x.start, top, x.end, top, "tick")]
    for tick in money_ticks(x.low, x.high, _few_decades if x.logarithmic else _rounded):
        at = x(tick.at_usd)
        body.append(svg.line(at, top, at, top + 5, "tick"))
        body.append(svg.text(at, top + 18, tick.words, css="axis", anchor="middle"))
    return body


def _few_decades(low: float, high: float) -> list[float]:
    """Powers of ten; the ends and the middle where there is not more than one."""
    tens = svg.decades(low, high)
    return tens if len(tens) > 1 else _within([low, (low * high) ** 0.5, high], low, high)


def _rounded(low: float, high: float) -> list[float]:
    return _within(svg.linear_ticks(low, high), low, high)


def _within(values: Sequence[float], low: float, high: float) -> list[float]:
    """In two figures, as long as they stay between the bounds."""
    rounded = [float(f"{value:.2g}") for value in values]
    return [value for value in rounded if low <= value <= high] or rounded[:1]


def tornado_chart(sure: Uncertainty) -> Chart:
    """The recommended path's cost with each driver alone at its low and its high, widest first."""
    bars = shown_bars(sure)
    alt = f"{shown().words} a month of {sure.recommended}, one driver moved at a time. " + "; ".join(
        f"{driver_words(bar.driver)}: {format_usd(bar.usd_at_low)} to {format_usd(bar.usd_at_high)}" for bar in bars
    )
    return Chart(
        title="What moves its cost most, one at a time",
        alt=alt,
        draw=lambda width: _draw_tornado(bars, _middle_usd(sure.tornado), width, alt),
        table=tornado_table(sure),
        legend=(
            Key(symbol="", css="swatch line-own", words="the driver at its low end"),
            Key(symbol="", css="swatch line-rent", words="at its high end"),
        ),
        note="The upright line is its cost with everything in the middle; numbers stand at both ends of a bar, that of "
        "the driver's low end first.",
    )


def _middle_usd(bars: Sequence[Bar]) -> float:
    """The cost with all in the middle: every bar holds it, and the narrowest hold little else."""
    low = max(min(bar.usd_at_low, bar.usd_at_high) for bar in bars)
    high = min(max(bar.usd_at_low, bar.usd_at_high) for bar in bars)
    return (low + high) / 2


def _draw_tornado(bars: Sequence[Bar], middle_usd: float, width: float, alt: str) -> str:
    if not bars:
        return svg.document(width, 20, alt, [])
    ends = [usd for bar in bars for usd in (bar.usd_at_low, bar.usd_at_high)]
    x = svg.Scale(low=min(ends), high=max(ends), start=4, end=width - 4)
    middle = x(middle_usd)
    body: list[str] = []
    top = 4.0
    for bar in bars:
        said = f"{format_usd(bar.usd_at_low)} – {format_usd(bar.usd_at_high)}"
        room = width - svg.text_width(said) - 16
        body.append(svg.text(0, top + 12, svg.shortened(driver_words(bar.driver), room), css="bar-label"))
        body.append(svg.text(width, top + 12, said, css="bar-end", anchor="end"))
        for usd, colour in ((bar.usd_at_low, "var(--own)"), (bar.usd_at_high, "var(--rent)")):
            left, right = sorted((middle, x(usd)))
            body.append(svg.rect(left, top + 20, right - left, 14, fill=colour, title=f"{MARKS[_DRAWN]} {said}"))
        top += 46
    body.append(svg.line(middle, 4, middle, top, "own-volume"))
    return svg.document(width, top + 22, alt, [*body, *_ticks(x, top)])


# figures for the screen -----------------------------------------------------------------------------------------------


def _layout(rows: int, **extra: Any) -> Spec:
    base: Spec = {
        "height": 92 + 64 * rows,
        "margin": {"l": 8, "r": 8, "t": 30, "b": 8},
        "hovermode": "closest",
        "dragmode": False,
        "yaxis": {"visible": False, "fixedrange": True, "range": [rows - 0.4, -0.8]},
        "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.0, "x": 0},
    }
    return base | extra


def _above(row: int, text: str, *, right: bool = False) -> Spec:
    """Words above a bar, so that narrow screens keep the whole width for it."""
    place = {"xref": "paper", "showarrow": False, "yanchor": "bottom", "yshift": 9, "y": row, "align": "left"}
    return place | {"x": float(right), "xanchor": "right" if right else "left", "text": text}


def bands_figure(sure: Uncertainty) -> Spec:
    """P10 to P90 of each path on a logarithmic axis, the median marked, its odds at the right."""
    bands = cost_bands(sure)
    rows = list(range(len(bands)))
    hover = [f"{plain(_band_words(band))} {MARKS[_DRAWN]}" for band in bands]
    colours = [PATH_COLOURS[band.path] for band in bands]
    data: list[Spec] = [
        {
            "type": "bar",
            "orientation": "h",
            "base": [band.usd_p10 for band in bands],
            "x": [band.usd_p90 - band.usd_p10 for band in bands],
            "y": rows,
            "width": 0.34,
            "marker": {"color": colours, "line": {"width": 0}},
            "hovertext": hover,
            "hoverinfo": "text",
            "showlegend": False,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [band.usd_p50 for band in bands],
            "y": rows,
            "marker": {"symbol": "line-ns", "size": 13, "line": {"width": 3, "color": WORDS_ON_MARKS}},
            "hovertext": hover,
            "hoverinfo": "text",
            "showlegend": False,
        },
    ]
    notes = [_above(row, in_lines(band.label, _ROW_CHARACTERS - len(_odds(band)))) for row, band in enumerate(bands)]
    notes += [_above(row, f"<b>{plain(_odds(band))}</b>", right=True) for row, band in enumerate(bands)]
    low, high = _usd_axis([usd for band in bands for usd in (band.usd_p10, band.usd_p90)])
    axis: Spec = {"type": "log", "title": {"text": f"{shown().words} a month, P10 to P90"}, "fixedrange": True}
    axis |= {"range": [log10(low), log10(high)], **axis_ticks(money_ticks(low, high, _log_ticks))}
    return {"data": data, "layout": _layout(len(bands), xaxis=axis, annotations=notes, barmode="overlay")}


def _log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten; with 2 and 5 of each where there would be few."""
    tens = svg.decades(low, high)
    if len(tens) > 2:
        return tens
    finer = [m * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for m in (1, 2, 5)]
    return [tick for tick in finer if low <= tick <= high] or [float(f"{low:.2g}")]


def _odds(band: CostBand) -> str:
    word = PATH_WORDS[band.path]
    return f"{word}: {band.odds}" if band.odds in ("out", "unknown") else f"{word} wins: {band.odds}"


def tornado_figure(sure: Uncertainty) -> Spec:
    """The recommended path's cost with each driver alone at its low and at its high end, widest first."""
    bars = shown_bars(sure)
    if not bars:
        return {"data": [], "layout": _layout(0)}
    middle = _middle_usd(sure.tornado)
    data = [
        _tornado_trace(bars, [bar.usd_at_low for bar in bars], "at its low end", _LOW, middle, ""),
        _tornado_trace(bars, [bar.usd_at_high for bar in bars], "at its high end", _HIGH, middle, "/"),
    ]
    ends = [f"{format_usd(bar.usd_at_low)} – {format_usd(bar.usd_at_high)}" for bar in bars]
    notes: list[Spec] = []
    for row, (bar, end) in enumerate(zip(bars, ends, strict=True)):
        name = in_lines(driver_words(bar.driver), _ROW_CHARACTERS - len(end))
        notes += [_above(row, name), _above(row, end, right=True)]
    line = {"dash": "dot", "width": 1.5, "color": GREY}
    shape = {"type": "line", "x0": middle, "x1": middle, "y0": 0, "y1": 1, "yref": "paper", "line": line}
    reached = [usd for bar in bars for usd in (bar.usd_at_low, bar.usd_at_high)]
    axis = {"title": {"text": f"{shown().words} a month"}, "fixedrange": True}
    axis |= axis_ticks(money_ticks(min(reached), max(reached), svg.linear_ticks))
    layout = _layout(len(bars), xaxis=axis, annotations=notes, shapes=[shape], barmode="overlay")
    return {"data": data, "layout": layout}


def _tornado_trace(
    bars: Sequence[Bar], usd: Sequence[float], name: str, colour: str, middle: float, pattern: str
) -> Spec:
    hover = [
        f"{plain(driver_words(bar.driver))}: {plain(from_to(bar.low, bar.high, bar.unit))}"
        f"<br>{name}: {format_usd(value)} a month {MARKS[_DRAWN]}"
        for bar, value in zip(bars, usd, strict=True)
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "name": name,
        "base": [middle] * len(bars),
        "x": [value - middle for value in usd],
        "y": list(range(len(bars))),
        "width": 0.34,
        "marker": {"color": colour, "line": {"width": 0}, "pattern": {"shape": pattern, "fillmode": "overlay"}},
        "hovertext": hover,
        "hoverinfo": "text",
    }
