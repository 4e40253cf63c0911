"""Fit coefficients and effects to measured rows; keep them as files with names, units, ranges and sources.

1. Coefficients: Levenberg–Marquardt on a Huber loss of log residuals with log-normal priors (Huber 1964).
2. Coefficients and effects together: the problem linear around that point, solved by iteratively reweighted ridge. The
   same linear problem without a fold's rows gives the cross-validated residuals that intervals are made of.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llmsizer.facts.aliases import Names
from llmsizer.physics.calibration.effects import Design, Effects, Features, design, features
from llmsizer.physics.calibration.intervals import MODEL_AND_SETUP_UNSEEN, SETUP_UNSEEN, Band, Bands, bands_of
from llmsizer.physics.calibration.publishers import next_publisher_bands
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.rows.observations import Observations, observe
from llmsizer.physics.rows.reading import Row
from llmsizer.physics.steps.cases import Floats, Words
from llmsizer.physics.steps.coefficients import Coefficients
from llmsizer.physics.steps.formats import setups_of
from llmsizer.physics.steps.formulas import StepModel
from llmsizer.physics.steps.loads import LoadTimes, load_times

NOISE = 0.20  # log-seconds scatter of one group's residuals that the fit does not try to explain
HUBER = 0.25  # log residual beyond which a row counts linearly
FOLDS = ("group", "gpu", "model", "source")
_STEP = 1e-3
_LONGEST_MOVE = 0.5  # of a log coefficient in one iteration
_DAMPING = 0.7


@dataclass(frozen=True, slots=True, kw_only=True)
class Linearised:
    """The whole problem linear around fitted coefficients: residual ≈ start − matrix·z, z standard normal a priori."""

    names: tuple[str, ...]  # coefficients, then effects
    matrix: Floats
    start: Floats  # residual at the prior mean
    weight: Floats


def residual_jacobian(model: StepModel, seen: Observations, logs: Floats, at: Floats) -> Floats:
    """Change of each residual per unit of each log coefficient, by forward difference over the cases it touches."""
    out: Floats = np.zeros((len(seen), len(logs)), dtype=np.float64)
    for i in range(len(logs)):
        moved = logs.copy()
        moved[i] += _STEP
        chosen = model.affected(i)
        if not chosen.any():
            continue
        part, mask = seen.of_cases(chosen)
        out[mask, i] = (part.residuals(load_times(model.for_cases(part.cases, moved))) - at[mask]) / _STEP
    return out


def fit_coefficients(start: Coefficients, seen: Observations, *, iterations: int = 8) -> Coefficients:
    """The coefficients that explain the rows best without leaving their priors."""
    model = StepModel(seen.cases, start)
    prior, sd, weight = start.prior_logs, start.prior_log_sds, seen.weight
    logs, damping = start.logs, 1e-2

    def loss(residual: Floats, point: Floats) -> float:
        size = np.abs(residual)
        huber = np.where(size < HUBER, size**2 / 2, HUBER * (size - HUBER / 2)) / NOISE**2
        return float((weight * huber).sum() + 0.5 * (((point - prior) / sd) ** 2).sum())

    residual = _residuals(model, seen, logs)
    best = loss(residual, logs)
    for _ in range(iterations):
        jacobian = residual_jacobian(model, seen, logs, residual)
        robust = weight * _huber_weight(residual) / NOISE**2
        curvature = jacobian.T @ (jacobian * robust[:, None]) + np.diag(1 / sd**2)
        slope = -(jacobian.T @ (robust * residual)) - (logs - prior) / sd**2
        before = best
        for _ in range(6):
            move = np.linalg.solve(curvature + damping * np.diag(np.diag(curvature)), slope)
            tried = logs + np.clip(move, -_LONGEST_MOVE, _LONGEST_MOVE)
            tried_residual = _residuals(model, seen, tried)
            if (found := loss(tried_residual, tried)) < best:
                logs, residual, best, damping = tried, tried_residual, found, damping / 4
                break
            damping *= 5
        if before - best < 1e-3 * before:
            break
    return with_logs(start, logs)


def with_logs(coefficients: Coefficients, logs: Floats) -> Coefficients:
    """The same coefficients at other values, kept inside their plausible ranges."""
    values = np.exp(logs)
    return Coefficients(
        replace(c, value=float(np.clip(v, c.low, c.high))) for c, v in zip(coefficients.items, values, strict=True)
    )


def _residuals(model: StepModel, seen: Observations, logs: Floats) -> Floats:
    model.set_logs(logs)
    return seen.residuals(load_times(model))


def _huber_weight(residual: Floats) -> Floats:
    return np.minimum(1.0, HUBER / np.maximum(np.abs(residual), 1e-9))


def observation_features(seen: Observations, times: LoadTimes) -> Features:
    return features(seen.cases.take(seen.row), seen.target, times.batch[seen.row])


def linearise(coefficients: Coefficients, seen: Observations) -> tuple[Linearised, Design]:
    """The linear problem around ``coefficients`` with all effects as columns."""
    model = StepModel(seen.cases, coefficients)
    logs = coefficients.logs
    times = load_times(model)
    residual = seen.residuals(times)
    jacobian = residual_jacobian(model, seen, logs, residual)
    columns = design(observation_features(seen, times), seen.group)
    matrix = np.concatenate([-jacobian * coefficients.prior_log_sds, columns.matrix], axis=1)
    start = residual + jacobian @ (coefficients.prior_logs - logs)
    names = (*coefficients.position, *columns.names)
    return Linearised(names=names, matrix=matrix, start=start, weight=seen.weight), columns


def robust_weights(problem: Linearised, residual: Floats) -> Floats:
    """What each row counts, in units of 1 / noise²."""
    return problem.weight * _huber_weight(residual) / NOISE**2


def solve(problem: Linearised, *, rounds: int = 6) -> tuple[Floats, Floats]:
    """Standardised solution and the final robust weights."""
    solution: Floats = np.zeros(problem.matrix.shape[1], dtype=np.float64)
    robust: Floats = problem.weight / NOISE**2
    for _ in range(rounds):
        robust = robust_weights(problem, problem.start - problem.matrix @ solution)
        gram = problem.matrix.T @ (problem.matrix * robust[:, None])
        found = np.linalg.solve(gram + np.eye(len(gram)), problem.matrix.T @ (robust * problem.start))
        solution = np.asarray(found, dtype=np.float64)
    return solution, robust


def cross_validated_residuals(problem: Linearised, robust: Floats, folds: Words) -> Floats:
    """Residual of every observation when its fold is left out.

    Exact without another fit: with H the fold's block of the hat matrix, its residuals are (I − H)⁻¹ times those of
    the fit to all rows (Cook & Weisberg 1982, §2.2; the Woodbury identity).
    """
    scaled = problem.matrix * robust[:, None]
    inverse = np.linalg.inv(problem.matrix.T @ scaled + np.eye(problem.matrix.shape[1]))
    whole = problem.start - problem.matrix @ (inverse @ (scaled.T @ problem.start))
    out: Floats = np.empty(len(problem.start), dtype=np.float64)
    for fold in np.unique(folds):
        held = folds == fold
        hat = problem.matrix[held] @ inverse @ scaled[held].T
        out[held] = np.linalg.solve(np.eye(len(hat)) - hat, whole[held])
    return out


def _joint_move(coefficients: Coefficients, seen: Observations) -> Coefficients:
    """One damped Gauss–Newton move of the coefficients while effects absorb what is not physics."""
    problem, _ = linearise(coefficients, seen)
    solution, _ = solve(problem, rounds=4)
    wanted = coefficients.prior_logs + coefficients.prior_log_sds * solution[: len(coefficients)]
    move = np.clip(wanted - coefficients.logs, -_LONGEST_MOVE, _LONGEST_MOVE)
    return with_logs(coefficients, coefficients.logs + _DAMPING * move)


# Both were read from the dumps of one benchmark.
_SAME_PUBLISHER = {"nvidia": "inferencex"}


def publisher(source: str) -> str:
    """Who published a source: ``trtllm`` of ``trtllm-docs-v0.8.0``; their set-up is common to all their rows."""
    match = re.match(r"[a-z]+", source)
    found = match[0] if match else source
    return _SAME_PUBLISHER.get(found, found)


def fold_labels(seen: Observations, how: str, *, group_folds: int = 20) -> Words:
    """Folds: ``group`` (dealt into folds), ``gpu``, ``model`` (architecture), ``engine`` or ``source`` (publisher)."""
    cases = seen.cases.take(seen.row)
    if how == "group":
        return np.array([f"{zlib.crc32(str(g).encode()) % group_folds}" for g in seen.group], dtype=np.str_)
    if how == "source":
        return np.array([publisher(str(source)) for source in seen.source], dtype=np.str_)
    if how == "model":  # dealt into folds: several models are out at a time
        return np.array([f"{zlib.crc32(str(a).encode()) % (2 * group_folds)}" for a in cases.text("architecture")])
    return cases.text({"gpu": "gpu", "engine": "engine"}[how])


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A calibration with the out-of-fold residuals (log measured/predicted seconds) that its bands come from."""

    stored: StoredCalibration
    seen: Observations
    problem: Linearised
    robust: Floats
    residuals: dict[str, Floats]


