"""Arrivals, lengths and streams have the rates, shapes and orders they promise, and refuse what cannot be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsizer.errors import InputError
from llmsizer.facts.workload import Workload
from llmsizer.traffic.demand.arrivals import (
    Arrivals,
    gap_cv,
)
from llmsizer.traffic.demand.lengths import Empirical, Fixed, Lognormal
from llmsizer.traffic.demand.requests import Requests, joined
from llmsizer.traffic.demand.stream import Conversation, Stream, stream_of


def times_of(
    arrivals: Arrivals, duration_seconds: float, seed: int = 0
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.concatenate(list(arrivals.stretches(duration_seconds, np.random.default_rng(seed))))


@pytest.mark.parametrize("cv", [0.0, 1.0, 3.0])
def test_gaps_have_the_rate_and_the_variation_asked_for(cv: float) -> None:
    times = times_of(Arrivals(requests_per_second=20.0, gap_cv=cv), 10_000)
    assert len(times) == pytest.approx(200_000, rel=0.03)
    assert gap_cv(times) == pytest.approx(cv, rel=0.03, abs=1e-6)
    assert np.all(np.diff(times) >= 0)
    assert times[-1] < 10_000


def test_the_hours_of_a_day_get_their_share() -> None:
    weights = (0.0, 1.0, 3.0, *([1.0] * 20), 0.0)
    times = times_of(Arrivals(requests_per_second=10.0, hourly_weights=weights), 48 * 3600)
    by_hour = np.bincount((times // 3600).astype(int), minlength=48)
    # 24 * 10 / 24 per weight and second: an hour of weight 1 has 3600 * 10 * 24 / 24 requests.
    assert by_hour[0] == by_hour[23] == by_hour[24] == 0
    assert by_hour[1] == pytest.approx(36_000, rel=0.03)
    assert by_hour[26] == pytest.approx(3 * 36_000, rel=0.03)


def test_growth_compounds_over_the_year() -> None:
    arrivals = Arrivals(requests_per_second=2.0, growth_per_year=0.5)
    assert arrivals.rate_at(0) == 2.0
    assert arrivals.rate_at(8760) == pytest.approx(3.0)
    # The mean of 1.5^t over a year is 0.5 / ln 1.5.
    assert arrivals.expected(365 * 86_400.0) == pytest.approx(2 * 365 * 86_400 * 0.5 / math.log(1.5), rel=1e-3)


def test_the_peak_is_told_from_the_profile() -> None:
    assert Arrivals(requests_per_second=1, hourly_weights=(*([1.0] * 23), 25.0)).peak_to_average == 12.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests_per_second": 0.0},
        {"requests_per_second": -1.0},
        {"requests_per_second": math.nan},
        {"requests_per_second": math.inf},
        {"requests_per_second": 1.0, "gap_cv": -0.1},
        {"requests_per_second": 1.0, "gap_cv": math.nan},
        {"requests_per_second": 1.0, "hourly_weights": (1.0,) * 23},
        {"requests_per_second": 1.0, "hourly_weights": (0.0,) * 24},
        {"requests_per_second": 1.0, "hourly_weights": (math.nan,) * 24},
        {"requests_per_second": 1.0, "growth_per_year": -1.0},
        {"requests_per_second": 1.0, "growth_per_year": math.nan},
    ],
)
def test_an_impossible_demand_is_refused_in_one_line(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError) as caught:
        Arrivals(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_lognormal_lengths_have_their_mean_and_tail() -> None:
    lengths = Lognormal(mean_tokens=500, p95_tokens=1500, longest_tokens=100_000)
    drawn = lengths.draw(1_000_000, np.random.default_rng(1))
    assert drawn.mean() == pytest.approx(500, rel=0.01)
    assert np.percentile(drawn, 95) == pytest.approx(1500, rel=0.01)
    assert drawn.min() >= 1
    assert drawn.max() <= 100_000


def test_a_tail_no_lognormal_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"3\.87"):
        Lognormal(mean_tokens=100, p95_tokens=400, longest_tokens=1000)
    with pytest.raises(InputError, match="beyond the longest"):
        Lognormal(mean_tokens=100, p95_tokens=300, longest_tokens=200)
    with pytest.raises(InputError):
        Lognormal(mean_tokens=math.nan, p95_tokens=300, longest_tokens=400)


def test_empirical_lengths_are_those_that_were_seen() -> None:
    seen = np.array([1, 5, 5, 9], dtype=np.int32)
    drawn = Empirical(tokens=seen).draw(10_000, np.random.default_rng(1))
    assert set(drawn.tolist()) == {1, 5, 9}
    assert (drawn == 5).mean() == pytest.approx(0.5, abs=0.02)
    with pytest.raises(InputError):
        Empirical(tokens=np.array([], dtype=np.int32))


def stream(**options: object) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=5.0),
        prompt=Lognormal(mean_tokens=300, p95_tokens=800, longest_tokens=2000),
        output=Fixed(tokens=100),
        context_tokens=16_384,
        **options,  # type: ignore[arg-type]
    )


def drawn(source: Stream, duration_seconds: float, seed: int = 0) -> Requests:
    return joined(list(source.stretches(duration_seconds, seed))).checked("the stream", context_tokens=16_384)


def test_a_shared_prefix_is_in_every_prompt_and_hit_at_its_rate() -> None:
    requests = drawn(stream(shared_prefix_tokens=1000, prefix_hit_rate=0.8), 4000)
    assert requests.prompt_tokens.min() > 1000
    assert (requests.cached_tokens == 1000).mean() == pytest.approx(0.8, abs=0.02)


def test_reasoning_tokens_come_on_top_of_the_answer() -> None:
    requests = drawn(stream(reasoning=Fixed(tokens=900)), 100)
    assert set(requests.output_tokens.tolist()) == {1000}


def test_turns_hold_what_was_said_before_and_keep_the_rate() -> None:
    requests = drawn(stream(conversation=Conversation(mean_turns=4, pause_seconds=30)), 20_000)
    # Conversations that run beyond the end, or beyond the context, cost a little of the rate.
    assert len(requests) == pytest.approx(5 * 20_000, rel=0.03)
    assert np.all(np.diff(requests.arrival_seconds) >= 0)
    one = requests.part(np.flatnonzero(requests.groups == np.bincount(requests.groups).argmax()))
    # All but the new prompt of a turn was the prompt and the answer of the one before.
    assert one.cached_tokens[0] == 0
    assert np.array_equal(one.cached_tokens[1:], one.prompt_tokens[:-1] + one.output_tokens[:-1])


def test_the_same_seed_gives_the_same_requests() -> None:
    first, second, other = (drawn(stream(), 100, seed) for seed in (3, 3, 4))
    assert np.array_equal(first.arrival_seconds, second.arrival_seconds)
    assert np.array_equal(first.prompt_tokens, second.prompt_tokens)
    assert len(first) != len(other) or not np.array_equal(first.arrival_seconds, other.arrival_seconds)


def test_prompts_longer_than_the_context_are_refused() -> None:
    with pytest.raises(InputError, match="the context is 2,000"):
        Stream(
            arrivals=Arrivals(requests_per_second=1.0),
            prompt=Fixed(tokens=1950),
            output=Fixed(tokens=100),
            context_tokens=2000,
        )


def test_a_workload_becomes_a_stream_of_its_means() -> None:
    workload = Workload(
        requests_per_second=50,
        prompt_tokens=400,
        prompt_tokens_p95=1200,
        output_tokens=150,
        cached_prompt_fraction=0.25,
    )
    requests = joined(list(stream_of(workload).stretches(2000, 1)))
    assert len(requests) == pytest.approx(100_000, rel=0.02)
    assert requests.prompt_tokens.mean() == pytest.approx(400, rel=0.02)
    assert set(requests.output_tokens.tolist()) == {150}
    assert requests.cached_tokens.sum() / requests.prompt_tokens.sum() == pytest.approx(0.25, rel=0.01)
