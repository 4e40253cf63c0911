"""The batch lane: what idle hours could do for work that nobody waits for.

Bounded, not promised: replica-seconds that run anyway and that online requests leave over, times what a replica serves.
The middle fills each replica up to the rate at which it still holds the online SLO with batch requests that are like
the online ones, so that no priority is needed; the high end fills it up to saturation, which takes an engine that
serves online requests first (vLLM: ``--scheduling-policy priority``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llmsizer.facts.provenance import Estimate
from llmsizer.traffic.hours.week import WEEKS_PER_MONTH, Mode, Running, Week
from llmsizer.units import SECONDS_PER_HOUR

BASIS = "idle replica-seconds × the rate within the SLO; high: × the saturation rate, online requests first"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLane:
    """What one mode leaves over for batch work in a month."""

    mode: Mode
    tokens_per_month: Estimate  # prompts and answers
    requests_per_month: Estimate
    idle_share: float  # of the running replicas' rate within the SLO


def batch_lane(
    rates: Week,
    running: Running,
    *,
    rate_each: Estimate,
    saturation_each: float,
    tokens_per_request: float,
) -> BatchLane:
    """``rate_each``: held within the SLO, with its interval; ``saturation_each``: of a replica that is never idle."""
    hours = np.array(running.replica_hours_by_hour)
    online = np.where(np.array(running.replicas_by_hour) > 0, rates, 0.0)

    def left(each: float) -> float:
        return float(np.maximum(hours * each - online, 0.0).sum() * SECONDS_PER_HOUR * WEEKS_PER_MONTH)

    assert rate_each.value is not None
    middle, held = left(rate_each.value), hours.sum() * rate_each.value
    requests = Estimate(
        value=middle,
        low=left(rate_each.value if rate_each.low is None else rate_each.low),
        high=max(middle, left(saturation_each)),
        basis="calibrated",
        reason=BASIS,
    )
    return BatchLane(
        mode=running.mode,
        requests_per_month=requests,
        tokens_per_month=requests.scaled(tokens_per_request),
        idle_share=float(1 - min(1.0, online.sum() / held)) if held else 0.0,
    )
