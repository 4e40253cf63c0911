"""A config.json becomes exact geometry, or one line that says what is wrong."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.architecture import model_from_config, native_precision
from llmsizer.facts.architecture.families import FAMILIES
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.profile_files import read_toml

CATALOG = load_catalog()
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}


def spec(**changes: Any) -> ModelSpec:
    config = {key: value for key, value in (LLAMA_8B | changes).items() if value is not ...}
    return model_from_config(config, name="test")


def test_llama_8b_parameters_by_hand():
    # a layer: q and o 4096×4096, k and v 4096×1024, three matrices 4096×14336, two norms; embedding, head, last norm
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    assert spec().total_params == 32 * layer + 2 * 128256 * 4096 + 4096 == 8_030_261_248


@pytest.mark.parametrize(
    ("name", "expected_bytes"),
    [
        ("llama-3.1-8b", 2 * 32 * 8 * 128 * 2),  # GQA: K and V × layers × KV heads × head dim × 2 bytes
        ("mistral-small-4-119b-2603", 36 * (256 + 64) * 2),  # MLA: layers × (latent + rope key) × 2 bytes
        ("gemma-3-27b", 2 * 62 * 16 * 128 * 2),  # sliding window, while no window is full
        ("mixtral-8x7b", 2 * 32 * 8 * 128 * 2),  # MoE: experts keep no cache
        ("llama-2-7b", 2 * 32 * 32 * 128 * 2),  # MHA
    ],
)
def test_kv_bytes_per_token_by_hand(name: str, expected_bytes: int):
    assert CATALOG.model(name).kv_bytes_per_token(2.0) == expected_bytes


def test_windows_cap_the_cache_of_long_contexts():
    # Gemma-3-27B at 32,768 tokens: 10 full layers keep all, 52 windowed ones 1,024 each
    per_layer = 2 * 16 * 128
    assert CATALOG.model("gemma-3-27b").kv_values(32_768) == per_layer * (10 * 32_768 + 52 * 1_024)
    # Llama-4-Scout: 36 of 48 layers attend within chunks of 8,192
    scout = CATALOG.model("llama-4-scout")
    assert scout.kv_values(100_000) == 2 * 8 * 128 * (12 * 100_000 + 36 * 8_192)


def test_mixture_of_experts_by_hand():
    # Mixtral 8x7B: 8 experts of 3 × 4096 × 14336, of which 2 run; router 4096 × 8
    model = CATALOG.model("mixtral-8x7b")
    expert = 3 * 4096 * 14336
    assert model.total_params - model.active_params == 32 * 6 * expert
    group = model.layer_groups[0]
    assert group.feed_forward.router_params(4096) == 4096 * 8


def test_latent_attention_by_hand():
    # DeepSeek-V3 attention: published 187,107,328 parameters a layer
    attention = CATALOG.model("deepseek-v3").layer_groups[0].attention
    down = 7168 * 1536 + 1536 + 7168 * (512 + 64) + 512
    up = 1536 * 128 * 192 + 512 * 128 * (128 + 128) + 128 * 128 * 7168
    assert attention.params(7168) == down + up == 187_107_328


def test_first_layers_of_deepseek_are_dense():
    dense, sparse = CATALOG.model("deepseek-v3").layer_groups
    assert (dense.count, dense.feed_forward.is_moe) == (3, False)
    assert (sparse.count, sparse.feed_forward.experts) == (58, 256)


def test_llama_4_interleaves_experts_and_chunks():
    maverick = CATALOG.model("llama-4-maverick")
    assert sum(g.count for g in maverick.layer_groups if g.feed_forward.is_moe) == 24
    assert sum(g.count for g in maverick.layer_groups if g.attention.kind == "full") == 12


@pytest.mark.parametrize("name", CATALOG.model_names)
def test_parameters_are_within_one_per_cent_of_the_published_or_explained(name: str):
    model = CATALOG.model(name)
    assert model.published_total_params
    error = model.total_params / model.published_total_params - 1
    explained = {
        "devstral-2-123b-2512": "125.0 B",
        "kimi-k2": "1,026 B",
        "kimi-k2.5": "1,026 B",
        "ministral-3-3b-2512": "3.85 B",
        "glm-4.6": "multi-token-prediction",
    }
    assert abs(error) <= 0.01 or explained[name] in model.notes, f"{error:+.1%}"


@pytest.mark.parametrize("name", CATALOG.model_names)
def test_matrices_and_vectors_make_up_every_layer(name: str):
    model = CATALOG.model(name)
    assert 0 < model.quantizable_params < model.layer_params
    assert model.quantizable_params / model.layer_params > 0.99


def test_wrappers_are_read_through_their_text_config():
    wrapped = model_from_config(
        {"model_type": "mistral3", "text_config": LLAMA_8B | {"model_type": "mistral"}, "vision_config": {}},
        name="test",
    )
    assert wrapped.total_params == spec(model_type="mistral").total_params


def test_gemma_3_defaults_are_those_of_transformers():
    # gemma-3-4b-it leaves heads, head_dim and vocabulary to the class
    text = {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    }
    model = model_from_config({"model_type": "gemma3", "text_config": text}, name="gemma")
    assert model.layer_groups[0].attention.head_dim == 256
    assert model.tied_embeddings
    assert sum(g.count for g in model.layer_groups if g.attention.kind == "full") == 5
    assert model.total_params == pytest.approx(3.88e9, rel=0.005)


def test_absent_key_value_heads_mean_as_many_as_query_heads():
    assert spec(num_key_value_heads=...).layer_groups[0].attention.kv_heads == 32


def test_layer_types_win_over_the_family_pattern():
    kinds = ["full_attention"] * 31 + ["sliding_attention"]
    model = spec(layer_types=kinds, sliding_window=1024)
    assert [(g.count, g.attention.kind) for g in model.layer_groups] == [(31, "full"), (1, "sliding")]


def test_hybrid_linear_attention_keeps_a_state_instead_of_tokens():
    config = LLAMA_8B | {
        "model_type": "qwen3_next",
        "linear_num_value_heads": 32,
        "linear_num_key_heads": 16,
        "linear_key_head_dim": 128,
        "linear_value_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "full_attention_interval": 4,
    }
    model = model_from_config(config, name="hybrid")
    assert {g.attention.kind: g.count for g in model.layer_groups} == {"linear": 24, "full": 8}
    state = 24 * (32 * 128 * 128 + (2 * 16 * 128 + 32 * 128) * 3)
    assert model.kv_values(1000) - model.kv_values(0) == 1000 * model.kv_values_per_token
    assert model.kv_values(0) == state


def test_an_unknown_type_is_read_as_a_llama_with_a_note():
    model = spec(model_type="brand_new")
    assert "brand_new" in model.notes
    assert model.total_params == spec().total_params
    assert "not read" not in model.reading


def test_of_an_unknown_type_the_keys_on_its_shape_that_were_not_read_are_named():
    model = spec(model_type="brand_new", attention_pattern=["local", "global"], local_window=1024, rope_theta=1e6)
    assert model.reading.endswith("not read: attention_pattern, local_window.")
    assert model.provenance.basis == "assumed"
    assert spec(attention_pattern=["local"]).provenance.basis == "published"


@pytest.mark.parametrize("key", ["num_kv_heads", "n_kv_heads", "kv_n_heads", "n_head_kv"])
def test_kv_heads_are_read_under_every_name_in_use(key: str):
    assert spec(num_key_value_heads=..., **{key: 8}) == spec()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_key_value_heads": 5}, "32 query heads do not divide into 5"),
        ({"hidden_size": float("nan")}, "hidden_size"),
        ({"hidden_size": -1}, "hidden_size = -1"),
        ({"hidden_size": "4096"}, "hidden_size = '4096'"),
        ({"hidden_size": True}, "hidden_size = True"),
        ({"hidden_size": ...}, "hidden_size or n_embd"),
        ({"vocab_size": 0}, "vocab_size = 0"),
        ({"num_hidden_layers": 10**9}, "layers"),
        ({"intermediate_size": ...}, "intermediate_size is missing"),
        ({"max_position_embeddings": ...}, "max_position_embeddings"),
        ({"model_type": "bert"}, "no text decoder"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"is_encoder_decoder": True}, "no text decoder"),
        ({"model_type": "mamba"}, "not described"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "9 experts per token of 8"),
        ({"layer_types": ["sideways"] * 32}, "sideways"),
        ({"layer_types": ["full_attention"]}, "1 entries for 32 layers"),
        ({"num_attention_heads": 24, "num_key_value_heads": 24}, "does not divide into 24 heads"),
    ],
)
def test_a_bad_config_gets_one_line(changes: dict[str, Any], says: str):
    with pytest.raises(InputError) as caught:
        spec(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [None, [], "llama", 7, {}])
def test_what_is_no_config_gets_one_line(config: Any):
    with pytest.raises(InputError):
        model_from_config(config, name="nothing")


ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 7.5, 1e400, float("nan"), 2**40, "x", "", [], [1], {}, {"a": 1}, ["full_attention"],
)  # fmt: skip


@pytest.mark.parametrize("seed", range(200))
def test_two_hundred_mutated_configs_raise_nothing_but_our_own_errors(seed: int):
    chance = random.Random(seed)
    name = chance.choice(CATALOG.model_names)
    config = copy.deepcopy(read_toml(CATALOG.root / "models" / f"{name}.toml")["config"])
    for _ in range(chance.randint(1, 4)):
        key = chance.choice(list(config))
        if chance.random() < 0.25:
            del config[key]
        else:
            config[key] = chance.choice(ODD_VALUES)
        if not config:
            break
    if chance.random() < 0.1:
        config = {"model_type": chance.choice(list(FAMILIES)), "text_config": config}
    try:
        model = model_from_config(config, name=name)
    except LlmSizerError as error:
        assert "\n" not in str(error)
    else:
        assert model.total_params > 0
        assert model.kv_values(4096) >= 0


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"quant_method": "fp8"}, "fp8"),
        ({"quant_method": "mxfp4"}, "mxfp4"),
        ({"quant_method": "gptq", "bits": 4}, "int4"),
        ({"quant_method": "gptq", "bits": 8}, "int8-wo"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4"),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {
                    "a": {"weights": {"num_bits": 8, "type": "int"}, "input_activations": {"num_bits": 8}}
                },
            },
            "int8",
        ),
        ({"quant_method": "new"}, "bf16"),
    ],
)
def test_the_published_precision_is_read(quantization: dict[str, Any], expected: str):
    assert native_precision({"quantization_config": quantization}, {}) == expected
