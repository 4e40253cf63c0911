"""One layer's attention and feed-forward part from a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from llmsizer.errors import InputError
from llmsizer.facts.architecture.config_values import ConfigValues
from llmsizer.facts.architecture.families import Family
from llmsizer.facts.model import Attention, AttentionKind, FeedForward, LayerGroup

_WINDOWED: dict[str, AttentionKind] = {
    "sliding_attention": "sliding",
    "chunked_attention": "chunked",
    "local": "sliding",
    "sliding": "sliding",
}


def layer_attentions(values: ConfigValues, family: Family, hidden_size: int, layers: int) -> tuple[Attention, ...]:
    """The attention of every layer, in order."""
    if values.has("kv_lora_rank"):
        return (_latent(values, family),) * layers
    full = _full(values, family, hidden_size)
    kinds = _layer_kinds(values, family, layers)
    heads_by_layer = values.integers("num_key_value_heads_per_layer")
    if heads_by_layer and len(heads_by_layer) != layers:
        raise InputError(
            f"{values.where}: num_key_value_heads_per_layer has {len(heads_by_layer)} entries for {layers} layers"
        )
    window = values.optional_integer(*family.window_keys) or values.optional_integer("window_size")
    linear = _linear(values, hidden_size, full) if "linear_attention" in kinds else full
    result = []
    for index, kind in enumerate(kinds):
        attention = full
        if kind == "linear_attention":
            attention = linear
        elif kind in _WINDOWED and window is not None:
            attention = replace(full, kind=_WINDOWED[kind], window_tokens=window)
        if heads_by_layer:
            _check_heads(values, full.query_heads, heads_by_layer[index])
            attention = replace(attention, kv_heads=heads_by_layer[index])
        result.append(attention)
    return tuple(result)


def _layer_kinds(values: ConfigValues, family: Family, layers: int) -> tuple[str, ...]:
    """layer_types where given; else by the family's pattern; else one kind for all."""
    given = values.texts("layer_types", layers)
    if given is not None:
        known = {*_WINDOWED, "full_attention", "linear_attention", "full", "global"}
        for kind in given:
            if kind not in known:
                raise InputError(f"{values.where}: layer_types has {kind!r}; known kinds: {', '.join(sorted(known))}")
        return given
    every = values.optional_integer("sliding_window_pattern", "full_attention_interval") or family.full_every
    if values.has("linear_num_value_heads"):
        return tuple("full_attention" if (i + 1) % (every or 4) == 0 else "linear_attention" for i in range(layers))
    window = values.optional_integer(*family.window_keys)
    switched_on = family.window_switch is None or values.boolean(family.window_switch)
    context = values.optional_integer("max_position_embeddings")
    if window is None or not switched_on or (context is not None and window >= context):
        return ("full_attention",) * layers
    windowed = "chunked_attention" if family.windows == "chunked" else "sliding_attention"
    if every:
        return tuple("full_attention" if (i + 1) % every == 0 else windowed for i in range(layers))
    first_windowed = 0  # Qwen 2: the layers below max_window_layers attend to everything
    if family.window_switch is not None:
        first_windowed = values.optional_integer("max_window_layers", minimum=0) or 0
    return tuple("full_attention" if i < first_windowed else windowed for i in range(layers))


