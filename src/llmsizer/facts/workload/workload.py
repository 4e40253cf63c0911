"""What users ask for, and how fast they expect it."""

from __future__ import annotations

import datetime
import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from llmsizer.facts.workload.hours import peak_to_average, week_of
from llmsizer.units import MONTHS_PER_YEAR, SECONDS_PER_MONTH

DAYS_PER_YEAR = 365.25
_HALVINGS = 40  # of a ramp's years: to less than a millisecond


def _read_day(value: object) -> object:
    """A date as scenarios hand it over: their dates have become text on the way."""
    try:
        return datetime.date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError("not a day; write for example 2027-12-31") from None


Day = Annotated[datetime.date, BeforeValidator(_read_day)]


class Growth(BaseModel):
    """Demand that changes from one day to another, and neither before nor after.

    It compounds (``per_year``, ``per_month``): what is written as the workload is the demand on ``start``. Or it is a
    ramp (``from_share``), from a pilot to full use: what is written is the full demand, which is reached on ``until``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_year: float | None = Field(default=None, gt=-1, le=100, allow_inf_nan=False, description="0.5 is +50 % a year")
    per_month: float | None = Field(default=None, gt=-1, le=1, allow_inf_nan=False, description="0.03 is +3 % a month")
    from_share: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        allow_inf_nan=False,
        description="a ramp: use on the first day as a share of the full volume, 0.1 is a tenth",
    )
    shape: Literal["s-curve", "linear"] | None = Field(
        default=None, description="of a ramp: s-curve (slow, quick, slow; where left out) or linear"
    )
    start: Day
    until: Day

    @model_validator(mode="after")
    def _is_one_rate_forward_in_time(self) -> Self:
        if sum(rate is not None for rate in (self.per_year, self.per_month, self.from_share)) != 1:
            raise ValueError("growth needs per_year or per_month, one of them, or from_share for a ramp to full use")
        if self.shape is not None and not self.is_ramp:
            raise ValueError(f"shape = {self.shape} is that of a ramp; give from_share, or leave shape out")
        if self.until <= self.start:
            raise ValueError(f"until = {self.until} is not after start = {self.start}; give a later day")
        if (self.until - self.start).days > 30 * DAYS_PER_YEAR:
            raise ValueError(f"until = {self.until} is more than 30 years after start; give a nearer day")
        return self

    @property
    def is_ramp(self) -> bool:
        return self.from_share is not None

    @property
    def years(self) -> float:
        """From the first day to the last."""
        return (self.until - self.start).days / DAYS_PER_YEAR

    @property
    def yearly(self) -> float:
        """0.5 is +50 % a year; of a ramp the steady rate between the same ends."""
        if self.from_share is not None:
            return float((1 / self.from_share) ** (1 / self.years) - 1)
        if self.per_year is not None:
            return self.per_year
        assert self.per_month is not None
        return float((1 + self.per_month) ** MONTHS_PER_YEAR - 1)

    def factor(self, day: datetime.date) -> float:
        """Demand on a day over what is written; it neither grows before nor after."""
        return self.factor_after((day - self.start).days / DAYS_PER_YEAR)

    def factor_after(self, years: float) -> float:
        """The same so many years after the first day. A ramp's s-curve is 3x² − 2x³ of the time between its ends."""
        part = min(max(years / self.years, 0.0), 1.0)
        if self.from_share is None:
            return float((1 + self.yearly) ** (part * self.years))
        eased = part if self.shape == "linear" else part * part * (3 - 2 * part)
        return self.from_share + (1 - self.from_share) * eased

    def years_to(self, factor: float) -> float | None:
        """Years after the first day at which demand is so many times what is written; None where it never is.

        What compounds is taken to go on beyond its last day; a ramp ends at 1.
        """
        if factor <= self.factor_after(0.0):
            return 0.0
        if self.from_share is None:
            return math.log(factor) / math.log1p(self.yearly) if self.yearly > 0 else None
        if factor > 1:
            return None
        low, high = 0.0, self.years
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.factor_after(middle) < factor else (low, middle)
        return high

    @property
    def largest_factor(self) -> float:
        return max(1.0, self.factor(self.until))


