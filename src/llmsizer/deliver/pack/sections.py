"""The pack's own part of the report: conditions that void the answer, when to order, what to order, power and racks."""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmsizer.deliver.elements.tables import Table, words
from llmsizer.deliver.elements.wording import plain_number, sentence
from llmsizer.deliver.formulas.live import Live
from llmsizer.deliver.pages import html
from llmsizer.deliver.pages.sections import section
from llmsizer.deliver.papers.bill_of_materials import STATUSES, BomLine
from llmsizer.deliver.papers.conditions import Condition
from llmsizer.deliver.papers.order_dates import OrderDates
from llmsizer.deliver.papers.power_and_rack import UNKNOWN_OF_THE_SITE, PowerSheet
from llmsizer.money.currency import shown
from llmsizer.units import UNKNOWN


def handed_over(
    bom: Sequence[BomLine],
    orders: OrderDates,
    found: Sequence[Condition],
    power: PowerSheet | None,
    heading: str = "When to order",
) -> str:
    """All four, as HTML; ``heading``: whose order it is."""
    return _conditions(found) + _orders(orders, heading) + _materials(bom) + _power(power)


def _conditions(found: Sequence[Condition]) -> str:
    rows = tuple(
        (words(c.text, strong=c.state == "holds"), words(c.state), words(c.consequence), words(c.detail or "–"))
        for c in found
    )
    table = Table(title="Conditions", headers=("If this holds", "Now", "Then", "Detail"), rows=rows)
    return section("Disqualifying conditions", html.table(table, caption=False))


def _orders(orders: OrderDates, heading: str) -> str:
    rows = tuple(
        (
            words(str(step.servers)),
            words(str(step.replicas)),
            words(step.needed_on.isoformat()),
            words(step.order_by.isoformat()),
            words(step.order_by_at_longest_lead.isoformat()),
        )
        for step in orders.steps
    )
    heads = ("Servers in all", "Replicas they hold", "Needed on", "Order by", "Order by, at the longest lead")
    steps = html.table(Table(title="Bought in steps", headers=heads, rows=rows)) if rows else ""
    return section(heading, html.said("p", sentence(orders.text)), steps)


def _materials(bom: Sequence[BomLine]) -> str:
    if not bom:
        return ""
    rows = tuple(
        (
            words(line.path),
            words(line.item, remark=line.note),
            words(f"{_plain(line.quantity)} {line.unit}".strip()),
            words(line.billed_by or "–"),
            words(_money(line.each)),
            words(_money(line.usd), remark=_range(line)),
            words(line.status),
        )
        for line in bom
    )
    code = shown().code
    heads = ("Path", "Item", "Quantity", "Billed by", f"{code} each", code, "Status")
    meanings = html.bullets(f"{status}: {meaning}" for status, meaning in STATUSES.items())
    table = Table(title="Bill of materials", headers=heads, rows=rows)
    return section("Bill of materials", meanings, html.table(table, caption=False))


def _plain(number: Live | None) -> str:
    return UNKNOWN if number is None or math.isnan(number.value) else plain_number(number.value)


def _money(number: Live | None) -> str:
    """Of a cell that is in the currency shown already."""
    return UNKNOWN if number is None or math.isnan(number.value) else shown().said(number.value)


def _range(line: BomLine) -> str:
    low, high = line.usd_low, line.usd_high
    if low is None or high is None or low.value == high.value:
        return ""
    return f"{_money(low)} to {_money(high)}"


def _power(power: PowerSheet | None) -> str:
    if power is None:
        return ""
    rows = [
        (words(line.what), words(f"{plain_number(line.number.value)} {line.unit}"), words(line.note or "–"))
        for line in power.lines
    ]
    rows += [(words(what), words(UNKNOWN), words(why)) for what, why in UNKNOWN_OF_THE_SITE]
    table = Table(title="Power and rack", headers=("What", "How much", "Note"), rows=tuple(rows))
    return section("Power and rack of what is owned", html.table(table, caption=False))
