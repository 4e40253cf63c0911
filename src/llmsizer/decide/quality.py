"""How much quality a format keeps: measured on this model where it was, else the published prior of the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.records import QualityRecord

UNIT = "of the 16-bit reference's scores"


def quality_recovery(
    model: ModelSpec, precision: Precision, prior: Mapping[str, Figure], records: Sequence[QualityRecord]
) -> Figure:
    """Recovery of the reference's quality; 1 for the reference itself, unknown where nobody measured the format."""
    if not precision.is_quantized:
        return _reference("the reference itself")
    if precision.name == model.native_weights:
        return _reference(f"the maker publishes the model in {precision.name}: this is the reference")
    measured = [r for r in records if r.perplexity_ratio and _is_about(r, model, precision)]
    if measured:
        return _measured(measured[-1])
    if precision.name in prior:
        return prior[precision.name]
    return unknown(f"no published evaluation of {precision.name}; measure the variant", UNIT)


def _reference(reason: str) -> Figure:
    return Figure(estimate=Estimate(value=1.0, basis="published", reason=reason), unit=UNIT, source="by definition")


def _is_about(record: QualityRecord, model: ModelSpec, precision: Precision) -> bool:
    return record.precision == precision.name and record.model in {model.name, model.hf_repo}


def _measured(record: QualityRecord) -> Figure:
    """Reference perplexity over the variant's: the same "recovery" that published tables print for perplexity."""
    assert record.perplexity_ratio is not None
    low = None if not record.perplexity_ratio_high else 1 / record.perplexity_ratio_high
    high = None if not record.perplexity_ratio_low else 1 / record.perplexity_ratio_low
    reason = f"perplexity on {record.dataset}, {record.documents} documents: no benchmark scores"
    return Figure(
        estimate=Estimate(value=1 / record.perplexity_ratio, low=low, high=high, basis="measured", reason=reason),
        unit=UNIT,
        source=f"quality record of {record.variant} by {record.engine}",
        as_of=record.measured_at[:10],
    )
