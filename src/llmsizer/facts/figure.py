"""A number as it leaves the package: value, interval, unit, basis, source and date in one piece."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from typing_extensions import TypedDict

from llmsizer.facts.provenance import Basis, Estimate

# From surest to least sure: a sum is known no better than the least sure of its terms.
_BASIS_ORDER: tuple[Basis, ...] = (
    "measured",
    "price list",
    "datasheet",
    "published",
    "calibrated",
    "assumed",
    "unknown",
)


class FigureDoc(TypedDict):
    """The JSON form of a figure; ``value`` is null where the number is unknown, and ``reason`` then says why."""

    value: float | None
    low: float | None
    high: float | None
    unit: str
    basis: Basis
    source: str
    as_of: str
    stale: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """An estimate with its unit, where it comes from, and the date it was true."""

    estimate: Estimate
    unit: str
    source: str = ""
    as_of: str = ""
    stale: bool = False

    @property
    def value(self) -> float | None:
        return self.estimate.value

    @property
    def low(self) -> float | None:
        return self.estimate.low

    @property
    def high(self) -> float | None:
        return self.estimate.high

    @property
    def basis(self) -> Basis:
        return self.estimate.basis

    def scaled(self, factor: float, unit: str | None = None) -> Figure:
        """The same figure in another unit."""
        return Figure(
            estimate=self.estimate.scaled(factor),
            unit=unit or self.unit,
            source=self.source,
            as_of=self.as_of,
            stale=self.stale,
        )

    def to_dict(self) -> FigureDoc:
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "unit": self.unit,
            "basis": self.basis,
            "source": self.source,
            "as_of": self.as_of,
            "stale": self.stale,
            "reason": self.estimate.reason,
        }


def weakest_basis(bases: Sequence[Basis]) -> Basis:
    """The least sure of several bases; a sum of nothing is assumed."""
    return max(bases, key=_BASIS_ORDER.index, default="assumed")


def total(estimates: Sequence[Estimate], reason: str = "") -> Estimate:
    """The sum; unknown as soon as one term is unknown. Lows and highs add, as if all moved together."""
    missing = [e.reason for e in estimates if e.value is None]
    if missing:
        return Estimate(value=None, basis="unknown", reason="; ".join(dict.fromkeys(missing)))
    values = [e.value for e in estimates if e.value is not None]
    lows = [e.value if e.low is None else e.low for e in estimates if e.value is not None]
    highs = [e.value if e.high is None else e.high for e in estimates if e.value is not None]
    basis = weakest_basis([e.basis for e in estimates])
    return Estimate(value=sum(values), low=sum(lows), high=sum(highs), basis=basis, reason=reason)


def over_corners(formula: Callable[..., float], *inputs: Estimate, reason: str = "") -> Estimate:
    """A formula that is monotone in each input: its value at the mids, and its extremes over all corners."""
    missing = [e.reason for e in inputs if e.value is None]
    if missing:
        return Estimate(value=None, basis="unknown", reason="; ".join(dict.fromkeys(missing)))
    mids = [e.value for e in inputs if e.value is not None]
    ends = [
        {e.value if e.low is None else e.low, e.value if e.high is None else e.high}
        for e in inputs
        if e.value is not None
    ]
    corners = [formula(*corner) for corner in itertools.product(*ends)]
    return Estimate(
        value=formula(*mids),
        low=min(corners),
        high=max(corners),
        basis=weakest_basis([e.basis for e in inputs]),
        reason=reason,
    )


def unknown(reason: str, unit: str) -> Figure:
    """A figure nobody knows, with the reason."""
    return Figure(estimate=Estimate(value=None, basis="unknown", reason=reason), unit=unit)


def exact(value: float, unit: str, basis: Basis, source: str, as_of: str = "") -> Figure:
    """A figure without an interval: a count, a printed price."""
    return Figure(estimate=Estimate(value=value, basis=basis), unit=unit, source=source, as_of=as_of)
