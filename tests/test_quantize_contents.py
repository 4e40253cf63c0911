"""Every byte of a variant's weight files is accounted for, format by format."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path

import pytest

from llmsizer.quantize import RECIPES, Variant, quantize, read_variant
from llmsizer.quantize.stored.contents import file_parts
from tiny_models import TEXT, needs, write_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
FILES = (".safetensors", ".gguf")


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, calibration_sequences=8, sequence_tokens=32))


def check(variant: Variant) -> None:
    on_disk = sum(file.stat().st_size for file in variant.path.iterdir() if file.suffix in FILES)
    assert variant.file_bytes == on_disk
    # read off the files, the weights are what the writer of the format counted
    assert sum(part.bytes for part in variant.file_parts if part.is_weights) == variant.weights_bytes
    # nothing is explained away: padding is alignment, less than 64 bytes a tensor
    assert sum(part.bytes for part in variant.file_parts if part.name == "padding") < 64 * 30
    assert read_variant(variant.path) == variant


@needs("llmcompressor", "torch", "transformers")
@pytest.mark.parametrize("method", ["int4-gptq", "fp8-static-kv", "nvfp4-wo"])
def test_compressed_tensors_add_up_to_the_bytes_on_disk(tmp_path: Path, method: str) -> None:
    check(quantize(write_checkpoint(tmp_path / "tiny"), method, tmp_path / "out", calibration=[TEXT] * 3))


@needs("gguf", "xllamacpp", "torch", "transformers")
@pytest.mark.parametrize("method", ["gguf-q8_0", "gguf-q4_k_m"])
def test_gguf_adds_up_to_the_bytes_on_disk(tmp_path: Path, method: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny", hidden_size=256, num_attention_heads=4)
    variant = quantize(checkpoint, method, tmp_path / "out")
    check(variant)
    assert {"tokenizer", "header"} <= {part.name for part in variant.file_parts}


def test_a_gptq_file_by_hand(tmp_path: Path) -> None:
    # 8 × 16 weights of 4 bits are 16 words; one group: 16 scales of 2 bytes, 2 words of zero points, 8 group numbers
    tensors = {"qweight": ("I32", 64), "scales": ("F16", 32), "qzeros": ("I32", 8), "g_idx": ("I32", 32)}
    header, data, begin = {}, b"", 0
    for name, (dtype, size) in tensors.items():
        shape = [size // (2 if dtype == "F16" else 4)]
        stored = {"dtype": dtype, "shape": shape, "data_offsets": [begin, begin + size]}
        header[f"model.layers.0.mlp.up_proj.{name}"] = stored
        data, begin = data + bytes(size), begin + size
    header["lm_head.weight"] = {"dtype": "F16", "shape": [10], "data_offsets": [begin, begin + 20]}
    text = json.dumps(header).encode()
    file = tmp_path / "model.safetensors"
    file.write_bytes(struct.pack("<Q", len(text)) + text + data + bytes(20) + bytes(5))
    parts = {part.name: part.bytes for part in file_parts(tmp_path)}
    expected = {"layers": 64, "scales": 72, "embeddings and output matrix": 20, "header": 8 + len(text), "padding": 5}
    assert parts == expected
    assert sum(parts.values()) == file.stat().st_size
