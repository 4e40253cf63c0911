"""How clear an answer is: whether the cost ranges of owning, renting and paying by token overlap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.wording import figure_amount, figure_range
from llmsizer.facts.figure import Figure
from llmsizer.money.cost import Cost, Path

PATH_WORDS: dict[Path, str] = {"own": "own", "rent": "rent", "api": "API"}
Clearness = Literal["clear", "leaning", "close", "alone", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """The best complete way along one path, for the model that was asked for."""

    path: Path
    label: str
    cost: Cost
    notes: tuple[str, ...] = ()

    @property
    def usd_per_month(self) -> Figure:
        return self.cost.usd_per_month


@dataclass(frozen=True, slots=True, kw_only=True)
class Confidence:
    """How clear it is which path is cheapest, in a word and in a sentence."""

    clearness: Clearness
    word: str
    text: str


def best_by_path(recommendation: Recommendation) -> tuple[Option, ...]:
    """The first of each path in the recommendation's order, by cost; another model's API is no substitute."""
    listed = [Option(path=plan.path, label=plan.label, cost=plan.cost) for plan in recommendation.plans]
    listed += [
        Option(path="api", label=f"API of {api.provider}: {api.model}", cost=api.cost, notes=api.notes)
        for api in recommendation.apis
        if api.same_model
    ]
    options: dict[Path, Option] = {}
    for option in listed:
        if option.usd_per_month.value is not None:
            options.setdefault(option.path, option)
    return tuple(sorted(options.values(), key=lambda option: option.usd_per_month.value or 0.0))


def confidence(recommendation: Recommendation) -> Confidence:
    """Clear where the ranges do not overlap, close where either could be cheaper."""
    options = best_by_path(recommendation)
    if not options:
        return Confidence(clearness="none", word="no answer", text="Nothing that was considered can be priced and run.")
    first = options[0]
    rests = f"Its cost rests on {mark(first.usd_per_month.basis)} inputs at the least sure."
    if len(options) == 1:
        text = f"Only one path is open ({PATH_WORDS[first.path]}), so there is nothing to weigh it against. {rests}"
        return Confidence(clearness="alone", word="one path only", text=text)
    second = options[1]
    pair = f"{_range(first)} for {PATH_WORDS[first.path]} against {_range(second)} for {PATH_WORDS[second.path]}"
    high, low = _high(first.usd_per_month), _low(second.usd_per_month)
    if high < low:
        return Confidence(clearness="clear", word="clear", text=f"The ranges do not overlap: {pair}. {rests}")
    if (first.usd_per_month.value or 0.0) * 1.2 <= (second.usd_per_month.value or 0.0):
        text = f"Cheaper by a fifth or more in the middle, but the ranges overlap: {pair}. {rests}"
        return Confidence(clearness="leaning", word="leaning", text=text)
    text = f"Either could turn out cheaper: {pair}. {rests}"
    return Confidence(clearness="close", word="close call", text=text)


def _range(option: Option) -> str:
    return figure_range(option.usd_per_month) or figure_amount(option.usd_per_month)


def _low(value: Figure) -> float:
    return (value.value or 0.0) if value.low is None else value.low


def _high(value: Figure) -> float:
    return (value.value or 0.0) if value.high is None else value.high
