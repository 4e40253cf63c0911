"""The workload as a scenario writes it: a preset and what is changed of it, volume, hours, lengths, people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self, TypeGuard

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from llmsizer.errors import ScenarioError, UnknownNameError
from llmsizer.facts.complaint import explain
from llmsizer.facts.workload import Growth, Workload
from llmsizer.facts.workload.hours import DEFAULT_SHAPE, peak_to_average, week_of, weights_of, with_peak
from llmsizer.facts.workload.lengths import LengthChoice
from llmsizer.units import SECONDS_PER_HOUR, SECONDS_PER_MONTH

Name = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]
# The shape of a conversation where a scenario names neither a preset nor lengths of its own.
DEFAULT_PROMPT_TOKENS, DEFAULT_OUTPUT_TOKENS = 1000, 250
DEFAULT_PEAK = 2.0  # times the average, where neither hours nor a peak are given
SECONDS_PER_DAY = 24 * SECONDS_PER_HOUR
_VOLUMES = ("requests_per_second", "requests_per_month", "tokens_per_month", "users")
_LENGTHS = {"prompt": "prompt_tokens", "output": "output_tokens", "reasoning": "reasoning_tokens"}


def _read_hours(value: object) -> str | tuple[float, ...]:
    """The name of a shape, or the weights of a day or a week."""
    if isinstance(value, str) and 1 <= len(value.strip()) <= 120:
        return value.strip()
    weights = [w for w in value if isinstance(w, int | float) and not isinstance(w, bool)] if _is_list(value) else []
    if not _is_list(value) or len(weights) != len(value):
        raise ValueError("give the name of a shape of hours, or 24 or 168 weights")
    return week_of(weights)


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple)


_HOURS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "number", "minimum": 0}}]}
Hours = Annotated[str | tuple[float, ...], PlainValidator(_read_hours), WithJsonSchema(_HOURS_SCHEMA)]


class UsersChoice(BaseModel):
    """People as a rate, by one of two rules; what is left out is an assumption of ``profiles/assumptions/usage.toml``.

    By the day: average = count × ``requests_per_user_per_day`` ÷ 86,400 s, and the hours shape it. By the peak hour:
    peak = count × ``peak_hour_share`` × ``requests_per_active_hour`` ÷ 3,600 s, and the hours say what the average is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: float = Field(gt=0, le=1e10, allow_inf_nan=False, description="people who have the service")
    requests_per_user_per_day: float | None = Field(default=None, gt=0, le=1e5, allow_inf_nan=False)
    peak_hour_share: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    requests_per_active_hour: float | None = Field(default=None, gt=0, le=1e5, allow_inf_nan=False)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if self.requests_per_user_per_day is not None and self.by_peak_hour:
            raise ValueError("requests_per_user_per_day says the same as the peak hour does; keep one of them")
        return self

    @property
    def by_peak_hour(self) -> bool:
        return self.peak_hour_share is not None or self.requests_per_active_hour is not None

    def rate(self, peak_to_average: float, assumed: Mapping[str, float]) -> tuple[float, str]:
        """Average requests per second, and how they come about."""

        def known(given: float | None, name: str) -> tuple[float, str]:
            return (given, "") if given is not None else (assumed[name], f" (assumed: {name})")

        if self.by_peak_hour:
            share, said = known(self.peak_hour_share, "peak_hour_user_share")
            each, also = known(self.requests_per_active_hour, "requests_per_active_user_hour")
            rate = self.count * share * each / SECONDS_PER_HOUR / peak_to_average
            rule = f"{self.count:,.10g} users × {share:.0%}{said} in the peak hour × {each:g} requests each{also}"
            return rate, f"{rule} ÷ 3,600 s ÷ {peak_to_average:.3g} (peak to average)"
        daily, said = known(self.requests_per_user_per_day, "requests_per_user_per_day")
        return (
            self.count * daily / SECONDS_PER_DAY,
            f"{self.count:,.10g} users × {daily:g} requests a day{said} ÷ 86,400 s",
        )


