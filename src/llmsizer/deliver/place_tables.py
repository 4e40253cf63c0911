"""One question at three places, side by side: what is cheapest on each path, and what the place rules out."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.decide.answer import Plan
from llmsizer.decide.places import AtPlace, Place
from llmsizer.deliver.figures import PATH_COLOURS, Spec, layout_of, plain
from llmsizer.deliver.tables import Cell, Table, figure, words
from llmsizer.facts.figure import Figure
from llmsizer.money.cost import Path
from llmsizer.units import format_usd

PLACE_WORDS: dict[Place, str] = {"any": "Anywhere", "eu": "In the EU", "eu_law": "In the EU, under EU law"}
NOTHING: dict[Path, str] = {
    "own": "nothing to own meets it here",
    "rent": "no offer here that fits",
    "api": "nobody hosts this model",
}
_SYMBOLS = {"own": "square", "rent": "circle", "api": "diamond"}


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
    data = [_trace(path, found) for path in ("own", "rent", "api")]
    return {
        "data": [trace for trace in data if trace["x"]],
        "layout": layout_of(
            320,
            xaxis={"type": "log", "title": {"text": "US dollars a month"}, "fixedrange": True, "tickprefix": "$"},
            yaxis={
                "type": "category",
                "categoryorder": "array",
                "categoryarray": [PLACE_WORDS[at.place] for at in found][::-1],
                "fixedrange": True,
                "automargin": True,
                "range": [-0.6, len(found) - 0.4],
            },
        ),
    }


def _trace(path: Path, found: Sequence[AtPlace]) -> Spec:
    points = [(at, usd) for at in found if (usd := _usd(path, at)) is not None and usd.value]
    values = [usd.value or 0.0 for _, usd in points]
    hollow = [path == "api" and bool(at.why_no_api) for at, _ in points]
    lows, highs = ([end(usd) for _, usd in points] for end in (_low, _high))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": {"own": "own", "rent": "rent", "api": "API (hollow: may not be taken there)"}[path],
        "x": values,
        "y": [PLACE_WORDS[at.place] for at, _ in points],
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - value for high, value in zip(highs, values, strict=True)],
            "arrayminus": [value - low for low, value in zip(lows, values, strict=True)],
            "color": PATH_COLOURS[path],
            "thickness": 1.5,
        },
        "hovertext": [f"{plain(_label(path, at))}: {format_usd(usd.value)} a month" for at, usd in points],
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
        costs = {path: usd for path in ("own", "rent", "api") if (usd := _usd(path, at)) is not None}  # type: ignore[arg-type]
        if at.why_no_api:
            costs.pop("api", None)
        best = min(costs.items(), key=lambda item: item[1].value or float("inf"), default=None)
        said.append(
            f"{PLACE_WORDS[at.place]}: " + ("nothing" if best is None else f"{best[0]} {format_usd(best[1].value)}")
        )
    return "Cheapest a month by place. " + "; ".join(said) + "."
