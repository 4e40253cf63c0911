"""Divergence rejects the bad, tasks choose among the good: each variant judged, with the figure that decided.

KL divergence from the reference tells broken variants from sound ones and says little among the sound (published
cohorts of quantized models: correlation with task scores over the whole cohort, none near the baseline). So a variant
beyond the limits is rejected by them; one within is told from the reference by tasks, where tasks were run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llmsizer.facts.provenance import Basis
from llmsizer.facts.quality_parts import MAX_KL_NATS
from llmsizer.facts.records import QualityRecord

Judgement = Literal["rejected", "acceptable", "indistinguishable", "unknown"]
MIN_RECOVERY = 0.99


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a variant must keep; ``None`` is not asked. Divergence in nats a token, the others shares of 1."""

    max_kl_nats: float | None = None
    max_kl_nats_p99: float | None = None
    min_recovery: float | None = None
    min_agreement: float | None = None


DEFAULT_LIMITS = Limits(max_kl_nats=MAX_KL_NATS, min_recovery=MIN_RECOVERY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One variant's judgement and the sentence that carries it."""

    variant: str
    judgement: Judgement
    why: str
    basis: Basis = "measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLine:
    """One limit held against one variant; ``value`` is None where the figure is unknown, which fails."""

    variant: str
    figure: str
    value: float | None
    limit: float
    passed: bool
    text: str


def judge(records: Sequence[QualityRecord], limits: Limits = DEFAULT_LIMITS) -> list[Verdict]:
    """One verdict a record."""
    return [_judge(record, limits) for record in records]


def _judge(record: QualityRecord, limits: Limits) -> Verdict:
    failed = [line for line in gate([record], limits) if not line.passed]
    if any(line.value is not None for line in failed):
        why = "; ".join(line.text for line in failed if line.value is not None)
        return Verdict(variant=record.variant, judgement="rejected", why=why)
    if failed:
        why = "; ".join(line.text for line in failed)
        return Verdict(variant=record.variant, judgement="unknown", why=why, basis="unknown")
    if record.tasks:
        return _by_tasks(record)
    return _by_text(record)


def _by_tasks(record: QualityRecord) -> Verdict:
    worse = [
        f"{name} {score.difference:+.3f} [{score.difference_low:+.3f} to {score.difference_high:+.3f}]"
        for name, score in record.tasks.items()
        if score.is_distinguishable and score.difference is not None and score.difference < 0
    ]
    unpaired = [name for name, score in record.tasks.items() if score.is_distinguishable is None]
    items = sum(score.items for score in record.tasks.values())
    if worse:
        why = f"within the limits, but worse than the reference on {', '.join(worse)}, paired by item"
        return Verdict(variant=record.variant, judgement="acceptable", why=why)
    if unpaired:
        why = f"within the limits; {', '.join(unpaired)} not paired with the reference: a loss cannot be ruled out"
        return Verdict(variant=record.variant, judgement="acceptable", why=why)
    why = f"no task of {len(record.tasks)} tells it from the reference ({items:,} items, paired)"
    return Verdict(variant=record.variant, judgement="indistinguishable", why=why)


def _by_text(record: QualityRecord) -> Verdict:
    low, high = record.perplexity_ratio_low, record.perplexity_ratio_high
    if low is None or high is None:
        why = "perplexity was not paired with a reference; run `llmsizer quality` with one"
        return Verdict(variant=record.variant, judgement="unknown", why=why, basis="unknown")
    ratio = f"perplexity × [{low:.4f} to {high:.4f}], paired by document"
    if low <= 1.0 <= high:
        why = f"{ratio}, holds 1; no task was run, which alone could tell good variants apart"
        return Verdict(variant=record.variant, judgement="indistinguishable", why=why)
    direction = "above" if low > 1.0 else "below"
    why = f"within the limits; {ratio}, {direction} 1; no task was run"
    return Verdict(variant=record.variant, judgement="acceptable", why=why)


def gate(records: Sequence[QualityRecord], limits: Limits) -> list[GateLine]:
    """Every limit that is set against every record. A figure that is unknown fails: a gate that guesses is open.

    Limits are held against the unfavourable end of the interval where there is one. Recovery is the least of the tasks;
    without tasks, the reference's perplexity over the variant's, and the line says so.
    """
    lines: list[GateLine] = []
    for r in records:
        most = (
            ("mean KL divergence", r.kl_nats_per_token, r.kl_nats_per_token_high, limits.max_kl_nats),
            ("p99 KL divergence", r.kl_nats_p99, r.kl_nats_p99_high, limits.max_kl_nats_p99),
        )
        lines += [_line(r, name, value, end, limit, most=True) for name, value, end, limit in most if limit is not None]
        if limits.min_agreement is not None:
            ends = (r.top1_agreement, r.top1_agreement_low)
            lines.append(_line(r, "top-1 agreement", *ends, limits.min_agreement, most=False))
        if limits.min_recovery is not None:
            lines += _recovery_lines(r, limits.min_recovery)
    return lines


def _recovery_lines(record: QualityRecord, limit: float) -> list[GateLine]:
    if record.tasks:
        return [
            _line(record, f"recovery on {name}", score.recovery, score.recovery_low, limit, most=False)
            for name, score in record.tasks.items()
        ]
    ratio, high = record.perplexity_ratio, record.perplexity_ratio_high
    value, end = (1.0 / ratio if ratio else None), (1.0 / high if high else None)
    return [_line(record, "recovery of perplexity (no task was run)", value, end, limit, most=False)]


def _line(
    record: QualityRecord, figure: str, value: float | None, end: float | None, limit: float, *, most: bool
) -> GateLine:
    asked = f"at most {limit:g}" if most else f"at least {limit:g}"
    worst = value if end is None else end
    if value is None or worst is None or worst != worst:
        text = f"{record.variant}: {figure} is unknown; {asked} was asked, and an unknown figure fails"
        return GateLine(variant=record.variant, figure=figure, value=None, limit=limit, passed=False, text=text)
    passed = worst <= limit if most else worst >= limit
    edge = "" if end is None else f", at the unfavourable end of its interval {worst:.4g}"
    text = f"{record.variant}: {figure} is {value:.4g}{edge}; {asked} was asked"
    return GateLine(variant=record.variant, figure=figure, value=value, limit=limit, passed=passed, text=text)
