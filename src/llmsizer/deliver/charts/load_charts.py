"""The charts of load: each a drawing at any width, words for those who cannot see it, and its table. All simulated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from llmsizer.deliver.charts.load_drawing import DAYS, LINE_STYLES, Axis, Line, Mark, draw_lines, draw_week
from llmsizer.deliver.elements.chart import Chart, Key
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import plain_number
from llmsizer.facts.workload import Slo
from llmsizer.traffic.load_curves import Distribution, Hour, LoadCurve, OccupancySeries, RatePoint
from llmsizer.units import format_seconds

Tail = Literal["TTFT", "TPOT"]
SIMULATED = "simulated"


def tail_of(point: RatePoint, metric: Tail) -> float | None:
    return point.ttft_p95_seconds if metric == "TTFT" else point.tpot_p95_seconds


def limit_of(slo: Slo, metric: Tail) -> float:
    return slo.ttft_p95_seconds if metric == "TTFT" else slo.tpot_p95_seconds


def latency_chart(curves: Sequence[LoadCurve], metric: Tail, slo: Slo, peak: float | None = None) -> Chart:
    """One latency's 95th percentile over the rate, with its limit, what each fleet holds, and the peak hour."""
    limit = limit_of(slo, metric)
    lines = latency_lines(curves, metric)
    values = [y for line in lines for _, y in line.points]
    x_axis, y_axis = latency_axes(curves, metric, [*values, limit])
    marks = [Mark(words=f"{metric} p95 of the SLO, {format_seconds(limit)}", at=limit, upright=False)]
    for index, curve in enumerate(curves):
        held = curve.held.requests_per_second
        marks.append(Mark(words=f"{curve.label} holds {plain_number(held)}/s", at=held, upright=True,
                          css=f"mark {LINE_STYLES[index % len(LINE_STYLES)]}"))  # fmt: skip
    if peak is not None:
        marks.append(Mark(words=f"peak hour {plain_number(peak)}/s", at=peak, upright=True))
    alt = f"{metric} p95 in seconds over requests per second, {SIMULATED}. " + " ".join(
        _holds(curve, peak) for curve in curves
    )
    return Chart(
        title=f"{metric} against the rate",
        alt=alt,
        draw=lambda width: draw_lines(lines, marks, x_axis, y_axis, width, alt),
        table=_latency_table(curves, metric),
        legend=_keys([curve.label for curve in curves]) if len(curves) > 1 else (),
        note="A line ends where the fleet is OVERLOADED: there is no latency to show. "
        f"{metric} p95 of steady demand at each rate, {SIMULATED}.",
    )


def _holds(curve: LoadCurve, peak: float | None) -> str:
    held = curve.held.requests_per_second
    against = "" if peak is None else f", {held / peak:.0%} of the peak hour's {plain_number(peak)}"
    return f"{curve.label}: holds {plain_number(held)} requests/s{against}; {curve.held.limited_by} gives out first."


def latency_lines(curves: Sequence[LoadCurve], metric: Tail) -> list[Line]:
    """Up to the first rate that is OVERLOADED."""
    lines = []
    for index, curve in enumerate(curves):
        known = []
        for point in curve.points:
            value = tail_of(point, metric)
            if value is None or point.verdict == "OVERLOADED":
                break
            known.append((point.requests_per_second, value))
        lines.append(Line(name=curve.label, points=tuple(known), style=index, dots=True))
    return lines


def latency_axes(curves: Sequence[LoadCurve], metric: Tail, seconds: Sequence[float]) -> tuple[Axis, Axis]:
    furthest = max(point.requests_per_second for curve in curves for point in curve.points)
    high = min(max(seconds), 20 * min(seconds[-1:])) * 1.35
    x_axis = Axis(title="requests per second", low=0.0, high=1.03 * furthest, words=plain_number)
    y_axis = Axis(title=f"{metric} p95", low=min(seconds) / 1.3, high=high, words=_tick_seconds, logarithmic=True)
    return x_axis, y_axis


