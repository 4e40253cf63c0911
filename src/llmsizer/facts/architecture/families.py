"""What model types differ in, as data: one record for each ``model_type`` of transformers.

Read from the configuration and modelling files of huggingface/transformers (Apache-2.0). A new type is a new record.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NormOnHeads = Literal["none", "head", "width", "per head"]
"""Norm on queries and keys: none, a vector of head_dim, one over the whole width, or one of head_dim for each head."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The traits of a model type that its config.json does not spell out. Defaults describe Llama."""

    gated: bool = True
    norms: int = 2
    norm_has_bias: bool = False
    bias: bool = False  # on q, k, v where no key says so
    bias_keys: tuple[str, ...] = ("attention_bias",)
    output_bias: bool | None = None  # on the output projection; None: as on q, k, v
    mlp_bias: bool = False
    mlp_bias_keys: tuple[str, ...] = ("mlp_bias",)
    head_bias: bool = False  # on lm_head
    norm_on_heads: NormOnHeads = "none"
    norm_on_heads_key: str | None = None  # a key that switches it; None: always as above
    tied: bool = False  # where tie_word_embeddings is absent
    learned_positions: int | None = None  # rows beyond the maximal context; None: no learned positions
    embedding_norm: bool = False
    rotary: bool = True  # rotary positions; False: learned ones or ALiBi
    rope_by_kind: bool = False  # windowed layers rotate with a base of their own, so there are two tables
    sinks: bool = False
    gated_output: bool = False
    router_bias: bool = False
    shared_gate: bool = False  # one vector that weighs the shared expert
    full_every: int | None = None  # where layer_types is absent: every n-th layer is full, the others windowed
    window_keys: tuple[str, ...] = ("sliding_window",)
    window_switch: str | None = None  # a key that must be true for the window to be used
    windows: Literal["sliding", "chunked"] = "sliding"
    defaults: Mapping[str, object] = field(default_factory=dict)


