"""How many experts a batch reaches: by hand, and as laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.facts.routing import experts_touched, pick_chances

MIXTURES = [(128, 8), (256, 8), (32, 4), (128, 1), (512, 10), (64, 6)]


def test_few_experts_are_picked_evenly() -> None:
    # 8 experts, 2 a token, 3 tokens: 8 · (1 − (3/4)³)
    assert experts_touched(8, 2, np.array(3.0)) == pytest.approx(4.625)


def test_many_are_picked_as_often_as_kernel_timings_say() -> None:
    assert 58 <= float(experts_touched(128, 8, np.array(16.0))) <= 64
    even = 128 * (1 - (1 - 8 / 128) ** 16)
    assert even == pytest.approx(82.4, abs=0.1)


@pytest.mark.parametrize(("experts", "per_token"), MIXTURES)
def test_chances_are_chances_and_sum_to_the_picks_of_a_token(experts: int, per_token: int) -> None:
    chances = pick_chances(experts, per_token)
    assert len(chances) == experts
    assert chances.sum() == pytest.approx(per_token)
    assert (np.diff(chances) <= 0).all() and chances.min() > 0 and chances.max() <= 1


def test_what_the_most_popular_cannot_take_goes_to_the_others() -> None:
    chances = pick_chances(40, 30)
    assert (chances[:2] == 1.0).all()
    assert chances.sum() == pytest.approx(30)


@pytest.mark.parametrize(("experts", "per_token"), MIXTURES)
def test_one_token_reaches_its_own_and_no_end_of_tokens_all(experts: int, per_token: int) -> None:
    one, all_of_them = experts_touched(experts, per_token, np.array([1.0, 1e9]))
    assert one == pytest.approx(per_token)
    assert all_of_them == pytest.approx(experts)


@pytest.mark.parametrize(("experts", "per_token"), MIXTURES)
@given(tokens=st.floats(1.0, 1e6), more=st.floats(1.0, 1e3))
def test_more_tokens_never_reach_fewer(experts: int, per_token: int, tokens: float, more: float) -> None:
    few, many = experts_touched(experts, per_token, np.array([tokens, tokens * more]))
    assert few <= many * (1 + 1e-9)
    assert many <= min(experts, per_token * tokens * more) * (1 + 1e-3)


@given(st.floats(1e-3, 1e5))
def test_between_its_points_the_table_is_right_to_a_thousandth(tokens: float) -> None:
    chances = pick_chances(128, 8)
    exact = -np.expm1(tokens * np.log1p(-chances)).sum()
    assert experts_touched(128, 8, np.array(tokens)) == pytest.approx(exact, rel=1e-3)
