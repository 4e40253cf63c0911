"""Routing, start-up, prefix caches, disaggregation, verdicts, percentiles, energy: cases small enough to reckon."""

from __future__ import annotations

import math
import sys
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("numba")

from llmsizer.errors import InputError, MissingExtraError
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed, Lognormal
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.demand.stream import Conversation, Stream
from llmsizer.traffic.simulator import engine
from llmsizer.traffic.simulator.compiled import compiled, kernel_digest
from llmsizer.traffic.simulator.disaggregated import KvTransfer, Pool, simulate_disaggregated
from llmsizer.traffic.simulator.engine import replay, simulate
from llmsizer.traffic.simulator.fleet import Fleet, LatencyTargets, PowerCurve, Replica, Routing
from llmsizer.traffic.simulator.percentiles import counts_of, quantile
from llmsizer.traffic.simulator.replications import interval, replicate
from llmsizer.traffic.simulator.steps import StepTable, tabulate

STEP_SECONDS = 0.01
TOKEN_SECONDS = 0.0001


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return STEP_SECONDS + TOKEN_SECONDS * prefill_tokens


TABLE: StepTable = tabulate(step_seconds, max_sequences=64, max_batched_tokens=1024, max_context_tokens=8192)


def replica(**options: int | float) -> Replica:
    settings = {"kv_tokens": 100_000, "max_sequences": 64, "max_batched_tokens": 1024, **options}
    return Replica(steps=TABLE, **settings)  # type: ignore[arg-type]


def requests(
    arrivals: list[float], prompt: int = 100, output: int = 11, groups: list[int] | None = None, cached: int = 0
) -> Requests:
    size = len(arrivals)
    return Requests(
        arrival_seconds=np.array(arrivals, dtype=np.float64),
        prompt_tokens=np.full(size, prompt, dtype=np.int32),
        output_tokens=np.full(size, output, dtype=np.int32),
        cached_tokens=np.full(size if cached else 0, cached, dtype=np.int32),
        groups=np.array(groups or [], dtype=np.int32),
    )


def demand(rate: float, **options: object) -> Stream:
    settings: dict[str, object] = {"prompt": Fixed(tokens=100), "output": Fixed(tokens=11), **options}
    return Stream(arrivals=Arrivals(requests_per_second=rate), context_tokens=8192, **settings)  # type: ignore[arg-type]


def test_one_request_by_hand() -> None:
    result = replay(replica(frontend_seconds=0.005), requests([1.0]), keep_records=True)
    # Prefill 10 ms + 100 * 0.1 ms, then ten decode steps of 10 ms.
    assert result.first_token_seconds is not None and result.end_seconds is not None
    assert result.first_token_seconds[0] == pytest.approx(1.020)
    assert result.end_seconds[0] == pytest.approx(1.120)
    assert result.ttft is not None and result.ttft.mean_seconds == pytest.approx(0.025)
    assert result.tpot is not None and result.tpot.mean_seconds == pytest.approx(0.010)
    assert result.itl is not None and result.itl.count == 10


def test_a_long_prompt_goes_in_chunks_beside_the_decodes() -> None:
    # 2,500 tokens in steps of 1,024: two full ones and a rest of 452, one of them beside a decoding sequence.
    long = Requests(
        arrival_seconds=np.array([0.0, 0.035]),
        prompt_tokens=np.array([100, 2500], dtype=np.int32),
        output_tokens=np.array([100, 1], dtype=np.int32),
    )
    result = replay(replica(), long, keep_records=True)
    assert result.end_seconds is not None
    # The first sequence takes one token of each step, so the chunks are 1023, 1023 and 454. It decodes at 40 ms.
    expected = 0.040 + 3 * STEP_SECONDS + (2500 + 3) * TOKEN_SECONDS
    assert result.end_seconds[1] == pytest.approx(expected)


@pytest.mark.parametrize("routing", ["round robin", "least loaded"])
def test_requests_spread_evenly_over_replicas(routing: Routing) -> None:
    # Four at once on four replicas: each is alone, so each is as fast as one.
    result = replay(replica(), requests([0.0] * 4), fleet=Fleet(replicas=4, routing=routing), keep_records=True)
    assert result.end_seconds is not None
    assert result.end_seconds.tolist() == pytest.approx([0.120] * 4)
    assert result.peak_batch == 1


def test_least_loaded_beats_round_robin_where_lengths_differ() -> None:
    lengths = Lognormal(mean_tokens=100, p95_tokens=350, longest_tokens=4000)
    slow = replica(max_sequences=2)
    means = []
    for routing in ("round robin", "least loaded"):
        fleet = Fleet(replicas=4, routing=routing)
        result = simulate(slow, demand(4.0, output=lengths), duration_seconds=2000, seed=1, fleet=fleet)
        assert result.e2e is not None
        means.append(result.e2e.mean_seconds)
    assert means[1] < 0.9 * means[0]


