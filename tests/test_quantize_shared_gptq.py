"""GPTQ of matrices that share their inputs gives what the toolkit gives of each alone."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from llmsizer.quantize import RECIPES, Job, quantize
from llmsizer.quantize.stored.checkpoint import open_checkpoint
from llmsizer.quantize.stored.numbers import raw
from tiny_models import TEXT, needs, write_checkpoint

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    needs("llmcompressor", "torch", "transformers"),
]


def test_the_same_weights_as_by_the_toolkits_own_gptq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(RECIPES["int4-gptq"], calibration_sequences=8, sequence_tokens=32)
    monkeypatch.setitem(RECIPES, "int4-gptq", recipe)
    source = write_checkpoint(tmp_path / "tiny", num_hidden_layers=1)
    job = Job(calibration=[TEXT] * 3, verify=False)
    ours = open_checkpoint(quantize(source, "int4-gptq", tmp_path / "ours", job=job).path)
    from llmcompressor.modifiers.gptq import GPTQModifier

    monkeypatch.setattr("llmsizer.quantize.formats.compressed_tensors.shared_gptq", GPTQModifier)
    theirs = open_checkpoint(quantize(source, "int4-gptq", tmp_path / "theirs", job=job).path)
    packed = [name for name in ours.tensors if name.endswith("weight_packed")]
    assert len(packed) == 7 and set(ours.tensors) == set(theirs.tensors)
    for name in packed:
        assert (raw(ours.tensor(name)) == raw(theirs.tensor(name))).all(), name
