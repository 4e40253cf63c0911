"""Steps in named terms by hand; efficiencies recovered from a run; the largest rate within targets."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed, Lognormal
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.simulator.calibrate import MeasuredRun, calibrate, least_squares, relative_errors
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.engine import simulate
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.rate_search import largest_rate, saturation_rate
from llmsizer.traffic.simulator.steps import StepTable
from llmsizer.traffic.simulator.terms import Efficiencies, Link, term_steps


def served(model: str, **options: int) -> Deployment:
    catalog = default_catalog()
    return deployment(catalog.model(model), catalog.gpu("rtx-pro-6000-server"), "bf16", **options)


IDEAL = Efficiencies(
    memory=1.0, compute=1.0, cache=1.0, layer_seconds=1e-12, sequence_layer_seconds=1e-12, unpacked=1.0
)


def test_one_sequence_reads_the_weights_and_its_cache() -> None:
    steps = term_steps(served("llama-3.1-8b"), IDEAL)
    # 6.98e9 weights in layers and 0.525e9 in the output matrix, 2 bytes each, at 1.597e12 bytes/s: 9.40 ms; products of
    # one row add little. 10,000 tokens of 131,072 bytes take 0.82 ms more.
    assert steps(0, 0.0, 1, 0.0) == pytest.approx(9.40e-3, rel=0.01)
    assert steps(0, 0.0, 1, 10_000.0) - steps(0, 0.0, 1, 0.0) == pytest.approx(10_000 * 131_072 / 1.597e12)


def test_a_full_chunk_is_bound_by_arithmetic() -> None:
    steps = term_steps(served("llama-3.1-8b"), IDEAL)
    # 2 * 6.98e9 * 8192 FLOPs at 467.8e12 per second: 244 ms; reading, activations and the output add 5 %.
    assert steps(8192, 0.0, 0, 0.0) == pytest.approx(0.2445, rel=0.1)
    assert steps(8192, 0.0, 0, 0.0) > 0.2445


def test_all_reduces_come_with_tensor_parallelism() -> None:
    slow, fast = (
        term_steps(served("llama-3.1-8b", tp=2), IDEAL, Link(bytes_per_second=rate, latency_seconds=0.0))
        for rate in (16e9, 1e15)
    )
    # 64 all-reduces of 2048 * 4096 values in 2 bytes, each moved once between two GPUs, and logits of one row.
    assert slow(2048, 0.0, 0, 0.0) - fast(2048, 0.0, 0, 0.0) == pytest.approx(64 * 2048 * 4096 * 2 / 16e9, rel=0.001)


def test_ranks_that_share_experts_read_fewer_each_and_exchange_tokens() -> None:
    one, two = (
        term_steps(served("qwen3-30b-a3b"), IDEAL, Link(bytes_per_second=1e15, latency_seconds=0.0), ranks)
        for ranks in (1, 2)
    )
    # 512 tokens touch all 128 experts: 29.0e9 parameters in 2 bytes at 1.597e12 bytes/s are 36.3 ms, on two ranks half.
    # (The p-norm with the products' arithmetic, which does not change, takes some of the gain.)
    assert 0.012 < one(0, 0.0, 512, 0.0) - two(0, 0.0, 512, 0.0) < 0.0182
    far = term_steps(served("qwen3-30b-a3b"), IDEAL, Link(bytes_per_second=1e15, latency_seconds=1e-3), 2)
    assert far(0, 0.0, 1, 0.0) - two(0, 0.0, 1, 0.0) == pytest.approx(2 * 48 * 1e-3)


def test_heads_that_share_a_kv_head_cost_more_beside_prompts() -> None:
    # Llama 3.1 8B has 4 query heads per KV head, Qwen3 32B has 8.
    reached = Efficiencies(unpacked=1.9)
    assert term_steps(served("llama-3.1-8b"), reached).mixed_context_factor == pytest.approx(1.9)
    assert term_steps(served("qwen3-32b", tp=2), reached).mixed_context_factor == pytest.approx(1 + 0.9 * 7 / 3)


def loaded(seed: int, count: int = 200) -> Requests:
    rng = np.random.default_rng(seed)
    return Requests(
        arrival_seconds=np.cumsum(rng.exponential(0.1, count)),
        prompt_tokens=rng.integers(100, 2500, count).astype(np.int32),
        output_tokens=rng.integers(200, 900, count).astype(np.int32),
    )


def run_of(model: str, truth: Efficiencies, seed: int, **options: int) -> MeasuredRun:
    """A run as a machine of the given efficiencies would show it."""
    requests = loaded(seed)
    blank = MeasuredRun(
        deployment=served(model, **options),
        requests=requests,
        first_token_seconds=requests.arrival_seconds + 1,
        end_seconds=requests.arrival_seconds + 2,
        max_sequences=64,
        max_batched_tokens=2048,
        kv_tokens=300_000,
        link=Link(bytes_per_second=16e9),
    )
    result = blank.replayed(truth)
    assert result.first_token_seconds is not None and result.end_seconds is not None
    return MeasuredRun(
        deployment=blank.deployment,
        requests=requests,
        first_token_seconds=result.first_token_seconds,
        end_seconds=result.end_seconds,
        max_sequences=64,
        max_batched_tokens=2048,
        kv_tokens=300_000,
        link=blank.link,
    )


def test_a_calibration_on_one_model_predicts_another() -> None:
    truth = Efficiencies(
        memory=0.93, compute=0.62, cache=0.8, layer_seconds=9e-6, sequence_layer_seconds=5e-7, unpacked=2.2
    )
    fit = calibrate(run_of("llama-3.1-8b", truth, seed=1))
    assert fit.residual < 0.01
    other = run_of("qwen3-32b", truth, seed=2, tp=2)
    before = np.abs(relative_errors(other, Efficiencies()))[:200]
    after = np.abs(relative_errors(other, fit.efficiencies))[:200]
    assert np.median(after) < 0.03
    assert np.median(after) < 0.3 * np.median(before)


def test_least_squares_finds_a_minimum_despite_outliers() -> None:
    x = np.linspace(0, 1, 50)
    y = 2.0 * x - 1.0
    y[7] += 10.0
    found = least_squares(lambda at: at[0] * x + at[1] - y, np.zeros(2), rounds=50)
    assert found.tolist() == pytest.approx([2.0, -1.0], abs=0.02)


def test_runs_that_contradict_time_are_refused() -> None:
    good = run_of("llama-3.1-8b", Efficiencies(), seed=3)
    with pytest.raises(InputError, match="first tokens do not each come after an arrival"):
        MeasuredRun(
            deployment=good.deployment,
            requests=good.requests,
            first_token_seconds=good.requests.arrival_seconds - 1,
            end_seconds=good.end_seconds,
            max_sequences=64,
            max_batched_tokens=2048,
            kv_tokens=300_000,
        )
    with pytest.raises(InputError, match="tensor parallelism only"):
        term_steps(served("llama-3.1-8b", pp=2), Efficiencies())


def test_a_deployment_becomes_a_replica() -> None:
    # From the calibrated step times, whatever they are today: plausible, growing with batch and context.
    replica = replica_of(served("llama-3.1-8b", max_context_tokens=8192))
    decode = replica.steps.decode_seconds
    assert 0.005 < decode[1, 0] < 0.05
    assert np.all(np.diff(decode[1:, 0]) >= 0)
    assert np.all(np.diff(decode[1:], axis=1) >= 0)
    assert 300_000 < replica.kv_tokens < 700_000


def one_seat(seconds: float) -> Replica:
    """A server that takes one request of one token at a time."""
    flat = np.full((2, 2), seconds)
    steps = StepTable(
        knots_tokens=np.array([0.0, 1e6]),
        decode_seconds=flat,
        mixed_seconds=np.full(129, seconds),
        seconds_per_pair=0.0,
    )
    return Replica(steps=steps, kv_tokens=100_000, max_sequences=1, max_batched_tokens=128)


def test_the_largest_rate_of_m_d_1() -> None:
    # With the limit at what a simulation at 80/s shows, the search must come back to 80/s.
    single = Stream(
        arrivals=Arrivals(requests_per_second=80.0), prompt=Fixed(tokens=1), output=Fixed(tokens=1), context_tokens=100
    )
    shown = simulate(one_seat(0.01), single, duration_seconds=2500, warmup_seconds=500, seed=0)
    assert shown.ttft is not None and shown.ttft.p95_seconds is not None
    slo = Slo(ttft_p95_seconds=shown.ttft.p95_seconds, tpot_p95_seconds=1.0)
    found = largest_rate(one_seat(0.01), single, slo, requests=160_000, tolerance=0.01)
    assert found.requests_per_second == pytest.approx(80.0, rel=0.02)
    assert found.missed == "ttft"
    assert found.at_rate.verdict == "STABLE"


def test_a_target_that_one_request_alone_misses_holds_no_rate() -> None:
    stream = Stream(
        arrivals=Arrivals(requests_per_second=1.0), prompt=Fixed(tokens=1), output=Fixed(tokens=1), context_tokens=100
    )
    found = largest_rate(one_seat(0.01), stream, Slo(ttft_p95_seconds=0.009))
    assert (found.requests_per_second, found.missed) == (0.0, "ttft")


def test_loose_targets_end_at_saturation() -> None:
    stream = Stream(
        arrivals=Arrivals(requests_per_second=1.0),
        prompt=Lognormal(mean_tokens=20, p95_tokens=50, longest_tokens=90),
        output=Fixed(tokens=1),
        context_tokens=100,
    )
    found = largest_rate(one_seat(0.01), stream, Slo(ttft_p95_seconds=3600, tpot_p95_seconds=60), requests=50_000)
    assert found.missed == "overload"
    assert found.requests_per_second == pytest.approx(100, rel=0.05)
    assert saturation_rate(one_seat(0.01), stream) > 0
