"""The workbook of a decision: live formulas on every sheet, driven by one sheet of assumptions.

The formulas are the program's own (``workbook.live``), and each cell holds the program's value beside its formula, so a
reader without a recalculating program sees the same figures.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

from llmsizer.deliver.formulas import live_weeks
from llmsizer.deliver.formulas.live import Live
from llmsizer.deliver.formulas.places import Under
from llmsizer.deliver.formulas.spreadsheet import Sheet, Spreadsheet
from llmsizer.deliver.papers.bill_of_materials import STATUSES, BomLine, headers
from llmsizer.deliver.papers.conditions import Condition
from llmsizer.deliver.papers.decision import Decision
from llmsizer.deliver.papers.order_dates import OrderDates, order_heading
from llmsizer.deliver.papers.power_and_rack import UNKNOWN_OF_THE_SITE, PowerSheet
from llmsizer.deliver.workbook import money as workbook_money
from llmsizer.deliver.workbook import volumes as workbook_volumes
from llmsizer.money.currency import USD, is_money, shown, shown_in
from llmsizer.units import MEGA

SHEETS: dict[str, tuple[float, ...]] = {
    "summary": (52, 17, 17, 17, 17, 17, 20, 17, 17),
    "assumptions": (38, 16, 26, 13, 13, 60, 12, 12, 40),
    "fleet": (40, 20, 44, 16),
    live_weeks.SHEET: (22, 22, 14, 6, 22, 22, 14),
    "owning": (26, 18, 16, 16, 70),
    "renting": (26, 18, 16, 16, 70),
    "API": (26, 20, 20, 20, 20, 20, 20),
    "comparison": (20, 30, *(16,) * 34),
    "cash flow": (16, *(18,) * 9),
    "BOM": (8, 38, 14, 22, 20, 15, 15, 15, 15, 11, 44, 11, 44),
    "power & rack": (42, 16, 12, 60),
    "disqualifying": (52, 16, 16, 52, 60),
}
_CONVERTED = 3  # the column of the assumptions that holds what is quoted in dollars in another currency
_EPOCH = datetime.date(1899, 12, 30)  # day 0 of spreadsheets


def write_workbook(
    path: Path,
    decision: Decision,
    *,
    bom: Sequence[BomLine],
    orders: OrderDates,
    found: Sequence[Condition],
    power: PowerSheet | None,
) -> None:
    """Write the file. Raises MissingExtraError without the extra ``report``."""
    with shown_in(decision.currency):
        _write(path, decision, bom, orders, found, power)


def _write(
    path: Path,
    decision: Decision,
    bom: Sequence[BomLine],
    orders: OrderDates,
    found: Sequence[Condition],
    power: PowerSheet | None,
) -> None:
    book = Spreadsheet(
        path,
        title=f"llmsizer: {decision.scenario.name}",
        subject=f"scenario hash {decision.hash}",
        day=decision.today,
    )
    sheets = {name: book.sheet(name, widths) for name, widths in _sheets(decision).items()}
    workbook_money.cash_sheet(sheets["cash flow"], decision)
    _summary(sheets["summary"], decision, found)
    _fleet(sheets["fleet"], decision, orders)
    workbook_money.bill_sheet(sheets["owning"], decision, decision.path("own"), "Own")
    workbook_money.bill_sheet(sheets["renting"], decision, decision.path("rent"), "Rent")
    workbook_money.api_sheet(sheets["API"], decision)
    live_weeks.hours_sheet(sheets[live_weeks.SHEET], decision.found.pricer.bills.modes)
    workbook_volumes.volumes_sheet(sheets["comparison"], decision)
    _bom(sheets["BOM"], bom)
    _power(sheets["power & rack"], power)
    _conditions(sheets["disqualifying"], found)
    _assumptions(sheets["assumptions"], decision)
    book.close()


def _sheets(decision: Decision) -> dict[str, tuple[float, ...]]:
    """With a further column of the assumptions where dollars are converted."""
    widths = SHEETS["assumptions"]
    wider = (*widths[:_CONVERTED], 16, *widths[_CONVERTED:])
    return SHEETS | {"assumptions": widths if decision.currency.code == USD else wider}


def _summary(sheet: Sheet, decision: Decision, found: Sequence[Condition]) -> None:
    answer = decision.recommendation
    sheet.head(f"Decision: {decision.scenario.name}")
    for label, text in (
        ("Answer", answer.sentence),
        ("Model", f"{answer.model}. {answer.reading}"),
        ("Scenario", decision.scenario.description),
        ("Hash", f"{decision.hash}: the same on every file of this pack"),
        ("Prices judged on", answer.priced_on),
        ("How to use", "change a yellow cell on the sheet assumptions: every other sheet follows"),
        *_rate_words(decision),
    ):
        sheet.words(0, label, "bold")
        sheet.page.merge_range(sheet.row, 1, sheet.row, 6, "")
        sheet.words(1, text)
        sheet.lines[sheet.row] = max(1, math.ceil(len(text) / 105))
        sheet.row += 1
    sheet.row += 1
    code = decision.currency.code
    ends = ("every input at its best", "every input at its worst")
    sheet.line("Way", f"{code} a month", *ends, f"{code} per 1M tokens", f"{code} a year",
               f"Net present value of all payments, {code}", "P10 (program)", "P90 (program)",
               style="header")  # fmt: skip
    first = sheet.row
    tokens = decision.shared.tokens
    for one in decision.paths:
        usd = one.cost.usd_per_month
        sheet.words(0, one.label)
        sheet.number(1, one.bill.total, "money")
        for column, end in ((2, usd.low), (3, usd.high)):
            sheet.number(column, decision.register.of(math.nan if end is None else end), "money")
        sheet.number(4, one.bill.total / (tokens / MEGA), "money")
        sheet.number(5, one.bill.total * 12, "money")
        npv = decision.currency.amount(workbook_money.npv_of(decision, one))
        sheet.number(6, Live(f"{one.key}_npv", npv), "money")
        spread = decision.spread(one)
        for column, end in ((7, spread.usd_p10), (8, spread.usd_p90)) if spread else ():
            sheet.number(column, decision.register.of(end), "money")
        sheet.row += 1
    if decision.paths:
        _cheapest(sheet, decision, first)
    sheet.row += 1
    sheet.words(0, "Disqualifying conditions that hold", "bold")
    count = sum(condition.state == "holds" for condition in found)
    last = 4 + len(found)
    sheet.formula(1, f"=COUNTIF('disqualifying'!$B$4:$B${last},\"holds\")", count, "short")
    sheet.row += 1


def _rate_words(decision: Decision) -> Sequence[tuple[str, str]]:
    money = decision.currency
    if not money.note:
        return ()
    follow = f"Cells follow {decision.register.rate.text} on the sheet assumptions; sentences do not"
    return ((f"Amounts in {money.code}", f"{money.note}. {follow}"),)


def _cheapest(sheet: Sheet, decision: Decision, first: int) -> None:
    """The least of the ways to the model that was asked for; another model's API is no substitute."""
    same = [(row, one) for row, one in enumerate(decision.paths, start=first + 1) if one.same_model]
    priced = [(row, one) for row, one in same if not math.isnan(one.bill.total.value)]
    if not priced:
        return
    sheet.row += 1
    _, best = min(priced, key=lambda pair: pair[1].bill.total.value)
    cells = ",".join(f"IFERROR(B{r},1E+99)" for r, _ in same)
    sheet.words(0, f"Cheapest for the model asked for, {decision.currency.code} a month", "bold")
    sheet.formula(1, f"=MIN({cells})", best.bill.total.value, "total")
    first_row, last_row = same[0][0], same[-1][0]
    # Machines come before APIs and other models after them, so that those of one model stand together.
    together = last_row - first_row + 1 == len(same)
    if together:
        chosen = f"=INDEX(A{first_row}:A{last_row},MATCH(B{sheet.row + 1},B{first_row}:B{last_row},0))"
        sheet.formula(2, chosen, best.label, "plain")
    sheet.row += 1


