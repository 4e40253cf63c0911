"""From drivers with ranges to the parts of a bill: value, low and high, source and date of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.figure import Figure, exact, unknown, weakest_basis
from llmsizer.facts.provenance import Basis, Estimate
from llmsizer.money.cost import USD_PER_MONTH, CostPart, with_vat
from llmsizer.money.drivers import UNKNOWN, ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import Line, lines_of

Drivers = TypeVar("Drivers", OwnDrivers, RentDrivers, ApiDrivers)


def mid(figure: Figure) -> float:
    """The value for a driver; NaN where it is unknown."""
    return UNKNOWN if figure.value is None else figure.value


def counted(value: float, unit: str = "") -> Figure:
    """A driver that is known exactly: a count, a choice of the scenario."""
    return exact(value, unit, "published", "the scenario")


Written = dict[tuple[object, ...], CostPart]
"""Lines that were written out before, by whose figures they are, name, and the values of their drivers."""


def bill_parts(
    drivers: Drivers,
    figures: Mapping[str, Figure],
    how: Mapping[str, str],
    *,
    vat_rate: float = 0.0,
    written: Written | None = None,
    whose: tuple[object, ...] = (),
) -> tuple[CostPart, ...]:
    """The lines of a bill that apply. ``figures`` are the drivers that have a range or a source, by name.

    A line that needs an unknown driver is unknown, with the reason; a line of nothing at all is left out. What bills
    have in common is looked up in ``written``; ``whose`` tells figures apart that bear one name.
    """
    parts: list[CostPart] = []
    lines: tuple[Line, ...] = lines_of(drivers)
    for line in lines:
        used: list[object] = [getattr(drivers, name) for name in line.uses]
        key = (*whose, line.name, *used)
        part = None if written is None else written.get(key)
        if part is None:
            part = _part(line, drivers, figures)
            if written is not None:
                written[key] = part
        parts.append(replace(part, how=how.get(line.name, "")))
    shown: list[CostPart] = [
        part for part in parts if part.usd_per_month.value != 0 or part.usd_per_month.high not in (0, None)
    ]
    return with_vat(shown, vat_rate)


def _part(line: Line, drivers: Drivers, figures: Mapping[str, Figure]) -> CostPart:
    used = {name: figures[name] for name in line.uses if name in figures}
    value = float(np.asarray(line.usd(drivers)))
    if np.isnan(value):
        reasons = [figure.estimate.reason for figure in used.values() if figure.value is None]
        gap = unknown("; ".join(dict.fromkeys(reasons)) or f"{line.name}: no price", USD_PER_MONTH)
        return CostPart(name=line.name, usd_per_month=gap, sunk=line.sunk, taxed=line.taxed)
    low, high = _extremes(line, drivers, used)
    dated = figures.get(line.dated_by) or next(iter(used.values()), counted(0.0))
    bases: list[Basis] = [figure.basis for figure in used.values() if figure.value is not None]
    estimate = Estimate(value=value, low=min(low, value), high=max(high, value), basis=weakest_basis(bases))
    figure = Figure(estimate=estimate, unit=USD_PER_MONTH, source=dated.source, as_of=dated.as_of, stale=dated.stale)
    return CostPart(name=line.name, usd_per_month=figure, sunk=line.sunk, taxed=line.taxed)


def _extremes(line: Line, drivers: Drivers, used: Mapping[str, Figure]) -> tuple[float, float]:
    """Of a line that is monotone in each driver: find each one's direction, then move all the same way."""
    ends = {
        name: (figure.low, figure.high)
        for name, figure in used.items()
        if figure.low is not None and figure.high is not None and figure.low != figure.high
    }
    if not ends:
        value = float(np.asarray(line.usd(drivers)))
        return value, value
    names, count = list(ends), len(ends)
    one_by_one: dict[str, NDArray[np.float64]] = {}
    for index, name in enumerate(names):
        column = np.full(2 * count, float(getattr(drivers, name)))
        column[2 * index], column[2 * index + 1] = ends[name]
        one_by_one[name] = column
    alone = np.broadcast_to(np.asarray(line.usd(_with(drivers, one_by_one))), (2 * count,))
    if count == 1:
        return float(alone.min()), float(alone.max())  # there is no other to move with
    together = {
        name: np.array(ends[name] if alone[2 * i] <= alone[2 * i + 1] else ends[name][::-1], dtype=np.float64)
        for i, name in enumerate(names)
    }
    corners = np.broadcast_to(np.asarray(line.usd(_with(drivers, together))), (2,))
    return float(min(corners.min(), alone.min())), float(max(corners.max(), alone.max()))


def _with(drivers: Drivers, values: Mapping[str, Any]) -> Drivers:
    return replace(drivers, **values)