def fit(
    rows: Sequence[Row],
    names: Names,
    start: Coefficients,
    *,
    iterations: int = 8,
    joint_moves: int = 3,
    folds: Sequence[str] = FOLDS,
) -> Fitted:
    """Coefficients, effects and bands from measured rows, with their cross-validated residuals.

    ``iterations`` of the coefficients alone, then ``joint_moves`` of coefficients and effects together.
    """
    seen = observe(rows, names)
    fitted = fit_coefficients(start, seen, iterations=iterations) if iterations else start
    for _ in range(joint_moves):
        fitted = _joint_move(fitted, seen)
    problem, columns = linearise(fitted, seen)
    solution, robust = solve(problem)
    count = len(fitted)
    logs = fitted.prior_logs + fitted.prior_log_sds * solution[:count]
    moved = (np.abs(problem.matrix[:, :count]) / fitted.prior_log_sds * 0.1 >= 0.01).sum(axis=0)
    coefficients = Coefficients(
        replace(c, rows=int(n)) for c, n in zip(with_logs(fitted, logs).items, moved, strict=True)
    )
    values = dict(zip(problem.names[count:], solution[count:].tolist(), strict=True))
    residuals = {how: cross_validated_residuals(problem, robust, fold_labels(seen, how)) for how in folds}
    stored = StoredCalibration(
        coefficients=coefficients,
        effects=Effects(values, columns.spans),
        bands=_bands(seen, residuals),
        seen_gpus=_seen(seen, "gpu"),
        seen_families=_seen(seen, "family"),
        seen_architectures=_seen(seen, "architecture") - {"generic"},
        seen_engines=_seen(seen, "engine"),
        seen_setups=_seen_setups(seen),
    )
    return Fitted(stored=stored, seen=seen, problem=problem, robust=robust, residuals=residuals)


