"""Checkpoints published in FP8 and MXFP4: the weights they stand for, by hand and as transformers widens them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmsizer.errors import InputError, QuantizationError
from llmsizer.quantize import Job, original, quantize
from llmsizer.quantize.at_precisions import variants_of
from llmsizer.quantize.loading import load_widened, must_widen
from llmsizer.quantize.stored.checkpoint import Checkpoint, check_values, open_checkpoint, open_source
from llmsizer.quantize.stored.numbers import fp8
from llmsizer.quantize.stored.packed import to_bfloat16
from tiny_models import CONFIG, _tokenizer, needs, shapes

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
NAME = "model.layers.0.mlp.gate_proj"
Stored = dict[str, tuple[str, np.ndarray]]
TABLE = fp8(np.arange(256, dtype=np.uint8))
CODES = np.argsort(TABLE[:127])  # of the positive numbers


def write(folder: Path, tensors: Stored, **config: Any) -> Path:
    """Any dtypes, by hand: the format is a length, a JSON header and the bytes."""
    folder.mkdir(parents=True)
    header, offset = {}, 0
    for name, (dtype, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [offset, offset + values.nbytes]}
        offset += values.nbytes
    text = json.dumps(header).encode()
    content = b"".join(values.tobytes() for _, values in tensors.values())
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + content)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def codes(values: np.ndarray) -> np.ndarray:
    """The nearest E4M3 of each value."""
    places = np.abs(np.abs(values)[..., None] - TABLE[CODES]).argmin(axis=-1)
    return (CODES[places] | np.where(values < 0, 0x80, 0)).astype(np.uint8)


def read(folder: Path, name: str = f"{NAME}.weight") -> np.ndarray:
    return open_source(folder).tensor(name).float32()


BITS = np.arange(24, dtype=np.uint8).reshape(4, 6) * 5  # 0 to 115: no NaN among them
ROWS = np.array([0.5, 1, 2, 4], np.float32)
# the layout's scales, the scale of each weight, and what config.json says beside quant_method
LAYOUTS: dict[str, tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]] = {
    "one a tensor, as Mistral's": (
        {".weight_scale_inv": np.float32(0.25).reshape(()), ".activation_scale": np.float32(3).reshape(())},
        np.full((4, 6), 0.25), {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None},
    ),
    "blocks that do not divide the matrix, as DeepSeek's": (
        {".weight_scale_inv": np.array([[1, 2], [3, 4]], np.float32)},
        np.array([[1, 1, 1, 1, 2, 2]] * 3 + [[3, 3, 3, 3, 4, 4]]), {"quant_method": "fp8", "weight_block_size": [3, 4]},
    ),
    "one a row, as compressed-tensors'": (
        {".weight_scale": ROWS.reshape(4, 1)}, np.repeat(ROWS.reshape(4, 1), 6, axis=1),
        {"quant_method": "compressed-tensors", "format": "float-quantized"},
    ),
    "one a row in one dimension, as FBGEMM's": (
        {".weight_scale": ROWS, ".input_scale_ub": np.float32(1200).reshape(1)},
        np.repeat(ROWS.reshape(4, 1), 6, axis=1), {"quant_method": "fbgemm_fp8"},
    ),
    "one a tensor and one of the activations, as ModelOpt's": (
        {".weight_scale": np.float32(2).reshape(()), ".input_scale": np.float32(3).reshape(())},
        np.full((4, 6), 2.0), {"quant_method": "modelopt", "quant_algo": "FP8"},
    ),
    "blocks in four dimensions, as ModelOpt's": (
        {".weight_scale": np.array([1, 2], np.float32).reshape(1, 1, 2, 1)},
        np.array([[1, 1, 1, 2, 2, 2]] * 4), {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_weight_is_its_bits_times_its_scale(tmp_path: Path, layout: str) -> None:
    scales, each, settings = LAYOUTS[layout]
    tensors: Stored = {f"{NAME}.weight": ("F8_E4M3", BITS)}
    tensors |= {f"{NAME}{suffix}": ("F32", values) for suffix, values in scales.items()}
    source = open_source(write(tmp_path / "m", tensors, quantization_config=settings))
    assert set(source.tensors) == {f"{NAME}.weight"}
    assert (source.tensor(f"{NAME}.weight").float32() == TABLE[BITS] * each.astype(np.float32)).all()
    assert source.packed_format == "fp8" and "quantization_config" not in source.config


def test_scales_that_are_powers_of_two(tmp_path: Path) -> None:
    scale = np.array([[126], [127], [128], [130]], np.uint8)  # a half, one, two, eight
    tensors: Stored = {f"{NAME}.weight": ("F8_E4M3", BITS), f"{NAME}.scale": ("F8_E8M0", scale)}
    folder = write(tmp_path / "m", tensors, quantization_config={"quant_method": "fp8", "scale_fmt": "ue8m0"})
    assert (read(folder) == TABLE[BITS] * np.array([[0.5], [1], [2], [8]], np.float32)).all()


def test_fused_experts_have_their_own_scales_and_halves(tmp_path: Path) -> None:
    stem = "model.layers.0.mlp.experts"
    bits = np.arange(2 * 6 * 4, dtype=np.uint8).reshape(2, 6, 4)  # two experts; gate and up of three rows each
    tensors: Stored = {
        f"{stem}.gate_up_proj": ("F8_E4M3", bits),
        f"{stem}.gate_up_proj_scale_inv": ("F32", np.array([2, 3], np.float32).reshape(2, 1, 1)),
        f"{stem}.gate_up_proj_activation_scale": ("F32", np.ones(2, np.float32)),
    }
    folder = write(tmp_path / "m", tensors, model_type="mistral4", hidden_size=4)
    assert (read(folder, f"{stem}.1.up_proj.weight") == TABLE[bits[1, 3:]] * 3).all()
    # blocks of two rows, one of which lies across the boundary of gate and up
    grid = np.arange(1, 7, dtype=np.float32).reshape(2, 3, 1)
    tensors[f"{stem}.gate_up_proj_scale_inv"] = ("F32", grid)
    block = {"quant_method": "fp8", "weight_block_size": [2, 4]}
    folder = write(tmp_path / "b", tensors, model_type="mistral4", hidden_size=4, quantization_config=block)
    assert (read(folder, f"{stem}.1.up_proj.weight") == TABLE[bits[1, 3:]] * np.array([[5], [6], [6]])).all()


def test_mxfp4_of_gpt_oss_by_hand(tmp_path: Path) -> None:
    stem = "model.layers.0.mlp.experts.down_proj"
    blocks = np.zeros((1, 2, 1, 16), np.uint8)  # an expert of two outputs and 32 inputs
    blocks[0, 1, 0, 0] = 0x92  # inputs 0 and 1 of output 1: 1.0 and −0.5
    tensors: Stored = {
        f"{stem}_blocks": ("U8", blocks),
        f"{stem}_scales": ("U8", np.array([[[127], [129]]], np.uint8)),
        f"{stem}_bias": ("BF16", np.zeros((1, 2), np.uint16)),
    }
    folder = write(tmp_path / "m", tensors, model_type="gpt_oss", quantization_config={"quant_method": "mxfp4"})
    values = read(folder, stem)
    assert values.shape == (1, 32, 2)  # inputs before outputs, as transformers holds it
    assert (values[0, 0, 1], values[0, 1, 1], np.abs(values).sum()) == (4.0, -2.0, 6.0)
    parts = {part.format: (part.params, part.bytes) for part in original(folder).parts}
    assert parts == {"mxfp4": (64, 32 + 2), "bf16": (2, 4)}


def test_bfloat16_rounds_to_the_nearest_and_ties_to_even() -> None:
    values = np.array([1 + 1 / 256, 1 + 3 / 256, -1.7], np.float32)
    assert (to_bfloat16(values).astype(np.uint32) << 16).view(np.float32).tolist() == [1.0, 1.015625, -1.703125]


def test_what_cannot_be_widened_is_said_in_a_line(tmp_path: Path) -> None:
    alone: Stored = {f"{NAME}.weight": ("F8_E4M3", BITS)}
    with pytest.raises(InputError, match=r"gate_proj.weight is FP8 and has no scale beside it"):
        open_source(write(tmp_path / "a", alone))
    odd = alone | {f"{NAME}.weight_scale_inv": ("F32", np.ones((3, 1), np.float32))}
    with pytest.raises(InputError, match=r"4 × 6 with 3 × 1 scales"):
        open_source(write(tmp_path / "b", odd))
    two = alone | {f"{NAME}.weight_scale_2": ("F32", np.ones(1, np.float32))}
    with pytest.raises(InputError, match="NVFP4"):
        open_source(write(tmp_path / "c", two))
    broken = {f"{NAME}.weight": ("F8_E4M3", BITS | 0x7F), f"{NAME}.weight_scale": ("F32", np.ones(1, np.float32))}
    with pytest.raises(InputError, match="NaN or infinity"):
        check_values(open_source(write(tmp_path / "d", broken)))


def test_the_second_copy_in_a_folder_of_mistral_is_not_read(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", {f"{NAME}.weight": ("F16", BITS.astype(np.float16))})
    (folder / "consolidated-00001-of-00001.safetensors").write_bytes(b"another layout")
    assert list(open_checkpoint(folder).tensors) == [f"{NAME}.weight"]


@pytest.fixture(scope="module")
def block_fp8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny Mistral in FP8 by blocks of 64 × 64, as transformers writes and reads it."""
    generator = np.random.default_rng(0)
    tensors: Stored = {}
    for name, shape in shapes().items():
        values = generator.normal(*((1, 0.1) if len(shape) == 1 else (0, 0.08)), shape).astype(np.float32)
        if ".layers." not in name or len(shape) == 1:
            tensors[name] = ("BF16", to_bfloat16(values))
            continue
        grid = np.abs(values.reshape(shape[0] // 64, 64, shape[1] // 64, 64)).max(axis=(1, 3)) / 448
        each = grid.repeat(64, axis=0).repeat(64, axis=1)
        tensors[name] = ("F8_E4M3", codes(values / each))
        tensors[f"{name}_scale_inv"] = ("F32", grid.astype(np.float32))
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]}
    folder = tmp_path_factory.mktemp("source") / "fp8"
    write(folder, tensors, **CONFIG, dtype="bfloat16", quantization_config=settings)
    (folder / "tokenizer.json").write_text(json.dumps(_tokenizer(320)))
    return folder


