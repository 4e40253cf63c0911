"""What the modes of a week cost when machines are rented by the hour; machines of one's own cost the same asleep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.decide.pricing.bills import Bills
from llmsizer.facts.deployment import Deployment
from llmsizer.facts.figure import Figure, unknown
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import USD_PER_MONTH, Cost
from llmsizer.money.owning import Volume
from llmsizer.money.prices import PriceBook
from llmsizer.money.renting import Contract, Rented, rent_cost, rented_replicas
from llmsizer.traffic.hours.week import Mode, Running, unit_share

_RESERVED = "a year's term is paid for every hour, asleep or not"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeRent:
    """The cheapest offer for one mode; ``billed_share`` is of a month of the instances that the peak takes."""

    mode: Mode
    offer: str
    instances: int
    billed_share: float
    usd_per_month: Figure
    note: str = ""


def rent_of_modes(
    modes: Sequence[Running], deployment: Deployment, workload: Workload, scenario: Scenario, book: PriceBook
) -> tuple[ModeRent, ...]:
    """The month's bill of each mode, people and all; a figure without a value where nothing may be rented."""
    bills = Bills(scenario=scenario, book=book, workload=workload)
    found = bills.contracts_of(deployment.gpu.id)
    return tuple(_cheapest(running, deployment, workload, scenario, found, book) for running in modes)


def _cheapest(
    running: Running,
    deployment: Deployment,
    workload: Workload,
    scenario: Scenario,
    found: Sequence[Contract],
    book: PriceBook,
) -> ModeRent:
    priced = [(bill.usd_per_month.value, rented, bill) for rented, bill in
              (_bill(running, deployment, workload, scenario, contract, book) for contract in found)
              if bill.usd_per_month.value is not None]  # fmt: skip
    if not priced:
        reason = f"no offer to rent {deployment.gpu.name} that the scenario allows has a full price"
        return ModeRent(
            mode=running.mode,
            offer="",
            instances=0,
            billed_share=running.billed_share,
            usd_per_month=unknown(reason, USD_PER_MONTH),
        )
    _, rented, bill = min(priced, key=lambda found: found[0])
    return ModeRent(
        mode=running.mode,
        offer=bill.label,
        instances=rented.instances,
        billed_share=rented.billed_share,
        usd_per_month=bill.usd_per_month,
        note=rented.hours_note,
    )


def _bill(
    running: Running,
    deployment: Deployment,
    workload: Workload,
    scenario: Scenario,
    contract: Contract,
    book: PriceBook,
) -> tuple[Rented, Cost]:
    width, offer, spare = deployment.parallelism.gpus, contract.offer, scenario.spare_replicas
    share = unit_share(running, max(1, offer.gpus_per_instance // width))
    rented = Rented(
        contract=contract,
        gpus_per_replica=width,
        servers_per_replica=deployment.servers,
        replicas=rented_replicas(offer, max(1, running.peak_replicas - spare), spare, book),
        billed_share=1.0 if contract.is_reserved else share,
        hours_note=_RESERVED if contract.is_reserved and share < 1 else running.mode,
    )
    volume = Volume(
        input_tokens_per_month=workload.input_tokens_per_month * running.served_share,
        output_tokens_per_month=workload.output_tokens_per_month * running.served_share,
        input_share=0.5,  # of the cost, which is not split here
    )
    return rented, rent_cost(rented, deployment.gpu, volume, book)
