"""When the money leaves, for the screen: cash paid so far by month, its worth today, and when it is earned back."""

from __future__ import annotations

from itertools import accumulate

from llmsizer.deliver.charts.colours import PATH_COLOURS
from llmsizer.deliver.charts.figures import LINE_DASHES, Spec, in_lines, layout_of, plain
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.chart import axis_ticks, money_ticks
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.facts.provenance import Basis
from llmsizer.money.cashflow import CashFlow
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Cost
from llmsizer.money.currency import format_usd, shown

LEGEND_CHARACTERS = 44  # that stand beside a line's sample on the narrowest screen


def cash_figure(comparison: Comparison) -> Spec:
    """Dollars paid so far in each month from the order on; a purchase is a step up, a sale a step down."""
    data: list[Spec] = []
    ends = [0.0]  # of the axis
    for index, (bill, flow) in enumerate(_known(comparison)):
        paid = list(accumulate(flow.usd_by_month or ()))
        ends += paid
        hover = [f"month {month}: {format_usd(usd)} paid so far" for month, usd in enumerate(paid)]
        data.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": in_lines(flow.label, LEGEND_CHARACTERS),
                "x": list(range(len(paid))),
                "y": paid,
                "text": hover,
                "hovertemplate": "%{text}<extra>" + plain(flow.label) + "</extra>",
                "line": {
                    "color": PATH_COLOURS[bill.path],
                    "shape": "hv",
                    "width": 2.5,
                    "dash": LINE_DASHES[index % len(LINE_DASHES)],
                },
            }
        )
    return {
        "data": data,
        "layout": layout_of(
            400,
            xaxis={"title": {"text": "months from the order"}, "fixedrange": True, "dtick": 6},
            yaxis={
                "title": {"text": f"{shown().words} paid so far"},
                "fixedrange": True,
                "rangemode": "tozero",
                **axis_ticks(money_ticks(min(ends), max(ends), svg.linear_ticks)),
            },
        ),
    }


def _known(comparison: Comparison) -> list[tuple[Cost, CashFlow]]:
    pairs = zip(comparison.bills, comparison.cash_flows, strict=True)
    return [(bill, flow) for bill, flow in pairs if flow.usd_by_month is not None]


def cash_alt(comparison: Comparison) -> str:
    """Each path's total and net present value."""
    said = [f"{flow.label}: {format_usd(flow.total_usd)} in all" for _, flow in _known(comparison)]
    return f"{shown().words} paid so far by month from the order. " + "; ".join(said) + "."


def cash_table(comparison: Comparison) -> Table:
    """In all, worth today, and what is paid once."""
    rows = tuple(
        _row(bill, flow) for bill, flow in zip(comparison.bills, comparison.cash_flows, strict=True)
    )  # fmt: skip
    rate = comparison.cash_flows[0].discount_rate_per_year if comparison.cash_flows else 0.0
    headers = ("Path", "In all", "Net present value", "Serves from month", "Paid once")
    note = f"Discounted at {rate * 100:.3g} % a year; month 0 is the order."
    return Table(title="Cash over the horizon", headers=headers, rows=rows, note=note)


def _row(bill: Cost, flow: CashFlow) -> tuple[Cell, ...]:
    basis = bill.usd_per_month.basis
    if flow.usd_by_month is None:
        return (
            words(flow.label),
            *(Cell(text="unknown", basis="unknown", remark=flow.reason) for _ in "ab"),
            *(words("–") for _ in "cd"),
        )
    once = "; ".join(flow.events) or "–"
    return (
        words(flow.label),
        _usd(flow.total_usd, basis),
        _usd(flow.npv_usd, basis),
        words(f"{flow.service_from_month:g}"),
        words(once),
    )


def _usd(value: float | None, basis: Basis) -> Cell:
    return Cell(text=format_usd(value), basis=basis)


def paybacks_table(comparison: Comparison) -> Table:
    """When bought hardware is earned back, path by path; "not reached" is not "not searched"."""
    rows = tuple(
        (
            words(payback.against),
            words(payback.state if payback.month is None else f"month {payback.month}", strong=True),
            words(payback.text),
        )
        for payback in comparison.paybacks
    )
    return Table(title="Earned back", headers=("Against", "Earned back in", "In words"), rows=rows)
