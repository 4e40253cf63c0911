"""Laws that hold for every bill: parts sum, more never costs less, a line depends on what it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import ScenarioError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.figure import Figure, over_corners, total, unknown
from llmsizer.facts.money_options import MoneyOptions
from llmsizer.facts.provenance import Estimate
from llmsizer.money.api import api_cost, api_usd
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import lines_of, monthly_parts
from llmsizer.money.owning import Activity, Servers, own_cost, servers_for
from llmsizer.money.renting import rent_cost
from money_books import (
    CATALOG,
    H100,
    REAL_BOOK,
    ROUND_NUMBERS,
    TODAY,
    VOLUME,
    api,
    book,
    load,
    offer,
    rented,
)

figures = st.builds(
    lambda mid, down, up, known: (
        Figure(estimate=Estimate(value=mid, low=mid * down, high=mid * up, basis="assumed"), unit="USD/month")
        if known
        else unknown("not printed", "USD/month")
    ),
    st.floats(0, 1e7),
    st.floats(0, 1),
    st.floats(1, 3),
    st.booleans(),
)


@given(st.lists(figures, min_size=1, max_size=8))
def test_parts_sum_to_the_total_or_the_total_is_unknown(parts: list[Figure]) -> None:
    summed = total([part.estimate for part in parts])
    if any(part.value is None for part in parts):
        assert summed.value is None and "not printed" in summed.reason
    else:
        assert summed.value == pytest.approx(sum(part.value or 0 for part in parts))
        value, low, high = summed.value or 0.0, summed.low or 0.0, summed.high or 0.0
        assert low <= value * (1 + 1e-12) and value <= high * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([g for g in CATALOG.gpus() if g.tdp_watts and CATALOG.purchase_prices(g.id)]),
    st.integers(1, 30),
    st.sampled_from([1, 2, 4, 8]),
    st.integers(1, 120),
)
def test_owning_more_never_costs_less_and_parts_always_sum(
    gpu_spec: object, replicas: int, tp: int, months: int
) -> None:
    gpu = CATALOG.gpu(getattr(gpu_spec, "id", ""))
    prices = REAL_BOOK
    fewer, more = servers_for(gpu, tp, replicas), servers_for(gpu, tp, replicas + 1)
    if fewer is None or more is None:
        return
    idle = Activity(busy_gpus=0.0)
    small, large = (own_cost(gpu, servers, months, VOLUME, prices, activity=idle) for servers in (fewer, more))
    for bill in (small, large):
        assert bill.usd_per_month.value == pytest.approx(sum(p.usd_per_month.value or 0 for p in bill.parts))
        low, high = bill.usd_per_month.low, bill.usd_per_month.high
        assert low is not None and high is not None and low <= (bill.usd_per_month.value or 0) <= high
    assert (large.usd_per_month.value or 0) >= (small.usd_per_month.value or 0)


def test_extremes_lie_in_the_corners_whichever_way_a_formula_goes() -> None:
    ten = Estimate(value=10, low=8, high=12, basis="published")
    two = Estimate(value=2, low=1, high=4, basis="assumed")
    ratio = over_corners(lambda a, b: a / b, ten, two)
    assert (ratio.value, ratio.low, ratio.high, ratio.basis) == (5, 2, 12, "assumed")


shares = st.floats(0, 0.9)
options_drawn = st.builds(
    MoneyOptions,
    lens=st.sampled_from(["full", "marginal"]),
    acquisition=st.sampled_from(["purchase", "lease"]),
    rent_term=st.sampled_from(["on-demand", "reserved-1y"]),
    batch_share=st.sampled_from([0.0, 0.3, 1.0]),
    batch_discount=st.sampled_from([None, 0.5]),
    api_discount=shares,
    vat_rate=st.sampled_from([0.0, 0.19, 0.25]),
)


@settings(max_examples=80, deadline=None)
@given(
    options_drawn,
    st.integers(1, 120),
    st.integers(1, 40),
    st.floats(0, 1),
    st.sampled_from([None, 0.1, 3.0]),
    shares,
    st.floats(0, 1000),
)
def test_parts_sum_to_the_total_on_every_path_of_random_scenarios(
    options: MoneyOptions, months: int, servers: int, busy: float, write: float | None, cached: float, spread: float
) -> None:
    prices = book(options=options, fte_usd_per_year=1000 + spread)
    at_work = Activity(busy_gpus=busy * servers * 8, busy_depth=busy)
    demand = load(cached, reasoning=int(spread))
    bills = [
        own_cost(H100, Servers(count=servers, gpus_each=8), months, VOLUME, prices, activity=at_work),
        rent_cost(rented(offer(usd=1 + busy), 2, servers), H100, VOLUME, prices, activity=at_work),
        api_cost(api(1.0, 0.5, 2.0, write=write), demand, prices),
    ]
    for bill in bills:
        values = [part.usd_per_month.value for part in bill.parts]
        if None in values:
            assert bill.usd_per_month.value is None and bill.usd_per_month.estimate.reason
            assert not bill.is_complete
            continue
        assert bill.usd_per_month.value == sum(value for value in values if value is not None)
        for part in bill.parts:
            low, high, value = part.usd_per_month.low, part.usd_per_month.high, part.usd_per_month.value
            assert low is not None and high is not None and value is not None and 0 <= low <= value <= high
    quick = api_usd(api(1.0, 0.5, 2.0, write=write), demand, prices)
    whole = bills[2].usd_per_month.value
    assert (quick is None) == (whole is None) and (quick is None or quick == pytest.approx(whole))


def own_record(**changes: float) -> OwnDrivers:
    names = {n: float(v) for n, v in ROUND_NUMBERS.items() if n in OwnDrivers.__slots__}
    values = names | {"servers": 2.0, "gpus": 16.0, "busy_gpus": 9.0, "busy_depth": 0.5, "horizon_months": 80.0,
                      "server_usd": 320_000.0, "gpu_watts": 700.0, "usd_per_kwh": 0.2, "vat_rate": 0.1,
                      "network_power_share": 0.05}  # fmt: skip
    return OwnDrivers(**(values | changes))  # type: ignore[arg-type]


def rent_record(**changes: float) -> RentDrivers:
    names = {n: float(v) for n, v in ROUND_NUMBERS.items() if n in RentDrivers.__slots__}
    values = names | {"instances": 3.0, "instance_hours": 2000.0, "usd_per_instance_hour": 4.0,
                      "machine_usd_per_instance_hour": 0.5, "output_tokens_per_month": 3e9}  # fmt: skip
    return RentDrivers(**(values | changes))


def api_record(**changes: float) -> ApiDrivers:
    values = {"input_tokens_per_month": 8e7, "cached_fraction": 0.5, "cache_reads_per_write": 10.0,
              "is_write_billed": True, "output_tokens_per_month": 2e7, "reasoning_tokens_per_month": 1e7,
              "input_usd_per_mtok": 3.0, "cached_input_usd_per_mtok": 0.3,
              "cache_write_usd_per_mtok": 3.75, "output_usd_per_mtok": 15.0,
              "reasoning_usd_per_mtok": 15.0, "long_share": 0.2, "long_input_usd_per_mtok": 6.0,
              "long_cached_input_usd_per_mtok": 0.6, "long_cache_write_usd_per_mtok": 7.5,
              "long_output_usd_per_mtok": 22.5, "batch_share": 0.4, "batch_input_factor": 0.5,
              "batch_output_factor": 0.5, "retry_share": 0.02, "discount": 0.1}  # fmt: skip
    return ApiDrivers(**(values | changes))  # type: ignore[arg-type]


RECORDS = [own_record(), own_record(is_leased=True), rent_record(), api_record()]


@pytest.mark.parametrize("record", RECORDS, ids=["own", "lease", "rent", "api"])
def test_a_line_depends_on_exactly_the_drivers_it_names(record: OwnDrivers | RentDrivers | ApiDrivers) -> None:
    numbers = [n for n in record.__slots__ if isinstance(getattr(record, n), float)]
    for line in lines_of(record):
        before = float(line.usd(record))
        moved = {n for n in numbers if float(line.usd(replace(record, **{n: getattr(record, n) * 1.01}))) != before}
        assert moved <= set(line.uses), line.name
        assert set(line.uses) - moved <= {"lease_usd_per_server_month"}, line.name


@pytest.mark.parametrize("record", RECORDS, ids=["own", "lease", "rent", "api"])
def test_arrays_of_drivers_give_what_each_gives_alone(record: OwnDrivers | RentDrivers | ApiDrivers) -> None:
    random = np.random.default_rng(1)
    draws = {
        name: getattr(record, name) * random.uniform(0.7, 1.3, 20)
        for name in record.__slots__
        if isinstance(getattr(record, name), float) and not np.isnan(getattr(record, name))
    }
    together = monthly_parts(replace(record, **draws))  # type: ignore[arg-type]
    for index in range(20):
        alone = monthly_parts(replace(record, **{name: float(values[index]) for name, values in draws.items()}))
        for name, usd in alone.items():
            assert np.broadcast_to(together[name], (20,))[index] == pytest.approx(float(usd), rel=1e-12), name


def test_an_unknown_driver_makes_exactly_the_parts_that_need_it_unknown() -> None:
    parts = monthly_parts(own_record(usd_per_kwh=float("nan")))
    assert {name for name, usd in parts.items() if np.isnan(usd)} == {"electricity", "VAT"}


def test_an_assumption_out_of_its_bounds_is_refused_in_one_line() -> None:
    for name, value, says in (("depreciation_years", 0.0, "from 1 up"), ("pue", 0.5, "from 1 up"),
                              ("non_gpu_server_share", 1.0, "below 1"), ("usd_per_eur", 0.0, "above 0")):  # fmt: skip
        with pytest.raises(ScenarioError, match=says):
            load_assumptions({name: value}, TODAY)
