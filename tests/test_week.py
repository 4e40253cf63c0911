"""A fleet through the week: by hand where one hour is busy, laws everywhere, and what a cold start costs."""

from __future__ import annotations

import datetime
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.decide.pricing.rentals import rent_of_modes
from llmsizer.decide.pricing.study import workload_of
from llmsizer.errors import InputError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.figure import exact
from llmsizer.facts.hub import load_model
from llmsizer.facts.provenance import Estimate
from llmsizer.facts.scenario import load_scenario
from llmsizer.facts.workload import Growth, Slo, Workload
from llmsizer.money.prices import price_book
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.hours.batch_lane import batch_lane
from llmsizer.traffic.hours.growing import replicas_by_month
from llmsizer.traffic.hours.week import (
    Sizing,
    all_modes,
    awake_share,
    hour_name,
    hourly_rates,
    peak_hour,
    restart,
    run_week,
    start_up,
    unit_share,
)
from llmsizer.units import SECONDS_PER_HOUR

WEEK_SECONDS = 168 * 3600
ONE_BUSY_HOUR = (*([0.0] * 30), 1.0, *([0.0] * 137))  # Tuesday, six in the morning
SIZING = Sizing(requests_per_second_each=2.0, start_seconds=360.0, stay_seconds=10.0, idle_seconds=590.0)


def workload(rate: float = 1.0, **more: object) -> Workload:
    return Workload(requests_per_second=rate, prompt_tokens=100, output_tokens=11, **more)  # type: ignore[arg-type]


def test_one_busy_hour_by_hand() -> None:
    # 168 times the average of 0.05: 8.4 requests/s in that hour take five replicas of 2 requests/s.
    rates = hourly_rates(workload(0.05, hourly_weights=ONE_BUSY_HOUR))
    assert rates[30] == pytest.approx(8.4) and rates.sum() == pytest.approx(8.4)
    assert (peak_hour(rates), hour_name(30)) == (30, "tue 06:00")
    found = {mode.mode: mode for mode in all_modes(rates, SIZING)}
    assert found["always-on"].replica_hours_per_week == 5 * 168
    # Five run for the hour; each was begun 360 s = a tenth of an hour before.
    assert found["active-window"].replica_hours_per_week == pytest.approx(5 + 0.5)
    assert found["by-hour"].replica_hours_per_week == pytest.approx(167 + 5 + 0.1 * 4)
    assert found["scale-to-zero"].replica_hours_per_week == pytest.approx(5, rel=0.01)
    assert [found[mode].starts_per_week for mode in ("always-on", "active-window", "by-hour")] == [0, 5, 4]
    assert all(mode.served_share == 1.0 for mode in found.values())
    assert found["always-on"].replica_hours_per_month == pytest.approx(5 * 730)
    assert found["active-window"].billed_share == pytest.approx(5.5 / (5 * 168))


def test_a_window_refuses_what_comes_outside() -> None:
    weights = (*([1.0] * 84), *([0.25] * 84))
    rates = hourly_rates(workload(1.0, hourly_weights=weights))
    found = run_week(rates, replace(SIZING, window=frozenset(range(84))), "active-window")
    assert found.served_share == pytest.approx(0.8)  # 84 of 84 + 21 weights
    assert found.replica_hours_per_week == pytest.approx(84 + 0.1)
    quiet = hourly_rates(workload(1.0, hourly_weights=(*([1.0] * 84), *([0.04] * 84))))
    assert run_week(quiet, SIZING, "active-window").replica_hours_per_week == pytest.approx(84 + 0.1)


weeks = st.lists(st.floats(0, 50), min_size=168, max_size=168).filter(lambda hours: sum(hours) > 1e-3)


