"""What a weight takes in storage, by hand."""

from __future__ import annotations

import pytest

from llmsizer.errors import UnknownNameError
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.precision import PRECISIONS, get_precision, kv_bytes_per_value


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("bf16", 16),
        ("fp8", 8 + 32 / 4096),  # a scale for each output channel
        ("int4", 4 + (16 + 4) / 128),  # scale and zero point for 128 weights
        ("nvfp4", 4 + 8 / 16),
        ("mxfp4", 4 + 8 / 32),
        ("gguf-q4_k_m", 4.89),
    ],
)
def test_bits_per_weight_by_hand(name: str, bits: float):
    assert get_precision(name).bits_per_quantized_weight == pytest.approx(bits)


@pytest.mark.parametrize(
    ("written", "name"), [("W4A16", "int4"), (" AWQ ", "int4"), ("half", "fp16"), ("w8a8", "int8")]
)
def test_usual_other_names(written: str, name: str):
    assert get_precision(written).name == name


def test_storage_and_arithmetic_are_kept_apart():
    assert (PRECISIONS["int4"].compute, PRECISIONS["fp8"].compute) == ("16bit", "fp8")
    gpus = load_catalog()
    assert gpus.gpu("h100").effective_compute("fp8") == "fp8"
    assert gpus.gpu("a100").effective_compute("fp8") == "16bit"  # no units: weight-only
    assert gpus.gpu("b300").effective_compute("int8") == "16bit"  # units that are slower than 16 bit are not used


def test_kv_formats():
    assert kv_bytes_per_value("fp8_e4m3") == 1
    assert kv_bytes_per_value("BF16") == 2
    with pytest.raises(UnknownNameError, match="fp8"):
        kv_bytes_per_value("fp9")


def test_an_unknown_precision_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="int8"):
        get_precision("int9")
