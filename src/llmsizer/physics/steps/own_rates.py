"""What own records say of a device: bandwidth, arithmetic and overhead under an engine, as factors on the shipped ones.

Three factors per GPU × engine are fitted together, so that records at small batches move the bandwidth, records at
large batches and long prompts the arithmetic, and what neither explains the overhead. A normal prior on each logarithm
keeps a factor that no record touches at 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from llmsizer.physics.steps.cases import Floats
from llmsizer.physics.steps.coefficients import Coefficient, Coefficients

RATES = ("memory.own", "compute.own", "overhead.own")
PRIOR_LOG_SD = 0.7  # a factor of two either way is ordinary between the shipped class and one machine
RECORD_NOISE = 0.10  # log scatter of one own record around its machine's level
HUBER = 2.0  # in units of that noise; beyond it a record counts as an outlier
_STEP, _LONGEST_MOVE, _ITERATIONS = 1e-3, 1.0, 12
_LOW, _HIGH = 1 / 50, 50.0


def owner(gpu: str, engine: str) -> str:
    """The name under which a device's own factors stand."""
    return f"{gpu}|{engine}"


def fit_own_rates(
    start: Coefficients, owners: Iterable[str], residuals: Callable[[Coefficients], Floats]
) -> Coefficients:
    """The coefficients with the factors of ``owners`` added or renewed.

    ``residuals`` gives log(measured / predicted) of the own observations under given coefficients.
    """
    names = [f"{rate}.{name}" for name in sorted(set(owners)) for rate in RATES]
    logs = np.zeros(len(names))
    found = residuals(_with(start, names, logs))
    best, damping = _loss(found, logs), 1e-3
    for _ in range(_ITERATIONS):
        jacobian = np.column_stack(
            [(residuals(_with(start, names, logs + _STEP * unit)) - found) / _STEP for unit in np.eye(len(names))]
        )
        weight = robust_weight(found) / RECORD_NOISE**2
        curvature = jacobian.T @ (jacobian * weight[:, None]) + np.eye(len(names)) / PRIOR_LOG_SD**2
        slope = -(jacobian.T @ (weight * found)) - logs / PRIOR_LOG_SD**2
        move = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
        tried = np.clip(logs + np.clip(move, -_LONGEST_MOVE, _LONGEST_MOVE), np.log(_LOW), np.log(_HIGH))
        tried_residuals = residuals(_with(start, names, tried))
        loss = _loss(tried_residuals, tried)
        if loss >= best:
            damping = max(damping * 10, 1e-3)
            continue
        done = best - loss < 1e-6 * best
        logs, found, best, damping = tried, tried_residuals, loss, damping / 10
        if done:
            break
    return _with(start, names, logs, rows=len(found))


def _with(start: Coefficients, names: list[str], logs: Floats, rows: int = 0) -> Coefficients:
    kept = [item for item in start.items if item.name not in names]
    added = [
        Coefficient(
            name=name,
            unit="factor on the shipped value",
            value=float(np.exp(log)),
            prior=1.0,
            prior_log_sd=PRIOR_LOG_SD,
            low=_LOW,
            high=_HIGH,
            rows=rows,
            source="own records",
        )
        for name, log in zip(names, logs, strict=True)
    ]
    return Coefficients([*kept, *added])


def _loss(residual: Floats, logs: Floats) -> float:
    size = np.abs(residual) / RECORD_NOISE
    huber = np.where(size < HUBER, size**2 / 2, HUBER * (size - HUBER / 2))
    return float(huber.sum() + 0.5 * ((logs / PRIOR_LOG_SD) ** 2).sum())


def robust_weight(residual: Floats) -> Floats:
    """Huber's weight of each residual in log seconds."""
    size = np.abs(residual) / RECORD_NOISE
    return np.asarray(np.where(size < HUBER, 1.0, HUBER / np.maximum(size, HUBER)))
