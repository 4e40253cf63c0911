"""What something costs a month: named parts that sum to the total, each with its basis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.facts.figure import Figure, FigureDoc, total
from llmsizer.facts.provenance import STALE_AFTER_DAYS, Estimate
from llmsizer.money.energy import Energy, EnergyDoc
from llmsizer.units import MEGA

Path = Literal["own", "rent", "api"]
Lens = Literal["full", "marginal"]
USD_PER_MONTH = "USD/month"
USD_PER_MTOK = "USD/1M tokens"
ALLOCATION: dict[Path, str] = {
    "own": "input and output share the bill by the engine time they take",
    "rent": "input and output share the bill by the engine time they take",
    "api": "input is charged with its own lines of the bill, output with its own; retries and VAT in proportion",
}


class PartDoc(TypedDict):
    """The JSON form of one part of a cost."""

    name: str
    usd_per_month: FigureDoc
    how: str
    sunk: bool


class CostDoc(TypedDict):
    """The JSON form of a cost; its parts sum to its total."""

    path: Path
    label: str
    parts: list[PartDoc]
    usd_per_month: FigureDoc
    usd_per_million_input_tokens: FigureDoc
    usd_per_million_output_tokens: FigureDoc
    usd_per_million_tokens: FigureDoc
    input_tokens_per_month: float
    output_tokens_per_month: float
    flags: list[str]
    lens: Lens
    left_out_as_sunk: list[PartDoc]
    is_complete: bool
    energy: EnergyDoc | None
    allocation: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CostPart:
    """One line of a bill: dollars a month, and the arithmetic behind it in words."""

    name: str
    usd_per_month: Figure
    how: str = ""
    sunk: bool = False  # paid, or owed, whether this workload runs or not
    taxed: bool = True  # whether VAT is charged on it

    def to_dict(self) -> PartDoc:
        return {
            "name": self.name,
            "usd_per_month": self.usd_per_month.to_dict(),
            "how": self.how,
            "sunk": self.sunk,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class OneOff:
    """Dollars that change hands once, ``month`` months from the order; negative where they come back."""

    month: float
    usd: float
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A monthly bill for a stated volume of tokens.

    ``input_share`` splits a machine's cost between input and output tokens, by engine time; an API prices them apart.
    Low and high take every part at its low or its high together, which is wider than 90 % where parts are independent.
    """

    path: Path
    label: str
    parts: tuple[CostPart, ...]
    input_tokens_per_month: float
    output_tokens_per_month: float
    input_share: float
    flags: tuple[str, ...] = ()  # stale prices, incomplete prices, what the reader must know
    lens: Lens = "full"
    left_out_as_sunk: tuple[CostPart, ...] = ()  # by the marginal lens
    energy: Energy | None = None
    one_offs: tuple[OneOff, ...] = ()  # purchases and sales; the parts that spread them over the months are not cash
    service_from_month: float = 0.0  # when what was ordered begins to serve

    @property
    def usd_per_month(self) -> Figure:
        figures = [part.usd_per_month for part in self.parts]
        dates = sorted(figure.as_of for figure in figures if figure.as_of)
        return Figure(
            estimate=total([figure.estimate for figure in figures], reason="sum of its parts"),
            unit=USD_PER_MONTH,
            source="sum of its parts",
            as_of=dates[0] if dates else "",
            stale=any(figure.stale for figure in figures),
        )

    @property
    def at_least_usd_per_month(self) -> float:
        """The sum of the parts that are known."""
        return sum(part.usd_per_month.value or 0.0 for part in self.parts)

    @property
    def is_complete(self) -> bool:
        return all(part.usd_per_month.value is not None for part in self.parts)

    @property
    def usd_per_million_output_tokens(self) -> Figure:
        return self.usd_per_month.scaled(MEGA * (1 - self.input_share) / self.output_tokens_per_month, USD_PER_MTOK)

    @property
    def usd_per_million_input_tokens(self) -> Figure:
        return self.usd_per_month.scaled(MEGA * self.input_share / self.input_tokens_per_month, USD_PER_MTOK)

    @property
    def usd_per_million_tokens(self) -> Figure:
        """All cost over all tokens, input and output."""
        tokens = self.input_tokens_per_month + self.output_tokens_per_month
        return self.usd_per_month.scaled(MEGA / tokens, USD_PER_MTOK)

    def part(self, name: str) -> Estimate:
        """The estimate of the part of that name; a part that is not on the bill costs nothing."""
        found = [p.usd_per_month.estimate for p in self.parts if p.name == name]
        return total(found) if found else Estimate(value=0.0, basis="published")

    def to_dict(self) -> CostDoc:
        return {
            "path": self.path,
            "label": self.label,
            "parts": [part.to_dict() for part in self.parts],
            "usd_per_month": self.usd_per_month.to_dict(),
            "usd_per_million_input_tokens": self.usd_per_million_input_tokens.to_dict(),
            "usd_per_million_output_tokens": self.usd_per_million_output_tokens.to_dict(),
            "usd_per_million_tokens": self.usd_per_million_tokens.to_dict(),
            "input_tokens_per_month": self.input_tokens_per_month,
            "output_tokens_per_month": self.output_tokens_per_month,
            "flags": list(self.flags),
            "lens": self.lens,
            "left_out_as_sunk": [part.to_dict() for part in self.left_out_as_sunk],
            "is_complete": self.is_complete,
            "energy": None if self.energy is None else self.energy.to_dict(),
            "allocation": ALLOCATION[self.path],
        }