def test_a_replica_that_starts_later_is_not_sent_requests_before() -> None:
    fleet = Fleet(replicas=2, routing="least loaded", ready_at_seconds=(0.0, 10.0))
    result = replay(replica(), requests([0.0, 0.0, 20.0, 20.0]), fleet=fleet, keep_records=True)
    assert result.end_seconds is not None
    # The first two share a replica (both prompts in one step), the others have one each.
    assert result.end_seconds.tolist() == pytest.approx([0.130, 0.130, 20.120, 20.120])


def test_a_cold_start_delays_what_waits_for_it() -> None:
    fleet = Fleet(replicas=1, ready_at_seconds=(60.0,))
    result = replay(replica(), requests([0.0]), fleet=fleet)
    assert result.ttft is not None and result.ttft.mean_seconds == pytest.approx(60.020)


def test_cached_tokens_are_not_computed_again() -> None:
    result = replay(replica(), requests([0.0, 1.0], cached=64), keep_records=True)
    assert result.counts.prefilled_tokens == 2 * (100 - 64)
    assert result.counts.cached_tokens == 128
    assert result.first_token_seconds is not None
    assert result.first_token_seconds[0] == pytest.approx(STEP_SECONDS + 36 * TOKEN_SECONDS)


def test_a_shared_prefix_takes_room_once() -> None:
    # 20 blocks of 16; a request needs 5 of its own (36 + 11 tokens: 3) beside the prefix's 4.
    many = requests([0.0] * 6, cached=64)
    apart = replay(replica(kv_tokens=320), many)
    shared = replay(replica(kv_tokens=320, shared_prefix_tokens=64), many)
    assert apart.peak_batch == 2  # 7 blocks each for a prompt of 100
    assert shared.peak_batch == 5  # 16 blocks left, 3 each


def test_a_group_hits_only_where_it_was_served() -> None:
    # One conversation of four turns, far apart, over two replicas.
    turns = requests([0.0, 10.0, 20.0, 30.0], groups=[1] * 4, cached=96)
    split = replay(replica(), turns, fleet=Fleet(replicas=2, routing="round robin"))
    kept = replay(replica(), turns, fleet=Fleet(replicas=2, routing="prefix affine"))
    assert split.counts.cached_tokens == 2 * 96  # each replica meets it for the first time once
    assert kept.counts.cached_tokens == 3 * 96


def test_newer_tokens_push_a_prefix_out() -> None:
    # 20 blocks of 16 tokens; between the turns of group 0 (7 blocks) another one passes that takes 17 blocks: 13 are
    # empty, 4 are taken from the end of group 0, so that of its 6 blocks of prefix 3 are left.
    lengths = np.array([100, 250, 100], dtype=np.int32)
    turns = Requests(
        arrival_seconds=np.array([0.0, 10.0, 20.0]),
        prompt_tokens=lengths,
        output_tokens=np.full(3, 11, dtype=np.int32),
        cached_tokens=np.array([96, 0, 96], dtype=np.int32),
        groups=np.array([0, 1, 0], dtype=np.int32),
    )
    assert replay(replica(kv_tokens=320), turns).counts.cached_tokens == 3 * 16
    assert replay(replica(kv_tokens=640), turns).counts.cached_tokens == 96


def test_affine_routing_finds_the_cache_of_a_conversation() -> None:
    talk = demand(4.0, conversation=Conversation(mean_turns=5, pause_seconds=20))
    shares = []
    for routing in ("round robin", "prefix affine"):
        result = simulate(replica(), talk, duration_seconds=1000, seed=1, fleet=Fleet(replicas=4, routing=routing))
        shares.append(result.counts.cached_tokens / result.counts.prompt_tokens)
    assert shares[1] > 1.2 * shares[0]


def test_disaggregated_pools_by_hand() -> None:
    pool = Pool(replica=replica(), fleet=Fleet(replicas=1))
    result = simulate_disaggregated(
        pool, pool, KvTransfer(seconds_per_token=1e-4, latency_seconds=0.005), demand(0.01),
        duration_seconds=20_000, seed=1,
    )  # fmt: skip
    # Alone: prefill 20 ms; hand-over 5 ms + 100 * 0.1 ms; ten decode steps of 10 ms.
    assert result.ttft is not None and result.ttft.mean_seconds == pytest.approx(0.020, rel=0.01)
    assert result.e2e is not None and result.e2e.mean_seconds == pytest.approx(0.135, rel=0.01)
    assert result.tpot is not None and result.tpot.mean_seconds == pytest.approx(0.0115, rel=0.01)


