"""The dashboard's sentences, from one file a language."""

from __future__ import annotations

import os
import re
import tomllib
from functools import cache, lru_cache
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

FOLDER = Path(__file__).parent
FALLBACK = "en"
LANGUAGES = {"en": "English", "it": "Italiano"}
KEY = "language"
TOLD = "sentences."  # by their English words, with places


@cache
def _sentences(language: str) -> dict[str, str]:
    path = FOLDER / f"{language}.toml"
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        data = tomllib.load(file)
    return {f"{table}.{key}": str(value) for table, rows in data.items() for key, value in rows.items()}


def language() -> str:
    """The language chosen on the page or by its link, else by LLMSIZER_LANGUAGE, where its file exists."""
    asked = st.session_state.get(KEY) or st.query_params.get(KEY) if get_script_run_ctx() is not None else None
    asked = asked or os.environ.get("LLMSIZER_LANGUAGE", FALLBACK)
    return asked if asked.isalpha() and _sentences(asked) else FALLBACK


def say(key: str, **values: object) -> str:
    """The sentence of a key, with its places filled."""
    sentence = _sentences(language()).get(key) or _sentences(FALLBACK)[key]
    return sentence.format(**values) if values else sentence


def told(words: str) -> str:
    """A sentence of the calculation in the page's language, by the pattern that made it; else as it is."""
    return words if language() == FALLBACK else _told(language(), words)


@lru_cache(maxsize=20_000)
def _told(language: str, words: str) -> str:
    if (same := _sentences(language).get(f"headers.{words}")) is not None:
        return same
    for pattern, sentence in _patterns(language):
        if (found := pattern.fullmatch(words)) is not None:
            return sentence.format(**{name: _told(language, part) for name, part in found.groupdict().items()})
    parts = words.split("; ")
    return words if len(parts) == 1 else "; ".join(_told(language, part) for part in parts)


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    """What the package says, with a group for each place, and how it is said here; what says most itself first."""
    said = {key.removeprefix(TOLD): text for key, text in _sentences(language).items() if key.startswith(TOLD)}
    patterns = {
        re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^;]+?)", re.escape(english))): text
        for english, text in said.items()
    }
    return tuple(sorted(patterns.items(), key=lambda one: -len(re.sub(r"\(\?P.*?\)", "", one[0].pattern))))


def known(words: str, table: str = "headers") -> str:
    """Words of the package in the page's language, where its file has them; else as they are."""
    return _sentences(language()).get(f"{table}.{words}", words)
