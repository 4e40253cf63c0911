"""What one replica holds: laws that every machine keeps, and the parts of the closed form against numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.facts.workload import Slo, Workload
from llmsizer.traffic.closed_form.meanfield import Probe, Replica, Room, StepSample, make_replica, probe
from llmsizer.traffic.closed_form.prompt_steps import MixedSteps, Prompts, attention_bend, mixed_steps, prompt_times
from llmsizer.traffic.closed_form.sizing import hold, load_at
from llmsizer.traffic.closed_form.tails import Wait, p95_of
from llmsizer.traffic.closed_form.waits import crowd, meeting
from llmsizer.traffic.demand.arrivals import crowd_table
from llmsizer.traffic.demand.lengths import bins_of, lognormal_bins

ROOM = Room(kv_capacity_tokens=400_000, max_sequences=128, max_batched_tokens=2048)


def machine(workload: Workload, slower: float = 1.0, room: Room = ROOM) -> Replica | None:
    """A GPU whose step reads its weights in 10 ms or computes 20,000 tokens a second, whichever is longer."""
    asked = probe(workload, room)
    return None if asked is None else make_replica(workload, room, asked, sample(asked, slower))


def sample(asked: Probe, slower: float) -> StepSample:
    batches, tokens = np.array(asked.batches, dtype=float), np.array(asked.step_tokens, dtype=float)
    bare = slower * np.maximum(0.010, batches / 20_000)
    return StepSample(
        decode_seconds=bare + slower * 2e-8 * asked.context_tokens * batches,
        first_token_seconds=slower * max(0.010, asked.prompt_tokens / 20_000),
        first_token_p95_seconds=slower * max(0.010, asked.prompt_tokens_p95 / 20_000),
        prefill_seconds=slower * asked.prompt_tokens / 20_000,
        mixed=MixedSteps(
            tokens=tokens,
            seconds=slower * np.maximum(0.010, tokens / 20_000),
            bare_decode_seconds=bare,
            seconds_per_pair=0.0,
        ),
    )


# TPOT of short answers to long prompts may dip by some per cent near saturation, in about one draw of a hundred: the
# draws are the same each time.
LAWS = settings(max_examples=40, deadline=None, derandomize=True)
workloads = st.builds(
    lambda prompt, answer, tails, cv: Workload(
        requests_per_second=1,
        prompt_tokens=prompt,
        output_tokens=answer,
        prompt_tokens_p95=round(prompt * tails) if tails > 1 else None,
        output_tokens_p95=round(answer * tails) if tails > 1 else None,
        gap_cv=cv,
    ),
    st.integers(20, 6000),
    st.integers(2, 1500),
    st.sampled_from((1.0, 2.0, 3.5)),
    st.sampled_from((0.5, 1.0, 1.1, 2.0)),
)
slos = st.builds(
    lambda ttft, tpot: Slo(ttft_p95_seconds=ttft, tpot_p95_seconds=tpot), st.floats(0.1, 10), st.floats(0.012, 0.2)
)


@settings(LAWS)
@given(workloads, slos, st.floats(1.01, 3))
def test_a_faster_machine_holds_no_less(workload: Workload, slo: Slo, slower: float) -> None:
    fast, slow = machine(workload), machine(workload, slower)
    if fast is not None and slow is not None:
        assert hold(fast, slo).rate >= hold(slow, slo).rate * 0.99


@settings(LAWS)
@given(workloads, slos, st.floats(1, 3))
def test_a_tighter_slo_never_holds_more(workload: Workload, slo: Slo, tighter: float) -> None:
    server = machine(workload)
    if server is not None:
        tight = Slo(ttft_p95_seconds=slo.ttft_p95_seconds / tighter, tpot_p95_seconds=slo.tpot_p95_seconds / tighter)
        assert hold(server, tight).rate <= hold(server, slo).rate * 1.001


@settings(LAWS)
@given(workloads, st.floats(0.02, 0.9), st.floats(1.0, 1.1))
def test_more_load_is_never_faster(workload: Workload, share: float, more: float) -> None:
    server = machine(workload)
    if server is None:
        return
    most = hold(server, Slo(ttft_p95_seconds=3600, tpot_p95_seconds=60)).rate
    before, after = load_at(server, share * most), load_at(server, share * more * most)
    for name in ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95"):
        low, high = getattr(before, name).value, getattr(after, name).value
        assert high is None or high >= low * 0.98, name


def test_more_room_for_context_holds_no_less() -> None:
    chat = Workload(
        requests_per_second=1, prompt_tokens=1200, output_tokens=300, prompt_tokens_p95=3500, output_tokens_p95=800
    )
    rates = []
    for tokens in (8_000, 20_000, 60_000, 400_000):
        server = machine(chat, room=Room(kv_capacity_tokens=tokens, max_sequences=128, max_batched_tokens=2048))
        assert server is not None
        rates.append(hold(server, Slo(ttft_p95_seconds=2, tpot_p95_seconds=0.1)).rate)
    assert rates == sorted(rates)


def test_a_prompt_beside_few_rows_rides_along_and_beside_many_it_costs_its_arithmetic() -> None:
    # Weights are read in 10 ms, which is the time of 200 tokens: 100 prompt tokens beside 1 row cost nothing, beside
    # 255 rows (12.75 ms) 100 × 50 µs.
    batches = np.array([1.0, 255.0])
    bare = np.maximum(0.010, batches / 20_000)
    tokens = np.arange(1.0, 2049.0)
    mixed = MixedSteps(
        tokens=tokens, seconds=np.maximum(0.010, tokens / 20_000), bare_decode_seconds=bare, seconds_per_pair=0.0
    )
    one = Prompts(tokens=np.array([100.0, 100.0]), cached_tokens=np.zeros(2), weights=np.array([1.0, 0.0]))
    times = prompt_times(mixed, batches, bare, one, decode_steps=1_000_000)
    assert times.interrupt[0] == pytest.approx(0.0, abs=1e-12)
    assert times.interrupt[1] == pytest.approx(100 / 20_000)


def test_a_long_prompt_takes_full_steps_and_one_with_the_rest() -> None:
    # A budget of 2,048 less 8 rows: 5,000 tokens are two full steps (102.4 ms each) and one of 920 + 8 tokens.
    batches = np.array([8.0])
    bare = np.array([0.010])
    tokens = np.array([1.0, 200.0, 2048.0])
    mixed = MixedSteps(
        tokens=tokens, seconds=np.array([0.010, 0.010, 0.1024]), bare_decode_seconds=bare, seconds_per_pair=0.0
    )
    long = Prompts(tokens=np.array([5000.0, 5000.0]), cached_tokens=np.zeros(2), weights=np.array([1.0, 0.0]))
    own = prompt_times(mixed, batches, bare, long, decode_steps=1_000_000).own[0]
    assert own == pytest.approx(2 * 0.1024 + 0.010 + (928 - 200) * 0.05e-3)


def test_what_decoding_rows_cost_beyond_their_matrices_stays_beside_prompts() -> None:
    # 16 rows decode in 14 ms, of which the matrices of 16 tokens take 10: the other 4 ms are in a mixed step too.
    mixed = MixedSteps(
        tokens=np.array([1.0, 200.0, 2048.0]),
        seconds=np.array([0.010, 0.010, 0.1024]),
        bare_decode_seconds=np.array([0.014]),
        seconds_per_pair=0.0,
    )
    one = Prompts(tokens=np.array([984.0, 984.0]), cached_tokens=np.zeros(2), weights=np.array([1.0, 0.0]))
    times = prompt_times(mixed, np.array([16.0]), np.array([0.014]), one, decode_steps=1_000_000)
    assert times.own[0] == pytest.approx(0.010 + 800 * 0.05e-3 + 0.004)


def test_attention_of_a_prompt_is_found_from_its_bend() -> None:
    # 10 µs a token and 2 ns a pair: n tokens attend to n²/2.
    one, two, four = (1e-5 * n + 2e-9 * n * n / 2 for n in (1000, 2000, 4000))
    assert attention_bend(one, two, four, 1000) == pytest.approx(2e-9)
    passes = np.array([0.01, 0.02, 0.01, 0.02, 0.04, 0.08])
    assert mixed_steps(np.array([100.0, 200.0]), passes, np.array([0.01])).seconds.tolist() == [0.01, 0.02]


def test_poisson_arrivals_know_of_no_others_and_bursts_end_at_half_the_excess_of_their_variance() -> None:
    expected = np.array([[1e-3, 0.1, 50.0]])
    assert crowd(np.array([[1.0]]), expected).tolist() == [[0.0, 0.0, 0.0]]
    # cv = 2: (4 − 1)/2 more than expected come after a request, in time; at once about (a·x)ᵃ/Γ(a + 1) of them.
    bursts = crowd(np.array([[4.0]]), expected)[0]
    assert bursts[2] == pytest.approx(1.5, rel=0.01)
    assert bursts[0] == pytest.approx((0.25e-3) ** 0.25 / math.gamma(1.25), rel=0.15)
    assert crowd_table(0.25)[1][-1] == pytest.approx(-0.375, rel=1e-3)


def test_poisson_arrivals_find_a_server_busy_as_often_as_it_is_and_bursts_more_often() -> None:
    busy = np.array([[0.3, 0.6]])
    assert meeting(np.array([[1.0]]), busy).tolist() == [[0.3, 0.6]]
    # GI/M/1: σ = (1 + (1 − σ)/(aρ))⁻ᵃ with a = 1/cv² = 1/4.
    found = meeting(np.array([[4.0]]), busy)[0]
    assert found == pytest.approx(
        [(1 + 4 * (1 - s) / b) ** -0.25 for s, b in zip(found, busy[0], strict=True)], rel=0.01
    )
    assert found[0] > 0.6 > 0.3 > meeting(np.array([[0.25]]), busy)[0, 0]
    # Of constant gaps σ = exp(−(1 − σ)/ρ): 0.0409 at ρ = 0.3.
    assert meeting(np.array([[0.0]]), busy)[0, 0] == pytest.approx(0.0409, abs=2e-4)


def test_who_waits_only_for_a_decode_step_waits_no_longer_than_it() -> None:
    # Prompts of 20 tokens ride along: beside half a full replica TTFT is the rest of a step and a step of one's own.
    short = machine(Workload(requests_per_second=1, prompt_tokens=20, output_tokens=1000))
    assert short is not None
    light = load_at(short, 0.02 * hold(short, Slo(ttft_p95_seconds=60, tpot_p95_seconds=60)).rate)
    assert light.ttft_mean.value == pytest.approx(0.015, rel=0.12)
    assert light.ttft_p95.value == pytest.approx(0.0195, rel=0.08)


def test_parts_of_a_lognormal_keep_its_mean_and_nearly_its_variance() -> None:
    parts = lognormal_bins(1000.0, 0.84, 1e9)
    assert parts.mean_tokens == pytest.approx(1000)
    assert parts.squared_variation == pytest.approx(0.84, rel=0.1)
    assert lognormal_bins(1000.0, 0.0, 1e9).tokens.tolist() == [1000.0]
    assert lognormal_bins(1000.0, 0.84, 2000.0).tokens.max() == 2000
    assert bins_of([10] * 50 + [30] * 50, 1e9).mean_tokens == pytest.approx(20)


def test_an_exponential_wait_ends_as_one_and_percentiles_are_found_by_bisection() -> None:
    one = np.ones((1, 1))
    wait = Wait(one, 2.0 * one)
    assert wait.beyond(np.full((1, 1, 1), 2.0))[0, 0, 0] == pytest.approx(math.exp(-1), rel=0.01)
    p95 = p95_of(lambda seconds: np.exp(-seconds / 2.0), 0.01 * one, 100.0 * one)
    assert p95[0, 0] == pytest.approx(2.0 * math.log(20), rel=1e-5)
