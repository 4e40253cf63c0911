"""Each path's bill as a function of everything that is not known exactly: named drivers in, dollars a month out.

One function serves the draws, the tornado and the flip points. Demand and step times change how many replicas there
are, in whole steps, and with them whole servers and instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.comparison.curves import tokens_of
from llmsizer.decide.pricing.apis import ApiChoice
from llmsizer.decide.pricing.bills import Demand, Rental, activity, replica_counts, total_usd
from llmsizer.decide.pricing.study import Study
from llmsizer.facts.figure import Figure
from llmsizer.facts.workload import Growth, Slo, Workload
from llmsizer.money.api import api_drivers
from llmsizer.money.cost import USD_PER_MTOK, Path
from llmsizer.money.draws import Z95, Driver, Vector
from llmsizer.money.owning import Activity, own_drivers
from llmsizer.money.prices import server_price
from llmsizer.money.ranges import mid
from llmsizer.money.renting import gpu_hour_price, rent_drivers
from llmsizer.traffic.closed_form.meanfield import Curves, Replica
from llmsizer.traffic.closed_form.sizing import rates_within
from llmsizer.traffic.hours.elastic import Packing
from llmsizer.units import MEGA, SECONDS_PER_MONTH

Values = Mapping[str, Vector]
DEMAND, GROWTH, RENTAL, API, SERVER = (
    "demand_of_forecast", "growth_of_forecast", "rental_price_of_list", "api_price_of_list", "server_usd",
)  # fmt: skip
_MARKET, _STEPS = "market", "step times"
_SCORES = (-3.5, -2.5, -Z95, -1.0, -0.5, 0.0, 0.5, 1.0, Z95, 2.5, 3.5)  # at which a replica's rate is computed
_PASSES, _HALVINGS = 4, 3  # of the search for the longest step times that hold the SLO


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """How a driver is spoken of: in words, in a unit, and what one of the driver's own units is in it."""

    words: str
    unit: str
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UncertainPath:
    """A path with its drivers. ``usd`` and ``serves`` take values of any of them; the others stay at their middle."""

    path: Path
    label: str
    drivers: tuple[Driver, ...]
    said: Mapping[str, Said]
    bill: Callable[[Values], Vector]
    meets: Callable[[Values], NDArray[np.bool_]]
    why_not: str = ""  # why it may not be taken; empty where it may

    def usd(self, values: Values) -> Vector:
        """Dollars a month."""
        return self.bill(self._filled(values))

    def serves(self, values: Values) -> NDArray[np.bool_]:
        """Whether it meets the SLO; an API's latency is not listed and is taken to."""
        return self.meets(self._filled(values))

    def _filled(self, values: Values) -> Values:
        return {driver.name: values.get(driver.name, np.array([driver.mid])) for driver in self.drivers}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The rate one replica holds within the SLO, by a factor on its step times."""

    driver: Driver
    factors: Vector  # rising
    rates: Vector  # requests a second, all above 0
    middle: float
    limit: float  # the longest step times with which the SLO is met

    def rate(self, factor: Vector) -> Vector:
        """Where the SLO is missed no number of replicas helps: the fleet then is what was planned."""
        held = np.interp(np.log(factor), np.log(self.factors), self.rates)
        return np.where(self.serves(factor), held, self.middle)

    def serves(self, factor: Vector) -> NDArray[np.bool_]:
        return factor <= self.limit


def pace_of(sized: Sized, slo: Slo, correlation: float) -> Pace:
    """Rates over the calibrated interval of the step times; decode and prefill are slow together."""
    replica = sized.replica
    ends = [(c.decode_seconds[0] / replica.mid.decode_seconds[0], c.prefill_seconds / replica.mid.prefill_seconds)
            for c in (replica.fast, replica.slow)]  # fmt: skip
    (fast_decode, fast_prefill), (slow_decode, slow_prefill) = ends
    by_decode = fast_decode != slow_decode
    low, high = (fast_decode, slow_decode) if by_decode else (fast_prefill, slow_prefill)
    driver = Driver(
        name=f"step times of {sized.deployment.label}",
        low=min(1.0, float(low)),
        mid=1.0,
        high=max(1.0, float(high)),
        shape="interval",
        group=_STEPS,
        correlation=correlation,
    )
    if driver.is_certain:
        one = np.ones(1)
        return Pace(driver=driver, factors=one, rates=one * sized.held.rate, middle=sized.held.rate, limit=np.inf)

    def rates_at(scores: Sequence[float]) -> list[float]:
        return rates_within(replica, [_at_score(replica, score) for score in scores], slo)

    rates: dict[float, float] = {}
    always = True
    for before, score, rate in zip((_SCORES[0], *_SCORES), _SCORES, rates_at(_SCORES), strict=False):
        rates[score] = sized.held.rate if score == 0 else rate
        if rates[score] <= 0:
            rates |= _up_to_the_last_that_holds(rates_at, before, score)
            always = False
            break
    held = sorted(score for score in rates if rates[score] > 0)
    factors = driver.at(np.array(held))
    return Pace(
        driver=driver,
        factors=factors,
        rates=np.minimum.accumulate(np.array([rates[score] for score in held])),
        middle=sized.held.rate,
        limit=np.inf if always else float(factors[-1]),
    )


def _up_to_the_last_that_holds(
    rates_at: Callable[[Sequence[float]], list[float]], low: float, high: float
) -> dict[float, float]:
    """Rates at the scores that a bisection for the last that holds comes by."""
    seen: dict[float, float] = {}
    for _ in range(_PASSES):
        every = _middles(low, high, _HALVINGS)
        rates = dict(zip(every, rates_at(every), strict=True))
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            seen[middle] = rates[middle]
            low, high = (middle, high) if seen[middle] > 0 else (low, middle)
    return seen


def _middles(low: float, high: float, halvings: int) -> list[float]:
    """All that so many halvings can come by: as quick to compute at once as one of them is."""
    if not halvings:
        return []
    middle = (low + high) / 2
    return [middle, *_middles(low, middle, halvings - 1), *_middles(middle, high, halvings - 1)]


def _at_score(replica: Replica, score: float) -> Curves:
    """Step times at a standard normal score of their interval, whose ends are the 5th and 95th percentile."""
    middle, end = replica.mid, replica.slow if score > 0 else replica.fast
    share = abs(score) / Z95
    decode = (end.decode_seconds[0] / middle.decode_seconds[0]) ** share
    prefill = (end.prefill_seconds / middle.prefill_seconds) ** share
    return middle.scaled(decode, prefill)


@dataclass(frozen=True, kw_only=True)
class Load:
    """Average and sizing load by the drivers of demand."""

    demand: Demand
    growth: Growth | None
    drivers: tuple[Driver, ...]

    def at(self, values: Values) -> Demand:
        factor = values[DEMAND]
        held = self.demand.held * factor
        if self.growth is not None:
            grown = np.maximum(1.0, np.maximum(1 + self.growth.yearly * values[GROWTH], 1e-9) ** self.growth.years)
            held = held * grown / self.growth.largest_factor
        return Demand(average=self.demand.average * factor, held=held)


def load_of(workload: Workload, assumed: Mapping[str, Figure]) -> Load:
    """The scenario's load, and how far off it may be."""
    drivers = [_ranged(DEMAND, assumed[DEMAND])]
    # A ramp ends at the volume that is written, whose doubt is the demand's.
    growth = None if workload.growth is None or workload.growth.is_ramp else workload.growth
    if growth is not None:
        drivers.append(_ranged(GROWTH, assumed[GROWTH]))
    return Load(demand=Demand.of(workload), growth=growth, drivers=tuple(drivers))


