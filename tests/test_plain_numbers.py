"""Numbers on a page are read, not decoded: no exponent of a programming language, however large or small they are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.deliver.elements.chart import short_tokens
from llmsizer.deliver.elements.wording import amount, figure_range, size, tokens
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Estimate
from llmsizer.money.currency import US_DOLLARS
from llmsizer.units import format_count, format_seconds, plain_number

EXPONENT = re.compile(r"\de[+-]?\d")
UNITS = ("s", "B", "USD", "USD/month", "fraction", "tokens/month", "tokens/s", "requests/s", "ratio", "%")
values = st.floats(1e-12, 1e15)


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.0123, "0.0123"), (84.25, "84.2"), (999.4, "999"), (999.6, "1,000"), (1512.3, "1,512")],
)
def test_three_digits_where_they_matter(value: float, words: str) -> None:
    assert plain_number(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(1e-7, "1.00 × 10⁻⁴ ms"), (0.9999, "1,000 ms"), (84.25, "84.2 s"), (90_700, "1,512 min")]
)
def test_seconds_are_read_at_every_size(seconds: float, words: str) -> None:
    assert format_seconds(seconds) == words


@given(value=values, unit=st.sampled_from(UNITS))
def test_no_amount_has_an_exponent(value: float, unit: str) -> None:
    spread = Estimate(value=value, low=value / 1.5, high=value * 1.5, basis="calibrated")
    shown = (amount(value, unit), figure_range(Figure(estimate=spread, unit=unit, source="test")))
    assert not any(EXPONENT.search(text) for text in shown), shown


@given(value=values)
def test_no_count_volume_or_size_has_an_exponent(value: float) -> None:
    shown = (size(value), tokens(value), format_count(value), plain_number(value))
    assert not any(EXPONENT.search(text) for text in shown), shown


@given(power=st.integers(0, 15))
def test_no_axis_has_an_exponent(power: int) -> None:
    assert not EXPONENT.search(US_DOLLARS.short(10.0**power) + short_tokens(10.0**power))
