"""The answer to "what should we run, on what, and what does it cost": plans, rejections, and what would flip it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from typing_extensions import TypedDict

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure, FigureDoc
from llmsizer.facts.scenario import Scenario
from llmsizer.money.comparison import Comparison, ComparisonDoc
from llmsizer.money.cost import Cost, CostDoc, Path
from llmsizer.money.currency import US_DOLLARS, Currency, CurrencyDoc
from llmsizer.money.spread import Uncertainty, UncertaintyDoc
from llmsizer.traffic.closed_form.capacity import Capacity, CapacityDoc, LoadDoc, LoadPoint
from llmsizer.traffic.hours.week import Mode

RejectionKind = Literal[
    "memory", "slo", "quality", "unsupported", "no price", "no evidence", "parallelism", "constraint", "budget"
]


class FitDoc(TypedDict):
    """How one GPU's memory is spent."""

    weights_bytes: float
    used_bytes: float
    gpu_bytes: float
    kv_capacity_tokens: int


class PlanDoc(TypedDict):
    """The JSON form of a plan."""

    label: str
    path: Path
    model: str
    reading: str
    precision: str
    kv_format: str
    gpu: str
    tensor_parallel: int
    pipeline_parallel: int
    data_parallel: int
    expert_parallel: int
    servers_per_replica: int
    replicas: int
    spare_replicas: int
    gpus: int
    units: int
    unit_name: str
    provider: str
    zone: str
    term: str
    mode: Mode
    billed_share: float
    served_share: float
    cost: CostDoc
    capacity: CapacityDoc
    at_peak: LoadDoc
    fit: FitDoc
    quality_recovery: FigureDoc
    is_robust: bool
    notes: list[str]


class ModePriceDoc(TypedDict):
    """The JSON form of a way to pay for and to run rented machines."""

    term: str
    mode: Mode
    meaning: str
    provider: str
    zone: str
    instances: int
    billed_share: float | None
    served_share: float
    usd_per_month: float | None
    is_taken: bool
    why_not: str


class ApiPlanDoc(TypedDict):
    """The JSON form of an API path at the scenario's volume."""

    offer: str
    provider: str
    model: str
    same_model: bool
    cost: CostDoc
    notes: list[str]


class RejectionDoc(TypedDict):
    """The JSON form of a rejection."""

    candidate: str
    kind: RejectionKind
    reason: str
    nearest_fix: str
    shortfall: float | None


class FlipDoc(TypedDict):
    """The JSON form of something that would change the answer."""

    what: str
    threshold: FigureDoc
    text: str


