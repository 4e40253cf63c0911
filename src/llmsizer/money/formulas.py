"""Every line of every bill as a pure function of its drivers: dollars a month, floats or arrays alike.

``OWN``, ``LEASE``, ``RENT`` and ``API`` list the lines in the order of the bill. ``uses`` names the drivers a line
depends on, and no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmsizer.money.drivers import ApiDrivers, Number, OwnDrivers, RentDrivers
from llmsizer.units import GIGA, HOURS_PER_MONTH, KILO, MEGA, MONTHS_PER_YEAR

RESIDUAL_MONTHS = 36  # the age at which the residual value is stated
_LEAST_MONTHS = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a bill. ``sunk``: paid, or owed, whether this workload runs or not."""

    name: str
    usd: Callable[[Any], Number]
    uses: tuple[str, ...]
    dated_by: str  # the driver whose source and date stand for the line's
    sunk: bool = False
    taxed: bool = True  # whether VAT is charged on it


# owning ---------------------------------------------------------------------------------------------------------------


def residual_fraction(after_36_months: Number, months: Number) -> Number:
    """Of the price, when sold: the same yearly decline before and after the age at which it is stated."""
    return after_36_months ** (months / RESIDUAL_MONTHS)


def kept_months(d: OwnDrivers) -> Number:
    """How long one generation of hardware is kept at most."""
    return d.depreciation_years * MONTHS_PER_YEAR


def generations(d: OwnDrivers) -> Iterator[tuple[Number, Number, Number]]:
    """Month of purchase, months kept, and price of one server, for each generation within the horizon.

    A replacement is bought at what the price has come down to; the last one is sold when the horizon ends.
    """
    kept = kept_months(d)
    for index in range(max(1, int(np.ceil(np.max(d.horizon_months / kept) - 1e-9)))):
        bought = index * kept
        months = np.maximum(0.0, np.minimum(d.horizon_months - bought, kept))
        yield bought, months, d.server_usd * (1 - d.price_decline_per_year) ** (bought / MONTHS_PER_YEAR)


def _written_off(d: OwnDrivers) -> Number:
    """Dollars a month: what servers lose in worth between purchase and sale."""
    lost: Number = 0.0
    for _, months, price in generations(d):
        lost = lost + price * (1 - residual_fraction(d.residual_after_36_months, months))
    return d.servers * lost / d.horizon_months


def _capital(d: OwnDrivers) -> Number:
    """Interest on the mean of price and residual value, while it is kept."""
    interest: Number = 0.0
    for _, months, price in generations(d):
        worth = price * (1 + residual_fraction(d.residual_after_36_months, months)) / 2
        interest = interest + worth * months / MONTHS_PER_YEAR
    beside = 1 + d.network_capex_share + d.spare_parts_share
    return d.servers * beside * interest * d.capital_charge_per_year / d.horizon_months


def _lease(d: OwnDrivers) -> Number:
    """The quoted rate, renewed as it is; else annuities that pay off price less residual value, one a generation.

    What is leased anew after the depreciation time is leased at what the price has come down to.
    """
    rate = np.maximum(d.lease_rate_per_year, 1e-9) / MONTHS_PER_YEAR  # at no interest the annuity is a plain division
    paid: Number = 0.0
    for _, months, server_usd in generations(d):
        term = np.maximum(months, _LEAST_MONTHS)  # a generation of no month costs nothing
        price = server_usd * (1 + d.network_capex_share + d.spare_parts_share)
        left = price * residual_fraction(d.residual_after_36_months, term)
        annuity = (price - left * (1 + rate) ** -term) * rate / (1 - (1 + rate) ** -term)
        paid = paid + np.where(months > 0, annuity * months, 0.0)
    quoted = d.lease_usd_per_server_month
    return d.servers * np.where(np.isnan(quoted), paid / d.horizon_months, quoted)


