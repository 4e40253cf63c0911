"""How much quality a format keeps: measured on this model where it was, else the published prior of the format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.quality_parts import MAX_KL_NATS
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
    measured = [r for r in records if _is_about(r, model, precision)]
    tasked = [r for r in measured if any(score.recovery is not None for score in r.tasks.values())]
    if tasked:
        return _by_tasks(tasked[-1])
    read = [r for r in measured if r.perplexity_ratio]
    if read:
        return _measured(read[-1])
    if precision.name in prior:
        return prior[precision.name]
    return unknown(f"no published evaluation of {precision.name}; measure the variant", UNIT)


def _reference(reason: str) -> Figure:
    return Figure(estimate=Estimate(value=1.0, basis="published", reason=reason), unit=UNIT, source="by definition")


def _is_about(record: QualityRecord, model: ModelSpec, precision: Precision) -> bool:
    return record.precision == precision.name and record.model in {model.name, model.hf_repo}


def rejected_by_divergence(model: ModelSpec, precision: Precision, records: Sequence[QualityRecord]) -> str:
    """Why a measured variant is out whatever its tasks say; empty where divergence does not reject it.

    KL divergence finds what is broken, and says little of which of the sound ones is better.
    """
    own = [r for r in records if r.kl_nats_per_token is not None and _is_about(r, model, precision)]
    if not own or not precision.is_quantized:
        return ""
    kl = own[-1].kl_nats_per_token or 0.0
    return f"KL divergence {kl:.3g} nats/token measured, more than {MAX_KL_NATS:g}" if kl > MAX_KL_NATS else ""


def _by_tasks(record: QualityRecord) -> Figure:
    """The mean over tasks of the score over the reference's, paired by item."""
    scores = [score for score in record.tasks.values() if score.recovery is not None]
    lows = [score.recovery_low for score in scores if score.recovery_low is not None]
    highs = [score.recovery_high for score in scores if score.recovery_high is not None]
    count = len(scores)
    whole = len(lows) == len(highs) == count
    names = ", ".join(name for name, score in record.tasks.items() if score.recovery is not None)
    return Figure(
        estimate=Estimate(
            value=sum(score.recovery or 0.0 for score in scores) / count,
            low=sum(lows) / count if whole else None,
            high=sum(highs) / count if whole else None,
            basis="measured",
            reason=f"mean over {names}; {sum(score.items for score in scores):,} items, paired",
        ),
        unit=UNIT,
        source=f"quality record of {record.variant} by {record.engine}",
        as_of=record.measured_at[:10],
    )


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
