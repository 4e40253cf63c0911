"""A deployment as the simulator sees it: the calibrated step times as a table, the memory account as KV blocks.

The physics tells decode steps and passes over prompts apart; a step of the engine carries both. Its matrix products
see all tokens alike, so the token part of a mixed step is that of a pass over as many tokens: of short prompts, or of
one prompt less what its tokens attend to. That goes with the pairs, and is what bends the time of longer prompts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.answers.step_times import decode_seconds_grid, prefill_seconds, request_overhead_seconds
from llmsizer.physics.calibration.store import StoredCalibration
from llmsizer.physics.memory.account import MemoryBudget, estimate_memory
from llmsizer.traffic.closed_form.prompt_steps import SHORT_PROMPT_TOKENS, attention_bend
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.steps import StepTable, context_knots, spread


def replica_of(
    deployment: Deployment,
    *,
    budget: MemoryBudget | None = None,
    calibration: StoredCalibration | None = None,
    shared_prefix_tokens: int = 0,
) -> Replica:
    """One replica of a deployment that fits. Raises NoEvidenceError where nothing measured supports its step times,
    InputError for data-parallel attention, whose ranks this simulator does not tell apart.
    """
    if deployment.parallelism.data > 1:
        raise InputError(
            f"{deployment.label}: data-parallel attention is not simulated; the closed form of plan stands, or name "
            "another fleet with --gpu, --weights and --tp"
        )
    budget = budget or estimate_memory(deployment)
    table = step_table(
        deployment,
        max_sequences=budget.max_sequences,
        max_batched_tokens=budget.max_batched_tokens,
        calibration=calibration,
    )
    return Replica(
        steps=table,
        kv_tokens=budget.kv_capacity_tokens,
        max_sequences=budget.max_sequences,
        max_batched_tokens=budget.max_batched_tokens,
        shared_prefix_tokens=shared_prefix_tokens,
        frontend_seconds=request_overhead_seconds(calibration),
    )


def step_table(
    deployment: Deployment,
    *,
    max_sequences: int,
    max_batched_tokens: int,
    calibration: StoredCalibration | None = None,
) -> StepTable:
    """The calibrated step times of a deployment as a table."""
    knots = context_knots(deployment.max_context_tokens, per_doubling=2)
    rows = spread(1, max_sequences, per_doubling=2)
    sampled = decode_seconds_grid(deployment, rows, knots, calibration=calibration)
    every = np.arange(max_sequences + 1)
    decode = np.stack([np.interp(every, rows, sampled[:, k]) for k in range(len(knots))], axis=1)

    def passes(prompt_tokens: float, prompts: float = 1.0) -> float:
        value = prefill_seconds(deployment, prompt_tokens, prompts=prompts, calibration=calibration).value
        assert value is not None
        return value

    tokens = spread(1, max_batched_tokens, per_doubling=2)
    bend = pair_seconds(passes, max_batched_tokens)
    packed = [passes(min(n, SHORT_PROMPT_TOKENS), max(n / SHORT_PROMPT_TOKENS, 1.0)) for n in tokens]
    alone = [passes(n) - bend * n**2 / 2 for n in tokens]
    # One prompt and many in a pass are different evidence; the longer holds, and more tokens never take less.
    longer = np.maximum.accumulate(np.maximum(packed, alone))
    mixed = np.interp(np.arange(max_batched_tokens + 1), tokens, longer)
    return StepTable(
        knots_tokens=np.array(knots, dtype=np.float64),
        decode_seconds=np.ascontiguousarray(decode),
        mixed_seconds=mixed,
        # What is left of a full chunk of one prompt, so that this one is as long as the physics says.
        seconds_per_pair=max(passes(max_batched_tokens) - longer[-1], 0.0) / (max_batched_tokens**2 / 2),
    )


def pair_seconds(alone: Callable[[float], float], chunk_tokens: int) -> float:
    """Seconds per pair of tokens that attend, from how much more each token of a longer prompt takes."""
    one, two, four = (alone(times * chunk_tokens) for times in (1, 2, 4))
    return attention_bend(one, two, four, chunk_tokens)
