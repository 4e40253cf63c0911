"""Bills by hand to the cent, and laws that hold for every bill."""

from __future__ import annotations

import datetime
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import CatalogError, ScenarioError, UnknownNameError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import Figure, exact, over_corners, total, unknown
from llmsizer.facts.money_options import ExchangeRate, MoneyOptions
from llmsizer.facts.offer import ApiOffer, Offer, PurchasePrice
from llmsizer.facts.provenance import Estimate, Provenance
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_cost, api_usd, context_is_enough, long_share
from llmsizer.money.cashflow import cash_flow, serves_from_month
from llmsizer.money.cost import Cost
from llmsizer.money.currency import currency_of
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import lines_of, monthly_parts
from llmsizer.money.owning import Activity, Servers, Volume, own_cost, servers_for
from llmsizer.money.prices import PriceBook, gpu_price, price_book, server_price
from llmsizer.money.renting import Contract, Rented, contracts, instances_for, rent_cost, rented_replicas
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
    "spare_parts_share": 0.02,
    "price_decline_per_year": 0.2,
    "residual_after_36_months": 0.25,
    "depreciation_years": 5,
    "capital_charge_per_year": 0.08,
    "lease_rate_per_year": 0.12,
    "hardware_lead_months": 3,
    "idle_power_share": 0.1,
    "one_sequence_power_share": 0.5,
    "full_batch_power_share": 0.6,
    "host_watts": 400,
    "network_power_share": 0.0,
    "pue": 1.5,
    "colocation_usd_per_kw_month": 200,
    "storage_usd_per_unit_month": 50,
    "software_usd_per_gpu_year": 300,
    "maintenance_per_year": 0.06,
    "people_fte_own": 0.5,
    "people_fte_per_further_server": 0.1,
    "people_fte_rent": 0.25,
    "people_fte_per_further_instance": 0.05,
    "fte_usd_per_year": 120_000,
    "egress_bytes_per_token": 100,
    "egress_usd_per_gb": 0.1,
    "spot_lost_share": 0.2,
    "reserved_1y_discount": 0.4,
    "api_retry_share": 0.02,
    "cache_reads_per_write": 10,
}
HALF_BUSY = Activity(busy_gpus=4.0)


def book(gpu_usd: float | None = 30_000, options: MoneyOptions | None = None, **changes: float) -> PriceBook:
    price = PurchasePrice(item="h100-sxm-80", kind="street", unit="per GPU", usd=gpu_usd, provenance=LISTED)
    return PriceBook(
        today=TODAY,
        assumed={name: exact(value, "", "assumed", "test") for name, value in (ROUND_NUMBERS | changes).items()},
        usd_per_kwh=exact(0.20, "USD/kWh", "price list", "test"),
        purchase={"h100-sxm-80": (price,)} if gpu_usd else {},
        offers={},
        apis=(),
        options=options or MoneyOptions(),
        grams_per_kwh=exact(400.0, "gCO2e/kWh", "published", "test"),
        area="TST",
    )


def owned(prices: PriceBook, months: int = 36, activity: Activity = HALF_BUSY) -> Cost:
    return own_cost(H100, Servers(count=1, gpus_each=8), months, VOLUME, prices, activity=activity)


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


