"""At which concurrency a format stops being faster: weight-only INT4 leads while weights are what a step waits for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.workload import Workload
from llmsizer.physics.answers.steps import StepAnswer, StepQuestion, answer_many
from llmsizer.physics.calibration.store import StoredCalibration

MOST = 1024
PACKED_PROMPT_TOKENS = 8192  # prompts go through the model together in passes of about so many tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossover:
    """Two formats over the concurrency; ``loses_at`` is None where the first leads as far as was looked."""

    first: str
    second: str
    lead_alone: float  # output tokens a second of the first over the second's, one request at a time
    loses_at: int | None
    looked_to: int

    @property
    def sentence(self) -> str:
        alone = f"{self.first} is {self.lead_alone:.2f}× as fast as {self.second} alone"
        if self.lead_alone <= 1:
            return f"{alone}: it never leads"
        if self.loses_at is None:
            return f"{alone} and leads up to {self.looked_to:,} at once"
        return f"{alone} and loses its lead at {self.loses_at:,} at once"


def concurrencies() -> NDArray[np.float64]:
    """Where speeds are compared: whole numbers from 1 up, eight to a doubling."""
    return np.unique(np.round(2.0 ** np.arange(0, np.log2(MOST) + 0.01, 0.125)))


def crossover(
    first: Deployment, second: Deployment, workload: Workload, *, calibration: StoredCalibration | None = None
) -> Crossover:
    """From one request at a time up. Memory is not asked here, only speed. Raises NoEvidenceError."""
    own, other = (closed_loop_tokens_per_second(d, workload, calibration=calibration) for d in (first, second))
    return crossover_of(first.weights.name, own, second.weights.name, other)


def crossover_of(first: str, own: NDArray[np.float64], second: str, other: NDArray[np.float64]) -> Crossover:
    """Two formats by their output tokens a second at ``concurrencies()``."""
    counts = concurrencies()
    behind = np.flatnonzero(own < other)
    return Crossover(
        first=first,
        second=second,
        lead_alone=float(own[0] / other[0]),
        loses_at=int(counts[behind[0]]) if behind.size else None,
        looked_to=int(counts[-1]),
    )


def closed_loop_tokens_per_second(
    deployment: Deployment, workload: Workload, *, calibration: StoredCalibration | None = None
) -> NDArray[np.float64]:
    """One replica's ``closed_loops``. Raises NoEvidenceError."""
    (found,) = closed_loops([deployment], workload, calibration=calibration)
    if isinstance(found, NoEvidenceError):
        raise found
    return found


def closed_loops(
    deployments: Sequence[Deployment], workload: Workload, *, calibration: StoredCalibration | None = None
) -> list[NDArray[np.float64] | NoEvidenceError]:
    """Output tokens a second of each replica at ``concurrencies()``, each request followed by the next at once.

    n over (decode step at n + n prefills spread over the output tokens). An error in the place of each replica that no
    evidence supports.
    """
    counts = concurrencies()
    context = workload.prompt_tokens + workload.generated_tokens / 2
    fresh = max(1.0, workload.prompt_tokens * (1 - workload.cached_prompt_fraction))
    packed = max(1.0, PACKED_PROMPT_TOKENS / fresh)
    asked = [
        StepQuestion(deployment=d, batches=tuple(counts.tolist()), contexts=(context,), prompts=((fresh, packed),))
        for d in deployments
    ]

    def speed(answer: StepAnswer) -> NDArray[np.float64]:
        each = float(answer.prefill_seconds[0]) / packed
        step = np.maximum.accumulate(answer.decode_seconds[:, 0]) + counts * each / workload.generated_tokens
        return np.asarray(counts / step)

    return [
        answer if isinstance(answer, NoEvidenceError) else speed(answer) for answer in answer_many(asked, calibration)
    ]
