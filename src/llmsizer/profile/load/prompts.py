"""Prompts that no prefix cache knows and whose length in tokens is known: exactly with the model's tokenizer.

A prompt is a row of common words. With a tokenizer only words are used that it keeps as one token each, so that n words
are n tokens and the count is checked on every length used; without one, two questions to the server tell how many
tokens a word costs and how many every prompt costs besides, and the server's count of each request is recorded.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.installed import optional

# Frequent English words: one token each, with their leading space, in the vocabularies of all common models.
_WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand part
place case week company system program question work government number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city community name president team minute idea body information back parent face
others level office door health person art war history party result change morning reason research girl guy moment air
teacher force education foot boy age policy music process food field market sense nation plan college interest death
course experience effect use class control role effort rate drug show heart light voice wife police mind price report
decision son view town road form relationship arm true difference value building action season society tax director
position player record paper space ground event official matter center project activity table court star trade summer
cost period industry land security image phone blood type window range test picture race step simple wall color return
"""
COMMON_WORDS = tuple(_WORDS.split())
UNIQUE_WORDS = 12  # of some 200 words: 10²⁷ beginnings, so that no two prompts share even a first cache block
MOST_WORDS = 4096
LEAST_TOKENS_PER_WORD = 0.9  # no vocabulary joins words drawn by chance: fewer were cut off
_PLAIN_WORD = re.compile(r"[Ġ▁ ]([a-z]{2,10})")

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Makes prompts. ``tokens = overhead_tokens + tokens_per_word × words``; exact only with a tokenizer."""

    words: tuple[str, ...] = COMMON_WORDS
    tokens_per_word: float = 1.0
    overhead_tokens: float = 0.0  # what every prompt costs besides: begin of text, chat template
    exact: bool = False
    seed: int = 0

    def text(self, tokens: int, *name: object) -> str:
        """A prompt of so many tokens; the same for the same seed and name, and shared with no other name."""
        count = max(1, round((tokens - self.overhead_tokens) / self.tokens_per_word))
        return " " + " ".join(self._row(count, *name))

    def prefix(self, tokens: int, group: int) -> str:
        """What the prompts of a group begin with."""
        count = max(1, round(tokens / self.tokens_per_word))
        return " " + " ".join(self._row(count, "prefix", group))

    def addition(self, tokens: int, *name: object) -> str:
        """Text that follows other text: without what every prompt costs besides."""
        count = max(1, round(tokens / self.tokens_per_word))
        return " " + " ".join(self._row(count, *name))

    def _row(self, count: int, *name: object) -> list[str]:
        generator = random.Random(repr((self.seed, *name)))
        row = generator.choices(self.words, k=min(count, UNIQUE_WORDS))
        # The rest need not be unique: what comes after a unique beginning no prefix cache can serve.
        while len(row) < count:
            start = generator.randrange(len(self.words))
            row += self.words[start : start + count - len(row)]
        return row


def read_tokenizer(path: Path) -> Any:
    """A tokenizer from a ``tokenizer.json`` or a folder that holds one. Raises InputError."""
    file = path / "tokenizer.json" if path.is_dir() else path
    tokenizers = optional("tokenizers", what="counting tokens", extra="load")
    if not file.is_file():
        raise InputError(f"{path}: holds no tokenizer.json; give the folder of the served model, or drop --tokenizer")
    try:
        return tokenizers.Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise InputError(f"{file}: not a tokenizer ({error})") from None


def counter(tokenizer: Any) -> CountTokens:
    """Tokens of a text as the model reads it, begin of text included."""
    return lambda text: len(tokenizer.encode(text).ids)


def exact_prompts(tokenizer: Any, *, seed: int = 0) -> Prompts:
    """Prompts of words that are one token each, whose length is checked. Raises InputError where there are too few."""
    count = counter(tokenizer)
    spelled = (_PLAIN_WORD.fullmatch(token) for token in sorted(tokenizer.get_vocab()))
    candidates = [match.group(1) for match in spelled if match]
    candidates += [word for word in COMMON_WORDS if word not in set(candidates)]
    base = count(" time")
    kept = [word for word in candidates if count(f" time {word}") == base + 1 and count(f" {word} {word}") == base + 1]
    words = tuple(random.Random(seed).sample(kept, min(MOST_WORDS, len(kept))))
    if len(words) < 16:
        raise InputError("the tokenizer keeps too few words whole; drop --tokenizer, lengths are then approximate")
    shown = count(f" {words[0]}") - 1
    prompts = Prompts(words=words, overhead_tokens=shown, exact=True, seed=seed)
    for tokens in (shown + 1, shown + 64, shown + 1000):
        if count(prompts.text(tokens, "check", tokens)) != tokens:
            raise InputError("the tokenizer joins words; drop --tokenizer, lengths are then approximate")
    return prompts


def measured_prompts(words: Sequence[int], tokens: Sequence[int], *, seed: int = 0) -> Prompts:
    """Prompts by what a server counted for two numbers of words; exact where every word was one token."""
    slope = (tokens[1] - tokens[0]) / (words[1] - words[0])
    if not slope > LEAST_TOKENS_PER_WORD:
        raise InputError(
            f"the server counts {tokens[0]} tokens for {words[0]} words and {tokens[1]} for {words[1]}: "
            "it cuts prompts or does not count them, and their lengths would be unknown; mend its context or its usage"
        )
    return Prompts(tokens_per_word=slope, overhead_tokens=tokens[0] - slope * words[0], seed=seed)
