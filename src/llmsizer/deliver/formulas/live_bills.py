"""A decision's fleets and bills as formulas: from the load to machines, from machines to every line of the bill."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.bills import Rental
from llmsizer.decide.pricing.study import Study
from llmsizer.deliver.formulas.live import Live, exp, least, live, ln, most, rounded_up, whole
from llmsizer.deliver.formulas.live_weeks import Packed, billed_share_live, kept_up_live
from llmsizer.deliver.formulas.places import Inputs, Place
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.facts.offer import ApiOffer
from llmsizer.money.api import api_drivers
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import Line, lines_of
from llmsizer.money.owning import Activity, own_drivers
from llmsizer.money.prices import gpu_price, is_whole_board, is_whole_machine, server_price
from llmsizer.money.renting import gpu_hour_price, rent_drivers
from llmsizer.traffic.hours.elastic import Packing
from llmsizer.traffic.hours.week import START_UP
from llmsizer.units import HOURS_PER_MONTH, SECONDS_PER_HOUR, SECONDS_PER_MONTH

_FULL_BATCH = 256.0  # at which the power curve ends, as in decide.bills
_MOST_REQUESTS_PER_SECOND = 1e6
_ROUNDING = 1e-9  # a demand that is a whole multiple up to this does not need one more replica
Drivers = OwnDrivers | RentDrivers | ApiDrivers


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Tokens of a month by kind, and requests a second on average and as the fleet has to hold them."""

    tokens: Live
    input_tokens: Live
    output_tokens: Live  # reasoning included
    reasoning_tokens: Live
    average: Live
    held: Live


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """Lines of a month's bill by name, VAT last, and their total."""

    lines: dict[str, Live]
    total: Live


class Shared:
    """The inputs that all paths have in common, by name."""

    def __init__(self, found: Study, place: Inputs) -> None:
        self.found = found
        self.place = place  # whose names carry no prefix
        workload, book = found.question.workload, found.book
        scenario = found.question.scenario

        def chosen(name: str, value: float, unit: str) -> Live:
            return place.given(name, exact(value, unit, "published", "the scenario", book.today.isoformat()))

        self.tokens = chosen(
            "tokens_per_month", workload.input_tokens_per_month + workload.output_tokens_per_month, "tokens/month"
        )
        self.prompt = chosen("prompt_tokens", workload.prompt_tokens, "tokens/request")
        self.answer = chosen("answer_tokens", workload.generated_tokens, "tokens/request, reasoning included")
        self.reasoning = chosen("reasoning_tokens", workload.reasoning_tokens, "tokens/request")
        self.cached = chosen("cached_prompt_fraction", workload.cached_prompt_fraction, "of prompt tokens")
        self.peak = chosen("peak_to_average", workload.peak_to_average, "busiest hour over average hour")
        self.grown = chosen("growth_factor", workload.growth.largest_factor if workload.growth else 1.0, "ratio")
        self.headroom = chosen("headroom", workload.headroom, "above the peak hour")
        self.spare = chosen("spare_replicas", scenario.spare_replicas, "replicas")
        self.horizon = chosen("horizon_months", scenario.horizon_months, "months")
        self.vat = chosen("vat_rate", book.options.vat_rate, "of what is taxed")
        self.batch_share = chosen("batch_share", book.options.batch_share, "of API requests")
        self.discount = chosen("api_discount", book.options.api_discount, "off the API bill")

    @property
    def marginal(self) -> bool:
        return self.found.book.options.lens == "marginal"

    def driver(self, name: str, figure: Figure, own: Place) -> Live:
        """A driver by its own name where all paths have the same, else below the path's."""
        book = self.found.book
        same = figure is book.assumed.get(name) or (name == "usd_per_kwh" and figure is book.usd_per_kwh)
        return self.place.given(name, figure) if same else own.given(name, figure)

    def load(self, tokens: Live, *, with_growth: bool) -> Load:
        """The load of a month of so many tokens."""
        per_request = self.prompt + self.answer
        requests = least(_MOST_REQUESTS_PER_SECOND, tokens / per_request / SECONDS_PER_MONTH)
        held = requests * self.peak * (1 + self.headroom)
        return Load(
            tokens=tokens,
            input_tokens=tokens * self.prompt / per_request,
            output_tokens=tokens * self.answer / per_request,
            reasoning_tokens=tokens * self.reasoning / per_request,
            average=requests,
            held=held * self.grown if with_growth else held,
        )


