"""Continuous batching in closed form: the batch a replica settles at, and the latency that goes with it.

A mean-field picture of one replica, arrivals Poisson or burstier. Let ``t(b)`` be the time of a step at batch ``b``,
``s`` the prefill of one prompt, ``n`` the output tokens, ``m`` the places in the batch. By Little's law ``u`` requests
arrive while one stays; it meets ``v = min(u, m − 1)`` of them inside, and the prefill of each comes between its steps:

    stay          D(u) = (n − 1) · t(1 + v) + (1 + v) · s
    arrival rate  λ(u) = u / D(u)

so the load is written by ``u`` without iteration, and λ(m) is where the replica saturates. TTFT adds the wait for a
place in the batch (M/G/m, Sakasegawa's formula), the wait behind other prefills (M/G/1, Pollaczek–Khinchine), the step
that is under way, and the prompt's own prefill with the decoding rows it carries.

The 95th percentiles take the 95th-percentile prompt, the 95th percentile of each wait (exponential tails with the
means of the formulas) and 1.645 standard deviations of a Poisson number of companions, all at once: on the safe side
by construction.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.provenance import Basis
from llmsizer.facts.workload import Workload
from llmsizer.traffic.capacity import Limit

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Z95 = 1.645  # 95th percentile of the standard normal distribution

METHOD = "mean-field closed form of continuous batching under Poisson arrivals"
LEAVES_OUT = (
    "part of what large batches cost: public rate sweeps of vLLM on H100 saturate 29 % above to 22 % below it",
    "load that moves within the hour, and multi-turn sessions (their prefix hits count as a share of the prompt)",
    "prefill chunks that share a step with decoding rows (counted one after the other, on the safe side)",
    "preemption and recomputation when the KV cache runs full (avoided by a margin instead)",
    "uneven routing over replicas, start-up time and failures",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The few points at which a replica's step times have to be known."""

    batches: tuple[int, ...]  # 1, 2, 4 … to the largest
    context_tokens: float  # of a sequence half way through its answer
    prompt_tokens: float  # not in the prefix cache, mean
    prompt_tokens_p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSample:
    """Step times at a probe's points. Intervals are factors on the seconds: (0.8, 1.3) is −20 % to +30 %."""

    decode_seconds: Vector  # per token, at each batch
    first_token_seconds: float  # from the start of the mean prompt's work, on an idle engine
    first_token_p95_seconds: float  # of the p95 prompt
    prefill_seconds: float  # of engine time that one prompt takes from those who decode, on a busy engine
    overhead_seconds: float = 0.0  # the front end's, on every first token; it does not keep the GPU busy
    decode_interval: tuple[float, float] = (1.0, 1.0)
    prefill_interval: tuple[float, float] = (1.0, 1.0)
    basis: Basis = "calibrated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What bounds the batch: the cache in tokens, and the engine's own limit on sequences."""

    kv_capacity_tokens: float
    max_sequences: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Sampled step times at one end of their interval: decode against batch, prefill of the mean and the p95 prompt."""

    batches: Vector
    decode_seconds: Vector
    prefill_seconds: float  # of engine time, in a busy engine
    first_token_seconds: float  # of the mean prompt alone, with the front end's overhead
    first_token_p95_seconds: float  # of the p95 prompt

    def decode(self, batch: Vector) -> Vector:
        return np.interp(batch, self.batches, self.decode_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica under one workload's lengths, ready to be asked about rates."""

    output_tokens: int
    prompt_cv_squared: float
    output_cv_squared: float
    gap_cv_squared: float  # of the arrivals: 1 is Poisson
    max_batch: int
    batch_limit: Limit  # "kv cache" or "max sequences"
    basis: Basis
    mid: Curves
    fast: Curves
    slow: Curves

    @property
    def idle_stay_seconds(self) -> float:
        """How long a request stays that meets no other."""
        return (self.output_tokens - 1) * float(self.mid.decode_seconds[0]) + self.mid.prefill_seconds


