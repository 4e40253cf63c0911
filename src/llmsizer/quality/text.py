"""The tokens that all variants are examined on: cut by the reference's tokenizer, checked, and known by their hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.variant import Variant
from llmsizer.installed import optional
from llmsizer.quality.logits import Tokens

MAX_DOCUMENT_TOKENS = 256  # the context that the reference model was trained for
MIN_DOCUMENT_TOKENS = 16


def tokenize(folder: Path, documents: Sequence[str], max_document_tokens: int) -> list[Tokens]:
    """The documents' first tokens, by the tokenizer beside the weights; shorter ones than 16 are left out."""
    tokenizers = optional("tokenizers", what="reading text", extra="quantize")
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{folder}: no tokenizer.json, which quality needs to read text; add it beside the weights")
    tokenizer = tokenizers.Tokenizer.from_file(str(file))
    rows = (tokenizer.encode(text).ids[:max_document_tokens] for text in documents)
    kept = [np.array(row, dtype=np.int64) for row in rows if len(row) >= MIN_DOCUMENT_TOKENS]
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} documents of at least {MIN_DOCUMENT_TOKENS} tokens; two or more are needed for an interval"
        )
    return kept


def hash_of(token_rows: Iterable[Tokens]) -> str:
    """SHA-256 of the tokens, document by document."""
    digest = hashlib.sha256()
    for row in token_rows:
        digest.update(np.int64(row.size).tobytes() + row.astype("<i8").tobytes())
    return digest.hexdigest()


def check_same_tokens(reference: Variant, variants: Sequence[Variant]) -> None:
    """Raises InputError where a variant reads or speaks another vocabulary than the reference."""
    own = _vocabulary(reference)
    own_size = reference.config.get("vocab_size")
    for variant in variants:
        size = variant.config.get("vocab_size")
        if own_size is not None and size is not None and size != own_size:
            raise InputError(
                f"{variant.path}: a vocabulary of {size:,} tokens, the reference has {own_size:,}; "
                "compare variants of one model"
            )
        other = _vocabulary(variant)
        if own is not None and other is not None and own != other:
            raise InputError(
                f"{variant.path}: another tokenizer than {reference.path}; logits of other tokens cannot be compared"
            )


def _vocabulary(variant: Variant) -> dict[str, int] | None:
    """Token → number; None where the folder holds no tokenizer of its own."""
    file = variant.path / "tokenizer.json"
    if not file.is_file():
        return None
    tokenizers = optional("tokenizers", what="reading text", extra="quantize")
    vocabulary: dict[str, int] = tokenizers.Tokenizer.from_file(str(file)).get_vocab()
    return vocabulary
