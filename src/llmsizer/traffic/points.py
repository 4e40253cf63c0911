"""One simulation of a sweep: everything it depends on in one value, and a function that a worker can be sent."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from typing import Any

from llmsizer.errors import LlmSizerError
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.service import METRICS, Goal, Service, simulated_once
from llmsizer.traffic.simulator.compiled import kernel_digest
from llmsizer.traffic.simulator.fleet import Fleet, Replica


@dataclass(frozen=True, kw_only=True)
class Point:
    """A candidate at a rate with a seed."""

    candidate: str
    share_of_peak: float
    replica: Replica
    stream: Stream  # at the rate meant
    fleet: Fleet
    goal: Goal
    seed: int
    hours: float | None = None
    kernel: str = field(default_factory=kernel_digest)  # of whoever asks

    def content(self) -> bytes:
        """What the result depends on, the simulator's own code included; the same in every process and on every day."""
        steps = self.replica.steps
        tables = [array.tobytes() for array in (steps.knots_tokens, steps.decode_seconds, steps.mixed_seconds)]
        numbers = (steps.seconds_per_pair, steps.mixed_context_factor, self.replica.kv_tokens)
        limits = (self.replica.max_sequences, self.replica.max_batched_tokens, self.replica.block_tokens)
        rest = (self.replica.shared_prefix_tokens, self.replica.frontend_seconds, self.seed, self.hours)
        asked = (repr(self.stream), repr(self.fleet), repr(self.goal), self.kernel)
        return pickle.dumps((tables, numbers, limits, rest, asked, self.candidate, self.share_of_peak), protocol=5)


def simulate_point(point: Point) -> dict[str, Any]:
    """The point's result as JSON types. Raises LlmSizerError."""
    if point.kernel != kernel_digest():
        raise LlmSizerError("this worker has another version of llmsizer; install the same one on every node")
    service = simulated_once(point.replica, point.stream, point.fleet, point.goal, seed=point.seed, hours=point.hours)
    return {
        "candidate": point.candidate,
        "share_of_peak": point.share_of_peak,
        "requests_per_second": service.requests_per_second,
        "replicas": service.replicas,
        "seed": point.seed,
        "basis": "simulated",
        "verdict": service.verdict,
        "meets_slo": service.meets_slo,
        "missed": service.missed,
        "requests": service.requests,
        "goodput_requests_per_second": service.goodput_requests_per_second.value,
        "utilisation": service.occupancy.utilisation.value,
        "mean_batch": service.occupancy.mean_batch.value,
        **_latencies(service),
    }


def _latencies(service: Service) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for name, key in METRICS:
        row = service.row(name)
        for what, value in (("mean", row.mean), ("p50", row.p50), ("p95", row.p95), ("p99", row.p99)):
            found[f"{key}_{what}_seconds"] = value.value
    return found
