"""What users of one replica see at a load: waits, first tokens and the time between tokens, many replicas at once.

TTFT is the front end, a place in the batch (M/G/m, Sakasegawa's formula), the decode step under way, the prompts ahead
(M/G/1: of a residual R and a busy share ρ the wait is R/(1 − ρ); in bursts one meets them as in GI/M/1), the prompts
that come later and share the last step, and the prompt's own steps. Prompts vary widely and decode steps do not: each
part keeps its own second moment. TPOT is the mean step, prompts included, and three kinds of chance around it:

- **how many others there are**: a Poisson number would have the variance v; but more of them make steps longer, and
  longer steps keep more of them: a birth-death process whose stay grows with the power ε of the number has v/(1 − ε).
  A request sees the mean over its own stay, which evens out more the longer that is;
- **how many prompts come between its own tokens**: a compound Poisson number, which matters most to short answers;
- bursts multiply both variances (peakedness of GI/M/∞; index of dispersion).

95th percentiles add up the means, and what the parts' own percentiles lie above them as independent chances do: by
their squares.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.closed_form.ladders import Rows, Steps
from llmsizer.traffic.closed_form.meanfield import Matrix
from llmsizer.traffic.closed_form.tails import LATE, FirstTokens, Tokens, p95_of
from llmsizer.traffic.closed_form.waits import (
    crowd,
    followed_by,
    step_under_way,
    wait_behind_prompts,
    wait_for_a_place,
)
from llmsizer.traffic.demand.lengths import Z95

_AROUND = 1.5  # times fewer and more others, between which the growth of a step is taken
_MOST_POWER = _MOST_BUSY = 0.95
_HALF_SHARED = math.sqrt(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Latencies of each row over operating points, ordered by load; infinite where a queue has no end."""

    companions: Matrix  # requests that arrive while one stays
    rate: Matrix
    utilisation: Matrix  # of the saturation rate
    wait_p95: Matrix  # for a place in the batch, part of TTFT
    ttft_mean: Matrix
    ttft_p95: Matrix
    tpot_mean: Matrix
    tpot_p95: Matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class Loads:
    """Each row at its numbers of companions, ordered by load."""

    companions: Matrix  # requests that arrive while one stays
    rate: Matrix
    utilisation: Matrix  # of the saturation rate
    place_p95: Matrix  # wait for a place in the batch, part of TTFT
    first: FirstTokens
    tokens: Tokens


