"""What the building has to give: power by server and fleet, heat, racks; as formulas."""

from __future__ import annotations

from dataclasses import dataclass

from llmsizer.deliver.formulas.live import Live, least, live, most, rounded_up, whole
from llmsizer.deliver.formulas.places import Under
from llmsizer.deliver.papers.decision import Decision
from llmsizer.money.drivers import OwnDrivers
from llmsizer.money.formulas import it_watts
from llmsizer.units import HOURS_PER_MONTH, KILO

BTU_PER_HOUR_PER_WATT = 3.412
UNKNOWN_OF_THE_SITE = (
    ("feeds (A and B), breakers, plugs", "ask the site: the catalogue holds no power supplies of servers"),
    ("weight a rack, floor load", "ask the server's maker: not in the catalogue"),
    ("liquid cooling, inlet temperature", "ask the server's maker: not in the catalogue"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLine:
    """One number of the power and rack sheet, with what it means."""

    what: str
    unit: str
    number: Live
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerSheet:
    """All of them, and the place whose names they have."""

    lines: tuple[PowerLine, ...]
    place: Under

    def value(self, key: str) -> float:
        return next(number.value for name, _, _, number in self.place.results if name == key)


def power_sheet(decision: Decision) -> PowerSheet | None:
    """Of the fleet that is owned; None where nothing is."""
    own = decision.path("own")
    if own is None:
        return None
    d = own.drivers
    assert isinstance(d, OwnDrivers), "what is owned has an owner's drivers"
    assumed, given = decision.found.book.assumed, decision.register.given
    rack_kw, rack_units = given("rack_kw", assumed["rack_kw"]), given("rack_units", assumed["rack_units"])
    server_units = given("server_rack_units", assumed["server_rack_units"])
    place = Under("power", decision.register)
    lines: list[PowerLine] = []

    def line(key: str, what: str, unit: str, number: object, note: str = "") -> Live:
        cell = place.put(key, unit, live(number))
        lines.append(PowerLine(what=what, unit=unit, number=cell, note=note))
        return cell

    full = (d.gpu_watts * (d.gpus / d.servers) + d.host_watts) / KILO
    each = line("server_kw", "one server at full load", "kW", full, "GPUs at their TDP, and the rest")
    all_of_it = (d.gpu_watts * d.gpus + d.servers * d.host_watts) * (1 + d.network_power_share) / KILO
    reserved = line("reserved_kw", "all servers and switches at full load", "kW", all_of_it, "to reserve")
    mean = line("mean_kw", "mean draw under this load", "kW", it_watts(d) / KILO, "GPUs by load, spare ones idle")
    line("facility_kw", "mean draw with cooling", "kW", mean * d.pue, "times PUE")
    line("kwh_month", "energy of a month, cooling included", "kWh", mean * d.pue * HOURS_PER_MONTH)
    line("btu_hour", "heat to remove at full load", "BTU/h", reserved * KILO * BTU_PER_HOUR_PER_WATT)
    fit = least(whole(rack_kw / each), whole(rack_units / server_units))
    fit = line("servers_by_rack", "servers in a rack", "servers", fit, "by power and by height; 0: none fits")
    line("racks", "racks", "racks", rounded_up(d.servers / most(1, fit)), "one server a rack where none fits by power")
    line("rack_share", "one server's share of a rack's power", "ratio", each / rack_kw, "above 1: too much for it")
    return PowerSheet(lines=tuple(lines), place=place)
