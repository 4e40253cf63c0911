"""Where a number comes from travels with it."""

from __future__ import annotations

import datetime

import pytest

from llmsizer.facts.provenance import Estimate, Provenance, parse_date

TODAY = datetime.date(2026, 11, 21)


def origin(as_of: str) -> Provenance:
    return Provenance(source="s", as_of=as_of, confidence="c", basis="published")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2026-07-02", (2026, 7, 2)),
        ("2026-07", (2026, 7, 1)),
        ("2026-Q3", (2026, 7, 1)),
        ("2026", (2026, 1, 1)),
        ("2025-2026", (2025, 1, 1)),
    ],
)
def test_dates_are_read_as_coarse_as_sources_print_them(text: str, day: tuple[int, int, int]):
    assert parse_date(text) == datetime.date(*day)


@pytest.mark.parametrize("text", ["", "recently", "2026-13", "2026-02-31"])
def test_what_is_no_date_is_none(text: str):
    assert parse_date(text) is None


def test_numbers_over_ninety_days_are_stale():
    assert not origin("2026-08-23").is_stale(TODAY)
    assert origin("2026-08-22").is_stale(TODAY)
    assert origin("as given").is_stale(TODAY)


def test_an_unknown_value_needs_a_reason():
    assert Estimate(value=None, basis="unknown", reason="nobody published it").text() == "unknown (nobody published it)"
    with pytest.raises(AssertionError):
        Estimate(value=None, basis="unknown")


def test_an_estimate_scales_with_its_interval():
    estimate = Estimate(value=2.0, low=1.0, high=4.0, basis="calibrated").scaled(1000)
    assert (estimate.value, estimate.low, estimate.high, estimate.basis) == (2000, 1000, 4000, "calibrated")


def test_large_figures_have_no_exponent() -> None:
    said = Estimate(value=26_300.0, low=999.6, high=1_234_567.0, basis="assumed").text(suffix=" J")
    assert said == "26,300 J [1,000–1,234,567] (assumed)"
    assert Estimate(value=12.34, basis="measured").text() == "12.3 (measured)"