def placed(load: Load, place: Place) -> Load:
    """The same load with its parts in cells of their own."""
    units = {"average": "requests/s", "held": "requests/s, peak hour with growth and headroom"}
    cells = {
        f.name: place.put(f.name, units.get(f.name, "tokens/month"), getattr(load, f.name))
        for f in fields(load)
        if f.name != "tokens"
    }
    return replace(load, **cells)


def _counted(value: float, unit: str) -> Figure:
    return exact(value, unit, "datasheet", "the catalogue")


def _replicas(sized: Sized, load: Load, shared: Shared, place: Place) -> tuple[Live, Live, Live]:
    """GPUs a replica takes, replicas that serve, and all of them."""
    rate = place.given("requests_per_second_each", sized.capacity.requests_per_second)
    width = place.given("gpus_per_replica", _counted(sized.gpus, "GPUs"))
    serving = place.put("serving_replicas", "replicas", most(1, rounded_up(load.held / rate, _ROUNDING)))
    return width, serving, place.put("replicas", "replicas, spares included", serving + shared.spare)


def own_live(sized: Sized, load: Load, shared: Shared, place: Place) -> OwnDrivers:
    """Servers of one's own for a load, and everything their bill depends on."""
    gpu, book = sized.deployment.gpu, shared.found.book
    width, serving, replicas = _replicas(sized, load, shared, place)
    offered = book.offered
    node = gpu.max_per_node if offered is None else offered.gpus_per_server
    most_each = place.given("gpus_per_server_at_most", _counted(node, "GPUs"))
    if offered is not None:
        least_servers = place.given("servers_offered", _counted(offered.servers, "servers"))
        servers = place.put("servers", "servers", most(least_servers, rounded_up(replicas / whole(most_each / width))))
        each = most_each
    elif sized.servers > 1:
        span = place.given("servers_per_replica", _counted(sized.servers, "servers"))
        servers = place.put("servers", "servers", replicas * span)
        each = most_each if is_whole_board(gpu) else width / span
    else:
        servers = place.put("servers", "servers", rounded_up(replicas / whole(most_each / width)))
        each = most_each if is_whole_board(gpu) else width * rounded_up(replicas / servers)
    each = place.put("gpus_per_server", "GPUs", each)
    gpus = place.put("gpus", "GPUs, all servers", servers * each)
    server_usd = _server_usd(sized, each, shared, place)
    stay = place.given("stay_seconds", _stay(sized))
    in_flight = place.put("in_flight", "requests on a serving replica", load.average / serving * stay)
    busy = place.put("busy_share", "of the time", 1 - exp(-in_flight))
    depth = least(1, ln(most(1, in_flight / most(busy, 1e-12))) / math.log(_FULL_BATCH))
    depth = place.put("busy_depth", "ln(batch) / ln(256)", depth)
    busy_gpus = place.put("busy_gpus", "GPUs at work on average", least(gpus, serving * width * busy))
    months = shared.found.question.scenario.horizon_months
    priced = unknown("computed in a cell", "USD/server")
    plain, figures = own_drivers(gpu, priced, months, Activity(busy_gpus=0.0), book, servers=1.0, gpus=1.0)
    used = _used(plain, shared) - {"server_usd"}
    given = {name: shared.driver(name, figure, place) for name, figure in figures.items() if name in used}
    changes: dict[str, Any] = {
        **given, "servers": servers, "gpus": gpus, "busy_gpus": busy_gpus, "busy_depth": depth,
        "server_usd": server_usd, "horizon_months": shared.horizon, "vat_rate": shared.vat,
    }  # fmt: skip
    return replace(plain, **changes)


