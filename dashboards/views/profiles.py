"""Says that this page is not written yet."""

from __future__ import annotations

import streamlit as st

import drawing
from texts import say

drawing.headline(say("profiles.heading"))
st.info(say("profiles.not_yet"))
