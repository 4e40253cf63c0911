"""Continuous batching in closed form: one replica under one workload's lengths, and the batch it settles at.

Let ``t(b)`` be the time of a step at batch ``b``, ``s(b)`` what one prompt adds to the steps of those who decode,
``n`` the output tokens, ``m`` the places in the batch. By Little's law ``u`` requests arrive while one stays; it meets
``v = min(u, m − 1)`` of them inside, and the prefill of each comes between its steps:

    stay          D(u) = (n − 1) · t(1 + v) + (1 + v) · s(1 + v)
    arrival rate  λ(u) = u / D(u)

so the load is written by ``u`` without iteration, and the largest λ is where the replica saturates. ``prompt_steps``
says what a prompt takes where it shares steps with decoding rows, ``latencies`` what users see at a load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.provenance import Basis
from llmsizer.facts.workload import Workload
from llmsizer.traffic.closed_form.capacity import Limit
from llmsizer.traffic.closed_form.prompt_steps import MixedSteps, Prompts, PromptTimes, prompt_times
from llmsizer.traffic.demand.lengths import Z95, Bins, bins_of, lognormal_bins, lognormal_sigma

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

METHOD = "mean-field closed form of continuous batching under Poisson arrivals"
LEAVES_OUT = (
    "part of what large batches cost: public rate sweeps of vLLM on H100 saturate 28 % above to 26 % below it",
    "load that moves within the hour, and multi-turn sessions (their prefix hits count as a share of the prompt)",
    "what a simulation knows better: of 160 random deployments the closed form held within 10 % of the simulated rate "
    "in 76 %, and over 15 % too much in 11 %, in bursts and where the SLO is near an idle replica's latency "
    "(benchmarks/closed_form.py); llmsizer plan simulates the plan it puts first, capacity any",
    "preemption and recomputation when the KV cache runs full (avoided by a margin instead)",
    "uneven routing over replicas, start-up time and failures",
)
_STEP_HALVINGS = (0, 1, 2, 3, 5)  # of the engine's budget of tokens: so full are the steps that are asked for
_TAIL = 4  # times the usual context is allowed for the longest requests, as in simulations


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """The few points at which a replica's step times have to be known."""

    batches: tuple[int, ...]  # 1, 2, 4 … to the largest
    context_tokens: float  # of a sequence at a random moment of its answer
    prompt_tokens: float  # not in the prefix cache, mean
    prompt_tokens_p95: float
    step_tokens: tuple[int, ...] = ()  # of a step that carries prompt tokens, up to the engine's budget; empty: unknown


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
    mixed: MixedSteps | None = None  # None: each prompt is read in a pass of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What bounds the batch: the cache in tokens, and the engine's own limits on sequences and on tokens of a step."""

    kv_capacity_tokens: float
    max_sequences: int
    max_batched_tokens: int | None = None  # None: each prompt is read in a pass of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Sampled step times at one end of their interval, against the batch."""

    batches: Vector
    decode_seconds: Vector
    prefill_seconds: float  # of engine time of the mean prompt, in a busy engine
    first_token_seconds: float  # of the mean prompt alone, with the front end's overhead
    first_token_p95_seconds: float  # of the p95 prompt
    prompts: PromptTimes  # beside decoding rows
    overhead_seconds: float

    def decode(self, batch: Vector) -> Vector:
        return np.interp(batch, self.batches, self.decode_seconds)

    def scaled(self, decode: float, prefill: float) -> Curves:
        """The same with steps and passes over prompts so many times as long; the front end's overhead stays."""
        if decode == 1.0 and prefill == 1.0:
            return self
        over, prompts = self.overhead_seconds, self.prompts
        bare = self.decode_seconds
        step = decode * bare + prefill * (prompts.step - bare)
        return replace(
            self,
            decode_seconds=self.decode_seconds * decode,
            prefill_seconds=self.prefill_seconds * prefill,
            first_token_seconds=over + (self.first_token_seconds - over) * prefill,
            first_token_p95_seconds=over + (self.first_token_p95_seconds - over) * prefill,
            prompts=PromptTimes(
                interrupt=prompts.interrupt * prefill,
                interrupt_square=prompts.interrupt_square * prefill**2,
                clear=prompts.clear * prefill,
                own=prompts.own * prefill,
                own_square=prompts.own_square * prefill**2,
                own_p95=prompts.own_p95 * prefill,
                step=step,
                step_seen=decode * bare + prefill * (prompts.step_seen - bare),
                long_step=decode * bare + prefill * (prompts.long_step - bare),
                context=prompts.context * decode,
                alone=prompts.alone,
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One replica under one workload's lengths, ready to be asked about rates."""

    output_tokens: int
    prompt_cv_squared: float
    output_cv_squared: float
    gap_cv_squared: float  # of the arrivals: 1 is Poisson
    decode_steps: Matrix  # of an answer, n − 1, with the share of answers that take so many
    prompt_scores: Matrix  # (own time − mean)/(p95 − mean), with the share of such prompts
    context_spread: float  # standard deviation of a sequence's context over its mean, as its 95th percentile has it
    shares_steps: bool  # whether prompts share steps with decoding rows and with each other
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


def squared_variation(mean: float, p95: float | None) -> float:
    """Squared coefficient of variation of the lognormal with this mean and 95th percentile; 0 where none is given."""
    if not p95 or p95 <= mean:
        return 0.0
    return math.exp(lognormal_sigma(mean, p95) ** 2) - 1


def longest_tokens(workload: Workload, room: Room) -> tuple[float, float]:
    """The longest prompt and the longest answer that are served: the tails beyond are cut, as in simulations."""
    context = float(max(min(_TAIL * workload.context_tokens, room.kv_capacity_tokens), workload.context_tokens))
    prompt = workload.prompt_tokens_p95 or workload.prompt_tokens
    answer = max(workload.generated_tokens_p95 or workload.generated_tokens, min(context / 4, context - prompt))
    return max(1.0, context - answer), answer


@lru_cache(maxsize=64)
def lengths_of(workload: Workload, longest_prompt: float, longest_answer: float) -> tuple[Prompts, Bins]:
    """Prompts and answers; the same for hundreds of replicas."""
    return prompts_of(workload, longest_prompt), answers_of(workload, longest_answer)


def answers_of(workload: Workload, longest: float) -> Bins:
    """Generated tokens."""
    if workload.output_lengths and not workload.reasoning_tokens:
        return bins_of(workload.output_lengths, longest)
    return lognormal_bins(float(workload.generated_tokens), _answers_cv_squared(workload), longest)


def _answers_cv_squared(workload: Workload) -> float:
    """What is reasoned and what is answered vary each on its own."""
    answered = workload.output_tokens**2 * squared_variation(workload.output_tokens, workload.output_tokens_p95)
    reasoned = workload.reasoning_tokens**2 * squared_variation(
        workload.reasoning_tokens, workload.reasoning_tokens_p95
    )
    return (answered + reasoned) / workload.generated_tokens**2


def prompts_of(workload: Workload, longest: float) -> Prompts:
    """Prompts by tokens to compute; a shared prefix is a hit or a miss, another cached share is of every prompt."""
    prefix, share = workload.shared_prefix_tokens, workload.cached_prompt_fraction
    if workload.turns > 1 or not prefix:
        whole = (
            bins_of(workload.prompt_lengths, longest)
            if workload.prompt_lengths and workload.turns == 1
            else _lognormal(workload.prompt_tokens, workload.prompt_tokens_p95, longest)
        )
        tail = min(float(workload.prompt_tokens_p95 or workload.prompt_tokens), longest)
        tokens, weights = np.append(whole.tokens, tail), np.append(whole.weights, 0.0)
        cached = tokens * share
    else:
        p95 = None if workload.prompt_tokens_p95 is None else max(workload.prompt_tokens_p95 - prefix, 1)
        new = _lognormal(workload.new_prompt_tokens, p95, max(longest - prefix, 1.0))
        hit = workload.prefix_hit_rate
        weights = np.concatenate([new.weights * hit, new.weights * (1 - hit), [0.0]])
        computed = np.concatenate([new.tokens, new.tokens + prefix])
        order = np.argsort(computed)
        middles = np.cumsum(weights[order]) - weights[order] / 2
        tail = float(np.interp(0.95, middles, computed[order]))
        tokens = np.concatenate([new.tokens + prefix, new.tokens + prefix, [tail]])
        cached = np.concatenate([np.full(new.tokens.size, float(prefix)), np.zeros(new.tokens.size + 1)])
    cached = np.minimum(cached, tokens - 1)
    return Prompts(tokens=np.maximum(tokens - cached, 1.0), cached_tokens=cached, weights=weights)


def _lognormal(mean: float, p95: float | None, longest: float) -> Bins:
    return lognormal_bins(float(mean), squared_variation(mean, p95), longest)


def largest_batch(workload: Workload, room: Room) -> tuple[int, Limit]:
    """Sequences that fit at once with a 95 % margin on their summed length, and which limit binds first.

    A sequence met at a random moment is more likely a long one: its answer has come E[n²]/2E[n] tokens far, which is
    half the mean only where all answers are alike. A shared prefix is stored once.
    """
    prompts, answers = lengths_of(workload, *longest_tokens(workload, room))
    shared = workload.shared_prefix_tokens if workload.turns == 1 else 0
    own = prompts.tokens + (0.0 if shared else prompts.cached_tokens)
    mean_answer = answers.mean_tokens
    progress = float(answers.weights @ answers.tokens**2) / (2 * mean_answer)
    mean = float(prompts.weights @ own) + progress
    variance = float(prompts.weights @ own**2) - float(prompts.weights @ own) ** 2
    variance += float(answers.weights @ answers.tokens**3) / (3 * mean_answer) - progress**2
    margin, capacity = Z95 * math.sqrt(max(variance, 0.0)), max(room.kv_capacity_tokens - shared, 0.0)
    # batch · mean + margin · √batch = capacity, solved for √batch
    root = (-margin + math.sqrt(margin**2 + 4 * mean * capacity)) / (2 * mean)
    by_cache = int(root**2)
    if by_cache < 1 and room.kv_capacity_tokens >= workload.context_tokens:
        by_cache = 1  # the margin is about sums; a single longest request fits
    return (by_cache, "kv cache") if by_cache < room.max_sequences else (room.max_sequences, "max sequences")


def busiest_batch(workload: Workload, room: Room, prompt_tokens: float) -> float:
    """The batch at which prompts fill what decoding leaves of every step: with more of them they would pile up."""
    decode_steps = workload.generated_tokens - 1
    if room.max_batched_tokens is None or decode_steps < 1:
        return math.inf
    return max(1.0, room.max_batched_tokens * decode_steps / (prompt_tokens + decode_steps))


def probe(workload: Workload, room: Room) -> Probe | None:
    """What to ask of the step times; None where not even one request fits."""
    largest, _ = largest_batch(workload, room)
    if largest < 1:
        return None
    prompts, answers = lengths_of(workload, *longest_tokens(workload, room))
    computed = float(prompts.weights @ prompts.tokens)
    whole = computed + float(prompts.weights @ prompts.cached_tokens)
    top = int(min(largest, busiest_batch(workload, room, computed)))
    budget = room.max_batched_tokens
    return Probe(
        batches=tuple(sorted({min(2**k, top) for k in range(top.bit_length() + 1)})),
        context_tokens=whole + float(answers.weights @ answers.tokens**2) / (2 * answers.mean_tokens),
        prompt_tokens=computed,
        prompt_tokens_p95=float(prompts.tokens[-1]),
        step_tokens=() if budget is None else tuple(sorted({max(1, budget // 2**k) for k in _STEP_HALVINGS})),
    )


def make_replica(workload: Workload, room: Room, asked: Probe, seen: StepSample) -> Replica:
    """A replica from its step times."""
    largest, limit = largest_batch(workload, room)
    prompts, answers = lengths_of(workload, *longest_tokens(workload, room))
    decode_steps = workload.generated_tokens - 1
    cv_squared = squared_variation(workload.prompt_tokens, workload.prompt_tokens_p95)
    batches = np.array(asked.batches, dtype=float)
    # A step with more rows is never faster: what a switch of kernels says otherwise is levelled.
    decode_seconds = np.maximum.accumulate(seen.decode_seconds)
    shares = seen.mixed is not None and decode_steps > 0
    mid = Curves(
        batches=batches,
        decode_seconds=decode_seconds,
        prefill_seconds=seen.prefill_seconds,
        first_token_seconds=seen.first_token_seconds + seen.overhead_seconds,
        first_token_p95_seconds=max(seen.first_token_seconds, seen.first_token_p95_seconds) + seen.overhead_seconds,
        prompts=prompt_times(seen.mixed, batches, decode_seconds, prompts, decode_steps)
        if seen.mixed is not None and decode_steps > 0
        else _one_by_one(seen, batches, decode_seconds, prompts, decode_steps),
        overhead_seconds=seen.overhead_seconds,
    )
    ends = [mid.scaled(seen.decode_interval[end], seen.prefill_interval[end]) for end in (0, 1)]
    return Replica(
        output_tokens=workload.generated_tokens,
        prompt_cv_squared=cv_squared,
        output_cv_squared=_answers_cv_squared(workload),
        gap_cv_squared=workload.gap_cv**2,
        decode_steps=np.stack([np.maximum(answers.tokens - 1, 1.0), answers.weights], axis=1),
        prompt_scores=_scores(mid.prompts, prompts),
        context_spread=_context_spread(prompts, answers),
        shares_steps=shares,
        max_batch=largest,
        batch_limit=limit,
        basis=seen.basis,
        mid=mid,
        fast=ends[0],
        slow=ends[1],
    )


def _context_spread(prompts: Prompts, answers: Bins) -> float:
    whole = prompts.tokens + prompts.cached_tokens
    mean = float(prompts.weights @ whole)
    return max(float(whole[-1]) - mean, 0.0) / Z95 / (mean + answers.mean_tokens / 2)


def _scores(times: PromptTimes, prompts: Prompts) -> Matrix:
    """Where each prompt's own time lies between the mean and the p95 prompt's; at other batches it lies there too."""
    alone, weights = times.alone, prompts.weights
    mean = float(weights @ alone)
    span = float(alone[-1]) - mean
    scores = (alone - mean) / span if span > 1e-12 * mean else np.zeros_like(alone)
    return np.stack([scores, weights], axis=1)[weights > 0]


def _one_by_one(
    seen: StepSample, batches: Vector, decode_seconds: Vector, prompts: Prompts, decode_steps: int
) -> PromptTimes:
    """Each prompt in a pass of its own, which the decoding rows wait for and a first token carries along."""
    weights = prompts.weights
    tokens = prompts.tokens / float(weights @ prompts.tokens)
    squares = float(weights @ tokens**2)
    one = np.full_like(batches, seen.prefill_seconds)
    beside = (decode_seconds - decode_seconds[0]) * (decode_steps > 0)
    met = (batches - 1) / max(decode_steps, 1)
    step, step_seen = one, one * squares
    long_step = step_seen
    if decode_steps:
        share = np.minimum(met, 1.0)
        step = decode_seconds + met * one
        square = decode_seconds**2 + 2 * decode_seconds * one + one**2 * squares
        long_step = square / (decode_seconds + one)
        step_seen = ((1 - share) * decode_seconds**2 + share * square) / step
    own = seen.first_token_seconds + beside
    p95 = max(seen.first_token_seconds, seen.first_token_p95_seconds)
    return PromptTimes(
        interrupt=one,
        interrupt_square=one**2 * squares,
        clear=one,
        own=own,
        own_square=own**2 * squares,
        own_p95=p95 + beside,
        step=step,
        step_seen=step_seen,
        long_step=long_step,
        context=np.zeros_like(batches),
        alone=np.append(tokens[:-1] * seen.first_token_seconds, p95),
    )


def _inside(curves: Curves, companions: Vector) -> Vector:
    """Companions that find a place beside the request itself."""
    return np.asarray(np.minimum(companions, curves.batches[-1] - 1))


def _stay_seconds(replica: Replica, curves: Curves, companions: Vector) -> Vector:
    """From the start of its prefill to the last token, every prefill that comes between included."""
    batch = 1 + _inside(curves, companions)
    interrupt = np.interp(batch, curves.batches, curves.prompts.interrupt)
    return (replica.output_tokens - 1) * curves.decode(batch) + batch * interrupt


def rates(replica: Replica, curves: Curves, companions: Vector) -> Vector:
    """The arrival rate at which so many companions arrive during a stay: rising, by construction."""
    return np.maximum.accumulate(companions / _stay_seconds(replica, curves, companions))


def saturation_rate(replica: Replica, curves: Curves) -> float:
    """The rate above which requests pile up without end: every place taken, or every step full of prompts."""
    stay = (replica.output_tokens - 1) * curves.decode_seconds + curves.batches * curves.prompts.interrupt
    return float((curves.batches / stay).max())


def prefill_share(replica: Replica, curves: Curves, companions: float) -> float:
    """The part of the engine's busy time that goes to prompts."""
    batch = 1 + _inside(curves, np.array([companions]))
    prompts = batch * np.interp(batch, curves.batches, curves.prompts.interrupt)
    return float((prompts / ((replica.output_tokens - 1) * curves.decode(batch) + prompts))[0])