LLAMA = Family()
_MLA = Family(router_bias=True)
_QWEN2 = Family(
    bias=True, bias_keys=("attention_bias", "qkv_bias"), output_bias=False, window_switch="use_sliding_window"
)
_GEMMA_DEFAULTS: Mapping[str, object] = {"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}
_LAYER_NORM_BIASED = Family(gated=False, norm_has_bias=True, bias=True, mlp_bias=True)

_GPT2 = Family(rotary=False, gated=False, norm_has_bias=True, bias=True, mlp_bias=True, tied=True, learned_positions=0)

FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "smollm3": Family(tied=True),
    "mistral": LLAMA,
    "ministral": LLAMA,
    "ministral3": LLAMA,
    "mixtral": LLAMA,
    "mistral4": Family(),
    "deepseek": LLAMA,
    "deepseek_v2": Family(),
    "deepseek_v3": _MLA,
    "deepseek_v32": _MLA,
    "deepseek_v3-like": _MLA,
    "kimi_k2": _MLA,
    "minicpm3": Family(tied=True),
    "llama4_text": Family(windows="chunked", window_keys=("attention_chunk_size",), full_every=4, output_bias=None),
    "qwen2": _QWEN2,
    "qwen2_vl": _QWEN2,
    "qwen2_5_vl": _QWEN2,
    "qwen2_vl_text": _QWEN2,
    "qwen2_5_vl_text": _QWEN2,
    "qwen2_moe": Family(
        bias=True, bias_keys=("qkv_bias",), output_bias=False, window_switch="use_sliding_window", shared_gate=True
    ),
    "qwen3": Family(norm_on_heads="head", window_switch="use_sliding_window", defaults={"head_dim": 128}),
    "qwen3_vl_text": Family(norm_on_heads="head", defaults={"head_dim": 128}),
    "qwen3_moe": Family(norm_on_heads="head", window_switch="use_sliding_window"),
    "qwen3_vl_moe_text": Family(norm_on_heads="head"),
    "qwen3_next": Family(
        norm_on_heads="head", gated_output=True, shared_gate=True, full_every=4, defaults={"head_dim": 256}
    ),
    "gemma": Family(tied=True, defaults={"head_dim": 256}),
    "gemma2": Family(norms=4, tied=True, full_every=2, defaults={"head_dim": 256, "sliding_window": 4096}),
    "gemma3_text": Family(
        norms=4,
        tied=True,
        full_every=6,
        rope_by_kind=True,
        norm_on_heads="head",
        defaults={
            **_GEMMA_DEFAULTS,
            "vocab_size": 262_208,
            "sliding_window": 4096,
            "max_position_embeddings": 131_072,
        },
    ),
    "deci": LLAMA,
    "gpt_oss": Family(
        bias=True, mlp_bias=True, mlp_bias_keys=(), sinks=True, router_bias=True, full_every=2,
        defaults={"head_dim": 64, "sliding_window": 128},
    ),
    "glm": Family(output_bias=False, bias=True),
    "glm4": Family(norms=4, output_bias=False),
    "glm4_moe": Family(output_bias=False, norm_on_heads="head", norm_on_heads_key="use_qk_norm", router_bias=True),
    "chatglm": Family(bias=True, bias_keys=("add_qkv_bias",), output_bias=False),
    "phi": Family(gated=False, norms=1, norm_has_bias=True, bias=True, mlp_bias=True, head_bias=True),
    "phi3": LLAMA,
    "phimoe": Family(norm_has_bias=True, head_bias=True),
    "falcon": Family(gated=False, norms=1, norm_has_bias=True, bias_keys=("bias",), tied=True,
                     defaults={"max_position_embeddings": 2048}),
    "opt": Family(rotary=False, gated=False, norm_has_bias=True, bias=True, bias_keys=("enable_bias",), mlp_bias=True,
                  mlp_bias_keys=("enable_bias",), tied=True, learned_positions=2),
    "gptj": Family(gated=False, norms=1, norm_has_bias=True, mlp_bias=True, head_bias=True),
    "gpt_neox": _LAYER_NORM_BIASED,
    "gpt2": _GPT2,
    "gpt_bigcode": _GPT2,
    "bloom": Family(rotary=False, gated=False, norm_has_bias=True, bias=True, mlp_bias=True, tied=True,
                    embedding_norm=True, defaults={"max_position_embeddings": 2048}),
    "mpt": Family(rotary=False, gated=False, tied=True),
    "starcoder2": Family(gated=False, norm_has_bias=True, bias=True, bias_keys=("use_bias",), mlp_bias=True,
                         mlp_bias_keys=("use_bias",), tied=True),
    "cohere": Family(norms=1, tied=True, norm_on_heads="per head", norm_on_heads_key="use_qk_norm"),
    "cohere2": Family(norms=1, tied=True, full_every=4),
    "granite": LLAMA,
    "granitemoe": LLAMA,
    "olmo": Family(norms=0),
    "olmo2": Family(norm_on_heads="width"),
    "olmo3": Family(norm_on_heads="width", full_every=4),
    "olmoe": Family(norm_on_heads="width"),
    "stablelm": Family(norm_has_bias=True, bias_keys=("use_qkv_bias",), output_bias=False,
                       norm_on_heads="per head", norm_on_heads_key="qk_layernorm"),
    "nemotron": Family(gated=False, norm_has_bias=True),
    "nemotron-nas": LLAMA,
    "internlm": Family(bias=True, bias_keys=("bias",)),
    "internlm2": Family(bias_keys=("bias",)),
    "internlm3": Family(bias_keys=("qkv_bias",), output_bias=False, mlp_bias_keys=("bias",)),
    "baichuan": LLAMA,
    "minicpm": LLAMA,
    "seed_oss": Family(bias=True, output_bias=False),
    "exaone": LLAMA,
    "exaone4": Family(norm_on_heads="head"),
    "ernie4_5": Family(bias_keys=("use_bias",), mlp_bias_keys=("use_bias",), tied=True),
    "minimax_m2": Family(norm_on_heads="width", router_bias=True),
}  # fmt: skip

# Wrappers around a text model: where the text model's own config lies, and its type where it does not say one.
TEXT_SECTIONS = ("text_config", "llm_config", "language_config", "language_model_config")
TEXT_TYPE_OF_WRAPPER = {
    "llava": "llama",
    "llava_next": "llama",
    "gemma3": "gemma3_text",
    "llama4": "llama4_text",
    "mistral3": "mistral",
    "kimi_vl": "deepseek_v3",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "deepseek_vl_v2": "deepseek_v2",
}

NOT_DECODERS = frozenset(
    [
        "bert",
        "roberta",
        "distilbert",
        "albert",
        "electra",
        "deberta",
        "deberta-v2",
        "xlm-roberta",
        "modernbert",
        "nomic_bert",
        "t5",
        "mt5",
        "umt5",
        "bart",
        "mbart",
        "pegasus",
        "whisper",
        "clip",
        "siglip",
        "vit",
        "dinov2",
        "wav2vec2",
        "hubert",
        "blip",
        "sam",
        "speecht5",
        "marian",
        "led",
        "longformer",
        "bigbird",
    ]
)
# Decoders whose layers hold parts that are not described here; a generic reading would be wrong by more than it helps.
NOT_DESCRIBED = frozenset(
    [
        "mamba",
        "mamba2",
        "jamba",
        "nemotron_h",
        "rwkv",
        "zamba",
        "zamba2",
        "falcon_mamba",
        "falcon_h1",
        "bamba",
        "granitemoehybrid",
        "lfm2",
        "lfm2_moe",
        "recurrent_gemma",
        "gemma3n",
        "gemma3n_text",
        "minimax",
        "plamo2",
        "kimi_linear",
    ]
)
