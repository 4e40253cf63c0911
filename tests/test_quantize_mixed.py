"""Mixed precision: the knapsack, what a scheme weighs and loses, and a variant that keeps its budget."""

from __future__ import annotations

import dataclasses
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.errors import QuantizationError
from llmsizer.progress import silent
from llmsizer.quantize import RECIPES, Job, quantize
from llmsizer.quantize.formats.compressed_tensors import unit_of
from llmsizer.quantize.mixed import knapsack
from llmsizer.quantize.sensitivity import Choice, output_error, rounded, sensitivities, stored_bytes, units_of
from llmsizer.quantize.stored.checkpoint import open_checkpoint
from tiny_models import TEXT, needs, write_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LLM_COMPRESSOR = needs("llmcompressor", "torch", "transformers")


@pytest.fixture(autouse=True)
def little_calibration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight sequences of 32 tokens are too few to quantize well, and enough to see that everything fits together."""
    for name, recipe in RECIPES.items():
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(recipe, calibration_sequences=8, sequence_tokens=32))


def test_the_knapsack_by_hand() -> None:
    options = {
        (0, "qkv"): [Choice(scheme="4", bytes=40, loss=5.0), Choice(scheme="8", bytes=80, loss=1.0)],
        (1, "qkv"): [Choice(scheme="4", bytes=40, loss=3.0), Choice(scheme="8", bytes=80, loss=1.0)],
        (2, "qkv"): [Choice(scheme="4", bytes=10, loss=9.0), Choice(scheme="8", bytes=20, loss=0.0)],
    }
    assert knapsack(options, 89) is None
    # 90: all four bit. 100: ten bytes more buy the third. 140: and forty more the first, which gains 4 where the
    # second gains 2; 180: everything.
    assert knapsack(options, 90) == {(0, "qkv"): "4", (1, "qkv"): "4", (2, "qkv"): "4"}
    assert knapsack(options, 100) == {(0, "qkv"): "4", (1, "qkv"): "4", (2, "qkv"): "8"}
    assert knapsack(options, 140) == {(0, "qkv"): "8", (1, "qkv"): "4", (2, "qkv"): "8"}
    assert knapsack(options, 180) == {(0, "qkv"): "8", (1, "qkv"): "8", (2, "qkv"): "8"}


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9), st.integers(1, 9), st.integers(0, 9)), max_size=5),
    st.integers(1, 60),
)
def test_the_knapsack_is_as_good_as_trying_everything(units: list[tuple[int, int, int, int]], budget: int) -> None:
    options = {
        (i, "o"): [Choice(scheme="a", bytes=a, loss=x), Choice(scheme="b", bytes=b, loss=y)]
        for i, (a, x, b, y) in enumerate(units)
    }
    fitting = [sum(c.loss for c in pick) for pick in product(*options.values()) if sum(c.bytes for c in pick) <= budget]
    chosen = knapsack(options, budget)
    if not fitting:
        assert chosen is None
        return
    assert chosen is not None
    picked = [next(c for c in choices if c.scheme == chosen[unit]) for unit, choices in options.items()]
    assert sum(c.bytes for c in picked) <= budget
    assert sum(c.loss for c in picked) == min(fitting)


def test_bytes_of_a_scheme_by_hand() -> None:
    # 64 rows of 256: half a byte each, two groups a row of one FP16 scale, two 8-byte numbers of shape
    assert stored_bytes((64, 256), "W4A16", 128) == 64 * 128 + 64 * 2 * 2 + 16


def test_projections_that_engines_fuse_are_one_unit() -> None:
    names = [f"model.layers.7.self_attn.{x}_proj" for x in "qkv"]
    assert {unit_of(name) for name in names} == {(7, "qkv")}
    with pytest.raises(QuantizationError, match="no projection"):
        unit_of("model.layers.7.mixer.in_proj")


@LLM_COMPRESSOR
def test_mixed_precision_keeps_its_budget_and_reads_back(tmp_path: Path) -> None:
    checkpoint = write_checkpoint(tmp_path / "tiny")
    job = Job(calibration=[TEXT] * 3, size_budget_bytes=420_000)
    variant = quantize(checkpoint, "mixed", tmp_path / "mixed", job=job)
    assert {part.format for part in variant.parts} >= {"int4", "int8"}
    assert variant.weights_bytes <= 420_000
    assert variant.round_trip is not None and variant.round_trip.holds
    with pytest.raises(QuantizationError, match="too small"):
        quantize(checkpoint, "mixed", tmp_path / "small", job=Job(calibration=[TEXT] * 3, size_budget_bytes=9))
    with pytest.raises(QuantizationError, match="--size-budget"):
        quantize(checkpoint, "mixed", tmp_path / "none", job=Job(calibration=[TEXT] * 3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mixed", "tiny"]


@needs("torch")
def test_rounding_by_hand_with_and_without_a_zero_point() -> None:
    import torch

    # symmetric: the largest is 7.5 steps of 1; halves go to the even neighbour, the top to the last whole number, 7
    matrix = torch.tensor([[0.4, 7.5, -7.5, 1.0]])
    assert rounded(matrix, "W4A16-g4", 4).tolist() == [[0, 7, -8, 1]]
    # asymmetric: from 0 to 15 are 15 steps of 1, and nothing is lost
    whole = torch.tensor([[0.0, 15.0, 4.0, 9.0]])
    assert rounded(whole, "W4A16_ASYM-g4", 4).tolist() == whole.tolist()


@needs("torch")
def test_the_error_of_a_units_outputs_by_hand() -> None:
    import torch

    # one row, two groups with steps of 1 and 2: a twelfth of 1 · (1 + 3) + 4 · (5 + 7)
    matrix = torch.tensor([[7.5, 0.0, 15.0, 0.0]])
    hessian = torch.diag(torch.tensor([1.0, 3.0, 5.0, 7.0]))
    assert output_error(matrix, "W4A16-g2", 2, hessian) == pytest.approx((4 + 48) / 12)
    assert output_error(matrix, "16", 2, hessian) == 0


@LLM_COMPRESSOR
def test_more_bits_and_finer_groups_lose_less(tmp_path: Path) -> None:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "tiny"))
    found = list(sensitivities(checkpoint, RECIPES["mixed"], [TEXT] * 3, silent))
    assert {unit for unit, _ in found} == set(units_of(checkpoint))
    for wanted in units_of(checkpoint):
        loss = {choice.scheme: choice.loss for unit, choice in found if unit == wanted}
        assert 0 == loss["16"] < loss["W8A16"] < loss["W4A16-g32"] < loss["W4A16-g64"] < loss["W4A16"]
        assert loss["W4A16_ASYM-g32"] < loss["W4A16_ASYM-g64"] < loss["W4A16_ASYM"]


@LLM_COMPRESSOR
@pytest.mark.parametrize("scheme", ["W4A16-g64", "W4A16_ASYM-g64", "W8A16"])
def test_a_scheme_weighs_on_disk_what_the_knapsack_took_it_for(
    tmp_path: Path, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "mixed", dataclasses.replace(RECIPES["mixed"], choices=(scheme,)))
    source = open_checkpoint(write_checkpoint(tmp_path / "tiny"))
    job = Job(calibration=[TEXT] * 3, size_budget_bytes=10**9)
    variant = quantize(source.path, "mixed", tmp_path / "mixed", job=job)
    inside = [f"{stem}.weight" for stems in units_of(source).values() for stem in stems]
    group_size = 128 if scheme == "W8A16" else 64
    expected = sum(stored_bytes(source.tensor(name).shape, scheme, group_size) for name in inside)
    expected += sum(tensor.byte_count for name, tensor in source.tensors.items() if name not in inside)
    assert variant.weights_bytes == expected
    assert variant.round_trip is not None and variant.round_trip.holds


@needs("torch", "transformers")
def test_choices_that_cannot_be_are_refused_in_a_line(tmp_path: Path) -> None:
    uneven = open_checkpoint(write_checkpoint(tmp_path / "uneven", intermediate_size=192))
    with pytest.raises(QuantizationError, match="rows of 192 weights, not divisible by the group size 128"):
        next(sensitivities(uneven, RECIPES["mixed"], [TEXT] * 3, silent))
    with pytest.raises(QuantizationError, match="quantize nothing"):
        next(sensitivities(uneven, dataclasses.replace(RECIPES["mixed"], choices=("16",)), [TEXT] * 3, silent))
