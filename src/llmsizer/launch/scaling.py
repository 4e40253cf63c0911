"""When replicas come and go: queue depth and cache use at which the promise is about to break, by the model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmsizer.launch.fleet import Fleet
from llmsizer.traffic.closed_form.sizing import replicas_for

_MOST_KV_SHARE = 0.9  # of the cache: beyond it requests are put back


def adapted(metric: str) -> str:
    return metric.replace(":", "_")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingMetric:
    """One metric of the engine, and what of it one replica may have."""

    metric: str
    threshold: float
    why: str

    @property
    def threshold_text(self) -> str:
        return f"{self.threshold:g}"

    @property
    def adapted(self) -> str:
        """As an adapter shows it to Kubernetes, whose API paths take no colon."""
        return adapted(self.metric)

    def query(self, name: str) -> str:
        """Over all pods of the workload; the scaler divides by their number."""
        return f'sum({self.metric}{{pod=~"{name}-.*"}})'


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """Replicas from ``fewest`` (the mean load) to ``most`` (the plan's), spares included."""

    fewest: int
    most: int
    metrics: tuple[ScalingMetric, ...]


def scaling_of(fleet: Fleet) -> Scaling:
    """Thresholds of one replica. Without metrics the fleet stays as large as the plan."""
    promise, slo = fleet.promise, fleet.scenario.slo
    each = promise.requests_per_second.value or 1.0
    metrics: list[ScalingMetric] = []
    if queue := fleet.engine.metric(fleet.engine.facts.queue_metrics):
        spare_seconds = max(0.0, slo.ttft_p95_seconds - (promise.at_peak.ttft_p95.value or 0.0))
        waiting = max(1, math.floor(each * spare_seconds / 2))
        why = f"{waiting} waiting use up half of what TTFT has left of its limit"
        metrics.append(ScalingMetric(metric=queue, threshold=waiting, why=why))
    if cache := fleet.engine.metric(fleet.engine.facts.kv_metrics):
        share = promise.kv_tokens / max(1, fleet.kv_capacity_tokens)
        share = max(0.05, math.floor(min(share, _MOST_KV_SHARE) * 100) / 100)
        why = f"{share:.0%} of the cache is in use where a replica is at its limit"
        metrics.append(ScalingMetric(metric=cache, threshold=share, why=why))
    most = fleet.all_replicas
    fewest = replicas_for(fleet.workload.requests_per_second, each) + fleet.spare_replicas if metrics else most
    return Scaling(fewest=min(fewest, most), most=most, metrics=tuple(metrics))
