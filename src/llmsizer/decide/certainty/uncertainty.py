"""How sure the answer is: P10–P90 and win probabilities by draws, tornado, flip points, and the value of measuring.

All of it asks the same cost functions (``decide.uncertain``), thousands of values at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.certainty.drivers import API, DEMAND, RENTAL, SERVER, UncertainPath
from llmsizer.decide.certainty.flip_points import flip_points, one_at_a_time, over_draws, said_of
from llmsizer.money.currency import format_usd
from llmsizer.money.draws import Driver, Vector, draw, information_usd, variance_share
from llmsizer.money.spread import Bar, Information, PathSpread, Uncertainty

DRAWS, SEED = 8_192, 1
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
    usd = {path.label: over_draws(path.usd(values), draws) for path in paths}
    serves = {path.label: over_draws(path.serves(values), draws).astype(bool) for path in paths}
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
        flips=flip_points(paths, taken, drivers),
        perfect_information_usd_per_month=information_usd(decided, None),
        information=information,
        text=_text(found, information, len(open_paths)),
        notes=(
            f"{draws:,} stratified draws, seed {seed}: a range's middle is its median, its ends are never passed; "
            "step times by their calibrated interval",
            "each path keeps the GPU, format, contract and mode of its first plan and takes as many replicas as a draw "
            "needs: one chooses before one knows, so no draw may swap in another plan of its path",
            "a draw in which a path misses the SLO is not won by it; where a choice is valued it pays for the "
            "cheapest path that meets it as well",
        ),
    )


def _drivers_of(paths: Sequence[UncertainPath]) -> dict[str, Driver]:
    return {driver.name: driver for path in paths for driver in path.drivers}


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
    alone = one_at_a_time(drivers, ends)
    count = 2 * len(moved)
    usd = over_draws(taken.usd(alone), count).reshape(-1, 2)
    cheapest = _cheapest(paths, alone, count).reshape(-1, 2)
    bars = []
    for driver, (at_low, at_high), (low_best, high_best) in zip(moved, usd.tolist(), cheapest.tolist(), strict=True):
        said = said_of(taken, driver.name)
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


def _cheapest(paths: Sequence[UncertainPath], values: Mapping[str, Vector], count: int) -> NDArray[np.object_]:
    """Labels of the cheapest open path that meets the SLO."""
    names = [path.label for path in paths if not path.why_not]
    costs = []
    for path in paths:
        if not path.why_not:
            usd, serves = over_draws(path.usd(values), count), over_draws(path.serves(values), count).astype(bool)
            costs.append(np.where(serves & ~np.isnan(usd), usd, np.inf))
    if not costs:
        return np.full(count, "", dtype=object)
    cheapest: NDArray[np.object_] = np.array(names, dtype=object)[np.argmin(costs, axis=0)]
    return cheapest


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
    """``97 %``; never 0 or 100: draws do not make anything certain."""
    if share >= 0.995:
        return "> 99 %"
    return "< 1 %" if share < 0.005 else f"{share * 100:.0f} %"
