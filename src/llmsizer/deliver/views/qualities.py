"""What each format loses against 16 bit on the same held-out text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from llmsizer.deliver.charts.charts import Measure
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import plain_number, size
from llmsizer.deliver.tables.variants import bits
from llmsizer.facts.records import QualityRecord

NORMAL_95 = 1.645  # standard errors on either side that hold 90 %


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityGroup:
    """Evaluations that may be compared: one model on one text, the last of each variant, widest format first."""

    model: str
    dataset: str
    records: tuple[QualityRecord, ...]

    @property
    def label(self) -> str:
        first = self.records[0]
        return f"{self.model} on {self.dataset}: {first.documents:,} documents, {first.tokens:,} tokens"


def quality_groups(records: Iterable[QualityRecord]) -> tuple[QualityGroup, ...]:
    """Records by model and text, in the order they were met."""
    found: dict[tuple[str, str], dict[str, QualityRecord]] = {}
    for record in records:
        found.setdefault((record.model, record.dataset), {})[record.variant] = record
    return tuple(
        QualityGroup(
            model=model,
            dataset=dataset,
            records=tuple(sorted(by_variant.values(), key=lambda r: (-bits(r.precision), r.variant))),
        )
        for (model, dataset), by_variant in found.items()
    )


def quality_table(group: QualityGroup) -> Table:
    """Perplexity, its ratio to 16 bit, divergence and agreement, each with its interval."""
    headers = ("Variant", "Weights", "Perplexity ± s.e.", "Ratio to 16 bit", "KL to 16 bit", "Same first choice")
    rows = tuple(
        (words(r.variant, strong=True, remark=r.method), weights_cell(r), perplexity_cell(r), *against_reference(r))
        for r in group.records
    )
    levels = {r.interval_level for r in group.records if r.interval_level}
    level = f"Intervals hold {min(levels):.0%}." if levels else ""
    engines = ", ".join(dict.fromkeys(r.engine for r in group.records))
    return Table(title=group.label, headers=headers, rows=rows, note=f"Engine: {engines}. {level}".strip())


def weights_cell(record: QualityRecord) -> Cell:
    """Bytes of all weights, with the bits each takes."""
    if record.weights_bytes is None:
        return Cell(text="unknown", basis="unknown", remark="not recorded")
    each = "" if record.bits_per_weight is None else f"{record.bits_per_weight:.2f} bits each"
    return Cell(text=size(record.weights_bytes), basis="measured", remark=each)


def perplexity_cell(record: QualityRecord) -> Cell:
    return Cell(text=f"{record.perplexity:.2f} ± {record.perplexity_standard_error:.2f}", basis="measured")


def against_reference(record: QualityRecord) -> tuple[Cell, Cell, Cell]:
    """Ratio, divergence and agreement; the reference itself has none."""
    values = (
        (record.perplexity_ratio, record.perplexity_ratio_low, record.perplexity_ratio_high, "ratio"),
        (record.kl_nats_per_token, record.kl_nats_per_token_low, record.kl_nats_per_token_high, "nats"),
        (record.top1_agreement, record.top1_agreement_low, record.top1_agreement_high, "share"),
    )
    if is_reference(record):
        same = words("reference")
        return same, same, same
    first, second, third = (_compared(*value) for value in values)
    return first, second, third


def is_reference(record: QualityRecord) -> bool:
    """Whether this is what the others are held against."""
    return record.variant == record.reference or not record.reference or record.kl_nats_per_token == 0


def _compared(value: float | None, low: float | None, high: float | None, kind: str) -> Cell:
    if value is None:
        return Cell(text="unknown", basis="unknown", remark="not evaluated")
    between = "" if low is None or high is None else f"{_shown(low, kind)} to {_shown(high, kind)}"
    unit = " nats" if kind == "nats" else ""
    return Cell(text=f"{_shown(value, kind)}{unit}", basis="measured", between=between)


def _shown(value: float, kind: str) -> str:
    if kind == "ratio":
        return f"× {value:.4f}"
    return f"{value:.1%}" if kind == "share" else plain_number(value)


def quality_measures(records: Sequence[QualityRecord]) -> tuple[Measure, ...]:
    """Divergence from 16 bit and how often the first choice differs; perplexity where agreement was not counted.

    Both are paired with the reference token by token: they tell formats apart that perplexity's own error hides.
    """
    compared = [r for r in records if not is_reference(r)]
    divergence = tuple(
        (r.variant, r.kl_nats_per_token, r.kl_nats_per_token_low, r.kl_nats_per_token_high) for r in compared
    )
    second = _disagreement(compared) if any(r.top1_agreement is not None for r in compared) else _perplexity(records)
    return Measure(name="KL to 16 bit, nats a token", unit="", better="lower", values=divergence), second


def _disagreement(records: Sequence[QualityRecord]) -> Measure:
    values = tuple(
        (r.variant, _rest(r.top1_agreement), _rest(r.top1_agreement_high), _rest(r.top1_agreement_low)) for r in records
    )
    return Measure(name="First choice differs from 16 bit", unit="fraction", better="lower", values=values)


def _rest(share: float | None) -> float | None:
    return None if share is None else 1.0 - share


def _perplexity(records: Sequence[QualityRecord]) -> Measure:
    values = tuple(
        (
            r.variant,
            r.perplexity,
            r.perplexity - NORMAL_95 * r.perplexity_standard_error,
            r.perplexity + NORMAL_95 * r.perplexity_standard_error,
        )
        for r in records
    )
    return Measure(name="Perplexity, 90 % interval", unit="", better="lower", values=values)
