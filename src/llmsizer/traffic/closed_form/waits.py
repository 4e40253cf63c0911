"""What a request waits for before its own prompt is read: a place in the batch, the step under way, earlier prompts.

Prompts vary widely and decode steps do not: each part of the wait keeps its own second moment.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.closed_form.ladders import Rows, Steps
from llmsizer.traffic.closed_form.meanfield import Matrix
from llmsizer.traffic.closed_form.tails import Wait
from llmsizer.traffic.demand.arrivals import crowd_table, meeting_table

_TINY, _LEAST_CHANCE, _LONG_SECONDS = 1e-30, 1e-3, 1e6  # that nothing is divided by nothing, nor grows to nan


def crowd(gap_cv_squared: Matrix, expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many more requests than expected come in a window that begins with a request: bursts come in crowds.

    Poisson arrivals know of no others: 0. Of a window in which many are expected it is (cv² − 1)/2.
    """
    found = np.zeros_like(expected)
    for squared in np.unique(gap_cv_squared).tolist():
        if abs(squared - 1) > 1e-9:
            logs, more = crowd_table(squared)
            rows = gap_cv_squared.ravel() == squared
            found[rows] = np.interp(np.log(np.maximum(expected[rows], 1e-12)), logs, more)
    return found


def meeting(gap_cv_squared: Matrix, busy: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance that a request finds a server busy that is so for this share of the time: of Poisson the share."""
    found = busy
    for squared in np.unique(gap_cv_squared).tolist():
        if abs(squared - 1) > 1e-9:
            found = np.where(gap_cv_squared == squared, np.interp(busy, *meeting_table(squared)), found)
    return found


def wait_for_a_place(rows: Rows, utilisation: Matrix, stay: Matrix, cv_squared: Matrix) -> Wait:
    """Chance of a wait for one of so many places, and its mean (Sakasegawa 1977; bursts: Allen and Cunneen)."""
    places, full = rows.max_batch, np.minimum(utilisation, 1.0)
    with np.errstate(divide="ignore"):
        given_wait = (rows.gap_cv_squared + cv_squared) / 2 * stay / (places * (1 - full))
    return Wait(full ** (np.sqrt(2 * (places + 1)) - 1), given_wait)


def step_under_way(rows: Rows, steps: Steps, inside: Matrix) -> tuple[Matrix, Matrix]:
    """What is left of a decode step that goes on: its mean, and the mean of its square."""
    present = -np.expm1(-inside) * (rows.output_tokens > 1) * (rows.max_batch > 1)
    return present * steps.decode / 2, present * steps.decode**2 / 3


def wait_behind_prompts(rows: Rows, steps: Steps, rate: Matrix, under_way: Matrix) -> Wait:
    """Beyond a decode step under way: what earlier prompts still take, and later ones of the same step add.

    The queue's parts in their own moments: M/G/1 with vacations is the vacation's rest, here a decode step's, and
    independent of it the wait of M/G/1, which happens with the chance to find the server busy.
    """
    busy, reading = np.minimum(rate * steps.clear, 1.0), np.minimum(rate * steps.own, 1.0)
    rest = reading * np.maximum(steps.own_square / (2 * steps.own) - under_way, 0.0)
    crowds = crowd(rows.gap_cv_squared, rate * steps.own / np.maximum(1 - busy, 1e-9))
    # Of the prompt that came before in a burst of shape a, 1/(1 + a) is left to read; in a backlog it is read whole.
    left = busy + (1 - busy) / (1 + 1 / np.maximum(rows.gap_cv_squared, 1e-3))
    lead = (steps.clear + (steps.own - steps.clear) * (1 - busy)) * left
    chance = np.clip(meeting(rows.gap_cv_squared, reading), _LEAST_CHANCE, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        waited = np.where(busy < 1, np.maximum((rest + crowds * lead) / (1 - busy), 0.0), np.inf) / chance
    waited = np.where(rows.max_batch > 1, waited, 0.0)  # of one place all waiting is for the place
    # What is left of a prompt that is met while it is read varies as the residuals of a lognormal do; many queue up to
    # an exponential.
    residual = 4 / 3 * steps.own_square / steps.own**2 - 1
    varied = 1 + (residual - 1) * (1 - busy)
    last = np.minimum(steps.long_step / steps.own, 1.0)  # of its steps, a prompt shares only the last with later ones
    first = steps.step_seen / 2
    at_once, after = (
        _shared_step(rows, steps, rate, seconds) for seconds in (first, first + np.minimum(waited, _LONG_SECONDS))
    )
    beside, behind = at_once[0] * last, after[0] * last
    one = np.maximum(steps.interrupt, _TINY)
    each = np.minimum(steps.interrupt_square / one, steps.long_step)  # of a prompt met at random
    with np.errstate(invalid="ignore"):
        mean = chance * (waited + behind) + (1 - chance) * beside
        square = chance * ((waited + behind) ** 2 + varied * (waited + behind * after[1]) ** 2 + behind * each)
        square = square + (1 - chance) * beside * (beside + each)
        chance = chance - (1 - chance) * np.expm1(-beside / one)
        variation = np.maximum(chance * square / np.maximum(mean, _TINY) ** 2 - 1, 0.0)
    return Wait(chance, mean / chance, np.where(np.isfinite(mean), variation, 1.0))


def _shared_step(rows: Rows, steps: Steps, rate: Matrix, seconds: Matrix) -> tuple[Matrix, Matrix]:
    """What prompts that come within so many seconds add to a step that they share, as far as it has room for them.

    And the power of the seconds that it grows with: 1 while there is room, 0 where the step is full anyway, and what
    is behind a prompt in it is half of it on average.
    """
    count = rate * seconds
    count = count + np.maximum(crowd(rows.gap_cv_squared, count), 0.0)
    room = steps.long_step / 2
    power = room / (count * steps.interrupt + room)
    return rows.shares_steps * count * steps.interrupt * power, power


def followed_by(wait: Wait, mean: Matrix, square: Matrix) -> Wait:
    """A wait, and with it what everyone waits besides, of this mean and mean square."""
    whole = wait.given + mean
    varied = wait.given**2 * wait.squared_variation + np.maximum(square - mean**2, 0.0)
    with np.errstate(invalid="ignore"):
        variation = varied / np.maximum(whole, _TINY) ** 2
    return Wait(wait.chance, whole, np.where(np.isfinite(whole), variation, 1.0))
