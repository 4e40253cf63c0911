"""Bills that add up, line by line; costs by volume and where they cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.elements.tables import Cell, Table, figure, words
from llmsizer.deliver.elements.wording import shown_parts, tokens
from llmsizer.facts.figure import Figure, weakest_basis
from llmsizer.money.comparison import Comparison, Crossover, PathCost
from llmsizer.money.cost import Cost
from llmsizer.money.currency import format_usd, shown

APIS_SHOWN, VOLUMES_SHOWN = 12, 7


def costs_table(costs: Sequence[tuple[str, Cost]]) -> Table:
    """Bills side by side; each column's parts sum, as displayed, to its total."""
    names = list(dict.fromkeys(part.name for _, cost in costs for part in cost.parts))
    columns = [_bill(cost) for _, cost in costs]
    parts = [(words(name), *(column.get(name, words("–")) for column in columns)) for name in names]
    totals = (words("Total a month", strong=True), *(_total(cost) for _, cost in costs))
    per_million = (words("For 1 M tokens, in and out"), *(figure(cost.usd_per_million_tokens) for _, cost in costs))
    return Table(
        title="Monthly bill by part",
        headers=(f"{shown().words} a month", *(name for name, _ in costs)),
        rows=(*parts, totals, per_million),
        total_row=len(parts),
    )


def bill_digits(cost: Cost) -> int:
    """Whole units of money for a bill of a thousand or more, else cents."""
    return 0 if shown().amount(cost.at_least_usd_per_month) >= 1000 else 2


def _bill(cost: Cost) -> dict[str, Cell]:
    """The cell of each part name; parts of one name stand as one line."""
    digits = bill_digits(cost)
    known = [part for part in cost.parts if part.usd_per_month.value is not None]
    amounts = shown_parts([shown().amount(part.usd_per_month.value or 0.0) for part in known], digits)
    cells = {part.name: figure(part.usd_per_month) for part in cost.parts if part.usd_per_month.value is None}
    for name in dict.fromkeys(part.name for part in known):
        lines = [(part, value) for part, value in zip(known, amounts, strict=True) if part.name == name]
        cells[name] = _line([part.usd_per_month for part, _ in lines], sum(value for _, value in lines), digits)
    return cells


def _line(parts: Sequence[Figure], amount: float, digits: int) -> Cell:
    if len(parts) == 1:
        return figure(parts[0], text=shown().written(amount, digits))
    basis = weakest_basis([part.basis for part in parts])
    return Cell(text=shown().written(amount, digits), basis=basis, remark=f"{len(parts)} lines")


def _total(cost: Cost) -> Cell:
    if cost.is_complete:
        digits = bill_digits(cost)
        whole = sum(shown_parts([shown().amount(p.usd_per_month.value or 0.0) for p in cost.parts], digits))
        return figure(cost.usd_per_month, strong=True, text=shown().written(whole, digits))
    at_least = shown().exact_text(cost.at_least_usd_per_month, bill_digits(cost))
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
    return Table(title=f"Cost by volume, {shown().words} a month", headers=headers, rows=rows)


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


def apis_table(recommendation: Recommendation) -> Table:
    """API prices at the scenario's volume; another model is another quality tier and says so."""
    first = recommendation.apis[:APIS_SHOWN]
    shared = [note for note in (first[0].notes if first else ()) if all(note in api.notes for api in first)]
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
        for api in first
    )
    headers = ("Provider", "Model", "Compared with yours", "A month", "1 M tokens in", "1 M tokens out")
    left = len(recommendation.apis) - APIS_SHOWN
    notes = [f"For all of them: {'; '.join(shared)}."] if shared else []
    notes += [f"{left} dearer ones are not shown."] if left > 0 else []
    return Table(title="API prices", headers=headers, rows=rows, note=" ".join(notes))
