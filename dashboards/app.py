"""The dashboard's router: `streamlit run dashboards/app.py`, or `llmsizer dashboard`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from texts import say

VIEWS = Path(__file__).parent / "views"

st.set_page_config(page_title=say("app.title"), page_icon="◆", layout="wide")
st.navigation(
    [
        st.Page(VIEWS / "recommendation.py", title=say("pages.recommendation"), default=True),
        st.Page(VIEWS / "variants.py", title=say("pages.variants")),
        st.Page(VIEWS / "build_vs_buy.py", title=say("pages.build_vs_buy")),
    ],
    position="top",
).run()
