"""What a run found, in plain words: how many users it serves, and what each smaller format is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import ProfileRecord
from llmsizer.profile.comparing import Faster, compare, shape_of
from llmsizer.units import format_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Comfort:
    """What a reader of a chat finds pleasant: the first token soon, and tokens faster than one reads."""

    ttft_seconds: float = 1.0
    tokens_per_second: float = 20.0

    def text(self) -> str:
        return f"first token under {format_seconds(self.ttft_seconds)} and {self.tokens_per_second:g} tok/s each"


CHAT = Comfort()


def sentences(records: Sequence[ProfileRecord], comfort: Comfort = CHAT) -> tuple[str, ...]:
    """One on the users served and one on each smaller format, for each model and device; measured points only."""
    found: list[str] = []
    for group in _groups(records):
        found += _capacity(group, comfort)
        found += _formats(group)
    return tuple(found)


def _groups(records: Sequence[ProfileRecord]) -> list[list[ProfileRecord]]:
    groups: dict[tuple[str, str, str], list[ProfileRecord]] = {}
    for record in records:
        if record.status == "ok":
            groups.setdefault((record.model, record.device.name, record.engine), []).append(record)
    return list(groups.values())


def _capacity(group: Sequence[ProfileRecord], comfort: Comfort) -> list[str]:
    """The variant and point that serve most users at once within the limits, in one line."""
    usable = [
        record
        for record in group
        if (record.is_static_batch or (record.load and record.load.pattern == "closed"))  # else nobody counts users
        and first_token_seconds(record) is not None
        and record.tpot_seconds
    ]
    if not usable:
        return []
    passing = [record for record in usable if serves(record, comfort)]
    if not passing:
        best = min(usable, key=lambda r: max(_excess(r, comfort)))
        ttft, speed = first_token_seconds(best), 1.0 / (best.tpot_seconds or 1.0)
        return [
            f"serves no user with {comfort.text()}: the closest measured is {_name(best)} at {_load(best)}, "
            f"{format_seconds(ttft or 0.0)} to the first token and {speed:.1f} tok/s each"
        ]
    best = max(passing, key=lambda r: (r.batch, r.prompt_tokens, -(r.tpot_seconds or 0.0)))
    users = f"{best.batch} user{'s' if best.batch > 1 else ''} at once"
    most = "" if any(r.batch > best.batch for r in usable if r.variant == best.variant) else "at least "
    return [f"{_name(best)} serves {most}{users} with {comfort.text()} (prompts of {best.prompt_tokens:,} tokens)"]


def first_token_seconds(record: ProfileRecord) -> float | None:
    """What 95 of 100 requests wait at most where that was measured, else the median of the runs."""
    found = record.distributions.get("effective_ttft") or record.distributions.get("ttft")
    if found and found.weighting == "request" and "p95" in found.percentiles:
        return found.percentiles["p95"].value
    return record.ttft_seconds


def serves(record: ProfileRecord, comfort: Comfort) -> bool:
    return max(_excess(record, comfort)) <= 1.0


def _excess(record: ProfileRecord, comfort: Comfort) -> tuple[float, float]:
    """Measured over allowed, of the first token and of the time between tokens."""
    ttft = (first_token_seconds(record) or 0.0) / comfort.ttft_seconds
    return ttft, (record.tpot_seconds or 0.0) * comfort.tokens_per_second


def _formats(group: Sequence[ProfileRecord]) -> list[str]:
    """Each smaller format against the widest: at the smallest and at the largest batch that both have."""
    variants = sorted({(-_bits(record.precision), record.variant) for record in group})
    widest = variants[0][1]
    found = []
    for _, variant in variants[1:]:
        try:
            compared = compare([r for r in group if r.variant in (variant, widest)], variant, widest)
        except InputError:
            continue  # no point in common
        ends = [compared[0]]
        if compared[-1].over.batch > compared[0].over.batch:
            ends.append(next(c for c in compared if c.over.batch == compared[-1].over.batch))
        found.append(_worth(ends, variant, widest))
    return found


def _worth(ends: Sequence[Faster], variant: str, widest: str) -> str:
    """``INT4 is 2.6× [2.4, 2.8] faster than FP16 at batch 1 and 0.9× [0.8, 1.0] at 64``; decoding, 90 % intervals."""
    first = ends[0]
    text = f"{variant.upper()} decodes {first.text()} as fast as {widest.upper()} at batch {first.over.batch}"
    if len(ends) > 1:
        text += f" and {ends[1].text()} at {ends[1].over.batch}"
    unsure = [str(end.over.batch) for end in ends if not end.is_sure]
    return text + (f"; at {' and '.join(unsure)} the runs cannot tell which is faster" if unsure else "")


def _bits(precision: str) -> float:
    try:
        return get_precision(precision).weight_bits
    except UnknownNameError:
        return 0.0


def _name(record: ProfileRecord) -> str:
    return f"{record.variant.upper()} on {record.engine}"


def _load(record: ProfileRecord) -> str:
    return f"{record.batch} at once with prompts of {shape_of(record)[2]:,} tokens"
