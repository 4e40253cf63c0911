"""From a sized replica to fleets with a bill: own whole servers, or rent whole instances from the cheapest offer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from llmsizer.decide.answer import Plan, Rejection
from llmsizer.decide.candidates import Sized
from llmsizer.decide.question import Question
from llmsizer.facts.offer import Offer
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost, Path, spanning
from llmsizer.money.owning import Servers, Volume, own_cost, people, servers_for
from llmsizer.money.prices import PriceBook, is_whole_machine
from llmsizer.money.renting import assumes_larger, billed_gpus, instances_for, is_marketplace, rent_cost
from llmsizer.traffic.sizing import load_at, replicas_for
from llmsizer.units import HOURS_PER_MONTH

JURISDICTION = "the operator's jurisdiction is not in the price lists: an EU region of any provider counts as EU here"
PATHS: tuple[Path, ...] = ("own", "rent")
# The total of a bill does not depend on the tokens it is spread over.
_NO_VOLUME = Volume(input_tokens_per_month=1.0, output_tokens_per_month=1.0, input_share=0.5)


@dataclass(frozen=True, kw_only=True)
class Pricer:
    """Bills of fleets: quickly as a sum for a search over volumes, in full for what is shown."""

    question: Question
    book: PriceBook
    _servers_usd: dict[tuple[str, int], float | None] = field(default_factory=dict)
    _offers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)
    _people: dict[str, float] = field(default_factory=dict)

    @property
    def spare(self) -> int:
        return self.question.scenario.spare_replicas

    def count(self, sized: Sized, peak_requests_per_second: float) -> int:
        """Replicas for the peak hour, spares included."""
        return replicas_for(peak_requests_per_second, sized.held.rate) + self.spare

    def usd(self, sized: Sized, path: Path, peak_requests_per_second: float) -> float | None:
        """Dollars a month of a path; None where the scenario or a missing price rules it out."""
        count = self.count(sized, peak_requests_per_second)
        return self._own_usd(sized, count) if path == "own" else self._rent_usd(sized, count)

    def _own_usd(self, sized: Sized, count: int) -> float | None:
        servers = self._servers(sized, count)
        if servers is None:
            return None
        key = (sized.deployment.gpu.id, servers.gpus_each)
        if key not in self._servers_usd:
            # Every part of the bill but people is proportional to the servers: one of them says what many cost.
            one = replace(servers, count=1)
            bill = own_cost(sized.deployment, one, self.question.scenario.horizon_months, _NO_VOLUME, self.book)
            whole = bill.usd_per_month.value
            self._servers_usd[key] = None if whole is None else whole - self._people_usd("people_fte_own")
        each = self._servers_usd[key]
        return None if each is None else servers.count * each + self._people_usd("people_fte_own")

    def _rent_usd(self, sized: Sized, count: int) -> float | None:
        offer = self.cheapest_offer(sized, count)
        if offer is None:
            return None
        hourly = offer.usd_per_gpu_hour * billed_gpus(offer, sized.gpus, count)
        return hourly * HOURS_PER_MONTH + self._people_usd("people_fte_rent")

    def _people_usd(self, fte: str) -> float:
        if fte not in self._people:
            self._people[fte] = people(self.book, fte).usd_per_month.value or 0.0
        return self._people[fte]

    def _servers(self, sized: Sized, count: int) -> Servers | None:
        allowed = self.question.scenario.constraints.own
        return servers_for(sized.deployment.gpu, sized.gpus, count) if allowed else None

    def cheapest_offer(self, sized: Sized, count: int) -> Offer | None:
        """Of the offers the scenario allows."""
        gpu = sized.deployment.gpu.id
        if gpu not in self._offers:
            self._offers[gpu] = tuple(offer for offer in self.book.offers.get(gpu, ()) if self._allowed(offer))
        return min(
            self._offers[gpu],
            key=lambda offer: offer.usd_per_gpu_hour * billed_gpus(offer, sized.gpus, count),
            default=None,
        )

    def _allowed(self, offer: Offer) -> bool:
        constraints = self.question.scenario.constraints
        zones = constraints.allowed_zones
        if not constraints.rent or (zones and offer.zone not in zones) or offer.gpu_only:
            return False
        return constraints.interruptible or not (offer.is_interruptible or is_marketplace(offer))

    def plan(self, sized: Sized, path: Path, workload: Workload) -> Plan:
        """The fleet of a path that has a price, with its bill in full."""
        count = self.count(sized, workload.peak_requests_per_second)
        volume = Volume(
            input_tokens_per_month=workload.input_tokens_per_month,
            output_tokens_per_month=workload.output_tokens_per_month,
            input_share=sized.capacity.prefill_time_share,
        )
        fewest, most = self._interval(sized, workload.peak_requests_per_second)
        if path == "own":

            def owned(replicas: int) -> Cost:
                servers = self._servers(sized, replicas)
                assert servers is not None
                return own_cost(sized.deployment, servers, self.question.scenario.horizon_months, volume, self.book)

            servers = self._servers(sized, count)
            assert servers is not None
            bill = owned(count) if fewest == most else spanning(owned(count), owned(fewest), owned(most))
            return self._plan(sized, workload, count, bill, units=servers.count, offer=None)
        offer = self.cheapest_offer(sized, count)
        assert offer is not None
        bill, *ends = (rent_cost(offer, sized.gpus, n, volume, self.book) for n in (count, fewest, most))
        units = instances_for(offer, sized.gpus, count)
        return self._plan(sized, workload, count, spanning(bill, *ends), units=units, offer=offer)

    def _interval(self, sized: Sized, peak_requests_per_second: float) -> tuple[int, int]:
        """Fewest and most replicas, spares included, within the interval of the step times.

        Where the slow end misses the SLO no number of replicas helps: the plan is marked, not its bill.
        """
        held = sized.held
        slow = held.rate_low if held.rate_low > 0 else held.rate
        fewest = replicas_for(peak_requests_per_second, held.rate_high) + self.spare
        return fewest, replicas_for(peak_requests_per_second, slow) + self.spare

    def no_price(self, sized: Sized) -> Rejection:
        """Why a replica that works has no bill."""
        gpu, constraints = sized.deployment.gpu, self.question.scenario.constraints
        every = self.book.offers.get(gpu.id, ())
        reasons, fixes = [], []
        if constraints.own:
            reasons.append(f"no purchase price of {gpu.name}")
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

    def _plan(
        self, sized: Sized, workload: Workload, count: int, bill: Cost, *, units: int, offer: Offer | None
    ) -> Plan:
        replicas = count - self.spare
        return Plan(
            path=bill.path,
            deployment=sized.deployment,
            replicas=replicas,
            spare_replicas=self.spare,
            units=units,
            unit_name="instances" if offer else "servers",
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
        gpu, width = sized.deployment.gpu, sized.gpus
        fewest, most = self._interval(sized, workload.peak_requests_per_second)
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
        if offer is not None and assumes_larger(offer, width):
            yield f"the list prices {offer.gpus_per_instance} GPU an instance; {width} at that price each are assumed"
        if offer is not None and is_marketplace(offer):
            yield "a marketplace's lowest host; what one gets is commonly two to three times as dear"
        if offer is not None and self.question.scenario.constraints.eu_only:
            yield JURISDICTION
        if is_whole_machine(gpu) and replicas + self.spare > 1:
            yield "desktop machines, one replica each"
