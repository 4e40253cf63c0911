"""The fleet month by month while demand grows, as formulas: what the cash sheet of a growing service adds up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, cast

from llmsizer.deliver.formulas.live import GENERATIONS, Live, either, exp, least, live, ln, most, rounded_up, whole
from llmsizer.deliver.formulas.live_weeks import kept_up_live
from llmsizer.deliver.formulas.places import column_letters
from llmsizer.deliver.formulas.spreadsheet import Sheet
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.facts.figure import exact
from llmsizer.facts.workload import Growth
from llmsizer.money.cashflow import NOT_CASH
from llmsizer.money.drivers import OwnDrivers, RentDrivers
from llmsizer.money.formulas import lines_of, residual_fraction
from llmsizer.units import MONTHS_PER_YEAR

_ROUNDING = 1e-9
_FULL_BATCH = 256.0
_OWNED = ("serving replicas", "servers", "new servers", "GPUs at work", "batch depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class ByMonth:
    """Where the months of service stand: running dollars by a path's key, purchases and sales of what is owned."""

    running: dict[str, str]  # ranges, one row a month of service
    bought: tuple[tuple[str, str], ...] = ()  # ranges of months and of dollars

    def of(self, key: str, month: str, start: Live) -> str:
        """What is paid for running in a month counted from the order."""
        return f"INDEX({self.running[key]},{month}-{start.text}+1)"


class _Row:
    """Cells of one row, each by the number it holds."""

    def __init__(self, sheet: Sheet) -> None:
        self.sheet, self.column = sheet, 0

    def put(self, number: Live | float, style: str = "number") -> Live:
        self.sheet.number(self.column, number, style)
        found = Live(f"${column_letters(self.column)}${self.sheet.row + 1}", live(number).value)
        self.column += 1
        return found


def months_table(sheet: Sheet, decision: Decision, start: Live, lead: Live) -> ByMonth:
    """Rows of demand, machines and dollars for each month of service."""
    growth = decision.found.question.workload.growth
    assert growth is not None, "without growth every month is alike"
    own = next((one for one in decision.paths if isinstance(one.drivers, OwnDrivers)), None)
    rent = next((one for one in decision.paths if isinstance(one.drivers, RentDrivers)), None)
    apis = [one for one in decision.paths if one.path == "api"]
    buys = own is not None and bool(own.cost.one_offs)
    code = decision.currency.code
    sheet.line("month of service", "mean demand", "most demand", *((*_OWNED, f"running {code}") if own else ()),
               *(("instances", f"rented {code}") if rent else ()), *(f"{code}, {one.label}" for one in apis),
               *(("bought in month", f"{code} paid", "sold in month", f"{code} back") * GENERATIONS if buys else ()),
               style="header")  # fmt: skip
    top, last, serving, servers = sheet.row + 1, sheet.row + decision.scenario.horizon_months, live(0), live(0)
    columns: dict[str, int] = {}
    first_purchase = 0
    for month in range(decision.scenario.horizon_months):
        row = _Row(sheet)
        row.put(month, "short")
        mean = row.put(_factor(growth, decision, (month + 0.5) / MONTHS_PER_YEAR))
        peak = row.put(most(*(_factor(growth, decision, (month + n) / MONTHS_PER_YEAR) for n in (0, 1))))
        if own is not None:
            serving, servers, new = _owned(row, decision, own, mean, peak, serving, servers)
            columns[own.key] = row.column - 1
        if rent is not None:
            columns[rent.key] = _rented(row, decision, rent, mean, peak)
        for one in apis:
            columns[one.key] = row.column
            row.put(one.bill.total * mean, "money")
        if own is not None and buys:
            first_purchase = row.column
            _tranche(row, decision, own, new, month, start, lead)
        sheet.row += 1
    sheet.row += 1

    def cells(column: int) -> str:
        return f"${column_letters(column)}${top}:${column_letters(column)}${last}"

    pairs = [first_purchase + 2 * n for n in range(2 * GENERATIONS)] if buys else []
    return ByMonth(
        running={key: cells(column) for key, column in columns.items()},
        bought=tuple((cells(column), cells(column + 1)) for column in pairs),
    )


def _factor(growth: Growth, decision: Decision, years: float) -> Live:
    """``Growth.factor_after`` as a formula."""
    day = decision.found.book.today.isoformat()

    def given(name: str, value: float, unit: str) -> Live:
        return decision.register.given(name, exact(value, unit, "published", "the scenario", day))

    span = given("growth_duration_years", growth.years, "years")
    part = least(most(live(years) / span, 0), 1)
    if growth.from_share is None:
        return (1 + given("growth_per_year", growth.yearly, "share a year")) ** (part * span)
    share = given("ramp_from_share", growth.from_share, "of full use")
    eased = part if growth.shape == "linear" else part * part * (3 - 2 * part)
    return share + (1 - share) * eased


