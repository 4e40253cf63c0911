"""The colours of the screen's charts: few, told apart without seeing hues, and never the only difference.

Mid-tones: 3:1 against white and against near-black, and 4.5:1 under ``WORDS_ON_MARKS``; `tests/test_chart_colours.py`
holds both, and that the three ways differ without one kind of cone.
"""

from __future__ import annotations

from llmsizer.money.cost import Path

BLUE, ORANGE, GREEN, GREY = "#2b83c6", "#d2691e", "#1b9270", "#7a7f87"
WORDS_ON_MARKS = "#10151b"
PATH_COLOURS: dict[Path, str] = {"own": BLUE, "rent": ORANGE, "api": GREEN}
PART_COLOURS = (
    "#4a8fcb",
    "#c17f1a",
    "#8593a1",
    "#3f9f7c",
    "#b5709f",
    "#a2941c",
    "#78848f",
    "#cc7350",
    "#8f7fc4",
    "#3f9aa0",
)
PART_PATTERNS = ("", "/", ".", "x", "\\", "+", "-", "|", "", "/")
LOOK_OF_PART = {"idle": (GREY, "x")}  # what is paid for nothing looks the same in every bill
HEAT = ((0.0, "#e3edf7"), (0.5, "#a9cdea"), (1.0, "#4a8fcb"))  # words on it stay dark
