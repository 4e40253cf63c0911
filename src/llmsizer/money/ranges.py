"""From drivers with ranges to the parts of a bill: value, low and high, source and date of each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from types import SimpleNamespace
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


Written = dict[tuple[object, ...], Figure]
"""Lines' dollars that were worked out before, by whose figures they are, name, and the values of their drivers."""


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
    lines: tuple[Line, ...] = lines_of(drivers)
    values: dict[str, Any] = {field.name: getattr(drivers, field.name) for field in fields(drivers)}
    kept: Written = {} if written is None else written
    shown: list[CostPart] = []
    for line in lines:
        used: list[object] = [values[name] for name in line.uses]
        key = (*whose, line.name, *used)
        if key not in kept:
            kept[key] = _usd(line, values, figures)
        usd: Figure = kept[key]
        if usd.value != 0 or usd.high not in (0, None):
            text = how.get(line.name, "")
            shown.append(CostPart(name=line.name, usd_per_month=usd, how=text, sunk=line.sunk, taxed=line.taxed))
    return with_vat(shown, vat_rate)


def _usd(line: Line, values: Mapping[str, Any], figures: Mapping[str, Figure]) -> Figure:
    used = {name: figures[name] for name in line.uses if name in figures}
    value = float(np.asarray(line.usd(SimpleNamespace(**values))))
    if math.isnan(value):
        reasons = [figure.estimate.reason for figure in used.values() if figure.value is None]
        return unknown("; ".join(dict.fromkeys(reasons)) or f"{line.name}: no price", USD_PER_MONTH)
    low, high = _extremes(line, values, used) or (value, value)
    dated = figures.get(line.dated_by) or next(iter(used.values()), counted(0.0))
    bases: list[Basis] = [figure.basis for figure in used.values() if figure.value is not None]
    estimate = Estimate(value=value, low=min(low, value), high=max(high, value), basis=weakest_basis(bases))
    return Figure(estimate=estimate, unit=USD_PER_MONTH, source=dated.source, as_of=dated.as_of, stale=dated.stale)


def _extremes(line: Line, values: Mapping[str, Any], used: Mapping[str, Figure]) -> tuple[float, float] | None:
    """Of a line that is monotone in each driver: find each one's direction, then move all the same way.

    None where no driver has a range.
    """
    ends = {
        name: (figure.low, figure.high)
        for name, figure in used.items()
        if figure.low is not None and figure.high is not None and figure.low != figure.high
    }
    if not ends:
        return None
    names, count, bounds = list(ends), len(ends), np.array(list(ends.values()), dtype=np.float64)
    # A row for each driver: all at their value but one, at its low in one column and at its high in the next.
    alone = np.repeat(np.array([[float(values[name])] for name in names]), 2 * count, axis=1)
    alone[np.repeat(np.arange(count), 2), np.arange(2 * count)] = bounds.ravel()
    usd = _at(line, values, names, alone)
    if count == 1:
        return float(usd.min()), float(usd.max())  # there is no other to move with
    falls = usd[::2] > usd[1::2]
    corners = _at(line, values, names, np.where(falls[:, None], bounds[:, ::-1], bounds))
    return float(min(corners.min(), usd.min())), float(max(corners.max(), usd.max()))


def _at(line: Line, values: Mapping[str, Any], names: Sequence[str], moved: NDArray[np.float64]) -> NDArray[np.float64]:
    """A line where the drivers of these names have other values, by row, in each of the columns."""
    drivers = SimpleNamespace(**{**values, **dict(zip(names, moved, strict=True))})
    return np.broadcast_to(np.asarray(line.usd(drivers)), moved.shape[1:])
