"""Prices: what is missing stays missing, what is old says so, and where each figure comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmsizer.errors import CatalogError, ScenarioError, UnknownNameError
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.money_options import MoneyOptions
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.api import api_cost, context_is_enough
from llmsizer.money.owning import Servers, servers_for
from llmsizer.money.prices import gpu_price, host_watts, price_book, server_price
from llmsizer.money.renting import instances_for, rent_cost
from money_books import (
    CATALOG,
    H100,
    L40S,
    OLD,
    TODAY,
    VOLUME,
    api,
    book,
    load,
    offer,
    owned,
    real_book,
    rented,
    total_of,
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


def test_a_replica_larger_than_a_server_takes_several_for_itself() -> None:
    assert servers_for(L40S, 16, 3) == Servers(count=6, gpus_each=8)
    assert servers_for(H100, 24, 1) == Servers(count=3, gpus_each=8)
    assert servers_for(L40S, 9, 1) is None  # five in one server and four in another: nobody spreads it so


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


def test_a_server_of_a_whole_board_draws_what_a_dgx_does_beside_its_gpus():
    # 10.2 kW at most less 8 GPUs of 700 W leave 4.6 kW; servers of cards and machines without GPUs of their own differ.
    prices = real_book()
    board = host_watts(prices, CATALOG.gpu("h100-sxm-80"))
    assert (board.low, board.value, board.high) == (500, 2300, 4600) == (500, 4600 / 2, 10_200 - 8 * 700)
    assert host_watts(prices, CATALOG.gpu("l40s")).value == 500
    assert host_watts(prices, CATALOG.gpu("m3-ultra")).value == 0


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ('zones = ["MARS"]', "no zone of a price named 'MARS'; known are CH, EU, GB, NO, US"),
        ('zones = ["EU", "DE"]', "no zone of a price named 'DE'"),
        ('operator_jurisdictions = ["eu"]', "did you mean EU"),
    ],
)
def test_a_place_that_no_price_names_is_refused(written: str, says: str):
    asked = parse_scenario(f'model = "m"\nworkload = {{ preset = "chat" }}\n[constraints]\n{written}', "a test")
    with pytest.raises(UnknownNameError) as caught:
        price_book(CATALOG, asked, TODAY)
    assert says in str(caught.value)
