"""Mixtures of experts: hub names, experts one by one, sizes to the byte, and what happens to those that saw little."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsizer.errors import QuantizationError
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.precision import get_precision
from llmsizer.quantize import RECIPES, Job, Variant, quantize, read_variant
from llmsizer.quantize.stored.checkpoint import open_checkpoint
from llmsizer.quantize.stored.experts import in_memory, on_disk
from llmsizer.reference_model import random_checkpoint
from tiny_models import TEXT, _tokenizer, needs, write_safetensors

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    needs("llmcompressor", "torch", "transformers"),
]
SHARED: dict[str, Any] = {
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.08,  # wide enough that rounding shows in the logits
}
# Mistral Small 4's kind: latent attention, a shared expert, no dense layer; on the hub its experts are fused.
MISTRAL4: dict[str, Any] = SHARED | {
    "architectures": ["Mistral4ForCausalLM"],
    "model_type": "mistral4",
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "num_key_value_heads": 2,
    "kv_lora_rank": 128,
    "q_lora_rank": 128,
    "qk_rope_head_dim": 32,
    "qk_nope_head_dim": 32,
    "v_head_dim": 64,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "pad_token_id": None,
    "rope_parameters": {
        "rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 128,
        "max_position_embeddings": 512, "beta_fast": 32.0, "beta_slow": 1.0, "mscale_all_dim": 1.0, "mscale": 1.0,
        "llama_4_scaling_beta": 0.1,
    },
}  # fmt: skip
MIXTRAL: dict[str, Any] = SHARED | {
    "architectures": ["MixtralForCausalLM"],
    "model_type": "mixtral",
    "num_hidden_layers": 1,
    "intermediate_size": 128,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "rope_theta": 10_000.0,
    "sliding_window": None,
}


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, calibration_sequences=8, sequence_tokens=32))


@pytest.fixture(scope="module")
def mistral4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = random_checkpoint(MISTRAL4, tmp_path_factory.mktemp("source") / "mistral4", dtype="bfloat16")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(320)))
    return folder


def check_sizes(variant: Variant, precision: str) -> None:
    """Every byte on disk is a part; weights are counted as the planner counts them, and nearly as large."""
    on_disk_bytes = sum(file.stat().st_size for file in variant.path.glob("*.safetensors"))
    assert variant.file_bytes == on_disk_bytes
    assert sum(part.bytes for part in variant.file_parts if part.is_weights) == variant.weights_bytes
    spec = model_from_config(variant.config, name="tiny")
    quantized = next(part for part in variant.parts if part.format == variant.quantized_format)
    assert (quantized.params, variant.params) == (spec.quantizable_params, spec.total_params)
    predicted = spec.quantizable_params * get_precision(precision).bytes_per_quantized_weight
    assert quantized.bytes == pytest.approx(predicted, rel=0.02)


def test_fused_experts_are_the_same_bytes_matrix_by_matrix(tmp_path: Path) -> None:
    values = np.arange(2 * 6 * 4, dtype=np.float16).reshape(2, 6, 4)  # two experts; gate and up of three rows each
    down = np.arange(2 * 4 * 3, dtype=np.float16).reshape(2, 4, 3)
    stem = "model.layers.0.mlp.experts"
    write_safetensors(tmp_path / "model.safetensors", {f"{stem}.gate_up_proj": values, f"{stem}.down_proj": down})
    (tmp_path / "config.json").write_text('{"model_type": "mistral4", "hidden_size": 4}')
    tensors = open_checkpoint(tmp_path).tensors
    assert set(tensors) == {f"{stem}.{e}.{p}_proj.weight" for e in (0, 1) for p in ("gate", "up", "down")}
    assert (tensors[f"{stem}.1.up_proj.weight"].float32() == values[1, 3:]).all()
    assert (tensors[f"{stem}.1.down_proj.weight"].float32() == down[1]).all()


@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe"])
def test_names_of_the_hub_come_back(kind: str) -> None:
    inner = "block_sparse_moe.experts.7.w3" if kind == "mixtral" else "mlp.experts.7.up_proj"
    name = f"model.layers.0.{inner}.weight"
    assert in_memory(name, kind) == "model.layers.0.mlp.experts.7.up_proj.weight"
    assert on_disk(in_memory(name, kind), kind) == name == on_disk(name, kind)


def test_a_mixtral_is_written_under_the_names_of_the_hub(tmp_path: Path) -> None:
    source = random_checkpoint(MIXTRAL, tmp_path / "mixtral")
    layer = "model.layers.0.block_sparse_moe"
    assert f"{layer}.experts.3.w1.weight" in open_checkpoint(source).tensors
    variant = quantize(source, "int8", tmp_path / "out")
    stored = open_checkpoint(variant.path)
    assert {f"{layer}.experts.{e}.w{w}.weight_packed" for e in range(4) for w in (1, 2, 3)} <= set(stored.tensors)
    assert stored.tensors[f"{layer}.gate.weight"].dtype == "F16"
    assert variant.round_trip is not None and variant.round_trip.holds
    check_sizes(variant, "int8-wo")


def test_mistral_4_is_quantized_expert_by_expert_with_its_router_left_alone(tmp_path: Path, mistral4: Path) -> None:
    variant = quantize(mistral4, "int4-rtn", tmp_path / "out")
    stored = open_checkpoint(variant.path)
    assert variant.round_trip is not None and variant.round_trip.holds and variant.expert_use is None
    assert sum(name.endswith(".weight_packed") for name in stored.tensors) == 2 * (4 * 3 + 3 + 5)  # routed, shared, MLA
    settings: Any = stored.config["quantization_config"]
    assert r"re:.*\.(mlp|block_sparse_moe)\.gate$" in settings["ignore"]
    check_sizes(variant, "int4")


def test_experts_that_saw_too_few_tokens_are_rounded_and_counted(
    tmp_path: Path, mistral4: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsizer.quantize.layers.experts.LEAST_SHARE", 1.0)  # 128 of the 8 × 32 tokens
    calibrated = quantize(mistral4, "int4-gptq", tmp_path / "gptq", job=Job(calibration=[TEXT] * 3))
    use = calibrated.expert_use
    assert use is not None and (use.experts, use.least_tokens) == (8, 128)
    assert 0 < use.rounded < 8 and use.fewest_tokens < 128
    assert f"{use.rounded} of 8 experts" in calibrated.notes[0]
    assert calibrated.round_trip is not None and calibrated.round_trip.holds
    assert read_variant(calibrated.path).expert_use == use
    plain = quantize(mistral4, "int4-rtn", tmp_path / "rtn", job=Job(verify=False))
    same = [same_bits(calibrated, plain, 0, expert) for expert in range(4)]
    assert any(same) and not all(same)  # those that fell back are what rounding gives, the others are not


def same_bits(one: Variant, other: Variant, layer: int, expert: int) -> bool:
    name = f"model.layers.{layer}.mlp.experts.{expert}.down_proj.weight_packed"
    first, second = (open_checkpoint(variant.path).tensor(name) for variant in (one, other))
    bits = (t.file.read_bytes()[t.offset : t.offset + t.byte_count] for t in (first, second))
    return next(bits) == next(bits)


@pytest.mark.parametrize(
    "method", ["int4-awq", "mixed", "fp8-static-kv", "w8a8-smoothquant", "gptq-int4", "openvino-int4"]
)
def test_methods_that_know_no_experts_say_so_in_a_line(tmp_path: Path, mistral4: Path, method: str) -> None:
    with pytest.raises(QuantizationError, match=f"{method} does not know mixtures of experts.*int4-gptq") as raised:
        quantize(mistral4, method, tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_packed_experts_compute_what_transformers_computes() -> None:
    import torch
    from transformers import MixtralConfig
    from transformers.models.mixtral.modeling_mixtral import MixtralExperts

    from llmsizer.profile.engines.packed_experts import pack_experts

    torch.manual_seed(0)
    experts = MixtralExperts(MixtralConfig(hidden_size=16, intermediate_size=8, num_local_experts=4))
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    model = torch.nn.Module()
    model.experts = experts

    def plain_layer(_: str, layer: Any) -> Any:
        made = torch.nn.Linear(*reversed(layer.weight.shape), bias=False)
        made.weight.data.copy_(layer.weight)
        return made

    states, index = torch.randn(5, 16), torch.tensor([[0, 1], [1, 3], [0, 3], [3, 1], [1, 0]])  # nobody goes to 2
    shares = torch.rand(5, 2)
    with torch.inference_mode():
        expected = experts(states, index, shares)
        assert pack_experts(model, plain_layer) == 8
        assert torch.allclose(model.experts(states, index, shares), expected, atol=1e-5)


def test_the_transformers_engine_holds_experts_in_few_bits(tmp_path: Path, mistral4: Path) -> None:
    from llmsizer.profile.engines.transformers import Transformers

    variant = quantize(mistral4, "int8", tmp_path / "out", job=Job(verify=False))
    engine = Transformers(variant)
    assert sum(1 for _ in engine.steps(np.arange(5, 21).reshape(1, 16), 2)) == 2
    assert engine.outputs_finite()
    # its kernels have a scale a row, the file has one in 128 weights, and the rest may be held in single precision
    rest = 2 * sum(part.bytes for part in variant.parts if part.format == "bf16")
    assert engine.memory_use().weights_bytes == pytest.approx(variant.weights_bytes, abs=rest)


def test_a_decoder_within_a_vision_model_is_quantized_and_the_rest_is_not(tmp_path: Path, mistral4: Path) -> None:
    # as Mistral Small 4 lies on the hub: a Mistral 3 around a Mistral 4, its experts fused
    tensors = open_checkpoint(mistral4).tensors
    inner = {name: np.array(tensor.float16()) for name, tensor in tensors.items()}
    held = {name.replace("model.", "model.language_model.", 1): values for name, values in inner.items()}
    held["model.vision_tower.layer.weight"] = np.ones((128, 128), np.float16)
    source = tmp_path / "source"
    source.mkdir()
    write_safetensors(source / "model.safetensors", held)
    config = {"model_type": "mistral3", "text_config": MISTRAL4, "vision_config": {"model_type": "pixtral"}}
    (source / "config.json").write_text(json.dumps(config))
    variant = quantize(source, "int4-rtn", tmp_path / "out")
    stored = open_checkpoint(variant.path)
    settings: Any = stored.config["quantization_config"]
    assert r"re:.*vision_tower\..*" in settings["ignore"]
    assert stored.tensors["model.vision_tower.layer.weight"].dtype == "F16"
    assert "model.language_model.layers.1.mlp.experts.3.down_proj.weight_packed" in stored.tensors
    assert variant.round_trip is None and "not read back" in variant.notes[0]
