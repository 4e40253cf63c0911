"""What a KV-cache format, or a variant, does to long contexts: retrieval where the model can retrieve, else divergence.

A cache format only shows in tokens that are read *from the cache*: the context is prefilled, then the tail goes through
one token at a time, as in decoding. A needle is a sentence with a made-up code among other text; it counts as found
when the code's tokens are the likeliest at every position. A model that cannot find it with a 16-bit cache says nothing
about another cache by failing too: then the divergence from the 16-bit cache at that length is the measure.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.errors import InputError
from llmsizer.facts.quality_parts import LongContext, LongContextCell
from llmsizer.installed import optional
from llmsizer.progress import Progress, part_of, silent
from llmsizer.quality.logits import Logits, Tokens
from llmsizer.quality.losses import DocumentLoss, expected_of, loss_of
from llmsizer.quality.statistics import mean_by_document

TailReader = Callable[[Tokens, int], Logits]
"""From tokens and the length of their tail to a row of logits for each token of the tail, decoded one by one."""

DEPTHS = (0.1, 0.5, 0.9)
TAIL_TOKENS = 16
CAN_RETRIEVE = 0.5  # of the needles, with the reference's cache: less says nothing
NEEDLE = " The access code of the archive is {code}."
QUESTION = " The access code of the archive is"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Context lengths in tokens × depths, each tried so many times on other text."""

    context_tokens: tuple[int, ...]
    depths: tuple[float, ...] = DEPTHS
    trials: int = 4
    tail_tokens: int = TAIL_TOKENS
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Haystack:
    """A stretch of tokens, and the last of them that are to be found or predicted."""

    context_tokens: int
    depth: float
    tokens: Tokens
    answer_tokens: int


def examine(
    reader: TailReader,
    reference: TailReader,
    folder: Path,
    documents: Sequence[str],
    grid: Grid,
    *,
    kv_format: str,
    reference_kv_format: str,
    progress: Progress = silent,
) -> LongContext:
    """Retrieval over the grid where the reference retrieves half of the needles, else divergence by length.

    ``folder`` holds the tokenizer. Raises InputError where the text is shorter than the longest context.
    """
    tokenizer = _tokenizer(folder)
    pool = _pool(tokenizer, documents, grid)
    needles = _needles(tokenizer, pool, grid)
    found = _search(reference, needles, part_of(progress, 0.0, 0.35), f"needle, {reference_kv_format} cache")
    share = sum(found) / len(found)
    formats = {"kv_format": kv_format, "reference_kv_format": reference_kv_format}
    if share >= CAN_RETRIEVE:
        own = _search(reader, needles, part_of(progress, 0.35, 1.0), f"needle, {kv_format} cache")
        why = f"the model finds {share:.0%} of the needles with its {reference_kv_format} cache"
        cells = _retrieval_cells(needles, own, found)
        return LongContext(measure="retrieval", cells=cells, why=why, **formats)
    why = f"the model finds {share:.0%} of the needles even with its {reference_kv_format} cache: it cannot retrieve"
    cells = _divergence_cells(reader, reference, pool, grid, progress)
    return LongContext(measure="divergence", cells=cells, why=why, **formats)


def _tokenizer(folder: Path) -> Any:
    tokenizers = optional("tokenizers", what="reading text", extra="quantize")
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise InputError(f"{folder}: no tokenizer.json, which long contexts need; add it beside the weights")
    return tokenizers.Tokenizer.from_file(str(file))


def _pool(tokenizer: Any, documents: Sequence[str], grid: Grid) -> Tokens:
    """All text in one row: long contexts run over the seams of documents."""
    ids = [token for text in documents for token in tokenizer.encode(text).ids]
    needed = max(grid.context_tokens) + grid.trials
    if len(ids) < needed:
        raise InputError(f"{len(ids):,} tokens of text, {needed:,} are needed for the longest context; give more text")
    return np.array(ids, dtype=np.int64)


def _needles(tokenizer: Any, pool: Tokens, grid: Grid) -> list[_Haystack]:
    chance = random.Random(grid.seed)
    question = tokenizer.encode(QUESTION).ids
    made = []
    for length in grid.context_tokens:
        for depth in grid.depths:
            for _ in range(grid.trials):
                code = f"{chance.randrange(1000, 9999)}"
                needle = tokenizer.encode(NEEDLE.format(code=code)).ids
                answer = tokenizer.encode(f"{QUESTION} {code}").ids[len(question) :]
                hay = length - len(needle) - len(question) - len(answer)
                if hay < 2 or not answer:
                    raise InputError(f"a context of {length} tokens has no room for a needle; give 64 or more")
                start = chance.randrange(pool.size - hay)
                text = list(pool[start : start + hay])
                place = int(depth * hay)
                row = [*text[:place], *needle, *text[place:], *question, *answer]
                tokens = np.array(row, dtype=np.int64)
                made.append(_Haystack(context_tokens=length, depth=depth, tokens=tokens, answer_tokens=len(answer)))
    return made


def _search(reader: TailReader, needles: Sequence[_Haystack], progress: Progress, what: str) -> list[bool]:
    found = []
    for index, hay in enumerate(needles):
        progress(what, index / len(needles))
        found.append(_finds(reader, hay))
    return found


def _finds(reader: TailReader, hay: _Haystack) -> bool:
    """Whether each token of the answer is the likeliest after those before it."""
    logits = reader(hay.tokens, hay.answer_tokens + 1)[:-1]
    return bool((logits.argmax(axis=-1) == hay.tokens[-hay.answer_tokens :]).all())


def _retrieval_cells(
    needles: Sequence[_Haystack], own: Sequence[bool], found: Sequence[bool]
) -> tuple[LongContextCell, ...]:
    counts: dict[tuple[int, float], list[int]] = {}
    for hay, mine, other in zip(needles, own, found, strict=True):
        cell = counts.setdefault((hay.context_tokens, hay.depth), [0, 0, 0])
        cell[0] += mine
        cell[1] += other
        cell[2] += 1
    return tuple(
        LongContextCell(context_tokens=length, depth=depth, retrieved=mine, reference_retrieved=other, trials=trials)
        for (length, depth), (mine, other, trials) in counts.items()
    )


def _divergence_cells(
    reader: TailReader, reference: TailReader, pool: Tokens, grid: Grid, progress: Progress
) -> tuple[LongContextCell, ...]:
    chance = random.Random(grid.seed)
    cells = []
    for number, length in enumerate(grid.context_tokens):
        losses: list[DocumentLoss] = []
        for trial in range(grid.trials):
            done = (number + trial / grid.trials) / len(grid.context_tokens)
            progress(f"divergence at {length:,} tokens", 0.35 + 0.65 * done)
            start = chance.randrange(pool.size - length)
            tokens = pool[start : start + length]
            tail = min(grid.tail_tokens, length - 2) + 1
            expected = expected_of(reference(tokens, tail)[:-1])
            losses.append(loss_of(expected, reader(tokens, tail)[:-1], tokens[1 - tail :]))
        tokens_each = np.array([loss.tokens for loss in losses], dtype=np.float64)
        kl = mean_by_document(np.array([loss.kl for loss in losses]), tokens_each)
        known = len(losses) > 1
        cells.append(
            LongContextCell(
                context_tokens=length,
                kl_nats_per_token=kl.value,
                kl_nats_per_token_low=max(0.0, kl.low) if known else None,
                kl_nats_per_token_high=kl.high if known else None,
                top1_agreement=sum(loss.agreed for loss in losses) / float(tokens_each.sum()),
                trials=grid.trials,
            )
        )
    return tuple(cells)
