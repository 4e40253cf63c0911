"""How a serving engine divides a GPU's memory: versioned data, because it drifts with every release."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.provenance import Provenance

ReservationRule = Literal["fraction of total", "fraction of free", "tiers", "what is needed"]


class EngineSpec(BaseModel):
    """One engine at one version. Bytes are per GPU; coefficients name what they multiply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    version: str  # the first version these figures hold for
    provenance: Provenance
    rule: ReservationRule
    memory_fraction: float = Field(gt=0, le=1)
    block_tokens: int = Field(default=16, ge=1)
    max_sequences: int = Field(default=256, ge=1)
    max_batched_tokens: int = Field(default=8192, ge=1)
    context_bytes_one_gpu: float = Field(ge=0)  # CUDA context and libraries, resident before the engine allocates
    context_bytes_more_gpus: float = Field(ge=0)  # with communicators
    non_torch_bytes_one_gpu: float = Field(ge=0)  # allocated outside the framework's allocator while running
    non_torch_bytes_tensor_parallel: float = Field(ge=0)
    non_torch_bytes_pipeline: float = Field(ge=0)
    activation_base_bytes: float = Field(ge=0)
    activation_hidden_factor: float = Field(ge=0)  # × batched tokens × hidden size × bytes
    activation_inner_factor: float = Field(ge=0)  # × batched tokens × widest inner size per GPU × bytes
    activation_logits_factor: float = Field(ge=0)  # × sampled rows × vocabulary × 4 bytes
    graphs_base_bytes: float = Field(ge=0)
    graphs_bytes_per_layer: float = Field(ge=0)
    graphs_inside_budget: bool = False  # whether the reservation counts the graphs
    hybrid_cache: bool = True  # whether layers with a window keep only their window
    note: str = ""

    @property
    def order(self) -> tuple[int, ...]:
        return version_key(self.version)


def version_key(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``0.19.1rc2`` → (0, 19, 1)."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", version.strip().lower())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def newest_first(specs: Sequence[EngineSpec], version: str | None) -> EngineSpec:
    """The newest description not newer than ``version``; the oldest where all are newer; the newest for None."""
    ordered = sorted(specs, key=lambda spec: spec.order, reverse=True)
    wanted = version_key(version) if version else ()
    if not wanted:
        return ordered[0]
    return next((spec for spec in ordered if spec.order <= wanted), ordered[-1])
