"""Steps that carry prompt tokens beside decoding rows: what a prompt takes of those who decode, and of itself.

An engine with chunked prefill does not read a prompt in a pass of its own. A step carries one token of each of ``b``
decoding sequences and fills the rest of its token budget ``B`` with prompt tokens, so that the matrix products of both
are one: beside a small batch a short prompt rides along almost for nothing, beside a large one it costs its full
arithmetic. With ``M(n)`` the part of a step that depends on its tokens and ``a(b)`` the decoding rows' attention,

    X(n, b) = M(n + b) + a(b)

A prompt of ``p`` tokens takes ⌊p / (B − b)⌋ full steps and one with the rest. Every request brings one prompt and
``n − 1`` decode steps of its own, so at a batch of ``1 + v`` a step meets ``k = v / (n − 1)`` prompts, whatever the
steps last; prompts that come during one step share the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
SHORT_PROMPT_TOKENS = 32  # attention over so few is nothing beside the matrix products


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedSteps:
    """How long steps with prompt tokens in them last."""

    tokens: Vector  # of a step, rising to the engine's budget
    seconds: Vector  # of its part that depends on the tokens
    bare_decode_seconds: Vector  # of a decode step over no context, at each batch of the probe
    seconds_per_pair: float  # of a prompt token and a token that it attends to


def mixed_steps(tokens: Vector, passes: Vector, bare_decode_seconds: Vector) -> MixedSteps:
    """From passes of so many tokens: of short prompts, of one prompt, and of one two and four times the longest.

    As the simulator's table has it (``simulator.deployed``): the longer of the two kinds, attention taken out of the
    second; more tokens never take less.
    """
    count = tokens.size
    packed, alone, (two, four) = passes[:count], passes[count : 2 * count], passes[2 * count :]
    budget, one = tokens[-1], float(alone[-1])
    bend = attention_bend(one, float(two), float(four), budget)
    seconds = np.maximum.accumulate(np.maximum(packed, alone - bend * tokens**2 / 2))
    return MixedSteps(
        tokens=tokens,
        seconds=seconds,
        bare_decode_seconds=bare_decode_seconds,
        seconds_per_pair=max(one - float(seconds[-1]), 0.0) / (budget**2 / 2),
    )


def attention_bend(one: float, two: float, four: float, chunk_tokens: float) -> float:
    """Seconds per pair of tokens that attend, from prompts of one, two and four chunks.

    Of a + b·n + c·n²/2 only c bends the curve: it is the growth of the mean slope from one to two chunks to that from
    two to four, whose middles lie 1.5 chunks apart. No more than the whole pass can hold.
    """
    bend = (four - two) / (2 * chunk_tokens) - (two - one) / chunk_tokens
    return min(max(bend, 0.0) / (1.5 * chunk_tokens), one / chunk_tokens**2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Prompts as a few lengths with weights: tokens to compute, and the cached ones before them. The last: the p95."""

    tokens: Vector
    cached_tokens: Vector
    weights: Vector  # 0 for the p95


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTimes:
    """What prompts take at each batch, in seconds of engine time."""

    interrupt: Vector  # that one prompt adds to the steps of those who decode, mean
    interrupt_square: Vector  # mean of its square
    clear: Vector  # per prompt, while a backlog fills every step
    own: Vector  # from the start of the first step with a part of the prompt to the end of the last, mean
    own_square: Vector  # mean of its square
    own_p95: Vector  # of the p95 prompt
    step: Vector  # mean duration of a step of whatever kind
    step_seen: Vector  # of the step that goes on at a random moment: long steps are met more often
    long_step: Vector  # the same among steps with prompt tokens
    context: Vector  # of a step, for the context of each decoding row
    alone: Vector  # what each of the prompts' lengths takes beside nobody


def prompt_times(
    mixed: MixedSteps, batches: Vector, decode_seconds: Vector, prompts: Prompts, decode_steps: int
) -> PromptTimes:
    """At each batch of the probe, of requests that decode so many steps."""
    budget = np.maximum(mixed.tokens[-1] - batches, 1.0)
    # Attention, and what decoding rows cost beyond their share of the matrix products (sampling, logits).
    matrices = np.interp(batches, mixed.tokens, mixed.seconds)
    rows = decode_seconds - np.minimum(mixed.bare_decode_seconds, matrices)
    full_step = float(mixed.seconds[-1]) + rows
    tokens = prompts.tokens[:, None]
    pairs = mixed.seconds_per_pair * tokens * (prompts.cached_tokens[:, None] + tokens / 2)

    def read(together: Vector) -> tuple[Matrix, Matrix, Matrix, Matrix]:
        """Seconds, full steps, whether a last one with the rest follows, and how long that is."""
        full = np.floor(tokens * together / budget)
        rest = tokens * together - full * budget
        last = (rest >= 0.5) * 1.0
        rest_step = np.interp(rest + batches, mixed.tokens, mixed.seconds) + rows
        return full * full_step + last * rest_step + together * pairs, full, last, rest_step

    met = (batches - 1) / max(decode_steps, 1)
    # Of Poisson numbers, so many prompts share a step that carries any.
    together = np.where(met > 1e-6, met / -np.expm1(-np.maximum(met, 1e-6)), 1.0)
    seconds, full, last, rest_step = read(together)
    interrupt = np.maximum(seconds - (full + last) * decode_seconds, 0.0) / together
    own, weights = read(np.ones_like(batches))[0], prompts.weights
    attended = together * pairs / np.maximum(full + last, 1.0)
    square = weights @ (full * (full_step + attended) ** 2 + last * (rest_step + attended) ** 2)
    share = np.minimum(met / together * (weights @ (full + last)), 1.0)  # of steps
    step = decode_seconds + met * (weights @ interrupt)
    return PromptTimes(
        interrupt=weights @ interrupt,
        interrupt_square=weights @ interrupt**2,
        clear=float(weights @ prompts.tokens) / budget * full_step + (weights @ pairs),
        own=weights @ own,
        own_square=weights @ own**2,
        own_p95=own[-1],
        step=step,
        step_seen=((1 - share) * decode_seconds**2 + share * square / (weights @ (full + last))) / step,
        long_step=square / (weights @ seconds),
        context=np.maximum(decode_seconds - mixed.bare_decode_seconds, 0.0) / batches,
        alone=own[:, 0],
    )
