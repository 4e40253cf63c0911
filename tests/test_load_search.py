"""Searches find what is there, stop by count and by time, and never answer above a load that was seen to fail."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Distribution, Quantile
from llmsizer.profile.load.patterns import Closed, Open
from llmsizer.profile.load.search import Edge, OutOfTime, find_edge, find_knee
from llmsizer.profile.load.slo import Limit, parse_slo, requests_needed
from llmsizer.profile.load.summary import edge_sentence
from llmsizer.profile.load.workers import workers_for


@given(limit=st.integers(1, 600))
def test_the_knee_of_a_server_with_so_many_seats_is_bracketed(limit: int) -> None:
    # Throughput grows with each user up to the seats and not beyond: 90 % of the best needs 90 % of the seats.
    measured: list[int] = []

    def throughput(users: int) -> float:
        measured.append(users)
        return 100.0 * min(users, limit)

    knee = find_knee(throughput, most_points=16)
    assert knee.at is not None
    assert knee.at >= 0.9 * min(limit, max(measured))
    assert knee.below is None or knee.below < 0.9 * knee.best_throughput / 100.0
    assert knee.below is None or knee.at / knee.below <= 1.5 or knee.at - knee.below <= 1
    assert len(measured) == len(set(measured)) <= 16


def test_a_knee_is_not_called_at_the_first_flat_point() -> None:
    noisy = {1: 10.0, 2: 10.2, 4: 39.0, 8: 78.0, 16: 80.0, 32: 80.5}
    knee = find_knee(lambda users: noisy.get(users, 60.0))
    assert knee.at == 8


def test_a_point_that_fails_ends_the_doubling_and_the_others_are_kept() -> None:
    knee = find_knee(lambda users: None if users > 4 else 10.0 * users)
    assert (knee.at, knee.best_throughput) == (4, 40.0)
    assert find_knee(lambda users: None).at is None


@given(truth=st.floats(0.01, 5000), start=st.floats(0.1, 100))
def test_the_edge_is_within_ten_percent_of_the_largest_load_that_holds(truth: float, start: float) -> None:
    edge = find_edge(lambda load: load <= truth, start, most_points=40)
    assert edge.stopped == "found"
    assert edge.held is not None
    assert edge.missed is not None
    assert edge.held <= truth < edge.missed <= 1.1 * edge.held * (1 + 1e-9)


@given(answers=st.lists(st.booleans(), min_size=1, max_size=12))
def test_no_answer_is_above_a_load_that_was_seen_to_miss(answers: list[bool]) -> None:
    missed: list[float] = []
    script = iter(answers)

    def holds(load: float) -> bool:
        held = next(script)
        if not held:
            missed.append(load)
        return held

    edge = find_edge(holds, 1.0, most_points=len(answers))
    assert edge.held is None or not missed or edge.held <= min(missed)


def test_searches_stop_when_the_time_is_up_and_say_so() -> None:
    def measure(load: float) -> bool:
        if load > 3:
            raise OutOfTime
        return True

    assert find_edge(measure, 1.0) == find_edge(measure, 1.0)
    assert find_edge(measure, 1.0).stopped == "out of time"
    assert find_edge(measure, 1.0).held == 2.0

    def throughput(users: int) -> float:
        if users > 4:
            raise OutOfTime
        return float(users)

    assert find_knee(throughput).stopped == "out of time"


def test_limits_are_read_as_people_write_them() -> None:
    assert parse_slo("p95 ttft <= 1s, P99 TPOT<50ms,p90 e2e ≤ 2.5 s") == (
        Limit(metric="ttft", fraction=0.95, seconds=1.0),
        Limit(metric="tpot", fraction=0.99, seconds=0.05),
        Limit(metric="e2e", fraction=0.90, seconds=2.5),
    )
    assert parse_slo("p95 ttft <= 1s")[0].text() == "p95 TTFT ≤ 1 s"


@pytest.mark.parametrize("text", ["", "ttft <= 1s", "p95 ttft 1s", "p95 ttft <= 1", "p101 ttft <= 1s", "p42 ttft <= 1s",
                                  "p95 ttft <= 0s", "p95 foo <= 1s", "p95 ttft <= 1s, p50 ttft <= 1s"])  # fmt: skip
def test_limits_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_slo(text)


def test_a_limit_is_held_for_sure_only_with_the_whole_interval_below_it() -> None:
    limit = Limit(metric="ttft", fraction=0.95, seconds=1.0)

    def judged(value: float, low: float | None, high: float | None) -> str:
        quantile = Quantile(value=value, low=low, high=high)
        return limit.judge({"effective_ttft": Distribution(n=200, percentiles={"p95": quantile})})

    assert judged(0.8, 0.7, 0.9) == "held"
    assert judged(0.8, 0.7, 1.1) == judged(0.8, 0.7, None) == "likely held"
    assert judged(1.2, 0.9, 1.3) == "likely missed"
    assert judged(1.2, 1.1, None) == "missed"
    assert limit.judge({}) == "unknown"


def test_a_few_fast_answers_do_not_miss_a_limit() -> None:
    # Ten answers have no p95, but that all of them came in time is no sign that the load is too much.
    limit = parse_slo("p95 ttft <= 1s")[0]
    assert limit.judge({"effective_ttft": Distribution(n=10, maximum=0.1)}) == "likely held"
    assert limit.judge({"effective_ttft": Distribution(n=10, maximum=1.1)}) == "likely missed"
    assert requests_needed((limit,)) == 100
    assert requests_needed((Limit(metric="ttft", fraction=0.99, seconds=1.0),)) == 300


def test_another_process_is_started_only_for_more_than_a_thousand_streams() -> None:
    assert workers_for(Closed(concurrency=1000), 0, most=8) == 1
    assert workers_for(Closed(concurrency=1001), 0, most=8) == 2
    assert workers_for(Open(requests_per_second=1), 5000.0, most=3) == 3


def test_a_search_says_why_it_ended_before_it_was_done() -> None:
    limits = parse_slo("p95 ttft <= 1s")
    for stopped, said in (("out of time", "--max-minutes"), ("out of points", "--most-points")):
        for edge in (Edge(held=2.0, missed=None, stopped=stopped), Edge(held=None, missed=1.0, stopped=stopped)):
            assert said in edge_sentence(edge, "rate", limits, [])
    done = edge_sentence(Edge(held=2.0, missed=2.1, stopped="found"), "rate", limits, [])
    assert "--max-minutes" not in done and "--most-points" not in done
