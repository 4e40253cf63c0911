"""Plans side by side, how they are billed, what the APIs ask, what was assumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.deliver.elements.tables import Cell, Table, figure, number, words
from llmsizer.deliver.elements.wording import plain_number
from llmsizer.money.currency import USD, shown

LIMITS: dict[str, str] = {"ttft": "TTFT", "tpot": "TPOT", "kv cache": "room in the KV cache"}
UNSURE_SHOWN = 3


def plans_table(plans: Sequence[Plan]) -> Table:
    """Plans side by side: a row for each thing that matters, a column for each plan."""
    rows: list[tuple[Cell, ...]] = [
        (words("Path"), *(words(f"{p.path} · {p.provider or 'your site'}", remark=p.zone) for p in plans)),
        (words("Cost a month"), *(figure(p.cost.usd_per_month, strong=True) for p in plans)),
        (words("Cost of 1 M tokens"), *(replace(figure(p.cost.usd_per_million_tokens), remark="") for p in plans)),
        (words("Precision"), *(_precision(p) for p in plans)),
        (words("One replica"), *(words(_replica(p)) for p in plans)),
        (words("Replicas"), *(words(f"{p.replicas} + {p.spare_replicas} spare") for p in plans)),
        (words("To order"), *(words(ordered(p), remark=f"{p.gpus} GPUs used") for p in plans)),
        (words("TTFT p95 at peak"), *(figure(p.at_peak.ttft_p95) for p in plans)),
        (words("TPOT p95 at peak"), *(figure(p.at_peak.tpot_p95) for p in plans)),
        (words("Load at peak"), *(_load(p) for p in plans)),
        (words("Capacity of a replica"), *(figure(p.capacity.requests_per_second) for p in plans)),
        (words("Limited by"), *(words(LIMITS.get(p.capacity.limited_by, p.capacity.limited_by)) for p in plans)),
        (words("Quality kept"), *(figure(p.quality_recovery) for p in plans)),
        (words("Notes"), *(words("; ".join((*p.notes, *p.cost.flags)) or "–") for p in plans)),
    ]
    return Table(title="Cheapest plans", headers=("", *_ranks(len(plans))), rows=tuple(rows))


def unsure_table(recommendation: Recommendation) -> Table:
    """Plans that cost less than the first, but miss the SLO where steps are as slow as their interval allows."""
    best = recommendation.best
    floor = best.cost.usd_per_month.value if best else None
    cheaper = (
        [] if floor is None else [p for p in recommendation.plans if (p.cost.usd_per_month.value or floor) < floor]
    )
    rows = tuple(
        (
            words(p.label),
            figure(p.cost.usd_per_month),
            figure(p.capacity.requests_per_second),
            figure(p.quality_recovery),
            words("; ".join(p.notes) or "–"),
        )
        for p in sorted(cheaper, key=lambda p: p.cost.usd_per_month.value or 0.0)[:UNSURE_SHOWN]
    )
    headers = ("Plan", "A month", "Capacity of a replica", "Quality kept", "Notes")
    left = len(cheaper) - len(rows)
    note = f"{left} more are cheaper than the first plan but less sure." if left else ""
    return Table(title="Cheaper in the middle of its interval, but less sure", headers=headers, rows=rows, note=note)


def excluded_table(recommendation: Recommendation) -> Table:
    """What a constraint of the scenario excludes before it is sized: who, why, and what would let them in."""
    grouped: dict[tuple[str, str], list[str]] = {}
    for rejection in recommendation.rejections:
        if rejection.kind == "constraint":
            name = rejection.candidate.removeprefix("rent at ")
            reason = rejection.reason.replace(f"{name} ", "the operator ")
            grouped.setdefault((reason, rejection.nearest_fix), []).append(rejection.candidate)
    rows = tuple(
        (words(_together(candidates)), words(reason), words(fix)) for (reason, fix), candidates in grouped.items()
    )
    headers = ("Excluded", "Why", "What would let it in")
    return Table(title="Excluded by a constraint", headers=headers, rows=rows)


def _together(candidates: Sequence[str]) -> str:
    """``rent at A, B and C``."""
    names = [name.removeprefix("rent at ") for name in candidates]
    shared = all(name.startswith("rent at ") for name in candidates)
    if not shared or len(names) == 1:
        return ", ".join(candidates)
    return f"rent at {', '.join(names[:-1])} and {names[-1]}"


def modes_table(recommendation: Recommendation) -> Table:
    """The first rented plan's machines under every contract and in every mode, cheapest first, and why not."""
    rows = tuple(
        (
            words(f"{mode.term}, {mode.mode}", strong=mode.is_taken, remark=mode.meaning),
            words(f"{mode.provider} ({mode.zone})" if mode.provider else "–"),
            words(str(mode.instances) if mode.instances else "–"),
            number(mode.billed_share, "fraction", "calibrated") if mode.billed_share is not None else words("–"),
            number(mode.usd_per_month, "USD", "assumed") if mode.usd_per_month is not None else words("–"),
            words("taken" if mode.is_taken else mode.why_not or "possible; dearer"),
        )
        for mode in recommendation.rent_modes
    )
    headers = ("Paid and run", "At", "Instances", "Billed of the month", "A month", "Why not")
    return Table(title="How the first rented plan's machines may be paid for and run", headers=headers, rows=rows)


def _precision(plan: Plan) -> Cell:
    return words(plan.deployment.weights.name, remark=plan.deployment.weights.description)


def ordered(plan: Plan) -> str:
    """What is bought or rented: ``2 instances``."""
    one = plan.unit_name.removesuffix("s")
    return f"{plan.units} {one if plan.units == 1 else one + 's'}"


def _ranks(count: int) -> tuple[str, ...]:
    return tuple(("Cheapest", "Second", "Third", "Fourth", "Fifth")[:count])


def _replica(plan: Plan) -> str:
    d = plan.deployment
    spread = f", {d.parallelism.label}" if d.parallelism.gpus > 1 else ""
    spread += f", {d.servers} servers" if d.servers > 1 else ""
    return f"{d.parallelism.gpus} × {d.gpu.name}{spread}, {d.engine}"


def _load(plan: Plan) -> Cell:
    basis = plan.capacity.requests_per_second.basis
    return number(plan.at_peak.utilisation, "fraction", basis, remark=plan.at_peak.verdict)


def assumptions_table(recommendation: Recommendation) -> Table:
    """The register: every input that is not a choice, with its range, source and date."""
    rows = tuple(
        (
            words(name),
            replace(figure(f), text=_bare(f.value), between=""),
            words(_bare(f.low, "–")),
            words(_bare(f.high, "–")),
            words(f.unit),
            words(f.source or f.estimate.reason or "–"),
            words(f.as_of or "–"),
        )
        for name, f in recommendation.assumptions.items()
    )
    note = (
        "" if shown().code == USD else "Money stands here as it was quoted and as a scenario takes it: in US dollars."
    )
    heads = ("Id", "Value", "Low", "High", "Unit", "Source", "Date")
    return Table(title="Assumptions", headers=heads, rows=rows, note=note)


def _bare(value: float | None, missing: str = "unknown") -> str:
    """The number alone: its unit has a column of its own."""
    return missing if value is None else plain_number(value)
