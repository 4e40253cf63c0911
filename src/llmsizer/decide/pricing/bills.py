"""Bills of fleets over arrays of load: what a search over volumes, months or draws asks thousands of times.

The same drivers and formulas as the bill that is shown: ``decide.pricing`` writes one out in full, and a test holds
that both come to the same total.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.modes import Modes
from llmsizer.facts.figure import exact
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.offer import Offer
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Path
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import monthly_parts
from llmsizer.money.owning import DRIVERS_OF_GPU, Activity, own_drivers
from llmsizer.money.prices import PriceBook, host_watts, is_whole_board, server_price
from llmsizer.money.ranges import mid
from llmsizer.money.renting import Contract, contracts, gpu_hour_price, is_marketplace, rent_drivers
from llmsizer.traffic.closed_form.ladders import column
from llmsizer.traffic.closed_form.meanfield import Matrix, Vector
from llmsizer.traffic.hours.elastic import Following, Packing
from llmsizer.units import HOURS_PER_MONTH, KILO, MONTHS_PER_YEAR, SECONDS_PER_MONTH

_FULL_BATCH = 256.0  # at which the power curve ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """Requests a second, averaged over the month and as the fleet has to hold them. Arrays of one shape."""

    average: Vector
    held: Vector

    @classmethod
    def of(cls, workload: Workload, scale: Vector | float = 1.0) -> Demand:
        """The workload's, times a factor; sized for the peak hour, growth and headroom."""
        factor = np.atleast_1d(np.asarray(scale, dtype=np.float64))
        return cls(average=workload.requests_per_second * factor, held=workload.sizing_requests_per_second * factor)


def total_usd(drivers: OwnDrivers | RentDrivers | ApiDrivers, *, marginal: bool) -> Vector:
    """The bill's total; NaN where a part of it is unknown."""
    total: Vector = np.zeros(1)
    for part in monthly_parts(drivers, marginal=marginal).values():
        total = total + part
    return total


def replica_counts(held: Vector, rate_each: Vector | float) -> Vector:
    """Whole replicas, each within its own capacity: ``traffic.sizing.replicas_for`` over an array."""
    return cast(Vector, np.maximum(1.0, np.ceil(held / rate_each - 1e-9)))


