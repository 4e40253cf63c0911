"""Mixtures of experts in formats beyond grouped integers: FP8, FP4, W8A8 and GGUF, each read back by what serves it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsizer.errors import QuantizationError
from llmsizer.quantize import RECIPES, Job, Variant, quantize
from llmsizer.quantize.formats.readers import stored_weights
from llmsizer.quantize.loading import load_stored, transformers_misreads
from llmsizer.quantize.stored.checkpoint import open_checkpoint
from llmsizer.reference_model import random_checkpoint
from test_quantize_experts import MIXTRAL, SHARED
from tiny_models import TEXT, _tokenizer, needs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    needs("llmcompressor", "torch", "transformers", "gguf"),
]
QWEN3_MOE: dict[str, Any] = SHARED | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_hidden_layers": 1,
    "intermediate_size": 256,
    "moe_intermediate_size": 128,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "rope_theta": 10_000.0,
}
LAYER = "model.layers.0.block_sparse_moe"


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, calibration_sequences=8, sequence_tokens=32))


def source_of(folder: Path, config: dict[str, Any]) -> Path:
    random_checkpoint(config, folder, dtype="bfloat16")
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(320)))
    return folder


@pytest.fixture(scope="module")
def mixtral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source_of(tmp_path_factory.mktemp("source") / "mixtral", MIXTRAL)


def same_logits(variant: Variant) -> None:
    assert variant.round_trip is not None and variant.round_trip.holds
    assert variant.file_bytes == sum(f.stat().st_size for f in variant.path.iterdir() if f.suffix in WEIGHT_FILES)


WEIGHT_FILES = (".safetensors", ".gguf")


@pytest.mark.parametrize(
    ("method", "reader"),
    [
        ("fp8-static", "transformers"),
        ("mxfp4", "transformers"),
        ("w8a8", "compressed-tensors"),
        ("nvfp4", "compressed-tensors"),
    ],
)
def test_experts_in_floats_and_with_quantized_activations(
    tmp_path: Path, mixtral: Path, method: str, reader: str
) -> None:
    variant = quantize(mixtral, method, tmp_path / method, job=Job(calibration=[TEXT] * 3))
    same_logits(variant)
    assert variant.round_trip is not None and variant.round_trip.reader == reader
    assert transformers_misreads(variant) == (method != "fp8-static")
    stored = open_checkpoint(variant.path).tensors
    assert stored[f"{LAYER}.gate.weight"].dtype == "BF16"
    if method == "fp8-static":
        assert f"{LAYER}.experts.3.w2.input_scale" in stored
        assert variant.expert_use is not None and variant.expert_use.rounded == 0  # nothing to fall back from
    if method == "nvfp4":  # gate and up are one product in engines, and have one scale of the whole
        scales = [stored[f"{LAYER}.experts.2.{w}.weight_global_scale"].float32() for w in ("w1", "w3", "w2")]
        assert scales[0] == scales[1] != scales[2]
        assert f"{LAYER}.experts.2.w1.input_global_scale" in stored


def test_activation_scales_of_experts_need_text(tmp_path: Path, mixtral: Path) -> None:
    with pytest.raises(QuantizationError, match="too little calibration text"):
        quantize(mixtral, "fp8-static", tmp_path / "out")


@needs("xllamacpp")
@pytest.mark.parametrize("config", [MIXTRAL, QWEN3_MOE], ids=["mixtral", "qwen3_moe"])
def test_gguf_of_a_mixture_is_what_llama_cpp_reads(tmp_path: Path, config: dict[str, Any]) -> None:
    import gguf
    import torch

    source = source_of(tmp_path / "source", config)
    variant = quantize(source, "gguf-q8_0", tmp_path / "out")
    same_logits(variant)
    assert variant.round_trip is not None and variant.round_trip.reader == "llama.cpp"
    reader = gguf.GGUFReader(variant.path / "model.gguf")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    assert tensors["blk.0.ffn_gate_exps.weight"].shape.tolist() == [128, 128, 4]  # llama.cpp counts from the inner one
    assert tensors["blk.0.ffn_gate_inp.weight"].tensor_type.name == "F32"
    graph = "llama" if config is MIXTRAL else "qwen3moe"
    assert reader.fields[f"{graph}.expert_used_count"].contents() == 2
    # and by our own reader into transformers, as quality is judged
    model = load_stored(variant, torch.float32)
    inner = next(name for name in stored_weights(variant) if ".experts.3.down_proj" in name)
    held = model.get_parameter("model.layers.0.mlp.experts.down_proj")[3]
    assert np.array_equal(held.detach().numpy(), stored_weights(variant)[inner])


def test_what_a_mixture_has_no_method_for_is_said_in_a_line(tmp_path: Path) -> None:
    changed = QWEN3_MOE | {"norm_topk_prob": False}
    with pytest.raises(QuantizationError, match=r"norm_topk_prob is False; llama\.cpp's graph has True"):
        quantize(source_of(tmp_path / "qwen", changed), "gguf-q8_0", tmp_path / "out")
    config = json.loads((tmp_path / "qwen" / "config.json").read_text())
    (tmp_path / "qwen" / "config.json").write_text(json.dumps(config | {"model_type": "gpt_oss"}))
    with pytest.raises(QuantizationError, match=r"experts of gpt_oss .* are not quantized here.*bf16 widens"):
        quantize(tmp_path / "qwen", "int8", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["qwen"]


@needs("xllamacpp")
def test_random_weights_become_gguf_without_a_tokenizer(tmp_path: Path) -> None:
    source = random_checkpoint(MIXTRAL, tmp_path / "random")
    variant = quantize(source, "gguf-q8_0", tmp_path / "out")
    assert variant.round_trip is not None and variant.round_trip.holds
    assert "bytes and placeholders" in variant.notes[0]