def _latency_table(curves: Sequence[LoadCurve], metric: Tail) -> Table:
    several = len(curves) > 1
    rows = []
    for curve in curves:
        for point in curve.points:
            value = tail_of(point, metric)
            name = f"{plain_number(point.requests_per_second)}/s"
            rows.append(
                (
                    words(f"{curve.label}, {name}" if several else name),
                    words("–" if value is None else format_seconds(value)),
                    words(f"{point.utilisation:.0%}"),
                    words(point.verdict),
                    words("yes" if not point.missed else f"no: {point.missed}"),
                )
            )
    headers = ("Rate", f"{metric} p95", "Replicas step", "Verdict", "SLO held")
    return Table(title=f"{metric} p95 by rate ({SIMULATED})", headers=headers, rows=tuple(rows))


def cdf_chart(found: Sequence[Distribution], slo: Slo, where: str) -> Chart:
    """Share of requests within a time, for TTFT, TPOT and E2E, with the SLO's two limits."""
    lines = [
        Line(name=each.metric, points=tuple(zip(each.seconds, each.share, strict=True)), style=index)
        for index, each in enumerate(found)
    ]
    limits = {"TTFT": slo.ttft_p95_seconds, "TPOT": slo.tpot_p95_seconds}
    marks = [
        Mark(words=f"{each.metric} of the SLO, {format_seconds(limits[each.metric])}", at=limits[each.metric],
             upright=True, css=f"mark {LINE_STYLES[index]}")
        for index, each in enumerate(found)
        if each.metric in limits
    ]  # fmt: skip
    marks.append(Mark(words="95 %", at=0.95, upright=False))
    seconds = [s for each in found for s in each.seconds] + list(limits.values())
    x_axis = Axis(title="seconds, logarithmic", low=min(seconds) / 1.2, high=max(seconds) * 1.2, words=_tick_seconds,
                  logarithmic=True)  # fmt: skip
    y_axis = Axis(title="share of requests within", low=0.0, high=1.0, words=lambda share: f"{share:.0%}")
    alt = f"Cumulative distributions {where}, {SIMULATED}: " + "; ".join(
        f"{each.metric} median {format_seconds(quantile_of(each, 0.5))}, 95 % within "
        f"{format_seconds(quantile_of(each, 0.95))}"
        for each in found
    )
    return Chart(
        title=f"How long requests take, {where}",
        alt=alt,
        draw=lambda width: draw_lines(lines, marks, x_axis, y_axis, width, alt),
        table=_cdf_table(found, limits),
        legend=_keys([each.metric for each in found]),
        note="TTFT = first output token − arrival; TPOT = (end − first token)/(tokens − 1); E2E = end − arrival.",
    )


def quantile_of(found: Distribution, share: float) -> float:
    """Seconds within which a share lies, read off the drawn line."""
    return next((s for s, reached in zip(found.seconds, found.share, strict=True) if reached >= share), math.inf)


def _cdf_table(found: Sequence[Distribution], limits: dict[str, float]) -> Table:
    rows = tuple(
        (
            words(each.metric),
            *(words(format_seconds(quantile_of(each, share))) for share in (0.1, 0.5, 0.9, 0.95)),
            words(f"{each.within(limits[each.metric]):.1%}" if each.metric in limits else "–"),
        )
        for each in found
    )
    headers = ("Latency", "10 % within", "50 % within", "90 % within", "95 % within", "within the SLO's limit")
    return Table(title=f"Distributions ({SIMULATED})", headers=headers, rows=rows)


def week_chart(hours: Sequence[Hour], source: str) -> Chart:
    """Demand as a share of what the fleet holds, by day and hour, with a mark where the SLO is missed."""
    shares, missed = [hour.of_held for hour in hours], [hour.missed for hour in hours]
    busiest = max(range(len(hours)), key=lambda index: hours[index].requests_per_second)
    day, hour = divmod(busiest, 24)
    late = sum(bool(why) for why in missed)
    alt = (
        f"Demand in percent of the rate that the fleet holds within the SLO, by day and hour, {SIMULATED}. Busiest: "
        f"{DAYS[day]} {hour:02d}:00 with {plain_number(hours[busiest].requests_per_second)} requests/s, "
        f"{_percent(shares[busiest])}; the SLO is missed in {late} of {len(hours)} hours; on average "
        f"{_percent(sum(shares) / len(shares))}."
    )
    return Chart(
        title="The hours of a week",
        alt=alt,
        draw=lambda width: draw_week(shares, missed, width, alt),
        table=_week_table(hours),
        note="Numbers are the demand in percent of the rate that the fleet holds within the SLO; an outline and ! say "
        f"that the SLO is missed. Each hour is simulated as a steady demand. Hours: {source}.",
    )


