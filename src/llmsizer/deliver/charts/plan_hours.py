"""One plan through its week and with parts gone, for the screen: hours as a heat map, and what the peak hour keeps."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from llmsizer.decide.plan_load import PlanLoad, SimulatedLoad
from llmsizer.deliver.charts.colours import BLUE, HEAT, ORANGE, WORDS_ON_MARKS
from llmsizer.deliver.charts.load_charts import SIMULATED
from llmsizer.deliver.charts.load_drawing import DAYS
from llmsizer.deliver.charts.plan_latency import Spec, held_cell, note, simulated_seconds, stroke
from llmsizer.deliver.elements.tables import Cell, Table, figure, words
from llmsizer.deliver.elements.wording import plain_number
from llmsizer.traffic.closed_load import ClosedLoss, SteadyHour
from llmsizer.traffic.load_curves import Hour
from llmsizer.traffic.service import Service


def week_figure(hours: Sequence[SteadyHour] | Sequence[Hour]) -> Spec:
    """Demand in percent of what the fleet holds within the SLO, hours down and days across; ! where it is missed."""
    cells = [[hours[24 * day + hour] for day in range(len(hours) // 24)] for hour in range(24)]
    heat = {
        "type": "heatmap",
        "x": list(DAYS[: len(hours) // 24]),
        "y": [f"{hour:02d}" for hour in range(24)],
        "z": [[_finite(each.of_held) for each in row] for row in cells],
        "text": [[_cell(each) for each in row] for row in cells],
        "customdata": [[[each.requests_per_second, each.missed or "held"] for each in row] for row in cells],
        "texttemplate": "%{text}",
        "hovertemplate": "%{x} %{y}:00<br>%{customdata[0]:,.3~r} requests/s<br>%{text} % of what the fleet holds<br>"
        "SLO: %{customdata[1]}<extra></extra>",
        "colorscale": HEAT,
        "textfont": {"color": WORDS_ON_MARKS},
        "zmin": 0,
        "zmax": 1,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
    }
    layout: Spec = {
        "height": 580,
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "dragmode": False,
        "xaxis": {"side": "top", "fixedrange": True, "showgrid": False},
        "yaxis": {
            "autorange": "reversed",
            "fixedrange": True,
            "showgrid": False,
            "title": {"text": "hour of the day"},
            "dtick": 3,
            "type": "category",
        },
    }
    return {"data": [heat], "layout": layout}


def _finite(share: float) -> float:
    return share if isfinite(share) else 1.0


def _cell(hour: SteadyHour | Hour) -> str:
    share = 100 * hour.of_held
    number = "" if not isfinite(share) else "<1" if 0 < share < 1 else f"{share:.0f}"
    return f"{number}{'!' if hour.missed else ''}"


def week_alt(hours: Sequence[SteadyHour] | Sequence[Hour], how: str) -> str:
    """The busiest hour, the mean, and how many miss the SLO."""
    shares = [_finite(hour.of_held) for hour in hours]
    busiest = max(range(len(hours)), key=lambda at: hours[at].requests_per_second)
    day, hour = divmod(busiest, 24)
    late = sum(bool(each.missed) for each in hours)
    return (
        f"Demand in percent of the rate that the fleet holds within the SLO, by day and hour, {how}. Busiest: "
        f"{DAYS[day]} {hour:02d}:00 with {plain_number(hours[busiest].requests_per_second)} requests/s, "
        f"{_percent(shares[busiest])}; on average {_percent(sum(shares) / len(shares))}; the SLO is missed "
        f"in {late} of {len(hours)} hours."
    )


def week_table(hours: Sequence[SteadyHour] | Sequence[Hour], how: str) -> Table:
    """A row for each day."""
    rows = []
    for day in range(len(hours) // 24):
        of_day = hours[24 * day : 24 * day + 24]
        rates, shares = [hour.requests_per_second for hour in of_day], [hour.of_held for hour in of_day]
        at = max(range(24), key=lambda hour: rates[hour])
        rows.append(
            (
                words(DAYS[day]),
                words(f"{plain_number(sum(rates) / 24)}/s"),
                words(f"{plain_number(max(rates))}/s at {at:02d}:00"),
                words(f"{_percent(min(shares))} to {_percent(max(shares))}"),
                words(str(sum(bool(hour.missed) for hour in of_day))),
            )
        )
    headers = ("Day", "Mean", "Busiest hour", "Of what the fleet holds", "Hours that miss the SLO")
    return Table(title=f"Demand by day ({how})", headers=headers, rows=tuple(rows))


def _percent(share: float) -> str:
    if not isfinite(share):
        return "more than it ever holds"
    return "< 1 %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


# parts gone -----------------------------------------------------------------------------------------------------------


def losses_table(load: PlanLoad, simulated: SimulatedLoad | None = None) -> Table:
    """The peak hour with nothing, one replica and one host gone: what is left, and whether the SLO holds."""
    rows = [_loss_row(lost) for lost in load.losses]
    if simulated is not None:
        gone: list[tuple[str, int, Service | None]] = [("nothing", load.fleet.replicas, simulated.peak)]
        gone += [(lost.what.removesuffix(" down"), lost.replicas_left, lost.service) for lost in simulated.losses]
        for what, left, service in gone:
            tails = [None, None] if service is None else [service.row(m).p95.value for m in ("TTFT", "TPOT")]
            verdict = "nothing is left to serve" if service is None else service.verdict
            missed = verdict if service is None else service.missed
            rows.append(
                (
                    words(what, remark=SIMULATED),
                    words(f"{left} of {load.fleet.replicas}"),
                    words(verdict, remark=SIMULATED),
                    *(simulated_seconds(seconds) for seconds in tails),
                    held_cell(missed),
                )
            )
    headers = ("Gone", "Replicas left", "Verdict", "TTFT p95", "TPOT p95", "SLO held")
    return Table(title="The peak hour with a part gone", headers=headers, rows=tuple(rows))


def _loss_row(lost: ClosedLoss) -> tuple[Cell, ...]:
    left = words(str(lost.replicas_left))
    if lost.point is None:
        nothing = "nothing is left to serve"
        return words(lost.what), left, words(nothing), words("–"), words("–"), held_cell(nothing)
    each = lost.point.each
    tails = [words("–"), words("–")]
    if each.verdict == "STABLE":
        tails = [figure(each.ttft_p95), figure(each.tpot_p95)]
    load = words(each.verdict, remark=f"ρ = {each.utilisation:.0%}".replace("%", " %"))
    return words(lost.what), left, load, *tails, held_cell(lost.point.missed)


def losses_figure(load: PlanLoad) -> Spec:
    """ρ of the peak hour with a part gone, against what the SLO allows and against saturation."""
    names = [f"{lost.what} gone" for lost in load.losses]
    shares = [None if lost.point is None else lost.point.each.utilisation for lost in load.losses]
    allowed = load.curve.held_requests_per_second / load.curve.saturated_requests_per_second
    highest = max([1.15, *(share * 1.15 for share in shares if share is not None)])
    said = [_loss_words(lost) for lost in load.losses]
    bar = {
        "type": "bar",
        "orientation": "h",
        "x": [share or 0.0 for share in shares],
        "y": list(range(len(names))),
        "width": 0.4,
        "marker": {
            "color": [BLUE if lost.holds_slo else ORANGE for lost in load.losses],
            "pattern": {"shape": ["" if lost.holds_slo else "/" for lost in load.losses], "fillmode": "overlay"},
        },
        "hovertext": said,
        "hoverinfo": "text",
        "showlegend": False,
    }
    notes: list[Spec] = []
    place = {"xref": "paper", "yanchor": "bottom", "yshift": 12}
    for row, (name, text) in enumerate(zip(names, said, strict=True)):
        notes.append(note(name, x=0, y=row, xanchor="left", **place))
        notes.append(note(f"<b>{text}</b>", x=1, y=row, xanchor="right", **place))
    shapes = [stroke(x0=at, x1=at, y0=0, y1=1, yref="paper", layer="below") for at in (allowed, 1.0)]
    layout: Spec = {
        "height": 90 + 60 * len(names),
        "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
        "dragmode": False,
        "xaxis": {
            "title": {"text": "load of what is left (ρ); OVERLOADED from 1"},
            "range": [0, highest],
            "tickvals": [0, allowed, 1.0],
            "ticktext": ["0", "SLO", "1"],
            "tickangle": 0,
            "fixedrange": True,
        },
        "yaxis": {"visible": False, "fixedrange": True, "range": [len(names) - 0.5, -0.8]},
        "shapes": shapes,
        "annotations": notes,
    }
    return {"data": [bar], "layout": layout}


def _loss_words(lost: ClosedLoss) -> str:
    if lost.point is None:
        return "nothing is left"
    state = "SLO held" if lost.holds_slo else f"SLO missed: {lost.point.missed}"
    return f"{lost.replicas_left} left, {state}"


def losses_alt(load: PlanLoad) -> str:
    return "The peak hour, closed form. " + "; ".join(f"{x.what} gone: {_loss_words(x)}" for x in load.losses) + "."
