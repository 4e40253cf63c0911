"""Two variants, engines or devices at the same operating points: how many times as fast, and how sure that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.records import ProfileRecord
from llmsizer.profile.intervals import Interval, ratio_with_interval

Metric = Literal["decode", "first token", "throughput"]
Shape = tuple[str, int, int, int]  # pattern, batch, prompt tokens, output tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Faster:
    """At one point, how many times as fast ``over`` is as ``under``; above 1 it is the faster one."""

    over: ProfileRecord
    under: ProfileRecord
    metric: Metric
    ratio: Interval
    paired: bool  # both were measured in turn, so what slowed the machine slowed both

    @property
    def is_sure(self) -> bool:
        """Whether the interval leaves out 1."""
        low, high = self.ratio.low, self.ratio.high
        return low is not None and high is not None and (low > 1.0 or high < 1.0)

    def text(self) -> str:
        """``2.6× [2.4, 2.8]``; without an interval where one run has none."""
        low, high = self.ratio.low, self.ratio.high
        if low is None or high is None:
            return f"{self.ratio.value:.2g}× (no interval: too few runs)"
        digits = 2 if f"{low:.2g}" != f"{high:.2g}" else 3
        return f"{self.ratio.value:.{digits}g}× [{low:.{digits}g}, {high:.{digits}g}]"


def shape_of(record: ProfileRecord) -> Shape:
    pattern = record.load.pattern if record.load else "batch"
    return pattern, record.batch, record.prompt_tokens, record.output_tokens


def is_named(record: ProfileRecord, name: str) -> bool:
    """Whether a name means this record: its variant, precision, method or engine exactly, or a part of its device."""
    lowered = name.lower()
    exact = (record.variant, record.precision, record.method, record.engine)
    return lowered in (field.lower() for field in exact) or lowered in record.device.name.lower()


def compare(
    records: Iterable[ProfileRecord], over: str, under: str, *, metric: Metric = "decode"
) -> tuple[Faster, ...]:
    """``over`` against ``under`` at every point that both have, the last measurement of each; smallest batch first.

    Only records of one model and, unless the devices are what is compared, of one device and engine meet. Raises
    InputError where a name means nothing, or the two share no point.
    """
    measured = [record for record in records if record.status == "ok"]
    sides = []
    for name in (over, under):
        found = [record for record in measured if is_named(record, name)]
        if not found:
            known = sorted({word for r in measured for word in (r.variant, r.engine, r.device.name)})
            raise InputError(f"no measured record is named {name!r}; there are {', '.join(known) or 'no records'}")
        sides.append(found)
    pairs: dict[tuple[object, ...], tuple[ProfileRecord, ProfileRecord]] = {}
    for first in sides[0]:
        for second in sides[1]:
            if _alike(first, second) and first.record_id != second.record_id:
                pairs[first.model, first.device.name, first.engine, second.engine, shape_of(first)] = (first, second)
    compared = (_faster(first, second, metric) for first, second in pairs.values())
    result = sorted((c for c in compared if c is not None), key=lambda c: (c.over.model, shape_of(c.over)[1:]))
    if not result:
        raise InputError(f"{over!r} and {under!r} share no operating point of the same model; measure both in one run")
    return tuple(result)


def _alike(first: ProfileRecord, second: ProfileRecord) -> bool:
    """The same model and shape, and different in one thing only: variant, engine or device."""
    if first.model != second.model or shape_of(first) != shape_of(second):
        return False
    differs = [
        first.device.name != second.device.name,
        first.engine != second.engine,
        (first.variant, first.method) != (second.variant, second.method),
    ]
    return sum(differs) == 1


def _faster(first: ProfileRecord, second: ProfileRecord, metric: Metric) -> Faster | None:
    """Times as fast: the slower one's seconds over the faster one's."""
    quick, slow = SERIES[metric](first), SERIES[metric](second)
    if not quick or not slow or min(*quick, *slow) <= 0.0:
        return None
    # Runs of one sweep went round the variants; the i-th of both belong together.
    paired = bool(first.sweep_id) and first.sweep_id == second.sweep_id and "not_interleaved" not in first.flags
    if paired:
        count = min(len(quick), len(slow))
        quick, slow = quick[:count], slow[:count]
    ratio = ratio_with_interval(slow, quick, paired=paired)
    return Faster(over=first, under=second, metric=metric, ratio=ratio, paired=paired)


def _decode_seconds(record: ProfileRecord) -> Sequence[float]:
    return record.tpot_samples or _alone(record.tpot_seconds)


def _first_token_seconds(record: ProfileRecord) -> Sequence[float]:
    return record.ttft_samples or _alone(record.ttft_seconds)


def _seconds_a_token(record: ProfileRecord) -> Sequence[float]:
    """Of the whole batch, prefill included."""
    gaps = record.output_tokens - 1
    if record.is_static_batch and len(record.tpot_samples) == len(record.ttft_samples) > 0:
        runs = zip(record.ttft_samples, record.tpot_samples, strict=True)
        return [(ttft + gaps * tpot) / (record.batch * record.output_tokens) for ttft, tpot in runs]
    rate = record.output_tokens_per_second
    return _alone(1.0 / rate if rate else None)


def _alone(value: float | None) -> Sequence[float]:
    return () if value is None else (value,)


SERIES: dict[Metric, Callable[[ProfileRecord], Sequence[float]]] = {
    "decode": _decode_seconds,
    "first token": _first_token_seconds,
    "throughput": _seconds_a_token,
}