def _full(values: ConfigValues, family: Family, hidden_size: int) -> Attention:
    """Multi-head, multi-query or grouped-query attention over the whole context."""
    heads = values.integer("num_attention_heads", "n_head", "n_heads")
    kv_heads = _kv_heads(values, heads)
    head_dim = values.optional_integer("head_dim", "attention_head_dim", "kv_channels")
    if head_dim is None:
        if hidden_size % heads:
            raise InputError(
                f"{values.where}: hidden_size {hidden_size} does not divide into {heads} heads; give head_dim"
            )
        head_dim = hidden_size // heads
    _check_heads(values, heads, kv_heads)
    bias = values.boolean(*family.bias_keys, default=family.bias)
    query_key_norm = family.norm_on_heads != "none"
    if family.norm_on_heads_key is not None:
        query_key_norm = values.boolean(family.norm_on_heads_key)
    wide = {"width": (heads + kv_heads) * head_dim, "per head": (heads + kv_heads) * head_dim}
    return Attention(
        kind="full",
        query_heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        value_head_dim=values.optional_integer("v_head_dim") or head_dim,
        has_bias=bias,
        has_output_bias=bias if family.output_bias is None else family.output_bias,
        has_query_key_norm=query_key_norm and family.norm_on_heads == "head",
        has_sinks=family.sinks,
        gated_output=family.gated_output,
        extra_params=wide.get(family.norm_on_heads, 0) if query_key_norm else 0,
    )


def _kv_heads(values: ConfigValues, heads: int) -> int:
    """Key/value heads under the names in use; absent means as many as query heads (transformers' default)."""
    attention = ConfigValues(values.where, values.section("attn_config"), {})
    if values.values.get("new_decoder_architecture") is not True and values.boolean("multi_query"):
        return 1  # Falcon-7B, GPT-BigCode
    if values.boolean("multi_query_attention"):
        return values.integer("multi_query_group_num")
    return (
        values.optional_integer("num_key_value_heads", "num_kv_heads", "n_kv_heads", "kv_n_heads", "n_head_kv")
        or attention.optional_integer("kv_n_heads")
        or heads
    )


def _check_heads(values: ConfigValues, heads: int, kv_heads: int) -> None:
    if kv_heads < 1 or heads % kv_heads:
        raise InputError(
            f"{values.where}: {heads} query heads do not divide into {kv_heads} KV heads; give a divisor of {heads}"
        )


def _latent(values: ConfigValues, family: Family) -> Attention:
    """Multi-head latent attention."""
    heads = values.integer("num_attention_heads")
    rope, nope = values.integer("qk_rope_head_dim"), values.integer("qk_nope_head_dim", minimum=0)
    return Attention(
        kind="latent",
        query_heads=heads,
        kv_heads=heads,
        head_dim=rope + nope,
        value_head_dim=values.integer("v_head_dim"),
        kv_lora_rank=values.integer("kv_lora_rank"),
        query_lora_rank=values.optional_integer("q_lora_rank", minimum=0) or 0,
        rope_head_dim=rope,
        has_bias=values.boolean("attention_bias", default=family.bias),
    )


def _linear(values: ConfigValues, hidden_size: int, full: Attention) -> Attention:
    """Gated delta-rule attention (Qwen3-Next): a state for each value head, and a short convolution."""
    value_heads, key_heads = values.integer("linear_num_value_heads"), values.integer("linear_num_key_heads")
    key_dim = values.integer("linear_key_head_dim")
    value_dim = values.integer("linear_value_head_dim")
    kernel = values.integer("linear_conv_kernel_dim")
    channels = 2 * key_heads * key_dim + value_heads * value_dim
    inputs = channels + value_heads * value_dim + 2 * value_heads  # q, k, v, gate z; beta and decay
    params = hidden_size * (inputs + value_heads * value_dim) + channels * kernel + 2 * value_heads + value_dim
    return replace(
        full,
        kind="linear",
        linear_params=params,
        linear_state_values=value_heads * key_dim * value_dim + channels * (kernel - 1),
        has_query_key_norm=False,
        gated_output=False,
        extra_params=channels * kernel + 2 * value_heads + value_dim,
    )