def _fleet(sheet: Sheet, decision: Decision, orders: OrderDates) -> None:
    sheet.head("Fleet: from tokens to machines", "requests a second, replicas, servers or instances; live")
    _results(sheet, "The load", decision.fleet_place)
    for one in decision.paths:
        if one.path != "api":
            _results(sheet, one.label, one.place)
    sheet.words(0, order_heading(decision), "bold")
    sheet.row += 1
    sheet.line(orders.text, style="plain")
    if orders.steps:
        sheet.line(
            "Servers in all", "needed on", "order by", "at the longest lead", "replicas they hold", style="header"
        )
        lead = decision.register.given("hardware_lead_months", orders.lead_months)
        for step in orders.steps:
            sheet.number(0, step.servers, "short")
            sheet.number(4, step.replicas, "short")
            sheet.day(1, step.needed_on)
            serial = (step.order_by - _EPOCH).days
            sheet.formula(2, f"=B{sheet.row + 1}-INT({lead.text}*30.4375)", serial, "date")
            sheet.day(3, step.order_by_at_longest_lead)
            sheet.row += 1


def _results(sheet: Sheet, title: str, place: Under) -> None:
    sheet.words(0, title, "bold")
    sheet.row += 1
    for key, name, unit, number in place.results:
        if key.endswith("_usd") and key not in ("server_usd",):
            continue  # lines of the bill stand on its own sheet
        sheet.words(0, shown().name(key).replace("_", " "))
        sheet.number(1, number, "money" if is_money(unit) else "number")
        sheet.name_cell(name, 1)
        sheet.words(2, shown().unit(unit))
        sheet.row += 1
    sheet.row += 1


