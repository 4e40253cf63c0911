"""How far the effects of each block scatter, from the evidence itself: empirical Bayes.

The spread of a block is where the marginal likelihood of the rows is highest (type II maximum likelihood, MacKay,
"Bayesian interpolation", 1992): expectation-maximisation and MacKay's fixed point, half each, over the linear problem
that the fit solves anyway. No fold takes part in the choice, so cross-validation over folds stays honest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from llmsizer.physics.calibration.effects import Block
from llmsizer.physics.calibration.fitting import Linearised, robust_weights
from llmsizer.physics.steps.cases import Floats, Words

LEAST_SPREAD, LARGEST_SPREAD = 0.01, 0.8
TYPICAL_SPREAD, TYPICAL_EFFECTS = 0.1, 2.0  # a block with few effects stays near what blocks usually are


def chosen_spreads(problem: Linearised, blocks: Sequence[Block], *, rounds: int = 10) -> tuple[Block, ...]:
    """The blocks with the spreads that make the rows most likely; the problem must have been made with ``blocks``."""
    owner = np.array([name.split(":")[0] for name in problem.names])
    before = {block.name: block.spread for block in blocks}
    now = dict(before)
    solution: Floats = np.zeros(len(owner))
    for _ in range(rounds):
        factor = _factors(owner, before, now)
        matrix = problem.matrix * factor
        weight = robust_weights(problem, problem.start - matrix @ solution)
        gram = matrix.T @ (matrix * weight[:, None])
        covariance = np.linalg.inv(gram + np.eye(len(gram)))
        solution = covariance @ (matrix.T @ (weight * problem.start))
        variance = np.diag(covariance)
        now = {name: _spread(spread, solution[owner == name], variance[owner == name]) for name, spread in now.items()}
        solution = solution * factor / _factors(owner, before, now)  # the same effects in units of the new spreads
    return tuple(replace(block, spread=round(now[block.name], 3)) for block in blocks)


def _factors(owner: Words, before: Mapping[str, float], now: Mapping[str, float]) -> Floats:
    return np.array([now[name] / before[name] if name in before else 1.0 for name in owner])


def _spread(spread: float, solution: Floats, variance: Floats) -> float:
    """One round for one block: posterior means and variances of its effects, in units of the present spread."""
    count = len(solution)
    if not count:
        return spread
    expected = float(np.mean(solution**2 + variance))
    determined = max(float(np.sum(1 - variance)), 1e-3)
    square = spread**2 * (expected + float(np.sum(solution**2)) / determined) / 2
    square = (count * square + TYPICAL_EFFECTS * TYPICAL_SPREAD**2) / (count + TYPICAL_EFFECTS)
    return float(np.clip(np.sqrt(square), LEAST_SPREAD, LARGEST_SPREAD))
