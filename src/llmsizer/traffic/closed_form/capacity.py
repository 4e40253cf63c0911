"""What one replica holds: the types that say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from typing_extensions import TypedDict

from llmsizer.facts.figure import Figure, FigureDoc

Verdict = Literal["STABLE", "OVERLOADED"]
Limit = Literal["ttft", "tpot", "kv cache", "max sequences", "compute", "demand", "nothing"]
"""What keeps a replica from taking more: a latency target, the room for context, the engine's limit, or compute."""


class LoadDoc(TypedDict):
    """The JSON form of a load point; latencies are null where the replica is overloaded."""

    verdict: Verdict
    requests_per_second: float
    batch: float | None
    utilisation: float
    ttft_mean_seconds: FigureDoc
    ttft_p95_seconds: FigureDoc
    tpot_mean_seconds: FigureDoc
    tpot_p95_seconds: FigureDoc


class CapacityDoc(TypedDict):
    """The JSON form of a capacity."""

    requests_per_second: FigureDoc
    output_tokens_per_second: FigureDoc
    limited_by: Limit
    max_batch: int
    prefill_time_share: float
    at_capacity: LoadDoc
    unloaded: LoadDoc
    method: str
    leaves_out: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPoint:
    """One replica at one request rate. TTFT and TPOT as defined in ``facts.workload``; unknown where OVERLOADED."""

    verdict: Verdict
    requests_per_second: float
    batch: float | None  # mean number of requests being decoded
    utilisation: float  # of the rate at which the replica saturates; 1 or more means OVERLOADED
    ttft_mean: Figure
    ttft_p95: Figure
    tpot_mean: Figure
    tpot_p95: Figure

    def to_dict(self) -> LoadDoc:
        return {
            "verdict": self.verdict,
            "requests_per_second": self.requests_per_second,
            "batch": self.batch,
            "utilisation": self.utilisation,
            "ttft_mean_seconds": self.ttft_mean.to_dict(),
            "ttft_p95_seconds": self.ttft_p95.to_dict(),
            "tpot_mean_seconds": self.tpot_mean.to_dict(),
            "tpot_p95_seconds": self.tpot_p95.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The largest rate one replica holds within the SLO.

    A rate of 0 is an answer here, not an unknown: even one request is too slow; ``unloaded`` says how slow.
    """

    requests_per_second: Figure
    output_tokens_per_second: Figure
    limited_by: Limit
    max_batch: int  # by KV cache and by the engine's own limit
    prefill_time_share: float  # of the engine's busy time; splits cost between input and output tokens
    at_capacity: LoadPoint
    unloaded: LoadPoint
    method: str
    leaves_out: tuple[str, ...] = ()

    @property
    def meets_slo(self) -> bool:
        return (self.requests_per_second.value or 0.0) > 0

    def to_dict(self) -> CapacityDoc:
        return {
            "requests_per_second": self.requests_per_second.to_dict(),
            "output_tokens_per_second": self.output_tokens_per_second.to_dict(),
            "limited_by": self.limited_by,
            "max_batch": self.max_batch,
            "prefill_time_share": self.prefill_time_share,
            "at_capacity": self.at_capacity.to_dict(),
            "unloaded": self.unloaded.to_dict(),
            "method": self.method,
            "leaves_out": list(self.leaves_out),
        }
