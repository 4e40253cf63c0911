"""Bills by hand to the cent, one a path, and what changes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llmsizer.errors import ScenarioError
from llmsizer.facts.money_options import ExchangeRate, MoneyOptions
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_cost, long_share
from llmsizer.money.cashflow import cash_flow, serves_from_month
from llmsizer.money.currency import currency_of
from llmsizer.money.owning import Servers, own_cost
from llmsizer.money.renting import Contract, Rented, contracts, rent_cost, rented_replicas
from llmsizer.units import SECONDS_PER_MONTH
from money_books import (
    H100,
    HALF_BUSY,
    VOLUME,
    api,
    book,
    cents,
    load,
    offer,
    owned,
    rented,
    total_of,
)


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
