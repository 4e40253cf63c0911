"""The key/value cache as paged engines lay it out: blocks, groups of layers, and what one request takes.

Hybrid models follow vLLM's allocator: layers are put into groups of equal size that draw blocks from one pool; a group
of windowed layers gives blocks back once they lie behind its window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from llmsizer.facts.engine import EngineSpec
from llmsizer.facts.model import Attention, ModelSpec
from llmsizer.physics.memory.parallelism import kv_heads_per_gpu

# Below this ratio of the larger kind's layers to the smaller one's, groups take the larger size and pad the other.
SIMILAR_COUNTS = 1.25
MOST_SEQUENCES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheGroup:
    """Layers that share a block table; ``window_tokens`` None: they keep everything."""

    window_tokens: int | None
    count: int = 1  # groups alike


@dataclass(frozen=True, slots=True, kw_only=True)
class KvLayout:
    """How tokens become bytes on one GPU."""

    block_tokens: int
    block_bytes: float  # of one block of one group: all its layers
    groups: tuple[CacheGroup, ...]
    batched_tokens: int  # in flight while a prompt is read: a windowed layer holds them beside its window
    state_bytes: float = 0.0  # per sequence, whatever its length (linear attention)

    @property
    def group_count(self) -> int:
        return sum(group.count for group in self.groups)

    @property
    def bytes_per_token(self) -> float:
        """Bytes one more token takes while no window is full, padding of groups included."""
        return self.group_count * self.block_bytes / self.block_tokens

    def blocks_per_request(self, context_tokens: int, *, reading: bool = False) -> int:
        """Blocks of one request at a context; ``reading``: while its prompt is read, as engines admit requests."""
        full = math.ceil(context_tokens / self.block_tokens)
        total = 0
        for group in self.groups:
            blocks = full
            if group.window_tokens is not None:
                held = group.window_tokens - 1 + (self.batched_tokens if reading else 1)
                blocks = min(full, math.ceil(min(held, context_tokens) / self.block_tokens)) + 1
                blocks = min(blocks, full + 1) if reading else min(blocks, full)
            total += group.count * blocks
        return total

    def request_bytes(self, context_tokens: int, *, reading: bool = False) -> float:
        return self.blocks_per_request(context_tokens, reading=reading) * self.block_bytes + self.state_bytes

    def blocks(self, pool_bytes: float) -> int:
        return max(0, int(pool_bytes // self.block_bytes)) if self.block_bytes else 0

    def capacity_tokens(self, pool_bytes: float) -> int:
        """Tokens as the engine reports them: blocks shared evenly by all groups, as if no window were ever full."""
        return self.blocks(pool_bytes) // max(self.group_count, 1) * self.block_tokens

    def shared_bytes(self, prefix_tokens: int) -> float:
        """Bytes of a common beginning, kept once: whole blocks of the groups that keep everything."""
        groups = sum(group.count for group in self.groups if group.window_tokens is None)
        return prefix_tokens // self.block_tokens * groups * self.block_bytes

    def concurrency(self, pool_bytes: float, context_tokens: int, *, shared_tokens: int = 0) -> int:
        """Requests of this context the pool holds while they decode; all begin with ``shared_tokens`` in common."""
        shared = self.shared_bytes(min(shared_tokens, context_tokens))
        own = self.request_bytes(context_tokens) - shared
        if own <= 0:  # nothing of their own: the engine's limit on sequences is what is left
            return MOST_SEQUENCES if 0 < shared <= pool_bytes else 0
        return int(max(0.0, pool_bytes - shared) // own)

    def admits(self, pool_bytes: float, context_tokens: int) -> bool:
        """Whether the pool takes one request of this context, its prompt being read."""
        return self.request_bytes(context_tokens, reading=True) <= pool_bytes

    def longest_context(self, pool_bytes: float, limit_tokens: int) -> int:
        """The longest context one request can have, at most ``limit_tokens``; 0 where not even one token fits."""
        low, high = 0, limit_tokens
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.admits(pool_bytes, middle) else (low, middle - 1)
        return low


@lru_cache(maxsize=1024)
def kv_layout(
    model: ModelSpec, engine: EngineSpec, *, tensor: int, layers: int, bytes_per_value: float, batched_tokens: int
) -> KvLayout:
    """The layout of one stage of ``layers`` layers, its kinds in the same mix as in the whole model."""
    share = layers / model.layers
    by_kind: dict[int | None, float] = {}
    page_values = 0
    state_values = 0.0
    for group in model.layer_groups:
        attention = group.attention
        if attention.kind == "linear":
            state_values += share * group.count * attention.linear_state_values / tensor
            continue
        window = attention.window_tokens if engine.hybrid_cache else None
        by_kind[window] = by_kind.get(window, 0.0) + share * group.count
        page_values = max(page_values, _values_per_gpu(attention, tensor))
    caching = [g for g in model.layer_groups if g.attention.kind != "linear"]
    if len({_values_per_gpu(g.attention, tensor) for g in caching}) > 1:
        # Layers whose pages differ (heads vary by layer) are one group of them all: exact where none has a window.
        values = share * sum(g.count * _values_per_gpu(g.attention, tensor) for g in caching)
        groups: tuple[CacheGroup, ...] = (CacheGroup(window_tokens=None),)
        block_bytes = values * bytes_per_value * engine.block_tokens
    else:
        group_layers, groups = _groups(by_kind)
        block_bytes = group_layers * page_values * bytes_per_value * engine.block_tokens
    return KvLayout(
        block_tokens=engine.block_tokens,
        block_bytes=block_bytes,
        groups=groups,
        batched_tokens=batched_tokens,
        state_bytes=state_values * bytes_per_value,
    )


def _values_per_gpu(attention: Attention, tensor: int) -> int:
    """Values of one token and layer on one GPU; the latent vector has no heads to split and is copied."""
    if attention.kind == "latent":
        return attention.kv_values_per_token
    return kv_heads_per_gpu(attention, tensor) * (attention.head_dim + attention.value_head_dim)


def _groups(layers_by_window: dict[int | None, float]) -> tuple[float, tuple[CacheGroup, ...]]:
    """Layers per group, and the groups: of the smaller kind's size, or of the larger's where the two are close."""
    if not layers_by_window:
        return 0.0, ()
    counts = list(layers_by_window.values())
    size = min(counts)
    if max(counts) < size * SIMILAR_COUNTS:
        size = max(counts)
    groups = tuple(
        CacheGroup(window_tokens=window, count=math.ceil(count / size - 1e-9))
        for window, count in layers_by_window.items()
    )
    return size, groups