@settings(max_examples=60, deadline=None)
@given(weeks, st.floats(0.01, 20), st.floats(0, 2), st.integers(0, 3), st.floats(0, 20_000), st.floats(0.001, 100))
def test_laws_of_the_modes(
    weights: list[float], rate: float, headroom: float, spare: int, start_seconds: float, each: float
) -> None:
    rates = hourly_rates(workload(rate, hourly_weights=tuple(weights)))
    everything = frozenset(np.flatnonzero(rates > 0).tolist())
    sizing = Sizing(
        requests_per_second_each=each,
        headroom=headroom,
        spare_replicas=spare,
        start_seconds=start_seconds,
        window=everything,
    )
    always, window, by_hour, zero = all_modes(rates, sizing)
    slack = 1 + 1e-9
    # Where the window leaves no request out, each does with no more than the one before.
    assert zero.replica_hours_per_week <= window.replica_hours_per_week * slack
    assert window.replica_hours_per_week <= always.replica_hours_per_week * slack
    assert zero.replica_hours_per_week <= by_hour.replica_hours_per_week * slack
    assert by_hour.replica_hours_per_week <= always.replica_hours_per_week * slack
    assert math.isclose(rates.sum() * SECONDS_PER_HOUR, rate * WEEK_SECONDS, rel_tol=1e-9)
    assert window.served_share == pytest.approx(1.0)
    for mode, more in zip((always, window, by_hour), all_modes(rates, replace(sizing, headroom=headroom + 0.5)),
                          strict=False):  # fmt: skip
        assert all(now <= later for now, later in zip(mode.replicas_by_hour, more.replicas_by_hour, strict=True))
    for hour, count in enumerate(by_hour.replicas_by_hour):
        assert (count - spare) * each >= rates[hour] * (1 + headroom) * (1 - 1e-6)
        assert 0 <= zero.replica_hours_by_hour[hour] <= by_hour.replica_hours_by_hour[hour] * slack
        assert zero.replicas_by_hour[hour] <= always.peak_replicas


def test_a_replica_that_misses_the_slo_when_idle_serves_no_week() -> None:
    with pytest.raises(InputError, match="no number of them helps"):
        run_week(np.ones(168), Sizing(requests_per_second_each=0.0), "always-on")


def test_hours_that_nobody_gave_are_not_guessed() -> None:
    assert hourly_rates(workload(3.0, peak_to_average=1.0)).tolist() == [3.0] * 168
    with pytest.raises(InputError, match="nobody said when requests come"):
        hourly_rates(workload(3.0))


def test_awake_by_hand() -> None:
    # One request in 1,000 s on average, up for 200 s: e^0.2 − 1 = 0.2214 of 1,000 s up, 100 s to start, 1,000 s asleep.
    assert awake_share(0.001, 200.0, 100.0) == pytest.approx(321.4 / 1321.4, rel=1e-3)
    assert awake_share(0.0, 200.0, 100.0) == 0.0
    assert awake_share(10.0, 200.0, 100.0) == 1.0


def test_a_start_up_by_hand() -> None:
    figures = {
        "machine_boot_seconds": exact(20.0, "s", "assumed", "here"),
        "model_load_bytes_per_second": exact(2e9, "bytes/s", "assumed", "here"),
        "engine_init_seconds": exact(30.0, "s", "assumed", "here"),
    }
    assert start_up(100e9, figures).value == 20 + 50 + 30


def test_growth_compounds_by_month_and_by_year() -> None:
    day = datetime.date
    monthly = Growth(per_month=0.03, start=day(2026, 1, 1), until=day(2028, 1, 1))
    assert monthly.yearly == pytest.approx(1.03**12 - 1)
    doubling = Growth(per_year=1.0, start=day(2026, 1, 1), until=day(2028, 1, 1))
    assert doubling.factor(day(2028, 1, 1)) == pytest.approx(4.0, rel=1e-3)
    assert doubling.factor(day(2025, 1, 1)) == 1.0 and doubling.factor(day(2040, 1, 1)) == doubling.largest_factor
    shrinking = Growth(per_year=-0.5, start=day(2026, 1, 1), until=day(2028, 1, 1))
    assert shrinking.factor(day(2028, 1, 1)) == pytest.approx(0.25, rel=1e-3) and shrinking.largest_factor == 1.0


def test_a_fleet_is_sized_for_the_end_of_the_growth_and_the_headroom() -> None:
    growth = Growth(per_year=1.0, start=datetime.date(2026, 1, 1), until=datetime.date(2028, 1, 1))
    # 1 × 3 (peak) × 4 (two doublings) × 1.25
    assert workload(1.0, peak_to_average=3.0, growth=growth, headroom=0.25).sizing_requests_per_second == pytest.approx(
        15.0, rel=1e-3
    )