def _stay(sized: Sized) -> Figure:
    """Seconds that a request stays in an idle replica, as decide.bills takes it."""
    curves = sized.replica.mid
    seconds = (sized.replica.output_tokens - 1) * float(curves.decode_seconds[0]) + curves.prefill_seconds
    return exact(seconds, "s", "calibrated", "predicted: prefill and every decode step of a request alone")


def _server_usd(sized: Sized, each: Live, shared: Shared, place: Place) -> Live:
    """A price of the whole server where one is known, else from the GPUs in it and the rest's share."""
    gpu, book = sized.deployment.gpu, shared.found.book
    asked = server_price(book, gpu, int(each.value))
    single = gpu_price(book, gpu)
    if single.value is None:
        return place.given("server_usd", asked)
    if is_whole_machine(gpu):
        return place.put("server_usd", "USD/server", place.given("gpu_usd", single) * each)
    share, base = book.assumed["non_gpu_server_share"], book.assumed["server_base_usd"]
    boards = single.value * each.value
    rest = max(base.value or 0.0, boards * (share.value or 0.0) / (1 - (share.value or 0.0)))
    if asked.value is None or abs(boards + rest - asked.value) > 0.005:
        return place.given("server_usd", asked)
    cards = place.given("gpu_usd", single) * each
    part = shared.place.given("non_gpu_server_share", share)
    least_usd = shared.place.given("server_base_usd", base)
    return place.put("server_usd", "USD/server", cards + most(least_usd, cards * part / (1 - part)))


def rent_live(sized: Sized, rental: Rental, load: Load, shared: Shared, place: Place) -> RentDrivers:
    """Rented instances for a load, the hours of the week they are billed, and everything their bill depends on."""
    book, offer, following = shared.found.book, rental.contract.offer, rental.following
    width, serving, _ = _replicas(sized, load, shared, place)
    away = shared.place.given("spot_lost_share", book.assumed["spot_lost_share"]) if offer.is_interruptible else None
    rented = kept_up_live(serving, away) + shared.spare
    rented = place.put("replicas_rented", "replicas", rented) if away is not None else rented
    in_instance = place.given("gpus_per_instance", _counted(offer.gpus_per_instance, "GPUs"))
    per_unit = place.put("replicas_per_instance", "replicas", most(1, whole(in_instance / width)))
    groups, part = rounded_up(rented / per_unit), width
    if sized.servers > 1:
        groups = place.put("groups", "groups of instances, one a replica", groups)
        span = place.given("servers_per_replica", _counted(sized.servers, "instances"))
        instances, part = place.put("instances", "instances", groups * span), width / span
    else:
        groups = instances = place.put("instances", "instances", groups)
    hours, tokens = instances * HOURS_PER_MONTH, load.output_tokens
    if not following.is_always_on:
        share = _billed_share(sized, rental, load, shared, place, per_unit, groups, away)
        hours = hours * place.put("billed_share", "of the hours of a month", share)
    if following.served_share < 1:
        served = exact(following.served_share, "of requests", "published", "the scenario's hours and window")
        tokens = tokens * place.given("served_share", served)
    hour = place.given("usd_per_gpu_hour", gpu_hour_price(rental.contract, book))
    hourly = place.put("usd_per_instance_hour", "USD/h", hour * most(in_instance, part))
    plain, figures = rent_drivers(book, instances=1.0, usd_per_instance_hour=1.0, output_tokens_per_month=1.0)
    used = _used(plain, shared)
    changes: dict[str, Any] = {n: shared.driver(n, figure, place) for n, figure in figures.items() if n in used}
    changes |= {
        "instances": instances,
        "instance_hours": hours,
        "usd_per_instance_hour": hourly,
        "output_tokens_per_month": tokens,
        "vat_rate": shared.vat,
    }
    return replace(plain, **changes)


