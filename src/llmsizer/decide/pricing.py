"""From a sized replica to fleets with a bill: own whole servers, or rent whole instances from the cheapest offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from llmsizer.decide.answer import Plan, Rejection
from llmsizer.decide.candidates import Question, Sized
from llmsizer.facts.offer import Offer
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost
from llmsizer.money.owning import Servers, Volume, own_cost, servers_for
from llmsizer.money.prices import PriceBook, is_whole_machine
from llmsizer.money.renting import assumes_larger, billed_gpus, instances_for, is_marketplace, rent_cost
from llmsizer.traffic.sizing import load_at, replicas_for

JURISDICTION = "the operator's jurisdiction is not in the price lists: an EU region of any provider counts as EU here"


@dataclass(frozen=True, kw_only=True)
class Pricer:
    """Bills of fleets; a fleet's bill is worked out once, however often it is asked for."""

    question: Question
    book: PriceBook
    _own: dict[tuple[str, Servers], float | None] = field(default_factory=dict)
    _offers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)

    def replicas(self, sized: Sized, workload: Workload) -> int:
        """Replicas that the peak hour needs, spares not counted."""
        return replicas_for(workload.peak_requests_per_second, sized.requests_per_second)

    def offers(self, gpu: str) -> tuple[Offer, ...]:
        """Offers the scenario allows, cheapest first; those without a full price not among them."""
        if gpu not in self._offers:
            self._offers[gpu] = tuple(offer for offer in self.book.offers.get(gpu, ()) if self._allowed(offer))
        return self._offers[gpu]

    def _allowed(self, offer: Offer) -> bool:
        constraints = self.question.scenario.constraints
        zones = constraints.allowed_zones
        if (zones and offer.zone not in zones) or offer.gpu_only:
            return False
        return constraints.interruptible or not (offer.is_interruptible or is_marketplace(offer))

    def cheapest_offer(self, sized: Sized, replicas: int) -> Offer | None:
        width = sized.deployment.parallelism.gpus
        found = self.offers(sized.deployment.gpu.id)
        return min(found, key=lambda o: o.usd_per_gpu_hour * billed_gpus(o, width, replicas), default=None)

    def own_usd(self, sized: Sized, workload: Workload) -> float | None:
        """Dollars a month of owning, quickly; None where a price is missing."""
        if not self.question.scenario.constraints.own:
            return None
        count = self.replicas(sized, workload) + self.question.scenario.spare_replicas
        servers = servers_for(sized.deployment.gpu, sized.deployment.parallelism.gpus, count)
        if servers is None:
            return None
        key = (sized.deployment.gpu.id, servers)
        if key not in self._own:
            self._own[key] = self._own_bill(sized, servers, workload).usd_per_month.value
        return self._own[key]

    def rent_usd(self, sized: Sized, workload: Workload) -> float | None:
        """Dollars a month of renting; None where no offer is allowed."""
        if not self.question.scenario.constraints.rent:
            return None
        count = self.replicas(sized, workload) + self.question.scenario.spare_replicas
        offer = self.cheapest_offer(sized, count)
        return None if offer is None else self._rent_bill(sized, offer, count, workload).usd_per_month.value

    def plans(self, sized: Sized, workload: Workload) -> Iterator[Plan]:
        """The fleet for this workload, owned and rented, as far as prices are known."""
        constraints, spare = self.question.scenario.constraints, self.question.scenario.spare_replicas
        replicas = self.replicas(sized, workload)
        count, width = replicas + spare, sized.deployment.parallelism.gpus
        servers = servers_for(sized.deployment.gpu, width, count) if constraints.own else None
        if servers is not None:
            bill = self._own_bill(sized, servers, workload)
            if bill.is_complete:
                yield self._plan(sized, workload, replicas, bill, servers=servers)
        offer = self.cheapest_offer(sized, count) if constraints.rent else None
        if offer is not None:
            bill = self._rent_bill(sized, offer, count, workload)
            yield self._plan(sized, workload, replicas, bill, offer=offer)

    def no_price(self, sized: Sized) -> Rejection:
        """Why a replica that works has no bill."""
        gpu, constraints = sized.deployment.gpu, self.question.scenario.constraints
        every = self.book.offers.get(gpu.id, ())
        reasons, fixes = [], []
        if constraints.own:
            reasons.append(f"no purchase price of {gpu.name}")
            fixes.append("a quote in an overrides file")
        if constraints.rent:
            reasons.append(f"{len(every)} rental offers, none allowed here" if every else "no rental offer")
            zones = sorted({o.zone for o in every if not o.gpu_only})
            fixes.append(
                f"zones {', '.join(zones)} or interruptible offers" if zones else "an offer in an overrides file"
            )
        return Rejection(
            candidate=sized.deployment.label,
            kind="no price",
            reason="fits and meets the SLO, but has " + " and ".join(reasons or ["no path allowed"]),
            nearest_fix=" or ".join(fixes) or "allow own or rent",
        )

    def _volume(self, sized: Sized, workload: Workload) -> Volume:
        return Volume(
            input_tokens_per_month=workload.input_tokens_per_month,
            output_tokens_per_month=workload.output_tokens_per_month,
            input_share=sized.capacity.prefill_time_share,
        )

    def _own_bill(self, sized: Sized, servers: Servers, workload: Workload) -> Cost:
        horizon = self.question.scenario.horizon_months
        return own_cost(sized.deployment, servers, horizon, self._volume(sized, workload), self.book)

    def _rent_bill(self, sized: Sized, offer: Offer, count: int, workload: Workload) -> Cost:
        return rent_cost(offer, sized.deployment.parallelism.gpus, count, self._volume(sized, workload), self.book)

    def _plan(
        self,
        sized: Sized,
        workload: Workload,
        replicas: int,
        bill: Cost,
        *,
        servers: Servers | None = None,
        offer: Offer | None = None,
    ) -> Plan:
        count = replicas + self.question.scenario.spare_replicas
        width = sized.deployment.parallelism.gpus
        units = servers.count if servers else instances_for(offer, width, count) if offer else 0
        return Plan(
            path=bill.path,
            deployment=sized.deployment,
            replicas=replicas,
            spare_replicas=self.question.scenario.spare_replicas,
            units=units,
            unit_name="servers" if servers else "instances",
            provider=offer.provider if offer else "own",
            zone=offer.zone if offer else "own premises or colocation",
            cost=bill,
            capacity=sized.capacity,
            at_peak=load_at(sized.replica, workload.peak_requests_per_second / replicas),
            fit=sized.fit,
            quality_recovery=sized.quality,
            notes=tuple(self._notes(sized, workload, replicas, offer)),
        )

    def _notes(self, sized: Sized, workload: Workload, replicas: int, offer: Offer | None) -> Iterator[str]:
        gpu, width = sized.deployment.gpu, sized.deployment.parallelism.gpus
        rate = sized.capacity.requests_per_second
        if rate.low and rate.high:
            most = replicas_for(workload.peak_requests_per_second, rate.low)
            fewest = replicas_for(workload.peak_requests_per_second, rate.high)
            if most != fewest:
                yield f"{fewest} to {most} replicas for the peak hour within the interval of the step times"
        elif rate.low == 0:
            yield "misses the SLO if steps are as slow as their interval allows"
        floor, quality = self.question.scenario.slo.quality_floor, sized.quality
        if quality.low is not None and quality.low < floor:
            name = sized.deployment.weights.name
            yield f"one model in twenty kept less than {quality.low:.1%} in {name}: measure yours"
        if sized.deployment.weights.compute != gpu.effective_compute(sized.deployment.weights.compute):
            yield f"{sized.deployment.weights.name} is stored small and computed in 16 bit on {gpu.name}"
        if offer is None and gpu.device_class == "consumer":
            yield "consumer card: check its driver licence and cooling before it goes into a data centre"
        if offer is not None and assumes_larger(offer, width):
            yield f"the list prices {offer.gpus_per_instance} GPU an instance; {width} at that price each are assumed"
        if offer is not None and is_marketplace(offer):
            yield "a marketplace's lowest host; what one gets is commonly two to three times as dear"
        if offer is not None and self.question.scenario.constraints.eu_only:
            yield JURISDICTION
        if is_whole_machine(gpu) and replicas + self.question.scenario.spare_replicas > 1:
            yield "desktop machines, one replica each"
