"""Colours of charts: words on marks and marks on both pages can be told by everybody, and ways without seeing hues."""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path

import pytest

from llmsizer.deliver.charts import colours, memory

CONFIG = Path(__file__).parent.parent / "dashboards" / ".streamlit" / "config.toml"
PAGES = {"light": "#ffffff", "dark": "#1a1918"}
# Of linear red, green and blue, as they are seen without one kind of cone (Viénot, Brettel, Mollon 1999).
WITHOUT = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}
TELLABLE = 12.0  # CIELAB units; two just noticeably different colours are about 2 apart


def linear(colour: str) -> tuple[float, float, float]:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return red, green, blue


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2."""
    return sum(share * c for share, c in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: tuple[float, ...]) -> tuple[float, float, float]:
    """CIELAB of linear sRGB under D65."""
    rows = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.9505, 1.0, 1.089)
    xyz = [sum(a * max(c, 0.0) for a, c in zip(row, rgb, strict=True)) for row in rows]
    x, y, z = (
        (v / w) ** (1 / 3) if v / w > 216 / 24389 else (24389 / 27 * v / w + 16) / 116
        for v, w in zip(xyz, white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one: str, other: str, seen: tuple[tuple[float, ...], ...]) -> float:
    first, second = (
        lab(tuple(sum(a * c for a, c in zip(row, linear(colour), strict=True)) for row in seen))
        for colour in (one, other)
    )
    return float(sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5)


@pytest.mark.parametrize("page", PAGES)
def test_marks_stand_out_three_to_one_from_both_pages(page: str) -> None:
    marks = {*colours.PATH_COLOURS.values(), *colours.PART_COLOURS, colours.GREY}
    assert {colour: round(r, 2) for colour in marks if (r := contrast(colour, PAGES[page])) < 3} == {}


def test_words_on_marks_have_four_and_a_half_to_one() -> None:
    under = {
        *colours.PART_COLOURS,
        *colours.PATH_COLOURS.values(),
        *memory.KIND_COLOURS,
        *(shade for _, shade in colours.HEAT),
    }
    words = colours.WORDS_ON_MARKS
    assert {colour: round(r, 2) for colour in under if (r := contrast(words, colour)) < 4.5} == {}


@pytest.mark.parametrize("kind", WITHOUT)
def test_the_three_ways_can_be_told_without_one_kind_of_cone(kind: str) -> None:
    for one, other in itertools.combinations(colours.PATH_COLOURS.values(), 2):
        assert apart(one, other, WITHOUT[kind]) >= TELLABLE, (one, other)


@pytest.mark.parametrize("kind", WITHOUT)
def test_neighbouring_parts_differ_in_colour_or_in_pattern_without_one_kind_of_cone(kind: str) -> None:
    parts = list(zip(colours.PART_COLOURS, colours.PART_PATTERNS, strict=True))
    for (one, pattern), (other, next_pattern) in itertools.pairwise(parts):
        assert pattern != next_pattern or apart(one, other, WITHOUT[kind]) >= TELLABLE, (one, other)


def faded(colour: str, ground: str, share: float) -> str:
    channels = [(int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(share * top + (1 - share) * under):02x}" for top, under in channels)


def test_the_themes_colours_and_its_faded_words_can_be_read_on_its_page_and_its_side_bar() -> None:
    theme = tomllib.loads(CONFIG.read_text(encoding="utf-8"))["theme"]
    for scheme, grounds in {"light": ("#ffffff", "#f8f8f7"), "dark": ("#1a1918", "#242320")}.items():
        assert all(contrast(theme[scheme]["primaryColor"], ground) >= 4.5 for ground in grounds), scheme
    for ground in ("#ffffff", "#f8f8f7"):
        assert contrast(faded(theme["light"]["textColor"], ground, 0.6), ground) >= 4.5
        chosen = faded(theme["light"]["primaryColor"], ground, 0.13)  # the chosen one of several buttons
        assert contrast(theme["light"]["primaryColor"], chosen) >= 4.5
