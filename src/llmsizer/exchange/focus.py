"""Costs of a plan or a comparison as rows in the columns of FOCUS 1.0 (FinOps Open Cost and Usage Specification).

A plan has been billed to nobody: ``BilledCost`` is null, the planned amount stands under ``EffectiveCost`` (and
``ListCost`` where a price list is its basis), and what FOCUS has no column for is in columns of our own with ``x_``.
What has no price is null with its reason, never 0.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from llmsizer.exchange.values import Refused, at, items_at, number, text_at

COLUMNS = (
    "AvailabilityZone", "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "BillingPeriodEnd",
    "BillingPeriodStart", "ChargeCategory", "ChargeClass", "ChargeDescription", "ChargeFrequency", "ChargePeriodEnd",
    "ChargePeriodStart", "CommitmentDiscountCategory", "CommitmentDiscountId", "CommitmentDiscountName",
    "CommitmentDiscountStatus", "CommitmentDiscountType", "ConsumedQuantity", "ConsumedUnit", "ContractedCost",
    "ContractedUnitPrice", "EffectiveCost", "InvoiceIssuerName", "ListCost", "ListUnitPrice", "PricingCategory",
    "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "RegionId", "RegionName", "ResourceId",
    "ResourceName", "ResourceType", "ServiceCategory", "ServiceName", "SkuId", "SkuPriceId", "SubAccountId",
    "SubAccountName", "Tags",
)  # fmt: skip
OWN_COLUMNS = (
    "x_Choice", "x_Path", "x_CostLow", "x_CostHigh", "x_Basis", "x_Source", "x_AsOf", "x_How", "x_Reason",
)  # fmt: skip
API = "api"


def focus_rows(document: Any, *, month: datetime.date) -> list[dict[str, Any]]:
    """A row for each part of each choice's bill in one month.

    ``document`` is what ``plan --json`` or ``compare --json`` printed. Raises Refused where it is neither.
    """
    start = datetime.date(month.year, month.month, 1)
    end = datetime.date(start.year + start.month // 12, start.month % 12 + 1, 1)
    period = {"ChargePeriodStart": _moment(start), "ChargePeriodEnd": _moment(end),
              "BillingPeriodStart": _moment(start), "BillingPeriodEnd": _moment(end)}  # fmt: skip
    rows = [
        {name: {**period, **row}.get(name) for name in (*COLUMNS, *OWN_COLUMNS)}
        for rank, choice in enumerate(_choices(document), start=1)
        for row in _rows(document, choice, rank)
    ]
    if not rows:
        raise Refused("no bill in it; give what `llmsizer plan --json` or `llmsizer compare --json --parts` printed")
    return rows


def focus_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows as CSV; null is an empty cell."""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=[*COLUMNS, *OWN_COLUMNS], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _choices(document: Any) -> Iterator[Mapping[str, Any]]:
    for kind in ("plans", "apis"):
        yield from (choice for choice in items_at(document, kind) if isinstance(choice, Mapping))
    for bill in items_at(document, "bills"):
        if isinstance(bill, Mapping):
            yield {"cost": bill, "label": bill.get("label")}


def _rows(document: Any, choice: Mapping[str, Any], rank: int) -> Iterator[dict[str, Any]]:
    cost = at(choice, "cost")
    path = text_at(cost, "path")
    label = text_at(choice, "label") or text_at(cost, "label")
    model = text_at(choice, "model") or text_at(document, "model")
    provider = text_at(choice, "provider")
    for part in items_at(cost, "parts"):
        figure = at(part, "usd_per_month")
        amount = _usd(figure, "value")
        name = text_at(part, "name")
        listed = text_at(figure, "basis") == "price list"
        yield {
            "BilledCost": None,
            "BillingCurrency": "USD",
            "ChargeCategory": "Purchase" if path == "own" and name == "hardware" else "Usage",
            "ChargeDescription": f"{name}: {how}" if (how := text_at(part, "how")) else name,
            "ChargeFrequency": "Recurring" if path != API else "Usage-Based",
            "EffectiveCost": amount,
            "ListCost": amount if listed else None,
            "PricingCategory": "Standard" if listed else None,
            "ProviderName": provider or None,
            "PublisherName": provider or None,
            "InvoiceIssuerName": provider or None,
            "RegionId": text_at(choice, "zone") or None,
            "RegionName": text_at(choice, "zone") or None,
            "ResourceName": text_at(choice, "gpu") or None,
            "ResourceType": "GPU" if text_at(choice, "gpu") else None,
            "ServiceCategory": "AI and Machine Learning" if path == API else "Compute",
            "ServiceName": model,
            "Tags": json.dumps({"model": model, "precision": text_at(choice, "precision"), "rank": rank}),
            "x_Choice": label,
            "x_Path": path,
            "x_CostLow": _usd(figure, "low"),
            "x_CostHigh": _usd(figure, "high"),
            "x_Basis": text_at(figure, "basis") or "unknown",
            "x_Source": text_at(figure, "source") or None,
            "x_AsOf": text_at(figure, "as_of") or None,
            "x_How": how or None,
            "x_Reason": text_at(figure, "reason") or ("not priced" if amount is None else None),
        }


def _usd(figure: Any, key: str) -> float | None:
    return number(at(figure, key), f"usd_per_month.{key}", most=1e15)


def _moment(day: datetime.date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