_OF_REPLICA = ("output_tokens", "prompt_cv_squared", "output_cv_squared", "gap_cv_squared", "max_batch")
_OF_CURVES = ("prefill_seconds", "first_token_seconds", "first_token_p95_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Many replicas, each at one end of its step times: a row each, to be asked about many loads at once."""

    output_tokens: Matrix
    prompt_cv_squared: Matrix
    output_cv_squared: Matrix
    gap_cv_squared: Matrix
    max_batch: Matrix
    saturation_rate: Matrix
    prefill_seconds: Matrix
    first_token_seconds: Matrix
    first_token_p95_seconds: Matrix
    batches: Matrix  # infinite beyond the largest, where the step time stays what it is
    decode_seconds: Matrix

    @classmethod
    def of(cls, ends: Sequence[tuple[Replica, Curves]]) -> Rows:
        """Of one replica or more; the ladders of batches filled up to one length."""
        steps = 1 + max(len(curves.batches) for _, curves in ends)
        batches, decode_seconds = np.full((len(ends), steps), np.inf), np.empty((len(ends), steps))
        for row, (_, curves) in enumerate(ends):
            batches[row, : len(curves.batches)] = curves.batches
            decode_seconds[row, : len(curves.batches)] = curves.decode_seconds
            decode_seconds[row, len(curves.batches) :] = curves.decode_seconds[-1]
        replicas, times = zip(*ends, strict=True)
        one = {name: column(getattr(replica, name) for replica in replicas) for name in _OF_REPLICA}
        one |= {name: column(getattr(curves, name) for curves in times) for name in _OF_CURVES}
        saturation = column(saturation_rate(*end) for end in ends)
        return cls(**one, saturation_rate=saturation, batches=batches, decode_seconds=decode_seconds)

    def take(self, rows: NDArray[np.intp]) -> Rows:
        """Some of them."""
        return Rows(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def decode(self, batch: Matrix) -> Matrix:
        """Seconds of a step at each batch, in a line between those sampled."""
        left = (batch[:, :, None] >= self.batches[:, None, :]).sum(axis=2) - 1
        with np.errstate(invalid="ignore"):  # beyond the largest batch, where nobody looks
            slopes = np.diff(self.decode_seconds) / np.diff(self.batches)
        ahead = batch - np.take_along_axis(self.batches, left, axis=1)
        return np.take_along_axis(slopes, left, axis=1) * ahead + np.take_along_axis(self.decode_seconds, left, axis=1)


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


def squared_variation(mean: float, p95: float | None) -> float:
    """Squared coefficient of variation of the lognormal with this mean and 95th percentile; 0 where none is given."""
    if p95 is None or p95 <= mean:
        return 0.0
    # ln(p95/mean) = z·σ − σ²/2 has its largest value at σ = z: heavier tails than that no lognormal has.
    sigma = Z95 - math.sqrt(max(0.0, Z95**2 - 2 * math.log(p95 / mean)))
    return math.exp(sigma**2) - 1


def largest_batch(workload: Workload, room: Room) -> tuple[int, Limit]:
    """Sequences that fit at once with a 95 % margin on their summed length, and which limit binds first."""
    mean = workload.prompt_tokens + workload.generated_tokens / 2
    variance = workload.prompt_tokens**2 * squared_variation(workload.prompt_tokens, workload.prompt_tokens_p95)
    # Progress through an answer is uniform: its spread is a twelfth of the squared length, plus that of the lengths.
    variance += workload.generated_tokens**2 / 12
    variance += (workload.generated_tokens / 2) ** 2 * squared_variation(
        workload.generated_tokens, workload.generated_tokens_p95
    )
    margin = Z95 * math.sqrt(variance)
    # batch · mean + margin · √batch = capacity, solved for √batch
    root = (-margin + math.sqrt(margin**2 + 4 * mean * room.kv_capacity_tokens)) / (2 * mean)
    by_cache = int(root**2)
    longest = workload.context_tokens
    if by_cache < 1 and room.kv_capacity_tokens >= longest:
        by_cache = 1  # the margin is about sums; a single longest request fits
    return (by_cache, "kv cache") if by_cache < room.max_sequences else (room.max_sequences, "max sequences")


def probe(workload: Workload, room: Room) -> Probe | None:
    """What to ask of the step times; None where not even one request fits."""
    largest, _ = largest_batch(workload, room)
    if largest < 1:
        return None
    fresh = 1 - workload.cached_prompt_fraction
    return Probe(
        batches=tuple(sorted({min(2**k, largest) for k in range(largest.bit_length() + 1)})),
        context_tokens=workload.prompt_tokens + workload.generated_tokens / 2,
        prompt_tokens=max(1.0, workload.prompt_tokens * fresh),
        prompt_tokens_p95=max(1.0, (workload.prompt_tokens_p95 or workload.prompt_tokens) * fresh),
    )


def make_replica(workload: Workload, room: Room, asked: Probe, seen: StepSample) -> Replica:
    """A replica from its step times."""
    largest, limit = largest_batch(workload, room)

    def curves(end: int | None) -> Curves:
        decode = 1.0 if end is None else seen.decode_interval[end]
        prefill = 1.0 if end is None else seen.prefill_interval[end]
        return Curves(
            batches=np.array(asked.batches, dtype=float),
            # A step with more rows is never faster: what a switch of kernels says otherwise is levelled.
            decode_seconds=np.maximum.accumulate(seen.decode_seconds) * decode,
            prefill_seconds=seen.prefill_seconds * prefill,
            first_token_seconds=seen.first_token_seconds * prefill + seen.overhead_seconds,
            first_token_p95_seconds=max(seen.first_token_seconds, seen.first_token_p95_seconds) * prefill
            + seen.overhead_seconds,
        )

    return Replica(
        gap_cv_squared=workload.gap_cv**2,
        output_tokens=workload.generated_tokens,
        prompt_cv_squared=squared_variation(workload.prompt_tokens, workload.prompt_tokens_p95),
        output_cv_squared=squared_variation(workload.generated_tokens, workload.generated_tokens_p95),
        max_batch=largest,
        batch_limit=limit,
        basis=seen.basis,
        mid=curves(None),
        fast=curves(0),
        slow=curves(1),
    )


def _inside(replica: Replica | Rows, companions: Vector) -> Vector:
    """Companions that find a place beside the request itself."""
    return np.minimum(companions, replica.max_batch - 1)


def _stay_seconds(replica: Replica, curves: Curves, companions: Vector) -> Vector:
    """From the start of its prefill to the last token, every prefill that comes between included."""
    inside = _inside(replica, companions)
    return (replica.output_tokens - 1) * curves.decode(1 + inside) + (1 + inside) * curves.prefill_seconds


def rates(replica: Replica, curves: Curves, companions: Vector) -> Vector:
    """The arrival rate at which so many companions arrive during a stay: rising, by construction."""
    return np.maximum.accumulate(companions / _stay_seconds(replica, curves, companions))


def saturation_rate(replica: Replica, curves: Curves) -> float:
    """The rate above which requests pile up without end: every place taken."""
    places = float(replica.max_batch)
    stay = (replica.output_tokens - 1) * float(
        np.interp(places, curves.batches, curves.decode_seconds)
    ) + places * curves.prefill_seconds
    return places / stay


def prefill_share(replica: Replica, curves: Curves, companions: float) -> float:
    """The part of the engine's busy time that goes to prompts."""
    inside = _inside(replica, np.array([companions]))
    stay = _stay_seconds(replica, curves, inside)
    return float(((1 + inside) * curves.prefill_seconds / stay)[0])


def evaluate(rows: Rows, companions: Matrix) -> Points:
    """Latencies of each row at its numbers of companions, which must be in rising order."""
    inside, prefill_seconds = _inside(rows, companions), rows.prefill_seconds
    step = rows.decode(1 + inside)
    decoding = (rows.output_tokens - 1) * step
    stay = decoding + (1 + inside) * prefill_seconds
    rate = np.maximum.accumulate(companions / stay, axis=1)  # as ``rates`` has it
    # An answer of one token comes out of the prefill: nothing decodes, so nothing is in the way.
    decodes = rows.output_tokens > 1
    beside = (step - rows.decode_seconds[:, :1]) * decodes  # what decoding rows add to a step that also prefills
    first, first_p95 = rows.first_token_seconds + beside, rows.first_token_p95_seconds + beside
    prefill = prefill_seconds + beside

    utilisation = rate / rows.saturation_rate
    spread = decoding**2 * rows.output_cv_squared + prefill_seconds**2 * rows.prompt_cv_squared
    place, place_p95 = _wait_for_a_place(rows, utilisation, stay, spread / stay**2)
    busy = np.minimum(rate * prefill_seconds, 1.0)
    turn, turn_p95 = _wait_behind_prefills(rows, busy, prefill)
    turn = np.minimum(turn, inside * prefill)  # no more prompts can be ahead than are inside
    turn_p95 = np.minimum(turn_p95, (rows.max_batch - 1) * prefill)
    under_way = (1 - np.exp(-inside)) * step * decodes  # the chance that someone is inside, times a step

    gaps = np.maximum(rows.output_tokens - 1, 1)
    # Bursts: the peakedness of GI/M/∞, (1 + gap_cv²)/2, multiplies the variance of a Poisson number of companions.
    unlucky = _inside(rows, inside + Z95 * np.sqrt(inside * (1 + rows.gap_cv_squared) / 2))
    return Points(
        companions=companions,
        rate=rate,
        utilisation=utilisation,
        wait_p95=place_p95,
        ttft_mean=first + under_way / 2 + place + turn,
        ttft_p95=first_p95 + under_way + place_p95 + turn_p95,
        tpot_mean=step + inside * prefill_seconds / gaps,
        tpot_p95=rows.decode(1 + unlucky) + unlucky * prefill_seconds / gaps,
    )


def _wait_for_a_place(rows: Rows, utilisation: Matrix, stay: Matrix, cv_squared: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and 95th percentile of the wait for one of so many places (Sakasegawa 1977; bursts: Allen and Cunneen)."""
    places, full = rows.max_batch, np.minimum(utilisation, 1.0)
    waits = full ** (np.sqrt(2 * (places + 1)) - 1)  # probability of waiting at all
    with np.errstate(divide="ignore"):
        given_wait = (rows.gap_cv_squared + cv_squared) / 2 * stay / (places * (1 - full))
    return _mean_and_tail(waits, given_wait)


def _wait_behind_prefills(rows: Rows, busy: Matrix, service: Matrix) -> tuple[Matrix, Matrix]:
    """Mean and 95th percentile of the wait behind other prompts (Pollaczek–Khinchine, M/G/1; bursts as Kingman)."""
    with np.errstate(divide="ignore"):
        given_wait = (rows.gap_cv_squared + rows.prompt_cv_squared) / 2 * service / (1 - busy)
    return _mean_and_tail(busy, given_wait)


def _mean_and_tail(probability: Matrix, given_wait: Matrix) -> tuple[Matrix, Matrix]:
    """Of a wait that happens with a probability and is then exponential: its mean, and its 95th percentile."""
    # Below one in twenty the 95th percentile does not wait; there the logarithm is 0.
    log = np.log(np.maximum(probability, 0.05) / 0.05)
    return probability * given_wait, np.where(log > 0, given_wait * log, 0.0)
