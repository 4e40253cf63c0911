"""Plans that no other plan beats in everything: cost, latency, quality and energy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llmsizer.decide.answer import Plan


def pareto_plans(plans: Sequence[Plan]) -> tuple[str, ...]:
    """Labels of the plans that are not dominated, in their order; an unknown value counts as the worst.

    One plan dominates another where it is no worse on any axis and better on one.
    """
    if not plans:
        return ()
    marks = np.array([_marks(plan) for plan in plans])
    no_worse = (marks[:, None, :] <= marks[None, :, :]).all(axis=2)
    better = (marks[:, None, :] < marks[None, :, :]).any(axis=2)
    dominated = (no_worse & better).any(axis=0)
    return tuple(plan.label for plan, out in zip(plans, np.atleast_1d(dominated), strict=True) if not out)


def _marks(plan: Plan) -> tuple[float, ...]:
    """Less is better on every axis."""
    energy = plan.cost.energy
    known = (
        plan.cost.usd_per_month.value,
        plan.at_peak.ttft_p95.value,
        None if plan.quality_recovery.value is None else -plan.quality_recovery.value,
        None if energy is None else energy.joules_per_thousand_tokens.value,
    )
    return tuple(float("inf") if value is None else value for value in known)
