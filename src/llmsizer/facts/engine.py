"""How a serving engine divides a GPU's memory: versioned data, because it drifts with every release."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.provenance import Provenance

ReservationRule = Literal["fraction of total", "fraction of free", "static pool", "what is needed"]
"""What the KV cache may take.

fraction of total  a share of the device, less weights, activations and the engine's own (vLLM)
fraction of free   a share of what is free after weights and activations (TensorRT-LLM)
static pool        a share of what is free before loading, less weights; activations live in the rest (SGLang)
what is needed     as much as the context asks for (llama.cpp, transformers)
"""


class Batching(BaseModel):
    """Default limits of one size class of GPUs; the first class the GPU is small enough for holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    below_bytes: float = Field(gt=0)
    max_sequences: int = Field(ge=1)
    max_batched_tokens: int = Field(ge=1)
    graph_sequences: int = Field(default=0, ge=0)  # the largest batch for which CUDA graphs are captured
    only: tuple[str, ...] = ()  # beginnings of GPU ids this class is for; empty: all


class EngineSpec(BaseModel):
    """One engine from one version on. Bytes are per GPU; a coefficient's comment names what it multiplies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: str
    version: str  # the first version these figures hold for
    aliases: tuple[str, ...] = ()
    provenance: Provenance
    rule: ReservationRule
    memory_fraction: float = Field(gt=0, le=1)
    batching: tuple[Batching, ...] = Field(min_length=1)
    block_tokens: int = Field(default=16, ge=1)
    whole_prompt_tokens: int = Field(default=0, ge=0)  # contexts up to this are read in one piece, not in chunks
    started_context_tokens: int = Field(default=0, ge=0)  # cache allocated at start where nothing else is asked
    hybrid_cache: bool = True  # whether layers with a window keep only their window
    driver_bytes: float = Field(ge=0)  # what the driver shows but does not give out, where the GPU's file does not say
    context_bytes: float = Field(ge=0)  # CUDA context and libraries, outside the engine's budget
    context_bytes_tensor_parallel: float = Field(ge=0)
    non_torch_bytes: float = Field(ge=0)  # inside the budget: kernels' work spaces, communicators
    non_torch_bytes_tensor_parallel: float = Field(ge=0)
    non_torch_bytes_pipeline: float = Field(ge=0)
    activation_base_bytes: float = Field(ge=0)
    activation_vision_bytes: float = Field(default=0.0, ge=0)  # profiling of an image encoder beside the text model
    sampler_float32_copies: float = Field(ge=0)  # × sequences × vocabulary × 4 bytes, beside one in compute format
    sampler_float32_copies_vision: float | None = Field(default=None, ge=0)  # the same for models with an image encoder
    sampler_sequences_limit: int = Field(default=1_000_000, ge=1)  # sequences sampled in one go at most
    sampler_hidden_copies: float = Field(ge=0)  # × batched tokens × hidden size × compute bytes
    forward_inner_copies: float = Field(ge=0)  # × batched tokens × dense inner size per GPU × compute bytes
    forward_expert_copies: float = Field(ge=0)  # × batched tokens × active experts × inner size per GPU × bytes
    forward_routed_copies: float = Field(ge=0)  # × batched tokens × active experts × hidden size × bytes
    forward_hidden_copies: float = Field(ge=0)  # × batched tokens × hidden size × compute bytes
    graph_base_bytes: float = Field(ge=0)
    graph_bytes_per_layer_hidden: float = Field(ge=0)  # × layers × hidden size
    graph_bytes_per_active_expert: float = Field(default=0.0, ge=0)
    graphs_inside_budget: bool = False  # whether the reservation counts the graphs
    reserve_base_bytes: float = Field(default=0.0, ge=0)  # "static pool": what the default fraction leaves free
    reserve_bytes_per_token: float = Field(default=0.0, ge=0)
    reserve_bytes_per_graph_sequence: float = Field(default=0.0, ge=0)
    reserve_floor_bytes: float = Field(default=0.0, ge=0)  # at least this on GPUs over 60 GiB
    mxfp4_pads_hidden: bool = False  # whether MXFP4 kernels pad the hidden size as well as the inner one to 256
    note: str = ""

    def __hash__(self) -> int:
        """Of what tells engines apart; all their figures would take as long as what is looked up by them."""
        return hash((self.engine, self.version))

    @property
    def order(self) -> tuple[int, ...]:
        return version_key(self.version)

    def defaults_for(self, gpu: GpuSpec) -> Batching:
        """The batching limits the engine takes on this GPU when none are given."""
        size = gpu.memory_bytes or 0.0
        for limits in self.batching:
            if size < limits.below_bytes and (not limits.only or gpu.id.startswith(limits.only)):
                return limits
        return self.batching[-1]


@lru_cache(maxsize=1024)  # asked for each candidate of a plan
def version_key(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: ``0.19.1rc2`` → (0, 19, 1)."""
    match = re.match(r"v?(\d{1,9}(?:\.\d{1,9})*)", version.strip().lower())
    return tuple(int(part) for part in match[1].split(".")) if match else ()


def newest_first(specs: Sequence[EngineSpec], version: str | None) -> EngineSpec:
    """The newest description not newer than ``version``; the oldest where all are newer; the newest for None."""
    ordered = sorted(specs, key=lambda spec: spec.order, reverse=True)
    wanted = version_key(version) if version else ()
    if not wanted:
        return ordered[0]
    return next((spec for spec in ordered if spec.order <= wanted), ordered[-1])


def version_note(found: EngineSpec, newest: EngineSpec, version: str | None) -> str:
    """What stands in for a version that no description covers; empty where one does, or none was asked for."""
    if not version:
        return ""
    wanted = version_key(version)
    asked = f"{found.engine} {version.strip()[:40]}"
    if not wanted:
        return f"{asked!r} names no version: read as {found.version}, the newest described"
    if wanted[:2] > newest.order[:2]:
        return f"{asked} is newer than any described: its memory is counted as that of {found.version}"
    if wanted < found.order[: len(wanted)]:
        return f"{asked} is older than any described: its memory is counted as that of {found.version}"
    return ""
