"""Attention of one new token over a static cache that reads keys and values once for all queries that share them.

With a mask, transformers first writes out a copy of the cache for every query head; at long contexts that copy, not
the model, decides the speed. Here the queries of a group are the rows of one product. Prompts keep torch's kernels.
"""

from __future__ import annotations

from typing import Any

from llmsizer.installed import optional, quiet_transformers

NAME = "llmsizer_grouped"
WHAT = "the transformers engine"


def use_grouped_attention(model: Any) -> None:
    """Register and choose it for this model."""
    transformers = quiet_transformers(what=WHAT)
    masking: Any = optional("transformers.masking_utils", what=WHAT, extra="profile")
    transformers.AttentionInterface.register(NAME, grouped_attention)
    transformers.AttentionMaskInterface.register(NAME, masking.sdpa_mask)
    model.set_attn_implementation(NAME)


def grouped_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, scaling: float | None = None, **rest: Any
) -> tuple[Any, None]:
    """Query (batch, heads, tokens, dim), key and value (batch, kv heads, length, dim) → (batch, tokens, heads, dim)."""
    batch, heads, tokens, dim = query.shape
    if tokens != 1:
        sdpa: Any = optional("transformers.integrations.sdpa_attention", what=WHAT, extra="profile")
        made: tuple[Any, None] = sdpa.sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **rest
        )
        return made
    kv_heads = key.shape[1]
    grouped = query.reshape(batch, kv_heads, heads // kv_heads, dim)
    scores = grouped @ key.transpose(2, 3) * (dim**-0.5 if scaling is None else scaling)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask[..., : key.shape[2]], float("-inf"))
    weights = scores.float().softmax(dim=-1).to(value.dtype)
    return (weights @ value).reshape(batch, 1, heads, dim), None
