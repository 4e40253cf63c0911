"""Capacity, growth and lost hosts: numbers that can be checked by hand, and simulations that agree with them."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest

pytest.importorskip("numba")

from llmsizer.errors import InputError
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.workload import Growth, Slo, Workload
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.failing.availability import (
    Site,
    growth,
    held_rate,
    loss,
    losses,
    outages,
    replicas_needed,
    rolling_upgrade,
)
from llmsizer.traffic.failing.failures import Domains, Failures, first_true, hours_beyond, spared_for
from llmsizer.traffic.service import Goal
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.steps import StepTable, tabulate

TODAY = datetime.date(2026, 11, 21)


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


TABLE: StepTable = tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192)
# A request takes 10 ms of prefill of its own and shares ten steps of 10 ms with 15 others: about 60 a second saturate.
SITE = Site(
    replica=Replica(steps=TABLE, kv_tokens=100_000, max_sequences=16, max_batched_tokens=1024),
    stream=Stream(
        arrivals=Arrivals(requests_per_second=1),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    ),
    goal=Goal(slo=Slo(ttft_p95_seconds=0.5, tpot_p95_seconds=0.1)),
    replicas=4,
    replicas_per_host=2,
    gpus_per_replica=2,
    replications=2,
)


def sure(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value, basis="assumed")


@pytest.fixture(scope="module")
def each() -> float:
    return held_rate(SITE, 1).requests_per_second


def test_one_replica_holds_somewhat_less_than_it_saturates_at(each: float) -> None:
    assert 30 < each < 70


def test_two_replicas_hold_at_least_twice_what_one_does(each: float) -> None:
    both = held_rate(SITE, 2)
    assert both.requests_per_second >= 2 * each * 0.97  # the search's tolerance
    assert both.basis == "simulated" and both.low is None


def test_replicas_needed_are_the_fewest_whose_simulation_holds(each: float) -> None:
    needed = replicas_needed(SITE, 2.5 * each, each)
    assert needed == 3
    assert SITE.service(3, 2.5 * each).meets_slo
    assert not SITE.service(2, 2.5 * each).meets_slo


def test_no_number_of_replicas_helps_one_that_is_too_slow() -> None:
    with pytest.raises(InputError, match="no number of them helps"):
        replicas_needed(SITE, 1.0, 0.0)


def test_a_lost_host_is_simulated_with_what_is_left(each: float) -> None:
    comfortable = loss(SITE, "one host down", 2, 1.5 * each)
    assert (comfortable.replicas_left, comfortable.holds_slo) == (2, True)
    beyond = loss(SITE, "one host down", 2, 3 * each)
    assert not beyond.holds_slo
    assert beyond.service is not None and beyond.service.replicas == 2
    assert loss(SITE, "all", 4, 1.0).service is None


def failing(gpus: float = 0.0, repair: float = 100.0, hosts: float = 0.0, zones: float = 0.0) -> Failures:
    return Failures(
        gpu_failures_per_year=sure(gpus),
        gpu_repair_hours=sure(repair),
        host_failures_per_year=sure(hosts),
        zone_hours_down_per_year=sure(zones),
    )


def test_two_hosts_of_which_one_may_be_down(each: float) -> None:
    found = outages(SITE, 1.5 * each, failing(0.1), 2)
    assert (found.hosts, found.gpus_per_host, found.hosts_that_may_be_down) == (2, 4, 1)
    # Time to failure 8760/(0.1 × 4) = 21,900 h; down 100/22,000 of the time; both at once, squared, of 8,760 h.
    assert found.hours_a_year_beyond.value == pytest.approx(8760 * (100 / 22_000) ** 2)
    assert found.share_of_the_year_held.value == pytest.approx(1 - (100 / 22_000) ** 2)
    assert found.spared == {"one GPU": 3, "one host": 4, "one zone": None}


def test_none_may_be_down_where_the_peak_needs_every_replica(each: float) -> None:
    found = outages(SITE, 3.8 * each, failing(0.1), 4)
    assert found.hosts_that_may_be_down == 0
    assert found.hours_a_year_beyond.value == pytest.approx(8760 * (1 - (1 - 100 / 22_000) ** 2))


def test_a_fleet_that_misses_its_slo_misses_it_all_year(each: float) -> None:
    found = outages(SITE, 10 * each, failing(0.1), 11)
    assert found.hosts_that_may_be_down == -1
    assert (found.hours_a_year_beyond.value, found.share_of_the_year_held.value) == (8760, 0)


def test_hosts_that_never_fail_cost_no_hour() -> None:
    assert hours_beyond(Domains(replicas=8), 8, 0, failing()).value == 0


def test_a_host_fails_for_itself_and_for_each_of_its_gpus() -> None:
    # 8 GPUs × 0.05 + 0.6 = 1 failure a year, 8,760 h apart: down 240/9,000 of the time.
    found = hours_beyond(Domains(replicas=1), 8, 0, failing(0.05, 240, 0.6))
    assert found.value == pytest.approx(8760 * 240 / 9000)


def test_a_zone_takes_its_hosts_with_it() -> None:
    two = Domains(replicas=4, zones=2)
    # 87.6 h a year are 1 %; each zone holds two of four hosts, which otherwise never fail.
    one_lost = hours_beyond(two, 1, 2, failing(zones=87.6)).value
    none_lost = hours_beyond(two, 1, 1, failing(zones=87.6)).value
    assert one_lost == pytest.approx(8760 * 0.01**2)
    assert none_lost == pytest.approx(8760 * (1 - 0.99**2))
    assert hours_beyond(Domains(replicas=4), 1, 3, failing(zones=87.6)).value == pytest.approx(87.6)


def test_in_zones_that_never_fail_hosts_are_binomial_whatever_their_zone() -> None:
    failures = failing(0.5, 200, 0.1)
    one, three = (hours_beyond(Domains(replicas=7, zones=zones), 2, 2, failures).value for zones in (1, 3))
    assert one == pytest.approx(three)


def test_replicas_fill_hosts_and_hosts_are_dealt_to_zones() -> None:
    domains = Domains(replicas=9, replicas_per_host=2, zones=2)
    assert domains.hosts == 5
    assert [(zone.hosts, zone.replicas) for zone in domains.map] == [(3, 5), (2, 4)]
    assert domains.largest == {"one GPU": 1, "one host": 2, "one zone": 5}
    with pytest.raises(InputError, match="at most one zone per host"):
        Domains(replicas=2, replicas_per_host=2, zones=2)


def test_n_plus_one_by_gpu_host_and_zone() -> None:
    # 5 are needed, 2 on a host, 2 zones: 6; 7 (four hosts); 9 fill five hosts, zones of 5 and 4; 10: zones of 6 and 4.
    assert spared_for(5, "one GPU", 2, 2) == 6
    assert spared_for(5, "one host", 2, 2) == 7
    assert spared_for(5, "one zone", 2, 2) == 11
    assert spared_for(5, "one zone", 2, 1) is None
    for kind in ("one GPU", "one host", "one zone"):
        count = spared_for(5, kind, 2, 2)
        assert count is not None
        domains = Domains(replicas=count, replicas_per_host=2, zones=2)
        assert domains.replicas - domains.largest[kind] >= 5


def test_a_zone_down_is_simulated_with_what_is_left(each: float) -> None:
    found = losses(replace(SITE, zones=2), 1.5 * each)
    assert [(lost.what, lost.replicas_left) for lost in found] == [
        ("one replica down", 3),
        ("one host down", 2),
        ("one zone down", 2),
    ]
    assert [lost.what for lost in losses(SITE, each)] == ["one replica down", "one host down"]


def test_a_rolling_upgrade_drains_and_starts_each_replica(each: float) -> None:
    lost = loss(SITE, "one replica down", 1, 0.01 * each)
    upgrade = rolling_upgrade(lost, 4, Estimate(value=60, low=30, high=90, basis="assumed"))
    # An answer alone: 20 ms of prefill and ten steps of 10 ms.
    assert upgrade.seconds_to_drain == pytest.approx(0.12, rel=0.05)
    assert upgrade.seconds.value == pytest.approx(4 * (60 + 0.12), rel=1e-3)
    assert upgrade.seconds.low == pytest.approx(4 * 30.12, rel=1e-3)
    overloaded = rolling_upgrade(loss(SITE, "one replica down", 1, 20 * each), 4, sure(60))
    assert overloaded.seconds.value is None and "OVERLOADED" in overloaded.seconds.reason
    alone = rolling_upgrade(loss(SITE, "all", 4, each), 1, sure(60))
    assert alone.seconds.value is None


def test_hours_beyond_carry_the_interval_of_their_assumptions() -> None:
    wide = Failures(
        gpu_failures_per_year=Estimate(value=0.09, low=0.06, high=0.17, basis="assumed"),
        gpu_repair_hours=Estimate(value=120, low=24, high=480, basis="assumed"),
        host_failures_per_year=sure(0.1),
        zone_hours_down_per_year=sure(1.0),
    )
    domains = Domains(replicas=4)
    found = hours_beyond(domains, 8, 1, wide)
    assert found.low is not None and found.value is not None and found.high is not None
    assert found.low < found.value < found.high
    assert found.low == hours_beyond(domains, 8, 1, failing(0.06, 24, 0.1, 1.0)).value
    assert found.basis == "assumed"


def test_growth_compounds_and_says_when_the_fleet_is_outgrown(each: float) -> None:
    workload = Workload(requests_per_second=each / 2, prompt_tokens=100, output_tokens=11, peak_to_average=2)
    until = TODAY + datetime.timedelta(days=731)  # two years
    grown = growth(SITE, workload, each, 4 * each, Growth(per_year=1.0, start=TODAY, until=until))
    assert grown.peak_requests_per_second == pytest.approx(4 * each, rel=0.01)
    assert grown.replicas in (4, 5)
    assert grown.exhausted_on is not None
    assert abs((grown.exhausted_on - until).days) <= 1  # four times the peak is reached after two doublings


def test_a_fleet_lasts_as_long_as_its_headroom_is_kept_which_replica_counts_include_too(each: float) -> None:
    workload = Workload(requests_per_second=each / 2, prompt_tokens=100, output_tokens=11, peak_to_average=2)
    roomy = workload.model_copy(update={"headroom": 1.0})
    until = TODAY + datetime.timedelta(days=731)
    plan = Growth(per_year=1.0, start=TODAY, until=until)
    plain, kept = (growth(SITE, one, each, 4 * each, plan, spare_replicas=1) for one in (workload, roomy))
    assert plain.exhausted_on is not None and kept.exhausted_on is not None
    assert abs((plain.exhausted_on - kept.exhausted_on).days - 365) <= 1  # twice the room is a doubling sooner
    assert kept.replicas > 1.5 * plain.replicas
    assert (kept.headroom, kept.spare_replicas, plain.headroom) == (1.0, 1, 0.0)


def test_growth_that_never_outgrows_the_fleet_has_no_day(each: float) -> None:
    workload = Workload(requests_per_second=each / 4, prompt_tokens=100, output_tokens=11)
    until = TODAY + datetime.timedelta(days=400)
    still = Growth(per_year=0.0, start=TODAY, until=until)
    assert growth(SITE, workload, each, 4 * each, still).exhausted_on is None
    assert growth(SITE, workload, each, each / 8, still).exhausted_on == TODAY


def test_the_first_true_number_is_found_between_its_bounds() -> None:
    assert [first_true(lambda n, at=at: n >= at, 0, 100) for at in (1, 37, 100)] == [1, 37, 100]  # type: ignore[misc]


def test_hosts_are_counted_whole() -> None:
    assert replace(SITE, replicas=5).hosts == 3


def test_a_number_of_replicas_that_nobody_has_is_refused_before_anything_runs() -> None:
    with pytest.raises(InputError, match="at most 100,000 are looked at"):
        replace(SITE, replicas=100_001)
