"""What users ask for, and how fast they expect it."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llmsizer.units import SECONDS_PER_MONTH


class Workload(BaseModel):
    """Demand on one model: how many requests, how long.

    ``requests_per_second`` is the month's average; the hour that sizes the fleet is ``peak_to_average`` times busier.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "workload"
    requests_per_second: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    prompt_tokens: int = Field(ge=1, le=10_000_000)
    output_tokens: int = Field(ge=1, le=1_000_000)
    prompt_tokens_p95: int | None = Field(default=None, ge=1)
    output_tokens_p95: int | None = Field(default=None, ge=1)
    cached_prompt_fraction: float = Field(default=0.0, ge=0, lt=1)
    peak_to_average: float = Field(default=2.0, ge=1, le=100)

    @model_validator(mode="after")
    def _tails_are_above_the_mean(self) -> Self:
        for mean, tail, what in (
            (self.prompt_tokens, self.prompt_tokens_p95, "prompt_tokens_p95"),
            (self.output_tokens, self.output_tokens_p95, "output_tokens_p95"),
        ):
            if tail is not None and tail < mean:
                raise ValueError(f"{what} = {tail} is below the mean of {mean}; give a tail at or above the mean")
        return self

    @property
    def peak_requests_per_second(self) -> float:
        return self.requests_per_second * self.peak_to_average

    @property
    def requests_per_month(self) -> float:
        return self.requests_per_second * SECONDS_PER_MONTH

    @property
    def input_tokens_per_month(self) -> float:
        return self.requests_per_month * self.prompt_tokens

    @property
    def output_tokens_per_month(self) -> float:
        return self.requests_per_month * self.output_tokens

    @property
    def context_tokens(self) -> int:
        """Context to reserve for: the longest usual prompt with the longest usual answer."""
        return (self.prompt_tokens_p95 or self.prompt_tokens) + (self.output_tokens_p95 or self.output_tokens)


class Slo(BaseModel):
    """How fast is fast enough. TTFT: first output token − arrival. TPOT: (end − first token)/(n − 1) per request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttft_p95_seconds: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    tpot_p95_seconds: float = Field(default=0.05, gt=0, le=60, allow_inf_nan=False)
    quality_floor: float = Field(default=0.97, gt=0, le=1)  # least recovery of the 16-bit reference's benchmark scores
