"""One replica under load: queueing theory where it is exact, laws everywhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.facts.workload import Slo, Workload
from llmsizer.traffic.closed_form.ladders import Rows
from llmsizer.traffic.closed_form.latencies import evaluate
from llmsizer.traffic.closed_form.meanfield import (
    Probe,
    Replica,
    Room,
    StepSample,
    largest_batch,
    make_replica,
    probe,
    rates,
    saturation_rate,
    squared_variation,
)
from llmsizer.traffic.closed_form.sizing import capacity, load_at, replicas_for

ROOMY = Room(kv_capacity_tokens=10_000_000, max_sequences=256)


@dataclass(frozen=True)
class LinearSteps:
    """Step times a person can compute: so much per step, per row, per cached token, per prompt token."""

    per_step_seconds: float = 0.02
    per_row_seconds: float = 1e-4
    per_cached_token_seconds: float = 2e-8
    per_prompt_token_seconds: float = 6e-5
    spread: float = 1.0
    overhead_seconds: float = 0.0

    def sample(self, asked: Probe) -> StepSample:
        per_row = self.per_row_seconds + asked.context_tokens * self.per_cached_token_seconds
        prefill = asked.prompt_tokens * self.per_prompt_token_seconds
        return StepSample(
            decode_seconds=self.per_step_seconds + np.array(asked.batches) * per_row,
            first_token_seconds=prefill,
            first_token_p95_seconds=asked.prompt_tokens_p95 * self.per_prompt_token_seconds,
            prefill_seconds=prefill,
            overhead_seconds=self.overhead_seconds,
            decode_interval=(1 / self.spread, self.spread),
            prefill_interval=(1 / self.spread, self.spread),
        )


def sample_replica(steps: LinearSteps, workload: Workload, room: Room) -> Replica | None:
    asked = probe(workload, room)
    return None if asked is None else make_replica(workload, room, asked, steps.sample(asked))


def known(value: float | None) -> float:
    assert value is not None
    return value


def replica(steps: LinearSteps, workload: Workload, room: Room = ROOMY) -> Replica:
    found = sample_replica(steps, workload, room)
    assert found is not None
    return found


CHAT = Workload(
    requests_per_second=1, prompt_tokens=1000, output_tokens=250, prompt_tokens_p95=2500, output_tokens_p95=600
)

FIXED = Workload(requests_per_second=1, prompt_tokens=1000, output_tokens=250)


def test_one_place_and_one_token_is_the_m_d_1_queue() -> None:
    # s = 1000 × 60 µs = 60 ms; M/D/1 waits ρ·s / (2·(1 − ρ)); at ρ = 0.8: 0.8 × 0.06 / 0.4 = 120 ms
    one = Workload(requests_per_second=1, prompt_tokens=1000, output_tokens=1)
    alone = replica(LinearSteps(), one, Room(kv_capacity_tokens=2000, max_sequences=1))
    assert saturation_rate(alone, alone.mid) == pytest.approx(1 / 0.06)
    point = load_at(alone, 0.8 / 0.06)
    assert point.ttft_mean.value == pytest.approx(0.06 + 0.12, rel=1e-4)
    assert point.tpot_mean.value is None and "one token" in point.tpot_mean.estimate.reason


def test_prefill_only_with_room_for_many_is_the_m_d_1_queue_too() -> None:
    one = Workload(requests_per_second=1, prompt_tokens=1000, output_tokens=1)
    wide = replica(LinearSteps(), one)
    point = load_at(wide, 0.5 / 0.06)
    assert point.ttft_mean.value == pytest.approx(0.06 + 0.5 * 0.06 / (2 * 0.5), rel=1e-3)


def test_one_place_waits_like_pollaczek_khinchine() -> None:
    # stay = 249 × 20.1225 ms + 60 ms; lengths fixed, so W = ρ·stay / (2·(1 − ρ))
    fixed = Workload(requests_per_second=1, prompt_tokens=1000, output_tokens=250)
    alone = replica(LinearSteps(), fixed, Room(kv_capacity_tokens=1250, max_sequences=1))
    stay = 249 * (0.02 + 1e-4 + 1125 * 2e-8) + 0.06
    point = load_at(alone, 0.7 / stay)
    assert point.ttft_mean.value == pytest.approx(0.06 + 0.7 * stay / (2 * 0.3), rel=1e-3)
    assert point.tpot_mean.value == pytest.approx(0.02 + 1e-4 + 1125 * 2e-8)  # nobody interrupts the only one


def test_waiting_for_a_place_is_near_erlang_c() -> None:
    # M/M/m with constant step time: Sakasegawa's formula is known to within some per cent of Erlang C.
    exponential = Workload(requests_per_second=1, prompt_tokens=1, output_tokens=1001, output_tokens_p95=2990)
    steps = LinearSteps(per_step_seconds=0.01, per_row_seconds=0, per_cached_token_seconds=0)
    places, load = 10, 0.8
    server = replica(steps, exponential, Room(kv_capacity_tokens=1e9, max_sequences=places))
    server_rate = saturation_rate(server, server.mid)
    wait = load_at(server, load * server_rate).ttft_mean.value
    offered = load * places
    top = offered**places / math.factorial(places) / (1 - load)
    erlang_c = top / (sum(offered**k / math.factorial(k) for k in range(places)) + top)
    cv_factor = (1 + squared_variation(1001, 2990)) / 2
    assert wait == pytest.approx(erlang_c * 10 / (places * (1 - load)) * cv_factor, rel=0.1)


def test_batch_at_a_rate_by_hand() -> None:
    # λ = u / (249·t(1 + u) + (1 + u)·s) with u = 9: t(10) = 20 ms + 10 × 122.5 µs, s = 60 ms
    server = replica(LinearSteps(), FIXED)
    rate = 9 / (249 * (0.02 + 10 * (1e-4 + 1125 * 2e-8)) + 10 * 0.06)
    point = load_at(server, rate)
    # between the samples at 8 and 16 the step time is linear, as these steps are
    assert point.batch == pytest.approx(9, rel=1e-3)
    # Every companion's prompt comes between the tokens once.
    assert point.tpot_mean.value == pytest.approx(0.021225 + 9 * 0.06 / 249, rel=2e-3)


def test_the_front_end_adds_to_the_first_token_and_to_nothing_else() -> None:
    plain, slow = replica(LinearSteps(), CHAT), replica(LinearSteps(overhead_seconds=0.03), CHAT)
    before, after = load_at(plain, 1.0), load_at(slow, 1.0)
    assert known(after.ttft_mean.value) == pytest.approx(known(before.ttft_mean.value) + 0.03)
    assert after.tpot_p95.value == before.tpot_p95.value
    assert saturation_rate(slow, slow.mid) == saturation_rate(plain, plain.mid)


def test_overloaded_replica_reports_no_latency() -> None:
    server = replica(LinearSteps(), CHAT)
    point = load_at(server, 1.01 * saturation_rate(server, server.mid))
    assert point.verdict == "OVERLOADED" and point.utilisation > 1
    for figure in (point.ttft_mean, point.ttft_p95, point.tpot_mean, point.tpot_p95):
        assert figure.value is None and "OVERLOADED" in figure.estimate.reason


def test_cache_bounds_the_batch_with_a_margin_by_hand() -> None:
    # fixed lengths: mean 1000 + 125, spread 250/√12 = 72.2; 10 sequences need 11,250 + 1.645·√10·72.2 = 11,625
    fixed = Workload(requests_per_second=1, prompt_tokens=1000, output_tokens=250)
    assert largest_batch(fixed, Room(kv_capacity_tokens=11_630, max_sequences=256)) == (10, "kv cache")
    assert largest_batch(fixed, Room(kv_capacity_tokens=11_620, max_sequences=256)) == (9, "kv cache")
    assert largest_batch(fixed, Room(kv_capacity_tokens=1e9, max_sequences=64)) == (64, "max sequences")
    assert largest_batch(fixed, Room(kv_capacity_tokens=1000, max_sequences=64))[0] == 0


def test_a_tail_gives_the_lognormal_with_that_tail() -> None:
    # σ = 0.5: mean = e^(σ²/2), p95 = e^(1.64485 σ), CV² = e^(σ²) − 1
    assert squared_variation(math.exp(0.125), math.exp(1.6448536269514722 / 2)) == pytest.approx(math.exp(0.25) - 1)
    assert squared_variation(100, None) == 0


def test_capacity_takes_both_ends_of_the_step_times_along() -> None:
    held = capacity(replica(LinearSteps(spread=1.25), CHAT), Slo())
    rate = held.requests_per_second
    assert rate.low is not None and rate.value is not None and rate.high is not None
    assert rate.low < rate.value < rate.high
    assert rate.basis == "calibrated" and held.leaves_out


def test_too_slow_even_when_idle_has_capacity_zero_and_says_how_slow() -> None:
    held = capacity(replica(LinearSteps(per_step_seconds=0.2), FIXED), Slo(tpot_p95_seconds=0.05))
    assert held.requests_per_second.value == 0 and not held.meets_slo and held.limited_by == "tpot"
    assert held.unloaded.tpot_p95.value == pytest.approx(0.2001225)


def test_at_capacity_the_slo_is_just_met() -> None:
    slo = Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.04)
    server = replica(LinearSteps(), CHAT)
    held = capacity(server, slo)
    at = held.at_capacity
    assert at.ttft_p95.value is not None and at.tpot_p95.value is not None
    assert at.ttft_p95.value <= 1.0 * 1.001 and at.tpot_p95.value <= 0.04 * 1.001
    beyond = load_at(server, known(held.requests_per_second.value) * 1.01)
    assert known(beyond.ttft_p95.value) > 1.0 or known(beyond.tpot_p95.value) > 0.04


def test_whole_replicas_for_a_demand() -> None:
    assert [replicas_for(d, 2.0) for d in (0.1, 2.0, 2.1, 6.0)] == [1, 1, 2, 3]


steps_strategy = st.builds(
    LinearSteps,
    per_step_seconds=st.floats(1e-3, 0.2),
    per_row_seconds=st.floats(0, 1e-2),
    per_cached_token_seconds=st.floats(0, 1e-6),
    per_prompt_token_seconds=st.floats(1e-6, 1e-3),
    spread=st.floats(1, 2),
)
workload_strategy = st.builds(
    lambda p, n, ptail, ntail, cached: Workload(
        requests_per_second=1,
        prompt_tokens=p,
        output_tokens=n,
        prompt_tokens_p95=int(p * ptail) + 1,
        output_tokens_p95=int(n * ntail) + 1,
        cached_prompt_fraction=cached,
    ),
    st.integers(1, 20_000),
    st.integers(1, 4_000),
    st.floats(1, 6),
    st.floats(1, 6),
    st.floats(0, 0.9),
)
room_strategy = st.builds(Room, kv_capacity_tokens=st.floats(1e3, 1e7), max_sequences=st.integers(1, 1024))


@settings(max_examples=60, deadline=None)
@given(steps_strategy, workload_strategy, room_strategy)
def test_latency_never_falls_with_load_and_numbers_stay_finite(
    steps: LinearSteps, workload: Workload, room: Room
) -> None:
    server = sample_replica(steps, workload, room)
    if server is None:
        return
    companions = np.linspace(0, server.max_batch * 0.99, 50)
    points = evaluate(Rows.of([(server, server.mid)]), companions[None])
    assert np.all(np.diff(rates(server, server.mid, companions)) >= 0)
    stable = points.utilisation < 1
    for name in ("ttft_p95", "tpot_p95", "tpot_mean"):
        values = getattr(points, name)[stable]
        assert np.all(np.isfinite(values)) and np.all(np.diff(values) >= -1e-9 * values[:-1]), name


@settings(max_examples=40, deadline=None)
@given(steps_strategy, workload_strategy, room_strategy, st.floats(0.01, 10), st.floats(0.01, 0.5), st.floats(1, 4))
def test_a_looser_slo_never_holds_less(
    steps: LinearSteps, workload: Workload, room: Room, ttft: float, tpot: float, looser: float
) -> None:
    server = sample_replica(steps, workload, room)
    if server is None:
        return
    tight = capacity(server, Slo(ttft_p95_seconds=ttft, tpot_p95_seconds=tpot)).requests_per_second
    loose = capacity(server, Slo(ttft_p95_seconds=ttft * looser, tpot_p95_seconds=tpot * looser)).requests_per_second
    assert known(loose.value) >= known(tight.value) * 0.999
    assert known(tight.low) <= known(tight.value) <= known(tight.high)
    assert known(tight.value) <= saturation_rate(server, server.mid)
