"""How far the next publisher's figures may lie: a publisher's set-up is one draw, however many rows it fills.

Of rows that a fit never saw the publisher of, log residual = effect of the publisher + scatter within it. Effects are
drawn around zero with one variance per kind of measurement, shrunk towards that of all kinds as far as few publishers
tell (an inverse-χ² prior of ``PRIOR_PUBLISHERS``; Gelman et al., "Bayesian Data Analysis", 2013, §2.6), so the next
effect follows Student's t. Quantiles over rows would take the publisher with most rows for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from llmsizer.physics.calibration.intervals import COVERAGE, Band, group_weights, weighted_quantile
from llmsizer.physics.steps.cases import Floats, Words
from llmsizer.student import student_quantile

PRIOR_PUBLISHERS = 4.0  # that the variance of all kinds of measurements counts as, beside a kind's own publishers


def next_publisher_bands(residual: Floats, targets: Words, groups: Words, publishers: Words) -> dict[str, Band]:
    """A band per target, from residuals (log measured/predicted seconds) of held-out publishers."""
    weights = group_weights(np.char.add(np.char.add(groups, "|"), targets))
    effects: dict[tuple[str, str], float] = {}
    within = np.zeros(len(residual))
    for target, who in sorted(set(zip(targets.tolist(), publishers.tolist(), strict=True))):
        mask = (targets == target) & (publishers == who)
        effects[target, who] = float(np.average(residual[mask], weights=weights[mask]))
        within[mask] = residual[mask] - effects[target, who]
    anywhere = float(np.mean(np.square(list(effects.values()))))
    return {
        target: _band(within[targets == target], weights[targets == target], _spread(effects, target, anywhere))
        for target in np.unique(targets).tolist()
    }


def _spread(effects: Mapping[tuple[str, str], float], target: str, anywhere: float) -> float:
    """Log seconds that the next publisher's effect stays below in 95 of 100 cases."""
    own = [effect for (kind, _), effect in effects.items() if kind == target]
    freedom = PRIOR_PUBLISHERS + len(own)
    variance = (PRIOR_PUBLISHERS * anywhere + math.fsum(effect**2 for effect in own)) / freedom
    return student_quantile((1 + COVERAGE) / 2, freedom) * math.sqrt(variance)


def _band(within: Floats, weights: Floats, between: float) -> Band:
    """Scatter within and between add as independent ones do."""
    tail = (1 - COVERAGE) / 2
    low, high = (weighted_quantile(within, weights, level) for level in (tail, 1 - tail))
    return Band(-math.hypot(min(low, 0.0), between), math.hypot(max(high, 0.0), between), len(within))