def activity(sizes: Sequence[Sized], average: Vector, serving: Vector) -> Activity:
    """How busy the serving replicas are: the chance that a request is in flight, at the stay of an idle replica.

    Candidate × load. A loaded replica keeps its requests longer, which is on the busy side already where it matters.
    """
    in_flight = average / serving * column(sized.replica.idle_stay_seconds for sized in sizes)
    busy = -np.expm1(-in_flight)
    batch = np.maximum(1.0, in_flight / np.maximum(busy, 1e-300))
    depth = np.minimum(1.0, np.log(batch) / np.log(_FULL_BATCH))
    return Activity(busy_gpus=serving * column(sized.gpus for sized in sizes) * busy, busy_depth=depth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rental:
    """How a fleet is rented: under which contract, and how it follows the week."""

    contract: Contract
    following: Following


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The cheapest rental at each load, as columns."""

    contracts: tuple[Contract, ...]
    modes: tuple[Following, ...]
    contract: NDArray[np.intp]  # the place of each load's among them
    mode: NDArray[np.intp]
    instances: Vector
    billed_share: Vector
    usd_per_instance_hour: Vector

    @property
    def first(self) -> Rental:
        """That of the first load."""
        return Rental(contract=self.contracts[self.contract[0]], following=self.modes[self.mode[0]])

    @property
    def served_share(self) -> Vector:
        """Of requests, at each load."""
        return np.array([mode.served_share for mode in self.modes])[self.mode]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Contracts of one GPU, one or more."""

    contracts: tuple[Contract, ...]
    usd_per_gpu_hour: Vector
    gpus_per_instance: tuple[int, ...]
    lost_share: tuple[float, ...]  # of the time that an instance is away
    is_reserved: NDArray[np.bool_]

    @classmethod
    def of(cls, found: tuple[Contract, ...], book: PriceBook) -> Terms:
        """Prices looked up once."""
        lost = mid(book.assumed["spot_lost_share"])
        return cls(
            contracts=found,
            usd_per_gpu_hour=np.array([mid(gpu_hour_price(contract, book)) for contract in found]),
            gpus_per_instance=tuple(contract.offer.gpus_per_instance for contract in found),
            lost_share=tuple(lost if contract.offer.is_interruptible else 0.0 for contract in found),
            is_reserved=np.array([contract.is_reserved for contract in found]),
        )

    def cheapest(
        self, sized: Sized, spare: int, demand: Demand, modes: tuple[Following, ...], usd_per_instance_month: float
    ) -> Chosen:
        """Over all contracts and the modes each may run in; at one price the mode that is on for longer.

        ``usd_per_instance_month``: of disks and people, whatever the hours.
        """
        needed, serving = demand.held / sized.held.rate, replica_counts(demand.held, sized.held.rate)
        keys = [(max(1, gpus // sized.gpus), lost)
                for gpus, lost in zip(self.gpus_per_instance, self.lost_share, strict=True)]  # fmt: skip
        place = {key: at for at, key in enumerate(dict.fromkeys(keys))}
        packings = [Packing(spare=spare, per_unit=per_unit, lost_share=lost) for per_unit, lost in place]
        which = [place[key] for key in keys]
        # Contract × mode × load.
        shares = np.array([[m.billed_share(needed, demand.average, one) for m in modes] for one in packings])[which]
        instances = np.array([one.of(serving) for one in packings])[which] * sized.servers
        hourly = self.usd_per_gpu_hour * np.maximum(self.gpus_per_instance, sized.gpus_per_server)
        usd = instances[:, None] * (shares * (hourly * HOURS_PER_MONTH)[:, None, None] + usd_per_instance_month)
        # What is reserved is paid for every hour, asleep or not.
        usd[self.is_reserved[:, None] & np.array([not mode.is_always_on for mode in modes])] = np.inf
        loads = np.arange(len(serving))
        contract, mode = np.divmod(np.argmin(usd.reshape(-1, len(serving)), axis=0), len(modes))
        return Chosen(
            contracts=self.contracts,
            modes=modes,
            contract=contract,
            mode=mode,
            instances=instances[contract, loads],
            billed_share=shares[contract, mode, loads],
            usd_per_instance_hour=hourly[contract],
        )


@dataclass(frozen=True, kw_only=True)
class Bills:
    """Totals of one scenario's fleets, prices looked up once."""

    scenario: Scenario
    book: PriceBook
    workload: Workload
    _server_usd: dict[tuple[str, int], float] = field(default_factory=dict)
    _offers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)
    _terms_of: dict[str, Terms] = field(default_factory=dict)
    _own_records: dict[str, OwnDrivers] = field(default_factory=dict)
    _rent_record: list[RentDrivers] = field(default_factory=list)

    @property
    def marginal(self) -> bool:
        return self.book.options.lens == "marginal"

    def usd(self, sized: Sized, path: Path, demand: Demand) -> Vector | None:
        """Dollars a month at each load; None where the scenario or a missing price rules the path out."""
        usd: Vector = self.usd_of([sized], path, demand)[0]
        return None if np.isnan(usd).any() else usd

    def usd_of(self, sizes: Sequence[Sized], path: Path, demand: Demand) -> Matrix:
        """The same of many at once, candidate × load: NaN all along the row of one that is ruled out."""
        usd = np.full((len(sizes), len(demand.held)), np.nan)
        if path == "own":
            rows = [row for row, sized in enumerate(sizes) if self._may_be_bought(sized)]
            if rows:
                usd[rows] = self._own_usd([sizes[row] for row in rows], demand)
        else:
            for row, sized in enumerate(sizes):
                usd[row] = self._rent_usd(sized, demand)
        usd[np.isnan(usd).any(axis=1)] = np.nan
        return usd

    def _may_be_bought(self, sized: Sized) -> bool:
        return self.scenario.constraints.own and self.months_too_late <= 0 and self.housed(sized) is not None

    def _own_usd(self, sizes: Sequence[Sized], demand: Demand) -> Matrix:
        serving = replica_counts(demand.held, column(sized.held.rate for sized in sizes))
        servers, each = self.servers_of(sizes, serving + self.scenario.spare_replicas)
        busy, gpus = activity(sizes, demand.average, serving), servers * each
        records = [self._own_record(sized.deployment.gpu) for sized in sizes]
        of_gpu: dict[str, Any] = {name: column(getattr(one, name) for one in records) for name in DRIVERS_OF_GPU}
        drivers = replace(
            records[0],
            servers=servers,
            gpus=gpus,
            busy_gpus=np.minimum(busy.busy_gpus, gpus),
            busy_depth=busy.busy_depth,
            server_usd=np.array([self.server_usd(sized, row) for sized, row in zip(sizes, each, strict=True)]),
            **of_gpu,
        )
        return total_usd(drivers, marginal=self.marginal)

    def _own_record(self, gpu: GpuSpec) -> OwnDrivers:
        """One server's drivers, whose counts and price are put in by load."""
        if gpu.id not in self._own_records:
            price = exact(0.0, "USD/server", "assumed", "by the size of the server")
            months, one = self.scenario.horizon_months, Activity(busy_gpus=1.0)
            self._own_records[gpu.id], _ = own_drivers(gpu, price, months, one, self.book, servers=1.0, gpus=1.0)
        return self._own_records[gpu.id]

    @property
    def months_too_late(self) -> float:
        """By how much ordered hardware misses the month in which it has to serve."""
        latest = self.scenario.constraints.max_lead_months
        return 0.0 if latest is None else mid(self.book.assumed["hardware_lead_months"]) - latest

    def housed(self, sized: Sized) -> GpuSpec | None:
        """The GPU with as many to a server as a rack can feed, or as a server that is offered has.

        None where that is less than a replica, or where other servers are offered.
        """
        gpu, most = sized.deployment.gpu, self.scenario.constraints.max_kw_per_rack
        if (offered := self.book.offered) is not None:
            suits = gpu.id == offered.gpu and sized.gpus <= offered.gpus_per_server
            return gpu.model_copy(update={"max_per_node": offered.gpus_per_server}) if suits else None
        if most is None:
            return gpu
        if self.least_kw(sized) > most:
            return None
        if is_whole_board(gpu):
            return gpu
        fed = int((most * KILO / self._beside - self._host_watts(gpu)) / (gpu.tdp_watts or math.inf) + 1e-9)
        return gpu.model_copy(update={"max_per_node": max(sized.gpus_per_server, min(gpu.max_per_node, fed))})

    def least_kw(self, sized: Sized) -> float:
        """Kilowatts at full power of the smallest server that holds a replica; infinite where its draw is unknown."""
        gpu = sized.deployment.gpu
        gpus = gpu.max_per_node if is_whole_board(gpu) else sized.gpus_per_server
        watts = math.inf if gpu.tdp_watts is None else gpus * gpu.tdp_watts + self._host_watts(gpu)
        return watts * self._beside / KILO

    @property
    def _beside(self) -> float:
        """What switches draw beside the computers."""
        return 1 + mid(self.book.assumed["network_power_share"])

    def _host_watts(self, gpu: GpuSpec) -> float:
        return mid(host_watts(self.book, gpu))

    def servers_of(self, sizes: Sequence[Sized], replicas: Vector) -> tuple[Matrix, Matrix]:
        """Whole servers for so many replicas, and the GPUs in each: ``money.owning.servers_for`` over candidates."""
        gpus = [gpu for sized in sizes if (gpu := self.housed(sized)) is not None]
        assert len(gpus) == len(sizes), "a replica that no server holds has no price to own"
        width, most = column(sized.gpus for sized in sizes), column(gpu.max_per_node for gpu in gpus)
        if (offered := self.book.offered) is not None:  # all of them, and more only where they do not hold it
            needed = np.ceil(replicas / (most // width))
            return np.maximum(needed, offered.servers), np.broadcast_to(most, needed.shape)
        span, part = column(sized.servers for sized in sizes), column(sized.gpus_per_server for sized in sizes)
        groups = np.ceil(replicas / np.maximum(most // width, 1))  # of one server, or of those that a replica spans
        each = part * np.ceil(replicas / groups)
        return groups * span, np.where(column(map(is_whole_board, gpus)) > 0, most, each)

    def server_usd(self, sized: Sized, gpus_each: Vector) -> Vector:
        """Dollars for one server with so many GPUs."""
        most = sized.deployment.gpu.max_per_node
        if (offered := self.book.offered) is not None:
            return np.full_like(gpus_each, self._price(sized, offered.gpus_per_server))
        if is_whole_board(sized.deployment.gpu):
            return np.full_like(gpus_each, self._price(sized, most))
        prices = np.full(most + 1, np.nan)
        for gpus in set(gpus_each.tolist()):
            prices[int(gpus)] = self._price(sized, int(gpus))
        return cast(Vector, prices[gpus_each.astype(np.intp)])

    def _price(self, sized: Sized, gpus_each: int) -> float:
        key = (sized.deployment.gpu.id, gpus_each)
        if key not in self._server_usd:
            self._server_usd[key] = mid(server_price(self.book, sized.deployment.gpu, gpus_each))
        return self._server_usd[key]

    def _rent_usd(self, sized: Sized, demand: Demand) -> Vector:
        chosen = self._chosen(sized, demand)
        if chosen is None:
            return np.full(1, np.nan)
        tokens = demand.average * self.workload.generated_tokens * SECONDS_PER_MONTH * chosen.served_share
        if not self._rent_record:
            record, _ = rent_drivers(self.book, instances=1.0, usd_per_instance_hour=1.0, output_tokens_per_month=1.0)
            self._rent_record.append(record)
        drivers = replace(
            self._rent_record[0],
            instances=chosen.instances,
            instance_hours=chosen.instances * chosen.billed_share * self._rent_record[0].instance_hours,
            usd_per_instance_hour=chosen.usd_per_instance_hour,
            output_tokens_per_month=tokens,
        )
        return total_usd(drivers, marginal=self.marginal)

    def _chosen(self, sized: Sized, demand: Demand) -> Chosen | None:
        terms = self._terms(sized.deployment.gpu.id)
        if not terms.contracts:
            return None
        modes = self.modes.of(sized)
        return terms.cheapest(sized, self.scenario.spare_replicas, demand, modes, self._usd_per_instance_month)

    @cached_property
    def _usd_per_instance_month(self) -> float:
        """Disks, with what VAT does to them beside a price without it, and people of one more instance."""
        assumed = self.book.assumed
        people = mid(assumed["people_fte_per_further_instance"]) * mid(assumed["fte_usd_per_year"]) / MONTHS_PER_YEAR
        untaxed = 0.0 if self.marginal else people / (1 + self.book.options.vat_rate)
        return mid(assumed["storage_usd_per_unit_month"]) + untaxed

    @cached_property
    def modes(self) -> Modes:
        """How rented machines may run through the week."""
        return Modes(workload=self.workload, scenario=self.scenario, book=self.book)

    def _terms(self, gpu: str) -> Terms:
        if gpu not in self._terms_of:
            self._terms_of[gpu] = Terms.of(self.contracts_of(gpu), self.book)
        return self._terms_of[gpu]

    def contracts_of(self, gpu: str) -> tuple[Contract, ...]:
        """Of a GPU, by its id: the offers that the scenario allows, at the terms it allows."""
        return contracts(self.offers_of(gpu), self.book.options.rent_term, self.scenario.horizon_months)

    def cheapest_rental(self, sized: Sized, demand: Demand) -> Rental | None:
        """For one load; None where nothing may be rented."""
        chosen = self._chosen(sized, demand)
        return None if chosen is None else chosen.first

    def offers(self, sized: Sized) -> tuple[Offer, ...]:
        """What may be rented of a GPU."""
        return self.offers_of(sized.deployment.gpu.id)

    def offers_of(self, gpu: str) -> tuple[Offer, ...]:
        """Of the offers of a GPU, by its id, those that the scenario allows."""
        if gpu not in self._offers:
            self._offers[gpu] = tuple(offer for offer in self.book.offers.get(gpu, ()) if self._allowed(offer))
        return self._offers[gpu]

    def _allowed(self, offer: Offer) -> bool:
        return not self.why_not_rented(offer)

    def why_not_rented(self, offer: Offer) -> str:
        """Which constraint excludes an offer; empty where none does. What is unknown is not taken as allowed."""
        constraints = self.scenario.constraints
        zones, laws = constraints.allowed_zones, constraints.allowed_jurisdictions
        if not constraints.rent:
            return "renting is excluded"
        if zones and offer.zone not in zones:
            where = "names no region" if offer.zone == "unspecified" else f"is in {offer.zone}"
            return f"data location: the price list {where}; asked {' or '.join(sorted(zones))}"
        if laws and (law := self.book.jurisdictions.get(offer.provider)) not in laws:
            whose = f"stands under {law} law" if law else "has an unknown jurisdiction"
            return f"operator jurisdiction: {offer.provider} {whose}; asked {' or '.join(sorted(laws))}"
        if offer.gpu_only:
            return "bills the virtual machine on top, at a price that is not known"
        if not constraints.interruptible and (offer.is_interruptible or is_marketplace(offer)):
            return f"interruptible or a marketplace ({offer.term}); asked for neither"
        return ""
