"""The sheets of the bills and of the cash: each line and each month a formula."""

from __future__ import annotations

import math
from typing import Any, cast

from llmsizer.decide.comparison.following import flow_of
from llmsizer.deliver.formulas.live import GENERATIONS, Live, either, least, live, most, rounded_up
from llmsizer.deliver.formulas.places import column_letters
from llmsizer.deliver.formulas.spreadsheet import Sheet
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.deliver.workbook.growth import months_table
from llmsizer.money.cashflow import CashFlow, serves_from_month
from llmsizer.money.drivers import OwnDrivers
from llmsizer.money.formulas import residual_fraction
from llmsizer.units import MONTHS_PER_YEAR

_NOT_CASH = ("hardware", "network", "spare parts", "capital", "VAT")


def bill_sheet(sheet: Sheet, decision: Decision, one: LivePath | None, title: str) -> None:
    """A bill line by line, with the program's range and words beside it."""
    sheet.head(f"{title}: the bill of a month", "" if one is None else one.label)
    if one is None:
        sheet.line("no plan: the scenario does not allow it, nothing meets it, or a price is missing", style="note")
        return
    sheet.line("part", f"{decision.currency.code} a month", "low (program)", "high (program)", "how", style="header")
    parts = {part.name: part for part in one.cost.parts}
    for name, cell in one.bill.lines.items():
        part = parts.get(name)
        sheet.words(0, name)
        _named(sheet, one, 1, cell)
        if part is not None:
            for column, end in ((2, part.usd_per_month.low), (3, part.usd_per_month.high)):
                sheet.number(column, decision.register.of(math.nan if end is None else end), "money")
            sheet.words(4, part.how)
        sheet.row += 1
    sheet.words(0, "total", "bold")
    _named(sheet, one, 1, one.bill.total, "total")
    for column, end in ((2, one.cost.usd_per_month.low), (3, one.cost.usd_per_month.high)):
        sheet.number(column, decision.register.of(math.nan if end is None else end), "total")
    sheet.row += 2
    for note in (*(one.plan.notes if one.plan else ()), *one.cost.flags):
        sheet.line(note, style="note")


def _named(sheet: Sheet, one: LivePath, column: int, cell: Live, style: str = "money") -> None:
    """The formula behind a name, in the cell that gets the name."""
    formula = next(number for _, name, _, number in one.place.results if name == cell.text)
    sheet.number(column, formula, style)
    sheet.name_cell(cell.text, column)


def api_sheet(sheet: Sheet, decision: Decision) -> None:
    """A column for each API; its prices are on the sheet of assumptions."""
    apis = [one for one in decision.paths if one.path == "api"]
    sheet.head("APIs: the bill of a month", "uncached input, cache writes and reads, output, reasoning, retries")
    if not apis:
        sheet.line("no API: the scenario does not allow one, or none has a price", style="note")
        return
    for column, one in enumerate(apis, start=1):
        sheet.words(column, one.label, "header")
    sheet.words(0, f"{decision.currency.code} a month", "header")
    sheet.row += 1
    for name in apis[0].bill.lines:
        sheet.words(0, name)
        for column, one in enumerate(apis, start=1):
            _named(sheet, one, column, one.bill.lines[name])
        sheet.row += 1
    sheet.words(0, "total", "bold")
    for column, one in enumerate(apis, start=1):
        _named(sheet, one, column, one.bill.total, "total")
    sheet.row += 2
    for one in apis:
        for note in one.cost.flags:
            sheet.line(f"{one.label}: {note}", style="note")


def program_cash(decision: Decision, one: LivePath) -> CashFlow:
    """The program's own cash flow of a bill."""
    start = serves_from_month([path.cost for path in decision.paths])
    return flow_of(decision.found, decision.way(one), serves_from=start)


def npv_of(decision: Decision, one: LivePath) -> float:
    npv = program_cash(decision, one).npv_usd
    return math.nan if npv is None else npv