def test_disaggregated_pools_serve_every_token_once() -> None:
    lengths = Lognormal(mean_tokens=60, p95_tokens=200, longest_tokens=1000)
    prefill = Pool(
        replica=replica(), fleet=Fleet(replicas=2), power=PowerCurve(idle_watts=1, one_watts=2, full_watts=3)
    )
    decode = Pool(replica=replica(kv_tokens=4000), fleet=Fleet(replicas=3))
    result = simulate_disaggregated(
        prefill, decode, KvTransfer(seconds_per_token=1e-6), demand(20.0, output=lengths),
        duration_seconds=200, seed=1, targets=LatencyTargets(ttft_seconds=1.0),
    )  # fmt: skip
    assert result.decode is not None
    assert result.prefill.counts.output_tokens == result.prefill.counts.arrived
    assert result.decode.counts.prefilled_tokens == 0 or result.decode.counts.preemptions > 0
    assert result.verdict == "STABLE"
    assert result.good_per_second == pytest.approx(20.0, rel=0.1)
    assert result.prefill.energy_joules is not None and result.decode.energy_joules is None


def test_warm_up_is_cut_off_and_goodput_counts_the_rest() -> None:
    targets = LatencyTargets(ttft_seconds=0.0201, tpot_seconds=0.02)
    result = simulate(replica(), demand(1.0), duration_seconds=1000, warmup_seconds=500, seed=2, targets=targets)
    assert result.counts.measured == pytest.approx(500, rel=0.1)
    assert result.requests_per_second == pytest.approx(result.counts.measured / 500)
    assert result.good_per_second == result.counts.good / 500
    assert 0 < result.counts.good < result.counts.measured  # a prompt beside a decode waits for its step
    assert LatencyTargets.of(Slo(ttft_p95_seconds=1, tpot_p95_seconds=2)).tpot_seconds == 2


def test_few_requests_support_no_far_percentile() -> None:
    few, many = (replay(replica(), requests([float(i) for i in range(n)])) for n in (99, 100))
    assert few.ttft is not None and many.ttft is not None
    assert few.ttft.p99_seconds is None and few.ttft.p95_seconds is not None
    assert many.ttft.p99_seconds is not None


def test_a_burst_that_is_served_in_the_end_is_backlogged() -> None:
    # Two seats; 200 at once and then one a second for a long time.
    burst = requests([0.0] * 200 + [float(i) for i in range(1, 60)], output=101)
    result = replay(replica(max_sequences=2), burst)
    assert result.verdict == "BACKLOGGED"
    assert result.e2e is not None


def test_a_flood_that_is_given_up_within_the_warm_up_still_shows_a_busy_fleet() -> None:
    result = simulate(replica(), demand(30_000.0), duration_seconds=900, warmup_seconds=90)
    assert result.verdict == "OVERLOADED" and result.duration_seconds < 90
    assert result.utilisation == pytest.approx(1, abs=0.01)
    assert result.requests_per_second == pytest.approx(30_000, rel=0.01)


def test_energy_follows_the_power_curve() -> None:
    power = PowerCurve(idle_watts=100, one_watts=200, full_watts=264)
    result = replay(replica(), requests([0.0, 10.0]), power=power)
    # In 10 s: one prefill step of 20 ms and ten steps of 10 ms with one sequence.
    assert result.energy_joules == pytest.approx(100 * (10 - 0.12) + 200 * 0.12)


def test_power_rises_with_the_logarithm_of_the_batch_up_to_a_full_one() -> None:
    power = PowerCurve(idle_watts=50, one_watts=200, full_watts=280, full_batch=256)
    assert power.stepping_watts(np.array([0.0, 1.0, 16.0, 256.0, 1000.0])).tolist() == [200, 200, 240, 280, 280]
    with pytest.raises(InputError, match="do not fall"):
        PowerCurve(idle_watts=50, one_watts=40, full_watts=280)


def test_replications_merge_and_agree_over_workers() -> None:
    kwargs = {"duration_seconds": 500.0, "replications": 4, "seed": 9}
    one = replicate(replica(), demand(2.0), **kwargs, workers=1)  # type: ignore[arg-type]
    two = replicate(replica(), demand(2.0), **kwargs, workers=2)  # type: ignore[arg-type]
    ttft = one.latency("ttft")
    assert ttft is not None and ttft == two.latency("ttft")
    assert ttft.count == sum(run.counts.measured for run in one.runs)
    band = one.interval(lambda run: run.ttft.mean_seconds if run.ttft else None)
    assert band is not None and band.low < ttft.mean_seconds < band.high
    assert one.verdict == "STABLE"