def with_vat(parts: Sequence[CostPart], vat_rate: float) -> tuple[CostPart, ...]:
    """The parts, and VAT on those that are taxed; the parts alone where none is charged."""
    if not vat_rate:
        return tuple(parts)
    taxed = total([part.usd_per_month.estimate for part in parts if part.taxed])
    figure = Figure(estimate=taxed.scaled(vat_rate), unit=USD_PER_MONTH, source="rate given in the scenario")
    how = f"{vat_rate:.4g} of every part but pay and interest"
    return (*parts, CostPart(name="VAT", usd_per_month=figure, how=how, taxed=False))


def through(lens: Lens, bill: Cost, *, vat_rate: float = 0.0) -> Cost:
    """The bill as a lens shows it: in full, or without what is paid whether the workload runs or not.

    VAT goes with what it is charged on: what is taken as paid has its own paid too.
    """
    if lens == "full":
        return bill
    kept = with_vat([part for part in bill.parts if not part.sunk and part.name != "VAT"], vat_rate)
    sunk = tuple(part for part in bill.parts if part.sunk)
    names = ", ".join(part.name for part in sunk) or "nothing"
    return replace(
        bill,
        parts=kept,
        left_out_as_sunk=sunk,
        lens=lens,
        one_offs=(),
        flags=(*bill.flags, f"marginal lens: {names} taken as paid already"),
    )


def spanning(bill: Cost, fewest: Cost, most: Cost) -> Cost:
    """The bill with each part's low from a smaller fleet and its high from a larger one; parts in one order."""

    def part(mid: CostPart, small: CostPart, large: CostPart) -> CostPart:
        figure, low, high = mid.usd_per_month, small.usd_per_month, large.usd_per_month
        if figure.value is None or low.value is None or high.value is None or figure is low is high:
            return mid
        ends = [end for figure in (low, high) for end in (figure.low, figure.value, figure.high) if end is not None]
        estimate = replace(figure.estimate, low=min(*ends, figure.value), high=max(*ends, figure.value))
        return replace(mid, usd_per_month=replace(figure, estimate=estimate))

    return replace(bill, parts=tuple(map(part, bill.parts, fewest.parts, most.parts)))


def stale_flags(parts: Sequence[CostPart]) -> tuple[str, ...]:
    """One line on prices older than 90 days; none where all are recent."""
    old = {part.name: part.usd_per_month.as_of for part in parts if part.usd_per_month.stale}
    if not old:
        return ()
    listed = ", ".join(f"{name} ({as_of or 'no date'})" for name, as_of in old.items())
    return (f"prices older than {STALE_AFTER_DAYS} days: {listed}",)
