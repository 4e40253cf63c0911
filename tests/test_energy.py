"""Power at the simulated load, joules per token, and what waiting draws: by hand, and through the command line."""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("numba")

from llmsizer.cli import main
from llmsizer.errors import InputError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.energy import SHARES, Power, added, energy_of, power_of
from llmsizer.traffic.service import Goal, observe
from llmsizer.traffic.simulator.fleet import Fleet, PowerCurve, Replica
from llmsizer.traffic.simulator.replications import Replications
from llmsizer.traffic.simulator.steps import tabulate

ASSUMED = load_assumptions({}, datetime.date(2026, 11, 21))
FLAT = PowerCurve(idle_watts=100, one_watts=300, full_watts=300)
SURE = Power(mid=FLAT, low=FLAT, high=FLAT, basis="assumed", reason="by hand")


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


TABLE = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
REPLICA = Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024)
STREAM = Stream(
    arrivals=Arrivals(requests_per_second=1),
    prompt=Fixed(tokens=100),
    output=Fixed(tokens=11),
    context_tokens=8192,
)


def runs(rate: float, replicas: int = 1, hours: float = 1.0) -> Replications:
    goal = Goal(slo=Slo())
    return observe(REPLICA, STREAM.at_rate(rate), Fleet(replicas=replicas), goal, hours=hours, replications=2)


def test_joules_per_token_by_hand_where_requests_hardly_meet() -> None:
    found = energy_of(runs(0.05, hours=100).runs, 1, 1, SURE)
    # A request every 20 s takes 120 ms of 300 W for 11 tokens; the other 19.88 s draw 100 W.
    assert found.output_tokens_per_second == pytest.approx(0.55, rel=0.02)
    assert found.watts.value == pytest.approx(100 + 200 * 0.12 * found.output_tokens_per_second / 11, rel=1e-3)
    assert found.joules_per_output_token.value == pytest.approx(found.watts.value / found.output_tokens_per_second)  # type: ignore[operator]
    assert found.idle_share.value == pytest.approx(100 * (1 - 0.006) / found.watts.value, rel=1e-2)  # type: ignore[operator]


def test_a_thousand_tokens_in_watt_hours_are_the_joules_over_three_point_six() -> None:
    found = energy_of(runs(5).runs, 1, 1, SURE)
    joules, hours = found.joules_per_output_token.value, found.watt_hours_per_1000_output_tokens.value
    assert joules is not None and hours == pytest.approx(joules / 3.6)


def test_a_busier_fleet_spends_less_on_each_token_and_less_on_waiting() -> None:
    calm, busy = (energy_of(runs(rate).runs, 1, 1, SURE) for rate in (0.1, 30))
    assert calm.joules_per_output_token.value > 20 * busy.joules_per_output_token.value  # type: ignore[operator]
    assert calm.idle_share.value > 0.9 > 0.5 > busy.idle_share.value  # type: ignore[operator]


def test_an_idle_replica_beside_a_busy_one_draws_its_idle_power() -> None:
    one, two = (energy_of(runs(0.05, count).runs, count, 1, SURE).watts.value for count in (1, 2))
    assert one is not None and two == pytest.approx(one + 100, rel=1e-3)


def test_the_curve_is_the_gpus_share_of_its_tdp_and_says_whose_it_is() -> None:
    catalog = default_catalog()
    model, h100, l4 = catalog.model("llama-3.1-8b"), catalog.gpu("h100-sxm-80"), catalog.gpu("l4")
    own = power_of(deployment(model, h100, "bf16", tp=2), ASSUMED)
    assert isinstance(own, Power)
    assert (own.mid.idle_watts, own.mid.full_watts) == pytest.approx((2 * 700 * 0.074, 2 * 700 * 0.60))
    assert own.basis == "calibrated"
    other = power_of(deployment(model, l4, "int4"), ASSUMED)
    assert isinstance(other, Power) and other.basis == "assumed" and "H100" in other.reason
    none = power_of(deployment(model, l4.model_copy(update={"tdp_watts": None}), "int4"), ASSUMED)
    assert isinstance(none, str) and "not in the catalogue" in none


def test_unknown_power_leaves_energy_unknown_and_never_zero() -> None:
    found = energy_of(runs(1, hours=0.25).runs, 1, 1, "nobody measured it")
    for estimate in (found.watts, found.joules_per_output_token, found.idle_share):
        assert (estimate.value, estimate.basis, estimate.reason) == (None, "unknown", "nobody measured it")


def test_an_overloaded_fleet_has_watts_and_no_joules_per_token() -> None:
    found = energy_of(runs(500, hours=0.02).runs, 1, 1, SURE)
    assert found.watts.value == pytest.approx(300, rel=0.02)
    assert found.joules_per_output_token.value is None and "OVERLOADED" in found.joules_per_output_token.reason


def test_shares_that_fall_are_refused() -> None:
    wrong = dict(ASSUMED)
    wrong[SHARES[0]] = replace(wrong[SHARES[0]], estimate=Estimate(value=0.9, basis="assumed"))
    catalog = default_catalog()
    with pytest.raises(InputError, match="power falls from idle"):
        power_of(deployment(catalog.model("llama-3.1-8b"), catalog.gpu("l4"), "int4"), wrong)


def test_pools_add_up_and_their_waiting_is_weighted_by_their_power() -> None:
    calm, busy = energy_of(runs(0.05).runs, 1, 1, SURE), energy_of(runs(30).runs, 1, 1, SURE)
    both = added([calm, busy], busy.output_tokens_per_second)
    watts = [part.watts.value or math.nan for part in (calm, busy)]
    idle = [part.idle_share.value or 0.0 for part in (calm, busy)]
    assert both.watts.value == pytest.approx(sum(watts))
    assert both.idle_share.value == pytest.approx(sum(w * i for w, i in zip(watts, idle, strict=True)) / sum(watts))
    assert both.gpus == 2


def test_simulate_prints_energy_with_its_basis(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fleet = ("--gpu", "h100-sxm-80", "--weights", "int4", "--replicas", "2", "--replications", "2")
    assert main(["simulate", "eu-chat", *fleet, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["energy"]["watts"]["basis"] == "calibrated"
    assert found["energy"]["joules_per_output_token"]["value"] > 0
    assert set(found["assumptions"]) == set(SHARES)
    assert all(figure["source"] and figure["as_of"] for figure in found["assumptions"].values())
    assert main(["simulate", "eu-chat", *fleet]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "an output token" in out and "drawn while waiting" in out and "host, network and cooling" in out
