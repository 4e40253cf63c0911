"""What a bill depends on: one record per path, whose values are numbers or arrays of draws.

Every formula of ``money.formulas`` is a pure function of such a record. A value that nobody knows is NaN, and makes
NaN of exactly the parts that need it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Number = float | NDArray[np.float64]
UNKNOWN = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnDrivers:
    """A fleet of one's own: counts, prices in dollars, shares, watts."""

    servers: Number
    gpus: Number  # in all servers, spare ones included
    busy_gpus: Number  # mean number with at least one request in flight
    horizon_months: Number
    is_leased: bool = False
    server_usd: Number
    lease_usd_per_server_month: Number = UNKNOWN  # a quote; without one the lease is an annuity of the price
    lease_rate_per_year: Number = UNKNOWN
    network_capex_share: Number
    spare_parts_share: Number
    price_decline_per_year: Number  # of what a replacement costs
    residual_after_36_months: Number
    depreciation_years: Number
    capital_charge_per_year: Number
    maintenance_per_year: Number
    gpu_watts: Number
    busy_depth: Number = 0.0  # ln(batch) / ln(256) while busy: how far up the power curve
    idle_power_share: Number
    one_sequence_power_share: Number
    full_batch_power_share: Number
    host_watts: Number
    network_power_share: Number
    pue: Number
    usd_per_kwh: Number
    colocation_usd_per_kw_month: Number
    storage_usd_per_unit_month: Number
    software_usd_per_gpu_year: Number
    people_fte_own: Number  # of the first server
    people_fte_per_further_server: Number
    fte_usd_per_year: Number
    vat_rate: Number = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RentDrivers:
    """Rented instances: hours that are billed, dollars an hour."""

    instances: Number
    instance_hours: Number  # billed in a month, all instances together
    usd_per_instance_hour: Number
    machine_usd_per_instance_hour: Number = 0.0  # of a virtual machine that is billed apart; NaN where not printed
    output_tokens_per_month: Number
    egress_bytes_per_token: Number
    egress_usd_per_gb: Number
    storage_usd_per_unit_month: Number
    people_fte_rent: Number  # of the first instance
    people_fte_per_further_instance: Number
    fte_usd_per_year: Number
    vat_rate: Number = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiDrivers:
    """Tokens of a month by how they are billed, and dollars a million. Cached input is read, or written first."""

    input_tokens_per_month: Number
    cached_fraction: Number  # of the input, read from the cache
    cache_reads_per_write: Number
    is_write_billed: bool = False  # whether writing to the cache has a price of its own
    output_tokens_per_month: Number  # visible
    reasoning_tokens_per_month: Number = 0.0
    input_usd_per_mtok: Number
    cached_input_usd_per_mtok: Number
    cache_write_usd_per_mtok: Number = UNKNOWN
    output_usd_per_mtok: Number
    reasoning_usd_per_mtok: Number = UNKNOWN
    long_share: Number = 0.0  # of the tokens, in requests beyond the price list's context tier
    long_input_usd_per_mtok: Number = UNKNOWN
    long_cached_input_usd_per_mtok: Number = UNKNOWN
    long_cache_write_usd_per_mtok: Number = UNKNOWN
    long_output_usd_per_mtok: Number = UNKNOWN
    batch_share: Number = 0.0
    batch_input_factor: Number = UNKNOWN  # of the price, for work that may wait
    batch_output_factor: Number = UNKNOWN
    retry_share: Number  # of requests, paid twice
    discount: Number = 0.0  # negotiated, off the whole bill
    vat_rate: Number = 0.0
