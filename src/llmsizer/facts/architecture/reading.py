"""From a Hugging Face config.json to a ModelSpec: exact geometry, or one line that says what is wrong.

What a type does that its config does not say lies in ``families``; this module reads keys. They are those of
transformers and of the makers' own remote code (``n_embd``, ``multi_query_group_num``, ``ffn_hidden_size`` …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from llmsizer.errors import InputError
from llmsizer.facts.architecture.config_values import ConfigValues
from llmsizer.facts.architecture.families import (
    FAMILIES,
    LLAMA,
    NOT_DECODERS,
    NOT_DESCRIBED,
    TEXT_SECTIONS,
    TEXT_TYPE_OF_WRAPPER,
    Family,
)
from llmsizer.facts.architecture.layers import feed_forward_of_layer, layer_attentions, rope_table_values
from llmsizer.facts.architecture.vision import tower_params
from llmsizer.facts.model import LayerGroup, ModelSpec
from llmsizer.facts.provenance import Provenance

MOST_LAYERS = 2_000
MOST_NAMED = 5  # keys that a sentence names
# Keys that say nothing about shapes: ids, training, generation, numerics of norms and positions, bookkeeping.
_NO_SHAPE = re.compile(
    r"^_|token_id|drop|init|dtype|architectures|auto_map|version|cache|rope|rotary|eps|epsilon|act|name|label|tie_|"
    r"pretrain|quantization|model_type|return_|torchscript|output_|theta|scal|layer_?norm|loss|router_aux|alibi|task|"
    r"problem_type|bos|eos|pad|language|use_flash|max_length"
)
UNKNOWN_SOURCE = Provenance(source="a config given by the user", as_of="", confidence="as given", basis="published")


def model_from_config(
    config: Mapping[str, object],
    *,
    name: str,
    hf_repo: str = "",
    provenance: Provenance = UNKNOWN_SOURCE,
    display_name: str = "",
    licence: str | None = None,
    extra_params: int | None = None,
    published_total_params: float | None = None,
    published_active_params: float | None = None,
    served_context_tokens: int | None = None,
    native_weights: str | None = None,
    notes: str = "",
) -> ModelSpec:
    """The geometry a config describes. ``extra_params``: parameters beside the text model; None: by its vision_config.

    Raises InputError with one line: what, where, what would work.
    """
    where = f"config of {name}"
    text, model_type = _text_config(config, where)
    family = FAMILIES.get(model_type, LLAMA)
    values = ConfigValues(where, text, family.defaults)
    hidden_size = values.integer("hidden_size", "n_embd", "d_model", "n_embed")
    vocab_size = values.integer("vocab_size", "padded_vocab_size")
    tied = _tied(config, values, family)
    groups = _layer_groups(values, family, hidden_size)
    context = _context_tokens(values)
    beside = _parameters_beside(values, family, hidden_size, vocab_size, context)
    if extra_params is None:
        extra_params = tower_params(config, hidden_size, where)
    generic = "" if model_type in FAMILIES else _read_as_llama(model_type, values)
    if generic and provenance.basis == "published":  # the shapes are the file's, what they mean is our guess
        provenance = replace(provenance, basis="assumed", confidence=generic)
    return ModelSpec(
        name=name,
        hf_repo=hf_repo,
        display_name=display_name,
        model_type=model_type or "unknown",
        hidden_size=hidden_size,
        vocab_size=vocab_size,
        layer_groups=groups,
        max_context_tokens=context,
        served_context_tokens=served_context_tokens,
        tied_embeddings=tied,
        extra_params=extra_params + beside,
        rope_table_values=rope_table_values(values, family, groups, context),
        native_weights=native_weights or native_precision(config, text),
        published_total_params=published_total_params,
        published_active_params=published_active_params,
        licence=licence,
        provenance=provenance,
        reading=f"{generic[0].upper()}{generic[1:]}." if generic else "",
        notes="; ".join(part for part in (generic, notes) if part),
    )


def _read_as_llama(model_type: str, values: ConfigValues) -> str:
    """What to say of a type that nobody described: how it is read, and which keys on its shape were not."""
    said = f"model_type {model_type or 'missing'!r} is not known: read as a Llama-like decoder"
    unread = [key for key in values.values if key not in values.asked and not _NO_SHAPE.search(key)]
    if not unread:
        return said
    more = f" and {len(unread) - MOST_NAMED} more" if len(unread) > MOST_NAMED else ""
    return f"{said}; not read: {', '.join(unread[:MOST_NAMED])}{more}"


def _text_config(config: object, where: str) -> tuple[Mapping[str, object], str]:
    """The text decoder's own config and type; wrappers keep it in a section, whose keys win over the wrapper's."""
    if not isinstance(config, Mapping):
        raise InputError(f"{where}: not a JSON object; the config.json of a text decoder would work")
    model_type = config.get("model_type")
    _refuse_others(model_type, config, where)
    for section in TEXT_SECTIONS:
        inner = config.get(section)
        if isinstance(inner, Mapping):
            wrapper = model_type if isinstance(model_type, str) else ""
            inner_type = inner.get("model_type") or TEXT_TYPE_OF_WRAPPER.get(wrapper) or wrapper
            _refuse_others(inner_type, inner, where)
            return inner, str(inner_type)
    return config, _flat_type(model_type)


def _flat_type(model_type: object) -> str:
    """A wrapper's type on a flat config means its text model."""
    text = model_type if isinstance(model_type, str) else ""
    return text if text in FAMILIES else TEXT_TYPE_OF_WRAPPER.get(text, text)


