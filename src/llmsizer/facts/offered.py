"""Machines that a buyer has in mind: these servers and no others are what owning means."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.workload.choice import Name


class OfferedServers(BaseModel):
    """Servers of a quote, or that stand there already; more of the same are counted only where the load needs them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpu: Name = Field(description="in each of them, e.g. h100-sxm-80")
    servers: int = Field(ge=1, le=10_000, description="taken as a whole, however few of them the load needs")
    gpus_per_server: int = Field(ge=1, le=1024)
    usd_per_server: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="quoted, in US dollars; left out: the catalogue's estimate"
    )
    quoted_on: str = Field(default="", pattern=r"^(\d{4}-\d{2}-\d{2})?$", description="date of the quote")
