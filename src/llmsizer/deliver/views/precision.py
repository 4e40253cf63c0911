"""Formats side by side in numbers: what runs, what it takes, what it keeps, what it costs."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.decide.precision.choice import PrecisionOption
from llmsizer.decide.precision.side_by_side import FormatOnGpu, SideBySide, speeds_at
from llmsizer.deliver.charts.precision import Row
from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.tables import Cell, Table, figure, number, words
from llmsizer.deliver.elements.wording import shown_parts
from llmsizer.facts.figure import Figure
from llmsizer.facts.precision import PRECISIONS
from llmsizer.facts.provenance import Basis
from llmsizer.money.currency import shown
from llmsizer.units import GIGA

SHOWN_COUNTS = (1, 4, 16, 64, 256, 1024)


def formats_table(side: SideBySide) -> Table:
    """One row a format: the answer in numbers."""
    return Table(
        title=f"Formats on {side.gpu.name}",
        headers=("Format", "Quality kept", f"{shown().symbol.strip()} / 1M tokens", "Energy", "Requests / s", "Fits"),
        rows=tuple(_format_row(one) for one in side.formats),
        note="Predicted at the largest load within the SLO, each on the GPUs that serve it cheapest; "
        "energy of the GPUs alone. Quality says for itself whether it was measured or published.",
    )


def _format_row(one: FormatOnGpu) -> tuple[Cell, ...]:
    option = one.option
    if option.rejected:
        why = Cell(text="out", remark=option.rejected)
        return words(one.precision, strong=True), figure(option.quality), why, words("–"), words("–"), _fits(one)
    return (
        words(one.precision, strong=True, remark=f"{option.gpus} × GPU"),
        figure(option.quality),
        figure(option.usd_per_million_tokens),
        figure(option.joules_per_output_token),
        figure(option.requests_per_second),
        _fits(one),
    )


def _fits(one: FormatOnGpu) -> Cell:
    budget = one.budget
    if budget is None:
        return Cell(text="no", remark=one.why_unknown)
    if not budget.fits:
        return Cell(text="no", remark=budget.reason)
    return number(one.held_at_once, "at once", budget.basis["KV cache"])


def vram_table(side: SideBySide) -> Table:
    """Parts down, formats across; each column sums, as displayed, to its card or beyond it."""
    shown = [one for one in side.formats if one.budget is not None]
    names = list(dict.fromkeys(name for one in shown if one.budget for name in one.budget.parts))
    columns = [_gigabytes(one, names) for one in shown]
    rows = [(words(name), *(column[name] for column in columns)) for name in names]
    totals = [
        Cell(text=f"{sum(shown_parts(_values(one, names), 1)):,.1f} GB", basis=_card_basis(one), strong=True)
        for one in shown
    ]
    return Table(
        title=f"Memory of one of {side.width} × {side.gpu.name}",
        headers=("Part", *(one.precision for one in shown)),
        rows=(*rows, (words("Sum", strong=True), *totals)),
        total_row=len(rows),
    )


def _values(one: FormatOnGpu, names: Sequence[str]) -> list[float]:
    assert one.budget is not None, "only formats with an account have a column"
    return [one.budget.parts.get(name, 0.0) / GIGA for name in names]


def _gigabytes(one: FormatOnGpu, names: Sequence[str]) -> dict[str, Cell]:
    assert one.budget is not None, "only formats with an account have a column"
    values = shown_parts(_values(one, names), 1)
    basis = one.budget.basis
    return {
        name: Cell(text=f"{value:,.1f} GB", basis=basis[name]) if name in basis else words("–")
        for name, value in zip(names, values, strict=True)
    }


def _card_basis(one: FormatOnGpu) -> Basis:
    assert one.budget is not None, "only formats with an account have a column"
    return one.budget.basis["unused"]


def speed_table(side: SideBySide) -> Table:
    """Output tokens a second of one replica at round concurrencies, and over the reference's."""
    base = side.reference
    reference = speeds_at(base, SHOWN_COUNTS) if base is not None else {}
    return Table(
        title="Output tokens a second by requests at once",
        headers=("Format", *(f"{count:,} at once" for count in SHOWN_COUNTS)),
        rows=tuple((words(one.precision, strong=True), *_speed_cells(one, reference)) for one in side.formats),
        note="Closed loop: each request is followed by the next at once. Speed alone; a remark says where the cache "
        "holds fewer requests than that.",
    )


def _speed_cells(one: FormatOnGpu, reference: dict[int, float]) -> tuple[Cell, ...]:
    if one.tokens_per_second is None:
        return tuple(Cell(text="unknown", basis="unknown", remark=one.why_unknown) for _ in SHOWN_COUNTS)
    speeds = speeds_at(one, SHOWN_COUNTS)
    return tuple(
        number(
            speeds.get(count),
            "tok/s",
            one.basis,
            remark=(f"{speeds[count] / reference[count]:.2f}×" if count in speeds and count in reference else "")
            + ("" if count <= one.held_at_once else ", more than the cache holds"),
        )
        for count in SHOWN_COUNTS
    )


def kernels_table(options: Sequence[PrecisionOption], engine: str) -> Table:
    """What each format really runs as, where that is known from; a format without a kernel says so."""
    return Table(
        title=f"Kernels of {engine}",
        headers=("Format", "Runs as", "Computes in", "Stored as", f"Known from ({mark('published')})"),
        rows=tuple(_kernel_row(option) for option in sorted(options, key=_bits)),
        note="The checkpoint's name does not say which kernel runs: the engine's start-up log does.",
    )


def _bits(option: PrecisionOption) -> float:
    """Widest first."""
    return -PRECISIONS[option.precision].bits_per_quantized_weight


def _kernel_row(option: PrecisionOption) -> tuple[Cell, ...]:
    stored = PRECISIONS[option.precision].description
    if option.kernel == "unknown":
        runs: Cell = Cell(text="unknown", basis="unknown", remark="no source names this format on this GPU")
    elif option.kernel == "none":
        runs = Cell(text="✗ no kernel", remark=option.kernel_note)
    else:
        runs = Cell(text=f"✓ {option.kernel}", remark=option.kernel_note)
    computes = "–" if option.computes_in == "unknown" else option.computes_in
    return (
        words(option.precision, strong=True),
        runs,
        words(computes),
        words(stored),
        words(option.kernel_source or "–"),
    )


def forest_table(title: str, rows: Sequence[Row]) -> Table:
    """The points and intervals of a forest in numbers."""
    return Table(
        title=title,
        headers=("Format", "Value", "How it is known"),
        rows=tuple((words(name, strong=True), figure(value), words(_origin(value))) for name, value in rows),
    )


def _origin(value: Figure) -> str:
    """Source, date and remark of a figure."""
    said = [value.source, value.as_of, value.estimate.reason if value.value is not None else ""]
    return "; ".join(text for text in said if text) or "–"