def test_owning_one_server_by_hand_to_the_cent() -> None:
    # Server: 8 × 30,000 = 240,000 for GPUs, a quarter of the whole is the rest: 240,000 / 0.75 = 320,000.
    # Sold after 36 months for 25 %: 240,000 / 36 = 6,666.67; network a tenth of that, spare parts a fiftieth.
    # Capital: 320,000 × 1.12 × (1 + 0.25)/2 × 8 % / 12 = 1,493.33. Maintenance: 320,000 × 6 % / 12 = 1,600.
    # Power: 4 busy × 700 × 0.5 + 4 idle × 700 × 0.1 + 400 = 2.08 kW × PUE 1.5 × 730 h × 0.20 = 455.52.
    # Space: 8 × 700 + 400 = 6.0 kW × 200 = 1,200. Storage 50. Licences 8 × 300 / 12 = 200. People 0.5 × 10,000 = 5,000.
    bill = owned(book())
    expected = {"hardware": 6666.67, "network": 666.67, "spare parts": 133.33, "capital": 1493.33,
                "maintenance": 1600.00, "electricity": 455.52, "colocation": 1200.00, "storage": 50.00,
                "software licences": 200.00, "people": 5000.00}  # fmt: skip
    assert {part.name: cents(bill, part.name) for part in bill.parts} == expected
    assert total_of(bill) == 17465.52
    # Output takes 60 % of the engine: 17,465.52 × 0.6 / 20 M; input the rest over 80 M.
    assert bill.usd_per_million_output_tokens.value == pytest.approx(523.9656)
    assert bill.usd_per_million_input_tokens.value == pytest.approx(17465.52 * 0.4 / 80)
    assert bill.usd_per_million_tokens.value == pytest.approx(174.6552)
    # 3.12 kW at the plug × 730 h = 2,277.6 kWh over 100 M tokens: 81,993.6 J and 9.1104 g for a thousand.
    assert bill.energy is not None
    assert bill.energy.kwh_per_month.value == pytest.approx(2277.6)
    assert bill.energy.joules_per_thousand_tokens.value == pytest.approx(81_993.6)
    assert bill.energy.grams_co2_per_thousand_tokens.value == pytest.approx(9.1104)


def test_renting_by_hand_to_the_cent() -> None:
    # Two replicas of 2 GPUs on one instance of 8 at $3/h: 8 × 3 × 730 = 17,520. Storage 50 for the instance.
    # Egress: 20 M tokens × 100 bytes = 2 GB × 0.10 = 0.20. People 0.25 × 10,000 = 2,500.
    bill = rent_cost(rented(offer(gpus_per_instance=8, usd=3.0), 2, 2), H100, VOLUME, book())
    parts = {part.name: cents(bill, part.name) for part in bill.parts}
    assert parts == {"instances": 17520.00, "storage": 50.00, "egress": 0.20, "people": 2500.00}
    assert total_of(bill) == 20070.20


def test_an_api_by_hand_to_the_cent() -> None:
    # 80 M in, half of it read from the cache: 40 M × 0.30. Each written token is read ten times: 4 M × 3.75 written.
    # The other 36 M × 3.00 are fresh. 20 M out × 15.00 visible, 10 M × 15.00 reasoning. 2 % of 585.00 for retries.
    bill = api_cost(api(3.0, 0.3, 15.0, write=3.75), load(0.5, reasoning=125), book())
    parts = {part.name: cents(bill, part.name) for part in bill.parts}
    assert parts == {
        "input": 108.00,
        "cache write": 15.00,
        "cached input": 12.00,
        "output": 300.00,
        "reasoning": 150.00,
        "retries": 11.70,
    }
    assert total_of(bill) == 596.70
    assert bill.usd_per_million_output_tokens.value == pytest.approx(459.0 / 30)
    assert bill.usd_per_million_input_tokens.value == pytest.approx(137.7 / 80)


def test_a_lease_is_the_annuity_of_price_less_residual_or_the_quote() -> None:
    # 320,000 × 1.12 = 358,400 at 1 % a month over 36: residual 89,600 / 1.01^36 = 62,622.85, so 295,777.15 to pay off
    # at 0.01 / (1 − 1.01^−36) = 0.0332143 a month.
    leased = owned(book(options=MoneyOptions(acquisition="lease")))
    left = 89_600 / 1.01**36
    assert leased.part("lease").value == pytest.approx((358_400 - left) * 0.01 / (1 - 1.01**-36))
    assert {"hardware", "capital", "network"}.isdisjoint(part.name for part in leased.parts) and not leased.one_offs
    quoted = owned(book(options=MoneyOptions(acquisition="lease", lease_usd_per_server_month=9000)))
    assert cents(quoted, "lease") == 9000.00


def test_hardware_is_replaced_at_what_its_price_has_come_down_to() -> None:
    # 72 months with 3 years each: the second server costs 320,000 × 0.8³ = 163,840; both lose three quarters.
    bill = owned(book(depreciation_years=3), months=72)
    assert cents(bill, "hardware") == round((320_000 + 163_840) * 0.75 / 72, 2)
    months = [(event.month, round(event.usd)) for event in bill.one_offs]
    assert months == [(0.0, 358_400), (39.0, -89_600), (36.0, 183_501), (75.0, -45_875)]


