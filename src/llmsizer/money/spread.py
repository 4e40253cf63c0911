"""How sure a comparison is: quantiles, win probabilities, what moves it, what flips it, what to measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.money.cost import Path

FlipState = Literal["reached", "not reached", "not searched"]


class PathSpreadDoc(TypedDict):
    """One path's cost over the draws, in dollars a month. ``wins`` is null for a path that may not be taken."""

    path: Path
    label: str
    usd_p10: float
    usd_p50: float
    usd_p90: float
    usd_mean: float
    within_slo: float
    wins: float | None
    why_not: str


class BarDoc(TypedDict):
    """One driver moved alone from its low to its high, and the recommended path's cost at each."""

    driver: str
    unit: str
    low: float
    mid: float
    high: float
    usd_at_low: float
    usd_at_high: float
    cheapest_at_low: str
    cheapest_at_high: str


class TurnDoc(TypedDict):
    """Where one driver, moved alone, makes another path the cheaper one; ``value`` is null unless reached."""

    driver: str
    unit: str
    against: str
    state: FlipState
    direction: Literal["above", "below", ""]
    now: float
    value: float | None
    searched_from: float
    searched_to: float
    text: str


class InformationDoc(TypedDict):
    """What knowing one driver before choosing would save a month, and its part in the recommended path's variance."""

    driver: str
    usd_per_month: float
    variance_share: float
    measurement: str


class UncertaintyDoc(TypedDict):
    """The JSON form of how sure an answer is."""

    draws: int
    seed: int
    recommended: str
    paths: list[PathSpreadDoc]
    none_within_slo: float
    tornado: list[BarDoc]
    flips: list[TurnDoc]
    perfect_information_usd_per_month: float
    information: list[InformationDoc]
    text: str
    notes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSpread:
    """One path's cost over the draws. ``within_slo``: share of draws in which it meets the SLO."""

    path: Path
    label: str
    usd_p10: float
    usd_p50: float
    usd_p90: float
    usd_mean: float
    within_slo: float
    wins: float | None  # share of draws in which it is the cheapest that may be taken and meets the SLO
    why_not: str = ""  # why it may not be taken

    def to_dict(self) -> PathSpreadDoc:
        return {name: getattr(self, name) for name in PathSpreadDoc.__annotations__}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One bar of the tornado."""

    driver: str
    unit: str
    low: float
    mid: float
    high: float
    usd_at_low: float
    usd_at_high: float
    cheapest_at_low: str
    cheapest_at_high: str

    @property
    def width_usd(self) -> float:
        return abs(self.usd_at_high - self.usd_at_low)

    def to_dict(self) -> BarDoc:
        return {name: getattr(self, name) for name in BarDoc.__annotations__}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One flip point."""

    driver: str
    unit: str
    against: str
    state: FlipState
    direction: Literal["above", "below", ""]
    now: float
    value: float | None
    searched_from: float
    searched_to: float
    text: str

    def to_dict(self) -> TurnDoc:
        return {name: getattr(self, name) for name in TurnDoc.__annotations__}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """The worth of one measurement."""

    driver: str
    usd_per_month: float
    variance_share: float
    measurement: str

    def to_dict(self) -> InformationDoc:
        return {name: getattr(self, name) for name in InformationDoc.__annotations__}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncertainty:
    """How sure an answer is, from draws of everything that is not known exactly."""

    draws: int
    seed: int
    recommended: str  # label of the path that the answer takes
    paths: tuple[PathSpread, ...]
    none_within_slo: float  # share of draws in which no path that may be taken meets the SLO
    tornado: tuple[Bar, ...]  # of the recommended path, widest first
    flips: tuple[Turn, ...]
    perfect_information_usd_per_month: float
    information: tuple[Information, ...]  # most worth measuring first
    text: str
    notes: tuple[str, ...] = ()

    @property
    def taken(self) -> PathSpread:
        """The recommended path."""
        return next(path for path in self.paths if path.label == self.recommended)

    def to_dict(self) -> UncertaintyDoc:
        return {
            "draws": self.draws,
            "seed": self.seed,
            "recommended": self.recommended,
            "paths": [path.to_dict() for path in self.paths],
            "none_within_slo": self.none_within_slo,
            "tornado": [bar.to_dict() for bar in self.tornado],
            "flips": [turn.to_dict() for turn in self.flips],
            "perfect_information_usd_per_month": self.perfect_information_usd_per_month,
            "information": [one.to_dict() for one in self.information],
            "text": self.text,
            "notes": list(self.notes),
        }
