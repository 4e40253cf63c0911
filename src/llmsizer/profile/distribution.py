"""From raw values in the order taken to the Distribution a record keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from llmsizer.facts.record_parts import Distribution, Quantile
from llmsizer.profile.intervals import (
    LEVEL,
    autocorrelation_time,
    mean_with_interval,
    quantile_with_interval,
)

FRACTIONS = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
METHOD = "mean: Student's t with n over the autocorrelation time, bent for skewness; percentiles: order statistics"
DEFINITIONS = {
    "ttft": "first output token − sent",
    "tpot": "(end − first token) / (output tokens − 1), of each request",
    "itl": "gaps between tokens as the client received them",
    "e2e": "end − sent",
    "normalized_tpot": "(end − sent) / output tokens, of each request",
    "effective_ttft": "first output token − scheduled",
    "effective_e2e": "end − scheduled",
    "schedule_delay": "sent − scheduled",
    "output_tokens_per_second_per_user": "1 / TPOT, of each request",
}


def distribution_of(
    values: Sequence[float],
    metric: str,
    *,
    unit: Literal["s", "tok/s", "tok", "W"] = "s",
    weighting: Literal["request", "token", "run"] = "request",
    level: float = LEVEL,
) -> Distribution:
    """How a metric was distributed, in SI units; ``values`` in the order they were taken, for neighbours resemble.

    A percentile that so few values cannot have is left out (p99 below 100), a bound they cannot give is None. No value
    at all is a distribution of n = 0 without figures. Raises InputError for values that are not finite.
    """
    definition = DEFINITIONS.get(metric, "")
    if not len(values):
        return Distribution(unit=unit, definition=definition, weighting=weighting, n=0, level=level)
    series = np.asarray(values, dtype=np.float64)
    mean = mean_with_interval(series.tolist(), level=level)
    percentiles: dict[str, Quantile] = {}
    for name, fraction in FRACTIONS.items():
        found = quantile_with_interval(series.tolist(), fraction, level=level)
        if found is not None:
            percentiles[name] = Quantile(value=found.value, low=found.low, high=found.high)
    return Distribution(
        unit=unit,
        definition=definition,
        weighting=weighting,
        n=len(series),
        n_effective=len(series) / autocorrelation_time(series),
        mean=mean.value,
        # No duration, rate or power is negative, however few and scattered the values are.
        mean_low=mean.low if mean.low is None or series.min() < 0 else max(0.0, mean.low),
        mean_high=mean.high,
        standard_deviation=float(series.std(ddof=1)) if len(series) > 1 else None,
        minimum=float(series.min()),
        maximum=float(series.max()),
        percentiles=percentiles,
        level=level,
        method=METHOD,
    )
