"""What is asked, and what sizing an answer needs from the physics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from llmsizer.decide.answer import Fit
from llmsizer.errors import NoEvidenceError
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure
from llmsizer.facts.kernels import FormatSupport
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.records import QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.speculation import Speculation
from llmsizer.facts.workload import Workload
from llmsizer.traffic.closed_form.meanfield import Probe, Room, StepSample

TENSOR_PARALLEL = (1, 2, 4, 8, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What a decision needs to know of a replica's memory."""

    fits: bool
    fit: Fit
    room: Room
    missing_bytes: float  # on one GPU; 0 where it fits
    reason: str = ""  # why it does not fit


class Physics(Protocol):
    """Memory and step times of a deployment. Memory raises NoEvidenceError where nothing supports a number."""

    def memory(self, deployment: Deployment, workload: Workload) -> Memory: ...

    def samples(self, asked: Sequence[tuple[Deployment, Probe]]) -> Sequence[StepSample | NoEvidenceError]:
        """Step times of many deployments at once; an error in the place of each that no evidence supports."""
        ...

    def allows(self, model: ModelSpec, precision: Precision, tensor: int) -> bool:
        """Whether the model's shape divides by this tensor-parallel degree."""
        ...


@dataclass(frozen=True, kw_only=True)
class Question:
    """Everything that sizing a candidate depends on, looked up once."""

    model: ModelSpec
    workload: Workload
    scenario: Scenario
    physics: Physics
    prior: Mapping[str, Figure]
    support: FormatSupport
    records: Sequence[QualityRecord] = ()
    speculation: Speculation | None = None
    siblings: Sequence[str] = ()  # other models that an ambiguous name can mean

    @property
    def context_tokens(self) -> int:
        return self.scenario.max_context_tokens or self.workload.context_tokens