@pytest.mark.parametrize("years", [3, 4, 5, 6])
def test_each_depreciation_keeps_the_hardware_so_long(years: int) -> None:
    bill = owned(book(depreciation_years=years), months=120)
    assert [event.month for event in bill.one_offs if event.usd > 0] == [
        12.0 * years * i for i in range(-(-10 // years))
    ]


@pytest.mark.parametrize("months", [12, 36, 60, 61, 100])
@pytest.mark.parametrize("vat_rate", [0.0, 0.19])
def test_cash_sums_to_the_bills_less_interest(months: int, vat_rate: float) -> None:
    prices = book(options=MoneyOptions(vat_rate=vat_rate))
    bill = owned(prices, months)
    flow = cash_flow(bill, months, 0.08, vat_rate=vat_rate)
    assert flow.total_usd is not None and flow.npv_usd is not None
    interest = bill.part("capital").value or 0.0
    assert flow.total_usd == pytest.approx(months * ((bill.usd_per_month.value or 0.0) - interest))
    assert flow.usd_by_month is not None and flow.usd_by_month[1] == 0  # ordered, paid, and not yet there


def test_net_present_value_by_hand() -> None:
    # 20,070.20 a month for 12 months, the first undiscounted, at 8 % a year
    bill = rent_cost(rented(offer(gpus_per_instance=8, usd=3.0), 2, 2), H100, VOLUME, book())
    flow = cash_flow(bill, 12, 0.08)
    assert flow.npv_usd == pytest.approx(sum(20070.20 / 1.08 ** (month / 12) for month in range(12)))


def test_a_lease_beyond_the_depreciation_time_is_renewed_at_what_the_price_has_come_down_to() -> None:
    # 72 months with 3 years each at 1 % a month: two annuities of 36 months, the second of a price of 0.8³.
    leased = owned(book(depreciation_years=3, options=MoneyOptions(acquisition="lease")), months=72)
    first = (358_400 - 358_400 * 0.25 * 1.01**-36) * 0.01 / (1 - 1.01**-36)
    assert leased.part("lease").value == pytest.approx(first * (1 + 0.8**3) / 2)


def test_paths_are_compared_from_one_month_on_and_over_the_same_months_of_service() -> None:
    # Hardware takes 3 months to come: what is rented serves, and costs, from month 3 too, for 12 months.
    bought = owned(book(), months=12)
    hired = rent_cost(rented(offer(gpus_per_instance=8, usd=3.0), 2, 2), H100, VOLUME, book())
    start = serves_from_month([bought, hired])
    assert start == 3
    flow = cash_flow(hired, 12, 0.08, serves_from=start)
    assert flow.npv_usd == pytest.approx(sum(20070.20 / 1.08 ** (month / 12) for month in range(3, 15)))
    assert flow.total_usd == pytest.approx(12 * 20070.20) and flow.service_from_month == 3
    own = cash_flow(bought, 12, 0.08, serves_from=start)
    assert own.usd_by_month is not None and flow.usd_by_month is not None
    assert len(own.usd_by_month) == len(flow.usd_by_month) == 3 + 12 + 1


def test_people_grow_with_the_fleet() -> None:
    # Half a person for the first server, a tenth for each of two more: 0.7 × 10,000 a month. Rented: 0.25 + 2 × 0.05.
    three = own_cost(H100, Servers(count=3, gpus_each=8), 36, VOLUME, book(), activity=HALF_BUSY)
    assert cents(three, "people") == 7_000.00 and cents(owned(book()), "people") == 5_000.00
    hired = rent_cost(rented(offer(gpus_per_instance=1), 1, 3), H100, VOLUME, book())
    assert cents(hired, "people") == 3_500.00


def test_the_marginal_lens_leaves_out_what_is_paid_anyway_and_says_so() -> None:
    full, marginal = owned(book()), owned(book(options=MoneyOptions(lens="marginal")))
    assert [part.name for part in marginal.left_out_as_sunk] == [
        "hardware",
        "network",
        "spare parts",
        "capital",
        "people",
    ]
    sunk = sum(part.usd_per_month.value or 0.0 for part in marginal.left_out_as_sunk)
    assert marginal.usd_per_month.value == pytest.approx((full.usd_per_month.value or 0.0) - sunk)
    assert any("marginal lens" in flag for flag in marginal.flags)


def test_vat_falls_on_everything_but_pay_and_interest() -> None:
    bill = owned(book(options=MoneyOptions(vat_rate=0.19)))
    assert cents(bill, "VAT") == round(0.19 * (17465.52 - 5000 - 1493.3333), 2)


def test_under_the_marginal_lens_vat_falls_only_on_what_is_still_to_be_paid() -> None:
    bill = owned(book(options=MoneyOptions(lens="marginal", vat_rate=0.19)))
    kept = sum(part.usd_per_month.value or 0.0 for part in bill.parts if part.name != "VAT")
    assert cents(bill, "VAT") == pytest.approx(0.19 * kept, abs=0.01)
    assert [part.name for part in bill.parts].count("VAT") == 1


def test_a_years_term_takes_its_discount_off_the_list_price() -> None:
    (year,) = contracts([offer(usd=3.0)], "reserved-1y", 36)
    bill = rent_cost(replace(rented(offer(), 1, 1), contract=year), H100, VOLUME, book())
    assert cents(bill, "instances") == 1314.00 and bill.part("instances").basis == "assumed"


def test_interruptible_fleets_rent_more_so_that_enough_are_up() -> None:
    # Each is away a fifth of the time. Of 6 at least 4 are up with 0.8^6 + 6·0.8^5·0.2 + 15·0.8^4·0.2^2 = 90.1 %;
    # of 7 with 96.7 %: a seventh has to be rented, and the spare one beside them.
    spot = offer(usd=1.0).model_copy(update={"term": "spot"})
    assert rented_replicas(spot, 4, 1, book()) == 8
    assert rented_replicas(offer(), 4, 1, book()) == 5


def test_hours_that_are_not_billed_cost_nothing() -> None:
    half = Rented(contract=Contract(offer=offer(usd=2.0)), gpus_per_replica=1, replicas=1, billed_share=0.5)
    assert cents(rent_cost(half, H100, VOLUME, book()), "instances") == 730.00


def test_batch_work_takes_the_printed_price_or_the_discount_given_and_is_never_guessed() -> None:
    half = MoneyOptions(batch_share=0.5)
    unknown_price = api_cost(api(1.0, None, 2.0), load(), book(options=half))
    assert unknown_price.usd_per_month.value is None
    assert "money.batch_discount" in unknown_price.usd_per_month.estimate.reason
    given = MoneyOptions(batch_share=0.5, batch_discount=0.5)
    assert total_of(api_cost(api(1.0, None, 2.0), load(), book(options=given))) == round(120 * 0.75 * 1.02, 2)
    printed = api(1.0, None, 2.0).model_copy(update={"batch_input_usd_per_mtok": 0.4, "batch_output_usd_per_mtok": 1.0})
    assert total_of(api_cost(printed, load(), book(options=half))) == round((80 * 0.7 + 40 * 0.75) * 1.02, 2)


def test_long_prompts_pay_the_long_tier_and_a_tier_without_a_price_is_unknown() -> None:
    tier = {"long_above_tokens": 200_000, "long_input_usd_per_mtok": 6.0, "long_output_usd_per_mtok": 22.5}
    offered = api(3.0, None, 15.0).model_copy(update=tier)
    long = Workload(requests_per_second=1 / SECONDS_PER_MONTH, prompt_tokens=1_000_000, output_tokens=1_000)
    assert total_of(api_cost(offered, long, book())) == round((6.0 + 0.0225) * 1.02, 2)
    assert long_share(offered, load()) == 0.0
    spread = Workload(requests_per_second=1, prompt_tokens=100_000, prompt_tokens_p95=300_000, output_tokens=100)
    assert 0.15 < long_share(offered, spread) < 0.5  # the mean is below the tier, much of the volume is not
    gap = api(3.0, None, 15.0).model_copy(update={"long_above_tokens": 200_000})
    assert api_cost(gap, long, book()).usd_per_month.value is None


def test_a_rate_limit_below_the_peak_hour_is_said() -> None:
    limited = api(1.0, None, 2.0).model_copy(update={"tokens_per_minute_limit": 1_000})
    assert any("rate limit is 1,000" in flag for flag in api_cost(limited, load(), book()).flags)


def test_a_currency_without_a_rate_is_refused_and_one_with_a_rate_is_dated() -> None:
    assumed = book().assumed
    assert currency_of("EUR", assumed, {}).amount(110.0) == pytest.approx(100.0)
    with pytest.raises(ScenarioError, match=r"GBP.*no exchange rate.*\[money\.rates\.GBP\]"):
        currency_of("GBP", assumed, {})
    own = currency_of("GBP", assumed, {"GBP": ExchangeRate(usd=1.25, as_of="2026-11-01")})
    assert own.text(1250.0) == "£1,000" and "2026-11-01" in own.note


def rented(listed: Offer, gpus: int, replicas: int) -> Rented:
    return Rented(contract=Contract(offer=listed), gpus_per_replica=gpus, replicas=replicas)


def load(cached: float = 0.0, reasoning: int = 0) -> Workload:
    return Workload(
        requests_per_second=80_000 / SECONDS_PER_MONTH,
        prompt_tokens=1000,
        output_tokens=250,
        reasoning_tokens=reasoning,
        cached_prompt_fraction=cached,
    )


def api(
    fresh: float | None,
    cached: float | None,
    out: float | None,
    origin: Provenance = LISTED,
    write: float | None = None,
) -> ApiOffer:
    return ApiOffer(
        id="p/m",
        provider="p",
        model="m",
        input_usd_per_mtok=fresh,
        cached_input_usd_per_mtok=cached,
        cache_write_usd_per_mtok=write,
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
    bill = api_cost(api(0.15, None, 0.60), load(0.25), book(api_retry_share=0))
    assert total_of(bill) == 9 + 3 + 12 and "full price" in bill.parts[1].how


def test_the_words_beside_a_line_are_the_price_and_the_share_it_was_billed_at() -> None:
    dear = api(1.0, 0.5, 2.0).model_copy(update={"reasoning_usd_per_mtok": 5.0})
    options = MoneyOptions(batch_share=0.5, batch_discount=0.5)
    bill = api_cost(dear, load(0.25, reasoning=100), book(options=options))
    how = {part.name: part.how for part in bill.parts}
    assert "$5/M" in how["reasoning"] and "0.5 as batch" in how["output"]
    assert "batch" not in how["cached input"], "no price list prints a batch price of the cache"


@pytest.mark.parametrize("price", [None, 0.0])
def test_a_price_that_is_missing_or_zero_is_unknown_and_never_free(price: float | None) -> None:
    bill = api_cost(api(price, None, 0.60), load(), book())
    assert bill.usd_per_month.value is None and not bill.is_complete
    assert "no input price" in bill.usd_per_month.estimate.reason
    assert bill.to_dict()["usd_per_month"]["value"] is None


def test_a_context_too_long_for_the_api_is_noticed() -> None:
    long = Workload(requests_per_second=1, prompt_tokens=30_000, output_tokens=3_000)
    assert not context_is_enough(api(1, 1, 1), long) and context_is_enough(api(1, 1, 1), load())


def test_gpu_only_offers_have_no_total() -> None:
    bill = rent_cost(rented(offer(gpu_only=True), 1, 1), H100, VOLUME, book())
    assert bill.usd_per_month.value is None and bill.at_least_usd_per_month > 0
    assert "virtual machine" in bill.usd_per_month.estimate.reason


def test_marketplace_minima_carry_the_dearer_end() -> None:
    bill = rent_cost(
        rented(offer(usd=1.0, note="Marketplace min price from cheapest host"), 1, 1), H100, VOLUME, book()
    )
    assert bill.part("instances").high == pytest.approx(3 * 730)


def test_old_prices_are_flagged_with_their_date() -> None:
    bill = api_cost(api(0.15, 0.015, 0.60, OLD), load(0.25), book())
    assert bill.flags == (
        "prices older than 90 days: input (2026-07-01), cached input (2026-07-01), output (2026-07-01)",
    )
    assert api_cost(api(0.15, 0.015, 0.60), load(0.25), book()).flags == ()


def test_a_gpu_without_a_price_leaves_the_total_unknown_with_the_reason() -> None:
    bill = owned(book(gpu_usd=None))
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
    idle = Activity(busy_gpus=0.0)
    small, large = (own_cost(gpu, servers, months, VOLUME, prices, activity=idle) for servers in (fewer, more))
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


# laws of the engine ---------------------------------------------------------------------------------------------------

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
