"""The dashboard's router: `streamlit run dashboards/app.py`, or `llmsizer dashboard`.

The question is asked here and not in the views: a widget of the router keeps its value when the page changes.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import drawing
import inputs
from texts import say

VIEWS = Path(__file__).parent / "views"

st.set_page_config(page_title=say("app.title"), page_icon="◆", layout="wide")
variants = st.Page(VIEWS / "variants.py", title=say("pages.variants"))
page = st.navigation(
    [
        st.Page(VIEWS / "recommendation.py", title=say("pages.recommendation"), default=True),
        variants,
        st.Page(VIEWS / "build_vs_buy.py", title=say("pages.build_vs_buy")),
    ],
    position="top",
)
with drawing.mistakes_as_sentences():
    if page.url_path != variants.url_path:
        inputs.ask()
    else:
        st.sidebar.caption(say("pages.variants_sidebar"))
    page.run()
drawing.legend_of_bases()
