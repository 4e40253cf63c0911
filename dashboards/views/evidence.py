"""Says that this page is not written yet."""

from __future__ import annotations

import streamlit as st

import drawing
from texts import say

drawing.headline(say("evidence.heading"))
st.info(say("evidence.not_yet"))
