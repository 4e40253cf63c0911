"""What to order: each line with its quantity, its billing unit, and whether it is confirmed, an estimate or unknown."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from llmsizer.deliver.formulas.live import Live, live
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.facts.figure import Figure
from llmsizer.money.cost import Path
from llmsizer.money.currency import USD, format_usd, shown_in
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import LEASE, fte_owning, fte_renting
from llmsizer.money.prices import gpu_price, server_price
from llmsizer.money.renting import assumes_larger
from llmsizer.units import GIGA, KILO, MEGA

_COUNTED = ("of the servers' price", "full-time people")  # units whose number is what nobody knows exactly
ONE = live(1)
Status = Literal["confirmed", "estimate", "unknown"]
STATUSES: dict[Status, str] = {
    "confirmed": "a price list's or a measured figure, less than 90 days old",
    "estimate": "a range, an assumption, or an old price: ask for a quote",
    "unknown": "not in the catalogue: ask the vendor or the site",
}


def headers(code: str = USD) -> tuple[str, ...]:
    """Of the columns, for amounts in this currency."""
    money = (f"{code} each", code, f"{code}, low", f"{code}, high")
    return ("path", "item", "quantity", "unit", "billed by", *money, "status", "source", "as of", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class BomLine:
    """One line; ``each`` and ``quantity`` are None where nobody knows them.

    ``each`` is in the decision's currency, of which one unit costs ``rate`` dollars; ``price`` is as it was quoted.
    """

    path: str
    item: str
    quantity: Live | None
    unit: str
    billed_by: str
    each: Live | None
    price: Figure | None  # of one, or of the quantity where that is what varies
    note: str = ""
    varies: Literal["price", "quantity"] = "price"
    rate: Live = ONE

    @property
    def status(self) -> Status:
        if self.each is None or self.quantity is None or math.isnan(self.each.value):
            return "unknown"
        sure = self.price is not None and self.price.basis in ("measured", "price list") and not self.price.stale
        point = self.price is not None and self.price.low in (None, self.price.high)
        return "confirmed" if sure and point else "estimate"

    @property
    def usd(self) -> Live | None:
        return None if self.each is None or self.quantity is None else self.quantity * self.each

    @property
    def usd_low(self) -> Live | None:
        return self._end(None if self.price is None else self.price.low)

    @property
    def usd_high(self) -> Live | None:
        return self._end(None if self.price is None else self.price.high)

    def _end(self, end: float | None) -> Live | None:
        """The line with its price, or its quantity, at that end; its own amount where there is no range."""
        if end is None:
            return self.usd
        if self.varies == "quantity":
            return self.usd if self.each is None else self.each * end
        return self.usd if self.quantity is None else self.quantity * (live(end) / self.rate)


def bill_of_materials(decision: Decision) -> tuple[BomLine, ...]:
    """The lines of owning, then of renting, then of the API: whichever there are."""
    with shown_in(decision.currency):
        lines = _lines(decision)
    return tuple(replace(line, rate=decision.register.rate) for line in lines)


def _lines(decision: Decision) -> list[BomLine]:
    lines: list[BomLine] = []
    path: Path
    for path in ("own", "rent", "api"):
        found = decision.path(path)
        if found is not None and isinstance(found.drivers, OwnDrivers):
            lines += _owned(decision, found, found.drivers)
        elif found is not None and isinstance(found.drivers, RentDrivers):
            lines += _rented(decision, found, found.drivers)
        elif found is not None and isinstance(found.drivers, ApiDrivers):
            lines += _paid(found)
    return lines


def _line(
    path: Path, item: str, quantity: object, unit: str, by: str, usd: object, price: Figure | None, note: str
) -> BomLine:
    varies: Literal["price", "quantity"] = "quantity" if unit in _COUNTED else "price"
    return BomLine(path=path, item=item, quantity=live(quantity), unit=unit, billed_by=by, each=live(usd), price=price,
                   note=note, varies=varies)  # fmt: skip


def _lease_of_one(path: LivePath, d: OwnDrivers) -> tuple[Live, Figure]:
    """Dollars a month for one server, and their range; also where the lens takes the lease as paid."""
    usd = path.bill.lines["lease"] if "lease" in path.bill.lines else live(LEASE[0].usd(d))
    parts = (*path.cost.parts, *path.cost.left_out_as_sunk)
    whole = next(part.usd_per_month for part in parts if part.name == "lease")
    return usd / d.servers, whole.scaled(1 / live(d.servers).value, "USD/server/month")


def _owned(decision: Decision, path: LivePath, d: OwnDrivers) -> Iterator[BomLine]:
    assert path.sized is not None
    gpu, assumed = path.sized.deployment.gpu, decision.found.book.assumed
    each = round(live(d.gpus).value / live(d.servers).value)
    price = server_price(decision.found.book, gpu, each)
    card = gpu_price(decision.found.book, gpu)

    line = partial(_line, "own")
    inside = f"with {each}× {gpu.name}" + (f", about {format_usd(card.value)} each" if card.value else "")
    worth = d.servers * d.server_usd
    if d.is_leased:
        usd, figure = _lease_of_one(path, d)
        yield line(
            "server with its network and spare parts", d.servers, "servers", "server and month", usd, figure, inside
        )
    else:
        yield line("server", d.servers, "servers", "once", d.server_usd, price, inside)
        yield line("network: switches, optics, cables", d.network_capex_share, "of the servers' price", "once", worth,
                   assumed["network_capex_share"], "a share, not a design")  # fmt: skip
        yield line("spare parts on the shelf", d.spare_parts_share, "of the servers' price", "once", worth,
                   assumed["spare_parts_share"], "")  # fmt: skip
    yield line("maintenance contract", d.maintenance_per_year, "of the servers' price", "year", worth,
               assumed["maintenance_per_year"], "")  # fmt: skip
    yield line("software licences", d.gpus, "GPUs", "GPU and year", d.software_usd_per_gpu_year,
               assumed["software_usd_per_gpu_year"], "0: open engines ask no fee")  # fmt: skip
    reserved = (d.gpu_watts * d.gpus + d.servers * d.host_watts) * (1 + d.network_power_share) / KILO
    yield line("rack space and cooling", reserved, "kW reserved", "kW and month", d.colocation_usd_per_kw_month,
               assumed["colocation_usd_per_kw_month"], "see power and rack")  # fmt: skip
    yield line("disks and backup", d.servers, "servers", "server and month", d.storage_usd_per_unit_month,
               assumed["storage_usd_per_unit_month"], "")  # fmt: skip
    yield line("people", live(fte_owning(d)), "full-time people", "year", d.fte_usd_per_year,
               assumed["people_fte_own"], "")  # fmt: skip
    for item, why in (
        ("part numbers and configuration of the servers", "ask the maker: processors, memory, disks, network cards"),
        ("power distribution, feeds, plugs", "ask the site"),
        ("delivery, installation, duties", "in the quote"),
        ("support level and response time", "in the quote"),
    ):
        yield BomLine(path="own", item=item, quantity=None, unit="", billed_by="", each=None, price=None, note=why)


def _rented(decision: Decision, path: LivePath, d: RentDrivers) -> Iterator[BomLine]:
    assert path.rental is not None
    assumed, offer = decision.found.book.assumed, path.rental.contract.offer
    hour = next(part.usd_per_month for part in path.cost.parts if part.name == "instances")
    where = f"{offer.provider}, {offer.zone}{f', {offer.region}' if offer.region else ''}, {path.rental.contract.term}"

    line = partial(_line, "rent")
    each = hour.scaled(1 / live(d.instance_hours).value, "USD/h")
    name, note = _instance(path, where)
    yield line(name, d.instance_hours, "instance-hours a month", "hour", d.usd_per_instance_hour, each, note)
    yield line("disks", d.instances, "instances", "instance and month", d.storage_usd_per_unit_month,
               assumed["storage_usd_per_unit_month"], "")  # fmt: skip
    gigabytes = d.output_tokens_per_month * d.egress_bytes_per_token / GIGA
    yield line("egress", gigabytes, "GB a month", "GB", d.egress_usd_per_gb, assumed["egress_usd_per_gb"], "")
    yield line("people", live(fte_renting(d)), "full-time people", "year", d.fte_usd_per_year,
               assumed["people_fte_rent"], "")  # fmt: skip
    why = "ask the provider: none is in the price list"
    for item in ("quota and availability in that zone", "support contract", "committed-use discount"):
        yield BomLine(path="rent", item=item, quantity=None, unit="", billed_by="", each=None, price=None, note=why)


def _instance(path: LivePath, where: str) -> tuple[str, str]:
    """What is rented, and a note; an instance of that size is assumed where the price list has smaller ones alone."""
    assert path.rental is not None and path.sized is not None
    offer, needed = path.rental.contract.offer, path.sized.gpus_per_server
    listed = f"{offer.instance} (×{offer.gpus_per_instance})" if offer.instance else f"×{offer.gpus_per_instance}"
    if not assumes_larger(offer, needed):
        return f"instance {offer.gpu_as_listed} {listed}", where
    note = f"the price list has {listed} alone: one with {needed} GPUs is assumed at that price for each; ask for it"
    return f"instance with {needed}× {offer.gpu_as_listed}, assumed", f"{where}; {note}"


def _paid(path: LivePath) -> Iterator[BomLine]:
    tokens = path.cost.input_tokens_per_month + path.cost.output_tokens_per_month
    each = path.cost.usd_per_million_tokens
    usd = path.bill.total / (live(tokens) / MEGA)
    yield BomLine(path="api", item=f"tokens of {path.label}", quantity=live(tokens / MEGA), unit="M tokens a month",
                  billed_by="M tokens, as billed on average", each=usd, price=each)  # fmt: skip
    why = "ask the provider"
    for item in ("rate limits for the peak hour", "where data is processed and kept", "contract and support"):
        yield BomLine(path="api", item=item, quantity=None, unit="", billed_by="", each=None, price=None, note=why)


def bom_csv(lines: tuple[BomLine, ...], code: str = USD) -> str:
    """The lines as CSV; words that a spreadsheet would run as a formula begin with an apostrophe."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(headers(code))
    for line in lines:
        price = line.price
        cells: tuple[str | Live | None, ...] = (
            line.path, line.item, line.quantity, line.unit, line.billed_by, line.each, line.usd, line.usd_low,
            line.usd_high, line.status, price.source if price else "", price.as_of if price else "", line.note,
        )  # fmt: skip
        writer.writerow([harmless(cell) if isinstance(cell, str) else _number(cell) for cell in cells])
    return text.getvalue()


def _number(cell: Live | None) -> str:
    return "" if cell is None or math.isnan(cell.value) else f"{cell.value:.12g}"


def harmless(words: str) -> str:
    """Words that no spreadsheet takes for a formula, on one line and without control characters."""
    flat = "".join(c if c >= " " else " " for c in words).replace("\x7f", " ")
    return f"'{flat}" if flat.lstrip()[:1] in ("=", "+", "-", "@", "|", "%") else flat
