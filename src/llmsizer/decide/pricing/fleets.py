"""From a sized replica to fleets with a bill: own whole servers, or rent whole instances from the cheapest offer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llmsizer.decide.answer import Plan, Rejection
from llmsizer.decide.candidates.sizing import Sized
from llmsizer.decide.pricing.bills import Bills, Demand, Rental, activity
from llmsizer.decide.pricing.orders import Fleet, first_orders, orders_for
from llmsizer.decide.question import Question
from llmsizer.facts.offer import Offer
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost, Path, spanning
from llmsizer.money.owning import Activity, Servers, Volume, own_cost, servers_for
from llmsizer.money.prices import PriceBook, is_whole_board, is_whole_machine
from llmsizer.money.ranges import mid
from llmsizer.money.renting import Rented, assumes_larger, is_marketplace, rent_cost, rented_replicas
from llmsizer.physics.steps.layouts import SERVER_LINK_BYTES_PER_SECOND
from llmsizer.traffic.closed_form.capacity import LoadPoint
from llmsizer.traffic.closed_form.sizing import describe_each, loads_at, replicas_for
from llmsizer.traffic.hours.elastic import Packing
from llmsizer.units import GIGA

PATHS: tuple[Path, ...] = ("own", "rent")


@dataclass(frozen=True, kw_only=True)
class Pricer:
    """Bills of fleets: quickly as a sum for a search over volumes (``bills``), in full for what is shown."""

    question: Question
    book: PriceBook

    @cached_property
    def bills(self) -> Bills:
        return Bills(scenario=self.question.scenario, book=self.book, workload=self.question.workload)

    @property
    def spare(self) -> int:
        return self.question.scenario.spare_replicas

    def count(self, sized: Sized, workload: Workload) -> int:
        """Replicas for what the fleet has to hold, spares included."""
        return replicas_for(workload.sizing_requests_per_second, sized.held.rate) + self.spare

    def usd(self, sized: Sized, path: Path, workload: Workload) -> float | None:
        """Dollars a month of a path; None where the scenario or a missing price rules it out."""
        usd = self.bills.usd(sized, path, Demand.of(workload))
        return None if usd is None else float(usd[0])

    def plan(self, sized: Sized, path: Path, workload: Workload) -> Plan:
        """The fleet of a path that has a price, with its bill in full."""
        return self.plans([(path, sized, workload)])[0]

    def plans(self, picks: Sequence[tuple[Path, Sized, Workload]]) -> list[Plan]:
        """The same of many, each for its own load."""
        rates = [
            (sized.replica, load.peak_requests_per_second / (self.count(sized, load) - self.spare))
            for _, sized, load in picks
        ]
        _describe([sized for _, sized, _ in picks])
        rentals = [None if path == "own" else self._rental_of(sized, load) for path, sized, load in picks]
        return [
            self._plan(sized, load, self.bill(sized, load, rental), rental, at_peak)
            for (_, sized, load), rental, at_peak in zip(picks, rentals, loads_at(rates), strict=True)
        ]

    def _rental_of(self, sized: Sized, workload: Workload) -> Rental:
        rental = self.bills.cheapest_rental(sized, Demand.of(workload))
        assert rental is not None, "a path without an offer has no price"
        return rental

    def bill(self, sized: Sized, workload: Workload, rental: Rental | None) -> Cost:
        """Of a fleet of one's own, or rented: its interval is that of the replicas that slow or fast steps take too."""
        count = self.count(sized, workload)
        ends = self._interval(sized, workload)
        follows = rental is not None and not rental.following.is_always_on
        bills: dict[tuple[int, float], Cost] = {}  # what is always on depends on the count alone

        def bill(rate: float, n: int) -> Cost:
            key = (n, rate if follows else 0.0)
            if key not in bills:
                bills[key] = (
                    self._owned(sized, n, workload) if rental is None else self.rented(sized, rate, workload, rental)
                )
            return bills[key]

        middle, fewest, most = (bill(rate, n) for rate, n in ((sized.held.rate, count), *ends))
        return middle if len(bills) == 1 else spanning(middle, fewest, most)

    def _volume(self, sized: Sized, workload: Workload) -> Volume:
        return Volume(
            input_tokens_per_month=workload.input_tokens_per_month,
            output_tokens_per_month=workload.output_tokens_per_month,
            input_share=sized.held.prefill_time_share,
        )

    def _activity(self, sized: Sized, replicas: int, workload: Workload) -> Activity:
        serving = np.array([float(replicas - self.spare)])
        found = activity([sized], np.array([workload.requests_per_second]), serving)
        return Activity(busy_gpus=float(np.ravel(found.busy_gpus)[0]), busy_depth=float(np.ravel(found.busy_depth)[0]))

    def _owned(self, sized: Sized, replicas: int, workload: Workload) -> Cost:
        servers = self._servers(sized, replicas)
        assert servers is not None, "a replica that no server holds has no price to own"
        return own_cost(
            sized.deployment.gpu,
            servers,
            self.question.scenario.horizon_months,
            self._volume(sized, workload),
            self.book,
            activity=self._activity(sized, replicas, workload),
        )

    def _servers(self, sized: Sized, replicas: int) -> Servers | None:
        gpu, offered = self.bills.housed(sized), self.book.offered
        if gpu is None or offered is None:
            return None if gpu is None else servers_for(gpu, sized.gpus, replicas)
        needed = math.ceil(replicas / (offered.gpus_per_server // sized.gpus))
        return Servers(count=max(needed, offered.servers), gpus_each=offered.gpus_per_server)

    def rented(self, sized: Sized, rate_each: float, workload: Workload, rental: Rental) -> Cost:
        """The bill of a rental, at the rate that one replica holds."""
        replicas = replicas_for(workload.sizing_requests_per_second, rate_each)
        share = rental.following.served_share
        return rent_cost(
            self.rental(sized, rate_each, workload, rental),
            sized.deployment.gpu,
            self._volume(sized, workload).scaled(share),
            self.book,
            activity=self._activity(sized, replicas + self.spare, workload),
        )

    def rental(self, sized: Sized, rate_each: float, workload: Workload, rental: Rental) -> Rented:
        """How many replicas, and for how much of the month their instances are billed."""
        offer, following, width = rental.contract.offer, rental.following, sized.gpus
        demand = Demand.of(workload)
        lost = mid(self.book.assumed["spot_lost_share"]) if offer.is_interruptible else 0.0
        packing = Packing(spare=self.spare, per_unit=max(1, offer.gpus_per_instance // width), lost_share=lost)
        serving = replicas_for(workload.sizing_requests_per_second, rate_each)
        return Rented(
            contract=rental.contract,
            gpus_per_replica=width,
            servers_per_replica=sized.servers,
            replicas=rented_replicas(offer, serving, self.spare, self.book),
            billed_share=float(following.billed_share(demand.held / rate_each, demand.average, packing)[0]),
            hours_note="" if following.is_always_on else following.mode,
        )

    def _interval(self, sized: Sized, workload: Workload) -> tuple[tuple[float, int], tuple[float, int]]:
        """Rates of the ends of the step times' interval, and the replicas they take, spares included: fewest first.

        Where the slow end misses the SLO no number of replicas helps: the plan is marked, not its bill.
        """
        held, demand = sized.held, workload.sizing_requests_per_second
        slow = held.rate_low if held.rate_low > 0 else held.rate
        fewest, most = (replicas_for(demand, rate) + self.spare for rate in (held.rate_high, slow))
        return (held.rate_high, fewest), (slow, most)

    def no_price(self, sized: Sized) -> Rejection:
        """Why a replica that works has no bill."""
        gpu, constraints = sized.deployment.gpu, self.question.scenario.constraints
        every = self.book.offers.get(gpu.id, ())
        reasons, fixes = [], []
        if constraints.own:
            reasons.append(self._why_not_bought(sized))
        if constraints.rent:
            reasons.append(f"{len(every)} rental offers, none allowed here" if every else "no rental offer")
            zones = sorted({o.zone for o in every if not o.gpu_only})
            fixes += [f"zones {', '.join(zones)} or interruptible offers"] if zones else []
        fixes.append("a price of your own in an overrides file")
        return Rejection(
            candidate=sized.deployment.label,
            kind="no price",
            reason="fits and meets the SLO, but has " + " and ".join(reasons or ["no path allowed"]),
            nearest_fix=" or ".join(fixes),
        )

    def _why_not_bought(self, sized: Sized) -> str:
        if self.bills.months_too_late > 0:
            return "a lead time that is too long to be bought"
        if (offered := self.book.offered) is not None and self.bills.housed(sized) is None:
            return f"no place in what is offered, {offered.servers} servers of {offered.gpus_per_server}× {offered.gpu}"
        if self.bills.housed(sized) is None:
            return "no server that holds a replica within the power of a rack"
        return f"no purchase price of {sized.deployment.gpu.name}"

    def _plan(self, sized: Sized, workload: Workload, bill: Cost, rental: Rental | None, at_peak: LoadPoint) -> Plan:
        count = self.count(sized, workload)
        replicas = count - self.spare
        rented = None if rental is None else self.rental(sized, sized.held.rate, workload, rental)
        if rented is None:
            servers = self._servers(sized, count)
            units = 0 if servers is None else servers.count
        else:
            units = rented.instances
        offer = None if rented is None else rented.offer
        return Plan(
            path=bill.path,
            deployment=sized.deployment,
            replicas=replicas,
            spare_replicas=self.spare,
            units=units,
            unit_name="instances" if offer else "servers",
            provider=offer.provider if offer else "own",
            zone=offer.zone if offer else "own premises or colocation",
            term=rental.contract.term if rental else "",
            mode=rental.following.mode if rental else "always-on",
            billed_share=rented.billed_share if rented else 1.0,
            served_share=rental.following.served_share if rental else 1.0,
            cost=bill,
            capacity=sized.capacity,
            at_peak=at_peak,
            fit=sized.fit,
            quality_recovery=sized.quality,
            notes=tuple(self._notes(sized, workload, replicas, rental)),
        )

    def _notes(self, sized: Sized, workload: Workload, replicas: int, rental: Rental | None) -> Iterator[str]:
        gpu, width, offer = sized.deployment.gpu, sized.gpus_per_server, rental.contract.offer if rental else None
        (_, fewest), (_, most) = self._interval(sized, workload)
        if not sized.is_robust:
            yield "misses the SLO if steps are as slow as their interval allows"
        elif fewest != most:
            yield (
                f"{fewest - self.spare} to {most - self.spare} replicas for the peak hour within the interval of the "
                "step times; the cost's interval counts them"
            )
        floor, quality = self.question.scenario.slo.quality_floor, sized.quality
        if quality.low is not None and quality.low < floor:
            name = sized.deployment.weights.name
            yield f"one model in twenty kept less than {quality.low:.1%} in {name}: measure yours"
        if sized.deployment.weights.compute != gpu.effective_compute(sized.deployment.weights.compute):
            yield f"{sized.deployment.weights.name} is stored small and computed in 16 bit on {gpu.name}"
        if offer is None and gpu.device_class == "consumer":
            yield "consumer card: check its driver licence and cooling before it goes into a data centre"
        yield from _notes_of_layout(sized)
        if rental is None and workload.growth is not None:
            yield self._orders(sized, workload, replicas)
        if offer is None and (idle := self._idle_gpus(sized, replicas + self.spare)):
            why = "boards are sold whole" if self.book.offered is None else "the servers offered are taken whole"
            yield f"{why}: {idle} of the GPUs that are paid stand idle, free for other work"
        if offer is None and (further := self._beyond_offer(sized, replicas + self.spare)):
            yield further
        if offer is None and gpu.device_class == "workstation":
            yield "workstation card: check that the server is built to cool and to power it"
        if self.spare and replicas and (one := self._all_in_one(sized, replicas + self.spare, rental)):
            yield f"all replicas stand in one {one}: the spare covers a replica that fails, not the machine"
        if offer is not None and assumes_larger(offer, width):
            yield f"the list prices {offer.gpus_per_instance} GPU an instance; {width} at that price each are assumed"
        if rental is not None:
            yield from self._notes_of_rental(sized, workload, replicas, rental)
        if offer is not None and is_marketplace(offer):
            yield "a marketplace's lowest host; what one gets is commonly two to three times as dear"
        if offer is not None and (law := self._foreign_law(offer)):
            yield law
        if is_whole_machine(gpu) and replicas + self.spare > 1:
            yield "desktop machines, one replica each"

    def _all_in_one(self, sized: Sized, count: int, rental: Rental | None) -> str:
        """``server`` or ``instance`` where a single one holds the whole fleet; else empty."""
        if rental is not None:
            return "instance" if sized.gpus * count <= rental.contract.offer.gpus_per_instance else ""
        servers = self._servers(sized, count)
        return "server" if servers is not None and servers.count == 1 else ""

    def _idle_gpus(self, sized: Sized, count: int) -> int:
        """GPUs of boards that are sold whole which no replica uses."""
        servers = self._servers(sized, count)
        is_whole = is_whole_board(sized.deployment.gpu) or self.book.offered is not None
        return servers.gpus - count * sized.gpus if is_whole and servers is not None else 0

    def _beyond_offer(self, sized: Sized, count: int) -> str:
        """What to say where the servers offered do not hold the load."""
        servers, offered = self._servers(sized, count), self.book.offered
        if servers is None or offered is None or servers.count <= offered.servers:
            return ""
        return f"offered: {offered.servers}; the load needs {servers.count} such servers, all priced like these"

    def order_fleet(self, sized: Sized, serving: int) -> Fleet:
        """What is owned, as orders see it."""
        servers = self._servers(sized, serving + self.spare)
        each = sized.gpus_per_server if servers is None else servers.gpus_each
        return Fleet(
            serving=serving,
            spare=self.spare,
            rate_each=sized.held.rate,
            replicas_per_server=max(1, each // sized.gpus),
            servers_per_replica=sized.servers,
        )

    def _orders(self, sized: Sized, workload: Workload, serving: int) -> str:
        """By when what is bought has to be ordered, step by step."""
        lead, fleet = self.book.assumed["hardware_lead_months"], self.order_fleet(sized, serving)
        return first_orders(orders_for(workload, fleet, lead, self.book.today))

    def _notes_of_rental(self, sized: Sized, workload: Workload, replicas: int, rental: Rental) -> Iterator[str]:
        rented, following = self.rental(sized, sized.held.rate, workload, rental), rental.following
        if rental.contract.offer.is_interruptible:
            yield (
                f"interruptible: {rented.replicas} rented, {self.spare} of them spare, so that {replicas} are up with "
                "95 % probability"
            )
        if rental.contract.is_reserved:
            yield "a year's term at an assumed discount: ask for a quote; paid whether it runs or not"
        if not following.is_always_on:
            yield (
                f"{following.mode}: instances follow the hours of the week and are billed {rented.billed_share:.0%} of "
                "them; that they can be had again each time is taken for granted"
            )
        if following.served_share < 1:
            yield f"{1 - following.served_share:.1%} of requests come when the window is closed, and are not served"

    def _foreign_law(self, offer: Offer) -> str:
        """What to say of an operator where the place of the data is bounded and whose law it is was not asked."""
        constraints = self.question.scenario.constraints
        if not constraints.allowed_zones or constraints.allowed_jurisdictions:
            return ""
        law = self.bills.book.jurisdictions.get(offer.provider)
        if law in constraints.allowed_zones:
            return ""
        whose = f"stands under {law} law" if law else "stands under a law that is not known here"
        return f"{offer.provider} {whose}, wherever its machines are; eu_only asks for an operator under EU law"


def _notes_of_layout(sized: Sized) -> Iterator[str]:
    """What a layout beyond tensor parallelism in one server asks for, and how little is known of it."""
    spread, servers = sized.deployment.parallelism, sized.servers
    if servers > 1:
        yield (
            f"each replica spans {servers} servers ({spread.label}): it stops when one of them does, and needs a "
            f"network of {8 * SERVER_LINK_BYTES_PER_SECOND / GIGA:.0f} Gb/s or more between them; its step times are "
            "assumed"
        )
    elif spread.pipeline > 1:
        yield f"pipeline stages ({spread.label}): step times are assumed, few rows of them were measured"
    if spread.data > 1:
        yield (
            f"data-parallel attention ({spread.label}): each of {spread.data} ranks keeps its own cache and the "
            "experts are divided among all GPUs; step times are assumed, few rows of it were measured"
        )


def _describe(sizes: Sequence[Sized]) -> None:
    """Find the capacities of many in one pass, which is many times quicker than one by one."""
    asked = {id(sized): sized for sized in sizes if "capacity" not in vars(sized)}
    found = describe_each([(sized.replica, sized.held) for sized in asked.values()])
    for sized, capacity in zip(asked.values(), found, strict=True):
        vars(sized)["capacity"] = capacity
