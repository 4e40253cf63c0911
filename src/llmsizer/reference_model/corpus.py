"""Text that every Python carries by its own licence: the sources of the standard library, one module a document."""

from __future__ import annotations

import hashlib
import random
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from llmsizer.errors import InputError

# Tables, tests and vendored programs: long, repetitive, or missing on some systems.
LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "idle_test",
    "lib2to3",
    "turtledemo",
    "encodings",
}
LEFT_OUT |= {"pydoc_data", "__pycache__", "ensurepip"}
GENERATED = "_sysconfigdata"
MIN_CHARACTERS, MAX_CHARACTERS = 1_000, 60_000
MIN_DOCUMENTS = 40
HELD_OUT_SHARE = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Texts to learn from, and others to be examined on; no document is in both."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]

    @property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for text in (*self.train, "\0", *self.held_out):
            digest.update(hashlib.sha256(text.encode()).digest())
        return digest.hexdigest()


def read_corpus(*, seed: int, stdlib: Path | None = None) -> Corpus:
    """The running Python's standard library, split by document with a seeded shuffle. Raises InputError."""
    root = stdlib or Path(sysconfig.get_path("stdlib"))
    texts: dict[str, str] = {}
    for file in sorted(root.rglob("*.py")):
        relative = file.relative_to(root)
        if LEFT_OUT.isdisjoint(relative.parts) and not file.name.startswith(GENERATED):
            text = file.read_text(encoding="utf-8", errors="replace")
            if len(text) >= MIN_CHARACTERS:
                texts.setdefault(text[:MAX_CHARACTERS], relative.as_posix())  # a copy must not be on both sides
    if len(texts) < MIN_DOCUMENTS:
        raise InputError(
            f"{root}: {len(texts)} Python sources, at least {MIN_DOCUMENTS} are needed; "
            "use a Python with its standard library as files"
        )
    documents = list(texts)
    random.Random(seed).shuffle(documents)
    cut = round(len(documents) * HELD_OUT_SHARE)
    return Corpus(train=tuple(documents[cut:]), held_out=tuple(documents[:cut]))
