"""When the money leaves: month by month from the order, and what that is worth today."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import TypedDict

from llmsizer.money.cost import Cost
from llmsizer.money.currency import shown
from llmsizer.units import MONTHS_PER_YEAR

NOT_CASH = ("hardware", "network", "spare parts", "capital")  # spread over the months; bought and sold once


class CashFlowDoc(TypedDict):
    """The JSON form of a cash flow; amounts are null where a price is missing."""

    label: str
    usd_by_month: list[float] | None
    total_usd: float | None
    npv_usd: float | None
    discount_rate_per_year: float
    service_from_month: float
    events: list[str]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CashFlow:
    """Dollars paid in each month from the order on; what comes back is negative.

    The net present value discounts month m by (1 + rate) ** (m / 12). Interest is in the discount, so the bill's
    capital charge, which is the same interest spread over the months, is no cash.
    """

    label: str
    usd_by_month: tuple[float, ...] | None
    discount_rate_per_year: float
    service_from_month: float = 0.0
    events: tuple[str, ...] = ()
    reason: str = ""  # why there is none

    @property
    def total_usd(self) -> float | None:
        return None if self.usd_by_month is None else math.fsum(self.usd_by_month)

    @property
    def npv_usd(self) -> float | None:
        if self.usd_by_month is None:
            return None
        years = np.arange(len(self.usd_by_month)) / MONTHS_PER_YEAR
        return float(np.sum(np.array(self.usd_by_month) / (1 + self.discount_rate_per_year) ** years))

    def to_dict(self) -> CashFlowDoc:
        return {
            "label": self.label,
            "usd_by_month": None if self.usd_by_month is None else list(self.usd_by_month),
            "total_usd": self.total_usd,
            "npv_usd": self.npv_usd,
            "discount_rate_per_year": self.discount_rate_per_year,
            "service_from_month": self.service_from_month,
            "events": list(self.events),
            "reason": self.reason,
        }


def serves_from_month(bills: Sequence[Cost]) -> int:
    """The month, counted from the order, in which all of these can serve: what is compared serves the same months."""
    return max((math.ceil(bill.service_from_month) for bill in bills), default=0)


def cash_flow(
    bill: Cost,
    horizon_months: int,
    discount_rate_per_year: float,
    *,
    vat_rate: float = 0.0,
    serves_from: int = 0,
) -> CashFlow:
    """The bill as payments: purchases with the order, the running parts for each month of service, the sale at the end.

    Month 0 is that of the decision for every path. ``serves_from``: the month in which service begins where what it is
    compared with takes longer; what can serve earlier begins to cost then too, and all serve for the same months.
    Undiscounted it sums to the bill's total over the horizon less its capital charge.
    """
    if not bill.is_complete:
        reason = bill.usd_per_month.estimate.reason
        return CashFlow(
            label=bill.label, usd_by_month=None, discount_rate_per_year=discount_rate_per_year, reason=reason
        )
    owned = bool(bill.one_offs)
    running = [p for p in bill.parts if not (owned and p.name in NOT_CASH) and p.name != "VAT"]
    taxed = sum(p.usd_per_month.value or 0.0 for p in running if p.taxed)
    month_usd = sum(p.usd_per_month.value or 0.0 for p in running) + vat_rate * taxed
    first = max(serves_from, math.ceil(bill.service_from_month))
    flow = np.zeros(first + horizon_months + 1)
    flow[first : first + horizon_months] += month_usd
    for event in bill.one_offs:
        flow[min(len(flow) - 1, math.ceil(event.month))] += event.usd * (1 + vat_rate)
    money, taxed_share = shown(), 1 + vat_rate
    events = [f"month {math.ceil(e.month)}: {e.what}, {money.exact_text(e.usd * taxed_share)}" for e in bill.one_offs]
    return CashFlow(
        label=bill.label,
        usd_by_month=tuple(float(usd) for usd in flow),
        discount_rate_per_year=discount_rate_per_year,
        service_from_month=max(float(serves_from), bill.service_from_month),
        events=tuple(events),
    )
