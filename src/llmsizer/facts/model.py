"""What a transformer is, and what it costs by construction: parameters, cache values, FLOPs.

A model is a list of *layer groups*: so many layers alike in attention and feed-forward part. Dense models are one
group; sliding-window models alternate two; mixtures of experts often begin with a few dense layers. Every count here is
exact arithmetic on the published geometry (GQA: Ainslie et al. 2023; MLA: DeepSeek-V2, arXiv 2405.04434).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from llmsizer.facts.provenance import Provenance
from llmsizer.facts.routing import experts_touched

AttentionKind = Literal["full", "sliding", "chunked", "latent", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """One layer's token mixer.

    ``full`` keeps keys and values of the whole context; ``sliding`` and ``chunked`` of ``window_tokens`` at most;
    ``latent`` (MLA) one compressed vector of ``kv_lora_rank + rope_head_dim`` values per token; ``linear`` a state
    whose size does not grow with the context.
    """

    kind: AttentionKind
    query_heads: int
    kv_heads: int
    head_dim: int  # of queries and keys; for MLA the sum of its rope and nope parts
    value_head_dim: int
    window_tokens: int | None = None
    kv_lora_rank: int = 0
    query_lora_rank: int = 0
    rope_head_dim: int = 0
    has_bias: bool = False
    has_output_bias: bool = False
    has_query_key_norm: bool = False
    has_sinks: bool = False
    gated_output: bool = False
    linear_state_values: int = 0  # values of the recurrent state per layer, linear attention only
    linear_params: int = 0  # parameters of the mixer where the formula below does not apply
    extra_params: int = 0  # small vectors that the flags above do not describe (norms over the whole width)

    def params(self, hidden_size: int) -> int:
        """Parameters of the projections, their biases and the per-head norms."""
        if self.kind == "linear":
            return self.linear_params
        output = self.query_heads * self.value_head_dim * hidden_size
        if self.kind == "latent":
            return self._latent_params(hidden_size) + output
        query_width, key_width = self.query_heads * self.head_dim, self.kv_heads * self.head_dim
        value_width = self.kv_heads * self.value_head_dim
        total = hidden_size * (query_width + key_width + value_width) + output
        total += hidden_size * query_width if self.gated_output else 0
        total += query_width + key_width + value_width if self.has_bias else 0
        total += hidden_size if self.has_output_bias else 0
        total += 2 * self.head_dim if self.has_query_key_norm else 0
        return total + (self.query_heads if self.has_sinks else 0) + self.extra_params

    def vector_params(self, hidden_size: int) -> int:
        """Parameters that are no matrix (biases, norms, sinks): quantization leaves them as they are."""
        if self.kind == "linear":
            return self.extra_params
        if self.kind == "latent":
            return self.kv_lora_rank + self.query_lora_rank + self.extra_params
        total = self.extra_params + (self.query_heads if self.has_sinks else 0)
        total += self.query_heads * self.head_dim if self.has_bias else 0
        total += self.kv_heads * (self.head_dim + self.value_head_dim) if self.has_bias else 0
        total += hidden_size if self.has_output_bias else 0
        return total + (2 * self.head_dim if self.has_query_key_norm else 0)

    def _latent_params(self, hidden_size: int) -> int:
        """MLA: low-rank query, joint low-rank key/value and the shared rope key, each with its norm."""
        nope_head_dim = self.head_dim - self.rope_head_dim
        if self.query_lora_rank:
            query = self.query_lora_rank * (hidden_size + 1 + self.query_heads * self.head_dim)
        else:
            query = hidden_size * self.query_heads * self.head_dim
        compressed = hidden_size * (self.kv_lora_rank + self.rope_head_dim) + self.kv_lora_rank
        expanded = self.kv_lora_rank * self.query_heads * (nope_head_dim + self.value_head_dim)
        return query + compressed + expanded

    @property
    def kv_values_per_token(self) -> int:
        """Values stored for each token that is kept, in one layer."""
        if self.kind == "linear":
            return 0
        if self.kind == "latent":
            return self.kv_lora_rank + self.rope_head_dim
        return self.kv_heads * (self.head_dim + self.value_head_dim)

    def kept_tokens(self, context_tokens: float) -> float:
        """Tokens of a context that this layer keeps and reads."""
        return context_tokens if self.window_tokens is None else min(context_tokens, self.window_tokens)

    @property
    def score_flops_per_kept_token(self) -> float:
        """FLOPs of scores and weighted sum for one query token against one kept token.

        MLA is counted in its absorbed form, as decode kernels run it: every head attends to the latent vector.
        """
        if self.kind == "linear":
            return 0.0
        if self.kind == "latent":
            return 2.0 * self.query_heads * (2 * self.kv_lora_rank + self.rope_head_dim)
        return 2.0 * self.query_heads * (self.head_dim + self.value_head_dim)


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedForward:
    """One layer's feed-forward part: dense, or a mixture of experts with optional shared experts."""

    hidden_size: int  # of the dense part, or of one routed expert
    gated: bool = True  # SwiGLU-like: three matrices instead of two
    experts: int = 0
    active_experts: int = 0
    shared_hidden_size: int = 0  # all shared experts together
    has_bias: bool = False
    has_router_bias: bool = False
    extra_params: int = 0  # what the flags do not describe: the gate vector of a shared expert

    @property
    def is_moe(self) -> bool:
        return self.experts > 0

    def _mlp_params(self, model_hidden_size: int, hidden_size: int) -> int:
        matrices = 3 if self.gated else 2
        bias = hidden_size * (matrices - 1) + model_hidden_size if self.has_bias and hidden_size else 0
        return matrices * model_hidden_size * hidden_size + bias

    def expert_params(self, model_hidden_size: int) -> int:
        """Parameters of one routed expert, or of the dense part."""
        return self._mlp_params(model_hidden_size, self.hidden_size)

    def shared_params(self, model_hidden_size: int) -> int:
        """Parameters of the shared experts, which every token passes."""
        return self._mlp_params(model_hidden_size, self.shared_hidden_size)

    def router_params(self, model_hidden_size: int) -> int:
        return (model_hidden_size + int(self.has_router_bias)) * self.experts

    def vector_params(self, model_hidden_size: int) -> int:
        """Biases and router: what quantization leaves as it is."""
        matrices = 3 if self.gated else 2
        one = self.hidden_size * (matrices - 1) + model_hidden_size if self.has_bias else 0
        shared = self.shared_hidden_size * (matrices - 1) + model_hidden_size if self.shared_hidden_size else 0
        biases = max(self.experts, 1) * one + (shared if self.has_bias else 0)
        return biases + self.router_params(model_hidden_size) + self.extra_params

    def params(self, model_hidden_size: int) -> int:
        routed = max(self.experts, 1) * self.expert_params(model_hidden_size)
        rest = self.router_params(model_hidden_size) + self.extra_params
        return routed + self.shared_params(model_hidden_size) + rest

    def active_params(self, model_hidden_size: int) -> int:
        """Parameters that one token passes."""
        routed = (self.active_experts if self.is_moe else 1) * self.expert_params(model_hidden_size)
        rest = self.router_params(model_hidden_size) + self.extra_params
        return routed + self.shared_params(model_hidden_size) + rest

    def expected_experts_touched(self, tokens: float) -> float:
        """Distinct experts that a batch of tokens reaches (``facts/routing.py``)."""
        if not self.is_moe:
            return 1.0
        return float(experts_touched(self.experts, self.active_experts, np.array(float(tokens))))


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerGroup:
    """So many layers that are alike."""

    count: int
    attention: Attention
    feed_forward: FeedForward
    norms: int = 2  # weight vectors of hidden size
    norm_has_bias: bool = False

    def params(self, hidden_size: int) -> int:
        norm = self.norms * hidden_size * (2 if self.norm_has_bias else 1)
        return self.count * (self.attention.params(hidden_size) + self.feed_forward.params(hidden_size) + norm)

    def vector_params(self, hidden_size: int) -> int:
        """Norms, biases and routers of all layers: what quantization leaves as it is."""
        norm = self.norms * hidden_size * (2 if self.norm_has_bias else 1)
        inner = self.attention.vector_params(hidden_size) + self.feed_forward.vector_params(hidden_size)
        return self.count * (inner + norm)

    def active_params(self, hidden_size: int) -> int:
        norm = self.norms * hidden_size * (2 if self.norm_has_bias else 1)
        return self.count * (self.attention.params(hidden_size) + self.feed_forward.active_params(hidden_size) + norm)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A transformer's geometry.

    ``extra_params`` holds what the layer groups do not describe (a vision tower, learned positions); it is loaded but
    not part of a text token's path.
    """

    name: str
    hf_repo: str
    model_type: str
    hidden_size: int
    vocab_size: int
    layer_groups: tuple[LayerGroup, ...]
    max_context_tokens: int
    provenance: Provenance
    served_context_tokens: int | None = None
    tied_embeddings: bool = False
    extra_params: int = 0
    rope_table_values: int = 0  # cos/sin of every position, as engines precompute them on each GPU
    native_weights: str = "bf16"  # the precision the maker publishes
    published_total_params: float | None = None
    published_active_params: float | None = None
    licence: str | None = None
    display_name: str = ""
    reading: str = ""  # which reading of an ambiguous name this is, in one sentence
    notes: str = ""

    def __hash__(self) -> int:
        """Of what tells models apart; all fields of all layers would take as long as what is looked up by them."""
        return hash((self.name, self.hidden_size, self.vocab_size, self.max_context_tokens, len(self.layer_groups)))

    @property
    def layers(self) -> int:
        return sum(group.count for group in self.layer_groups)

    @property
    def is_moe(self) -> bool:
        return any(group.feed_forward.is_moe for group in self.layer_groups)

    @property
    def attention_kinds(self) -> tuple[str, ...]:
        """The distinct kinds, in layer order."""
        return tuple(dict.fromkeys(group.attention.kind for group in self.layer_groups))

    @property
    def embedding_params(self) -> int:
        return self.vocab_size * self.hidden_size

    @property
    def lm_head_params(self) -> int:
        """Parameters of the output matrix that are stored; a tied one is stored once, as the embedding."""
        return 0 if self.tied_embeddings else self.embedding_params

    @cached_property
    def layer_params(self) -> int:
        return sum(group.params(self.hidden_size) for group in self.layer_groups)

    @cached_property
    def quantizable_params(self) -> int:
        """Parameters of the layers' matrices: what quantization toolkits quantize by default."""
        return self.layer_params - sum(group.vector_params(self.hidden_size) for group in self.layer_groups)

    @cached_property
    def total_params(self) -> int:
        """Every stored parameter, the final norm and extra towers included."""
        return self.layer_params + self.embedding_params + self.lm_head_params + self.hidden_size + self.extra_params

    @cached_property
    def active_params(self) -> int:
        """Parameters one text token passes, the embedding matrix counted as makers do (once, and the head once)."""
        active = sum(group.active_params(self.hidden_size) for group in self.layer_groups)
        return active + self.embedding_params + self.lm_head_params + self.hidden_size

    @cached_property
    def kv_values_per_token(self) -> int:
        """Cache values one token adds while every layer still keeps it (context below every window)."""
        return sum(g.count * g.attention.kv_values_per_token for g in self.layer_groups)

    def kv_values(self, context_tokens: float) -> float:
        """Cache values of one sequence of ``context_tokens``: windows cap what their layers keep."""
        grown = sum(
            g.count * g.attention.kv_values_per_token * g.attention.kept_tokens(context_tokens)
            for g in self.layer_groups
        )
        return grown + sum(g.count * g.attention.linear_state_values for g in self.layer_groups)

    def kv_bytes_per_token(self, kv_bytes_per_value: float = 2.0) -> float:
        """Bytes one token adds to the cache of all layers, before any window is full.

        Llama-3.1-8B at 16 bit: 2 tensors × 32 layers × 8 heads × 128 dims × 2 bytes = 131,072.
        """
        return self.kv_values_per_token * kv_bytes_per_value

    def forward_flops(self, new_tokens: float, context_tokens: float, *, logits_tokens: float = 1.0) -> float:
        """FLOPs of one forward pass over ``new_tokens`` that each attend to ``context_tokens`` on average.

        2 FLOPs per parameter and token, attention scores on top, logits for ``logits_tokens`` only.
        """
        linear = sum(group.active_params(self.hidden_size) for group in self.layer_groups)
        scores = sum(
            g.count * g.attention.score_flops_per_kept_token * g.attention.kept_tokens(context_tokens)
            for g in self.layer_groups
        )
        return new_tokens * (2.0 * linear + scores) + logits_tokens * 2.0 * self.embedding_params