def test_replicas_by_month_end_on_the_last_day() -> None:
    growth = Growth(per_year=1.0, start=datetime.date(2026, 1, 31), until=datetime.date(2027, 1, 31))
    months = replicas_by_month(workload(1.0, peak_to_average=3.0), growth, replace(SIZING, spare_replicas=1))
    assert [m.day.isoformat() for m in months[:3]] == ["2026-01-31", "2026-02-28", "2026-03-31"]
    assert (len(months), months[-1].day) == (13, growth.until)
    # 3 requests/s need two replicas of 2, the doubled 6 need three; and one spare each.
    assert (months[0].replicas, months[-1].replicas) == (3, 4)
    assert all(now.replicas <= later.replicas for now, later in pairwise(months))


def test_the_batch_lane_by_hand() -> None:
    rates = hourly_rates(workload(0.5, peak_to_average=1.0))
    running = run_week(rates, SIZING, "always-on")
    lane = batch_lane(
        rates,
        running,
        rate_each=Estimate(value=2.0, low=0.5, high=3.0, basis="calibrated"),
        saturation_each=4.0,
        tokens_per_request=111,
    )
    # One replica of 2 requests/s serves 0.5 online: 1.5 are left of every second of 730 hours.
    assert lane.requests_per_month.value == pytest.approx(1.5 * 730 * 3600)
    assert lane.requests_per_month.low == 0.0 and lane.requests_per_month.high == pytest.approx(3.5 * 730 * 3600)
    assert lane.tokens_per_month.value == pytest.approx(111 * 1.5 * 730 * 3600)
    assert lane.idle_share == pytest.approx(0.75)


@settings(max_examples=30, deadline=None)
@given(weeks, st.floats(0.01, 5))
def test_batch_and_online_work_together_stay_within_what_runs(weights: list[float], rate: float) -> None:
    rates = hourly_rates(workload(rate, hourly_weights=tuple(weights)))
    held = Estimate(value=2.0, basis="calibrated")
    for running in all_modes(rates, SIZING)[:3]:
        lane = batch_lane(rates, running, rate_each=held, saturation_each=2.0, tokens_per_request=1)
        online = rate * running.served_share * 730 * 3600
        assert lane.requests_per_month.value is not None
        assert lane.requests_per_month.value + online <= running.replica_hours_per_month * 3600 * 2.0 * (1 + 1e-9)


def test_rented_machines_are_billed_while_a_replica_of_theirs_is_up() -> None:
    weights = (*([4.0] * 84), *([1.0] * 84))
    rates = hourly_rates(workload(2.5, hourly_weights=weights))  # 4 and 1 requests/s: two replicas, then one
    sizing = replace(SIZING, start_seconds=0.0)
    by_hour = run_week(rates, sizing, "by-hour")
    assert unit_share(by_hour, 1) == by_hour.billed_share == pytest.approx(0.75)
    assert unit_share(by_hour, 2) == 1.0  # one machine holds both: it is never off
    window = run_week(rates, replace(sizing, window=frozenset(range(84))), "active-window")
    assert unit_share(window, 2) == unit_share(window, 1) == pytest.approx(0.5)


def test_renting_by_the_hour_costs_its_share_and_the_people() -> None:
    catalog = default_catalog()
    named = load_scenario(catalog.root / "scenarios" / "eu-chat.toml")
    anywhere = named.constraints.model_copy(update={"eu_only": False})  # an EU operator of these cards has no price
    scenario = named.model_copy(update={"constraints": anywhere})
    served = workload_of(scenario, catalog)
    book = price_book(catalog, scenario, datetime.date(2026, 11, 1))
    replica = deployment(load_model("mistral-small-4", catalog), catalog.gpu("l4"), "int4", tp=4)
    modes = all_modes(hourly_rates(served), replace(SIZING, window=frozenset(range(84))))
    rents = {rent.mode: rent for rent in rent_of_modes(modes, replica, served, scenario, book)}
    usd = {mode: rent.usd_per_month.value or math.nan for mode, rent in rents.items()}
    assert usd["scale-to-zero"] <= usd["by-hour"] <= usd["always-on"] and usd["active-window"] < usd["always-on"]
    assert rents["always-on"].billed_share == 1.0 and "L4" in rents["always-on"].offer
    # No GPU of this kind is rented out in the EU: unknown, never free.
    nowhere = rent_of_modes(modes, replace(replica, gpu=catalog.gpu("rtx-3090")), served, named, book)
    assert all(
        rent.usd_per_month.value is None and "no offer" in rent.usd_per_month.estimate.reason for rent in nowhere
    )


pytest.importorskip("numba")

