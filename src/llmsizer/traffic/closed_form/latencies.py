"""What users of one replica see at a load: waits, first tokens and the time between tokens, many replicas at once.

TTFT is the front end, a place in the batch (M/G/m, Sakasegawa's formula), the step under way, the prompts ahead
(M/G/1: of a residual R and a busy share ρ the wait is R/(1 − ρ)), and the prompt's own steps. TPOT is the mean step,
prompts included, and three kinds of chance around it:

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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmsizer.traffic.closed_form.meanfield import Curves, Matrix, Replica, saturation_rate
from llmsizer.traffic.closed_form.tails import LATE, FirstTokens, Tokens, Wait, p95_of
from llmsizer.traffic.demand.arrivals import crowd_table
from llmsizer.traffic.demand.lengths import Z95

_OF_REPLICA = (
    "output_tokens", "output_cv_squared", "gap_cv_squared", "context_spread", "shares_steps", "max_batch",
)  # fmt: skip
_LADDERS = (
    "interrupt", "interrupt_square", "clear", "own", "own_square", "own_p95", "step", "step_seen", "long_step",
    "context",
)  # fmt: skip
_AROUND = 1.5  # times fewer and more others, between which the growth of a step is taken
_MOST_POWER = _MOST_BUSY = 0.95
_HALVINGS = 40  # of a bracket of companions
_HALF_SHARED = math.sqrt(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Many replicas, each at one end of its step times: a row each, to be asked about many loads at once."""

    output_tokens: Matrix
    output_cv_squared: Matrix
    gap_cv_squared: Matrix
    context_spread: Matrix
    shares_steps: Matrix
    max_batch: Matrix
    saturation_rate: Matrix
    overhead_seconds: Matrix
    full_batch: Matrix  # the largest sampled
    decode_steps: Matrix  # of answers, a few lengths in the columns
    answer_shares: Matrix  # of those lengths
    prompt_scores: Matrix  # of prompts, a few lengths in the columns
    prompt_shares: Matrix
    batches: Matrix  # infinite beyond the largest, where the step time stays what it is
    ladders: NDArray[np.float64]  # row × batch × what: decode seconds, then ``_LADDERS``

    @classmethod
    def of(cls, ends: Sequence[tuple[Replica, Curves]]) -> Rows:
        """Of one replica or more; the ladders of batches filled up to one length."""
        steps = 1 + max(len(curves.batches) for _, curves in ends)
        batches, ladders = np.full((len(ends), steps), np.inf), np.empty((len(ends), steps, 1 + len(_LADDERS)))
        for row, (_, curves) in enumerate(ends):
            size = len(curves.batches)
            batches[row, :size] = curves.batches
            ladders[row, :size, 0] = curves.decode_seconds
            for place, name in enumerate(_LADDERS, 1):
                ladders[row, :size, place] = getattr(curves.prompts, name)
            ladders[row, size:] = ladders[row, size - 1]
        answers = _padded([replica.decode_steps for replica, _ in ends])
        prompts = _padded([replica.prompt_scores for replica, _ in ends])
        one = {name: column(getattr(replica, name) for replica, _ in ends) for name in _OF_REPLICA}
        return cls(
            **one,
            saturation_rate=column(saturation_rate(*end) for end in ends),
            overhead_seconds=column(curves.overhead_seconds for _, curves in ends),
            full_batch=column(curves.batches[-1] for _, curves in ends),
            decode_steps=answers[:, :, 0],
            answer_shares=answers[:, :, 1],
            prompt_scores=prompts[:, :, 0],
            prompt_shares=prompts[:, :, 1],
            batches=batches,
            ladders=ladders,
        )

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some of them."""
        return Rows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def at(self, batch: Matrix) -> NDArray[np.float64]:
        """The ladders at each batch, in a line between those sampled."""
        return self._between(batch, self.ladders)

    def decode_at(self, batch: Matrix) -> Matrix:
        """Seconds of a step without prompts at each batch."""
        return np.asarray(self._between(batch, self.ladders[:, :, :1])[:, :, 0])

    def companions_at(self, rate: Matrix) -> Matrix:
        """The operating point of each row's rate below saturation: Little's law, companions = rate × stay, bisected."""
        low, high = np.zeros_like(self.full_batch), self.full_batch
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            inside = np.minimum(middle, self.full_batch - 1)
            decode, interrupt = np.moveaxis(self._between(1 + inside, self.ladders[:, :, :2]), 2, 0)
            stay = (self.output_tokens - 1) * decode + (1 + inside) * interrupt
            short = middle < rate * stay
            low, high = np.where(short, middle, low), np.where(short, high, middle)
        return np.where(rate > 0, (low + high) / 2, 0.0)

    def _between(self, batch: Matrix, ladders: NDArray[np.float64]) -> NDArray[np.float64]:
        left = (batch[:, :, None] >= self.batches[:, None, :]).sum(axis=2) - 1
        with np.errstate(invalid="ignore"):  # beyond the largest batch, where nobody looks
            slopes = np.diff(ladders, axis=1) / np.diff(self.batches)[:, :, None]
        rows = np.arange(len(left))[:, None]
        ahead = batch - self.batches[rows, left]
        return np.asarray(ladders[rows, left] + slopes[rows, left] * ahead[:, :, None])


def column(values: Iterable[float]) -> Matrix:
    """One value a row, to be broadcast over what stands in the columns."""
    return np.array(list(values), dtype=np.float64)[:, None]


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


def _padded(lengths: Sequence[Sequence[tuple[float, float]]]) -> NDArray[np.float64]:
    """Values with their shares in rows of one length; what fills up has no share."""
    table = np.zeros((len(lengths), max(map(len, lengths)), 2))
    table[:, :, 0] = 1.0
    for row, pairs in enumerate(lengths):
        table[row, : len(pairs)] = pairs
    return table


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


@dataclass(frozen=True, slots=True)
class _Steps:
    """Seconds at a load, as the ladders have them."""

    decode: Matrix
    interrupt: Matrix
    interrupt_square: Matrix
    clear: Matrix
    own: Matrix
    own_square: Matrix
    own_p95: Matrix
    step: Matrix
    step_seen: Matrix
    long_step: Matrix
    context: Matrix


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
    steps = _Steps(*np.moveaxis(rows.at(1 + inside), 2, 0))
    decoding = (rows.output_tokens - 1) * steps.decode
    stay = decoding + (1 + inside) * steps.interrupt
    rate = np.maximum.accumulate(companions / stay, axis=1)  # as ``rates`` has it
    utilisation = rate / rows.saturation_rate
    spread = decoding**2 * rows.output_cv_squared + np.maximum(steps.own_square - steps.own**2, 0.0)
    seats = utilisation * rows.full_batch / rows.max_batch
    place = _wait_for_a_place(rows, seats, stay, spread / stay**2)
    turn = _wait_behind_prompts(rows, steps, rate, inside)
    usual = steps.own + rows.overhead_seconds
    tail = np.maximum(steps.own_p95 - steps.own, 0.0)
    own = usual[:, :, None] + tail[:, :, None] * rows.prompt_scores[:, None, :]
    own_sigma = Z95 - np.sqrt(np.maximum(Z95**2 - 2 * np.log1p(tail / usual), 0.0))
    first = FirstTokens(
        shares=rows.prompt_shares[:, None, :],
        own=own,
        own_log=np.log(usual) - own_sigma**2 / 2,
        own_sigma=np.maximum(own_sigma, 1e-4),
        waits=(place, turn),
        mean=usual + place.mean + turn.mean,
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        place_p95 = np.where(place.chance > LATE, place.given * np.log(place.chance / LATE), 0.0)
    return Loads(
        companions=companions,
        rate=rate,
        utilisation=utilisation,
        place_p95=place_p95,
        first=first,
        tokens=_between_tokens(rows, steps, inside, rate, turn.mean),
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


def _between_tokens(rows: Rows, steps: _Steps, inside: Matrix, rate: Matrix, wait: Matrix) -> Tokens:
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
    rows: Rows, steps: _Steps, inside: Matrix, by_delay: Matrix, own: NDArray[np.float64]
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


def _wait_for_a_place(rows: Rows, utilisation: Matrix, stay: Matrix, cv_squared: Matrix) -> Wait:
    """Chance of a wait for one of so many places, and its mean (Sakasegawa 1977; bursts: Allen and Cunneen)."""
    places, full = rows.max_batch, np.minimum(utilisation, 1.0)
    with np.errstate(divide="ignore"):
        given_wait = (rows.gap_cv_squared + cv_squared) / 2 * stay / (places * (1 - full))
    return Wait(full ** (np.sqrt(2 * (places + 1)) - 1), given_wait)


def _wait_behind_prompts(rows: Rows, steps: _Steps, rate: Matrix, inside: Matrix) -> Wait:
    """What later prompts of the same step add; chance and mean of a wait for the step under way and earlier prompts."""
    busy, reading = np.minimum(rate * steps.clear, 1.0), np.minimum(rate * steps.own, 1.0)
    decodes = rows.output_tokens > 1
    present = -np.expm1(-inside) * decodes
    rest = reading * steps.own_square / (2 * steps.own) + (1 - reading) * present * steps.decode / 2
    crowds = crowd(rows.gap_cv_squared, rate * steps.own / np.maximum(1 - busy, 1e-9))
    # Of the prompt that came before in a burst of shape a, 1/(1 + a) is left to read; in a backlog it is read whole.
    left = busy + (1 - busy) / (1 + 1 / np.maximum(rows.gap_cv_squared, 1e-3))
    lead = (steps.clear + (steps.own - steps.clear) * (1 - busy)) * left
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(busy < 1, np.maximum((rest + crowds * lead) / (1 - busy), 0.0), np.inf)
    mean = np.where(rows.max_batch > 1, mean, 0.0)  # of one place all waiting is for the place
    sharing = rate * steps.step_seen / 2 + np.maximum(crowd(rows.gap_cv_squared, rate * steps.step_seen), 0.0)
    last = np.minimum(steps.long_step / steps.own, 1.0)  # of its steps, a prompt shares only the last with later ones
    mean = mean + rows.shares_steps * sharing * steps.interrupt * last
    chance = np.clip(reading + crowds + (1 - reading) * present * (reading <= 0), 1e-3, 1.0)
    # What is left of a prompt that is met while it is read varies as the residuals of a lognormal do; many queue up to
    # an exponential.
    residual = 4 / 3 * steps.own_square / steps.own**2 - 1
    variation = 1 + (residual - 1) * (1 - busy)
    return Wait(chance, mean / chance, variation)