class WorkloadChoice(BaseModel):
    """A preset by name, with anything overridden; volume as a rate, as requests or tokens a month, or as people."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Name | None = Field(default=None, description="name of a file in profiles/workloads/")
    name: Name | None = None
    requests_per_second: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    requests_per_month: float | None = Field(default=None, gt=0, le=1e12, allow_inf_nan=False)
    tokens_per_month: float | None = Field(
        default=None, gt=0, le=1e16, allow_inf_nan=False, description="input and output together, average month"
    )
    users: UsersChoice | None = None
    prompt_tokens: int | None = Field(default=None, ge=1, le=10_000_000, description="mean of the whole prompt")
    output_tokens: int | None = Field(default=None, ge=1, le=1_000_000, description="mean of the visible answer")
    reasoning_tokens: int | None = Field(default=None, ge=0, le=1_000_000, description="mean, before the answer")
    prompt_tokens_p95: int | None = Field(default=None, ge=1, le=10_000_000)
    output_tokens_p95: int | None = Field(default=None, ge=1, le=1_000_000)
    reasoning_tokens_p95: int | None = Field(default=None, ge=0, le=1_000_000)
    prompt: LengthChoice | None = Field(default=None, description="the whole prompt's distribution instead")
    output: LengthChoice | None = Field(default=None, description="the visible answer's distribution instead")
    reasoning: LengthChoice | None = Field(default=None, description="of reasoning; fixed or lognormal")
    cached_prompt_fraction: float | None = Field(
        default=None, ge=0, lt=1, allow_inf_nan=False, description="left out: follows from prefix and turns"
    )
    shared_prefix_tokens: int | None = Field(
        default=None, ge=0, le=10_000_000, description="of every prompt: instructions, documents all share"
    )
    prefix_hit_rate: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    turns: float | None = Field(default=None, ge=1, le=1000, allow_inf_nan=False, description="of a conversation, mean")
    think_seconds: float | None = Field(default=None, gt=0, le=86_400, allow_inf_nan=False, description="between turns")
    hours: Hours | None = Field(
        default=None, description="a file in profiles/workloads/shapes/, or 24 or 168 weights from Monday midnight"
    )
    peak_to_average: float | None = Field(
        default=None, ge=1, le=100, allow_inf_nan=False, description="with a named shape: made steeper or flatter to it"
    )
    gap_cv: float | None = Field(
        default=None, ge=0, le=20, allow_inf_nan=False, description="burstiness: 0 constant, 1 Poisson, above 1 Gamma"
    )
    growth: Growth | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone_is_a_preset(cls, value: object) -> object:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_volume(self) -> Self:
        given = [key for key in _VOLUMES if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say the same thing twice; keep one of them")
        if not given and self.preset is None:
            raise ValueError("no volume; give tokens_per_month, requests_per_month, requests_per_second or a preset")
        return self

    @model_validator(mode="after")
    def _said_once(self) -> Self:
        for table, key in _LENGTHS.items():
            if getattr(self, table) is not None and any(getattr(self, k) is not None for k in (key, f"{key}_p95")):
                raise ValueError(f"{key} and the table {table} say the same thing twice; keep one of them")
        if self.reasoning is not None and self.reasoning.kind == "empirical":
            raise ValueError("reasoning takes no file of lengths; give it fixed or lognormal")
        if self.prompt is not None and self.prompt.kind == "empirical" and (self.turns or 1) > 1:
            raise ValueError("a file of prompt lengths knows no turns; leave out turns, or give a lognormal")
        if isinstance(self.hours, tuple) and self.peak_to_average is not None:
            raise ValueError("peak_to_average and the weights of hours say the same thing twice; keep one of them")
        return self

    def resolve(
        self, preset: Workload | None, *, assumed: Mapping[str, float] | None = None, root: Path | None = None
    ) -> Workload:
        """The workload meant: the preset (None where none is named) with the overrides on it. Raises ScenarioError.

        ``assumed``: how people become requests, needed where ``users`` leaves it open. ``root``: of the profiles.
        """
        base: dict[str, Any] = preset.model_dump() if preset else {"name": "workload", "requests_per_second": 1.0}
        base.setdefault("prompt_tokens", DEFAULT_PROMPT_TOKENS)
        base.setdefault("output_tokens", DEFAULT_OUTPUT_TOKENS)
        merged = self._with_lengths(base) | self._hours(preset, root)
        if self.growth is not None:
            merged["growth"] = self.growth
        try:
            return Workload(**(merged | self._volume(merged, assumed or {})))
        except ValidationError as error:
            raise ScenarioError(explain(error, "workload", {(): WorkloadChoice})) from None

    def _with_lengths(self, base: dict[str, Any]) -> dict[str, Any]:
        """The preset with the lengths, prefix and turns that are given."""
        plain = {*_LENGTHS.values(), "name", "cached_prompt_fraction", "shared_prefix_tokens", "prefix_hit_rate"}
        plain |= {"prompt_tokens_p95", "output_tokens_p95", "reasoning_tokens_p95", "turns", "think_seconds", "gap_cv"}
        given: dict[str, Any] = {key: getattr(self, key) for key in plain if getattr(self, key) is not None}
        for table, key in _LENGTHS.items():
            choice: LengthChoice | None = getattr(self, table)
            if choice is not None:
                found = choice.resolve(f"workload.{table}")
                given |= {key: found.mean_tokens, f"{key}_p95": found.p95_tokens}
                if table != "reasoning":
                    given[f"{table}_lengths"] = found.seen_tokens
            elif key in given:
                # The preset's tail belongs to the preset's mean: it scales along unless it is given too.
                tail, mean = base.get(f"{key}_p95"), base.get(key)
                if tail is not None and mean:
                    given.setdefault(f"{key}_p95", max(given[key], round(tail * given[key] / mean)))
        if given.keys() & {"shared_prefix_tokens", "prefix_hit_rate", "turns"}:
            base = base | {"cached_prompt_fraction": None}  # follows anew
        return base | _shrunk(base, given) | given

    def _hours(self, preset: Workload | None, root: Path | None) -> dict[str, Any]:
        """When requests come: weights of one's own, a named shape, or the preset's; then the peak that is asked for."""
        peak = self.peak_to_average
        try:
            if isinstance(self.hours, tuple):
                found, name = self.hours, "own weights"
            elif self.hours is not None:
                found, name = weights_of(self.hours, peak, root), self.hours
            elif preset is not None and preset.hourly_weights:
                found, name = preset.hourly_weights, preset.hours
                found = found if peak is None else with_peak(found, peak)
            else:
                peak, name = peak or (preset.peak_to_average if preset else DEFAULT_PEAK), DEFAULT_SHAPE
                found = weights_of(name, peak, root)
        except (ValueError, UnknownNameError) as error:
            raise ScenarioError(f"workload.hours: {error}") from None
        exactly = peak_to_average(found) if peak is None else peak
        return {"hours": name, "hourly_weights": found, "peak_to_average": exactly}

    def _volume(self, merged: Mapping[str, Any], assumed: Mapping[str, float]) -> dict[str, Any]:
        """The average rate."""
        if self.requests_per_second is not None:
            return {"requests_per_second": self.requests_per_second}
        if self.requests_per_month is not None:
            return {"requests_per_second": self.requests_per_month / SECONDS_PER_MONTH}
        if self.tokens_per_month is not None:
            tokens = merged["prompt_tokens"] + merged["output_tokens"] + (merged.get("reasoning_tokens") or 0)
            return {"requests_per_second": self.tokens_per_month / tokens / SECONDS_PER_MONTH}
        if self.users is not None:
            rate, note = self.users.rate(merged["peak_to_average"], assumed)
            return {"requests_per_second": rate, "volume_note": note}
        return {}


def _shrunk(base: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's prefix and turns belong to the preset's prompt: they go along with another, as far as it holds."""
    if "prompt_tokens" not in given and "output_tokens" not in given:
        return {}
    prompt, output = (given.get(key, base[key]) for key in ("prompt_tokens", "output_tokens"))
    prefix = round(base.get("shared_prefix_tokens", 0) * min(1.0, prompt / base["prompt_tokens"]))
    prefix = min(given.get("shared_prefix_tokens", prefix), prompt - 1)
    turns = max(1.0, min(base.get("turns", 1.0), (prompt - prefix + output) / (output + 1)))
    return {"shared_prefix_tokens": prefix, "turns": turns}
