"""One replica: a model at a precision on so many GPUs under an engine."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from llmsizer.errors import InputError
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision, get_precision, kv_bytes_per_value
from llmsizer.facts.speculation import Speculation


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallelism:
    """How one replica is spread: tensor, pipeline and expert parallel degrees. Replicas are counted outside.

    ``data``: attention ranks inside one replica, each with sequences and cache of its own, while the experts are
    divided among all GPUs (data-parallel attention with expert parallelism).
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1

    def __post_init__(self) -> None:
        for name, degree in (("tp", self.tensor), ("pp", self.pipeline), ("ep", self.expert), ("dp", self.data)):
            if degree < 1:
                raise InputError(f"{name} = {degree}; a parallel degree is 1 or more")

    @property
    def gpus(self) -> int:
        """Expert parallelism re-uses the GPUs of the other degrees, as vLLM does."""
        return self.tensor * self.pipeline * self.data

    @property
    def label(self) -> str:
        """``TP8``, ``TP8·PP2``, ``TP1·DP8·EP8``."""
        degrees = (("PP", self.pipeline), ("DP", self.data), ("EP", self.expert if self.data > 1 else 1))
        return "·".join([f"TP{self.tensor}", *(f"{name}{degree}" for name, degree in degrees if degree > 1)])


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One replica. ``max_context_tokens`` is reserved per request: the workload's, not the model's maximum."""

    model: ModelSpec
    gpu: GpuSpec
    weights: Precision
    kv_format: str = "bf16"
    parallelism: Parallelism = field(default_factory=Parallelism)
    engine: str = "vllm"
    engine_version: str | None = None  # None: the newest the data knows
    max_context_tokens: int = 8192
    max_sequences: int | None = None  # None: the engine version's default
    max_batched_tokens: int | None = None
    memory_fraction: float | None = None
    speculation: Speculation | None = None

    def __post_init__(self) -> None:
        if self.max_context_tokens < 1:
            raise InputError(f"context = {self.max_context_tokens}; give 1 token or more")
        if self.memory_fraction is not None and not 0 < self.memory_fraction <= 1:
            raise InputError(f"memory fraction = {self.memory_fraction}; give more than 0 and at most 1")
        kv_bytes_per_value(self.kv_format)
        if self.speculation is not None:
            self.speculation.check_target(self.model)

    @property
    def speculates(self) -> Speculation | None:
        """The speculation where any token is drafted at all."""
        return self.speculation if self.speculation is not None and self.speculation.is_active else None

    @property
    def drafting(self) -> Deployment | None:
        """The draft model on the same GPUs; None where no model of its own drafts."""
        speculation = self.speculates
        if speculation is None or speculation.draft is None:
            return None
        weights = speculation.draft_weights or self.weights
        return replace(self, model=speculation.draft, weights=weights, speculation=None)

    @property
    def kv_bytes_per_value(self) -> float:
        return kv_bytes_per_value(self.kv_format)

    @property
    def servers(self) -> int:
        """Servers that one replica takes; more than one where it has more GPUs than a server holds."""
        return -(-self.parallelism.gpus // max(self.gpu.max_per_node, 1))

    @property
    def label(self) -> str:
        spread = self.parallelism
        return f"{self.model.name} {self.weights.name} on {spread.gpus}× {self.gpu.id} ({spread.label}, {self.engine})"


def deployment(model: ModelSpec, gpu: GpuSpec, weights: str = "bf16", **options: object) -> Deployment:
    """A deployment from a precision's name; ``tp``, ``pp``, ``ep`` may be given flat. Raises LlmSizerError."""
    spread = Parallelism(
        tensor=int(str(options.pop("tp", 1))),
        pipeline=int(str(options.pop("pp", 1))),
        expert=int(str(options.pop("ep", 1))),
        data=int(str(options.pop("dp", 1))),
    )
    return Deployment(model=model, gpu=gpu, weights=get_precision(weights), parallelism=spread, **options)  # type: ignore[arg-type]