from llmsizer.traffic.hours.cold_starts import cold_starts  # noqa: E402
from llmsizer.traffic.service import Goal  # noqa: E402
from llmsizer.traffic.simulator.fleet import Replica  # noqa: E402
from llmsizer.traffic.simulator.steps import tabulate  # noqa: E402

GOAL = Goal(slo=Slo(ttft_p95_seconds=1.0, tpot_p95_seconds=0.05))


def step_seconds(prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float) -> float:
    return 0.01 + 0.0001 * prefill_tokens


REPLICA = Replica(
    steps=tabulate(step_seconds, max_sequences=16, max_batched_tokens=1024, max_context_tokens=8192),
    kv_tokens=100_000,
    max_sequences=16,
    max_batched_tokens=1024,
)


def stream(rate: float, gap_cv: float, weights: tuple[float, ...] = ()) -> Stream:
    return Stream(
        arrivals=Arrivals(requests_per_second=rate, gap_cv=gap_cv, hourly_weights=weights),
        prompt=Fixed(tokens=100),
        output=Fixed(tokens=11),
        context_tokens=8192,
    )


def test_every_request_an_hour_apart_is_a_cold_start() -> None:
    rate = 1 / 3600
    running = run_week(np.full(168, rate), SIZING, "scale-to-zero")
    found = cold_starts(REPLICA, stream(rate, 0.0), running, SIZING, GOAL)
    # The last of them comes at the very end of the time and is not drawn.
    assert found.starts == found.requests == found.caught == found.missed_for_it
    assert found.missed_share == 1.0 and found.starts == pytest.approx(168 * found.weeks, abs=1)
    # 360 s to start, then a prompt of 100 tokens: 0.02 s.
    assert found.longest_wait_seconds == pytest.approx(360.02, abs=1e-6)
    # Up while it starts and 600 s beyond.
    assert found.awake_hours_per_week == pytest.approx(168 * 960 / 3600, rel=0.01)


def test_a_busy_service_starts_once() -> None:
    rate = 0.5
    running = run_week(np.full(168, rate), SIZING, "scale-to-zero")
    found = cold_starts(REPLICA, stream(rate, 1.0), running, SIZING, GOAL, seed=3)
    assert found.starts == 1
    # About half a request a second for 360 s; all but those of the last second wait too long.
    assert found.missed_for_it == pytest.approx(180, rel=0.25) and found.missed_for_it <= found.caught + 5
    assert found.awake_hours_per_week == pytest.approx(168, rel=1e-3)


def test_the_simulated_sleep_is_that_of_the_formula() -> None:
    rate = 1 / 900
    running = run_week(np.full(168, rate), SIZING, "scale-to-zero")
    found = cold_starts(REPLICA, stream(rate, 1.0), running, SIZING, GOAL, seed=1)
    assert found.weeks == 8
    assert found.awake_hours_per_week == pytest.approx(running.replica_hours_per_week, rel=0.05)
    assert found.starts / found.weeks == pytest.approx(running.starts_per_week, rel=0.1)


def test_no_start_up_time_misses_nothing() -> None:
    sizing = replace(SIZING, start_seconds=0.0)
    running = run_week(np.full(168, 1 / 900), sizing, "scale-to-zero")
    assert cold_starts(REPLICA, stream(1 / 900, 1.0), running, sizing, GOAL).missed_for_it == 0


def test_the_same_seed_starts_at_the_same_times() -> None:
    running = run_week(np.full(168, 1 / 200), SIZING, "scale-to-zero")
    found = [cold_starts(REPLICA, stream(1 / 200, 2.0), running, SIZING, GOAL, seed=seed) for seed in (5, 5, 6)]
    assert found[0] == found[1] != found[2]


def test_too_many_requests_for_a_sleep_are_said_to_be() -> None:
    running = run_week(np.full(168, 100.0), SIZING, "scale-to-zero")
    with pytest.raises(InputError, match="keep a service up"):
        cold_starts(REPLICA, stream(100.0, 1.0), running, SIZING, GOAL)


def test_an_engine_that_is_replaced_on_a_running_machine_does_not_boot_it() -> None:
    assumed = load_assumptions({}, datetime.date(2026, 11, 1), default_catalog().root)
    whole, engine = start_up(16e9, assumed), restart(16e9, assumed)
    boot = assumed["machine_boot_seconds"].estimate
    assert whole.value == pytest.approx((engine.value or 0) + (boot.value or 0))