def serving_watts(
    *,
    gpus: Number,
    hosts: Number,
    busy_gpus: Number,
    busy_depth: Number,
    gpu_watts: Number,
    host_watts: Number,
    network_power_share: Number,
    idle_power_share: Number,
    one_sequence_power_share: Number,
    full_batch_power_share: Number,
) -> Number:
    """Mean draw of GPUs, hosts and switches: GPUs in use by the curve of ``traffic.energy``, the others idle."""
    step = one_sequence_power_share + (full_batch_power_share - one_sequence_power_share) * busy_depth
    serving = busy_gpus * step + (gpus - busy_gpus) * idle_power_share
    return (gpu_watts * serving + hosts * host_watts) * (1 + network_power_share)


def it_watts(d: OwnDrivers) -> Number:
    """Of machines of one's own."""
    return serving_watts(
        gpus=d.gpus,
        hosts=d.servers,
        busy_gpus=d.busy_gpus,
        busy_depth=d.busy_depth,
        gpu_watts=d.gpu_watts,
        host_watts=d.host_watts,
        network_power_share=d.network_power_share,
        idle_power_share=d.idle_power_share,
        one_sequence_power_share=d.one_sequence_power_share,
        full_batch_power_share=d.full_batch_power_share,
    )


def _electricity(d: OwnDrivers) -> Number:
    return it_watts(d) * d.pue / KILO * HOURS_PER_MONTH * d.usd_per_kwh


def _colocation(d: OwnDrivers) -> Number:
    reserved = (d.gpu_watts * d.gpus + d.servers * d.host_watts) * (1 + d.network_power_share)
    return reserved / KILO * d.colocation_usd_per_kw_month


def fte_owning(d: OwnDrivers) -> Number:
    """Full-time people: those of the first server, and a share of one for each further server."""
    return d.people_fte_own + d.people_fte_per_further_server * np.maximum(0.0, d.servers - 1)


def fte_renting(d: RentDrivers) -> Number:
    """The same of instances."""
    return d.people_fte_rent + d.people_fte_per_further_instance * np.maximum(0.0, d.instances - 1)


_WRITE_OFF = ("servers", "horizon_months", "server_usd", "price_decline_per_year", "residual_after_36_months",
              "depreciation_years")  # fmt: skip
_MAINTENANCE = Line(
    name="maintenance",
    usd=lambda d: d.servers * d.server_usd * d.maintenance_per_year / MONTHS_PER_YEAR,
    uses=("servers", "server_usd", "maintenance_per_year"),
    dated_by="server_usd",
)
_RUNNING = (
    _MAINTENANCE,
    Line(
        name="electricity",
        usd=_electricity,
        uses=("servers", "gpus", "busy_gpus", "busy_depth", "gpu_watts", "idle_power_share",
              "one_sequence_power_share", "full_batch_power_share", "host_watts", "network_power_share", "pue",
              "usd_per_kwh"),
        dated_by="usd_per_kwh",
    ),
    Line(
        name="colocation",
        usd=_colocation,
        uses=("servers", "gpus", "gpu_watts", "host_watts", "network_power_share", "colocation_usd_per_kw_month"),
        dated_by="colocation_usd_per_kw_month",
    ),
    Line(
        name="storage",
        usd=lambda d: d.servers * d.storage_usd_per_unit_month,
        uses=("servers", "storage_usd_per_unit_month"),
        dated_by="storage_usd_per_unit_month",
    ),
    Line(
        name="software licences",
        usd=lambda d: d.gpus * d.software_usd_per_gpu_year / MONTHS_PER_YEAR,
        uses=("gpus", "software_usd_per_gpu_year"),
        dated_by="software_usd_per_gpu_year",
    ),
    Line(
        name="people",
        usd=lambda d: fte_owning(d) * d.fte_usd_per_year / MONTHS_PER_YEAR,
        uses=("servers", "people_fte_own", "people_fte_per_further_server", "fte_usd_per_year"),
        dated_by="people_fte_own",
        sunk=True,
        taxed=False,
    ),
)  # fmt: skip

