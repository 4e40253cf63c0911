"""What is out, and why; what nearly was not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llmsizer.decide.answer import Recommendation, Rejection, RejectionKind
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import amount
from llmsizer.facts.provenance import Basis

REJECTION_WORDS: dict[RejectionKind, str] = {
    "memory": "Does not fit in memory",
    "slo": "Too slow for what was asked",
    "quality": "Loses more quality than allowed",
    "unsupported": "Not supported there by the engine",
    "no price": "No price known",
    "no evidence": "No evidence to predict from",
    "parallelism": "Cannot be split that way",
    "constraint": "Excluded by a constraint",
    "budget": "Above the budget",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionGroup:
    """All that is out for one kind of reason; candidates out for the very same reason share a row."""

    words: str
    count: int
    table: Table


def near_misses_table(recommendation: Recommendation) -> Table:
    """What came closest, and the smallest change that would bring it in."""
    rows = tuple(
        (words(_candidate(r, recommendation)), words(r.reason), _shortfall(r), words(r.nearest_fix))
        for r in recommendation.near_misses
    )
    headers = ("Candidate", "Why it is out", "Misses by", "What would fix it")
    return Table(title="Near misses", headers=headers, rows=rows)


def _candidate(rejection: Rejection, recommendation: Recommendation) -> str:
    """The candidate without the model's name, which the whole page is about."""
    return rejection.candidate.removeprefix(f"{recommendation.model} ")


def _shortfall(rejection: Rejection) -> Cell:
    if rejection.shortfall is None:
        return words("–")
    basis: Basis = "published" if rejection.kind in ("memory", "budget") else "calibrated"
    return Cell(text=amount(rejection.shortfall, "fraction"), basis=basis)


def rejection_groups(recommendation: Recommendation) -> list[RejectionGroup]:
    """Everything that is out, in groups by reason, the largest first."""
    kinds: dict[RejectionKind, dict[tuple[str, str], list[str]]] = {}
    for rejection in recommendation.rejections:
        same = kinds.setdefault(rejection.kind, {}).setdefault((rejection.reason, rejection.nearest_fix), [])
        same.append(_candidate(rejection, recommendation))
    groups = [_rejection_group(kind, reasons) for kind, reasons in kinds.items()]
    return sorted(groups, key=lambda group: -group.count)


def _rejection_group(kind: RejectionKind, reasons: Mapping[tuple[str, str], Sequence[str]]) -> RejectionGroup:
    title = REJECTION_WORDS.get(kind, str(kind))
    rows = tuple((words(", ".join(names)), words(reason), words(fix)) for (reason, fix), names in reasons.items())
    headers = ("Candidate", "Why it is out", "What would bring it in")
    count = sum(len(names) for names in reasons.values())
    return RejectionGroup(words=title, count=count, table=Table(title=title, headers=headers, rows=rows))
