"""Prefill and decode apart, beside the same GPUs doing both: by hand where requests hardly meet, and as commands."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("numba")

from llmsizer.cli import main
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.disaggregation import KvLink, disaggregate, kv_link
from llmsizer.traffic.service import Goal, serve
from llmsizer.traffic.simulator.fleet import Fleet, Replica
from llmsizer.traffic.simulator.steps import tabulate

Capture = pytest.CaptureFixture[str]


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


TABLE = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
REPLICA = Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024)
GOAL = Goal(slo=Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.05))
LINK = KvLink(bytes_per_second=1e6, bytes_per_token=1000, basis="assumed", source="by hand")  # 1 ms a token


def demand(rate: float, prompt: int = 100) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate),
        prompt=Fixed(tokens=prompt),
        output=Fixed(tokens=11),
        context_tokens=8192,
    )


def test_an_idle_pair_takes_prefill_then_transfer_then_decode() -> None:
    found = disaggregate(
        REPLICA, demand(0.05), GOAL, (1, 1), LINK, "none", gpus_per_replica=1, hours=10, replications=2
    )
    # 20 ms of prefill; 100 tokens × 1 ms of transfer; ten steps of 10 ms. TPOT holds the hand-over: 200 ms / 10.
    assert found.transfer_seconds_mean_prompt == pytest.approx(0.1)
    assert found.row("TTFT").p50.value == pytest.approx(0.020, rel=0.01)
    assert found.row("E2E").p50.value == pytest.approx(0.220, rel=0.01)
    assert found.row("TPOT").p50.value == pytest.approx(0.020, rel=0.01)
    assert (found.verdict, found.meets_slo) == ("STABLE", True)
    assert found.energy.watts.value is None and found.energy.gpus == 2


def test_decoding_apart_is_not_interrupted_by_long_prompts() -> None:
    stream = demand(4, prompt=900)
    fast = KvLink(bytes_per_second=1e12, bytes_per_token=1000, basis="assumed", source="by hand")
    apart = disaggregate(REPLICA, stream, GOAL, (1, 1), fast, "none", gpus_per_replica=1, hours=0.25, replications=2)
    together = serve(REPLICA, stream, Fleet(replicas=2), GOAL, hours=0.25, replications=2)
    assert apart.row("TPOT").p95.value < together.row("TPOT").p95.value  # type: ignore[operator]
    assert apart.row("TTFT").p95.value > together.row("TTFT").p95.value  # type: ignore[operator]  # one replica prefills


def test_a_pool_that_is_overloaded_leaves_no_latency() -> None:
    found = disaggregate(REPLICA, demand(300), GOAL, (1, 1), LINK, "none", gpus_per_replica=1, hours=0.02)
    assert (found.verdict, found.meets_slo, found.missed) == ("OVERLOADED", False, "OVERLOADED")
    assert all(row.p95.value is None and "OVERLOADED" in row.p95.reason for row in found.latencies)
    assert found.goodput_requests_per_second.value is None


def test_the_link_is_the_data_sheets_or_the_one_given() -> None:
    catalog = default_catalog()
    model = catalog.model("llama-3.1-8b")
    sheet = kv_link(deployment(model, catalog.gpu("h100-sxm-80"), "bf16"))
    assert (sheet.bytes_per_second, sheet.basis) == (450e9, "datasheet")
    assert sheet.bytes_per_token == 131_072  # 2 tensors x 32 layers x 8 heads x 128 dims x 2 bytes
    split = kv_link(deployment(model, catalog.gpu("h100-sxm-80"), "bf16", tp=2), 50e9)
    assert (split.bytes_per_token, split.bytes_per_second, split.basis) == (65_536, 50e9, "assumed")
    bare = catalog.gpu("h100-sxm-80").model_copy(
        update={"scaleup_bytes_per_second": None, "pcie_gen": None, "pcie_lanes": None}
    )
    with pytest.raises(InputError, match="--kv-link"):
        kv_link(deployment(model, bare, "bf16"))


FLEET = ("--gpu", "h100-sxm-80", "--weights", "int4", "--replications", "2")


def test_simulate_shows_both_ways_side_by_side(capsys: Capture) -> None:
    assert main(["simulate", "eu-chat", *FLEET, "--disaggregate", "1:2", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    apart = document["disaggregated"]
    assert (apart["prefill_replicas"], apart["decode_replicas"], document["service"]["replicas"]) == (1, 2, 3)
    assert apart["energy"]["gpus"] == document["energy"]["gpus"]
    assert main(["simulate", "eu-chat", *FLEET, "--disaggregate", "1:2", "--kv-link", "50"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1:2 apart" in out and "3 together" in out and "50 GB/s for each GPU, as given" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--disaggregate", "2"), "such as 2:2"),
        (("--disaggregate", "0:2"), "from 1 to 10,000"),
        (("--disaggregate", "1:x"), "two counts of replicas"),
        (("--disaggregate", "1:-1"), "two counts of replicas"),
        (("--disaggregate", "1:1", "--replicas", "3"), "differ"),
        (("--kv-link", "10"), "needs --disaggregate"),
        (("--disaggregate", "1:1", "--kv-link", "nan"), "out of range"),
        (("--disaggregate", "1:1", "--kv-link", "0"), "out of range"),
    ],
)
def test_a_mistake_is_one_line(capsys: Capture, options: tuple[str, ...], said: str) -> None:
    assert main(["simulate", "eu-chat", *FLEET, *options]) != 0
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 1
