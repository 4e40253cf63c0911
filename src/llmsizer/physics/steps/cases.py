"""Deployments under load as columns of numbers, so that thousands are computed at once.

A ``Case`` is one row; ``Cases`` holds the same fields as arrays. Rates are data-sheet rates per GPU; what an engine
really reaches of them is a calibrated efficiency (``coefficients``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec

Floats = NDArray[np.float64]
Words = NDArray[np.str_]

NVLINK_LEAST_BYTES_PER_SECOND = 75e9  # one direction; below it a link joins a pair at most and PCIe carries the rest
PCIE_BYTES_PER_SECOND = {3: 11e9, 4: 22e9, 5: 44e9, 6: 80e9}  # achieved by NCCL through the host, not the slot's rate
NO_WINDOW = 1e9


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sums over a model's layers that step times need. Parameters and values count the whole model."""

    layers: float
    hidden_size: float
    dense_params: float  # attention, dense feed-forward and shared experts: every token passes them
    expert_params: float  # one routed expert of one layer
    experts: float
    experts_per_token: float
    moe_layers: float
    head_params: float  # embedding matrix, read once per step as output matrix
    stored_embedding_params: float
    kv_values_full: float  # cache values per token over layers that keep the whole context
    kv_values_window: float  # … over layers that keep a window
    window_tokens: float
    score_flops_full: float  # decode attention FLOPs per query token and kept token
    score_flops_window: float
    prefill_score_flops_full: float  # MLA prefill runs unabsorbed
    prefill_score_flops_window: float
    kv_heads: float  # degree up to which tensor parallelism splits the cache
    is_latent: float

    @property
    def layer_params(self) -> float:
        return self.dense_params + self.experts * self.expert_params * self.moe_layers


@lru_cache(maxsize=4096)
def shape_of(spec: ModelSpec) -> ModelShape:
    """The sums of a geometry; where it misses more than 3 % of the published size, its layers are scaled to it."""
    hidden = spec.hidden_size
    kv_full = kv_window = score_full = score_window = prefill_full = prefill_window = dense = 0.0
    window, experts, per_token, expert_params, moe_layers, kv_heads, latent = NO_WINDOW, 0, 0, 0.0, 0.0, 1, False
    for group in spec.layer_groups:
        attention, forward = group.attention, group.feed_forward
        dense += group.count * (attention.params(hidden) + forward.shared_params(hidden))
        if forward.is_moe:
            experts, per_token = forward.experts, forward.active_experts
            expert_params, moe_layers = float(forward.expert_params(hidden)), moe_layers + group.count
        else:
            dense += group.count * forward.expert_params(hidden)
        values = group.count * attention.kv_values_per_token
        score = group.count * attention.score_flops_per_kept_token
        prefill = 2.0 * group.count * attention.query_heads * (attention.head_dim + attention.value_head_dim)
        prefill = 0.0 if attention.kind == "linear" else prefill
        if attention.window_tokens is not None:
            window = float(attention.window_tokens)
            kv_window, score_window = kv_window + values, score_window + score
            prefill_window += prefill
        else:
            kv_full, score_full, prefill_full = kv_full + values, score_full + score, prefill_full + prefill
        kv_heads = max(kv_heads, attention.kv_heads if attention.kind in {"full", "sliding", "chunked"} else 1)
        latent = latent or attention.kind == "latent"
    stored = float(spec.embedding_params + spec.lm_head_params)
    layer_total = dense + experts * expert_params * moe_layers
    scale = 1.0
    if spec.published_total_params:
        ratio = (spec.published_total_params - stored - spec.extra_params) / layer_total
        scale = ratio if abs(ratio - 1) > 0.03 and ratio > 0 else 1.0
    return ModelShape(
        layers=spec.layers,
        hidden_size=hidden,
        dense_params=dense * scale,
        expert_params=expert_params * scale,
        experts=experts,
        experts_per_token=per_token,
        moe_layers=moe_layers,
        head_params=spec.embedding_params,
        stored_embedding_params=stored,
        kv_values_full=kv_full,
        kv_values_window=kv_window,
        window_tokens=window,
        score_flops_full=score_full,
        score_flops_window=score_window,
        prefill_score_flops_full=prefill_full,
        prefill_score_flops_window=prefill_window,
        kv_heads=1 if latent else kv_heads,
        is_latent=float(latent),
    )


@dataclass(frozen=True, kw_only=True)
class GpuRates:
    """Data-sheet rates of one device and the class within which efficiencies are pooled."""

    gpu: str
    family: str
    memory_bytes: float
    memory_bytes_per_second: float
    flops_16bit: float
    flops_fp8: float  # 0: no such unit
    flops_int8: float
    flops_fp4: float
    link_bytes_per_second: float  # one direction, per GPU
    has_fast_link: float
    is_datacenter: float


