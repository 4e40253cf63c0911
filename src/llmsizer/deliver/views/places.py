"""One question at three places, side by side: what is cheapest on each path, and what the place rules out."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10

from llmsizer.decide.answer import Plan
from llmsizer.decide.places import AtPlace, Place
from llmsizer.deliver.charts.colours import PATH_COLOURS
from llmsizer.deliver.charts.figures import Spec, layout_of, plain
from llmsizer.deliver.elements.chart import axis_ticks, money_ticks
from llmsizer.deliver.elements.tables import Cell, Table, figure, words
from llmsizer.facts.figure import Figure
from llmsizer.money.cost import Path
from llmsizer.money.currency import format_usd, shown

PLACE_WORDS: dict[Place, str] = {"any": "Anywhere", "eu": "In the EU", "eu_law": "In the EU, under EU law"}
NOTHING: dict[Path, str] = {
    "own": "nothing to own meets it here",
    "rent": "no offer here that fits",
    "api": "nobody hosts this model",
}
_SYMBOLS = {"own": "square", "rent": "circle", "api": "diamond"}
_OFFSETS = {"own": -0.22, "rent": 0.0, "api": 0.22}  # of a row, so that no path hides another


def places_table(found: Sequence[AtPlace]) -> Table:
    """Paths down, places across."""
    rows = (
        (words("Own"), *(_plan(at.own, "own") for at in found)),
        (words("Rent"), *(_plan(at.rent, "rent", at.rent_law) for at in found)),
        (words("API of the same model"), *(_api(at) for at in found)),
    )
    headers = ("A month", *(PLACE_WORDS[at.place] for at in found))
    note = (
        "Where data lies and whose law its operator stands under are two filters, by what the price lists say; unknown "
        "is not taken as the EU. Machines of one's own stand where their owner puts them. This is no legal advice."
    )
    return Table(title="Three places side by side", headers=headers, rows=rows, note=note)


def _plan(plan: Plan | None, path: Path, law: str = "") -> Cell:
    if plan is None:
        return words("none", remark=NOTHING[path])
    cell = figure(plan.cost.usd_per_month, strong=True)
    where = f"{plan.label} ({plan.zone})" if path == "rent" else plan.label
    said = "; ".join(text for text in (where, law, cell.remark) if text)
    return Cell(text=cell.text, basis=cell.basis, between=cell.between, remark=said, strong=True)


def _api(at: AtPlace) -> Cell:
    if at.api is None:
        return words("none", remark=NOTHING["api"])
    cell = figure(at.api.usd_per_month)
    why = f"may not be taken: {at.why_no_api}" if at.why_no_api else ""
    said = "; ".join(text for text in (at.api.label, why, cell.remark) if text)
    return Cell(text=cell.text, basis=cell.basis, between=cell.between, remark=said)


def places_figure(found: Sequence[AtPlace]) -> Spec:
    """Dollars a month of each path at each place, with their ranges; what may not be taken is hollow."""
    data = [trace for trace in (_trace(path, found) for path in ("own", "rent", "api")) if trace["x"]]
    ends = [
        x + way * reach for trace in data for x, up, down in _reaches(trace) for way, reach in ((1, up), (-1, down))
    ]
    low, high = min(ends, default=1.0) / 1.2, max(ends, default=10.0) * 1.2
    layout = layout_of(
        340,
        xaxis={
            "type": "log",
            "title": {"text": f"{shown().words} a month, low to high"},
            "range": [log10(low), log10(high)],
            **axis_ticks(money_ticks(low, high, _round_numbers)),
            "fixedrange": True,
        },
        yaxis={
            "tickvals": list(range(len(found))),
            "ticktext": [PLACE_WORDS[at.place] for at in found],
            "fixedrange": True,
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "range": [len(found) - 0.5, -0.5],
        },
    )
    layout["legend"]["y"] = -0.3
    return {"data": data, "layout": layout}


def _reaches(trace: Spec) -> list[tuple[float, float, float]]:
    bars = trace["error_x"]
    return list(zip(trace["x"], bars["array"], bars["arrayminus"], strict=True))


def _round_numbers(low: float, high: float) -> list[float]:
    """Decades, where there are two or more of them; else 1, 2 and 5 of each."""
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    tens = [10.0**d for d in decades if low <= 10.0**d <= high]
    return tens if len(tens) > 1 else [s for d in decades for m in (1, 2, 5) if low <= (s := m * 10.0**d) <= high]


def _trace(path: Path, found: Sequence[AtPlace]) -> Spec:
    rows = [(row, at, usd) for row, at in enumerate(found) if (usd := _usd(path, at)) is not None and usd.value]
    values = [usd.value or 0.0 for *_, usd in rows]
    hollow = [path == "api" and bool(at.why_no_api) for _, at, _ in rows]
    lows, highs = ([end(usd) for *_, usd in rows] for end in (_low, _high))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": {"own": "own", "rent": "rent", "api": "API (hollow: may not be taken there)"}[path],
        "x": values,
        "y": [row + _OFFSETS[path] for row, *_ in rows],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for high, value in zip(highs, values, strict=True)],
            "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
            "color": PATH_COLOURS[path],
            "thickness": 1.5,
        },
        "hovertext": [f"{plain(_label(path, at))}: {format_usd(usd.value)} a month" for _, at, usd in rows],
        "hoverinfo": "text",
        "marker": {
            "symbol": [f"{_SYMBOLS[path]}-open" if is_hollow else _SYMBOLS[path] for is_hollow in hollow],
            "size": 13,
            "color": PATH_COLOURS[path],
            "line": {"width": 2, "color": PATH_COLOURS[path]},
        },
    }


def _usd(path: Path, at: AtPlace) -> Figure | None:
    cost = at.api if path == "api" else None
    plan = {"own": at.own, "rent": at.rent}.get(path)
    cost = plan.cost if plan is not None else cost
    return None if cost is None else cost.usd_per_month


def _label(path: Path, at: AtPlace) -> str:
    plan = {"own": at.own, "rent": at.rent}.get(path)
    if plan is not None:
        return plan.label
    return "" if at.api is None else at.api.label


def _low(usd: Figure) -> float:
    return (usd.value or 0.0) if usd.low is None else usd.low


def _high(usd: Figure) -> float:
    return (usd.value or 0.0) if usd.high is None else usd.high


def places_alt(found: Sequence[AtPlace]) -> str:
    """Each place's cheapest that may be taken there."""
    said = []
    for at in found:
        costs = {path: usd for path in ("own", "rent", "api") if (usd := _usd(path, at)) is not None}
        if at.why_no_api:
            costs.pop("api", None)
        best = min(costs.items(), key=lambda item: item[1].value or float("inf"), default=None)
        said.append(
            f"{PLACE_WORDS[at.place]}: " + ("nothing" if best is None else f"{best[0]} {format_usd(best[1].value)}")
        )
    return "Cheapest a month by place. " + "; ".join(said) + "."