def _serving(decision: Decision, one: LivePath, peak: Live) -> Live:
    """Replicas that the busiest hour of a month takes."""
    assert one.sized is not None
    shared = decision.shared
    rate = one.place.given("requests_per_second_each", one.sized.capacity.requests_per_second)
    held = decision.load.average * shared.peak * (1 + shared.headroom) * peak
    return most(1, rounded_up(held / rate, _ROUNDING))


def _width(one: LivePath) -> Live:
    assert one.sized is not None
    return one.place.given("gpus_per_replica", exact(one.sized.gpus, "GPUs", "datasheet", "the catalogue"))


def _owned(
    row: _Row, decision: Decision, one: LivePath, mean: Live, peak: Live, serving: Live, servers: Live
) -> tuple[Live, Live, Live]:
    """Serving replicas, servers, and those that are new: never fewer than the month before."""
    assert one.sized is not None and isinstance(one.drivers, OwnDrivers)
    d, width = one.drivers, _width(one)
    now = row.put(most(serving, _serving(decision, one, peak)), "short")
    each = live(d.gpus) / d.servers
    groups = rounded_up((now + decision.shared.spare) / most(1, whole(each / width)))
    had = servers
    wanted, offered = groups * one.sized.servers, decision.found.book.offered
    if offered is not None:  # taken whole from the first month on
        counted = exact(offered.servers, "servers", "datasheet", "the catalogue")
        wanted = most(wanted, one.place.given("servers_offered", counted))
    servers = row.put(least(d.servers, wanted), "short")
    new = row.put(servers - had, "short")
    curves = one.sized.replica.idle_stay_seconds
    stay = one.place.given("stay_seconds", exact(curves, "s", "calibrated", "predicted"))
    in_flight = decision.load.average * mean / now * stay
    busy = 1 - exp(-in_flight)
    busy_gpus = row.put(least(servers * each, now * width * busy))
    depth = row.put(least(1, ln(most(1, in_flight / most(busy, 1e-12))) / math.log(_FULL_BATCH)))
    changed: dict[str, Any] = {
        "servers": servers, "gpus": servers * each, "busy_gpus": busy_gpus, "busy_depth": depth,
    }  # fmt: skip
    row.put(_running(replace(d, **changed), decision), "money")
    return now, servers, new


def _rented(row: _Row, decision: Decision, one: LivePath, mean: Live, peak: Live) -> int:
    """Instances and dollars of a month; the column of the dollars."""
    assert one.sized is not None and one.rental is not None and isinstance(one.drivers, RentDrivers)
    d, offer = one.drivers, one.rental.contract.offer
    assumed = decision.found.book.assumed
    away = (
        decision.shared.place.given("spot_lost_share", assumed["spot_lost_share"]) if offer.is_interruptible else None
    )
    held = kept_up_live(_serving(decision, one, peak), away) + decision.shared.spare
    each = one.place.given("gpus_per_instance", exact(offer.gpus_per_instance, "GPUs", "datasheet", "the catalogue"))
    groups = rounded_up(held / most(1, whole(each / _width(one))))
    instances = row.put(groups * one.sized.servers, "short")
    changed: dict[str, Any] = {
        "instances": instances,
        "instance_hours": instances * (live(d.instance_hours) / d.instances),
        "output_tokens_per_month": live(d.output_tokens_per_month) * mean,
    }
    row.put(_running(replace(d, **changed), decision), "money")
    return row.column - 1


def _running(drivers: OwnDrivers | RentDrivers, decision: Decision) -> Live:
    """What a month pays beside purchases, with VAT."""
    total, vat = live(0), decision.shared.vat
    bought = isinstance(drivers, OwnDrivers)
    for line in lines_of(drivers):
        if (bought and line.name in NOT_CASH) or (decision.shared.marginal and line.sunk):
            continue
        usd = live(cast(Any, line.usd(drivers)))
        total = total + (usd * (1 + vat) if line.taxed else usd)
    return total


def _tranche(
    row: _Row, decision: Decision, one: LivePath, new: Live, month: int, start: Live, lead: Live
) -> None:  # fmt: skip
    """The month's new servers: bought, replaced when their time is over, and sold."""
    assert isinstance(one.drivers, OwnDrivers)
    d, horizon, vat = one.drivers, decision.shared.horizon, decision.shared.vat
    kept, end = live(d.depreciation_years) * MONTHS_PER_YEAR, start + horizon
    for generation in range(GENERATIONS):
        at = kept * generation + month
        months = most(0, least(horizon - at, kept))
        price = live(d.server_usd) * (1 - live(d.price_decline_per_year)) ** (at / MONTHS_PER_YEAR)
        beside = (1 + live(d.network_capex_share) + d.spare_parts_share) * (1 + vat)
        row.put(least(end, rounded_up(at)), "short")
        paid = row.put(either(months > 0, new * price * beside, 0), "money")
        row.put(least(end, rounded_up(at + months + lead)), "short")
        row.put(-(paid * live(residual_fraction(d.residual_after_36_months, cast(Any, months)))), "money")