def _percent(share: float) -> str:
    return f"{share:.0%}" if math.isfinite(share) else "more than it ever holds"


def _week_table(hours: Sequence[Hour]) -> Table:
    rows = []
    for day in range(len(hours) // 24):
        of_day = hours[24 * day : 24 * day + 24]
        rates, held = [hour.requests_per_second for hour in of_day], [hour.of_held for hour in of_day]
        at = max(range(24), key=lambda hour: rates[hour])
        rows.append(
            (
                words(DAYS[day] if len(hours) > 24 else "every day"),
                words(plain_number(sum(rates) / 24)),
                words(f"{plain_number(max(rates))} at {at:02d}:00"),
                words(f"{_percent(min(held))}–{_percent(max(held))}"),
                words(f"{sum(hour.utilisation for hour in of_day) / 24:.0%}"),
                words(str(sum(bool(hour.missed) for hour in of_day))),
            )
        )
    headers = ("Day", "Mean requests/s", "Busiest hour", "Of what it holds", "Replicas step", "Hours that miss the SLO")
    return Table(title=f"Demand and use by day ({SIMULATED})", headers=headers, rows=tuple(rows))


def occupancy_charts(series: OccupancySeries) -> tuple[Chart, Chart]:
    """KV cache and batch of one replica over the time of one run."""
    kv = _over_time(series, "KV cache", series.kv_tokens, float(series.kv_capacity_tokens), "tokens stored")
    return kv, _over_time(series, "Batch", series.batch, float(series.max_sequences), "sequences decoding")


def _over_time(series: OccupancySeries, title: str, values: Sequence[float], room: float, unit: str) -> Chart:
    high = max(max(values) * 1.25, 1e-9)
    full = Mark(words=f"room for {plain_number(room)}", at=room, upright=False)
    x_axis = Axis(
        title="hours since the start of the run", low=series.hours[0], high=series.hours[-1], words=plain_number
    )
    y_axis = Axis(title=f"{unit}, one replica", low=0.0, high=high, words=plain_number)
    lines = [Line(name=title, points=tuple(zip(series.hours, values, strict=True)), style=0)]
    mean = sum(values) / len(values)
    said = f"mean {plain_number(mean)}, most {plain_number(max(values))} of {plain_number(room)} {unit}"
    alt = f"{title} of one replica over {series.hours[-1] - series.hours[0]:.3g} hours, {SIMULATED}: {said}."
    rows = tuple(
        (words(name), words(plain_number(value)), words(f"{value / room:.1%}"))
        for name, value in (("Mean", mean), ("Most", max(values)), ("Least", min(values)), ("Room", room))
    )
    return Chart(
        title=f"{title} over time",
        alt=alt,
        draw=lambda width: draw_lines(lines, [full], x_axis, y_axis, width, alt),
        table=Table(title=f"{title} ({SIMULATED})", headers=("", unit, "of its room"), rows=rows),
        note=f"Means of equal pieces of one run, {SIMULATED}: {said}.",
    )


def domains_table(rows: Sequence[tuple[str, int, str, str, str]]) -> Table:
    """What is gone, replicas left, verdict, TTFT p95, TPOT p95."""
    body: tuple[tuple[Cell, ...], ...] = tuple(
        (words(what), words(str(left)), words(verdict), words(ttft), words(tpot))
        for what, left, verdict, ttft, tpot in rows
    )
    return Table(title=f"The peak hour with a part gone ({SIMULATED})",
                 headers=("Gone", "Replicas left", "Verdict", "TTFT p95", "TPOT p95"), rows=body)  # fmt: skip


def _keys(names: Sequence[str]) -> tuple[Key, ...]:
    styles = ("solid", "dashed", "dotted")
    return tuple(
        Key(symbol="", css=f"swatch {LINE_STYLES[index % 3]}", words=f"{name} ({styles[index % 3]})")
        for index, name in enumerate(names)
    )


def _tick_seconds(seconds: float) -> str:
    return f"{seconds * 1e3:g} ms" if seconds < 1 else f"{seconds:g} s"