class Workload(BaseModel):
    """Demand on one model: how many requests, when, how long.

    ``requests_per_second`` is the month's average; the hour that sizes the fleet is ``peak_to_average`` times busier.
    ``prompt_tokens`` is the whole prompt, as a bill counts it: shared prefix and earlier turns included. An answer is
    ``output_tokens`` that the user sees after ``reasoning_tokens`` that nobody does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "workload"
    requests_per_second: float = Field(gt=0, le=1e6, allow_inf_nan=False)
    prompt_tokens: int = Field(ge=1, le=10_000_000)
    output_tokens: int = Field(ge=1, le=1_000_000)
    reasoning_tokens: int = Field(default=0, ge=0, le=1_000_000)
    prompt_tokens_p95: int | None = Field(default=None, ge=1)
    output_tokens_p95: int | None = Field(default=None, ge=1)
    reasoning_tokens_p95: int | None = Field(default=None, ge=0)
    prompt_lengths: tuple[int, ...] = ()  # whole prompts as they were seen; empty: lognormal, or fixed without a tail
    output_lengths: tuple[int, ...] = ()
    cached_prompt_fraction: float = Field(default=0.0, ge=0, lt=1)  # follows from prefix and turns where left out
    shared_prefix_tokens: int = Field(default=0, ge=0)
    prefix_hit_rate: float = Field(default=1.0, ge=0, le=1)
    turns: float = Field(default=1.0, ge=1, le=1000)  # of a conversation, mean; each sends all that was said before
    think_seconds: float = Field(default=60.0, gt=0, le=86_400)  # between an answer's start and the next turn, mean
    hours: str = ""  # name of the shape that the weights are from
    hourly_weights: tuple[float, ...] = ()  # of 168 hours from Monday midnight; empty: nobody said when
    peak_to_average: float = Field(default=2.0, ge=1, le=168, allow_inf_nan=False)
    gap_cv: float = Field(default=1.0, ge=0, le=20, allow_inf_nan=False)  # of the gaps: 0 constant, 1 Poisson
    growth: Growth | None = None
    headroom: float = Field(default=0.0, ge=0, le=10)  # kept free above the peak hour: 0.2 is 20 %
    volume_note: str = ""  # how the rate came about where it was not written down

    @model_validator(mode="before")
    @classmethod
    def _what_follows(cls, data: Any) -> Any:
        """The peak from the hours, the cached share from prefix and turns, where they are not given."""
        if not isinstance(data, dict):
            return data
        filled = dict(data)
        if filled.get("hourly_weights"):
            filled["hourly_weights"] = week_of(filled["hourly_weights"])
            filled.setdefault("peak_to_average", peak_to_average(filled["hourly_weights"]))
        if filled.get("cached_prompt_fraction") is None:
            filled.pop("cached_prompt_fraction", None)
            if filled.get("shared_prefix_tokens") or filled.get("turns", 1) > 1:
                filled["cached_prompt_fraction"] = _cached_fraction(filled)
        return filled

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        for mean, tail, what in (
            (self.prompt_tokens, self.prompt_tokens_p95, "prompt_tokens_p95"),
            (self.output_tokens, self.output_tokens_p95, "output_tokens_p95"),
            (self.reasoning_tokens, self.reasoning_tokens_p95, "reasoning_tokens_p95"),
        ):
            if tail is not None and tail < mean:
                raise ValueError(f"{what} = {tail} is below the mean of {mean}; give a tail at or above the mean")
        if self.new_prompt_tokens < 1 - 1e-6:
            need = self.shared_prefix_tokens + math.ceil(self.turns + (self.turns - 1) * self.output_tokens)
            raise ValueError(
                f"prompt_tokens = {self.prompt_tokens} cannot hold the shared prefix and {self.turns:g} turns "
                f"of earlier answers; give {need} or more, or fewer turns"
            )
        if self.hourly_weights and abs(self.peak_to_average / peak_to_average(self.hourly_weights) - 1) > 1e-3:
            raise ValueError(f"peak_to_average = {self.peak_to_average:g} is not that of the hours; give one of them")
        return self

    @property
    def new_prompt_tokens(self) -> float:
        """What one turn adds: the prompt less the shared prefix and what was said before.

        The mean turn of a conversation of geometric length T comes after T − 1 others, each of which added its new
        tokens and its visible answer: prompt = prefix + T·new + (T − 1)·output.
        """
        return (self.prompt_tokens - self.shared_prefix_tokens - (self.turns - 1) * self.output_tokens) / self.turns

    @property
    def generated_tokens(self) -> int:
        """What the engine produces for one request: reasoning and answer."""
        return self.output_tokens + self.reasoning_tokens

    @property
    def generated_tokens_p95(self) -> int | None:
        """Of reasoning and answer together; both long at once, on the safe side."""
        if self.output_tokens_p95 is None and self.reasoning_tokens_p95 is None:
            return None
        return (self.output_tokens_p95 or self.output_tokens) + (self.reasoning_tokens_p95 or self.reasoning_tokens)

    @property
    def tokens_per_request(self) -> int:
        return self.prompt_tokens + self.generated_tokens

    @property
    def peak_requests_per_second(self) -> float:
        """Of the busiest hour of the week, before growth."""
        return self.requests_per_second * self.peak_to_average

    @property
    def sizing_requests_per_second(self) -> float:
        """What a fleet has to hold: the peak hour at the end of the growth, and the headroom above it."""
        grown = self.growth.largest_factor if self.growth else 1.0
        return self.peak_requests_per_second * grown * (1 + self.headroom)

    @property
    def requests_per_month(self) -> float:
        return self.requests_per_second * SECONDS_PER_MONTH

    @property
    def input_tokens_per_month(self) -> float:
        return self.requests_per_month * self.prompt_tokens

    @property
    def output_tokens_per_month(self) -> float:
        """Reasoning included: it is generated and billed like the rest."""
        return self.requests_per_month * self.generated_tokens

    @property
    def reasoning_tokens_per_month(self) -> float:
        return self.requests_per_month * self.reasoning_tokens

    @property
    def context_tokens(self) -> int:
        """Context to reserve for: the longest usual prompt with the longest usual answer."""
        return (self.prompt_tokens_p95 or self.prompt_tokens) + (self.generated_tokens_p95 or self.generated_tokens)


def _cached_fraction(data: dict[str, Any]) -> float:
    """Share of all prompt tokens that a prefix cache holds: the shared prefix, and in a conversation all said before.

    Nothing is there at a conversation's first turn, which is one in T.
    """
    prompt, prefix = data.get("prompt_tokens", 0), data.get("shared_prefix_tokens", 0)
    turns, output, hit = data.get("turns", 1), data.get("output_tokens", 0), data.get("prefix_hit_rate", 1.0)
    if not all(isinstance(value, int | float) for value in (prompt, prefix, turns, output, hit)) or prompt <= 0:
        return 0.0  # what is wrong is said where the fields are checked
    if turns <= 1:
        return float(min(max(hit * prefix / prompt, 0.0), 0.999))
    new = (prompt - prefix - (turns - 1) * output) / turns
    held = prefix * (turns - 1) / turns + (turns - 1) * (new + output)
    return float(min(max(hit * held / prompt, 0.0), 0.999))


class Slo(BaseModel):
    """How fast is fast enough. TTFT: first output token − arrival. TPOT: (end − first token)/(n − 1) per request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ttft_p95_seconds: float = Field(default=2.0, gt=0, le=3600, allow_inf_nan=False)
    tpot_p95_seconds: float = Field(default=0.05, gt=0, le=60, allow_inf_nan=False)
    quality_floor: float = Field(default=0.97, gt=0, le=1)  # least recovery of the 16-bit reference's benchmark scores
