"""What may be asked from afar, as pydantic models: one schema for REST, for MCP and for the command line's JSON."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from llmsizer.facts.records import ProfileRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.facts.speculation import SpeculationChoice
from llmsizer.facts.workload.choice import Name

MOST_ROWS, MOST_RECORDS = 10_000, 1_000
Kind = Literal["models", "gpus", "precisions", "workloads", "scenarios"]
Cell = Annotated[str, Field(max_length=500)]


class _Asked(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CatalogQuestion(_Asked):
    """Names that the other questions understand."""

    kind: Kind = "models"
    containing: str = Field(default="", max_length=200, description="only names with this in them")


class MemoryQuestion(_Asked):
    """Where the memory of one GPU goes, what it holds, and what would make it hold more."""

    model: Name = Field(description="of the catalogue", examples=["mistral-small-4"])
    gpu: Name = Field(description="of the catalogue", examples=["h100-sxm-80"])
    weights: Name | None = Field(default=None, description="bf16, fp8, int8, int4 …; left out: as published")
    kv_format: Name = Field(default="bf16", description="of the KV cache")
    tensor_parallel: int = Field(default=1, ge=1, le=4096)
    pipeline_parallel: int = Field(default=1, ge=1, le=4096)
    expert_parallel: int = Field(default=1, ge=1, le=4096)
    context_tokens: int = Field(default=8192, ge=1, le=100_000_000, description="of one request")
    concurrency: int = Field(default=1, ge=1, le=10_000_000, description="requests of that context at once")
    shared_prefix_tokens: int = Field(default=0, ge=0, le=100_000_000, description="that all requests begin with")
    engine: Name = "vllm"
    engine_version: Name | None = None
    speculation: SpeculationChoice | None = None


class ScenarioQuestion(_Asked):
    """A whole scenario, or the name of one that ships."""

    scenario: Scenario | Name = Field(
        description="a scenario object, or the name of one that ships", examples=["eu-chat"]
    )


class PlanQuestion(ScenarioQuestion):
    """A scenario, and how much of the answer is wanted."""

    at_most: int = Field(default=10, ge=1, le=10_000, description="plans, APIs and rejections listed, of each so many")
    with_comparison: bool = Field(default=False, description="own, rent and API over the volume, as compare answers it")


class PredictQuestion(_Asked):
    """Rows of a table, each a measurement that was not taken: model, gpu, weight_dtype, input_len, load_kind …"""

    rows: list[dict[Annotated[str, Field(max_length=200)], Cell]] = Field(min_length=1, max_length=MOST_ROWS)


class RecordsQuestion(_Asked):
    """What was measured, newest last."""

    model_config = ConfigDict(strict=False)  # in an address everything is text

    model: str = Field(default="", max_length=500, description="a part of its name")
    variant: str = Field(default="", max_length=200)
    engine: str = Field(default="", max_length=200)
    device: str = Field(default="", max_length=500, description="a part of its name")
    limit: int = Field(default=100, ge=1, le=MOST_RECORDS)


class NewRecords(_Asked):
    """Measurements to keep; all of them or, on an error, none."""

    records: list[ProfileRecord] = Field(min_length=1, max_length=MOST_RECORDS)
