"""Fleets too large to simulate whole, demands too large to simulate at all, and conversations over many replicas."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numba")

from llmsizer.cli import main
from llmsizer.errors import InputError
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Conversation, Stream
from llmsizer.traffic.energy import Power, energy_of
from llmsizer.traffic.service import Goal, observe, serve, service_of
from llmsizer.traffic.simulator.fleet import Fleet, PowerCurve, Replica
from llmsizer.traffic.simulator.replications import replicate
from llmsizer.traffic.simulator.steps import tabulate

SLO = Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.05)


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


REPLICA = Replica(
    steps=tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192),
    kv_tokens=100_000,
    max_sequences=16,
    max_batched_tokens=1024,
)


def demand(rate: float) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    )


def test_sixteen_replicas_of_a_large_fleet_stand_for_all_of_it() -> None:
    """One in four simulated says what the whole does: TPOT on the safe side, TTFT near, goodput the whole's."""
    large, rate = Fleet(replicas=64), 2000.0
    sampled = serve(REPLICA, demand(rate), large, Goal(slo=SLO), hours=0.01, replications=3)
    whole = replicate(
        REPLICA, demand(rate), duration_seconds=36, warmup_seconds=3.6, replications=3, fleet=large,
        targets=Goal(slo=SLO).targets,
    )  # fmt: skip
    all_of_it = service_of(whole, REPLICA, large, Goal(slo=SLO), rate, simulated_replicas=64)
    assert (sampled.replicas, sampled.simulated_replicas, all_of_it.simulated_replicas) == (64, 16, 64)
    for found in (sampled, all_of_it):
        assert found.goodput_requests_per_second.value == pytest.approx(rate, rel=0.02)
    for metric, least in (("TTFT", 0.85), ("TPOT", 0.98), ("E2E", 0.98)):
        few, many = sampled.row(metric).p95.value, all_of_it.row(metric).p95.value
        assert few is not None and many is not None
        assert least * many <= few <= 1.15 * many
    few, many = sampled.occupancy.mean_batch.value, all_of_it.occupancy.mean_batch.value
    assert few == pytest.approx(many, rel=0.1)


def test_the_energy_of_a_fleet_counts_every_replica_that_is_not_simulated() -> None:
    large = Fleet(replicas=64)
    runs = observe(REPLICA, demand(1000.0), large, Goal(slo=SLO), hours=0.01, replications=2)
    curve = PowerCurve(idle_watts=10, one_watts=100, full_watts=200)
    power = Power(mid=curve, low=curve, high=curve, basis="assumed", reason="")
    part = energy_of(runs.runs, 16, 2, power)
    fleet = energy_of(runs.runs, 16, 2, power, times=large.times_sample)
    assert (part.gpus, fleet.gpus) == (32, 128)
    assert fleet.watts.value == pytest.approx(4 * (part.watts.value or 0))
    assert fleet.joules_per_output_token.value == pytest.approx(part.joules_per_output_token.value)


def test_fleets_of_up_to_sixteen_and_fleets_that_are_starting_are_simulated_whole() -> None:
    assert Fleet(replicas=16).sample.replicas == 16
    assert Fleet(replicas=20, ready_at_seconds=(0.0,) * 20).sample.replicas == 20


def test_more_requests_than_anyone_waits_for_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="give fewer hours or replications, or a lower rate"):
        serve(REPLICA, demand(1e5), Fleet(), Goal(slo=SLO), hours=100)
    talk = replace(demand(1e6), conversation=Conversation(mean_turns=4, pause_seconds=30))
    with pytest.raises(InputError, match="at most 5,000,000 are simulated: give a lower rate"):
        serve(REPLICA, talk, Fleet(), Goal(slo=SLO))


def test_conversations_that_are_scattered_say_what_brings_them_back(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scenario = tmp_path / "talk.toml"
    scenario.write_text(
        'name = "talk"\nmodel = "llama-3.1-8b"\n[workload]\npreset = "chat"\nrequests_per_second = 2\n',
        encoding="utf-8",
    )
    fleet = ("--gpu", "h100-sxm-80", "--weights", "fp8", "--replicas", "6", "--replications", "1", "--hours", "0.2")
    hits = {}
    for routing in ("round-robin", "prefix-affine"):
        main(["simulate", str(scenario), *fleet, "--routing", routing])
        text = capsys.readouterr().out
        assert ("--routing prefix-affine" in text) == (routing == "round-robin")
        main(["simulate", str(scenario), *fleet, "--routing", routing, "--json"])
        hits[routing] = json.loads(capsys.readouterr().out)["service"]["cached_prompt_share"]
    assert hits["prefix-affine"] > 2 * hits["round-robin"]
