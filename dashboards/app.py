"""The dashboard's router, which `server.py` serves: who may see it, the question, the page, what marks mean.

The question is asked here and not in the views: a widget of the router keeps its value when the page changes.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import drawing
import login
from cached import answers, following
from parts import exports
from question import inputs
from texts import say

VIEWS = Path(__file__).parent / "views"
PAGES = ("decide", "precision", "memory", "load", "build_vs_buy", "profiles", "evidence")
WITHOUT_A_QUESTION = ("profiles",)
WITH_THE_ANSWER = ("load", "build_vs_buy")  # of those that show it; the landing page gives its files itself
WITH_THE_QUESTION = ("precision", "memory")

st.set_page_config(page_title=say("app.title"), page_icon="◆", layout="wide")
login.require()
following.follow()
inputs.begin()
pages = {
    name: st.Page(VIEWS / f"{name}.py", title=say(f"pages.{name}"), url_path=name, default=name == PAGES[0])
    for name in PAGES
}
page = st.navigation(list(pages.values()), position="top")
with drawing.mistakes_as_sentences():
    inputs.choose_language()
    if page in [pages[name] for name in WITHOUT_A_QUESTION]:
        st.sidebar.caption(say("pages.no_question"))
    else:
        inputs.ask()
    with drawing.money_as_asked():
        page.run()
        if page in [pages[name] for name in WITH_THE_ANSWER]:
            exports.offer(inputs.question(), answers.recommendation(inputs.question()))
        elif page in [pages[name] for name in WITH_THE_QUESTION]:
            exports.offer_question(inputs.question())
with drawing.money_as_asked():
    drawing.legend_of_bases()
