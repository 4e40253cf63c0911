"""The trained model and the random ones: repeatable, split by document, readable, and refused where they cannot be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from llmsizer import reference_model
from llmsizer.errors import InputError
from llmsizer.quantize.stored.checkpoint import check_values, open_checkpoint
from llmsizer.reference_model import MixtureRecipe, Recipe
from llmsizer.reference_model.corpus import read_corpus
from tiny_models import CONFIG, MATRIX_PARAMS, NORM_PARAMS, needs

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the toolkits' own imports
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
TINY = Recipe(
    vocabulary=384,
    hidden_size=128,
    intermediate_size=256,
    layers=1,
    heads=2,
    kv_heads=1,
    sequence_tokens=64,
    pair_steps=30,
    pair_tokens=256,
    steps=12,
)


@pytest.fixture
def stdlib(tmp_path: Path) -> Path:
    """A standard library of 60 modules, a test folder that must stay out, and one copy of a module."""
    root = tmp_path / "lib"
    (root / "test").mkdir(parents=True)
    for i in range(60):
        lines = [f"def function_{i}_{j}(value): return value * {i} + {j}" for j in range(40)]
        (root / f"module_{i:02}.py").write_text("\n".join(lines))
    (root / "copy.py").write_text((root / "module_00.py").read_text())
    (root / "test" / "secret.py").write_text("secret = 1\n" * 500)
    return root


def test_no_document_is_on_both_sides(stdlib: Path) -> None:
    corpus = read_corpus(seed=0, stdlib=stdlib)
    assert len(corpus.held_out) == 9  # 15 % of 60; the copy is not counted twice
    assert len(corpus.train) == 51
    assert not set(corpus.train) & set(corpus.held_out)
    assert not any("secret" in text for text in corpus.train + corpus.held_out)


def test_the_split_depends_on_the_seed_alone(stdlib: Path) -> None:
    assert read_corpus(seed=0, stdlib=stdlib) == read_corpus(seed=0, stdlib=stdlib)
    assert read_corpus(seed=0, stdlib=stdlib).sha256 != read_corpus(seed=1, stdlib=stdlib).sha256


def test_a_python_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 Python sources"):
        read_corpus(seed=0, stdlib=tmp_path)


def test_the_running_python_has_text_enough() -> None:
    corpus = read_corpus(seed=0)
    assert len(corpus.held_out) >= 20
    assert sum(map(len, corpus.train)) > 2e6


def test_widths_are_multiples_of_the_usual_quantization_group() -> None:
    recipe = Recipe()
    assert recipe.hidden_size % 128 == recipe.intermediate_size % 128 == 0
    assert all(reference_model.SPEED_CONFIG[key] % 128 == 0 for key in ("hidden_size", "intermediate_size"))


@needs("torch", "transformers", "tokenizers")
def test_training_learns_is_repeatable_and_is_done_once(tmp_path: Path, stdlib: Path) -> None:
    said: list[str] = []
    first = reference_model.build(
        tmp_path / "a", recipe=TINY, stdlib=stdlib, progress=lambda what, _: said.append(what)
    )
    losses = [float(what.rsplit(" ", 1)[1]) for what in said if "loss" in what]
    assert losses[-1] < losses[0] - 0.5  # nats; it began at ln 384 = 5.95
    second = reference_model.build(tmp_path / "b", recipe=TINY, stdlib=stdlib)
    assert open_checkpoint(first).sha256() == open_checkpoint(second).sha256()
    stamp = (first / "model.safetensors").stat().st_mtime_ns
    assert reference_model.build(tmp_path / "a", recipe=TINY, stdlib=stdlib) == first
    assert (first / "model.safetensors").stat().st_mtime_ns == stamp
    assert len(reference_model.held_out_documents(first)) == 9
    assert reference_model.calibration_documents(first)
    assert open_checkpoint(first).config["model_type"] == "mistral"


@needs("torch", "transformers", "tokenizers")
def test_a_mixture_learns_with_every_expert_and_lies_in_mixtrals_layout(tmp_path: Path, stdlib: Path) -> None:
    small = dataclasses.asdict(TINY) | {"intermediate_size": 128, "experts": 4, "steps": 8}
    said: list[str] = []
    folder = reference_model.build(
        tmp_path, recipe=MixtureRecipe(**small), stdlib=stdlib, progress=lambda what, _: said.append(what)
    )
    losses = [float(what.rsplit(" ", 1)[1]) for what in said if "loss" in what]
    assert losses[-1] < losses[0] - 0.5 and folder.name.startswith("mixture-")
    tensors = open_checkpoint(folder).tensors
    for expert in range(4):  # the last matrix of each begins as zeros: whatever is in it was learned
        assert np.abs(tensors[f"model.layers.0.block_sparse_moe.experts.{expert}.w2.weight"].float32()).max() > 0
    assert open_checkpoint(folder).config["num_experts_per_tok"] == 2


@needs("torch", "transformers")
def test_random_weights_have_the_published_shape_and_do_not_depend_on_shards(tmp_path: Path) -> None:
    whole = reference_model.random_checkpoint(CONFIG, tmp_path / "whole")
    cut = reference_model.random_checkpoint(CONFIG, tmp_path / "cut", shard_bytes=200_000)
    assert len(list(cut.glob("*.safetensors"))) > 2
    first, second = open_checkpoint(whole), open_checkpoint(cut)
    assert sum(t.params for t in first.tensors.values()) == MATRIX_PARAMS + NORM_PARAMS
    assert first.tensors.keys() == second.tensors.keys()
    for name, tensor in first.tensors.items():
        assert (tensor.raw() == second.tensor(name).raw()).all()
    check_values(second)
    assert first.tensor("lm_head.weight").float32().std() == pytest.approx(0.02, rel=0.05)


@needs("torch", "transformers")
def test_random_weights_of_a_config_file_load_again(tmp_path: Path) -> None:
    import torch
    import transformers

    source = tmp_path / "config.json"
    shape = {"num_hidden_layers": 1, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2}
    source.write_text(json.dumps({"model_type": "qwen2", "vocab_size": 128, "tie_word_embeddings": True, **shape}))
    folder = reference_model.random_checkpoint(source, tmp_path / "qwen", dtype="bfloat16")
    assert "lm_head.weight" not in open_checkpoint(folder).tensors  # tied: stored once
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stored = open_checkpoint(folder).tensor("model.embed_tokens.weight").float32()
    assert np.array_equal(model.get_output_embeddings().weight.detach().numpy(), stored)


@needs("torch", "transformers")
@pytest.mark.parametrize(
    "config", [{"model_type": "no-such-model"}, {}, {"model_type": "mistral", "hidden_size": "wide"}]
)
def test_a_config_that_no_model_can_be_made_of_is_refused(tmp_path: Path, config: dict[str, object]) -> None:
    with pytest.raises(InputError, match="cannot make"):
        reference_model.random_checkpoint(config, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@needs("torch", "transformers")
def test_a_wrong_dtype_and_a_broken_config_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="float16"):
        reference_model.random_checkpoint(CONFIG, tmp_path / "out", dtype="int3")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(InputError, match=r"config\.json"):
        reference_model.random_checkpoint(tmp_path, tmp_path / "out")


def test_a_folder_without_held_out_text_says_who_makes_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="reference_model"):
        reference_model.held_out_documents(tmp_path)
