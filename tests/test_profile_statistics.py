"""Intervals, percentiles and the steady state: by hand, and by how often they are right in simulation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.profile.distribution import distribution_of
from llmsizer.profile.intervals import (
    Interval,
    autocorrelation_time,
    judged,
    mean_with_interval,
    quantile_with_interval,
    ratio_with_interval,
)
from llmsizer.profile.steady import mann_kendall, steady_state
from llmsizer.student import binomial_ranks, student_quantile

Series = NDArray[np.float64]
TRIALS = 400  # a coverage of 90 % is then seen within ± 3 points (two standard errors)


def test_students_t_by_the_table() -> None:
    table = {(0.95, 1): 6.314, (0.95, 2): 2.920, (0.95, 4): 2.132, (0.975, 9): 2.262, (0.95, 30): 1.697}
    for (probability, freedom), value in table.items():
        assert student_quantile(probability, freedom) == pytest.approx(value, rel=2e-3)
    assert student_quantile(0.05, 4) == pytest.approx(-student_quantile(0.95, 4))


def test_ranks_around_a_median_of_five_by_hand() -> None:
    # P(all five on one side) = 1/32 = 3.1 % ≤ 5 %; of four on one side 6/32 is too much: first and fifth
    assert binomial_ranks(5, 0.5, 0.90) == (1, 5)
    assert binomial_ranks(4, 0.5, 0.90) == (0, 5)  # 1/16 = 6.25 % > 5 %: no pair is wide enough


def test_there_is_no_p99_of_99_values_and_no_upper_bound_of_562() -> None:
    def p99(n: int) -> tuple[bool, bool]:
        found = quantile_with_interval(np.random.default_rng(3).normal(size=n).tolist(), 0.99)
        return found is not None, found is not None and found.high is not None

    # 0.99 n + 1.96 √(n · 0.99 · 0.01) + 1 ≤ n first holds at n = 563
    assert [p99(n) for n in (99, 100, 562, 563)] == [(False, False), (True, False), (True, False), (True, True)]
    names = distribution_of(list(np.linspace(1.0, 2.0, 99)), "ttft").percentiles
    assert "p95" in names and "p99" not in names


@pytest.mark.parametrize(("fraction", "first"), [(0.90, 53), (0.95, 110)])
def test_upper_bounds_begin_where_the_table_says(fraction: float, first: int) -> None:
    values = np.random.default_rng(3).permutation(first).astype(float).tolist()
    assert (quantile_with_interval(values, fraction) or pytest.fail()).high is not None
    assert (quantile_with_interval(values[:-1], fraction) or pytest.fail()).high is None


def test_a_percentile_is_the_smallest_value_that_the_fraction_does_not_exceed() -> None:
    values = [float(v) for v in range(1, 101)]
    distribution = distribution_of(values[::-1], "ttft")
    assert {name: q.value for name, q in distribution.percentiles.items()} == {
        "p50": 50,
        "p90": 90,
        "p95": 95,
        "p99": 99,
    }
    assert (distribution.minimum, distribution.maximum, distribution.mean, distribution.n) == (1, 100, 50.5, 100)


def lognormal(rng: Generator, n: int) -> Series:
    return np.exp(rng.normal(size=n))


def autoregressive(rng: Generator, n: int, phi: float = 0.8) -> Series:
    shocks, values = rng.normal(size=n) * math.sqrt(1 - phi * phi), np.empty(n)
    values[0] = rng.normal()
    for i in range(1, n):
        values[i] = phi * values[i - 1] + shocks[i]
    return values


def skewed_and_autoregressive(rng: Generator, n: int) -> Series:
    return np.exp(0.7 * autoregressive(rng, n))


# True mean, median and 90th percentile follow from z₀.₉ = 1.2816 by hand.
SAMPLES: dict[str, tuple[Callable[[Generator, int], Series], int, float, float, float]] = {
    "normal": (lambda rng, n: 10.0 + rng.normal(size=n), 200, 10.0, 10.0, 11.2816),
    "lognormal": (lognormal, 200, math.exp(0.5), 1.0, math.exp(1.2816)),
    "autoregressive": (lambda rng, n: 10.0 + autoregressive(rng, n), 400, 10.0, 10.0, 11.2816),
    "skewed autoregressive": (skewed_and_autoregressive, 400, math.exp(0.245), 1.0, math.exp(0.7 * 1.2816)),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_ninety_percent_intervals_are_right_in_85_to_95_percent(name: str) -> None:
    draw, n, mean, median, p90 = SAMPLES[name]
    rng = np.random.default_rng(7)
    hits = np.zeros(3)
    for _ in range(TRIALS):
        values = draw(rng, n).tolist()
        found = (mean_with_interval(values), quantile_with_interval(values, 0.5), quantile_with_interval(values, 0.9))
        for i, (interval, truth) in enumerate(zip(found, (mean, median, p90), strict=True)):
            assert interval is not None
            low = -math.inf if interval.low is None else interval.low
            hits[i] += low <= truth <= (math.inf if interval.high is None else interval.high)
    assert all(0.85 <= hit / TRIALS <= 0.95 for hit in hits), hits / TRIALS


def test_neighbours_that_resemble_count_for_less() -> None:
    rng = np.random.default_rng(5)
    # AR(1): τ = (1 + φ)/(1 − φ) = 9 at φ = 0.8
    assert autocorrelation_time(autoregressive(rng, 20_000)) == pytest.approx(9.0, rel=0.2)
    assert autocorrelation_time(rng.normal(size=20_000)) == pytest.approx(1.0, abs=0.1)
    assert autocorrelation_time([1.0, 5.0, 1.0]) == autocorrelation_time([2.0] * 50) == 1.0


def test_a_paired_ratio_by_hand_does_not_see_what_slowed_both() -> None:
    fast, slowdown = np.array([1.0, 1.0, 1.0, 1.0]), np.array([1.0, 3.0, 1.5, 2.0])
    ratio = ratio_with_interval((2.6 * fast * slowdown).tolist(), (fast * slowdown).tolist())
    assert (ratio.value, ratio.low, ratio.high) == (pytest.approx(2.6),) * 3
    alone = ratio_with_interval((2.6 * fast * slowdown).tolist(), (fast * slowdown).tolist(), paired=False)
    assert alone.value == pytest.approx(2.6) and (alone.low or 0) < 2.0 < 3.4 < (alone.high or 0)


def test_ratios_of_pairs_are_right_in_85_to_95_percent() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for _ in range(TRIALS):
        common = np.exp(0.3 * rng.normal(size=5))
        noise = np.exp(0.02 * rng.normal(size=(2, 5)))
        ratio = ratio_with_interval((2.0 * common * noise[0]).tolist(), (common * noise[1]).tolist())
        hits += (ratio.low or 0.0) <= 2.0 <= (ratio.high or 0.0)
    assert 0.85 <= hits / TRIALS <= 0.95


@pytest.mark.parametrize(
    ("over", "under", "words"),
    [([], [], "positive"), ([1.0], [0.0], "positive"), ([1.0, 2.0], [1.0], "as many values")],
)
def test_a_ratio_that_cannot_be_is_refused(over: list[float], under: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ratio_with_interval(over, under)


def test_one_value_has_no_interval_and_none_is_an_error() -> None:
    assert mean_with_interval([2.0]).low is None
    assert distribution_of([], "ttft").mean is None
    for bad in ([], [1.0, math.nan]):
        with pytest.raises(InputError, match="finite"):
            mean_with_interval(bad)


def test_mann_kendall_of_four_rising_values_by_hand() -> None:
    # one order of 24 rises all along, one falls: p = 2/24
    assert mann_kendall([1.0, 2.0, 3.0, 4.0]) == (6, pytest.approx(2 / 24))
    assert mann_kendall([2.0, 2.0, 2.0, 2.0])[1] == 1.0


def test_a_flat_noisy_run_is_steady_and_a_drifting_one_is_not() -> None:
    noise = np.random.default_rng(2).normal(size=200) * 0.05
    flat = steady_state((1.0 + noise).tolist())
    assert flat.found and flat.start == 0 and flat.trend == "plateau"
    rising = steady_state((1.0 + noise + np.linspace(0, 1, 200)).tolist())
    assert not rising.found and rising.trend == "drifting-up" and "up" in rising.reason
    wild = steady_state([1.0, 3.0] * 3)
    assert not wild.found and "varies" in wild.reason


def test_a_warm_up_is_cut_off_and_said() -> None:
    noise = np.random.default_rng(2).normal(size=100) * 0.01
    settled = steady_state((1.0 + noise + np.where(np.arange(100) < 18, 1.0, 0.0)).tolist())
    assert settled.found and settled.start == 20 and settled.end == 100


def test_too_few_values_are_never_called_steady() -> None:
    assert not steady_state([1.0, 1.0, 1.0]).found
    assert not steady_state([float(v) for v in range(10, 18)]).found  # eight in a row, and nothing shorter to hide in


def test_a_drift_of_no_interest_is_no_drift() -> None:
    assert steady_state((1.0 + np.linspace(0, 0.01, 50)).tolist()).found


def test_a_bar_is_decided_only_by_the_whole_interval() -> None:
    assert judged(Interval(value=1.0, low=0.98, high=1.02), least=0.97, most=1.03) == "held"
    assert judged(Interval(value=1.0, low=0.96, high=1.02), least=0.97, most=1.03) == "not decided"
    assert judged(Interval(value=1.1, low=1.04, high=1.2), most=1.03) == "missed"
    assert judged(Interval(value=1.0, low=0.98, high=None), most=1.03) == "not decided"


def test_the_mean_of_a_few_scattered_durations_is_never_below_nothing() -> None:
    few = distribution_of([0.001, 0.001, 1.0], "ttft")
    assert mean_with_interval([0.001, 0.001, 1.0]).low < 0  # type: ignore[operator]
    assert few.mean_low == 0.0
