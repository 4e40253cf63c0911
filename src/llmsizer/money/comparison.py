"""Own, rent or API over a range of volumes: the stairs they are, and where they cross."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.facts.figure import Figure, FigureDoc
from llmsizer.money.cashflow import CashFlow, CashFlowDoc
from llmsizer.money.cost import Cost, CostDoc, Lens, Path
from llmsizer.money.currency import US_DOLLARS, Currency, CurrencyDoc

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
    """Where one path becomes as cheap as another for good; ``tokens_per_month`` is null unless reached.

    ``first_tokens_per_month`` is the first volume at which it is no dearer, if stairs cross more than once.
    """

    cheaper_below: str
    cheaper_above: str
    state: CrossState
    tokens_per_month: float | None
    text: str
    first_tokens_per_month: float | None
    searched_up_to_tokens_per_month: float | None
    required_utilisation: float | None
    month: MonthDoc


class MonthDoc(TypedDict):
    """The first month, under the scenario's growth, from which a path stays no dearer than another."""

    state: CrossState
    month: int | None
    searched_months: int
    text: str


class PaybackDoc(TypedDict):
    """When what was paid up front is earned back against another path, at the scenario's volume."""

    own: str
    against: str
    state: CrossState
    month: int | None
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
    lens: Lens
    currency: CurrencyDoc
    tokens_per_month_asked: float | None
    bills: list[CostDoc]
    cash_flows: list[CashFlowDoc]
    paybacks: list[PaybackDoc]
    flags: list[str]


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
class FirstMonth:
    """The first month under growth from which one path stays no dearer; months count from the growth's start."""

    state: CrossState = "not searched"
    month: int | None = None
    searched_months: int = 0
    text: str = "no growth is given"

    def to_dict(self) -> MonthDoc:
        return {
            "state": self.state,
            "month": self.month,
            "searched_months": self.searched_months,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Payback:
    """The month in which the cash paid for owning falls to that of another path; months count from the order."""

    own: str
    against: str
    state: CrossState
    month: int | None
    text: str

    def to_dict(self) -> PaybackDoc:
        return {
            "own": self.own,
            "against": self.against,
            "state": self.state,
            "month": self.month,
            "text": self.text,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """The volume from which ``cheaper_above`` costs no more than ``cheaper_below``, within what was searched.

    ``required_utilisation`` is the mean load there over what the machines that it takes could hold.
    """

    cheaper_below: str
    cheaper_above: str
    state: CrossState
    tokens_per_month: float | None
    text: str
    first_tokens_per_month: float | None = None
    searched_up_to_tokens_per_month: float | None = None
    required_utilisation: float | None = None
    month: FirstMonth = FirstMonth()

    def to_dict(self) -> CrossoverDoc:
        return {
            "cheaper_below": self.cheaper_below,
            "cheaper_above": self.cheaper_above,
            "state": self.state,
            "tokens_per_month": self.tokens_per_month,
            "text": self.text,
            "first_tokens_per_month": self.first_tokens_per_month,
            "searched_up_to_tokens_per_month": self.searched_up_to_tokens_per_month,
            "required_utilisation": self.required_utilisation,
            "month": self.month.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Every path at every volume, and where the answer flips; bills and cash flows at the volume that was asked."""

    model: str
    reading: str
    tokens_per_month: tuple[float, ...]
    paths: tuple[PathCost, ...]
    crossovers: tuple[Crossover, ...]
    sentence: str
    leaves_out: tuple[str, ...]
    lens: Lens = "full"
    currency: Currency = US_DOLLARS
    tokens_per_month_asked: float | None = None
    bills: tuple[Cost, ...] = ()
    cash_flows: tuple[CashFlow, ...] = ()
    paybacks: tuple[Payback, ...] = ()
    flags: tuple[str, ...] = ()

    def to_dict(self) -> ComparisonDoc:
        return {
            "model": self.model,
            "reading": self.reading,
            "tokens_per_month": list(self.tokens_per_month),
            "paths": [path.to_dict() for path in self.paths],
            "crossovers": [crossover.to_dict() for crossover in self.crossovers],
            "sentence": self.sentence,
            "leaves_out": list(self.leaves_out),
            "lens": self.lens,
            "currency": self.currency.to_dict(),
            "tokens_per_month_asked": self.tokens_per_month_asked,
            "bills": [bill.to_dict() for bill in self.bills],
            "cash_flows": [flow.to_dict() for flow in self.cash_flows],
            "paybacks": [payback.to_dict() for payback in self.paybacks],
            "flags": list(self.flags),
        }