def _seen(seen: Observations, text: str) -> frozenset[str]:
    return frozenset(str(word) for word in np.unique(seen.cases.take(seen.row).text(text)))


def _seen_setups(seen: Observations) -> frozenset[str]:
    cases = seen.cases.take(seen.row)
    engine, version, gpu = (cases.text(key) for key in ("engine", "engine_version", "gpu"))
    words = [setups_of(engine, v, gpu, seen.target) for v in (version, np.full_like(version, ""))]
    return frozenset(str(word) for word in np.unique(np.concatenate(words)))


def _bands(seen: Observations, residuals: Mapping[str, Floats]) -> Bands:
    return bands_by_distance(seen.target, seen.group, residuals, fold_labels(seen, "source"))


def with_bands(stored: StoredCalibration, seen: Observations, folds: Sequence[str] = FOLDS) -> StoredCalibration:
    """The same coefficients and effects with bands, and set-ups seen, made anew from the rows."""
    problem, _ = linearise(stored.coefficients, seen)
    _, robust = solve(problem, rounds=4)
    residuals = {how: cross_validated_residuals(problem, robust, fold_labels(seen, how)) for how in folds}
    return replace(stored, bands=_bands(seen, residuals), seen_setups=_seen_setups(seen))


_FOLDS_OF = {"seen": "group", "gpu unseen": "gpu", "model unseen": "model", SETUP_UNSEEN: "source"}


def bands_by_distance(targets: Words, groups: Words, residuals: Mapping[str, Floats], publishers: Words) -> Bands:
    """Bands by distance, from the residuals of each way to hold rows out.

    Where two things are unseen, the wider of the two on each side and a tenth more; another's set-up is as far as the
    next publisher's may lie, and never surer than a known one.
    """
    by_distance = {distance: residuals[how] for distance, how in _FOLDS_OF.items() if how in residuals}
    found = bands_of(by_distance, targets, groups).bands
    if "source" in residuals:
        others = next_publisher_bands(residuals["source"], targets, groups, publishers)
        found |= {f"{target}|{SETUP_UNSEEN}": band for target, band in others.items()}
    kinds = {key.partition("|")[0] for key in found}

    def wider(target: str, first: str, second: str, factor: float) -> Band:
        one = found.get(f"{target}|{first}") or found[f"{target}|{second}"]
        other = found.get(f"{target}|{second}", one)
        low, high = factor * min(one.low, other.low), factor * max(one.high, other.high)
        return Band(low, high, min(one.rows, other.rows))

    for target in kinds:
        if "source" in residuals:
            found[f"{target}|{SETUP_UNSEEN}"] = wider(target, SETUP_UNSEEN, "seen", 1.0)
            found[f"{target}|{MODEL_AND_SETUP_UNSEEN}"] = wider(target, SETUP_UNSEEN, "model unseen", 1.1)
        if "gpu" in residuals:
            found[f"{target}|both unseen"] = wider(target, "gpu unseen", "model unseen", 1.1)
    return Bands(found)
