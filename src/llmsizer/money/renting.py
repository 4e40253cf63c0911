"""What rented GPUs cost a month: whole instances around the clock, and the people who run the model on them."""

from __future__ import annotations

import math

from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.offer import Offer
from llmsizer.facts.provenance import Estimate
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart, stale_flags
from llmsizer.money.owning import Volume, people
from llmsizer.money.prices import PriceBook
from llmsizer.units import HOURS_PER_MONTH

# Marketplaces print the cheapest live host; their own notes say that what one gets is dearer.
_MARKET_WORDS = ("marketplace", "decentralized", "fluctuates")
_MARKET_HIGH = 3.0  # "actual provisioning price commonly 2–3× higher", as the price list itself notes


def is_marketplace(offer: Offer) -> bool:
    """Whether the price is the lowest of many private hosts rather than what a provider sells at."""
    return any(word in offer.provenance.note.lower() for word in _MARKET_WORDS)


def instances_for(offer: Offer, gpus_per_replica: int, replicas: int) -> int:
    """Whole instances; those smaller than a replica are taken as sold in its size too (see ``assumes_larger``)."""
    if offer.gpus_per_instance <= gpus_per_replica:
        return replicas
    return math.ceil(replicas / (offer.gpus_per_instance // gpus_per_replica))


def assumes_larger(offer: Offer, gpus_per_replica: int) -> bool:
    """Whether a larger instance at the same price per GPU has to be assumed."""
    return offer.gpus_per_instance < gpus_per_replica


def billed_gpus(offer: Offer, gpus_per_replica: int, replicas: int) -> int:
    """GPUs on the bill, idle ones of a large instance included."""
    return instances_for(offer, gpus_per_replica, replicas) * max(offer.gpus_per_instance, gpus_per_replica)


def rent_cost(offer: Offer, gpus_per_replica: int, replicas: int, volume: Volume, book: PriceBook) -> Cost:
    """The monthly bill of an offer, always on."""
    gpus = billed_gpus(offer, gpus_per_replica, replicas)
    hourly = offer.usd_per_gpu_hour
    dearer = max(hourly, offer.median_usd_per_gpu_hour or hourly, hourly * _MARKET_HIGH if is_marketplace(offer) else 0)
    estimate = Estimate(
        value=hourly,
        low=hourly,
        high=dearer,
        basis=offer.provenance.basis,
        reason="cheapest printed; up to the provider's median in this zone" if dearer > hourly else "",
    )
    price = Figure(
        estimate=estimate.scaled(gpus * HOURS_PER_MONTH),
        unit=USD_PER_MONTH,
        source=offer.provenance.source,
        as_of=offer.provenance.as_of,
        stale=offer.provenance.is_stale(book.today),
    )
    how = f"{gpus} GPUs × ${hourly:.4g}/h × {HOURS_PER_MONTH:.0f} h"
    parts = [CostPart(name="instances", usd_per_month=price, how=how)]
    if offer.gpu_only:
        gap = unknown(f"{offer.provider} bills the virtual machine on top, and its price is not known", USD_PER_MONTH)
        parts.append(CostPart(name="virtual machine", usd_per_month=gap))
    parts.append(people(book, "people_fte_rent"))
    return Cost(
        path="rent",
        label=f"rent {gpus}× {offer.gpu_as_listed} at {offer.provider} ({offer.zone}, {offer.term})",
        parts=tuple(parts),
        input_tokens_per_month=volume.input_tokens_per_month,
        output_tokens_per_month=volume.output_tokens_per_month,
        input_share=volume.input_share,
        flags=stale_flags(parts),
    )
