"""Models of our own, for machines without a hub: a small one that has learned something, and any size that has not.

The trained one is for quality: quantization damage shows as perplexity and KL divergence. The random ones are for speed
and memory, which do not depend on what the weights say.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from llmsizer.errors import InputError
from llmsizer.files import whole_folder
from llmsizer.progress import Progress, part_of, silent
from llmsizer.reference_model.corpus import Corpus, read_corpus
from llmsizer.reference_model.random_weights import SPEED_CONFIG, build_random, random_checkpoint
from llmsizer.reference_model.training import MixtureRecipe, Recipe, save, train, train_tokenizer

__all__ = [
    "DATASET",
    "SPEED_CONFIG",
    "MixtureRecipe",
    "Recipe",
    "build",
    "build_random",
    "calibration_documents",
    "held_out_documents",
    "random_checkpoint",
]

DATASET = "python-stdlib-sources, held out by document"
HELD_OUT_FILE, CALIBRATION_FILE = "held_out.jsonl", "calibration.jsonl"
CALIBRATION_DOCUMENTS = 48
SAVED_CHARACTERS = 6_000  # of each text kept beside the weights: more than any evaluation here reads
FORMAT = 1  # of the folder; a change makes cached folders of another name


def build(
    cache_dir: Path,
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    stdlib: Path | None = None,
    progress: Progress = silent,
) -> Path:
    """The trained reference model as a checkpoint folder; made once for each corpus, recipe and seed.

    The text is the running Python's standard library, or that under ``stdlib``.
    About a minute or two on two cores. Raises MissingExtraError and InputError.
    """
    recipe = recipe or Recipe()
    corpus = read_corpus(seed=seed, stdlib=stdlib)
    kind = "mixture" if isinstance(recipe, MixtureRecipe) else "reference"
    folder = cache_dir / f"{kind}-{_key(corpus, recipe, seed)}"
    if folder.is_dir():
        progress("reference model: made before", 1.0)
        return folder
    progress("training the tokenizer", 0.0)
    tokenizer = train_tokenizer(corpus.train, recipe.vocabulary)
    model = train(tokenizer, corpus.train, recipe, seed=seed, progress=part_of(progress, 0.05, 0.98))
    with whole_folder(folder) as partial:
        save(model, tokenizer, partial)
        _save_texts(partial / HELD_OUT_FILE, corpus.held_out)
        _save_texts(partial / CALIBRATION_FILE, corpus.train[:CALIBRATION_DOCUMENTS])
    progress("reference model written", 1.0)
    return folder


def held_out_documents(checkpoint: Path) -> list[str]:
    """The texts that a reference model has never seen, kept beside it. Raises InputError."""
    return _read_texts(checkpoint / HELD_OUT_FILE)


def calibration_documents(checkpoint: Path) -> list[str]:
    """Texts for methods that calibrate: of the training side, so that nothing examined was seen before."""
    return _read_texts(checkpoint / CALIBRATION_FILE)


def _key(corpus: Corpus, recipe: Recipe, seed: int) -> str:
    asked = {"corpus": corpus.sha256, "recipe": dataclasses.asdict(recipe), "seed": seed, "format": FORMAT}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


def _save_texts(file: Path, texts: tuple[str, ...]) -> None:
    lines = (json.dumps({"text": text[:SAVED_CHARACTERS]}) for text in texts)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_texts(file: Path) -> list[str]:
    if not file.is_file():
        raise InputError(f"{file.parent}: no {file.name}; it lies beside a model that `reference_model.build` made")
    return [str(json.loads(line)["text"]) for line in file.read_text(encoding="utf-8").splitlines()]