def _ranged(name: str, figure: Figure, *, group: str = "", correlation: float = 0.0) -> Driver:
    value = mid(figure)
    low = value if figure.low is None else figure.low
    high = value if figure.high is None else figure.high
    return Driver(name=name, low=min(low, value), mid=value, high=max(high, value), group=group,
                  correlation=correlation)  # fmt: skip


def _known(figures: Mapping[str, Figure]) -> Iterator[tuple[str, Figure]]:
    return ((name, figure) for name, figure in figures.items() if figure.value is not None)


def own_path(found: Study, sized: Sized, units: int, label: str) -> UncertainPath:
    """A fleet of one's own: the same GPUs and format, as many servers as each draw takes."""
    book, bills, scenario = found.book, found.pricer.bills, found.question.scenario
    gpu, load, pace = sized.deployment.gpu, load_of(found.question.workload, book.assumed), _pace(found, sized)
    replicas = np.array([float(found.pricer.count(sized, found.question.workload))])
    _, each = bills.servers_of([sized], replicas)
    price = server_price(book, gpu, int(each[0, 0]))
    record, figures = own_drivers(
        gpu, price, scenario.horizon_months, Activity(busy_gpus=1.0), book, servers=float(units), gpus=1.0
    )
    market = mid(book.assumed["market_correlation"])
    drivers = tuple(
        _ranged(name, figure, group=_MARKET if name == SERVER else "", correlation=market if name == SERVER else 0.0)
        for name, figure in _known(figures)
    )

    def bill(values: Values) -> Vector:
        demand = load.at(values)
        serving = replica_counts(demand.held, pace.rate(values[pace.driver.name]))
        (servers,), (each,) = bills.servers_of([sized], serving + scenario.spare_replicas)
        busy = activity([sized], demand.average * values[pace.driver.name], serving)
        gpus = servers * each
        changed: dict[str, Any] = {driver.name: values[driver.name] for driver in drivers}
        changed[SERVER] = bills.server_usd(sized, each) * values[SERVER] / mid(price)
        now = replace(record, servers=servers, gpus=gpus, busy_gpus=np.minimum(np.ravel(busy.busy_gpus), gpus),
                      busy_depth=np.ravel(busy.busy_depth), **changed)  # fmt: skip
        return total_usd(now, marginal=bills.marginal)

    return UncertainPath(
        path="own",
        label=label,
        drivers=(*load.drivers, pace.driver, *drivers),
        said=_said(found, figures) | _said_of_steps(pace) | {SERVER: Said(words="one server", unit="USD")},
        bill=bill,
        meets=lambda values: pace.serves(values[pace.driver.name]),
    )