def loads(rows: Rows, companions: Matrix) -> Loads:
    """What there is to know of a load; ``companions`` must be in rising order."""
    inside = np.minimum(companions, rows.full_batch - 1)
    steps = Steps(*np.moveaxis(rows.at(1 + inside), 2, 0))
    decoding = (rows.output_tokens - 1) * steps.decode
    stay = decoding + (1 + inside) * steps.interrupt
    rate = np.maximum.accumulate(companions / stay, axis=1)  # as ``rates`` has it
    utilisation = rate / rows.saturation_rate
    spread = decoding**2 * rows.output_cv_squared + np.maximum(steps.own_square - steps.own**2, 0.0)
    seats = utilisation * rows.full_batch / rows.max_batch
    place = wait_for_a_place(rows, seats, stay, spread / stay**2)
    under_way, under_way_square = step_under_way(rows, steps, inside)
    turn = wait_behind_prompts(rows, steps, rate, under_way)
    usual = steps.own + rows.overhead_seconds
    tail = np.maximum(steps.own_p95 - steps.own, 0.0)
    own = usual[:, :, None] + tail[:, :, None] * rows.prompt_scores[:, None, :]
    own_sigma = Z95 - np.sqrt(np.maximum(Z95**2 - 2 * np.log1p(tail / usual), 0.0))
    # The prompt's own time and the rest of a decode step, as one lognormal.
    alone = usual + under_way
    varied = usual**2 * np.expm1(own_sigma**2) + np.maximum(under_way_square - under_way**2, 0.0)
    alone_sigma = np.sqrt(np.log1p(varied / alone**2))
    first = FirstTokens(
        shares=rows.prompt_shares[:, None, :],
        own=own,
        own_log=np.log(alone) - alone_sigma**2 / 2,
        own_sigma=np.maximum(alone_sigma, 1e-4),
        waits=(followed_by(place, under_way, under_way_square), followed_by(turn, under_way, under_way_square)),
        mean=alone + place.mean + turn.mean,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        place_p95 = np.where(place.chance > LATE, place.given * np.log(place.chance / LATE), 0.0)
    return Loads(
        companions=companions,
        rate=rate,
        utilisation=utilisation,
        place_p95=place_p95,
        first=first,
        tokens=_between_tokens(rows, steps, inside, rate, under_way + turn.mean),
    )


def evaluate(rows: Rows, companions: Matrix) -> Points:
    """Latencies of each row at its numbers of companions, which must be in rising order."""
    found = loads(rows, companions)
    first, tokens = found.first, found.tokens
    late = p95_of(first.beyond, first.own.min(axis=2) / 2, first.own.max(axis=2) + 20 * first.mean)
    far = np.exp(tokens.added_log + 4 * tokens.added_sigma) + 8 * tokens.spread
    slow = p95_of(tokens.beyond, tokens.usual.min(axis=2) / 2, (tokens.usual + far).max(axis=2))
    return Points(
        companions=companions,
        rate=found.rate,
        utilisation=found.utilisation,
        wait_p95=found.place_p95,
        ttft_mean=first.mean,
        ttft_p95=np.maximum.accumulate(np.where(np.isfinite(first.mean), late, np.inf), axis=1),
        tpot_mean=np.maximum.accumulate(tokens.mean, axis=1),
        tpot_p95=np.maximum.accumulate(slow, axis=1),
    )


def _between_tokens(rows: Rows, steps: Steps, inside: Matrix, rate: Matrix, wait: Matrix) -> Tokens:
    """The parts that TPOT is made of."""
    gaps = np.maximum(rows.output_tokens - 1, 1)
    # Prompts that come while one waits and is read itself are read right after it.
    behind = np.minimum(rate * (steps.own + np.where(np.isfinite(wait), wait, 0.0)), rows.full_batch)
    met = np.maximum(inside - np.minimum(rate * steps.own, inside), 0.0) / gaps  # by a step at any later moment
    busy = np.minimum(met * steps.interrupt / steps.step, _MOST_BUSY)
    noise = steps.interrupt_square + (rows.gap_cv_squared - 1) * steps.interrupt**2
    # Prompts delay tokens, and while tokens are delayed more prompts come: a delayed busy period.
    lasting = met * np.maximum(noise, 0.0) / (1 - busy) ** 2
    at_once = np.maximum((steps.step_seen - steps.decode) * (steps.long_step - steps.step_seen), 0.0)
    ahead = np.maximum(steps.step_seen - steps.step, 1e-12)  # the first tokens come where prompts are being read
    longest = np.maximum(steps.long_step - steps.decode, 1e-12)
    reading = np.clip((steps.step_seen - steps.decode) / longest, 0.0, 1.0)

    own, shares = rows.decode_steps[:, None, :], rows.answer_shares[:, None, :]
    each = (slice(None), slice(None), None)
    one = (steps.interrupt / (1 - busy))[each]
    memory = np.maximum(behind[each] * one / ahead[each], 0.5)  # in steps, until the first tokens' chance is forgotten
    crowds = crowd(rows.gap_cv_squared, behind[each] + met[each] * own)
    mean = (met * steps.interrupt)[each] + ahead[each] / (1 + own / memory) + crowds * one / own
    mean = np.clip(mean, 1e-12, longest[each])
    variance = at_once[each] * lasting[each] / np.maximum(lasting[each] + own * at_once[each], 1e-30)
    early = behind[each] + np.maximum(crowds, 0.0)
    variance = variance + early * (1 + early) * (steps.interrupt_square / (1 - busy) ** 2)[each] / own**2
    variance = np.minimum(variance, mean * (longest[each] - mean))  # between nothing and the longest step
    meets = 1 - (1 - reading)[each] * np.exp(-np.maximum(met[each] * own + crowds, 0.0))
    meets = np.maximum(meets, 1e-9)

    usual, spread = _by_number(rows, steps, inside, rate**2 * lasting * gaps, own)
    # Half of those who are met came later, and are the prompts that are met too.
    variance = variance + 2 * _HALF_SHARED * spread * np.sqrt(variance) + spread**2
    given = mean / meets
    given_variance = np.maximum((variance + mean**2) / meets - given**2, 0.0)
    sigma = np.sqrt(np.log1p(given_variance / given**2))
    return Tokens(
        shares=shares,
        usual=usual[each],
        spread=np.maximum(spread, 1e-9),
        meets=meets,
        added_log=np.log(given) - sigma**2 / 2,
        added_sigma=np.maximum(sigma, 1e-6),
        mean=usual + (shares * mean).sum(axis=2),
    )


def _by_number(
    rows: Rows, steps: Steps, inside: Matrix, by_delay: Matrix, own: NDArray[np.float64]
) -> tuple[Matrix, NDArray[np.float64]]:
    """A step without prompts beside those that a request meets, and how far its mean over a stay varies."""
    full = rows.full_batch - 1
    # The power of the number inside that a step's duration grows with, over a factor of two around it.
    fewer, most = inside / _AROUND, np.minimum(inside * _AROUND, full)
    rise = (rows.decode_at(1 + most) - rows.decode_at(1 + fewer)) / np.maximum(most - fewer, 1e-9)
    power = np.minimum(rise * inside / steps.decode, _MOST_POWER)
    variance = inside * (1 + rows.gap_cv_squared) / 2 / (1 - power) + by_delay
    seen = np.minimum(np.maximum(inside + crowd(rows.gap_cv_squared, inside), 0.0), full)
    usual = rows.decode_at(1 + seen)
    slower = steps.step / steps.decode
    deviation = (rows.decode_at(1 + np.minimum(seen + np.sqrt(variance), full)) - usual) * slower
    # Chance in the number lasts as long as those inside still stay; a longer stay than that evens it out.
    usual_stay = np.maximum(rows.output_tokens - 1, 1) * (1 + rows.output_cv_squared) / 2
    evened = 1 + ((1 - power) / usual_stay)[:, :, None] * own / 3
    # A request's own context stays with it; those of the others come and go.
    context = ((rows.context_spread * steps.context * slower) ** 2)[:, :, None]
    return usual, np.sqrt((deviation[:, :, None] ** 2 + inside[:, :, None] * context) / evened + context)