def rope_table_values(values: ConfigValues, family: Family, groups: tuple[LayerGroup, ...], context: int) -> int:
    """Values of the position tables: positions × rotated dimensions; linear scaling stretches the positions.

    Gemma-3's full layers rotate over 8 × 131,072 positions and its windowed layers over their own 131,072: half a GiB.
    """
    if not family.rotary:
        return 0
    attention = groups[0].attention
    dims = attention.rope_head_dim or attention.head_dim
    partial = values.raw("partial_rotary_factor", "rotary_pct")
    if isinstance(partial, int | float) and not isinstance(partial, bool) and 0 < partial <= 1:
        dims = int(dims * partial)
    scaling = values.raw("rope_scaling", "rope_parameters")
    factor = 1.0
    if isinstance(scaling, Mapping) and (scaling.get("rope_type") or scaling.get("type")) in {"linear", "dynamic"}:
        given = scaling.get("factor")
        factor = float(given) if isinstance(given, int | float) and 1 <= given <= 1024 else 1.0
    tables = context * factor + (context if family.rope_by_kind else 0)
    return int(tables * dims)


def feed_forward_of_layer(values: ConfigValues, family: Family, hidden_size: int, index: int) -> FeedForward:
    """Dense, or a mixture of experts with its shared part."""
    mlp_bias = (
        values.boolean(*family.mlp_bias_keys, default=family.mlp_bias) if family.mlp_bias_keys else family.mlp_bias
    )
    experts = values.optional_integer("num_local_experts", "n_routed_experts", "num_experts", minimum=0) or 0
    if not experts or _is_dense_layer(values, index):
        return FeedForward(hidden_size=_dense_size(values, hidden_size), gated=family.gated, has_bias=mlp_bias)
    size = values.integer("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size", "ffn_dim")
    active = values.integer("num_experts_per_tok", "num_experts_per_token", "moe_topk", "top_k")
    if active > experts:
        raise InputError(f"{values.where}: {active} experts per token of {experts}; give at most {experts}")
    shared = _shared_size(values, size)
    return FeedForward(
        hidden_size=size,
        gated=family.gated,
        experts=experts,
        active_experts=active,
        shared_hidden_size=shared,
        has_bias=mlp_bias,
        has_router_bias=family.router_bias,
        extra_params=hidden_size if family.shared_gate and shared else 0,
    )


def _shared_size(values: ConfigValues, expert_size: int) -> int:
    """Hidden size of all shared experts together; Llama 4 has one, as wide as a routed expert, and no key for it."""
    if values.text("model_type").startswith("llama4"):
        return values.integer("intermediate_size")
    named = values.optional_integer("shared_expert_intermediate_size", "shared_intermediate_size", minimum=0)
    return named if named is not None else (values.optional_integer("n_shared_experts", minimum=0) or 0) * expert_size


def _is_dense_layer(values: ConfigValues, index: int) -> bool:
    """Layers of a mixture that are dense: the first few, those named, or all but every n-th."""
    if index < (values.optional_integer("first_k_dense_replace", minimum=0) or 0):
        return True
    if index in values.integers("mlp_only_layers"):
        return True
    sparse_layers = values.integers("moe_layers")
    if sparse_layers:
        return index not in sparse_layers
    step = values.optional_integer("interleave_moe_layer_step", "decoder_sparse_step", minimum=0)
    if step is not None:
        return step == 0 or (index + 1) % step != 0
    frequency = values.optional_integer("moe_layer_freq")
    return frequency is not None and index % frequency != 0


def _dense_size(values: ConfigValues, hidden_size: int) -> int:
    size = values.optional_integer(
        "intermediate_size_mlp", "intermediate_size", "ffn_hidden_size", "ffn_dim", "n_inner"
    )
    if size is not None:
        return size
    ratio = values.optional_integer("expansion_ratio", "ffn_mult")
    if ratio is None and not values.has("n_head", "n_heads", "num_attention_heads"):
        raise InputError(f"{values.where}: intermediate_size is missing; give the feed-forward width")
    if ratio is None and values.text("model_type") not in {"gpt2", "gptj", "gpt_bigcode", "bloom", "falcon"}:
        raise InputError(f"{values.where}: intermediate_size is missing; give the feed-forward width")
    return (ratio or 4) * hidden_size  # GPT-2, Bloom and Falcon: four times the width where nothing is said