def cash_sheet(sheet: Sheet, decision: Decision) -> None:
    """Payments month by month from the order, their sum and what they are worth today."""
    paid_in = f"{decision.currency.code} paid in each month from the order"
    sheet.head("Cash flow", f"{paid_in}; what comes back is negative; interest: the discount")
    assumed = decision.found.book.assumed
    rate = decision.register.given("capital_charge_per_year", assumed["capital_charge_per_year"])
    lead = decision.register.given("hardware_lead_months", assumed["hardware_lead_months"])
    horizon = decision.shared.horizon
    start = rounded_up(lead) if any(_has_lead(one) for one in decision.paths) else live(0)
    starts = {one.key: start for one in decision.paths}  # all serve the same months
    bought = next((one for one in decision.paths if one.cost.one_offs), None)
    grows = decision.found.question.workload.growth is not None
    by_month = months_table(sheet, decision, start, lead) if grows else None
    ranges = by_month.bought if by_month else ()
    if bought and not by_month:
        ranges = _generations(sheet, decision, bought, starts[bought.key], lead)
    sheet.words(0, "month", "header")
    for column, one in enumerate(decision.paths, start=1):
        sheet.words(column, one.label, "header")
    sheet.row += 1
    first = sheet.row + 1
    flows = {one.key: program_cash(decision, one).usd_by_month or () for one in decision.paths}
    longest = max((len(flow) for flow in flows.values()), default=0)
    months = max(longest, math.ceil(horizon.value + (assumed["hardware_lead_months"].high or 0)) + 1)
    running = {one.key: _running(one, decision) for one in decision.paths}
    for month in range(months):
        sheet.number(0, month, "short")
        for column, one in enumerate(decision.paths, start=1):
            at, start = f"$A{sheet.row + 1}", starts[one.key]
            month_usd = by_month.of(one.key, at, start) if by_month else running[one.key].text
            paid = f"IF(AND({at}>={start.text},{at}<{start.text}+{horizon.text}),{month_usd},0)"
            if ranges and one is bought:
                paid += "".join(f"+SUMIF({when},{at},{usd})" for when, usd in ranges)
            value = flows[one.key][month] if month < len(flows[one.key]) else 0.0
            shown_value = decision.currency.amount(value) if flows[one.key] else "#N/A"
            sheet.formula(column, f"={paid}", shown_value, "money")
        sheet.row += 1
    _totals(sheet, decision, first, sheet.row, rate)


def _has_lead(one: LivePath) -> bool:
    return one.cost.service_from_month > 0


def _running(one: LivePath, decision: Decision) -> Live:
    """Dollars a month while it serves; what is bought and sold once is counted where it is paid."""
    if not one.cost.one_offs:
        return one.bill.total
    vat = decision.shared.vat
    untaxed = ("people",)
    total = live(0)
    for name, usd in one.bill.lines.items():
        if name not in _NOT_CASH:
            total = total + (usd if name in untaxed else usd * (1 + vat))
    return total


def _generations(
    sheet: Sheet, decision: Decision, one: LivePath, start: Live, lead: Live
) -> tuple[tuple[str, str], tuple[str, str]]:
    """What is bought and sold when: the ranges of months and dollars of both."""
    d = one.drivers
    assert isinstance(d, OwnDrivers), "what is bought is owned"
    horizon, vat = decision.shared.horizon, decision.shared.vat
    kept = live(d.depreciation_years) * MONTHS_PER_YEAR
    code = decision.currency.code
    sheet.line("hardware", "bought in month", "kept months", "price of a server", f"{code} paid", "sold in month",
               f"{code} back", style="header")  # fmt: skip
    top = sheet.row + 1
    for index in range(GENERATIONS):
        row = sheet.row + 1
        at = kept * index
        months = most(0, least(horizon - at, kept))
        price = d.server_usd * (1 - d.price_decline_per_year) ** (at / MONTHS_PER_YEAR)
        each = live(d.servers) * (1 + d.network_capex_share + d.spare_parts_share)
        kept_cell = Live(f"$C${row}", months.value)
        price_cell = Live(f"$D${row}", float(live(price).value))
        sheet.words(0, f"generation {index + 1}")
        last = start + horizon
        sheet.number(1, least(last, rounded_up(at)), "short")
        sheet.number(2, months, "short")
        sheet.number(3, live(price), "money")
        sheet.number(4, either(kept_cell > 0, each * price_cell * (1 + vat), 0), "money")
        sheet.number(5, least(last, rounded_up(at + kept_cell + lead)), "short")
        back = -(
            each * price_cell * live(residual_fraction(d.residual_after_36_months, cast(Any, kept_cell))) * (1 + vat)
        )
        sheet.number(6, either(kept_cell > 0, back, 0), "money")
        sheet.row += 1
    bottom = sheet.row
    sheet.row += 1
    return (
        (f"$B${top}:$B${bottom}", f"$E${top}:$E${bottom}"),
        (f"$F${top}:$F${bottom}", f"$G${top}:$G${bottom}"),
    )


def _totals(sheet: Sheet, decision: Decision, first: int, last: int, rate: Live) -> None:
    sheet.row += 1
    for label, name in (("sum", "cash"), ("net present value", "npv")):
        sheet.words(0, label, "bold")
        for column, one in enumerate(decision.paths, start=1):
            cells = f"{column_letters(column)}{first}:{column_letters(column)}{last}"
            flow = program_cash(decision, one)
            value = flow.total_usd if name == "cash" else flow.npv_usd
            text = (
                f"=SUM({cells})"
                if name == "cash"
                else f"=SUMPRODUCT({cells}/(1+{rate.text})^($A{first}:$A{last}/{MONTHS_PER_YEAR}))"
            )
            sheet.formula(column, text, "#N/A" if value is None else decision.currency.amount(value), "total")
            sheet.name_cell(f"{one.key}_{name}", column)
        sheet.row += 1