OWN = (
    Line(name="hardware", usd=_written_off, uses=_WRITE_OFF, dated_by="server_usd", sunk=True),
    Line(
        name="network",
        usd=lambda d: _written_off(d) * d.network_capex_share,
        uses=(*_WRITE_OFF, "network_capex_share"),
        dated_by="network_capex_share",
        sunk=True,
    ),
    Line(
        name="spare parts",
        usd=lambda d: _written_off(d) * d.spare_parts_share,
        uses=(*_WRITE_OFF, "spare_parts_share"),
        dated_by="spare_parts_share",
        sunk=True,
    ),
    Line(
        name="capital",
        usd=_capital,
        uses=(*_WRITE_OFF, "network_capex_share", "spare_parts_share", "capital_charge_per_year"),
        dated_by="capital_charge_per_year",
        sunk=True,
        taxed=False,
    ),
    *_RUNNING,
)
LEASE = (
    Line(
        name="lease",
        usd=_lease,
        uses=(*_WRITE_OFF, "network_capex_share", "spare_parts_share", "lease_rate_per_year",
              "lease_usd_per_server_month"),
        dated_by="lease_rate_per_year",
        sunk=True,
    ),
    *_RUNNING,
)  # fmt: skip

# renting --------------------------------------------------------------------------------------------------------------

RENT = (
    Line(
        name="instances",
        usd=lambda d: d.instance_hours * d.usd_per_instance_hour,
        uses=("instance_hours", "usd_per_instance_hour"),
        dated_by="usd_per_instance_hour",
    ),
    Line(
        name="virtual machine",
        usd=lambda d: d.instance_hours * d.machine_usd_per_instance_hour,
        uses=("instance_hours", "machine_usd_per_instance_hour"),
        dated_by="machine_usd_per_instance_hour",
    ),
    Line(
        name="storage",
        usd=lambda d: d.instances * d.storage_usd_per_unit_month,
        uses=("instances", "storage_usd_per_unit_month"),
        dated_by="storage_usd_per_unit_month",
    ),
    Line(
        name="egress",
        usd=lambda d: d.output_tokens_per_month * d.egress_bytes_per_token / GIGA * d.egress_usd_per_gb,
        uses=("output_tokens_per_month", "egress_bytes_per_token", "egress_usd_per_gb"),
        dated_by="egress_usd_per_gb",
    ),
    Line(
        name="people",
        usd=lambda d: fte_renting(d) * d.fte_usd_per_year / MONTHS_PER_YEAR,
        uses=("instances", "people_fte_rent", "people_fte_per_further_instance", "fte_usd_per_year"),
        dated_by="people_fte_rent",
        sunk=True,
        taxed=False,
    ),
)

# APIs -----------------------------------------------------------------------------------------------------------------


def _read_tokens(d: ApiDrivers) -> Number:
    return d.input_tokens_per_month * d.cached_fraction


def _written_tokens(d: ApiDrivers) -> Number:
    """What has to be written once before it is read so many times; never more than what is not read."""
    if not d.is_write_billed:
        return 0.0 * d.input_tokens_per_month
    return np.minimum(_read_tokens(d) / d.cache_reads_per_write, d.input_tokens_per_month - _read_tokens(d))


def _fresh_tokens(d: ApiDrivers) -> Number:
    return d.input_tokens_per_month - _read_tokens(d) - _written_tokens(d)


def _billed(d: ApiDrivers, tokens: Number, price: Number, long_price: Number, batch_factor: Number) -> Number:
    """Dollars for tokens at the tier of their requests, batched in part, less what was negotiated."""
    tiered = np.where(d.long_share > 0, price * (1 - d.long_share) + d.long_share * long_price, price)
    batched = np.where(d.batch_share > 0, 1 - d.batch_share + d.batch_share * batch_factor, 1.0)
    usd = tokens / MEGA * tiered * batched * (1 - d.discount)
    return np.where(tokens > 0, usd, 0.0)


