"""What a fine-tuning job takes: whether it fits, on how many GPUs, how long it runs, what renting them costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import TypedDict

from llmsizer.facts.catalog import Catalog
from llmsizer.facts.figure import Figure, FigureDoc, unknown
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.offer import Offer
from llmsizer.facts.provenance import Estimate
from llmsizer.money.renting import is_marketplace
from llmsizer.physics.fine_tuning import (
    MFU,
    MOST_GPUS,
    FineTuning,
    TrainingMemory,
    TrainingTime,
    fewest_gpus,
    trained_params,
    training_memory,
    training_time,
    usable_bytes,
)

LEAVES_OUT = (
    "evaluation, checkpoints written, restarts, data preparation, failed attempts",
    "tensor and pipeline parallelism: the job is spread by data and by sharding its state",
    "gradient accumulation, which hides no gathering of sharded weights, and offloading to the host",
)
USUAL_GPUS = ("rtx-4090", "rtx-a6000", "l40s", "a100-sxm-80", "h100-sxm-80", "h200-sxm-141")


class TuningDoc(TypedDict):
    """The JSON form of a fine-tuning plan."""

    model: str
    reading: str
    method: str
    gpu: str
    gpus: int | None
    fits: bool
    reason: str
    fewest_gpus: int | None
    trained_params: float
    parts_bytes: dict[str, float]
    total_bytes: float
    usable_bytes: float
    flops: float | None
    hours: FigureDoc | None
    gpu_hours: FigureDoc | None
    offer: str
    usd: FigureDoc
    model_flops_utilisation: FigureDoc
    leaves_out: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningPlan:
    """One job on one kind of GPU. Where it does not fit there is neither time nor cost."""

    model: ModelSpec
    job: FineTuning
    gpu: GpuSpec
    gpus: int | None  # asked for, else the fewest; None where no number of them holds it
    fewest: int | None
    memory: TrainingMemory
    time: TrainingTime | None
    offer: str
    usd: Figure
    mfu: Figure

    @property
    def fits(self) -> bool:
        return self.gpus is not None and self.memory.total_bytes <= usable_bytes(self.gpu)

    @property
    def reason(self) -> str:
        """Why it does not fit; empty where it does."""
        if self.fits:
            return ""
        missing = (self.memory.total_bytes - usable_bytes(self.gpu)) / 1e9
        if self.fewest is None:
            much = f"{missing:.1f} GB too much on each {self.gpu.name}, however many there are"
            return f"{much}: shorter sequences, a smaller batch, or --fused-loss"
        return f"{missing:.1f} GB too much on each {self.gpu.name}; {self.fewest} of them hold it"

    def to_dict(self) -> TuningDoc:
        time = self.time
        return {
            "model": self.model.name,
            "reading": self.model.reading,
            "method": self.job.method,
            "gpu": self.gpu.id,
            "gpus": self.gpus,
            "fits": self.fits,
            "reason": self.reason,
            "fewest_gpus": self.fewest,
            "trained_params": trained_params(self.model, self.job),
            "parts_bytes": self.memory.parts,
            "total_bytes": self.memory.total_bytes,
            "usable_bytes": usable_bytes(self.gpu),
            "flops": time.flops if time else None,
            "hours": time.hours.to_dict() if time else None,
            "gpu_hours": time.gpu_hours.to_dict() if time else None,
            "offer": self.offer,
            "usd": self.usd.to_dict(),
            "model_flops_utilisation": self.mfu.to_dict(),
            "leaves_out": list(LEAVES_OUT),
        }


def plan_tuning(
    model: ModelSpec,
    job: FineTuning,
    gpu: GpuSpec,
    tokens: float,
    catalog: Catalog,
    *,
    gpus: int | None = None,
    mfu: Figure = MFU,
    zones: Sequence[str] = (),
) -> TuningPlan:
    """On so many GPUs, or on the fewest that hold it. Raises InputError where a GPU's memory or rate is not known."""
    fewest = fewest_gpus(model, job, gpu)
    count = gpus or fewest
    memory = training_memory(model, job, count or MOST_GPUS)
    fits = count is not None and memory.total_bytes <= usable_bytes(gpu)
    time = training_time(model, job, gpu, count, tokens, mfu) if fits and count else None
    offer = _cheapest(catalog, gpu, count or 1, zones)
    return TuningPlan(
        model=model,
        job=job,
        gpu=gpu,
        gpus=count,
        fewest=fewest,
        memory=memory,
        time=time,
        offer="" if offer is None else f"{offer.provider} ({offer.zone}, {offer.term})",
        usd=_usd(offer, time, count or 1),
        mfu=mfu,
    )


def _cheapest(catalog: Catalog, gpu: GpuSpec, gpus: int, zones: Sequence[str]) -> Offer | None:
    """Of the offers whose price is a provider's own and whose machine is not billed apart."""
    offers = [
        offer
        for offer in catalog.offers()
        if offer.gpu == gpu.id
        and not (offer.is_interruptible or offer.gpu_only or is_marketplace(offer))
        and (not zones or offer.zone in zones)
    ]
    return min(offers, key=lambda offer: _billed(offer, gpus) * offer.usd_per_gpu_hour, default=None)


def _billed(offer: Offer, gpus: int) -> int:
    """GPUs of whole instances."""
    return math.ceil(gpus / offer.gpus_per_instance) * offer.gpus_per_instance


def _usd(offer: Offer | None, time: TrainingTime | None, gpus: int) -> Figure:
    if time is None:
        return unknown("it does not fit", "USD")
    if offer is None:
        return unknown("no rental price of this GPU there", "USD")
    each = offer.usd_per_gpu_hour * _billed(offer, gpus)
    hours = time.hours.estimate
    dearer = max(offer.median_usd_per_gpu_hour or 0.0, offer.usd_per_gpu_hour) * _billed(offer, gpus)
    assert hours.value and hours.low and hours.high, "hours that are known are a range"
    estimate = Estimate(value=hours.value * each, low=hours.low * each, high=hours.high * dearer, basis="assumed",
                        reason="hours by an assumed share of the rate, cheapest to median price")  # fmt: skip
    return Figure(estimate=estimate, unit="USD", source=offer.provenance.source, as_of=offer.provenance.as_of)
