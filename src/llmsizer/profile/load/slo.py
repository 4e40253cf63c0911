"""Limits on latency: ``p95 ttft <= 1s, p95 tpot <= 50ms``, judged over a point and over each request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Distribution
from llmsizer.profile.distribution import FRACTIONS
from llmsizer.units import format_seconds

Judgement = Literal["held", "likely held", "likely missed", "missed", "unknown"]
# Requests wait from when they were due, not from when a late client sent them.
JUDGED_BY = {"ttft": "effective_ttft", "tpot": "tpot", "itl": "itl", "e2e": "effective_e2e"}
UNITS = {"ms": 1e-3, "s": 1.0, "us": 1e-6, "µs": 1e-6}
_LIMIT = re.compile(r"p(\d{1,2})\s*(ttft|tpot|itl|e2e)\s*(?:<=|≤|<)\s*(\d+(?:\.\d+)?)\s*(ms|us|µs|s)", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most ``seconds`` for ``fraction`` of requests (of gaps, for itl)."""

    metric: str
    fraction: float
    seconds: float

    @property
    def percentile(self) -> str:
        return f"p{self.fraction * 100:g}"

    def text(self) -> str:
        return f"{self.percentile} {self.metric.upper()} ≤ {format_seconds(self.seconds)}"

    def judge(self, distributions: Mapping[str, Distribution]) -> Judgement:
        """Certain where the whole interval lies on one side of the limit; unknown where no such time was seen."""
        distribution = distributions.get(JUDGED_BY[self.metric])
        quantile = distribution.percentiles.get(self.percentile) if distribution else None
        if distribution is None or (quantile is None and distribution.maximum is None):
            return "unknown"
        if quantile is None:
            # Of fewer than 1/(1 − fraction) values a single one above the limit is already too large a share.
            return "likely held" if (distribution.maximum or 0.0) <= self.seconds else "likely missed"
        if quantile.value <= self.seconds:
            return "held" if quantile.high is not None and quantile.high <= self.seconds else "likely held"
        return "missed" if quantile.low is not None and quantile.low > self.seconds else "likely missed"


def parse_slo(text: str) -> tuple[Limit, ...]:
    """Limits from text. Raises InputError with an example."""
    limits = []
    for part in (part.strip() for part in text.split(",")):
        match = _LIMIT.fullmatch(part)
        if match is None:
            raise InputError(f"--slo {part!r} is no limit; write for example 'p95 ttft <= 1s, p95 tpot <= 50ms'")
        percent, metric, value, unit = match.groups()
        if f"p{int(percent)}" not in FRACTIONS or not float(value) > 0:
            raise InputError(f"--slo {part!r}: give one of {', '.join(FRACTIONS)}, and a time above 0")
        limits.append(
            Limit(metric=metric.lower(), fraction=float(percent) / 100, seconds=float(value) * UNITS[unit.lower()])
        )
    if len({limit.metric for limit in limits}) < len(limits):
        raise InputError("--slo names a metric twice; give one limit for each")
    return tuple(limits)


def requests_needed(limits: tuple[Limit, ...]) -> int:
    """The fewest requests from which each percentile can be judged at all, and 100 in any case."""
    return max([100, *(round(3 / (1 - limit.fraction)) for limit in limits)])