def test_memory_of_the_source_counts_scales_with_their_weights(block_fp8: Path) -> None:
    variant = original(block_fp8)
    parts = {part.format: (part.params, part.bytes) for part in variant.parts}
    layers = 2 * (2 * 128 * 128 + 2 * 64 * 128 + 3 * 256 * 128)
    assert parts["fp8"] == (layers, layers + 4 * layers // 64**2)
    assert parts["bf16"][1] == 2 * parts["bf16"][0] and variant.precision == "fp8"


@needs("torch", "transformers")
def test_transformers_widens_to_the_same_weights(block_fp8: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, FineGrainedFP8Config

    settings = FineGrainedFP8Config(dequantize=True, weight_block_size=(64, 64))
    expected = AutoModelForCausalLM.from_pretrained(block_fp8, dtype=torch.float32, quantization_config=settings)
    assert must_widen(block_fp8)
    found = load_widened(block_fp8, torch.float32)
    for name, weight in expected.named_parameters():
        assert torch.equal(weight, found.get_parameter(name)), name


@needs("torch", "transformers", "llmcompressor", "gguf")
@pytest.mark.parametrize("method", ["int8", "gguf-q8_0", "bf16"])
def test_an_fp8_checkpoint_is_quantized_like_its_16_bit_weights(tmp_path: Path, block_fp8: Path, method: str) -> None:
    source = open_source(block_fp8)
    variant = quantize(block_fp8, method, tmp_path / method, job=Job(verify=False))
    config = json.loads((variant.path / "config.json").read_text())
    assert config.get("quantization_config", {}).get("quant_method") in (None, "compressed-tensors")
    assert variant.source_sha256 == original(block_fp8).source_sha256
    if method == "gguf-q8_0":
        return
    expected, weight = source.tensor(f"{NAME}.weight"), f"{NAME}.weight"
    if method == "bf16":
        check_widened(source, open_checkpoint(variant.path))
        with pytest.raises(QuantizationError, match="16 bit or more already"):
            quantize(variant.path, "bf16", tmp_path / "again")
    else:
        from llmsizer.quantize.formats.readers import stored_weights

        assert np.abs(stored_weights(variant)[weight] - expected.float32()).max() < 0.004


def test_fp16_of_an_fp8_checkpoint_is_a_widened_copy(tmp_path: Path, block_fp8: Path) -> None:
    (variant,) = variants_of(block_fp8, ["fp16"], engine="transformers", out=tmp_path)
    assert (variant.method, variant.precision, variant.bits_per_weight) == ("bf16", "bf16", 16.0)


def check_widened(source: Checkpoint, made: Checkpoint) -> None:
    assert set(made.tensors) == set(source.tensors) and made.packed_format is None
    for name, tensor in made.tensors.items():
        assert tensor.dtype == "BF16" and (tensor.raw() == source.tensor(name).raw()).all(), name
