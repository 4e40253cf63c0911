"""The dashboard's sentences, from one file a language."""

from __future__ import annotations

import os
import tomllib
from functools import cache
from pathlib import Path

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

FOLDER = Path(__file__).parent
FALLBACK = "en"
LANGUAGES = {"en": "English", "it": "Italiano"}
KEY = "language"


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


def known(words: str, table: str = "headers") -> str:
    """Words of the package in the page's language, where its file has them; else as they are."""
    return _sentences(language()).get(f"{table}.{words}", words)