def test_the_interval_of_three_numbers_by_hand() -> None:
    # Mean 2, standard deviation 1, t = 2.920 for 2 degrees of freedom.
    band = interval([1.0, 2.0, 3.0])
    assert band.mean == 2.0
    assert band.high == pytest.approx(2 + 2.920 / math.sqrt(3))
    with pytest.raises(InputError):
        interval([1.0])


def test_the_sketch_is_exact_to_0_8_percent() -> None:
    values = np.random.default_rng(1).lognormal(-3, 2, 100_000)
    for fraction in (0.01, 0.5, 0.95, 0.99, 0.999):
        assert quantile(counts_of(values), fraction) == pytest.approx(np.quantile(values, fraction), rel=0.008)
    assert quantile(counts_of(np.empty(0)), 0.5) is None


def test_a_table_keeps_what_is_linear_and_follows_a_kink() -> None:
    def kinked(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
        return max(0.005, 0.001 + 1e-7 * decode_context_tokens) + 1e-5 * (prefill_tokens + decode_batch)

    table = tabulate(kinked, max_sequences=64, max_batched_tokens=512, max_context_tokens=8192, per_doubling=4)
    knots, segments = table.segment_knots(), table.segments()
    for batch in (1, 17, 64):
        for mean_context in (0, 300, 1000, 5000, 8000):
            k = int(np.searchsorted(knots, mean_context, side="right")) - 1
            told = segments[batch, k, 0] + segments[batch, k, 1] * batch * mean_context
            assert told == pytest.approx(kinked(0, 0, batch, batch * mean_context), rel=0.03)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_batched_tokens": 32}, "every running sequence needs one token"),
        ({"max_sequences": 65}, "the step table ends at 64 sequences"),
        ({"kv_tokens": 0}, "needs room"),
        ({"block_tokens": 1024}, "at most 256"),
        ({"shared_prefix_tokens": 100_000}, "leaves no KV block"),
        ({"frontend_seconds": math.nan}, "frontend time is negative"),
    ],
)
def test_an_impossible_replica_is_refused_in_one_line(options: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        replica(**options)


def test_impossible_runs_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="needs more than the KV cache"):
        simulate(replica(kv_tokens=96), demand(1.0), duration_seconds=10)
    with pytest.raises(InputError, match="duration"):
        simulate(replica(), demand(1.0), duration_seconds=math.nan)
    with pytest.raises(InputError, match="warm-up"):
        simulate(replica(), demand(1.0), duration_seconds=10, warmup_seconds=10)
    with pytest.raises(InputError, match="no request arrives"):
        simulate(replica(), demand(0.001), duration_seconds=1)
    with pytest.raises(InputError, match="holds no requests"):
        replay(replica(), requests([]))
    with pytest.raises(InputError, match="before the one above it"):
        replay(replica(), requests([2.0, 1.0]))
    with pytest.raises(InputError, match="no routing named"):
        Fleet(routing="nearest")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 start times for 3 replicas"):
        Fleet(replicas=3, ready_at_seconds=(0.0, 1.0))
    with pytest.raises(InputError, match="not a positive number of seconds"):
        tabulate(lambda *_: math.nan, max_sequences=4, max_batched_tokens=8, max_context_tokens=512)


def test_without_numba_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingExtraError, match=r"llmsizer\[simulate\]"):
        compiled(len)


def test_a_demand_far_beyond_capacity_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "MOST_IN_FLIGHT", 20_000)
    result = simulate(replica(max_sequences=1), demand(1000.0), duration_seconds=10_000)
    assert result.verdict == "OVERLOADED"
    assert result.counts.arrived < 100_000  # of ten million
    assert result.requests_per_second == pytest.approx(1000, rel=0.05)
    assert result.ttft is None and result.good_per_second is None


def test_compiled_code_on_disk_is_tied_to_the_whole_kernel() -> None:
    # Numba offers no public way to say this; see compiled.py.
    from llmsizer.traffic.simulator import kernel

    assert kernel.feed._cache._cache_file._source_stamp == kernel_digest()  # type: ignore[attr-defined]


def test_a_long_trace_is_replayed_in_stretches() -> None:
    # 70,000 requests are handed over in two stretches; records stay in the order of arrival.
    many = requests([i * 0.5 for i in range(70_000)], output=1)
    result = replay(replica(), many, keep_records=True)
    assert result.end_seconds is not None and result.end_seconds.shape == (70_000,)
    np.testing.assert_allclose(result.end_seconds - many.arrival_seconds, 0.02)


def test_memory_does_not_grow_with_the_number_of_requests() -> None:
    # Half a million requests, fed in stretches of 16,384, keep no more places than two stretches need.
    stream = demand(50.0, output=Fixed(tokens=1))
    simulate(replica(), stream, duration_seconds=10)
    tracemalloc.start()
    simulate(replica(), stream, duration_seconds=10_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 * 2**20
