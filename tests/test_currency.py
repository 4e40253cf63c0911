"""Amounts in another currency: one dated rate in every text and cell; dollars stay what is computed and in JSON."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import papers
from llmsizer.cli import main
from llmsizer.deliver.elements.wording import shown_parts
from llmsizer.deliver.pack.memo import render_memo
from llmsizer.deliver.pages.report import render_report
from llmsizer.deliver.papers.bill_of_materials import bill_of_materials, bom_csv
from llmsizer.deliver.papers.conditions import conditions
from llmsizer.deliver.papers.decision import Decision
from llmsizer.deliver.papers.order_dates import order_dates
from llmsizer.deliver.papers.power_and_rack import power_sheet
from llmsizer.deliver.tables.bills import costs_table
from llmsizer.facts.figure import exact
from llmsizer.money.currency import US_DOLLARS, Currency, format_usd, is_money, shown, shown_in

EUROS = Currency(code="EUR", usd_per_unit=exact(1.25, "USD/EUR", "assumed", "by hand", "2026-11-01"))
FRANCS = Currency(code="CHF", usd_per_unit=exact(0.5, "USD/CHF", "assumed", "by hand", "2026-11-01"))
RATES = {"EUR": {"usd": 1.25, "as_of": "2026-11-01", "source": "by hand"}}
DOLLARS = re.compile(r"\$\s?\d|\d\s?USD|US dollars")


@pytest.fixture(scope="module")
def euros() -> Decision:
    return papers.decision(papers.scenario(currency="EUR", money={"rates": RATES, "vat_rate": 0.19}))


@pytest.fixture(scope="module")
def dollars() -> Decision:
    return papers.decision(papers.scenario(money={"vat_rate": 0.19}))


def test_dollars_are_shown_at_the_rate_by_hand() -> None:
    assert EUROS.text(1_550.0) == "€1,240" and EUROS.text(-12.5) == "−€10.00" and EUROS.text(None) == "unknown"
    assert FRANCS.text(620.0) == "CHF 1,240" and FRANCS.short(20_000.0) == "CHF 20k"
    assert EUROS.note == "1 EUR = 1.25 USD (by hand, 2026-11-01)"
    assert US_DOLLARS.note == "" and US_DOLLARS.text(0.01234) == "$0.0123"


def test_what_is_written_inside_a_block_is_in_its_currency_and_after_it_in_dollars_again() -> None:
    with shown_in(EUROS):
        assert format_usd(125.0) == "€100"
        with pytest.raises(ZeroDivisionError), shown_in(FRANCS):
            raise ZeroDivisionError
        assert shown() is EUROS
    assert format_usd(125.0) == "$125"


def test_units_of_money_change_and_others_do_not() -> None:
    assert EUROS.unit("USD/GPU/h") == "EUR/GPU/h" and EUROS.unit("requests/s") == "requests/s"
    assert [is_money(unit) for unit in ("USD", "USD/1M tokens", "USD/EUR", "tokens")] == [True, True, False, False]
    assert (
        EUROS.name("own_server_usd") == "own_server_eur" and EUROS.name("focused_usd_per_kwh") == "focused_eur_per_kwh"
    )


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12), st.sampled_from([EUROS, FRANCS, US_DOLLARS]))
def test_parts_sum_to_the_whole_as_displayed_in_every_currency(usd: list[float], money: Currency) -> None:
    parts = shown_parts([money.amount(value) for value in usd], 2)
    whole = money.amount(sum(usd))
    assert sum(round(100 * part) for part in parts) == pytest.approx(100 * whole, abs=0.51 + 1e-6 * whole)


def test_a_bill_in_euros_is_the_bill_in_dollars_over_the_rate(euros: Decision, dollars: Decision) -> None:
    for ours, theirs in zip(euros.paths, dollars.paths, strict=True):
        assert ours.bill.total.value == pytest.approx(theirs.bill.total.value / 1.25, rel=1e-12)
        for name, cell in ours.bill.lines.items():
            assert cell.value == pytest.approx(theirs.bill.lines[name].value / 1.25, rel=1e-12)
        assert ours.cost.usd_per_month.value == theirs.cost.usd_per_month.value  # what is computed stays in dollars


def test_a_table_of_bills_adds_up_in_euros(euros: Decision) -> None:
    with shown_in(euros.currency):
        table = costs_table([(one.label, one.cost) for one in euros.paths[:2]])
    assert table.headers[0] == "Euros a month" and table.total_row is not None
    for column in (1, 2):
        texts = [row[column].text for row in table.rows[: table.total_row] if row[column].text != "–"]
        cents = [round(100 * float(text.replace("€", "").replace(",", ""))) for text in texts]
        assert sum(cents) == round(100 * float(table.rows[table.total_row][column].text[1:].replace(",", "")))


def test_memo_report_and_materials_hold_no_dollar_and_say_the_rate_once(euros: Decision) -> None:
    orders, power = order_dates(euros), power_sheet(euros)
    found, bom = conditions(euros, orders, power), bill_of_materials(euros)
    memo = render_memo(euros, orders=orders, found=found, power=power, written_on="2026-11-20")
    report = render_report(recommendation=euros.recommendation, scenario=euros.scenario)
    for page in (memo, report):
        words = re.sub(r"<style.*?</style>", "", page, flags=re.S)
        words = words.split("<h2>Assumptions</h2>")[0]  # quoted as a scenario takes them: in dollars, and it says so
        assert re.findall(r".{30}\$\s?\d.{10}", words) == []
        assert words.count("1 EUR = 1.25 USD (by hand, 2026-11-01") == 1
        assert "€" in words and "EUR a month" in memo
    assert "in US dollars" in report.split("<h2>Assumptions</h2>")[1]
    lines = bom_csv(bom, "EUR").splitlines()
    assert "EUR each,EUR" in lines[0] and not any(DOLLARS.search(line.split(",http")[0]) for line in lines)


def test_a_line_of_the_materials_costs_its_dollars_over_the_rate(euros: Decision, dollars: Decision) -> None:
    for ours, theirs in zip(bill_of_materials(euros), bill_of_materials(dollars), strict=True):
        for one, other in ((ours.usd, theirs.usd), (ours.usd_low, theirs.usd_low), (ours.usd_high, theirs.usd_high)):
            assert (one is None) == (other is None)
            assert one is None or other is None or one.value == pytest.approx(other.value / 1.25, rel=1e-12)


def test_every_amount_of_the_workbook_follows_one_cell_of_the_rate(euros: Decision, tmp_path: Path) -> None:
    pytest.importorskip("xlsxwriter")
    import recalculate

    path = papers.workbook(euros, tmp_path / "euros.xlsx")
    names, formulas = recalculate.named(path), recalculate.formulas(path)
    assert recalculate.cells(path)[names["usd_per_eur"]] == pytest.approx(1.25)
    assert "usd_per_eur" in formulas[names["own_gpu_eur"]]
    assert [name for name in names if "usd" in name] == ["usd_per_eur"]
    if recalculate.office() is None:
        pytest.skip("LibreOffice is not installed")
    dearer = recalculate.changed(path, tmp_path / "dearer.xlsx", {names["usd_per_eur"]: 2.5})
    before, after = recalculate.recalculated([path, dearer], tmp_path)
    assert not recalculate.differences(recalculate.cells(path), before, set(formulas))
    for key in ("own_total_eur", "rent_total_eur", "own_npv", "api1_total_eur"):
        assert float(after[names[key]]) == pytest.approx(float(before[names[key]]) / 2, rel=1e-9)


def test_json_keeps_its_dollar_keys_and_adds_the_rate(euros: Decision, dollars: Decision) -> None:
    ours, theirs = euros.recommendation.to_dict(), dollars.recommendation.to_dict()
    assert ours.keys() == theirs.keys() and ours["plans"][0]["cost"].keys() == theirs["plans"][0]["cost"].keys()
    assert [plan["cost"]["usd_per_month"]["value"] for plan in ours["plans"]] == [
        plan["cost"]["usd_per_month"]["value"] for plan in theirs["plans"]
    ]
    assert ours["currency"]["code"] == "EUR" and ours["currency"]["usd_per_unit"]["as_of"] == "2026-11-01"
    assert theirs["currency"]["code"] == "USD"
    assert "€" in ours["sentence"] and "$" not in json.dumps([ours["sentence"], ours["flips"]], ensure_ascii=False)


@pytest.mark.parametrize("command", [["plan"], ["compare"], ["report", "--out", "pack"]])
def test_an_unknown_currency_is_one_line_that_names_those_known(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([command[0], "eu-chat", *command[1:], "--currency", "XYZ"]) == 1
    error = capsys.readouterr().err
    assert "use USD or EUR" in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
