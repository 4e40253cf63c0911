"""The report's charts: each one a title, words for those who cannot see it, a drawing at any width, and its table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.decide.answer import Plan
from llmsizer.deliver.charts.stairs import draw_stairs, drawn_paths, line_keys
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import MARKS, mark
from llmsizer.deliver.elements.chart import Chart, Key, short_tokens
from llmsizer.deliver.elements.tables import Cell, Table, number, words
from llmsizer.deliver.elements.wording import amount, shown_parts, size
from llmsizer.deliver.tables.bills import bill_digits, stairs_table
from llmsizer.facts.provenance import Basis
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Cost
from llmsizer.money.currency import shown
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.units import GIGA

PART_COLOURS = 10  # --part-1 … --part-10 in the style sheet
LARGEST_SHARE = 0.045  # of the width: a narrower segment gets no number inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """A part of a bar."""

    name: str
    value: float
    basis: Basis


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar of parts, with the words at its right end."""

    label: str
    segments: tuple[Segment, ...]
    end: str

    @property
    def total(self) -> float:
        return sum(segment.value for segment in self.segments)


def memory_bars(plans: Sequence[Plan]) -> tuple[Bar, ...]:
    """One GPU of each plan, part by part, as the memory account has it."""
    return tuple(_memory_bar(plan) for plan in plans)


def _memory_bar(plan: Plan) -> Bar:
    account = estimate_memory(plan.deployment)
    return Bar(
        label=f"{plan.deployment.weights.name} on {plan.deployment.gpu.name}",
        segments=tuple(
            Segment(name=name, value=value, basis=account.basis[name])
            for name, value in account.parts.items()
            if value > 0
        ),
        end=f"{size(account.gpu_bytes)} card",
    )


def memory_chart(plans: Sequence[Plan]) -> Chart:
    """How one GPU's memory is spent in each plan."""
    bars = memory_bars(plans)
    alt = "; ".join(f"{b.label}: " + ", ".join(f"{s.name} {size(s.value)}" for s in b.segments) for b in bars)
    return _stacked("Memory of one GPU", alt, bars, _memory_table(plans, bars))


def _memory_table(plans: Sequence[Plan], bars: Sequence[Bar]) -> Table:
    """Parts down, plans across; each column sums, as displayed, to its card."""
    names = list(dict.fromkeys(segment.name for bar in bars for segment in bar.segments))
    columns = [_shown_gb(bar) for bar in bars]
    parts = [(words(name), *(column.get(name, words("–")) for column in columns)) for name in names]
    cards = [_card(plan, bar) for plan, bar in zip(plans, bars, strict=True)]
    room = [
        number(plan.fit.kv_capacity_tokens, "tokens", "calibrated", remark="in all GPUs of a replica") for plan in plans
    ]
    return Table(
        title="Memory of one GPU",
        headers=("Part", *(bar.label for bar in bars)),
        rows=(*parts, (words("Card", strong=True), *cards), (words("Context the cache holds"), *room)),
        total_row=len(parts),
    )


def _shown_gb(bar: Bar) -> dict[str, Cell]:
    gigabytes = shown_parts([segment.value / GIGA for segment in bar.segments], 1)
    return {
        segment.name: Cell(text=f"{value:,.1f} GB", basis=segment.basis)
        for segment, value in zip(bar.segments, gigabytes, strict=True)
    }


def _card(plan: Plan, bar: Bar) -> Cell:
    gpu = plan.deployment.gpu
    basis = gpu.provenance_by_field.get("memory_bytes", gpu.provenance).basis
    return Cell(text=f"{bar.total / GIGA:,.1f} GB", basis=basis, strong=True)


def cost_bars(costs: Sequence[tuple[str, Cost]]) -> tuple[Bar, ...]:
    """One bill a bar; parts that are not known are not drawn, and the end says so."""
    return tuple(
        Bar(
            label=label,
            segments=tuple(
                Segment(name=p.name, value=p.usd_per_month.value, basis=p.usd_per_month.basis)
                for p in cost.parts
                if p.usd_per_month.value is not None
            ),
            end=("" if cost.is_complete else "at least ")
            + shown().exact_text(cost.at_least_usd_per_month, bill_digits(cost)),
        )
        for label, cost in costs
    )


def cost_chart(costs: Sequence[tuple[str, Cost]], table: Table) -> Chart:
    """Where the money goes, path by path."""
    bars = cost_bars(costs)
    alt = "; ".join(f"{b.label}, {b.end} a month: " + ", ".join(_share(s) for s in b.segments) for b in bars)
    return _stacked("Where the money goes", alt, bars, table)


def _share(segment: Segment) -> str:
    return f"{segment.name} {amount(segment.value, 'USD')}"