def rent_path(found: Study, sized: Sized, rental: Rental, label: str) -> UncertainPath:
    """The same contract and mode, as many instances as each draw takes."""
    contract, following, offer = rental.contract, rental.following, rental.contract.offer
    book, bills, workload = found.book, found.pricer.bills, found.question.workload
    load, pace = load_of(workload, book.assumed), _pace(found, sized)
    hourly = gpu_hour_price(contract, book).scaled(
        max(offer.gpus_per_instance, sized.gpus_per_server), "USD/instance/h"
    )
    record, figures = rent_drivers(book, instances=1.0, usd_per_instance_hour=mid(hourly), output_tokens_per_month=1.0)
    figures = {**figures, "usd_per_instance_hour": hourly}
    if offer.is_interruptible:
        figures["spot_lost_share"] = book.assumed["spot_lost_share"]
    market = mid(book.assumed["market_correlation"])
    list_price = _ranged(RENTAL, book.assumed[RENTAL], group=_MARKET, correlation=market)
    drivers = tuple(_ranged(name, figure) for name, figure in _known(figures))
    hours_each = float(np.asarray(record.instance_hours))
    spare = found.question.scenario.spare_replicas

    def bill(values: Values) -> Vector:
        demand = load.at(values)
        rate = pace.rate(values[pace.driver.name])
        packing = Packing(spare=spare, per_unit=max(1, offer.gpus_per_instance // sized.gpus),
                          lost_share=values["spot_lost_share"] if offer.is_interruptible else 0.0)  # fmt: skip
        instances = packing.of(replica_counts(demand.held, rate)) * sized.servers
        share = following.billed_share(demand.held / rate, demand.average, packing)
        changed: dict[str, Any] = {name: values[name] for name in figures if name in record.__dataclass_fields__}
        changed["usd_per_instance_hour"] = values["usd_per_instance_hour"] * values[RENTAL]
        tokens = demand.average * workload.generated_tokens * SECONDS_PER_MONTH * following.served_share
        now = replace(record, instances=instances, instance_hours=instances * hours_each * share,
                      output_tokens_per_month=tokens, **changed)  # fmt: skip
        return total_usd(now, marginal=bills.marginal)

    per_gpu = mid(gpu_hour_price(contract, book))
    return UncertainPath(
        path="rent",
        label=label,
        drivers=(*load.drivers, pace.driver, list_price, *drivers),
        said=_said(found, figures)
        | _said_of_steps(pace)
        | {RENTAL: Said(words="the mean rent over the horizon", unit="USD/GPU/h", scale=per_gpu),
           "usd_per_instance_hour": Said(words="what the offer asks today", unit="USD/instance/h")},
        bill=bill,
        meets=lambda values: pace.serves(values[pace.driver.name]),
    )  # fmt: skip


def api_path(found: Study, choice: ApiChoice, why_not: str) -> UncertainPath:
    """An API's bill: in proportion to the volume and to its price list."""
    book, workload = found.book, found.question.workload
    record, figures = api_drivers(choice.offer, workload, book)
    market = mid(book.assumed["market_correlation"])
    moving = {name: figure for name, figure in _known(figures) if not name.endswith("_usd_per_mtok")}
    drivers = (
        _ranged(DEMAND, book.assumed[DEMAND]),
        _ranged(API, book.assumed[API], group=_MARKET, correlation=market),
        *(_ranged(name, figure) for name, figure in moving.items()),
    )

    def bill(values: Values) -> Vector:
        changed: dict[str, Any] = {name: values[name] for name in moving}
        now = replace(record, **changed)
        return total_usd(now, marginal=found.pricer.bills.marginal) * values[API] * values[DEMAND]

    blended = choice.usd_per_month / tokens_of(workload) * MEGA
    price = Said(words=f"the mean price of {choice.label}, input and output together", unit=USD_PER_MTOK, scale=blended)
    return UncertainPath(
        path="api",
        label=choice.label,
        drivers=drivers,
        said=_said(found, moving) | {API: price},
        bill=bill,
        meets=lambda values: np.ones_like(values[DEMAND], dtype=bool),
        why_not=why_not,
    )


def _pace(found: Study, sized: Sized) -> Pace:
    return pace_of(sized, found.question.scenario.slo, mid(found.book.assumed["efficiency_correlation"]))


_WORDS = {
    DEMAND: "the load",
    GROWTH: "growth",
    RENTAL: "the mean rent over the horizon",
    API: "the mean price of the API over the horizon",
    SERVER: "the price of one server",
    "usd_per_instance_hour": "what the offer asks today",
    "people_fte_own": "the work of people on machines of one's own",
    "people_fte_rent": "the work of people on rented machines",
    "people_fte_per_further_server": "the work of people on each further server",
    "people_fte_per_further_instance": "the work of people on each further instance",
    "fte_usd_per_year": "what a full-time person costs",
    "software_usd_per_gpu_year": "the price of software",
    "capital_charge_per_year": "the capital charge",
    "storage_usd_per_unit_month": "disks of an instance",
    "egress_bytes_per_token": "bytes sent out for a token",
    "egress_usd_per_gb": "the price of sending data out",
    "usd_per_kwh": "the price of electricity",
    "spot_lost_share": "the time that interruptible machines are away",
    "depreciation_years": "how long hardware is kept",
    "price_decline_per_year": "the yearly decline of prices",
    "residual_after_36_months": "the residual value after 36 months",
}


def driver_words(name: str) -> str:
    """What a driver is called on a page: ``the work of people on rented machines``."""
    return _WORDS.get(name, name.replace("_", " "))


def _said(found: Study, figures: Mapping[str, Figure]) -> dict[str, Said]:
    tokens = tokens_of(found.question.workload)
    said = {name: Said(words=driver_words(name), unit=figure.unit) for name, figure in figures.items()}
    said[DEMAND] = Said(words="the load", unit="tokens/month", scale=tokens)
    said[GROWTH] = Said(words="growth", unit="× the yearly growth")
    return said


def _said_of_steps(pace: Pace) -> dict[str, Said]:
    return {pace.driver.name: Said(words=pace.driver.name, unit="× as predicted")}
