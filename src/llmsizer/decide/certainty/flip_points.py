"""Where one driver, moved alone, makes another path the cheaper one: found by grids and bisection on the same costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.certainty.drivers import Said, UncertainPath
from llmsizer.money.currency import USD, format_usd, is_money
from llmsizer.money.draws import Driver, Vector
from llmsizer.money.spread import FlipState, Turn
from llmsizer.units import format_count, plain_number

_SIDE_POINTS, _ZOOM_POINTS, _ZOOMS = 61, 33, 7
_SPAN = 1_000.0  # a flip is searched from a thousandth to a thousand times the middle
_SHARES = ("capital_charge_per_year", "maintenance_per_year", "network_capex_share", "spare_parts_share",
           "network_power_share", "idle_power_share", "one_sequence_power_share", "full_batch_power_share",
           "lease_rate_per_year")  # fmt: skip
_LIMITS: dict[str, tuple[float, float]] = dict.fromkeys(_SHARES, (0.0, 1.0)) | {  # of shares, ratios and ages
    "residual_after_36_months": (0.01, 0.99),
    "price_decline_per_year": (0.0, 0.95),
    "pue": (1.0, 5.0),
    "depreciation_years": (1.0, 20.0),
    "spot_lost_share": (0.0, 0.95),
    "retry_share": (0.0, 1.0),
    "growth_of_forecast": (0.0, 10.0),
}
Flags = NDArray[np.bool_]


def over_draws(found: NDArray[np.generic], count: int) -> Vector:
    """What does not depend on any draw is the same in each."""
    return np.array(np.broadcast_to(found, (count,)), dtype=np.float64)


def one_at_a_time(drivers: Mapping[str, Driver], points: Mapping[str, Vector]) -> dict[str, Vector]:
    """All drivers' values side by side: in each driver's own columns its points, elsewhere its middle."""
    count = sum(len(column) for column in points.values())
    values, at = {}, 0
    for name, column in points.items():
        whole = np.full(count, float(drivers[name].mid))
        whole[at : at + len(column)] = column
        values[name] = whole
        at += len(column)
    return values


def said_of(path: UncertainPath, name: str) -> Said:
    return path.said.get(name) or Said(words=name.replace("_", " "), unit="")


@dataclass(slots=True)
class _Search:
    """A bracket of one driver, from the side of the middle (``near``) to where the other path is the cheaper one."""

    driver: Driver
    near: float
    far: float


def flip_points(
    paths: Sequence[UncertainPath], taken: UncertainPath, drivers: Mapping[str, Driver]
) -> tuple[Turn, ...]:
    """For each other path and each driver that either depends on: the nearest value at which the order turns."""
    turns: list[Turn] = []
    for other in paths:
        if other.label != taken.label:
            turns += _flips_against(taken, other, drivers)
    return tuple(turns)


def _flips_against(taken: UncertainPath, other: UncertainPath, drivers: Mapping[str, Driver]) -> list[Turn]:
    names = list(dict.fromkeys(driver.name for driver in (*taken.drivers, *other.drivers)))
    asked = [drivers[name] for name in names]
    gap_now = float((other.usd({}) - taken.usd({}))[0])
    if np.isnan(gap_now):
        return [_turn(taken, other, d, "not searched", None, True) for d in asked]
    sides = {(d.name, up): _side(d, up) for d in asked for up in (False, True)}
    sides = {key: grid for key, grid in sides.items() if len(grid) > 1}
    turned = _turned(taken, other, drivers, sides, gap_now)
    searches: dict[tuple[str, bool], _Search] = {}
    for key, grid in sides.items():
        first = np.flatnonzero(turned[key])
        if first.size:
            searches[key] = _Search(driver=drivers[key[0]], near=float(grid[first[0] - 1]), far=float(grid[first[0]]))
    _narrow(taken, other, drivers, searches, gap_now)
    return [_nearest(taken, other, driver, searches, gap_now) for driver in asked]


def _side(driver: Driver, up: bool) -> Vector:
    """Values from the middle to the limit of the search, the middle first."""
    low, high = limits_of(driver)
    end = high if up else low
    if end == driver.mid or (end < driver.mid) == up:
        return np.array([driver.mid])
    if driver.mid > 0 and end > 0 and max(end / driver.mid, driver.mid / end) > 2:
        return np.geomspace(driver.mid, end, _SIDE_POINTS)
    return np.linspace(driver.mid, end, _SIDE_POINTS)


def limits_of(driver: Driver) -> tuple[float, float]:
    """Between which values a flip is searched."""
    if driver.name in _LIMITS:
        low, high = _LIMITS[driver.name]
        return min(low, driver.mid), max(high, driver.mid)
    if driver.shape == "interval":
        return driver.mid / 10, driver.mid * 10
    if driver.mid > 0:
        return driver.mid / _SPAN, driver.mid * _SPAN
    return 0.0, driver.high * _SPAN


def _turned(
    taken: UncertainPath,
    other: UncertainPath,
    drivers: Mapping[str, Driver],
    grids: Mapping[tuple[str, bool], Vector],
    gap_now: float,
) -> dict[tuple[str, bool], Flags]:
    """Where the order is not what it is at the middle. One call for all grids of one direction."""
    found: dict[tuple[str, bool], Flags] = {}
    for up in (False, True):
        points = {name: grid for (name, side), grid in grids.items() if side == up}
        if not points:
            continue
        values = one_at_a_time(drivers, points)
        count = sum(len(grid) for grid in points.values())
        gap = over_draws(other.usd(values) - taken.usd(values), count)
        # Where a fleet misses the SLO its cost says nothing: no flip of costs there.
        both = over_draws(taken.serves(values), count).astype(bool) & over_draws(other.serves(values), count).astype(
            bool
        )
        flags = ((gap < 0) if gap_now >= 0 else (gap > 0)) & both
        at = 0
        for name, grid in points.items():
            found[(name, up)] = flags[at : at + len(grid)]
            at += len(grid)
    return found


def _narrow(
    taken: UncertainPath,
    other: UncertainPath,
    drivers: Mapping[str, Driver],
    searches: dict[tuple[str, bool], _Search],
    gap_now: float,
) -> None:
    """Bisection by whole grids, all brackets at once, to one part in ten billion of the bracket."""
    for _ in range(_ZOOMS):
        grids = {key: np.linspace(s.near, s.far, _ZOOM_POINTS) for key, s in searches.items()}
        if not grids:
            return
        turned = _turned(taken, other, drivers, grids, gap_now)
        for key, search in searches.items():
            flags = turned[key].copy()
            flags[0], flags[-1] = False, True
            first = int(np.flatnonzero(flags)[0])
            search.near, search.far = float(grids[key][first - 1]), float(grids[key][first])


def _nearest(
    taken: UncertainPath,
    other: UncertainPath,
    driver: Driver,
    searches: Mapping[tuple[str, bool], _Search],
    gap_now: float,
) -> Turn:
    found = [(up, searches[(driver.name, up)].far) for up in (False, True) if (driver.name, up) in searches]
    if not found:
        return _turn(taken, other, driver, "not reached", None, gap_now >= 0)
    up, value = min(found, key=lambda one: abs(np.log(max(one[1], 1e-12) / max(driver.mid, 1e-12))))
    return _turn(taken, other, driver, "reached", value, gap_now >= 0, up=up)


def _turn(
    taken: UncertainPath,
    other: UncertainPath,
    driver: Driver,
    state: FlipState,
    value: float | None,
    taken_is_cheaper: bool,
    *,
    up: bool = True,
) -> Turn:
    said = said_of(taken if driver.name in taken.said else other, driver.name)
    low, high = (end * said.scale for end in limits_of(driver))
    names = _names(taken, other)
    gains, loses = (names[1], names[0]) if taken_is_cheaper else names
    shown = None if value is None else value * said.scale
    if shown is None:
        why = "a price is missing" if state == "not searched" else f"between {_in(low, said)} and {_in(high, said)}"
        text = f"{said.words}: no value makes {gains} cheaper than {loses} ({state}: {why})"
    else:
        now = _in(driver.mid * said.scale, said)
        text = f"{gains} is cheaper than {loses} if {said.words} is {'above' if up else 'below'} {_in(shown, said)}"
        text += f" (now {now})"
    return Turn(
        driver=driver.name,
        unit=said.unit,
        against=other.label,
        state=state,
        direction="" if shown is None else "above" if up else "below",
        now=driver.mid * said.scale,
        value=shown,
        searched_from=low,
        searched_to=high,
        text=text[0].upper() + text[1:],
    )


def _names(one: UncertainPath, other: UncertainPath) -> tuple[str, str]:
    """Paths of two kinds are told apart by their kind: a label names a whole fleet."""
    words = {"own": "owning", "rent": "renting", "api": "the API"}
    return (one.label, other.label) if one.path == other.path else (words[one.path], words[other.path])


def _in(value: float, said: Said) -> str:
    if said.unit == "tokens/month":
        return f"{format_count(value)} tokens a month"
    if is_money(said.unit):
        rest = said.unit.removeprefix(USD).replace("/1M tokens", " a million tokens").replace("/GPU/h", " a GPU-hour")
        rest = rest.replace("/instance/h", " an instance-hour")
        return f"{format_usd(value)}{rest.replace('/', ' a ')}"
    return f"{plain_number(value) if abs(value) >= 1000 else f'{value:.4g}'} {said.unit}".rstrip()