def _refuse_others(model_type: object, config: Mapping[str, object], where: str) -> None:
    if model_type is not None and not isinstance(model_type, str):
        raise InputError(f"{where}: model_type = {model_type!r}; give a text such as 'llama'")
    if model_type in NOT_DECODERS or config.get("is_encoder_decoder") is True:
        raise InputError(
            f"{where}: {model_type!r} is no text decoder; a causal language model (llama, mistral …) would work"
        )
    if model_type in NOT_DESCRIBED:
        raise InputError(f"{where}: layers of {model_type!r} are not described here yet; known types: {_known_types()}")


def _known_types() -> str:
    return ", ".join(sorted(FAMILIES)[:12]) + f" and {len(FAMILIES) - 12} more"


def _tied(config: Mapping[str, object], values: ConfigValues, family: Family) -> bool:
    """The text section decides; a wrapper's own key only where the section is silent."""
    outer = config.get("tie_word_embeddings")
    fallback = outer if isinstance(outer, bool) else family.tied
    return values.boolean("tie_word_embeddings", default=fallback)


def _layer_groups(values: ConfigValues, family: Family, hidden_size: int) -> tuple[LayerGroup, ...]:
    """Layers alike are counted together, in the order in which they first appear."""
    layers = values.integer("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    if layers > MOST_LAYERS:
        raise InputError(f"{values.where}: {layers} layers; give 1 to {MOST_LAYERS}")
    attentions = layer_attentions(values, family, hidden_size, layers)
    counted: dict[LayerGroup, int] = {}
    for index, attention in enumerate(attentions):
        group = LayerGroup(
            count=1,
            attention=attention,
            feed_forward=feed_forward_of_layer(values, family, hidden_size, index),
            norms=_norms(values, family),
            norm_has_bias=family.norm_has_bias,
        )
        counted[group] = counted.get(group, 0) + 1
    return tuple(
        LayerGroup(
            count=count,
            attention=group.attention,
            feed_forward=group.feed_forward,
            norms=group.norms,
            norm_has_bias=group.norm_has_bias,
        )
        for group, count in counted.items()
    )


def _norms(values: ConfigValues, family: Family) -> int:
    """Falcon's blocks have one norm when parallel in the old style, two in the new one or when not parallel."""
    if values.text("model_type") == "falcon":
        in_parallel = values.optional_integer("num_ln_in_parallel_attn")
        two = values.boolean("new_decoder_architecture") or not values.boolean("parallel_attn", default=True)
        return in_parallel or (2 if two else 1)
    return family.norms


def _context_tokens(values: ConfigValues) -> int:
    return values.integer(
        "max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length", "model_max_length"
    )


def _parameters_beside(values: ConfigValues, family: Family, hidden_size: int, vocab_size: int, context: int) -> int:
    """Learned positions, a norm on the embeddings, and the biases of the last norm and of lm_head."""
    total = 0 if family.learned_positions is None else (context + family.learned_positions) * hidden_size
    total += 2 * hidden_size if family.embedding_norm else 0
    total += hidden_size if family.norm_has_bias else 0
    return total + (vocab_size if values.boolean("lm_head_bias", default=family.head_bias) else 0)


def native_precision(config: Mapping[str, object], text: Mapping[str, object]) -> str:
    """The precision the weights are published in, by quantization_config, else by dtype."""
    quantization = config.get("quantization_config") or text.get("quantization_config")
    if isinstance(quantization, Mapping):
        return _quantized_precision(quantization)
    dtype = config.get("torch_dtype") or config.get("dtype") or text.get("torch_dtype") or text.get("dtype")
    return {"float16": "fp16", "float32": "fp32"}.get(str(dtype).removeprefix("torch."), "bf16")


def _quantized_precision(quantization: Mapping[str, object]) -> str:
    method = str(quantization.get("quant_method", "")).lower()
    if method in {"fp8", "fbgemm_fp8"}:
        return "fp8"
    if method == "mxfp4":
        return "mxfp4"
    if method in {"gptq", "awq"}:
        return "int8-wo" if quantization.get("bits") == 8 else "int4"
    if method == "modelopt":
        return "nvfp4" if "FP4" in str(quantization.get("quant_algo", "")).upper() else "fp8"
    groups = quantization.get("config_groups")
    if isinstance(groups, Mapping):
        for group in groups.values():
            if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping):
                return _compressed_precision(group)
    return "bf16"


def _compressed_precision(group: Mapping[str, object]) -> str:
    """A compressed-tensors scheme: bits and type of the weights, and whether activations are quantized."""
    weights = group["weights"]
    if not isinstance(weights, Mapping):
        return "bf16"
    bits, is_float = weights.get("num_bits"), weights.get("type") == "float"
    if bits == 4:
        return "nvfp4" if is_float else "int4"
    if bits == 8:
        return "fp8" if is_float else ("int8" if group.get("input_activations") else "int8-wo")
    return "bf16"
