"""Own, rent or API over a range of volumes: the stairs they are, and where they cross."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.facts.figure import Figure, FigureDoc
from llmsizer.money.cost import Path

CrossState = Literal["reached", "not reached", "not searched"]


class StepDoc(TypedDict):
    """One path at one volume."""

    tokens_per_month: float
    usd_per_month: FigureDoc
    label: str
    units: int | None


class PathDoc(TypedDict):
    """The JSON form of one path's stairs."""

    path: Path
    label: str
    same_model: bool
    steps: list[StepDoc]
    note: str


class CrossoverDoc(TypedDict):
    """Where one path becomes as cheap as another; ``tokens_per_month`` is null unless reached."""

    cheaper_below: str
    cheaper_above: str
    state: CrossState
    tokens_per_month: float | None
    text: str


class ComparisonDoc(TypedDict):
    """The JSON form of a comparison."""

    model: str
    reading: str
    tokens_per_month: list[float]
    paths: list[PathDoc]
    crossovers: list[CrossoverDoc]
    sentence: str
    leaves_out: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One path at one volume; ``units`` counts servers or instances, and is None for an API."""

    tokens_per_month: float
    usd_per_month: Figure
    label: str
    units: int | None = None

    def to_dict(self) -> StepDoc:
        return {
            "tokens_per_month": self.tokens_per_month,
            "usd_per_month": self.usd_per_month.to_dict(),
            "label": self.label,
            "units": self.units,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCost:
    """What one path costs over the volumes; ``same_model`` is False for another model: another quality tier."""

    path: Path
    label: str
    steps: tuple[Step, ...]
    same_model: bool = True
    note: str = ""

    def to_dict(self) -> PathDoc:
        return {
            "path": self.path,
            "label": self.label,
            "same_model": self.same_model,
            "steps": [step.to_dict() for step in self.steps],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """The volume from which ``cheaper_above`` costs no more than ``cheaper_below``, within what was searched."""

    cheaper_below: str
    cheaper_above: str
    state: CrossState
    tokens_per_month: float | None
    text: str

    def to_dict(self) -> CrossoverDoc:
        return {
            "cheaper_below": self.cheaper_below,
            "cheaper_above": self.cheaper_above,
            "state": self.state,
            "tokens_per_month": self.tokens_per_month,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every path at every volume, and where the answer flips."""

    model: str
    reading: str
    tokens_per_month: tuple[float, ...]
    paths: tuple[PathCost, ...]
    crossovers: tuple[Crossover, ...]
    sentence: str
    leaves_out: tuple[str, ...]

    def to_dict(self) -> ComparisonDoc:
        return {
            "model": self.model,
            "reading": self.reading,
            "tokens_per_month": list(self.tokens_per_month),
            "paths": [path.to_dict() for path in self.paths],
            "crossovers": [crossover.to_dict() for crossover in self.crossovers],
            "sentence": self.sentence,
            "leaves_out": list(self.leaves_out),
        }