def _bom(sheet: Sheet, bom: Sequence[BomLine]) -> None:
    sheet.head("Bill of materials")
    for status, meaning in STATUSES.items():
        sheet.line(status, meaning, style="plain")
    sheet.row += 1
    sheet.line(*headers(shown().code), style="header")
    for line in bom:
        price = line.price
        sheet.words(0, line.path)
        sheet.words(1, line.item)
        for column, number in (
            (2, line.quantity),
            (5, line.each),
            (6, line.usd),
            (7, line.usd_low),
            (8, line.usd_high),
        ):
            if number is None:
                sheet.words(column, "unknown")
            else:
                sheet.number(column, number, "short" if column == 2 else "money")
        for column, text in ((3, line.unit), (4, line.billed_by), (9, line.status), (12, line.note)):
            sheet.words(column, text)
        if price is not None:
            sheet.words(10, price.source)
            sheet.words(11, price.as_of)
        sheet.row += 1


def _power(sheet: Sheet, power: PowerSheet | None) -> None:
    sheet.head("Power and rack of what is owned", "a rented machine's and an API's power are their operator's")
    if power is None:
        sheet.line("nothing is owned: no plan", style="note")
        return
    sheet.line("what", "number", "unit", "note", style="header")
    for line, (_, name, _, number) in zip(power.lines, power.place.results, strict=True):
        sheet.words(0, line.what)
        sheet.number(1, number, "short")
        sheet.name_cell(name, 1)
        sheet.words(2, line.unit)
        sheet.words(3, line.note)
        sheet.row += 1
    for what, why in UNKNOWN_OF_THE_SITE:
        sheet.line(what, "unknown", "", why)


def _conditions(sheet: Sheet, found: Sequence[Condition]) -> None:
    sheet.head("Conditions that disqualify the answer")
    sheet.line("condition", "now", "when written", "then", "detail", style="header")
    for condition in found:
        sheet.words(0, condition.text)
        if condition.test is None:
            sheet.words(1, condition.state)
        else:
            live_state = f'=IF({condition.test.text},"holds","does not hold")'
            sheet.formula(1, live_state, condition.state, "plain")
        for column, text in ((2, condition.state), (3, condition.consequence), (4, condition.detail)):
            sheet.words(column, text)
        sheet.row += 1


def _assumptions(sheet: Sheet, decision: Decision) -> None:
    register, money = decision.register, decision.currency
    converts = money.code != USD
    note = f"; what is quoted in dollars stands in {money.code} beside it, by the cell {register.rate.text}"
    sheet.head("Assumptions", f"change a value here: every other sheet follows{note if converts else ''}")
    beside = (f"in {money.code}",) if converts else ()
    after = _CONVERTED + len(beside)
    sheet.line("id", "value", "unit", *beside, "low", "high", "source", "date", "basis", "note", style="header")
    sheet.page.freeze_panes(sheet.row, 1)
    for row in register.rows.values():
        figure = row.figure
        sheet.words(0, row.name)
        sheet.number(1, math.nan if figure.value is None else figure.value, "input")
        if converts and is_money(figure.unit):
            quoted = Live(f"$B${sheet.row + 1}", math.nan if figure.value is None else figure.value)
            sheet.number(_CONVERTED, quoted / register.rate)
            sheet.name_cell(row.name, _CONVERTED)
        else:
            sheet.name_cell(row.name, 1)
        sheet.words(2, figure.unit)
        for column, end in enumerate((figure.low, figure.high), start=after):
            if end is not None:
                sheet.number(column, end)
        stale = "stale price; " if figure.stale else ""
        dated = figure.as_of or decision.recommendation.priced_on
        texts = (figure.source, dated, figure.basis, stale + figure.estimate.reason)
        for column, text in enumerate(texts, start=after + 2):
            sheet.words(column, text)
        sheet.row += 1
