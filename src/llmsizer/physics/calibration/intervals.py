"""90 % intervals from cross-validated residuals, wider the farther a case lies from the evidence.

Split conformal prediction by class (Vovk, Lindsay, Nouretdinov, Gammerman, "Mondrian confidence machine", 2003): the
5 % and 95 % quantiles of log(measured/predicted seconds) on held-out rows of the same kind of target and the same
distance from evidence. Distance: everything seen (held-out groups), GPU unseen (held-out GPUs), architecture unseen
(held-out models), both; set-up unseen, where nobody ran this version of the engine on this GPU (held-out publishers).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from llmsizer.physics.steps.cases import Floats, Words

COVERAGE = 0.90
DISTANCES = ("seen", "gpu unseen", "model unseen", "both unseen")
SETUP_UNSEEN, MODEL_AND_SETUP_UNSEEN = "set-up unseen", "model and set-up unseen"
FAMILY_UNSEEN, OWN = "GPU family unseen", "own"
FAMILY_WIDENING = 1.5
ANY_TARGET_GROUPS = 8.0  # how many effective groups of a target weigh as much as all targets together
ANY_TARGET = "any"
SAFETY = 1.05  # held-out rows come from sources that the fit knows; the next source is a little farther away
UNKNOWN_SHAPE_WIDENING = 1.5  # a model known only by its size
UNKNOWN_STACK_WIDENING = 1.5  # a device whose software nobody measured; the step beyond an unseen family


@dataclass(frozen=True, slots=True)
class Band:
    """Log-seconds quantiles of measured over predicted, and the rows they come from."""

    low: float
    high: float
    rows: int


class Bands:
    """Bands by target and distance, with a fallback over all targets."""

    def __init__(self, bands: Mapping[str, Band]) -> None:
        self.bands = dict(bands)

    def of(self, target: str, distance: str) -> Band:
        if distance == OWN and f"{target}|{OWN}" not in self.bands:
            distance = DISTANCES[0]
        if distance == FAMILY_UNSEEN:
            near = self.of(target, DISTANCES[-1])
            return Band(FAMILY_WIDENING * near.low, FAMILY_WIDENING * near.high, near.rows)
        found = self.bands.get(f"{target}|{distance}") or self.bands.get(f"{ANY_TARGET}|{distance}")
        return found or Band(-1.0, 1.0, 0)

    def limits(self, targets: Words, distances: Words) -> tuple[Floats, Floats]:
        """Log-seconds limits of each row."""
        bands = {key: self.of(*key) for key in set(zip(targets.tolist(), distances.tolist(), strict=True))}
        chosen = [bands[key] for key in zip(targets.tolist(), distances.tolist(), strict=True)]
        return np.array([b.low for b in chosen]), np.array([b.high for b in chosen])


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """Quantile of weighted values."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    position = np.searchsorted(cumulative, level * cumulative[-1])
    return float(values[order][min(int(position), len(values) - 1)])


def effective_groups(groups: Words) -> float:
    """How many groups of equal size say as much: (Σn)² / Σn² over their rows (Kish's effective sample size)."""
    _, counts = np.unique(groups, return_counts=True)
    return float(counts.sum() ** 2 / (counts**2).sum())


def group_weights(groups: Words) -> Floats:
    """Weights under which a group counts as the square root of its rows: neither one voice nor all of them."""
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(counts[place] ** -0.5)


def bands_of(residuals: Mapping[str, Floats], targets: Words, groups: Words) -> Bands:
    """Bands from out-of-fold residuals by distance; ``residuals`` maps a distance to one array over all rows.

    A target with few groups, or one that fills it, is widened towards the band of all targets, never narrowed: its own
    quantiles say little.
    """
    tail = (1 - COVERAGE) / 2
    levels = (tail, 1 - tail)
    weights = group_weights(np.char.add(np.char.add(groups, "|"), targets))
    bands: dict[str, Band] = {}
    for distance, residual in residuals.items():
        low, high = (weighted_quantile(residual, weights, level) for level in levels)
        bands[f"{ANY_TARGET}|{distance}"] = Band(SAFETY * low, SAFETY * high, len(residual))
        for target in np.unique(targets).tolist():
            mask = targets == target
            count = effective_groups(groups[mask])
            share = count / (count + ANY_TARGET_GROUPS)
            own_low, own_high = (weighted_quantile(residual[mask], weights[mask], level) for level in levels)
            bands[f"{target}|{distance}"] = Band(
                SAFETY * min(own_low, share * own_low + (1 - share) * low, -0.02),
                SAFETY * max(own_high, share * own_high + (1 - share) * high, 0.02),
                int(mask.sum()),
            )
    return Bands(bands)
