"""The simulator where queueing theory knows the answer, and laws that hold on every run."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("numba")

from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Empirical, Fixed, Length, Lognormal
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.simulator.engine import replay, simulate
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.results import Latency, SimulationResult
from llmsizer.traffic.simulator.steps import StepTable


def table(seconds: list[float]) -> StepTable:
    """A step lasts as long as its number of tokens says, prompt or output; index 0 is one token."""
    decode = np.array([seconds[0], *seconds])
    return StepTable(
        knots_tokens=np.array([0.0, 1e6]),
        decode_seconds=np.stack([decode, decode], axis=1),
        mixed_seconds=decode,
        seconds_per_pair=0.0,
    )


def server(steps: StepTable, seats: int) -> Replica:
    return Replica(
        steps=steps, kv_tokens=10_000_000, max_sequences=seats, max_batched_tokens=steps.max_tokens, block_tokens=1
    )


def demand(rate: float, output: Length, gap_cv: float = 1.0) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate, gap_cv=gap_cv),
        prompt=Fixed(tokens=1),
        output=output,
        context_tokens=100_000,
    )


def mean(latency: Latency | None) -> float:
    assert latency is not None
    return latency.mean_seconds


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_seat_and_one_token_is_m_d_1(load: float) -> None:
    # Pollaczek-Khinchine: wait = load * service / (2 (1 - load)); here service = 0.01 s.
    replica = server(table([0.01]), seats=1)
    result = simulate(replica, demand(load / 0.01, Fixed(tokens=1)), duration_seconds=20_000, warmup_seconds=50, seed=1)
    assert mean(result.ttft) == pytest.approx(0.01 + load * 0.01 / (2 * (1 - load)), rel=0.02)
    assert result.utilisation == pytest.approx(load, rel=0.02)
    assert result.verdict == "STABLE"


def geometric(mean_tokens: int) -> Empirical:
    return Empirical(tokens=np.random.default_rng(5).geometric(1 / mean_tokens, 200_000).astype(np.int32))


def erlang_c_wait(servers: int, offered: float, service_seconds: float) -> float:
    terms = [offered**k / math.factorial(k) for k in range(servers)]
    last = offered**servers / math.factorial(servers) * servers / (servers - offered)
    return last / (sum(terms) + last) * service_seconds / (servers - offered)


@pytest.mark.parametrize(("seats", "load"), [(4, 0.7), (8, 0.8)])
def test_seats_that_do_not_slow_each_other_are_m_m_c(seats: int, load: float) -> None:
    # Answers of geometric length (mean 500 steps of 1 ms) are exponential service; the queue is Erlang's.
    output = geometric(500)
    service = output.mean_tokens * 0.001
    replica = server(table([0.001] * seats), seats=seats)
    rate = load * seats / service
    result = simulate(replica, demand(rate, output), duration_seconds=1_000_000 / rate, warmup_seconds=100, seed=2)
    expected = service + erlang_c_wait(seats, load * seats, service)
    assert mean(result.e2e) == pytest.approx(expected, rel=0.02)
    assert result.mean_batch == pytest.approx(load * seats, rel=0.02)


@pytest.mark.parametrize("load", [0.5, 0.7])
@pytest.mark.parametrize("spread", ["fixed", "geometric", "lognormal"])
def test_steps_in_proportion_to_the_batch_share_the_processor(load: float, spread: str) -> None:
    # M/G/1 processor sharing: E2E = service / (1 - load), whatever the lengths' distribution. A step of b tokens lasts
    # b * 50 microseconds, so alone a request of n tokens takes n * 50 microseconds.
    lengths: dict[str, Length] = {
        "fixed": Fixed(tokens=2000),
        "geometric": geometric(2000),
        "lognormal": Lognormal(mean_tokens=2000, p95_tokens=5000, longest_tokens=60_000),
    }
    output = lengths[spread]
    drawn = output.draw(400_000, np.random.default_rng(3))
    service = float(drawn.mean()) * 50e-6
    replica = server(table([b * 50e-6 for b in range(1, 257)]), seats=256)
    rate = load / service
    result = simulate(replica, demand(rate, output), duration_seconds=1_000_000 / rate, warmup_seconds=100, seed=4)
    assert mean(result.e2e) == pytest.approx(service / (1 - load), rel=0.02)


def test_more_than_the_service_rate_is_overloaded_and_has_no_latency() -> None:
    replica = server(table([0.01]), seats=1)
    result = simulate(replica, demand(110.0, Fixed(tokens=1)), duration_seconds=600)
    assert result.verdict == "OVERLOADED"
    assert (result.ttft, result.tpot, result.itl, result.e2e) == (None, None, None, None)
    assert result.utilisation == pytest.approx(1.0, abs=1e-3)


def random_run(seed: int, rate: float, seats: int, kv_tokens: int, replicas: int) -> tuple[Requests, SimulationResult]:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 400))
    requests = Requests(
        arrival_seconds=np.cumsum(rng.exponential(1 / rate, count)),
        prompt_tokens=rng.integers(1, 300, count).astype(np.int32),
        output_tokens=rng.integers(1, 200, count).astype(np.int32),
    )
    steps = table([0.004 + 0.0005 * b for b in range(1, 257)])
    replica = Replica(steps=steps, kv_tokens=kv_tokens, max_sequences=seats, max_batched_tokens=256)
    fleet = Fleet(replicas=replicas, routing="least loaded")
    return requests, replay(replica, requests, fleet=fleet, keep_records=True)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**31),
    rate=st.sampled_from([1.0, 10.0, 100.0]),
    seats=st.integers(1, 16),
    kv_tokens=st.integers(512, 4096),
    replicas=st.integers(1, 4),
)
def test_tokens_and_requests_are_conserved(seed: int, rate: float, seats: int, kv_tokens: int, replicas: int) -> None:
    requests, result = random_run(seed, rate, seats, kv_tokens, replicas)
    counts = result.counts
    assert counts.arrived == counts.finished == counts.measured == len(requests)
    assert counts.output_tokens == int(requests.output_tokens.sum())
    assert counts.prompt_tokens == int(requests.prompt_tokens.sum())
    assert counts.prefilled_tokens >= counts.prompt_tokens
    assert counts.preemptions or counts.prefilled_tokens == counts.prompt_tokens
    assert result.peak_batch <= seats
    assert result.peak_kv_tokens <= kv_tokens
    # One first token each, and a gap before every other token.
    assert result.itl is None or result.itl.count == counts.output_tokens - len(requests)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**31), rate=st.sampled_from([1.0, 10.0, 100.0]), seats=st.integers(1, 16))
def test_littles_law_joins_the_time_series_to_the_latencies(seed: int, rate: float, seats: int) -> None:
    # Sequences in the batch, added up over time, against the time each request spent decoding: two separate accounts.
    # (A run of one request to its end: nothing is preempted, so a request decodes from its first token to its last.)
    _, result = random_run(seed, rate, seats, kv_tokens=16 * 512, replicas=1)
    assert result.first_token_seconds is not None and result.end_seconds is not None
    in_batch = float((result.end_seconds - result.first_token_seconds).sum())
    assert result.total_batch_seconds == pytest.approx(in_batch, rel=1e-9)


def test_the_same_seed_gives_the_same_result_and_another_one_does_not() -> None:
    replica = server(table([0.004] * 8), seats=8)
    output = Lognormal(mean_tokens=100, p95_tokens=250, longest_tokens=2000)
    first, second, other = (
        simulate(replica, demand(5.0, output), duration_seconds=500, seed=seed) for seed in (7, 7, 8)
    )
    assert np.array_equal(first.histograms, second.histograms)
    assert first.e2e == second.e2e
    assert first.e2e != other.e2e
