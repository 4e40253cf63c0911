"""Books of round prices, and bills from them, for the tests of money."""

from __future__ import annotations

import datetime

from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import exact
from llmsizer.facts.money_options import MoneyOptions
from llmsizer.facts.offer import ApiOffer, Offer, PurchasePrice
from llmsizer.facts.provenance import Provenance
from llmsizer.facts.scenario import parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.money.cost import Cost
from llmsizer.money.owning import Activity, Servers, Volume, own_cost
from llmsizer.money.prices import PriceBook, price_book
from llmsizer.money.renting import Contract, Rented
from llmsizer.units import SECONDS_PER_MONTH

TODAY = datetime.date(2026, 11, 21)
CATALOG = default_catalog()
LISTED = Provenance(source="price list", as_of="2026-11-01", confidence="list", basis="price list")
OLD = Provenance(source="price list", as_of="2026-07-01", confidence="list", basis="price list")
VOLUME = Volume(input_tokens_per_month=80e6, output_tokens_per_month=20e6, input_share=0.4)

ROUND_NUMBERS = {
    "usd_per_eur": 1.1,
    "non_gpu_server_share": 0.25,
    "server_base_usd": 5000,
    "network_capex_share": 0.1,
    "spare_parts_share": 0.02,
    "price_decline_per_year": 0.2,
    "residual_after_36_months": 0.25,
    "depreciation_years": 5,
    "capital_charge_per_year": 0.08,
    "lease_rate_per_year": 0.12,
    "hardware_lead_months": 3,
    "idle_power_share": 0.1,
    "one_sequence_power_share": 0.5,
    "full_batch_power_share": 0.6,
    "host_watts": 400,
    "board_host_watts": 400,
    "network_power_share": 0.0,
    "pue": 1.5,
    "colocation_usd_per_kw_month": 200,
    "storage_usd_per_unit_month": 50,
    "software_usd_per_gpu_year": 300,
    "maintenance_per_year": 0.06,
    "people_fte_own": 0.5,
    "people_fte_per_further_server": 0.1,
    "people_fte_rent": 0.25,
    "people_fte_per_further_instance": 0.05,
    "fte_usd_per_year": 120_000,
    "egress_bytes_per_token": 100,
    "egress_usd_per_gb": 0.1,
    "spot_lost_share": 0.2,
    "reserved_1y_discount": 0.4,
    "api_retry_share": 0.02,
    "cache_reads_per_write": 10,
}
HALF_BUSY = Activity(busy_gpus=4.0)


def book(gpu_usd: float | None = 30_000, options: MoneyOptions | None = None, **changes: float) -> PriceBook:
    price = PurchasePrice(item="h100-sxm-80", kind="street", unit="per GPU", usd=gpu_usd, provenance=LISTED)
    return PriceBook(
        today=TODAY,
        assumed={name: exact(value, "", "assumed", "test") for name, value in (ROUND_NUMBERS | changes).items()},
        usd_per_kwh=exact(0.20, "USD/kWh", "price list", "test"),
        purchase={"h100-sxm-80": (price,)} if gpu_usd else {},
        offers={},
        apis=(),
        options=options or MoneyOptions(),
        grams_per_kwh=exact(400.0, "gCO2e/kWh", "published", "test"),
        area="TST",
    )


def owned(prices: PriceBook, months: int = 36, activity: Activity = HALF_BUSY) -> Cost:
    return own_cost(H100, Servers(count=1, gpus_each=8), months, VOLUME, prices, activity=activity)


def cents(cost: Cost, part: str) -> float:
    value = cost.part(part).value
    assert value is not None
    return round(value, 2)


def total_of(cost: Cost) -> float:
    value = cost.usd_per_month.value
    assert value is not None
    return round(value, 2)


H100 = CATALOG.gpu("h100-sxm-80")
L40S = CATALOG.gpu("l40s")


def rented(listed: Offer, gpus: int, replicas: int) -> Rented:
    return Rented(contract=Contract(offer=listed), gpus_per_replica=gpus, replicas=replicas)


def load(cached: float = 0.0, reasoning: int = 0) -> Workload:
    return Workload(
        requests_per_second=80_000 / SECONDS_PER_MONTH,
        prompt_tokens=1000,
        output_tokens=250,
        reasoning_tokens=reasoning,
        cached_prompt_fraction=cached,
    )


def api(
    fresh: float | None,
    cached: float | None,
    out: float | None,
    origin: Provenance = LISTED,
    write: float | None = None,
) -> ApiOffer:
    return ApiOffer(
        id="p/m",
        provider="p",
        model="m",
        input_usd_per_mtok=fresh,
        cached_input_usd_per_mtok=cached,
        cache_write_usd_per_mtok=write,
        output_usd_per_mtok=out,
        context_tokens=32_000,
        provenance=origin,
    )


def offer(gpus_per_instance: int = 1, usd: float = 2.0, gpu_only: bool = False, note: str = "") -> Offer:
    origin = Provenance(source="s", as_of="2026-11-01", confidence="list", basis="price list", note=note)
    return Offer(
        id="o",
        provider="somewhere",
        zone="EU",
        gpu="h100-sxm-80",
        gpu_as_listed="H100",
        term="on-demand",
        usd_per_gpu_hour=usd,
        gpus_per_instance=gpus_per_instance,
        gpu_only=gpu_only,
        provenance=origin,
    )


def real_book(area: str = "DEU", **assumptions: float) -> PriceBook:
    extra = "\n".join(f"{name} = {value}" for name, value in assumptions.items())
    scenario = parse_scenario(f'model = "m"\nworkload = "chat"\nelectricity_area = "{area}"\n[assumptions]\n{extra}')
    return price_book(CATALOG, scenario, TODAY)


REAL_BOOK = real_book()
