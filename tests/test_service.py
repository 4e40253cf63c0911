"""What users of a fleet see, simulated: percentiles with intervals, verdicts, sweeps."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

from llmsizer.cluster import Task, key_of, sweep
from llmsizer.errors import InputError, LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.workload import Slo, Workload
from llmsizer.physics.answers.step_times import prefill_seconds
from llmsizer.traffic.closed_form.meanfield import Probe, Room, StepSample, make_replica
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.demand.traces import summarise
from llmsizer.traffic.points import Point, simulate_point
from llmsizer.traffic.service import (
    Goal,
    Service,
    at_speed,
    hours_for,
    observe_trace,
    serve,
    service_of,
    stream_within,
    workload_of_trace,
)
from llmsizer.traffic.simulator.deployed import pair_seconds, replica_of
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.steps import StepTable, tabulate

STEP_SECONDS, TOKEN_SECONDS = 0.01, 0.0001
SLO = Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.05)


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return STEP_SECONDS + TOKEN_SECONDS * prefill_tokens


TABLE: StepTable = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
REPLICA = Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024)


def demand(rate: float) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    )


def closed_replica(slow: float) -> Any:
    workload = Workload(requests_per_second=1, prompt_tokens=100, output_tokens=11)
    sample = StepSample(
        decode_seconds=np.array([0.01, 0.01]),
        first_token_seconds=0.02,
        first_token_p95_seconds=0.02,
        prefill_seconds=0.01,
        decode_interval=(1.0, slow),
        prefill_interval=(1.0, slow),
    )
    asked = Probe(batches=(1, 16), context_tokens=105, prompt_tokens=100, prompt_tokens_p95=100)
    return make_replica(workload, Room(kv_capacity_tokens=100_000, max_sequences=16), asked, sample)


# --- the numbers ----------------------------------------------------------------------------------------------------


def test_a_nearly_idle_fleet_shows_the_step_times_of_one_request_alone() -> None:
    service = serve(REPLICA, demand(0.01), Fleet(replicas=2), Goal(slo=SLO), hours=50, replications=3)
    # 100 prompt tokens in one step: 10 ms + 100 × 0.1 ms; then ten steps of 10 ms.
    assert (service.verdict, service.meets_slo, service.missed) == ("STABLE", True, "")
    assert service.row("TTFT").p50.value == pytest.approx(0.020, rel=0.01)
    assert service.row("TPOT").p95.value == pytest.approx(0.010, rel=0.01)
    assert service.row("E2E").p50.value == pytest.approx(0.120, rel=0.01)
    assert service.goodput_requests_per_second.value == pytest.approx(0.01, rel=0.1)


def test_every_number_says_that_it_is_simulated_and_has_its_interval() -> None:
    service = serve(REPLICA, demand(20), Fleet(), Goal(slo=SLO), hours=0.05, replications=4)
    for row in service.latencies:
        for number in (row.mean, row.p50, row.p95):
            assert number.basis == "simulated"
            assert number.low is not None and number.value is not None and number.high is not None
            assert 0 <= number.low <= number.value <= number.high


def test_an_overloaded_fleet_has_no_latency_and_says_why() -> None:
    # A batch of 16 for 10 steps of 10 ms and 10 ms for each prompt: fewer than 100 requests a second.
    service = serve(REPLICA, demand(400), Fleet(), Goal(slo=SLO), hours=0.02, replications=2)
    assert (service.verdict, service.meets_slo, service.missed) == ("OVERLOADED", False, "OVERLOADED")
    assert service.row("TTFT").p95.value is None
    assert "grows" in service.row("TTFT").p95.reason
    assert service.goodput_requests_per_second.value is None


def test_too_few_requests_support_no_p99() -> None:
    service = serve(REPLICA, demand(0.01), Fleet(), Goal(slo=SLO), hours=1, replications=2)
    assert service.requests < 100
    assert service.row("TTFT").p99.value is None
    assert "too few" in service.row("TTFT").p99.reason


def test_a_target_for_the_whole_answer_counts_too() -> None:
    goal = Goal(slo=SLO, e2e_p95_seconds=0.1)  # below the 120 ms that one request alone takes
    service = serve(REPLICA, demand(1), Fleet(), goal, hours=0.2, replications=2)
    assert (service.meets_slo, service.missed) == (False, "E2E p95")
    assert service.goodput_requests_per_second.value == 0


def test_the_same_seed_gives_the_same_answer_and_another_seed_another() -> None:
    one, again, other = (
        serve(REPLICA, demand(30), Fleet(), Goal(slo=SLO), hours=0.02, replications=2, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again
    assert one.row("TTFT").mean != other.row("TTFT").mean


def served_trace(replica: Replica, requests: Requests) -> Service:
    runs = observe_trace(replica, requests, Fleet(), Goal(slo=SLO))
    return service_of(runs, replica, Fleet(), Goal(slo=SLO), len(requests) / runs.runs[0].duration_seconds)


def test_a_trace_is_replayed_once_and_gives_no_interval() -> None:
    requests = Requests(
        arrival_seconds=np.array([0.0, 10.0, 20.0]),
        prompt_tokens=np.full(3, 100, dtype=np.int32),
        output_tokens=np.full(3, 11, dtype=np.int32),
    )
    service = served_trace(REPLICA, requests)
    assert (service.requests, service.replications) == (3, 1)
    assert service.row("E2E").p50.value == pytest.approx(0.12, rel=0.01)
    assert service.row("E2E").p50.low is None
    assert service.row("E2E").p50.reason == "one run gives no interval"


def test_a_trace_that_comes_all_at_once_has_no_rate() -> None:
    at_once = Requests(
        arrival_seconds=np.zeros(2),
        prompt_tokens=np.array([100, 100], dtype=np.int32),
        output_tokens=np.array([2, 2], dtype=np.int32),
    )
    with pytest.raises(InputError, match="come at once; a trace needs two arrival times"):
        observe_trace(REPLICA, at_once, Fleet(), Goal(slo=SLO))


def test_a_trace_becomes_a_workload_by_its_means() -> None:
    requests = Requests(
        arrival_seconds=np.array([0.0, 10.0, 20.0]),
        prompt_tokens=np.array([100, 200, 300], dtype=np.int32),
        output_tokens=np.full(3, 11, dtype=np.int32),
    )
    workload = workload_of_trace("log", summarise(requests))
    assert (workload.requests_per_second, workload.prompt_tokens, workload.output_tokens) == (0.1, 200, 11)
    with pytest.raises(InputError, match="all requests come at once"):
        workload_of_trace("log", summarise(requests.part(slice(0, 1))))


def test_the_usual_run_is_long_enough_for_percentiles_and_not_longer() -> None:
    assert hours_for(20_000 / 3600) == pytest.approx(1.0)
    assert hours_for(100) == 0.25
    assert hours_for(1e6) == pytest.approx(500_000 / 1e6 / 3600)  # so many say all there is to say
    assert hours_for(1e-6) == 168


def test_the_tail_is_cut_where_the_cache_ends() -> None:
    workload = Workload(
        requests_per_second=1, prompt_tokens=1200, output_tokens=300, prompt_tokens_p95=3500, output_tokens_p95=800
    )
    tight = replace(REPLICA, kv_tokens=4400)
    stream = stream_within(workload, tight)
    assert stream.longest_prompt_tokens + stream.longest_output_tokens <= 4400
    assert stream.longest_prompt_tokens >= 3500  # what is usual is left whole
    assert stream_within(workload, REPLICA).context_tokens == 4 * 4300


def test_the_slow_end_of_the_step_times_scales_every_step() -> None:
    slow = at_speed(REPLICA, closed_replica(slow=2.0), "slow")
    fast, slower = (
        serve(replica, demand(0.1), Fleet(), Goal(slo=SLO), hours=2, replications=2) for replica in (REPLICA, slow)
    )
    ratio = (slower.row("E2E").p50.value or 0) / (fast.row("E2E").p50.value or 1)
    assert ratio == pytest.approx(2.0, rel=0.02)
    assert at_speed(REPLICA, closed_replica(slow=2.0), "fast").steps.seconds_per_pair == TABLE.seconds_per_pair


@pytest.mark.parametrize(
    ("gpu", "weights", "tensor"), [("l4", "int4", 4), ("l40s", "int4", 2), ("h100-sxm-80", "fp8", 2)]
)
def test_a_long_prompt_in_chunks_takes_about_what_the_physics_says_of_it_whole(
    gpu: str, weights: str, tensor: int
) -> None:
    catalog = default_catalog()
    served = deployment(
        catalog.model("mistral-small-4"), catalog.gpu(gpu), weights, tp=tensor, max_context_tokens=16384
    )
    replica = replica_of(served)
    prompts = Requests(
        arrival_seconds=np.array([0.0, 1000.0]),
        prompt_tokens=np.array([12_000, 12_000], dtype=np.int32),
        output_tokens=np.array([2, 2], dtype=np.int32),
    )
    ttft = served_trace(replica, prompts).row("TTFT").mean.value
    whole = prefill_seconds(served, 12_000).value
    assert ttft is not None and whole is not None
    # Every chunk pays once more what a pass costs before its first token.
    assert 0.9 < (ttft - replica.frontend_seconds) / whole < 1.4


def test_what_bends_a_parabola_is_found() -> None:
    assert pair_seconds(lambda n: 0.02 + 3e-5 * n + 4e-9 * n**2 / 2, 2048) == pytest.approx(4e-9)
    assert pair_seconds(lambda n: 0.02 + 3e-5 * n, 2048) == pytest.approx(0, abs=1e-15)
    assert pair_seconds(lambda n: 0.02 + 3e-5 * n**0.9, 2048) == 0


# --- a sweep --------------------------------------------------------------------------------------------------------


def tasks(rates: tuple[float, ...] = (5.0, 400.0), seeds: int = 2) -> list[Task[Point]]:
    points = [
        Point(
            candidate="one",
            share_of_peak=rate / 5,
            replica=REPLICA,
            stream=demand(rate),
            fleet=Fleet(),
            goal=Goal(slo=SLO),
            seed=seed,
            hours=0.01,
        )
        for rate in rates
        for seed in range(seeds)
    ]
    return [Task(key=key_of(p.content()), label=f"{p.share_of_peak} {p.seed}", argument=p) for p in points]


def test_a_sweep_on_two_processes_is_bit_for_bit_the_serial_one() -> None:
    serial, pooled = sweep(simulate_point, tasks()), sweep(simulate_point, tasks(), workers=2)
    assert json.dumps(serial) == json.dumps(pooled)
    assert [result["verdict"] for result in serial] == ["STABLE", "STABLE", "OVERLOADED", "OVERLOADED"]
    assert serial[0]["ttft_mean_seconds"] != serial[1]["ttft_mean_seconds"]
    assert serial[2]["ttft_mean_seconds"] is None


def test_the_key_changes_with_everything_that_the_result_depends_on() -> None:
    (point,) = (task.argument for task in tasks((5.0,), 1))
    slower = replace(REPLICA, steps=replace(TABLE, decode_seconds=TABLE.decode_seconds * 1.001))
    others = [
        replace(point, seed=1),
        replace(point, stream=demand(5.1)),
        replace(point, fleet=Fleet(replicas=2)),
        replace(point, goal=Goal(slo=Slo())),
        replace(point, hours=0.02),
        replace(point, replica=slower),
        replace(point, replica=replace(REPLICA, kv_tokens=90_000)),
    ]
    keys = {key_of(p.content()) for p in (point, *others)}
    assert len(keys) == 1 + len(others)
    assert key_of(point.content()) == key_of(replace(point).content())


def test_a_worker_of_another_version_is_refused() -> None:
    (task,) = tasks((5.0,), 1)
    with pytest.raises(LlmSizerError, match="another version of llmsizer"):
        simulate_point(replace(task.argument, kernel="older"))
