"""Families beyond the catalogue, each held against the size of its published checkpoint.

Whole numbers are the counts of the checkpoints' tensors and have to be met to the parameter; others are published
rounded.
"""

from __future__ import annotations

from typing import Any

import pytest

from llmsizer.facts.architecture import model_from_config


def b(
    model_type: str, hidden: int, layers: int, heads: int, kv: int | None, inner: int, vocab: int, context: int = 4096,
    **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """A config in transformers' usual keys."""
    config = {
        "model_type": model_type,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": inner,
        "vocab_size": vocab,
        "max_position_embeddings": context,
    }
    return {key: value for key, value in (config | more).items() if value is not None}


# Without multi-token-prediction layers (Qwen3-Next), which engines do not load by default.
CASES: list[tuple[str, float, dict[str, Any]]] = [
    (
        "gpt2",
        124_439_808,
        {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257},
    ),
    (
        "opt-125m",
        125_239_296,
        {
            "model_type": "opt",
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "ffn_dim": 3072,
            "vocab_size": 50272,
            "max_position_embeddings": 2048,
        },
    ),
    ("pythia-6.9b", 6_857_302_016, b("gpt_neox", 4096, 32, 32, None, 16384, 50432, 2048)),
    (
        "bloom-560m",
        559_214_592,
        {
            "model_type": "bloom",
            "hidden_size": 1024,
            "n_layer": 24,
            "n_head": 16,
            "vocab_size": 250880,
            "seq_length": 2048,
        },
    ),
    (
        "mpt-7b",
        6_649_286_656,
        {
            "model_type": "mpt",
            "d_model": 4096,
            "n_layers": 32,
            "n_heads": 32,
            "expansion_ratio": 4,
            "max_seq_len": 2048,
            "vocab_size": 50432,
            "no_bias": True,
        },
    ),
    (
        "starcoder2-3b",
        3_030_371_328,
        b("starcoder2", 3072, 30, 24, 2, 12288, 49152, 16384, use_bias=True, sliding_window=4096),
    ),
    (
        "starcoder2-15b",
        15_957_889_024,
        b(
            "starcoder2",
            6144,
            40,
            48,
            4,
            24576,
            49152,
            16384,
            use_bias=True,
            sliding_window=4096,
            tie_word_embeddings=False,
        ),
    ),
    (
        "starcoder-15.5b",
        15_517_456_384,
        {
            "model_type": "gpt_bigcode",
            "n_embd": 6144,
            "n_layer": 40,
            "n_head": 48,
            "n_inner": 24576,
            "n_positions": 8192,
            "vocab_size": 49152,
            "multi_query": True,
        },
    ),
    ("command-r", 34_980_831_232, b("cohere", 8192, 40, 64, 64, 22528, 256000, 131072, use_qk_norm=False)),
    (
        "command-r7b",
        8.03e9,
        b("cohere2", 4096, 32, 32, 8, 14336, 256000, 132096, sliding_window=4096, sliding_window_pattern=4),
    ),
    ("olmo2-7b", 7_298_617_344, b("olmo2", 4096, 32, 32, 32, 11008, 100352)),
    ("olmoe", 6_919_161_856, b("olmoe", 2048, 16, 16, 16, 1024, 50304, num_experts=64, num_experts_per_tok=8)),
    ("stablelm-2-1.6b", 1_644_515_328, b("stablelm", 2048, 24, 32, 32, 5632, 100352, 4096, use_qkv_bias=True)),
    ("nemotron-mini-4b", 4.19e9, b("nemotron", 3072, 32, 24, 8, 9216, 256000, 4096, head_dim=128)),
    ("internlm2-7b", 7_737_708_544, b("internlm2", 4096, 32, 32, 8, 14336, 92544, 32768, bias=False)),
    ("baichuan2-7b", 7_505_973_248, b("baichuan", 4096, 32, 32, None, 11008, 125696, 4096)),
    (
        "glm-4-9b",
        9_399_951_360,
        {
            "model_type": "chatglm",
            "hidden_size": 4096,
            "num_layers": 40,
            "num_attention_heads": 32,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "ffn_hidden_size": 13696,
            "kv_channels": 128,
            "padded_vocab_size": 151552,
            "seq_length": 131072,
            "add_qkv_bias": True,
        },
    ),
    (
        "glm-4-9b-0414",
        9.4e9,
        b("glm4", 4096, 40, 32, 2, 13696, 151552, 32768, head_dim=128, attention_bias=False),
    ),
    (
        "qwen1.5-moe-a2.7b",
        14_315_784_192,
        b(
            "qwen2_moe",
            2048,
            24,
            16,
            16,
            5632,
            151936,
            8192,
            num_experts=60,
            num_experts_per_tok=4,
            moe_intermediate_size=1408,
            shared_expert_intermediate_size=5632,
            decoder_sparse_step=1,
        ),
    ),
    (
        "qwen2-57b-a14b",
        57.4e9,
        b(
            "qwen2_moe",
            3584,
            28,
            28,
            4,
            18944,
            151936,
            32768,
            num_experts=64,
            num_experts_per_tok=8,
            moe_intermediate_size=2560,
            shared_expert_intermediate_size=20480,
            decoder_sparse_step=1,
        ),
    ),
    (
        "deepseek-v2-lite",
        15_706_484_224,
        b(
            "deepseek_v2",
            2048,
            27,
            16,
            16,
            10944,
            102400,
            163840,
            kv_lora_rank=512,
            qk_rope_head_dim=64,
            qk_nope_head_dim=128,
            v_head_dim=128,
            n_routed_experts=64,
            n_shared_experts=2,
            num_experts_per_tok=6,
            moe_intermediate_size=1408,
            first_k_dense_replace=1,
        ),
    ),
    (
        "deepseek-v2",
        235_741_434_880,
        b(
            "deepseek_v2",
            5120,
            60,
            128,
            128,
            12288,
            102400,
            163840,
            kv_lora_rank=512,
            q_lora_rank=1536,
            qk_rope_head_dim=64,
            qk_nope_head_dim=128,
            v_head_dim=128,
            n_routed_experts=160,
            n_shared_experts=2,
            num_experts_per_tok=6,
            moe_intermediate_size=1536,
            first_k_dense_replace=1,
        ),
    ),
    (
        "phi-3.5-moe",
        41_873_153_344,
        b(
            "phimoe",
            4096,
            32,
            32,
            8,
            6400,
            32064,
            131072,
            num_local_experts=16,
            num_experts_per_tok=2,
            attention_bias=True,
            lm_head_bias=True,
        ),
    ),
    ("smollm3-3b", 3_075_098_624, b("smollm3", 2048, 36, 16, 4, 11008, 128256, 65536)),
    (
        "seed-oss-36b",
        36_151_104_512,
        b(
            "seed_oss",
            5120,
            64,
            80,
            8,
            27648,
            155136,
            524288,
            head_dim=128,
            attention_bias=True,
            attention_out_bias=False,
        ),
    ),
    ("exaone4-32b", 32_003_216_384, b("exaone4", 5120, 64, 40, 8, 27392, 102400, 131072, head_dim=128)),
    (
        "qwen3-next-80b",
        79.7e9,
        b(
            "qwen3_next",
            2048,
            48,
            16,
            2,
            5120,
            151936,
            262144,
            head_dim=256,
            num_experts=512,
            num_experts_per_tok=10,
            moe_intermediate_size=512,
            shared_expert_intermediate_size=512,
            linear_num_value_heads=32,
            linear_num_key_heads=16,
            linear_key_head_dim=128,
            linear_value_head_dim=128,
            linear_conv_kernel_dim=4,
            full_attention_interval=4,
            decoder_sparse_step=1,
            tie_word_embeddings=False,
        ),
    ),
    (
        "granitemoe-3b",
        3.3e9,
        b(
            "granitemoe",
            1536,
            32,
            24,
            8,
            512,
            49155,
            4096,
            num_local_experts=40,
            num_experts_per_tok=8,
            tie_word_embeddings=True,
        ),
    ),
    ("gemma-7b", 8_537_680_896, b("gemma", 3072, 28, 16, 16, 24576, 256000, 8192, head_dim=256)),
    (
        "falcon-40b",
        41_303_293_952,
        {
            "model_type": "falcon",
            "hidden_size": 8192,
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "num_kv_heads": 8,
            "vocab_size": 65024,
            "new_decoder_architecture": True,
            "multi_query": True,
            "parallel_attn": True,
            "bias": False,
        },
    ),
]


@pytest.mark.parametrize(("name", "published", "config"), CASES, ids=[case[0] for case in CASES])
def test_parameters_equal_the_published_count(name: str, published: float, config: dict[str, Any]):
    tolerance = 0.0 if isinstance(published, int) else 0.005
    assert model_from_config(config, name=name).total_params == pytest.approx(published, rel=tolerance, abs=0)


def test_the_image_encoder_is_counted_beside_the_text_model():
    # Qwen2.5-VL-7B: 8.29 B published, of which the text model is 7.62 B
    config = b("qwen2_5_vl", 3584, 28, 28, 4, 18944, 152064, 128000)
    config["vision_config"] = {
        "model_type": "qwen2_5_vl", "hidden_size": 1280, "depth": 32, "intermediate_size": 3420, "patch_size": 14,
    }  # fmt: skip
    model = model_from_config(config, name="qwen2.5-vl-7b")
    assert model.total_params == pytest.approx(8.292e9, rel=0.002)
    assert model.active_params == pytest.approx(7.616e9, rel=0.002)