def rates_of(gpu: GpuSpec, linked_gpus: float = 1) -> GpuRates:
    """Rates as numbers; a format slower than 16 bit (INT8 on B300) counts as absent.

    A bridge joins two cards; ``linked_gpus`` beyond that talk over PCIe.
    """
    base = gpu.flops_16bit_per_second or 0.0
    native = {f: gpu.flops_per_second.get(f, 0.0) for f in ("fp8", "int8", "fp4")}
    usable = {f: rate if rate >= base else 0.0 for f, rate in native.items()}
    link = (gpu.scaleup_bytes_per_second or 0.0) / 2
    fast = link >= NVLINK_LEAST_BYTES_PER_SECOND and not ("bridge" in gpu.scaleup_link.lower() and linked_gpus > 2)
    return GpuRates(
        gpu=gpu.id,
        family=pooled_family(gpu),
        memory_bytes=gpu.memory_bytes or 16 * 2.0**30,
        memory_bytes_per_second=gpu.memory_bytes_per_second,
        flops_16bit=base or gpu.memory_bytes_per_second * 60.0,
        flops_fp8=usable["fp8"],
        flops_int8=usable["int8"],
        flops_fp4=usable["fp4"],
        link_bytes_per_second=link if fast else PCIE_BYTES_PER_SECOND.get(gpu.pcie_gen or 4, 22e9),
        has_fast_link=float(fast),
        is_datacenter=float(gpu.device_class == "datacenter"),
    )


MAKERS = {
    "cdna": "amd",
    "rdna": "amd-gddr",
    "apple": "apple",
    "intel": "intel",
    "gaudi": "asic",
    "cpu": "cpu",
    "asic": "asic",
}
_POOLED = {"xe2": "intel", "rdna3": "rdna", "volta": "volta-turing", "turing": "volta-turing"}
_CAPABILITY_POOLS = (("gfx9", "cdna"), ("gfx", "rdna"), ("Metal", "apple"), ("Xe", "intel"), ("6.", "pascal"))


def pooled_family(gpu: GpuSpec) -> str:
    """The family evidence is pooled in: ``hopper``, ``ampere-gddr``, ``cdna3``, ``apple`` …"""
    family = gpu.family
    if family.startswith(f"{gpu.vendor.lower()}-"):
        if gpu.id.startswith("gaudi"):
            return "gaudi"
        if gpu.is_cpu:
            return "cpu"
        found = next((pool for start, pool in _CAPABILITY_POOLS if gpu.compute_capability.startswith(start)), "")
        return found or ("pascal" if gpu.vendor == "NVIDIA" else "asic")
    return _POOLED.get(family, family)


@cache
def maker_class(family: str) -> str:
    """The wider class families belong to: software stacks are a maker's, not a chip's."""
    found = next((maker for start, maker in MAKERS.items() if family.startswith(start)), "")
    return found or ("nvidia-gddr" if family in {"ada", "volta-turing", "pascal"} or "gddr" in family else "nvidia")


@dataclass(frozen=True, kw_only=True)
class Case(ModelShape, GpuRates):
    """One deployment under one load. Lengths in tokens; ``users`` is in flight at once, all GPUs together."""

    architecture: str
    weight_class: str
    weight_bytes: float  # per quantized weight, scales included
    rest_bytes: float  # per embedding and output weight
    peak_flops: float  # of the products of this weight format on this GPU
    is_weight_only: float
    kv_bytes: float  # per cached value
    engine: str  # class of engine and era
    engine_version: str
    tensor: float
    pipeline: float
    expert: float
    data: float  # attention data-parallel ranks inside one replica
    replicas: float
    input_tokens: float
    output_tokens: float
    load: str
    load_value: float  # NaN: not stated
    batch_size: float  # NaN: not stated
    memory_fraction: float = 0.9
    max_sequences: float = float("nan")  # NaN: the engine's default

    @property
    def gpus(self) -> float:
        return self.tensor * self.pipeline * self.data * self.replicas

    def with_load(self, load: str, value: float, input_tokens: float, output_tokens: float) -> Case:
        """The same deployment under another load."""
        return replace(
            self,
            load=load,
            load_value=value,
            batch_size=value,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
        )


_TEXT_FIELDS = frozenset({"gpu", "family", "architecture", "weight_class", "engine", "engine_version", "load"})
NUMBER_FIELDS = tuple(f.name for f in fields(Case) if f.name not in _TEXT_FIELDS)
TEXT_FIELDS = tuple(f.name for f in fields(Case) if f.name in _TEXT_FIELDS)


class Cases:
    """Columns of cases: ``cases["layers"]`` is an array of numbers, ``cases.text("engine")`` one of words."""

    def __init__(self, numbers: dict[str, Floats], texts: dict[str, Words]) -> None:
        self._numbers, self._texts = numbers, texts

    @classmethod
    def of(cls, cases: Sequence[Case]) -> Cases:
        numbers = {name: np.array([getattr(c, name) for c in cases], dtype=np.float64) for name in NUMBER_FIELDS}
        texts = {name: np.array([getattr(c, name) for c in cases], dtype=np.str_) for name in TEXT_FIELDS}
        return cls(numbers, texts)

    def __len__(self) -> int:
        return len(self._numbers["layers"])

    def __getitem__(self, name: str) -> Floats:
        return self._numbers[name]

    def text(self, name: str) -> Words:
        return self._texts[name]

    @property
    def gpus(self) -> Floats:
        """GPUs of all replicas."""
        return self["tensor"] * self["pipeline"] * self["data"] * self["replicas"]

    def take(self, index: NDArray[np.intp]) -> Cases:
        """Some of the rows."""
        return Cases({k: v[index] for k, v in self._numbers.items()}, {k: v[index] for k, v in self._texts.items()})
