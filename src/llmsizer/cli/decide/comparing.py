"""What ``compare`` prints: where the paths cross, the stairs, and on demand the bills by part and the cash by year."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmsizer.cli.currency import add_currency, in_currency, print_rate
from llmsizer.cli.output import console, print_table
from llmsizer.units import MONTHS_PER_YEAR, format_count

if TYPE_CHECKING:
    from llmsizer.facts.scenario import Scenario
    from llmsizer.money.cashflow import CashFlow
    from llmsizer.money.comparison import Comparison
    from llmsizer.money.cost import Cost
    from llmsizer.money.currency import Currency

_SHOWN_PATHS = 5


def add_money(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--lens", choices=("full", "marginal"), help="marginal: hardware, capital and people are paid")
    add_currency(parser)
    parser.add_argument("--parts", action="store_true", help="the bills at the scenario's volume, part by part")
    parser.add_argument("--cash-flow", action="store_true", help="cash by year, net present value, payback")


def with_money(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    """The scenario with what the command line says of money. Raises InputError."""
    changed = in_currency(scenario, arguments)
    if arguments.lens:
        changed = changed.model_copy(update={"money": scenario.money.model_copy(update={"lens": arguments.lens})})
    return changed


def print_comparison(comparison: Comparison, *, parts: bool = False, cash_flow: bool = False) -> None:
    """The sentence first; then the stairs as a table, and where they cross."""
    out = console()
    out.print(comparison.sentence, style="bold", highlight=False)
    if comparison.reading:
        out.print(comparison.reading, style="italic", highlight=False)
    _print_stairs(comparison)
    for crossover in comparison.crossovers:
        out.print(f"· {crossover.text}", highlight=False)
    if parts:
        _print_bills(comparison)
    if cash_flow:
        _print_cash(comparison)
    if not (parts or cash_flow):
        out.print("--parts shows the bills by part, --cash-flow cash by year and net present value", style="dim")
    print_rate(comparison.currency)
    if comparison.lens == "marginal":
        out.print("Marginal lens on every path: hardware, capital and people are taken as paid.", highlight=False)
    for flag in comparison.flags:
        out.print(f"! {flag}", highlight=False, style="yellow")


def _print_stairs(comparison: Comparison) -> None:
    shown = comparison.paths[:_SHOWN_PATHS]
    money = comparison.currency
    headers = ["tokens a month"]
    headers += [path.label if path.same_model or not path.note else f"{path.label} (another model)" for path in shown]
    rows = [
        (format_count(tokens), *(money.text(path.steps[index].usd_per_month.value) for path in shown))
        for index, tokens in enumerate(comparison.tokens_per_month)
    ]
    bases = {path.label: path.steps[0].usd_per_month.basis for path in shown if path.steps}
    more = len(comparison.paths) - len(shown)
    note = "basis: " + "; ".join(f"{label}: {basis}" for label, basis in bases.items())
    print_table("A month", headers, rows, note=note + (f"; {more} more APIs: --json has them" if more > 0 else ""))


def _print_bills(comparison: Comparison) -> None:
    money, out = comparison.currency, console()
    volume = format_count(comparison.tokens_per_month_asked)
    for bill in comparison.bills:
        rows: list[tuple[object, ...]] = [
            (part.name, _band(part.usd_per_month.value, part.usd_per_month.low, part.usd_per_month.high, money),
             part.usd_per_month.basis, part.usd_per_month.as_of + ("†" if part.usd_per_month.stale else ""),
             part.how or part.usd_per_month.estimate.reason)
            for part in bill.parts
        ]  # fmt: skip
        total = bill.usd_per_month
        rows.append(
            ("total", _band(total.value, total.low, total.high, money), total.basis, "", _incomplete(bill, money))
        )
        title = f"{bill.label}: {volume} tokens a month"
        print_table(title, ("part", "a month [low–high]", "basis", "as of", "how"), rows, note=_per_token(bill, money))
        for part in bill.left_out_as_sunk:
            out.print(f"  taken as paid: {part.name} {money.text(part.usd_per_month.value)}", highlight=False)


def _band(value: float | None, low: float | None, high: float | None, money: Currency) -> str:
    if value is None:
        return "unknown"
    if low is None or high is None or low == high:
        return money.text(value)
    return f"{money.text(value)} [{money.text(low)}–{money.text(high)}]"


def _incomplete(bill: Cost, money: Currency) -> str:
    if bill.is_complete:
        return ""
    return f"incomplete, at least {money.text(bill.at_least_usd_per_month)}: {bill.usd_per_month.estimate.reason}"


def _per_token(bill: Cost, money: Currency) -> str:
    from llmsizer.money.cost import ALLOCATION

    into, out = bill.usd_per_million_input_tokens.value, bill.usd_per_million_output_tokens.value
    text = f"{money.text(into)} for 1M input tokens, {money.text(out)} for 1M output ({ALLOCATION[bill.path]})"
    if bill.energy is None:
        return f"{text}; energy unknown: the provider prints none"
    joules = bill.energy.joules_per_thousand_tokens.estimate.text(suffix=" J")
    grams = bill.energy.grams_co2_per_thousand_tokens.estimate.text(suffix=" gCO₂e")
    return f"{text}; for 1,000 tokens {joules}, {grams} on the grid of {bill.energy.area}"


def _print_cash(comparison: Comparison) -> None:
    flows = comparison.cash_flows
    if not flows:
        return
    money = comparison.currency
    longest = max((len(flow.usd_by_month or ()) for flow in flows), default=0)
    rows: list[tuple[object, ...]] = []
    for start in range(0, longest, MONTHS_PER_YEAR):
        end = min(start + MONTHS_PER_YEAR, longest)
        rows.append((f"months {start}–{end - 1}", *(_between(flow, start, end, money) for flow in flows)))
    rows.append(("in all", *(money.text(flow.total_usd) for flow in flows)))
    rows.append(("net present value", *(money.text(flow.npv_usd) for flow in flows)))
    rate = flows[0].discount_rate_per_year
    late = [flow for flow in flows if flow.service_from_month > 0]
    waits = "".join(f"; {flow.label} serves {flow.service_from_month:g} months after the order" for flow in late)
    if len(late) == len(flows) > 1 and len({flow.service_from_month for flow in flows}) == 1:
        waits = f"; all serve from month {flows[0].service_from_month:g} on, when what was ordered has come"
    print_table("Cash from the order on", ("", *(flow.label for flow in flows)), rows,
                note=f"discounted at {rate:.3g} a year; month 0: the order; every month: --json{waits}")  # fmt: skip
    out = console()
    for flow in flows:
        for event in flow.events:
            out.print(f"  {event}", highlight=False)
    for payback in comparison.paybacks:
        out.print(f"· {payback.text}", highlight=False)


def _between(flow: CashFlow, start: int, end: int, money: Currency) -> str:
    if flow.usd_by_month is None:
        return "unknown"
    return money.text(sum(flow.usd_by_month[start:end]))