def _stacked(title: str, alt: str, bars: Sequence[Bar], table: Table) -> Chart:
    names = list(dict.fromkeys(segment.name for bar in bars for segment in bar.segments))
    bases: dict[str, list[Basis]] = {name: [] for name in names}
    for segment in (s for bar in bars for s in bar.segments):
        if segment.basis not in bases[segment.name]:
            bases[segment.name].append(segment.basis)
    legend = tuple(
        Key(
            symbol=str(index),
            css=f"swatch part-{(index - 1) % PART_COLOURS + 1}",
            words=f"{name}, {' or '.join(mark(basis) for basis in bases[name])}",
        )
        for index, name in enumerate(names, 1)
    )
    return Chart(
        title=title, alt=alt, draw=lambda width: draw_stacked(bars, names, width, alt), table=table, legend=legend
    )


def draw_stacked(bars: Sequence[Bar], names: Sequence[str], width: float, alt: str) -> str:
    """Bars under their labels; each part carries the number it has in the legend."""
    scale = svg.Scale(low=0, high=max((bar.total for bar in bars), default=1.0) or 1.0, start=0, end=width)
    body: list[str] = []
    top = 4.0
    for bar in bars:
        room = width - svg.text_width(bar.end) - 16
        body.append(svg.text(0, top + 12, svg.shortened(bar.label, room), css="bar-label"))
        body.append(svg.text(width, top + 12, bar.end, css="bar-end", anchor="end"))
        body.extend(_segments(bar, names, scale, top + 20, width))
        top += 66
    return svg.document(width, max(top - 10, 20), alt, body)


def _segments(bar: Bar, names: Sequence[str], scale: svg.Scale, top: float, width: float) -> list[str]:
    body: list[str] = []
    start = 0.0
    for segment in bar.segments:
        index = names.index(segment.name)
        left, right = scale(start), scale(start + segment.value)
        colour = index % PART_COLOURS + 1
        title = f"{segment.name}: {mark(segment.basis)}"
        body.append(svg.rect(left, top, max(right - left - 1, 0.5), 28, fill=f"var(--part-{colour})", title=title))
        if right - left > width * LARGEST_SHARE:
            body.append(svg.text((left + right) / 2, top + 19, str(index + 1), css="on-part", anchor="middle"))
        start += segment.value
    return body


def stairs_chart(comparison: Comparison, tokens_per_month: float | None = None) -> Chart:
    """Own and rent as the stairs they are, APIs as lines, over the volume of tokens."""
    where = (
        ""
        if tokens_per_month is None
        else f" The dotted upright line is your volume, {short_tokens(tokens_per_month)}."
    )
    alt = f"{shown().words} a month over tokens a month, both logarithmic. {comparison.sentence}{where}"
    return Chart(
        title="Build or buy, by volume",
        alt=alt,
        draw=lambda width: draw_stairs(comparison, tokens_per_month, width, alt),
        table=stairs_table(comparison, tokens_per_month),
        legend=line_keys(comparison),
        note="Both axes are logarithmic. Bands run from low to high of each cost." + _undrawn(comparison),
    )


def _undrawn(comparison: Comparison) -> str:
    left = len(comparison.paths) - len(drawn_paths(comparison))
    return f" {left} more APIs are in the table only." if left else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One quantity over the variants: a value each, with an interval where there is one."""

    name: str
    unit: str
    better: str
    values: tuple[tuple[str, float | None, float | None, float | None], ...]  # name, value, low, high


def draw_measure(measure: Measure, width: float) -> str:
    """Horizontal bars with whiskers; an unknown one is a word, not a bar of no length."""
    highest = max((high or value or 0.0 for _, value, _, high in measure.values), default=0.0) or 1.0
    label_width = 8 + max((svg.text_width(name) for name, *_ in measure.values), default=0.0)
    said = [f"{amount(value, measure.unit)} {MARKS['measured']}" for _, value, _, _ in measure.values]
    room = 24 + max((svg.text_width(words) for words in said), default=0.0)
    scale = svg.Scale(low=0, high=highest, start=label_width, end=width - room)
    body: list[str] = []
    for index, (name, value, low, high) in enumerate(measure.values):
        top = 4 + index * 30
        body.append(svg.text(0, top + 16, name, css="bar-label"))
        if value is None:
            body.append(svg.text(label_width, top + 16, f"unknown {MARKS['unknown']}", css="axis"))
            continue
        body.append(svg.rect(label_width, top + 3, scale(value) - label_width, 18, fill="var(--part-1)"))
        if low is not None and high is not None:
            body.append(svg.line(scale(low), top + 12, scale(high), top + 12, "whisker"))
        end = scale(max(value, high or value)) + 6
        body.append(svg.text(end, top + 16, said[index], css="bar-end"))
    alt = f"{measure.name}: " + ", ".join(f"{n} {amount(v, measure.unit)}" for n, v, _, _ in measure.values)
    return svg.document(width, 8 + 30 * len(measure.values), alt, body)
