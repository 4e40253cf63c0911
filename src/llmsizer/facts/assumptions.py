"""Stated, editable assumptions of cost: a range and a source each, from ``profiles/assumptions/`` and the scenario."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsizer.errors import CatalogError, ScenarioError, nearest_names, suggest
from llmsizer.facts.figure import Figure
from llmsizer.facts.profile_files import find_profiles, make_provenance, read_toml, toml_files
from llmsizer.facts.provenance import Estimate

Override = float | tuple[float, float, float]
Bounds = Mapping[str, float]
_PROVENANCE = ("source", "as_of", "confidence", "basis", "note")
_BOUNDS = {"least": "from {} up", "above": "above {}", "most": "at most {}", "below": "below {}"}


def load_assumptions(
    overrides: Mapping[str, Override], today: datetime.date, root: Path | None = None
) -> dict[str, Figure]:
    """Every assumption by name, the scenario's values in place of the files'. Raises CatalogError, ScenarioError."""
    figures: dict[str, Figure] = {}
    bounds: dict[str, Bounds] = {}
    for path in toml_files(find_profiles(root) / "assumptions"):
        for number, entry in enumerate(read_toml(path).get("assumption", ()), start=1):
            name, figure = _figure(entry, f"{path}: assumption {number}", today)
            bounds[name] = {key: entry[key] for key in _BOUNDS if key in entry}
            if name in figures:
                raise CatalogError(f"{path}: {name} is assumed twice; keep one")
            figures[name] = figure
    for name, value in overrides.items():
        if name not in figures:
            raise ScenarioError(
                f"assumptions.{name}: no such assumption; {suggest(nearest_names(name, figures), sorted(figures))}"
            )
        figures[name] = _overridden(name, value, figures[name].unit, today, bounds[name])
    return figures


def assumed_values(overrides: Mapping[str, Override], root: Path | None = None) -> dict[str, float]:
    """The middle of every assumption by name. Raises CatalogError, ScenarioError."""
    figures = load_assumptions(overrides, datetime.date.min, root)  # how old they are is shown elsewhere
    return {name: figure.value for name, figure in figures.items() if figure.value is not None}


def _figure(entry: Mapping[str, Any], where: str, today: datetime.date) -> tuple[str, Figure]:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise CatalogError(f"{where}: name is missing; give a text")
    name, unit = entry["name"], entry.get("unit", "")
    numbers = [entry.get(key) for key in ("low", "mid", "high")]
    _check_range(numbers, CatalogError, f"{where}: {name}")
    low, mid, high = (float(n) for n in numbers if n is not None)
    bounds = {key: entry[key] for key in _BOUNDS if key in entry}
    _check_bounds((low, mid, high), bounds, CatalogError, f"{where}: {name}")
    origin = make_provenance({key: entry[key] for key in _PROVENANCE if key in entry}, f"{where}: {name}")
    estimate = Estimate(value=mid, low=low, high=high, basis=origin.basis, reason=origin.note)
    stale = origin.is_stale(today)
    return name, Figure(estimate=estimate, unit=str(unit), source=origin.source, as_of=origin.as_of, stale=stale)


def _overridden(name: str, value: Override, unit: str, today: datetime.date, bounds: Bounds) -> Figure:
    numbers = value if isinstance(value, tuple) else (value, value, value)
    _check_range(numbers, ScenarioError, f"assumptions.{name}")
    _check_bounds(numbers, bounds, ScenarioError, f"assumptions.{name}")
    low, mid, high = numbers
    estimate = Estimate(value=mid, low=low, high=high, basis="assumed", reason="set in the scenario")
    return Figure(estimate=estimate, unit=unit, source="scenario", as_of=today.isoformat())


def _check_range(numbers: Sequence[object], error: type[CatalogError] | type[ScenarioError], where: str) -> None:
    """Three finite numbers, none negative, in order."""
    plain = [float(n) for n in numbers if isinstance(n, int | float) and not isinstance(n, bool) and math.isfinite(n)]
    if len(plain) != 3 or not 0 <= plain[0] <= plain[1] <= plain[2]:
        shown = ", ".join(str(n)[:20] for n in numbers)
        raise error(f"{where}: low, mid, high = {shown}; give three numbers from 0 up, in that order")


def _check_bounds(
    numbers: Sequence[float], bounds: Bounds, error: type[CatalogError] | type[ScenarioError], where: str
) -> None:
    """What the file says an assumption has to stay within: a share below 1, a ratio from 1 up."""
    for number in numbers:
        for key, bound in bounds.items():
            holds = {
                "least": number >= bound,
                "above": number > bound,
                "most": number <= bound,
                "below": number < bound,
            }
            if not holds[key]:
                raise error(f"{where} = {number:g}: out of range; give a number {_BOUNDS[key].format(bound)}")
