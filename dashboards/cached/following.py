"""Every answer follows the user's own values, whoever changes them: here, in another browser, or with an editor."""

from __future__ import annotations

import os
import threading

import streamlit as st

from cached.places import OVERRIDES_VARIABLE, catalogue_state, overrides_file
from llmsizer.facts import aliases
from llmsizer.facts.catalog import default_catalog

_changing = threading.Lock()
_followed = {"state": "", "named": ""}


def follow() -> None:
    """Forget what was read and answered where the file says something else by now. For the top of every page."""
    now = catalogue_state()
    with _changing:
        if now == _followed["state"]:
            return
        _name_file(is_there=bool(now))
        _followed["state"] = now
        default_catalog.cache_clear()
        aliases.names.cache_clear()
        st.cache_data.clear()
        st.cache_resource.clear()


def _name_file(*, is_there: bool) -> None:
    """The catalogue, and every command started from here, read the file that the environment names."""
    if is_there and OVERRIDES_VARIABLE not in os.environ:
        os.environ[OVERRIDES_VARIABLE] = _followed["named"] = str(overrides_file())
    elif not is_there and os.environ.get(OVERRIDES_VARIABLE) == _followed["named"] != "":
        del os.environ[OVERRIDES_VARIABLE]