class RecommendationDoc(TypedDict):
    """The JSON form of a recommendation."""

    schema_version: int
    scenario: str
    model: str
    reading: str
    sentence: str
    plans: list[PlanDoc]
    apis: list[ApiPlanDoc]
    rejections: list[RejectionDoc]
    near_misses: list[RejectionDoc]
    flips: list[FlipDoc]
    assumptions: dict[str, FigureDoc]
    memory_note: str
    leaves_out: list[str]
    flags: list[str]
    priced_on: str
    currency: CurrencyDoc
    comparison: ComparisonDoc | None
    uncertainty: UncertaintyDoc | None
    pareto: list[str]
    rent_modes: list[ModePriceDoc]
    asked: dict[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How one GPU's memory is spent, and how much context it leaves to the replica."""

    weights_bytes: float  # on one GPU
    used_bytes: float  # on one GPU, everything but the KV cache included
    gpu_bytes: float
    kv_capacity_tokens: int  # of the replica

    def to_dict(self) -> FitDoc:
        return {
            "weights_bytes": self.weights_bytes,
            "used_bytes": self.used_bytes,
            "gpu_bytes": self.gpu_bytes,
            "kv_capacity_tokens": self.kv_capacity_tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A fleet that serves the peak hour within the SLO, and its bill. ``units``: whole servers or whole instances."""

    path: Path
    deployment: Deployment
    replicas: int  # that the peak hour needs
    spare_replicas: int
    units: int
    unit_name: str
    provider: str
    zone: str
    cost: Cost
    capacity: Capacity
    at_peak: LoadPoint  # one replica in the peak hour
    fit: Fit
    quality_recovery: Figure
    term: str = ""  # under which it is rented
    mode: Mode = "always-on"  # how rented machines run through the week
    billed_share: float = 1.0  # of the hours of a month, of all instances
    served_share: float = 1.0  # of requests: the rest comes while a window is closed
    notes: tuple[str, ...] = ()

    @property
    def is_robust(self) -> bool:
        """Whether it meets the SLO even if steps are as slow as their 90 % interval allows."""
        return self.capacity.requests_per_second.low != 0

    @property
    def gpus(self) -> int:
        return (self.replicas + self.spare_replicas) * self.deployment.parallelism.gpus

    @property
    def label(self) -> str:
        d = self.deployment
        count, spread = self.replicas + self.spare_replicas, d.parallelism
        layout = f" ({spread.label})" if spread.pipeline > 1 or spread.data > 1 else ""
        verb = {"own": "own", "rent": f"rent at {self.provider}", "api": "call"}[self.path]
        terms = [
            word for word, usual in ((self.term, ("", "on-demand")), (self.mode, ("always-on",))) if word not in usual
        ]
        return ", ".join([f"{verb}: {count} × {d.weights.name} on {spread.gpus}× {d.gpu.name}{layout}", *terms])

    def to_dict(self) -> PlanDoc:
        d = self.deployment
        return {
            "label": self.label,
            "path": self.path,
            "model": d.model.name,
            "reading": d.model.reading,
            "precision": d.weights.name,
            "kv_format": d.kv_format,
            "gpu": d.gpu.id,
            "tensor_parallel": d.parallelism.tensor,
            "pipeline_parallel": d.parallelism.pipeline,
            "data_parallel": d.parallelism.data,
            "expert_parallel": d.parallelism.expert,
            "servers_per_replica": d.servers,
            "replicas": self.replicas,
            "spare_replicas": self.spare_replicas,
            "gpus": self.gpus,
            "units": self.units,
            "unit_name": self.unit_name,
            "provider": self.provider,
            "zone": self.zone,
            "term": self.term,
            "mode": self.mode,
            "billed_share": self.billed_share,
            "served_share": self.served_share,
            "cost": self.cost.to_dict(),
            "capacity": self.capacity.to_dict(),
            "at_peak": self.at_peak.to_dict(),
            "fit": self.fit.to_dict(),
            "quality_recovery": self.quality_recovery.to_dict(),
            "is_robust": self.is_robust,
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ModePrice:
    """The first rented plan's machines under one contract in one mode of the week; without a price it is not possible.

    ``billed_share`` is of the hours of a month of all instances, ``served_share`` of requests.
    """

    term: str
    mode: Mode
    meaning: str
    provider: str = ""
    zone: str = ""
    instances: int = 0
    billed_share: float | None = None
    served_share: float = 1.0
    usd_per_month: float | None = None
    is_taken: bool = False
    why_not: str = ""

    def to_dict(self) -> ModePriceDoc:
        return {name: getattr(self, name) for name in ModePriceDoc.__annotations__}  # type: ignore[return-value]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPlan:
    """The scenario's volume at one API; another model than the one asked for is another quality tier."""

    offer: str
    provider: str
    model: str
    same_model: bool
    cost: Cost
    notes: tuple[str, ...] = ()

    def to_dict(self) -> ApiPlanDoc:
        return {
            "offer": self.offer,
            "provider": self.provider,
            "model": self.model,
            "same_model": self.same_model,
            "cost": self.cost.to_dict(),
            "notes": list(self.notes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a candidate is out, and the smallest change that would bring it in.

    ``shortfall`` is how far off it is, as a fraction of what was asked (0.1: ten per cent); None where that has no
    measure.
    """

    candidate: str
    kind: RejectionKind
    reason: str
    nearest_fix: str
    shortfall: float | None = None

    def to_dict(self) -> RejectionDoc:
        return {
            "candidate": self.candidate,
            "kind": self.kind,
            "reason": self.reason,
            "nearest_fix": self.nearest_fix,
            "shortfall": self.shortfall,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """One thing that would change the answer, with the value at which it does."""

    what: str
    threshold: Figure
    text: str

    def to_dict(self) -> FlipDoc:
        return {"what": self.what, "threshold": self.threshold.to_dict(), "text": self.text}


def _once_fixed(rejection: Rejection) -> str:
    """The same GPU in the one format in which it would fit, as a candidate is called; empty for any other fix."""
    before, on, where = rejection.candidate.rpartition(" ×")[0].partition(" on ")
    fits, _, precision = rejection.nearest_fix.rpartition("fits in ")
    if rejection.kind != "memory" or fits or not precision.isalnum():
        return ""
    return f"{before.rpartition(' ')[0]} {precision}{on}{where}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """Plans and APIs cheapest first, and what is out, with reasons.

    Plans that meet the SLO over the whole interval of the step times come before those that may miss it; APIs of the
    same model before those of others.
    """

    scenario: str
    model: str
    reading: str  # which reading of an ambiguous model name was used; empty where the name is plain
    sentence: str
    plans: tuple[Plan, ...]
    apis: tuple[ApiPlan, ...]
    rejections: tuple[Rejection, ...]
    flips: tuple[Flip, ...]
    assumptions: dict[str, Figure]
    memory_note: str
    leaves_out: tuple[str, ...]
    flags: tuple[str, ...]
    priced_on: str  # the day against which prices were called stale
    currency: Currency = US_DOLLARS  # that texts are in; figures are dollars
    comparison: Comparison | None = None
    uncertainty: Uncertainty | None = None
    pareto: tuple[str, ...] = ()  # labels of plans that none beats in cost, latency, quality and energy at once
    rent_modes: tuple[ModePrice, ...] = ()  # of the first rented plan
    asked: Scenario | None = None  # the whole question, so that a file of the answer can be asked again

    @property
    def best(self) -> Plan | None:
        """The cheapest plan that meets everything asked; None where nothing does."""
        return self.plans[0] if self.plans else None

    @property
    def near_misses(self) -> tuple[Rejection, ...]:
        """The three that came closest, over those whose distance can be measured."""
        out = {r.candidate.rpartition(" ×")[0] for r in self.rejections if " ×" in r.candidate}
        measured = [r for r in self.rejections if r.shortfall is not None and _once_fixed(r) not in out]
        return tuple(sorted(measured, key=lambda r: r.shortfall or 0.0)[:3])

    def to_dict(self) -> RecommendationDoc:
        return {
            "schema_version": 1,
            "scenario": self.scenario,
            "model": self.model,
            "reading": self.reading,
            "sentence": self.sentence,
            "plans": [plan.to_dict() for plan in self.plans],
            "apis": [api.to_dict() for api in self.apis],
            "rejections": [rejection.to_dict() for rejection in self.rejections],
            "near_misses": [rejection.to_dict() for rejection in self.near_misses],
            "flips": [flip.to_dict() for flip in self.flips],
            "assumptions": {name: figure.to_dict() for name, figure in self.assumptions.items()},
            "memory_note": self.memory_note,
            "leaves_out": list(self.leaves_out),
            "flags": list(self.flags),
            "priced_on": self.priced_on,
            "currency": self.currency.to_dict(),
            "comparison": None if self.comparison is None else self.comparison.to_dict(),
            "uncertainty": None if self.uncertainty is None else self.uncertainty.to_dict(),
            "pareto": list(self.pareto),
            "rent_modes": [mode.to_dict() for mode in self.rent_modes],
            "asked": None if self.asked is None else self.asked.model_dump(mode="json"),
        }
