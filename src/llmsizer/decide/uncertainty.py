"""How sure the answer is: P10–P90 and win probabilities by draws, tornado, flip points, and the value of measuring.

All of it asks the same cost functions (``decide.uncertain``), thousands of values at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.uncertain import API, DEMAND, RENTAL, SERVER, Said, UncertainPath
from llmsizer.money.draws import Driver, Vector, draw, information_usd, variance_share
from llmsizer.money.spread import Bar, FlipState, Information, PathSpread, Turn, Uncertainty
from llmsizer.units import format_count, format_usd

DRAWS, SEED = 8_192, 1
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
_MEASUREMENTS = {
    DEMAND: "count the tokens of a pilot for two weeks and scale them to all users",
    API: "ask the API's provider for a price that is fixed over the horizon",
    RENTAL: "ask for a term price: a quote for the whole horizon",
    SERVER: "ask two vendors for a quote of this server",
    "usd_per_instance_hour": "ask what this offer really costs in the region that is meant",
    "usd_per_kwh": "read the tariff off your own electricity bill",
    "depreciation_years": "ask your accountants how long hardware is kept",
    "residual_after_36_months": "ask a reseller what such a server fetches at three years",
    "capital_charge_per_year": "ask your finance department for its cost of capital",
    "retry_share": "log failed and repeated requests of a pilot",
}
Flags = NDArray[np.bool_]


def uncertainty_of(
    paths: Sequence[UncertainPath], taken: UncertainPath, *, draws: int = DRAWS, seed: int = SEED
) -> Uncertainty:
    """How sure it is that ``taken`` is the path to take."""
    drivers = _drivers_of(paths)
    values = draw(list(drivers.values()), draws, seed)
    usd = {path.label: _over(path.usd(values), draws) for path in paths}
    serves = {path.label: _over(path.serves(values), draws).astype(bool) for path in paths}
    wins, none = _wins(paths, usd, serves)
    spreads = tuple(_spread(path, usd[path.label], serves[path.label], wins) for path in paths)
    open_paths = [path for path in paths if not path.why_not and not np.isnan(usd[path.label]).any()]
    decided = {path.label: _decided(path, open_paths, usd, serves) for path in open_paths}
    information = _information(drivers, values, decided, usd[taken.label])
    found = next(spread for spread in spreads if spread.label == taken.label)
    return Uncertainty(
        draws=draws,
        seed=seed,
        recommended=taken.label,
        paths=spreads,
        none_within_slo=none,
        tornado=_tornado(paths, taken, drivers),
        flips=_flips(paths, taken, drivers),
        perfect_information_usd_per_month=information_usd(decided, None),
        information=information,
        text=_text(found, information, len(open_paths)),
        notes=(
            f"{draws:,} stratified draws, seed {seed}: a range's middle is its median, its ends are never passed; "
            "step times by their calibrated interval",
            "each path keeps its GPU and format and takes as many replicas as a draw needs",
            "a draw in which a path misses the SLO is not won by it; where a choice is valued it pays for the "
            "cheapest path that meets it as well",
        ),
    )


def _drivers_of(paths: Sequence[UncertainPath]) -> dict[str, Driver]:
    return {driver.name: driver for path in paths for driver in path.drivers}


def _over(found: NDArray[np.generic], count: int) -> Vector:
    """What does not depend on any draw is the same in each."""
    return np.array(np.broadcast_to(found, (count,)), dtype=np.float64)


def _wins(
    paths: Sequence[UncertainPath], usd: Mapping[str, Vector], serves: Mapping[str, Flags]
) -> tuple[dict[str, float], float]:
    """Share of draws that each open path wins, and of those in which none meets the SLO; together 1."""
    names = [path.label for path in paths if not path.why_not]
    if not names:
        return {}, 0.0
    costs = np.array([np.where(serves[name] & ~np.isnan(usd[name]), usd[name], np.inf) for name in names])
    none = np.isinf(costs).all(axis=0)
    best = costs.min(axis=0)
    tied = (costs == best) & ~none
    shares = np.divide(tied, np.maximum(1, tied.sum(axis=0)))
    return dict(zip(names, shares.mean(axis=1).tolist(), strict=True)), float(none.mean())


def _spread(path: UncertainPath, usd: Vector, serves: Flags, wins: Mapping[str, float]) -> PathSpread:
    p10, p50, p90 = np.quantile(usd, (0.1, 0.5, 0.9)).tolist()
    return PathSpread(
        path=path.path,
        label=path.label,
        usd_p10=p10,
        usd_p50=p50,
        usd_p90=p90,
        usd_mean=float(usd.mean()),
        within_slo=float(serves.mean()),
        wins=wins.get(path.label),
        why_not=path.why_not,
    )


def _decided(
    path: UncertainPath, paths: Sequence[UncertainPath], usd: Mapping[str, Vector], serves: Mapping[str, Flags]
) -> Vector:
    """What having chosen a path costs: where it misses the SLO, the cheapest that meets it is paid for as well."""
    own, missed = usd[path.label], ~serves[path.label]
    others = [np.where(serves[o.label], usd[o.label], np.inf) for o in paths if o.label != path.label]
    if not others or not missed.any():
        return own
    rescue = np.min(others, axis=0)
    return own + np.where(missed & np.isfinite(rescue), rescue, 0.0)


def _information(
    drivers: Mapping[str, Driver], values: Mapping[str, Vector], decided: Mapping[str, Vector], taken_usd: Vector
) -> tuple[Information, ...]:
    """By what it would save to know each driver before choosing; then by its part in the variance."""
    found = []
    for name, drawn in values.items():
        saved = information_usd(decided, drawn) if len(decided) > 1 else 0.0
        share = variance_share(taken_usd, drawn)
        found.append(Information(driver=name, usd_per_month=saved, variance_share=share, measurement=_measure(name)))
    least = 1e-4 * float(taken_usd.mean())  # less than that is noise of the slices
    return tuple(sorted(found, key=lambda one: (-(one.usd_per_month if one.usd_per_month > least else 0.0),
                                                -one.variance_share)))  # fmt: skip


def _measure(name: str) -> str:
    if name.startswith("step times of "):
        return f"profile {name.removeprefix('step times of ')} for an hour (llmsizer profile) and calibrate on it"
    return _MEASUREMENTS.get(name, f"replace the assumption {name} by a figure of your own")


# tornado --------------------------------------------------------------------------------------------------------------


def _tornado(paths: Sequence[UncertainPath], taken: UncertainPath, drivers: Mapping[str, Driver]) -> tuple[Bar, ...]:
    """Each driver of the taken path at its low and its high, the others at their middle."""
    moved = [drivers[driver.name] for driver in taken.drivers if not drivers[driver.name].is_certain]
    if not moved:
        return ()
    ends = {driver.name: np.array([driver.low, driver.high]) for driver in moved}
    alone = _one_at_a_time(drivers, ends)
    count = 2 * len(moved)
    usd = _over(taken.usd(alone), count).reshape(-1, 2)
    cheapest = _cheapest(paths, alone, count).reshape(-1, 2)
    bars = []
    for driver, (at_low, at_high), (low_best, high_best) in zip(moved, usd.tolist(), cheapest.tolist(), strict=True):
        said = _said(taken, driver.name)
        bars.append(
            Bar(
                driver=driver.name,
                unit=said.unit,
                low=driver.low * said.scale,
                mid=driver.mid * said.scale,
                high=driver.high * said.scale,
                usd_at_low=at_low,
                usd_at_high=at_high,
                cheapest_at_low=low_best,
                cheapest_at_high=high_best,
            )
        )
    return tuple(sorted(bars, key=lambda bar: -bar.width_usd))


def _one_at_a_time(drivers: Mapping[str, Driver], points: Mapping[str, Vector]) -> dict[str, Vector]:
    """All drivers' values side by side: in each driver's own columns its points, elsewhere its middle."""
    count = sum(len(column) for column in points.values())
    values, at = {}, 0
    for name, column in points.items():
        whole = np.full(count, float(drivers[name].mid))
        whole[at : at + len(column)] = column
        values[name] = whole
        at += len(column)
    return values


def _cheapest(paths: Sequence[UncertainPath], values: Mapping[str, Vector], count: int) -> NDArray[np.object_]:
    """Labels of the cheapest open path that meets the SLO."""
    names = [path.label for path in paths if not path.why_not]
    costs = []
    for path in paths:
        if not path.why_not:
            usd, serves = _over(path.usd(values), count), _over(path.serves(values), count).astype(bool)
            costs.append(np.where(serves & ~np.isnan(usd), usd, np.inf))
    if not costs:
        return np.full(count, "", dtype=object)
    cheapest: NDArray[np.object_] = np.array(names, dtype=object)[np.argmin(costs, axis=0)]
    return cheapest


def _said(path: UncertainPath, name: str) -> Said:
    return path.said.get(name) or Said(words=name.replace("_", " "), unit="")


# flip points ----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Search:
    """A bracket of one driver, from the side of the middle (``near``) to where the other path is the cheaper one."""

    driver: Driver
    near: float
    far: float


def _flips(paths: Sequence[UncertainPath], taken: UncertainPath, drivers: Mapping[str, Driver]) -> tuple[Turn, ...]:
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
        values = _one_at_a_time(drivers, points)
        count = sum(len(grid) for grid in points.values())
        gap = _over(other.usd(values) - taken.usd(values), count)
        # Where a fleet misses the SLO its cost says nothing: no flip of costs there.
        both = _over(taken.serves(values), count).astype(bool) & _over(other.serves(values), count).astype(bool)
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
    said = _said(taken if driver.name in taken.said else other, driver.name)
    low, high = (end * said.scale for end in limits_of(driver))
    gains, loses = (other.label, taken.label) if taken_is_cheaper else (taken.label, other.label)
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
        text=text,
    )


def _in(value: float, said: Said) -> str:
    if said.unit == "tokens/month":
        return f"{format_count(value)} tokens a month"
    if said.unit.startswith("USD"):
        rest = said.unit.removeprefix("USD").replace("/1M tokens", " a million tokens").replace("/GPU/h", " a GPU-hour")
        return f"{format_usd(value)}{rest.replace('/', ' a ')}"
    return f"{value:.4g} {said.unit}".rstrip()


def _text(found: PathSpread, information: Sequence[Information], open_paths: int) -> str:
    text = f"P10–P90 {format_usd(found.usd_p10)}–{format_usd(found.usd_p90)} a month"
    if found.wins is not None and open_paths > 1:
        text += f"; the cheapest path that may be taken in {share_text(found.wins)} of the draws"
    if found.within_slo < 1:
        text += f"; within the SLO in {share_text(found.within_slo)}"
    if information:
        first = information[0]
        worth = (
            f" (worth {format_usd(first.usd_per_month)} a month before choosing)"
            if open_paths > 1 and first.usd_per_month > 1e-4 * found.usd_mean
            else f" ({first.variance_share:.0%} of the spread; it changes no choice)"
        )
        text += f". To narrow it most: {first.measurement}{worth}"
    return text + "."


def share_text(share: float) -> str:
    """``97 %``; never 0 or 100 where it is not."""
    if 0.995 <= share < 1:
        return "more than 99 %"
    if 0 < share < 0.005:
        return "less than 1 %"
    return f"{share:.0%}".replace("%", " %")