def _billed_share(
    sized: Sized,
    rental: Rental,
    load: Load,
    shared: Shared,
    place: Place,
    per_unit: Live,
    instances: Live,
    away: Live | None,
) -> Live:
    """Of the hours of a month, those that instances which follow the week are billed."""
    assumed, sleep = shared.found.book.assumed, rental.following.sleep
    boot, pace, engine = (shared.place.given(name, assumed[name]) for name in START_UP)
    weights = place.given("replica_weight_bytes", _counted(sized.fit.weights_bytes * sized.gpus, "bytes"))
    start = place.put("start_seconds", "s", boot + weights / pace + engine)
    rate = place.given("requests_per_second_each", sized.capacity.requests_per_second)
    packed = Packed(
        needed=place.put("replicas_needed", "replicas in the peak hour, before rounding up", load.held / rate),
        average=load.average,
        spare=shared.spare,
        per_unit=per_unit,
        instances=instances,
        start_share=place.put("start_share", "of an hour", least(1, start / SECONDS_PER_HOUR)),
        lost=away,
        start_seconds=start if sleep else None,
        hold_seconds=place.given("hold_seconds", _held(sleep.hold_seconds, "s")) if sleep else None,
        turns=place.given("turns", _held(sleep.turns, "of a conversation")) if sleep else None,
    )
    packing = Packing(
        spare=int(shared.spare.value),
        per_unit=int(per_unit.value),
        lost_share=0.0 if away is None else away.value,
    )
    return billed_share_live(rental.following, packed, packing)


def _held(value: float, unit: str) -> Figure:
    return exact(value, unit, "published", "the scenario: how long a conversation keeps a service up")


def api_live(offer: ApiOffer, load: Load, shared: Shared, place: Place) -> ApiDrivers:
    """An API's prices, and everything its bill depends on."""
    plain, figures = api_drivers(offer, shared.found.question.workload, shared.found.book)
    # A price that is missing is an input to fill in only where the bill lacks it.
    wanted = {name: figure for name, figure in figures.items() if figure.value is not None or _asks(plain, name)}
    changes: dict[str, Any] = {name: shared.driver(name, figure, place) for name, figure in wanted.items()}
    if plain.long_share:
        share = exact(float(plain.long_share), "of prompt tokens", "published", "the scenario's lengths")
        changes["long_share"] = place.given("long_share", share)
    changes |= {
        "input_tokens_per_month": load.input_tokens,
        "cached_fraction": shared.cached,
        "output_tokens_per_month": load.output_tokens - load.reasoning_tokens,
        "reasoning_tokens_per_month": load.reasoning_tokens,
        "batch_share": shared.batch_share,
        "discount": shared.discount,
        "vat_rate": shared.vat,
    }
    return replace(plain, **changes)


def _asks(drivers: ApiDrivers, name: str) -> bool:
    if name.startswith("long_"):
        return bool(drivers.long_share)
    if name.startswith("batch_"):
        return bool(drivers.batch_share)
    return name in ("input_usd_per_mtok", "output_usd_per_mtok")


def bill_live(drivers: Drivers, shared: Shared, place: Place) -> Bill:
    """Every line in a cell; retries and VAT from the cells before them."""
    found: dict[str, Live] = {}
    taxed: list[Live] = []
    for line in _shown(drivers, marginal=shared.marginal):
        if isinstance(drivers, ApiDrivers) and line.name == "retries":
            usd: object = _sum(list(found.values())) * drivers.retry_share  # all lines before it once more, by share
        else:
            usd = line.usd(drivers)
        found[line.name] = place.put(line.name.replace(" ", "_") + "_usd", "USD/month", live(usd))
        taxed += [found[line.name]] if line.taxed else []
    found["VAT"] = place.put("vat_usd", "USD/month", _sum(taxed) * shared.vat)
    return Bill(lines=found, total=place.put("total_usd", "USD/month", _sum(list(found.values()))))


def _used(drivers: Drivers, shared: Shared) -> set[str]:
    """The drivers of the lines that are shown: others are no assumption of this workbook."""
    return {name for line in _shown(drivers, marginal=shared.marginal) for name in line.uses}


def _shown(drivers: Drivers, *, marginal: bool) -> Sequence[Line]:
    return [line for line in lines_of(drivers) if not (marginal and line.sunk)]


def _sum(numbers: Sequence[Live]) -> Live:
    total = live(0)
    for number in numbers:
        total = total + number
    return total
