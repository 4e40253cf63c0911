"""Says that this page is not written yet."""

from __future__ import annotations

import streamlit as st

import drawing
from texts import say

drawing.headline(say("memory.heading"))
st.info(say("memory.not_yet"))
