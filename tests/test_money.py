"""Bills by hand to the cent, and laws that hold for every bill."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import CatalogError, ScenarioError, UnknownNameError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.figure import Figure, exact, over_corners, total, unknown
from llmsizer.facts.offer import ApiOffer, Offer, PurchasePrice
from llmsizer.facts.provenance import Estimate, Provenance
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_cost, context_is_enough
from llmsizer.money.cost import Cost
from llmsizer.money.owning import Servers, Volume, own_cost, servers_for
from llmsizer.money.prices import PriceBook, gpu_price, price_book, server_price
from llmsizer.money.renting import instances_for, rent_cost
from llmsizer.units import SECONDS_PER_MONTH

TODAY = datetime.date(2026, 11, 21)
CATALOG = default_catalog()
LISTED = Provenance(source="price list", as_of="2026-11-01", confidence="list", basis="price list")
OLD = Provenance(source="price list", as_of="2026-07-01", confidence="list", basis="price list")
VOLUME = Volume(input_tokens_per_month=80e6, output_tokens_per_month=20e6, input_share=0.4)

ROUND_NUMBERS = {
    "usd_per_eur": 1.1,
    "non_gpu_server_share": 0.25,
    "server_base_usd": 5000,
    "network_capex_share": 0.1,
    "residual_after_36_months": 0.25,
    "depreciation_years": 5,
    "capital_charge_per_year": 0.08,
    "sustained_power_fraction": 0.5,
    "host_watts": 400,
    "network_power_share": 0.0,
    "pue": 1.5,
    "colocation_usd_per_kw_month": 200,
    "maintenance_per_year": 0.06,
    "people_fte_own": 0.5,
    "people_fte_rent": 0.25,
    "fte_usd_per_year": 120_000,
}


def book(gpu_usd: float | None = 30_000, **changes: float) -> PriceBook:
    price = PurchasePrice(item="h100-sxm-80", kind="street", unit="per GPU", usd=gpu_usd, provenance=LISTED)
    return PriceBook(
        today=TODAY,
        assumed={name: exact(value, "", "assumed", "test") for name, value in (ROUND_NUMBERS | changes).items()},
        usd_per_kwh=exact(0.20, "USD/kWh", "price list", "test"),
        purchase={"h100-sxm-80": (price,)} if gpu_usd else {},
        offers={},
        apis=(),
    )


def cents(cost: Cost, part: str) -> float:
    value = cost.part(part).value
    assert value is not None
    return round(value, 2)


def total_of(cost: Cost) -> float:
    value = cost.usd_per_month.value
    assert value is not None
    return round(value, 2)


H100 = CATALOG.gpu("h100-sxm-80")
L40S = CATALOG.gpu("l40s")
SMALL = CATALOG.model("mistral-small-2409")


def test_owning_one_server_by_hand_to_the_cent() -> None:
    # Server: 8 × 30,000 = 240,000 for GPUs, a quarter of the whole is the rest: 240,000 / 0.75 = 320,000.
    # With 10 % network 352,000; sold after 36 months for 25 %: 264,000 / 36 = 7,333.33 a month.
    # Capital: 352,000 × (1 + 0.25)/2 × 8 % / 12 = 1,466.67. Maintenance: 320,000 × 6 % / 12 = 1,600.
    # Power: 8 × 700 W × 0.5 + 400 W = 3.2 kW × PUE 1.5 × 730 h × 0.20 = 700.80. Space: 6.0 kW × 200 = 1,200.
    # People: 0.5 × 120,000 / 12 = 5,000. Together 17,300.80.
    bill = own_cost(deployment(SMALL, H100), Servers(count=1, gpus_each=8), 36, VOLUME, book())
    assert cents(bill, "hardware") == 7333.33
    assert cents(bill, "capital") == 1466.67
    assert cents(bill, "maintenance") == 1600.00
    assert cents(bill, "electricity") == 700.80
    assert cents(bill, "colocation") == 1200.00
    assert cents(bill, "people") == 5000.00
    assert total_of(bill) == 17300.80
    # Output takes 60 % of the engine: 17,300.80 × 0.6 / 20 M = 519.02 per million.
    assert bill.usd_per_million_output_tokens.value == pytest.approx(519.024)
    assert bill.usd_per_million_input_tokens.value == pytest.approx(17300.80 * 0.4 / 80)
    assert bill.usd_per_million_tokens.value == pytest.approx(173.008)


def test_renting_by_hand_to_the_cent() -> None:
    # Two replicas of 2 GPUs on one instance of 8 at $3/h: 8 × 3 × 730 = 17,520; people 0.25 × 10,000 = 2,500.
    bill = rent_cost(offer(gpus_per_instance=8, usd=3.0), 2, 2, VOLUME, book())
    assert (cents(bill, "instances"), cents(bill, "people"), total_of(bill)) == (17520.00, 2500.00, 20020.00)


def test_an_api_by_hand_to_the_cent() -> None:
    # 80 M in, a quarter of it cached: 60 × 0.15 + 20 × 0.015 + 20 × 0.60 = 9.00 + 0.30 + 12.00
    bill = api_cost(api(0.15, 0.015, 0.60), load(0.25), TODAY)
    assert (cents(bill, "input"), cents(bill, "cached input"), cents(bill, "output")) == (9.00, 0.30, 12.00)
    assert total_of(bill) == 21.30
    assert bill.usd_per_million_output_tokens.value == pytest.approx(0.60)
    assert bill.usd_per_million_input_tokens.value == pytest.approx(9.30 / 80)


def load(cached: float = 0.0) -> Workload:
    return Workload(
        requests_per_second=80_000 / SECONDS_PER_MONTH,
        prompt_tokens=1000,
        output_tokens=250,
        cached_prompt_fraction=cached,
    )


def api(fresh: float | None, cached: float | None, out: float | None, origin: Provenance = LISTED) -> ApiOffer:
    return ApiOffer(
        id="p/m",
        provider="p",
        model="m",
        input_usd_per_mtok=fresh,
        cached_input_usd_per_mtok=cached,
        output_usd_per_mtok=out,
        context_tokens=32_000,
        provenance=origin,
    )


def offer(gpus_per_instance: int = 1, usd: float = 2.0, gpu_only: bool = False, note: str = "") -> Offer:
    origin = Provenance(source="s", as_of="2026-11-01", confidence="list", basis="price list", note=note)
    return Offer(
        id="o",
        provider="somewhere",
        zone="EU",
        gpu="h100-sxm-80",
        gpu_as_listed="H100",
        term="on-demand",
        usd_per_gpu_hour=usd,
        gpus_per_instance=gpus_per_instance,
        gpu_only=gpu_only,
        provenance=origin,
    )


def test_api_volume_is_what_the_tests_above_count() -> None:
    assert load().input_tokens_per_month == pytest.approx(80e6)
    assert load().output_tokens_per_month == pytest.approx(20e6)


def test_cached_input_without_a_price_is_billed_as_fresh() -> None:
    bill = api_cost(api(0.15, None, 0.60), load(0.25), TODAY)
    assert total_of(bill) == 9 + 3 + 12 and "full price" in bill.parts[1].how


@pytest.mark.parametrize("price", [None, 0.0])
def test_a_price_that_is_missing_or_zero_is_unknown_and_never_free(price: float | None) -> None:
    bill = api_cost(api(price, None, 0.60), load(), TODAY)
    assert bill.usd_per_month.value is None and not bill.is_complete
    assert "no input price" in bill.usd_per_month.estimate.reason
    assert bill.to_dict()["usd_per_month"]["value"] is None


def test_a_context_too_long_for_the_api_is_noticed() -> None:
    long = Workload(requests_per_second=1, prompt_tokens=30_000, output_tokens=3_000)
    assert not context_is_enough(api(1, 1, 1), long) and context_is_enough(api(1, 1, 1), load())


def test_gpu_only_offers_have_no_total() -> None:
    bill = rent_cost(offer(gpu_only=True), 1, 1, VOLUME, book())
    assert bill.usd_per_month.value is None and bill.at_least_usd_per_month > 0
    assert "virtual machine" in bill.usd_per_month.estimate.reason


def test_marketplace_minima_carry_the_dearer_end() -> None:
    bill = rent_cost(offer(usd=1.0, note="Marketplace min price from cheapest host"), 1, 1, VOLUME, book())
    assert bill.part("instances").high == pytest.approx(3 * 730)


def test_old_prices_are_flagged_with_their_date() -> None:
    bill = api_cost(api(0.15, 0.015, 0.60, OLD), load(0.25), TODAY)
    assert bill.flags == (
        "prices older than 90 days: input (2026-07-01), cached input (2026-07-01), output (2026-07-01)",
    )
    assert api_cost(api(0.15, 0.015, 0.60), load(0.25), TODAY).flags == ()


def test_a_gpu_without_a_price_leaves_the_total_unknown_with_the_reason() -> None:
    bill = own_cost(deployment(SMALL, H100), Servers(count=1, gpus_each=8), 36, VOLUME, book(gpu_usd=None))
    assert bill.usd_per_month.value is None
    assert "no purchase price of H100" in bill.usd_per_month.estimate.reason


def test_boards_are_bought_whole_and_cards_singly() -> None:
    assert servers_for(H100, 2, 2) == Servers(count=1, gpus_each=8)
    assert servers_for(H100, 8, 2) == Servers(count=2, gpus_each=8)
    assert servers_for(L40S, 2, 2) == Servers(count=1, gpus_each=4)
    assert servers_for(L40S, 4, 3) == Servers(count=2, gpus_each=8)
    assert servers_for(L40S, 16, 1) is None


def test_whole_instances_hold_whole_replicas() -> None:
    assert instances_for(offer(gpus_per_instance=8), 4, 3) == 2
    assert instances_for(offer(gpus_per_instance=8), 3, 3) == 2  # two replicas of three and two idle GPUs
    assert instances_for(offer(gpus_per_instance=1), 2, 3) == 3


def test_a_server_with_its_own_price_uses_it() -> None:
    assert server_price(real_book(), H100, 8).value == 325_000  # median of 250, 300, 350 and 400 thousand


def test_street_prices_come_before_launch_prices() -> None:
    seen = gpu_price(real_book(), CATALOG.gpu("rtx-5090"))
    assert (seen.low, seen.high) == (3400, 4299)  # not the launch price of 1,999


def test_a_board_of_eight_is_priced_per_gpu() -> None:
    assert gpu_price(real_book(), CATALOG.gpu("gaudi3")).high == 15_625  # 125,000 / 8


def real_book(area: str = "DEU", **assumptions: float) -> PriceBook:
    extra = "\n".join(f"{name} = {value}" for name, value in assumptions.items())
    scenario = parse_scenario(f'model = "m"\nworkload = "chat"\nelectricity_area = "{area}"\n[assumptions]\n{extra}')
    return price_book(CATALOG, scenario, TODAY)


def test_electricity_is_converted_with_its_range_and_date() -> None:
    price = real_book().usd_per_kwh
    assert price.low is not None and price.value is not None and price.high is not None
    assert price.low < price.value < price.high and price.unit == "USD/kWh" and price.as_of
    assert price.low == pytest.approx(0.1427 * 1.05)


def test_unknown_electricity_area_names_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no electricity area named 'DEW'; did you mean DEU"):
        real_book("DEW")


def test_a_scenario_replaces_an_assumption_and_a_typo_is_caught() -> None:
    assert real_book(pue=1.2).assumed["pue"].value == 1.2
    with pytest.raises(ScenarioError, match="did you mean pue"):
        real_book(puee=1.2)
    with pytest.raises(ScenarioError, match="from 0 up"):
        load_assumptions({"pue": (2.0, 1.0, 3.0)}, TODAY)


def test_every_assumption_has_a_range_a_source_a_date_and_a_unit() -> None:
    for name, figure in load_assumptions({}, TODAY).items():
        assert figure.source and figure.as_of and figure.unit, name
        assert figure.basis == "assumed"
        assert figure.low is not None and figure.value is not None and figure.high is not None
        assert figure.low <= figure.value <= figure.high, name


def test_a_broken_assumption_file_names_file_and_key(tmp_path: Path) -> None:
    (tmp_path / "assumptions").mkdir()
    (tmp_path / "assumptions" / "x.toml").write_text('[[assumption]]\nname = "pue"\nlow = 2\nmid = 1\nhigh = 3\n')
    with pytest.raises(CatalogError, match=r"x\.toml: assumption 1: pue: low, mid, high = 2, 1, 3"):
        load_assumptions({}, TODAY, tmp_path)


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
    model_on = deployment(SMALL, gpu)
    small, large = (own_cost(model_on, servers, months, VOLUME, prices) for servers in (fewer, more))
    for bill in (small, large):
        assert bill.usd_per_month.value == pytest.approx(sum(p.usd_per_month.value or 0 for p in bill.parts))
        low, high = bill.usd_per_month.low, bill.usd_per_month.high
        assert low is not None and high is not None and low <= (bill.usd_per_month.value or 0) <= high
    assert (large.usd_per_month.value or 0) >= (small.usd_per_month.value or 0)


REAL_BOOK = real_book()


def test_extremes_lie_in_the_corners_whichever_way_a_formula_goes() -> None:
    ten = Estimate(value=10, low=8, high=12, basis="published")
    two = Estimate(value=2, low=1, high=4, basis="assumed")
    ratio = over_corners(lambda a, b: a / b, ten, two)
    assert (ratio.value, ratio.low, ratio.high, ratio.basis) == (5, 2, 12, "assumed")
