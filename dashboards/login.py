"""Who may see the dashboard: everybody on this machine, or those a provider of OpenID Connect knows.

A login is asked for where `.streamlit/secrets.toml` has `[auth]`; `server.py` shows how. Nothing of that file is ever
written on a page.
"""

from __future__ import annotations

import streamlit as st

from llmsizer.cli.serve.serving import has_login
from texts import say


def is_configured() -> bool:
    return has_login()


def require() -> None:
    """Stop the page before anybody who has to log in and has not."""
    if not is_configured():
        return
    if not st.user.is_logged_in:
        st.title(say("app.title"), anchor=False)
        st.markdown(say("login.why"))
        st.button(say("login.in"), on_click=st.login, type="primary")
        st.stop()
    with st.sidebar:
        st.button(say("login.out"), on_click=st.logout)
