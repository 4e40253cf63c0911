"""The dashboard's sentences, from one file a language, and what the package says, from another beside it.

The package speaks English. A page hands what it says to ``told``, which finds the pattern of each sentence in
``<language>.package.toml``, ``"costs {usd} a month" = "costa {usd} al mese"``, and tells what stands in its places in
turn. What has no pattern is told part by part: sentence, clause, label, list. A name stays as it is.
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

FOLDER = Path(__file__).parent
FALLBACK = "en"
LANGUAGES = {"en": "English", "it": "Italiano"}
KEY = "language"
TOLD = "sentences."  # by their English words, with places
_PLACE = re.compile(r"\\\{(\w+)\\\}")
_SHAPES = {  # of places that are called so, with a figure behind or not; any other holds what stands in one clause
    "n": r"[-−+]?\d[\d.,]*",
    "amount": r"[-−+<>]? ?\D?\d[^;:]*?",
    "share": r"(?:[<>] )?\S*\d\S*(?: %)?",
    "word": r"\S+",
}
_CLAUSE = r"(?:[^;.]|\.(?! ))+?"
_PARTS = (". ", "; ", ": ", " · ", ", ")  # between what can be told apart, the weightiest first
_JOINTS = ("and", "or")


@cache
def _sentences(language: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in (FOLDER / f"{language}.toml", FOLDER / f"{language}.package.toml"):
        if path.is_file():
            with path.open("rb") as file:
                data = tomllib.load(file)
            found |= {f"{table}.{key}": str(value) for table, rows in data.items() for key, value in rows.items()}
    return found


def language() -> str:
    """The language chosen on the page or by its link, else by LLMSIZER_LANGUAGE, where its file exists."""
    asked = st.session_state.get(KEY) or st.query_params.get(KEY) if get_script_run_ctx() is not None else None
    asked = asked or os.environ.get("LLMSIZER_LANGUAGE", FALLBACK)
    return asked if asked.isalpha() and _sentences(asked) else FALLBACK


def say(key: str, **values: object) -> str:
    """The sentence of a key, with its places filled."""
    sentence = _sentences(language()).get(key) or _sentences(FALLBACK)[key]
    return sentence.format(**values) if values else sentence


def known(words: str, table: str = "headers") -> str:
    """Words of the package in the page's language, where its file has them; else as they are."""
    return _sentences(language()).get(f"{table}.{words}", words)


def told(words: str) -> str:
    """What the package says in the page's language, by the patterns that made it; else as it is."""
    if language() == FALLBACK:
        return words
    said = _told(language(), words)
    return said[:1].upper() + said[1:] if words[:1].isupper() else said  # what begins a sentence begins one here too


@lru_cache(maxsize=20_000)
def _told(language: str, words: str) -> str:
    if not any(letter.isalpha() for letter in words):
        return words
    bare = words.removesuffix(".")  # patterns end without
    whole = _whole(language, bare)
    return _in_parts(language, words) if whole is None else whole + words[len(bare) :]


def _whole(language: str, words: str) -> str | None:
    """By its own pattern, which may begin small where a sentence begins with it, and the other way round."""
    found = _matched(language, words)
    if found is None:
        swapped = _matched(language, words[:1].swapcase() + words[1:])
        found = None if swapped is None else swapped[:1].swapcase() + swapped[1:]
    return found


def _matched(language: str, words: str) -> str | None:
    if (same := _sentences(language).get(f"headers.{words}")) is not None:
        return same
    for pattern in _patterns(language):
        if pattern.longest in words and (found := pattern.english.fullmatch(words)) is not None:
            return pattern.said.format(**{name: _told(language, part) for name, part in found.groupdict().items()})
    return None


def _in_parts(language: str, words: str) -> str:
    for mark in _PARTS:
        if mark in words:
            return mark.join(_told(language, part) for part in words.split(mark))
    for joint in _JOINTS:  # of things that are all known, else it joins within a name or a sentence
        parts = words.split(f" {joint} ")
        if len(parts) > 1:
            said = [one for part in parts if (one := _whole(language, part)) is not None]
            if len(said) == len(parts):
                return f" {_sentences(language)[f'headers.{joint}']} ".join(said)
    return words


class _Pattern(NamedTuple):
    longest: str  # of its own words: where they are missing nothing has to be matched
    english: re.Pattern[str]
    said: str


@cache
def _patterns(language: str) -> tuple[_Pattern, ...]:
    """What the package says, with a group for each place, and how it is said here; what says most itself first."""
    said = {
        key.removeprefix(TOLD).removesuffix("."): text.removesuffix(".")
        for key, text in _sentences(language).items()
        if key.startswith(TOLD)
    }
    by_length = sorted(said.items(), key=lambda one: -len(re.sub(r"\{\w+\}", "", one[0])))
    return tuple(
        _Pattern(
            longest=max(re.split(r"\{\w+\}", english), key=len),
            english=re.compile(_PLACE.sub(_group, re.escape(english))),
            said=text,
        )
        for english, text in by_length
    )


def _group(place: re.Match[str]) -> str:
    return f"(?P<{place[1]}>{_SHAPES.get(place[1].rstrip('0123456789'), _CLAUSE)})"
