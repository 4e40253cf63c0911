"""Clients that ask again: no load where nobody waits too long, a storm that feeds itself where many do."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")

from llmsizer.errors import InputError
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.failing.retries import RetryPolicy, retries
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.steps import tabulate


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


TABLE = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
REPLICA = Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024)
ALONE = 0.020  # seconds to a first token on an idle replica: 10 ms + 100 × 0.1 ms
HOURS = 0.1


def demand(rate: float) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    )


def test_nobody_asks_twice_where_nobody_waits_too_long() -> None:
    found = retries(REPLICA, demand(2), Fleet(), RetryPolicy(timeout_seconds=5), hours=HOURS)
    assert (found.load_from_calm, found.load_from_storm, found.load_simulated) == (1, 1, 1)
    assert (found.timed_out_share, found.given_up_share, found.stays_down) == (0, 0, False)


def test_where_every_try_is_too_slow_all_are_made_and_all_give_up() -> None:
    policy = RetryPolicy(timeout_seconds=ALONE / 2, most_retries=2)
    found = retries(REPLICA, demand(1), Fleet(), policy, hours=HOURS)
    assert found.load_from_calm == found.load_simulated == 3
    assert (found.timed_out_share, found.given_up_share, found.settled) == (1, 1, True)


def test_a_busy_fleet_that_holds_its_demand_may_not_hold_a_storm_of_it() -> None:
    # 60 a second saturate: 30 are half of that, and 90 are too many.
    found = retries(REPLICA, demand(30), Fleet(), RetryPolicy(timeout_seconds=2, most_retries=2), hours=HOURS)
    assert (found.verdict_from_calm, found.load_from_calm) == ("STABLE", 1)
    assert (found.verdict_from_storm, found.load_from_storm) == ("OVERLOADED", 3)
    assert found.stays_down


def test_the_simulated_load_lies_between_the_fixed_points_near_saturation() -> None:
    policy = RetryPolicy(timeout_seconds=0.1, most_retries=1, pause_seconds=0.5)
    found = retries(REPLICA, demand(40), Fleet(), policy, hours=HOURS)
    assert found.settled
    assert 1 < found.load_simulated <= 2
    assert found.load_simulated == pytest.approx(1 + found.timed_out_share)  # one retry for each that was late
    assert found.given_up_share <= found.timed_out_share


def test_a_client_may_wait_for_the_whole_answer() -> None:
    # The whole answer takes 120 ms, its first token 20 ms.
    late = RetryPolicy(timeout_seconds=0.06, most_retries=1, waits_for="answer")
    assert retries(REPLICA, demand(1), Fleet(), late, hours=HOURS).timed_out_share == 1
    patient = RetryPolicy(timeout_seconds=0.06, most_retries=1)
    assert retries(REPLICA, demand(1), Fleet(), patient, hours=HOURS).timed_out_share < 0.1


@pytest.mark.parametrize("bad", [{"timeout_seconds": 0}, {"timeout_seconds": float("nan")}, {"pause_seconds": -1},
                                 {"most_retries": 21}, {"most_retries": -1}])  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError, match="give"):
        RetryPolicy(**{"timeout_seconds": 1.0, **bad})  # type: ignore[arg-type]
