"""The tables of a recommendation: plans side by side, bills that add up, what is out and why, what was assumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from llmsizer.decide.answer import Plan, Recommendation, Rejection, RejectionKind
from llmsizer.deliver.tables import Cell, Table, figure, number, words
from llmsizer.deliver.wording import amount, plain_number, shown_parts, shown_usd, tokens
from llmsizer.facts.figure import Figure, weakest_basis
from llmsizer.facts.provenance import Basis
from llmsizer.money.comparison import Comparison, Crossover, PathCost
from llmsizer.money.cost import Cost
from llmsizer.units import format_usd

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

UNSURE_SHOWN, APIS_SHOWN, VOLUMES_SHOWN = 3, 12, 7
LIMITS: dict[str, str] = {"ttft": "TTFT", "tpot": "TPOT", "kv cache": "room in the KV cache"}


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


def costs_table(costs: Sequence[tuple[str, Cost]]) -> Table:
    """Bills side by side; each column's parts sum, as displayed, to its total."""
    names = list(dict.fromkeys(part.name for _, cost in costs for part in cost.parts))
    columns = [_bill(cost) for _, cost in costs]
    parts = [(words(name), *(column.get(name, words("–")) for column in columns)) for name in names]
    totals = (words("Total a month", strong=True), *(_total(cost) for _, cost in costs))
    per_million = (words("For 1 M tokens, in and out"), *(figure(cost.usd_per_million_tokens) for _, cost in costs))
    return Table(
        title="Monthly bill by part",
        headers=("US dollars a month", *(name for name, _ in costs)),
        rows=(*parts, totals, per_million),
        total_row=len(parts),
    )


def bill_digits(cost: Cost) -> int:
    """Whole dollars for a bill of a thousand or more, else cents."""
    return 0 if cost.at_least_usd_per_month >= 1000 else 2


def _bill(cost: Cost) -> dict[str, Cell]:
    """The cell of each part name; parts of one name stand as one line."""
    digits = bill_digits(cost)
    known = [part for part in cost.parts if part.usd_per_month.value is not None]
    shown = shown_parts([part.usd_per_month.value or 0.0 for part in known], digits)
    cells = {part.name: figure(part.usd_per_month) for part in cost.parts if part.usd_per_month.value is None}
    for name in dict.fromkeys(part.name for part in known):
        lines = [(part, value) for part, value in zip(known, shown, strict=True) if part.name == name]
        cells[name] = _line([part.usd_per_month for part, _ in lines], sum(value for _, value in lines), digits)
    return cells


def _line(parts: Sequence[Figure], shown: float, digits: int) -> Cell:
    if len(parts) == 1:
        return figure(parts[0], digits=digits, shown=shown)
    basis = weakest_basis([part.basis for part in parts])
    return Cell(text=shown_usd(shown, digits), basis=basis, remark=f"{len(parts)} lines")


def _total(cost: Cost) -> Cell:
    if cost.is_complete:
        digits = bill_digits(cost)
        shown = sum(shown_parts([p.usd_per_month.value or 0.0 for p in cost.parts], digits))
        return figure(cost.usd_per_month, strong=True, digits=digits, shown=shown)
    at_least = shown_usd(cost.at_least_usd_per_month, bill_digits(cost))
    return Cell(text=f"at least {at_least}", basis="unknown", remark=cost.usd_per_month.estimate.reason, strong=True)


def arithmetic_table(costs: Sequence[tuple[str, Cost]]) -> Table:
    """How each line of each bill was computed, with its source."""
    rows = tuple(
        (words(label), words(p.name), words(p.how or "–"), figure(p.usd_per_month), words(_source(p.usd_per_month)))
        for label, cost in costs
        for p in cost.parts
    )
    return Table(title="How each line is computed", headers=("Bill", "Part", "How", "A month", "Source"), rows=rows)


def _source(value: Figure) -> str:
    return ", ".join(text for text in (value.source, value.as_of) if text) or value.estimate.reason or "–"


def apis_table(recommendation: Recommendation) -> Table:
    """API prices at the scenario's volume; another model is another quality tier and says so."""
    shown = recommendation.apis[:APIS_SHOWN]
    shared = [note for note in (shown[0].notes if shown else ()) if all(note in api.notes for api in shown)]
    rows = tuple(
        (
            words(api.provider),
            words(api.model),
            words(
                "same model" if api.same_model else "another model",
                remark="; ".join(note for note in api.notes if note not in shared),
            ),
            _total(api.cost),
            replace(figure(api.cost.usd_per_million_input_tokens), remark=""),
            replace(figure(api.cost.usd_per_million_output_tokens), remark=""),
        )
        for api in shown
    )
    headers = ("Provider", "Model", "Compared with yours", "A month", "1 M tokens in", "1 M tokens out")
    left = len(recommendation.apis) - APIS_SHOWN
    notes = [f"For all of them: {'; '.join(shared)}."] if shared else []
    notes += [f"{left} dearer ones are not shown."] if left > 0 else []
    return Table(title="API prices", headers=headers, rows=rows, note=" ".join(notes))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectionGroup:
    """All that is out for one kind of reason; candidates out for the very same reason share a row."""

    words: str
    count: int
    table: Table


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
    return Table(title="Assumptions", headers=("Id", "Value", "Low", "High", "Unit", "Source", "Date"), rows=rows)


def _bare(value: float | None, missing: str = "unknown") -> str:
    """The number alone: its unit has a column of its own."""
    return missing if value is None else plain_number(value)


def stairs_table(comparison: Comparison, volume: float | None = None) -> Table:
    """Every path at a few of the volumes, the scenario's own among them."""
    volumes = list(comparison.tokens_per_month)
    own = None if volume is None or not volumes else min(volumes, key=lambda v: abs(v - volume))
    step = max(1, (len(volumes) - 1) // (VOLUMES_SHOWN - 1))
    chosen = sorted(set(volumes[::step]) | set(volumes[-1:]) | (set() if own is None else {own}))
    rows = tuple(
        (words(path.label, remark=_about(path)), *(_step(path, v) for v in chosen)) for path in comparison.paths
    )
    yours = "" if own is None else " (yours)" if own == volume else " (nearest yours)"
    headers = ("Tokens a month", *(tokens(v) + (yours if v == own else "") for v in chosen))
    return Table(title="Cost by volume, US dollars a month", headers=headers, rows=rows)


def _about(path: PathCost) -> str:
    stale = any(step.usd_per_month.stale for step in path.steps)
    note = path.note if path.same_model else "another model"
    return "; ".join(text for text in (note, "stale prices" if stale else "") if text)


def _step(path: PathCost, volume: float) -> Cell:
    found = [s for s in path.steps if s.tokens_per_month == volume]
    if not found:
        return words("–")
    cost, label = found[0].usd_per_month, found[0].label
    remark = "" if label == path.label else label
    if cost.value is None:
        return replace(figure(cost), remark=cost.estimate.reason)
    return replace(figure(cost), text=format_usd(cost.value), remark=remark)


def crossovers_table(comparison: Comparison) -> Table:
    """Where one path becomes as cheap as another, or that it does not within what was searched."""
    rows = tuple(
        (
            words(c.cheaper_below),
            words(c.cheaper_above),
            words(_crossing(c), strong=True),
            words(c.text),
        )
        for c in comparison.crossovers
    )
    headers = ("Cheaper below", "Cheaper from there on", "Crossover", "In words")
    return Table(title="Crossovers", headers=headers, rows=rows)


def _crossing(crossover: Crossover) -> str:
    volume = crossover.tokens_per_month
    return crossover.state if volume is None else f"{tokens(volume)} tokens a month"
