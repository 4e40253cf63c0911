"""How a scenario's money is counted: lens, purchase or lease, terms, batch share, taxes, exchange rates."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _currency_code(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise ValueError("not the code of a currency; give three capital letters such as EUR")
    return text


CurrencyCode = Annotated[str, AfterValidator(_currency_code)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]

RentTerm = Literal["on-demand", "reserved-1y", "cheapest"]


class ExchangeRate(BaseModel):
    """Dollars for one unit of another currency, on a date."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: float = Field(gt=0, allow_inf_nan=False)
    as_of: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$", description="date of the rate")
    source: str = "the scenario"


class MoneyOptions(BaseModel):
    """One choice for all paths of one answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    lens: Literal["full", "marginal"] = Field(
        default="full", description="marginal: hardware, capital, leases and people are taken as paid already"
    )
    acquisition: Literal["purchase", "lease"] = "purchase"
    lease_usd_per_server_month: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="a quote; left out: an annuity of the purchase price"
    )
    rent_term: RentTerm = Field(
        default="on-demand",
        description="reserved-1y: on-demand list prices less the assumed discount, paid all hours; cheapest: either",
    )
    batch_share: float = Field(default=0.0, ge=0, le=1, allow_inf_nan=False, description="of requests that may wait")
    batch_discount: Share | None = Field(default=None, description="where the price list prints no batch price")
    api_discount: Share = Field(default=0.0, description="negotiated, off the whole API bill")
    api_tokens_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="your rate limit")
    api_requests_per_minute: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    vat_rate: Share = Field(default=0.0, description="VAT that cannot be reclaimed, e.g. 0.19; 0: reclaimed or none")
    gpu_watts_measured: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of one GPU while it computes, measured; waiting GPUs idle"
    )
    rates: dict[CurrencyCode, ExchangeRate] = Field(default={}, max_length=50, description="exchange rates of your own")

    @model_validator(mode="after")
    def _a_quote_is_for_a_lease(self) -> Self:
        if self.lease_usd_per_server_month is not None and self.acquisition != "lease":
            raise ValueError('lease_usd_per_server_month is given but acquisition is "purchase"; set it to "lease"')
        return self