_ALL_API = ("long_share", "discount")
_INPUT = ("input_tokens_per_month", "cached_fraction", *_ALL_API)
_TOKENS = (
    Line(
        name="input",
        usd=lambda d: _billed(
            d, _fresh_tokens(d), d.input_usd_per_mtok, d.long_input_usd_per_mtok, d.batch_input_factor
        ),
        uses=(*_INPUT, "cache_reads_per_write", "input_usd_per_mtok", "long_input_usd_per_mtok", "batch_share",
              "batch_input_factor"),
        dated_by="input_usd_per_mtok",
    ),
    Line(
        name="cache write",
        usd=lambda d: _billed(
            d, _written_tokens(d), d.cache_write_usd_per_mtok, d.long_cache_write_usd_per_mtok, 1.0
        ),
        uses=(*_INPUT, "cache_reads_per_write", "cache_write_usd_per_mtok", "long_cache_write_usd_per_mtok"),
        dated_by="cache_write_usd_per_mtok",
    ),
    Line(
        name="cached input",
        usd=lambda d: _billed(d, _read_tokens(d), d.cached_input_usd_per_mtok, d.long_cached_input_usd_per_mtok, 1.0),
        uses=(*_INPUT, "cached_input_usd_per_mtok", "long_cached_input_usd_per_mtok"),
        dated_by="cached_input_usd_per_mtok",
    ),
    Line(
        name="output",
        usd=lambda d: _billed(
            d, d.output_tokens_per_month, d.output_usd_per_mtok, d.long_output_usd_per_mtok, d.batch_output_factor
        ),
        uses=(*_ALL_API, "output_tokens_per_month", "output_usd_per_mtok", "long_output_usd_per_mtok",
              "batch_share", "batch_output_factor"),
        dated_by="output_usd_per_mtok",
    ),
    Line(
        name="reasoning",
        usd=lambda d: _billed(
            d, d.reasoning_tokens_per_month, d.reasoning_usd_per_mtok, d.long_output_usd_per_mtok, d.batch_output_factor
        ),
        uses=(*_ALL_API, "reasoning_tokens_per_month", "reasoning_usd_per_mtok", "long_output_usd_per_mtok",
              "batch_share", "batch_output_factor"),
        dated_by="reasoning_usd_per_mtok",
    ),
)  # fmt: skip


def _retries(d: ApiDrivers) -> Number:
    """Requests that are sent, and billed, once more."""
    once: Number = 0.0
    for line in _TOKENS:
        once = once + line.usd(d)
    return once * d.retry_share


API = (
    *_TOKENS,
    Line(
        name="retries",
        usd=_retries,
        uses=(*dict.fromkeys(name for line in _TOKENS for name in line.uses), "retry_share"),
        dated_by="retry_share",
    ),
)


def lines_of(drivers: OwnDrivers | RentDrivers | ApiDrivers) -> tuple[Line, ...]:
    """The bill's lines for a record of drivers."""
    if isinstance(drivers, OwnDrivers):
        return LEASE if drivers.is_leased else OWN
    return RENT if isinstance(drivers, RentDrivers) else API


def monthly_parts(drivers: OwnDrivers | RentDrivers | ApiDrivers, *, marginal: bool = False) -> dict[str, Number]:
    """Dollars a month by line, VAT last; NaN where a driver is unknown. For draws: arrays in, arrays out.

    ``marginal`` leaves out what is paid whether the workload runs or not.
    """
    lines = [line for line in lines_of(drivers) if not (marginal and line.sunk)]
    parts = {line.name: line.usd(drivers) for line in lines}
    taxed: Number = 0.0
    for line in lines:
        taxed = taxed + (parts[line.name] if line.taxed else 0.0)
    return parts | {"VAT": taxed * drivers.vat_rate}
