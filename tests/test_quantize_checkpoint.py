"""What cannot be quantized honestly is refused in one line, before any work, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llmsizer.errors import InputError, LlmSizerError, QuantizationError, UnknownNameError
from llmsizer.files import whole_folder
from llmsizer.quantize import original, quantize, quantize_all, read_variant
from llmsizer.quantize.stored.checkpoint import check_values, open_checkpoint
from tiny_models import shapes, write_checkpoint, write_safetensors


def refused(checkpoint: Path, tmp_path: Path, method: str = "openvino-int8") -> str:
    """The one line with which quantize refuses; and nothing, not even a hidden folder, was written."""
    out = tmp_path / "out" / "variant"
    out.parent.mkdir(exist_ok=True)
    with pytest.raises(LlmSizerError) as caught:
        quantize(checkpoint, method, out)
    assert list(out.parent.iterdir()) == []
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    assert "no such folder" in refused(tmp_path / "nowhere", tmp_path)


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    (checkpoint / "config.json").unlink()
    assert "no config.json" in refused(checkpoint, tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "\x00", "[" * 100_000])
def test_a_config_that_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    (checkpoint / "config.json").write_text(text)
    assert "config.json" in refused(checkpoint, tmp_path)


def test_an_unknown_method_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="openvino-int4"):
        quantize(write_checkpoint(tmp_path / "model"), "openvino-int44", tmp_path / "out")


def test_one_wrong_method_among_several_stops_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        quantize_all(write_checkpoint(tmp_path / "model"), ["openvino-fp16", "nonsense"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kept_bytes", [0, 5, 500, -1])
def test_truncated_weights_are_refused(tmp_path: Path, kept_bytes: int) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert "truncated" in refused(checkpoint, tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    index = {
        "weight_map": {"model.norm.weight": "model.safetensors", "lost.weight": "model-00002-of-00002.safetensors"}
    }
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00002-of-00002.safetensors" in refused(checkpoint, tmp_path)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    (checkpoint / "model.safetensors").rename(checkpoint / "pytorch_model.bin")
    assert "pickle" in refused(checkpoint, tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    checkpoint = write_checkpoint(tmp_path / "model")
    tensors = {name: np.zeros(shape, np.float16) for name, shape in shapes().items()}
    tensors["model.layers.1.mlp.up_proj.weight"][3, 5] = value
    write_safetensors(checkpoint / "model.safetensors", tensors)
    assert "model.layers.1.mlp.up_proj.weight" in refused(checkpoint, tmp_path)


@pytest.mark.parametrize("method", ["openvino-int4", "int4-rtn", "int4-gptq"])
def test_rows_that_the_group_does_not_divide_are_refused(tmp_path: Path, method: str) -> None:
    checkpoint = write_checkpoint(tmp_path / "model", intermediate_size=160)
    message = refused(checkpoint, tmp_path, method)
    assert "down_proj" in message and "160" in message and "group size 128" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [("model_type", "mamba"), ("sliding_window", 4096), ("num_hidden_layers", -1), ("rope_scaling", {"type": "yarn"})],
)
def test_an_architecture_without_a_writer_is_refused(tmp_path: Path, key: str, value: object) -> None:
    pytest.importorskip("gguf")
    checkpoint = write_checkpoint(tmp_path / "model")
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {key: value}))
    assert any(word in refused(checkpoint, tmp_path, "openvino-fp16") for word in (key, "rope_type 'yarn'"))


def test_gguf_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    assert "tokenizer" in refused(write_checkpoint(tmp_path / "model", tokenizer=False), tmp_path, "gguf-q8_0")


def test_a_folder_that_holds_something_else_is_not_overwritten(tmp_path: Path) -> None:
    checkpoint, out = write_checkpoint(tmp_path / "model"), tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("do not lose")
    with pytest.raises(InputError, match="exists already"):
        quantize(checkpoint, "openvino-fp16", out)
    assert (out / "thesis.txt").read_text() == "do not lose"


@pytest.mark.parametrize("text", ["", "[]", '{"path": 3}', "{"])
def test_a_manifest_that_is_not_ours_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "llmsizer_manifest.json").write_text(text)
    with pytest.raises(InputError, match="not a manifest"):
        read_variant(tmp_path)
    with pytest.raises(InputError, match="no llmsizer_manifest"):
        read_variant(tmp_path / "elsewhere")


@pytest.mark.parametrize("failure", [QuantizationError("x"), KeyboardInterrupt(), OSError(28, "No space left")])
def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, failure: BaseException) -> None:
    with pytest.raises((LlmSizerError, KeyboardInterrupt)), whole_folder(tmp_path / "out") as partial:
        (partial / "half").write_text("half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="disk is full"), whole_folder(tmp_path / "out"):
        raise OSError(28, "No space left on device")


def one_value(folder: Path, dtype: str, bits: int) -> Path:
    """A checkpoint whose only tensor holds one value, given by its bits."""
    write_checkpoint(folder)
    header = json.dumps({"a.weight": {"dtype": dtype, "shape": [1], "data_offsets": [0, 2]}}).encode()
    weights = len(header).to_bytes(8, "little") + header + bits.to_bytes(2, "little")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.mark.parametrize(("dtype", "bits"), [("BF16", 0x3FC0), ("F16", 0x3E00)])
def test_both_sixteen_bit_formats_by_hand(tmp_path: Path, dtype: str, bits: int) -> None:
    # 1.5 is exponent 0 and mantissa ½: 0 01111111 1000000 in BF16, 0 01111 1000000000 in FP16
    tensor = open_checkpoint(one_value(tmp_path / "model", dtype, bits)).tensor("a.weight")
    assert tensor.float32().tolist() == [1.5]
    assert tensor.float16().tolist() == [1.5]


def test_a_value_beyond_fp16_is_refused_not_made_infinite(tmp_path: Path) -> None:
    checkpoint = one_value(tmp_path / "model", "BF16", 0x4780)  # 2¹⁶ = 65,536
    with pytest.raises(InputError, match="65,504"):
        open_checkpoint(checkpoint).tensor("a.weight").float16()


def test_the_source_hash_changes_with_one_weight(tmp_path: Path) -> None:
    first, second = write_checkpoint(tmp_path / "a"), write_checkpoint(tmp_path / "b")
    assert open_checkpoint(first).sha256() == open_checkpoint(second).sha256()
    data = bytearray((second / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (second / "model.safetensors").write_bytes(data)
    assert open_checkpoint(first).sha256() != open_checkpoint(second).sha256()


def test_the_unquantized_checkpoint_is_a_variant_too(tmp_path: Path) -> None:
    variant = original(write_checkpoint(tmp_path / "model"))
    assert (variant.name, variant.format, variant.bits_per_weight) == ("fp16", "huggingface", 16.0)
    check_values(open_checkpoint(variant.path))
