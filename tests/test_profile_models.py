"""What `llmsizer profile` takes: variants, checkpoints made into variants, and a config alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmsizer.cli import build_parser
from llmsizer.errors import InputError
from llmsizer.facts.variant import Variant
from llmsizer.quantize import at_precisions
from llmsizer.quantize.at_precisions import variants_of

CONFIG = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 10,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
}  # fmt: skip


def folder_of(path: Path, config: dict[str, Any], *, weights: bool = False) -> Path:
    path.mkdir()
    (path / "config.json").write_text(json.dumps(config))
    if weights:
        (path / "model.safetensors").write_bytes(b"")
    return path


def test_a_config_alone_gives_a_model_of_random_weights_in_each_precision(tmp_path: Path) -> None:
    fp16, int8 = variants_of(folder_of(tmp_path / "m", CONFIG), ("fp16", "int8"), engine="transformers")
    # 4 attention matrices of 8 × 8, 3 of 8 × 16: 640 weights; 2 tables of 10 × 8 and 3 norms of 8: 184
    assert [part.params for part in fp16.parts] == [640, 184]
    assert fp16.weights_bytes == 2 * (640 + 184)
    assert int8.precision == "int8-wo" and int8.weights_bytes < fp16.weights_bytes


def test_a_checkpoint_becomes_the_formats_that_the_engine_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[list[str], Path]] = []

    def made(path: Path, methods: list[str], out: Path, **_: Any) -> list[Variant]:
        asked.append((methods, out))
        return [Variant(path=out / m, model="m", name=m, precision="int4", method=m, format="gguf") for m in methods]

    monkeypatch.setattr(at_precisions, "quantize_all", made)
    model = folder_of(tmp_path / "m", CONFIG, weights=True)
    found = variants_of(model, ("fp16", "int4"), engine="llama.cpp")
    assert [variant.method for variant in found] == ["gguf-f16", "gguf-q4_0"]
    assert asked == [(["gguf-f16", "gguf-q4_0"], tmp_path / "m-variants")]


@pytest.mark.parametrize(
    ("precisions", "engine", "said"),
    [
        (("fp17",), "openvino", "no precision 'fp17'"),
        (("fp16",), "my.module:Engine", "make them with llmsizer quantize"),
    ],
)
def test_a_precision_that_cannot_be_made_is_refused(
    tmp_path: Path, precisions: tuple[str, ...], engine: str, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        variants_of(folder_of(tmp_path / "m", CONFIG, weights=True), precisions, engine=engine)


def test_a_config_that_is_no_transformer_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="causal LM"):
        variants_of(folder_of(tmp_path / "m", {"model_type": "resnet"}), (), engine="transformers")


def test_sources_may_stand_after_options() -> None:
    asked = build_parser().parse_args(["records", "compare", "int4", "fp16", "--metric", "throughput", "r.jsonl"])
    assert (asked.over, asked.under, asked.sources) == ("int4", "fp16", ["r.jsonl"])
    assert build_parser().parse_args(["records", "list", "--batch", "1", "r.jsonl"]).sources == ["r.jsonl"]
