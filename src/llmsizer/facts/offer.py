"""What hardware and tokens cost: purchase prices, cloud offers, API prices. Every price is dated and sourced."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.provenance import Provenance


class PurchasePrice(BaseModel):
    """A price seen for one device, board or server. Datacentre figures are press estimates: use them as a range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    item: str
    kind: str  # "launch MSRP", "street low" …
    unit: str
    usd: float | None = Field(default=None, gt=0)
    provenance: Provenance

    @property
    def name(self) -> str:
        """What the row is a price of; a row of the user's own replaces those of its name."""
        return f"{self.item} · {self.kind} · {self.unit}"


class Offer(BaseModel):
    """GPUs by the hour: one provider × zone × GPU × term."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    provider: str
    zone: str  # US, EU, GB, CH, NO, or "unspecified" where the source names no region
    gpu: str | None = None  # catalogue id; None where the catalogue has no such GPU
    gpu_as_listed: str
    term: str  # on-demand, spot, community, secure, production
    usd_per_gpu_hour: float = Field(gt=0)  # the cheapest seen
    median_usd_per_gpu_hour: float | None = None
    max_usd_per_gpu_hour: float | None = None
    region: str = ""
    instance: str = ""
    gpus_per_instance: int = Field(default=1, ge=1)
    gpu_only: bool = False  # True where the virtual machine is billed on top and its price is not known here
    provenance: Provenance

    @property
    def is_interruptible(self) -> bool:
        return self.term in {"spot", "community"}


class ApiOffer(BaseModel):
    """Tokens by the million from one provider. A missing price is None: never derived, never 0."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str  # provider/model
    provider: str
    model: str
    name: str = ""
    input_usd_per_mtok: float | None = Field(default=None, ge=0)
    cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    cache_write_usd_per_mtok: float | None = Field(default=None, ge=0)
    output_usd_per_mtok: float | None = Field(default=None, ge=0)
    reasoning_usd_per_mtok: float | None = Field(default=None, ge=0)  # None: billed as output
    batch_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    batch_output_usd_per_mtok: float | None = Field(default=None, ge=0)
    long_above_tokens: int | None = Field(default=None, ge=1)  # requests with longer prompts pay the prices below
    long_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    long_cached_input_usd_per_mtok: float | None = Field(default=None, ge=0)
    long_cache_write_usd_per_mtok: float | None = Field(default=None, ge=0)
    long_output_usd_per_mtok: float | None = Field(default=None, ge=0)
    tokens_per_minute_limit: float | None = Field(default=None, gt=0)
    requests_per_minute_limit: float | None = Field(default=None, gt=0)
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    open_weights: bool | None = None
    serves: str | None = None  # catalogue id of the model behind it, where that is known
    deprecated: bool = False
    crosscheck: str = ""  # whether a second source agrees
    provenance: Provenance


class EnergyFact(BaseModel):
    """An electricity price, PUE or carbon intensity of an area."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    area: str
    low: float | None = None
    high: float | None = None
    unit: str
    segment: str = ""
    period: str = ""
    provenance: Provenance

    @property
    def name(self) -> str:
        """What the row is a figure of; a row of the user's own replaces those of its name."""
        return " · ".join(part for part in (self.metric, self.area, self.unit, self.segment, self.period) if part)

    @property
    def mid(self) -> float | None:
        return None if self.low is None or self.high is None else (self.low + self.high) / 2


class TcoFact(BaseModel):
    """A published figure of ownership cost, with its range and context."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parameter: str
    text: str  # as the source prints it
    low: float | None = None
    high: float | None = None
    unit: str
    context: str = ""
    provenance: Provenance
