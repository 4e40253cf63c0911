"""The hours of a week: how demand is spread over 168 of them, from Monday midnight, local time.

Named shapes are files in ``profiles/workloads/shapes/``; a scenario may write its own 24 or 168 weights instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmsizer.errors import CatalogError, UnknownNameError
from llmsizer.facts.profile_files import find_profiles, read_toml, take_provenance, toml_files
from llmsizer.facts.provenance import Provenance

HOURS_PER_DAY, HOURS_PER_WEEK = 24, 168
DEFAULT_SHAPE = "office-hours-europe"  # where a workload says how high its peak is, and not when
_FOLDER = Path("workloads") / "shapes"
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A named week. ``weights`` are relative: only their proportions count."""

    name: str
    description: str
    weights: tuple[float, ...]
    provenance: Provenance


def week_of(weights: Sequence[float]) -> tuple[float, ...]:
    """168 checked weights from 168, or from the 24 of a day that repeats. Raises ValueError in one line."""
    if len(weights) not in (HOURS_PER_DAY, HOURS_PER_WEEK):
        raise ValueError(f"{len(weights)} hourly weights; give 24 (a day) or 168 (a week from Monday midnight)")
    for hour, weight in enumerate(weights):
        if not 0 <= weight < math.inf:
            raise ValueError(f"the weight of hour {hour} is {weight}; give 0 or more")
    if not 0 < sum(weights) < math.inf:
        raise ValueError("every hourly weight is 0; give at least one hour in which requests come")
    return tuple(float(w) for w in weights) * (HOURS_PER_WEEK // len(weights))


def peak_to_average(weights: Sequence[float]) -> float:
    # One busy hour of a week is 168 times the average, whatever rounding says.
    return min(max(weights) * len(weights) / math.fsum(weights), float(len(weights)))


def with_peak(weights: Sequence[float], peak: float) -> tuple[float, ...]:
    """The same shape with another ratio of its peak hour to its average, of mean 1. Raises ValueError.

    Raised to a power, so that busier hours stay the busier ones and quiet ones quiet. Hours without any demand stay
    empty, unless the peak is flatter than the others alone can be: then what lacks is spread over all hours.
    """
    top = max(weights)
    scaled = [weight / top for weight in weights]
    most = len(scaled) / sum(weight == 1 for weight in scaled)
    least = len(scaled) / sum(weight > 0 for weight in scaled)
    if peak <= least:
        share = (peak - 1) / (least - 1) if least > 1 else 0.0
        return tuple(1 + share * (least * (weight > 0) - 1) for weight in scaled)
    if peak > most or (peak == most and most > least and peak_to_average(scaled) < peak):
        raise ValueError(
            f"peak_to_average = {peak:g} is beyond this shape of hours, whose peak can reach {most:.3g} times the "
            "average; give 168 weights of your own"
        )
    low, high = 0.0, 1.0
    while high < 1e4 and peak_to_average(_powered(scaled, high)) < peak:
        low, high = high, 2 * high
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if peak_to_average(_powered(scaled, middle)) < peak else (low, middle)
    found = _powered(scaled, high)
    mean = math.fsum(found) / len(found)
    return tuple(weight / mean for weight in found)


def _powered(scaled: Sequence[float], power: float) -> list[float]:
    return [weight**power if weight > 0 else 0.0 for weight in scaled]


def weights_of(name: str, peak: float | None, root: Path | None = None) -> tuple[float, ...]:
    """A named week, with the peak asked for. Raises UnknownNameError, CatalogError, ValueError."""
    weights = load_shape(name, root).weights
    return weights if peak is None else with_peak(weights, peak)


def shape_names(root: Path | None = None) -> tuple[str, ...]:
    return tuple(path.stem for path in toml_files(find_profiles(root) / _FOLDER))


def load_shape(name: str, root: Path | None = None) -> Shape:
    """A named week. Raises UnknownNameError, CatalogError."""
    known = shape_names(root)
    if name not in known:
        raise UnknownNameError("shape of hours", name, known)
    path = find_profiles(root) / _FOLDER / f"{name}.toml"
    data = read_toml(path)
    try:
        days = [[float(weight) for weight in data[kind]] for kind in ("weekday", "saturday", "sunday")]
        weights = week_of([*days[0] * 5, *days[1], *days[2]])
    except (KeyError, TypeError, ValueError) as error:
        raise CatalogError(f"{path}: weekday, saturday and sunday need 24 weights each; {error}") from None
    return Shape(
        name=name,
        description=str(data.get("description", "")),
        weights=weights,
        provenance=take_provenance(data, str(path)),
    )
