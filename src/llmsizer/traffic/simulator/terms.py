"""A step in named terms: what a machine reaches of its data sheet, in six numbers that one measured run can tell.

The physics of this package predicts step times from thousands of public rows. Where a run of the machine at hand
exists, it says more: this roofline has few enough unknowns to be fitted on one run (``calibrate``), and each is a
property of machine and engine rather than of the model, so that it carries over to another model on the same machine.

    products of weights   p-norm of bytes / (bandwidth · memory) and FLOPs / (peak · compute)
    cache of the decoding bytes / (bandwidth · cache), × ``unpacked`` beside prompt tokens
    attention of prompts  FLOPs / (peak · compute · 0.6)
    small operators       10 passes over the activations
    all-reduces           2 per layer: latency + bytes / link;  logits gathered once
    experts over ranks    each GPU holds and reads its share of the experts; tokens go there and back, 2 per MoE layer
    overhead              per layer, and per layer and decoding sequence

``unpacked``: beside prompt tokens FlashAttention-2 runs one kernel for all rows, in which the query heads that share a
KV head do not share its reading; for g heads per KV head the cache costs 1 + (unpacked - 1)(g - 1)/3 times as much
(so ``unpacked`` is the factor at g = 4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.deployment import Deployment
from llmsizer.physics.answers.step_times import case_of
from llmsizer.physics.steps.cases import Case
from llmsizer.traffic.simulator.steps import StepTable, tabulate

SHARPNESS = 1.6  # of the p-norm: public GEMM latencies at 128 rows are 1.2 times those at one row
ACTIVATION_PASSES = 10.0
PROMPT_ATTENTION_SHARE = 0.6  # of the rate of the matrix products
ACTIVATION_BYTES = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiencies:
    """Six properties of machine and engine; the defaults are what public kernel latencies suggest for vLLM."""

    memory: float = 1.0  # of the data sheet's bandwidth, reading weights
    compute: float = 0.8  # of the data sheet's dense rate
    cache: float = 0.95  # of the bandwidth, reading the KV cache
    layer_seconds: float = 5e-6
    sequence_layer_seconds: float = 0.31e-6
    unpacked: float = 1.9

    def __post_init__(self) -> None:
        if not all(getattr(self, field.name) > 0 for field in fields(self)):
            raise InputError(f"an efficiency or overhead is not above 0: {self}")

    def logs(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([np.log(getattr(self, field.name)) for field in fields(self)])

    @classmethod
    def of_logs(cls, logs: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Efficiencies:
        return cls(**{field.name: float(np.exp(value)) for field, value in zip(fields(cls), logs, strict=True)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What an all-reduce between the GPUs of one replica takes."""

    bytes_per_second: float
    latency_seconds: float = 20e-6

    def __post_init__(self) -> None:
        if not self.bytes_per_second > 0 or not self.latency_seconds >= 0:
            raise InputError("a link needs more than 0 bytes per second and a latency of 0 s or more")


def link_of(deployment: Deployment) -> Link:
    """The data sheet's link, or what PCIe achieves through the host."""
    return Link(bytes_per_second=case_of(deployment).link_bytes_per_second)


@dataclass(frozen=True, slots=True)
class TermSteps:
    """Step seconds of one deployment under given efficiencies; callable as ``StepSeconds``."""

    case: Case
    efficiencies: Efficiencies
    link: Link
    heads_per_kv_head: float
    expert_ranks: int = 1  # equally busy replicas over which the experts are spread (data and expert parallelism)

    def __call__(
        self, prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float
    ) -> float:
        case, reached = self.case, self.efficiencies
        tokens, logits = prefill_tokens + decode_batch, decode_batch + (1 if prefill_tokens else 0)
        ranks, chosen = self.expert_ranks, case.experts_per_token / max(case.experts, 1)
        touched: float = case.experts * (1 - (1 - chosen) ** (ranks * tokens)) / ranks
        experts = case.expert_params * case.moe_layers
        seconds = self._products(case.dense_params, case.dense_params * tokens, case.weight_bytes)
        seconds += self._products(experts * touched, experts * case.experts_per_token * tokens, case.weight_bytes)
        seconds += self._products(case.head_params, case.head_params * logits, case.rest_bytes)
        seconds += self._cache(decode_batch, decode_context_tokens)
        peak = case.flops_16bit * reached.compute * PROMPT_ATTENTION_SHARE
        seconds += prefill_pairs * case.prefill_score_flops_full / case.tensor / peak
        bandwidth = case.memory_bytes_per_second * reached.memory
        activations = ACTIVATION_BYTES * tokens * case.hidden_size
        seconds += ACTIVATION_PASSES * case.layers * activations / math.sqrt(case.tensor) / bandwidth
        if case.tensor > 1:
            ring = 2 * (case.tensor - 1) / case.tensor
            one = self.link.latency_seconds + ring * activations / self.link.bytes_per_second
            gathered = logits * case.head_params / case.hidden_size * ACTIVATION_BYTES / case.tensor
            seconds += 2 * case.layers * one + gathered / self.link.bytes_per_second
        if ranks > 1:
            there = self.link.latency_seconds + (ranks - 1) * activations / self.link.bytes_per_second
            seconds += 2 * case.moe_layers * there
        return seconds + case.layers * (reached.layer_seconds + decode_batch * reached.sequence_layer_seconds)

    def _products(self, read_params: float, multiplied_params: float, bytes_each: float) -> float:
        """One group of matrix products, split over the tensor-parallel GPUs."""
        case, reached = self.case, self.efficiencies
        read = read_params * bytes_each / case.tensor / (case.memory_bytes_per_second * reached.memory)
        multiplied = 2 * multiplied_params / case.tensor / (case.peak_flops * reached.compute)
        return float((read**SHARPNESS + multiplied**SHARPNESS) ** (1 / SHARPNESS))

    def _cache(self, batch: int, context_tokens: float) -> float:
        case = self.case
        if not batch:
            return 0.0
        windowed = batch * min(context_tokens / batch, case.window_tokens)
        values = case.kv_values_full * context_tokens + case.kv_values_window * windowed
        shards = 1.0 if case.is_latent else min(case.tensor, max(case.kv_heads, 1.0))
        return float(values * case.kv_bytes / shards) / (case.memory_bytes_per_second * self.efficiencies.cache)

    @property
    def mixed_context_factor(self) -> float:
        return 1 + (self.efficiencies.unpacked - 1) * (self.heads_per_kv_head - 1) / 3


def term_steps(
    deployment: Deployment, efficiencies: Efficiencies, link: Link | None = None, expert_ranks: int = 1
) -> TermSteps:
    """Step seconds of a deployment. Raises InputError for what these terms leave out: pipelines, speculation."""
    if deployment.parallelism.pipeline > 1:
        raise InputError("a step in named terms covers tensor parallelism only; use pp = 1")
    if deployment.speculates is not None:
        raise InputError("a step in named terms covers no speculation; leave it out")
    attention = deployment.model.layer_groups[0].attention
    shared = attention.query_heads / attention.kv_heads if attention.kind in {"full", "sliding", "chunked"} else 1.0
    return TermSteps(case_of(deployment), efficiencies, link or link_of(deployment), shared, expert_ranks)


def term_table(steps: TermSteps, *, max_sequences: int, max_batched_tokens: int, max_context_tokens: int) -> StepTable:
    """The table that the simulator takes."""
    table = tabulate(
        steps,
        max_sequences=max_sequences,
        max_batched_tokens=max_batched_tokens,
        max_context_tokens=max_context_tokens,
    )
    return replace(table, mixed_context_factor=steps.mixed_context_factor)
