"""A question in a file: which model, which load, how fast, within which limits.

Written in TOML. Everything but ``model`` has a default, and every default is stated here and in the JSON schema under
``profiles/schema/``.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from llmsizer.errors import ScenarioError, UnknownNameError, nearest_names, suggest
from llmsizer.facts.precision import get_precision, kv_bytes_per_value
from llmsizer.facts.workload import Slo, Workload
from llmsizer.units import SECONDS_PER_MONTH

MAX_FILE_BYTES = 1_000_000
# The shape of a conversation where a scenario names neither a preset nor lengths of its own.
DEFAULT_PROMPT_TOKENS, DEFAULT_OUTPUT_TOKENS = 1000, 250

Name = Annotated[str, StringConstraints(min_length=1, max_length=120, strip_whitespace=True)]


class WorkloadChoice(BaseModel):
    """A preset by name, with anything overridden; volume as a rate, as requests or as tokens a month."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Name | None = Field(default=None, description="name of a file in profiles/workloads/")
    name: Name | None = None
    requests_per_second: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    requests_per_month: float | None = Field(default=None, gt=0, le=1e12, allow_inf_nan=False)
    tokens_per_month: float | None = Field(
        default=None, gt=0, le=1e16, allow_inf_nan=False, description="input and output together, average month"
    )
    prompt_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    output_tokens: int | None = Field(default=None, ge=1, le=1_000_000)
    prompt_tokens_p95: int | None = Field(default=None, ge=1, le=10_000_000)
    output_tokens_p95: int | None = Field(default=None, ge=1, le=1_000_000)
    cached_prompt_fraction: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)
    peak_to_average: float | None = Field(default=None, ge=1, le=100, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _a_name_alone_is_a_preset(cls, value: object) -> object:
        return {"preset": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_volume(self) -> Self:
        given = [k for k in ("requests_per_second", "requests_per_month", "tokens_per_month") if getattr(self, k)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} say the same thing twice; keep one of them")
        if not given and self.preset is None:
            raise ValueError("no volume; give tokens_per_month, requests_per_month, requests_per_second or a preset")
        return self

    def resolve(self, preset: Workload | None) -> Workload:
        """The workload meant: the preset (None where none is named) with the overrides on it. Raises ScenarioError."""
        own = {"preset", "requests_per_month", "tokens_per_month"}
        given = {k: v for k, v in self.model_dump(exclude_none=True).items() if k not in own}
        base: dict[str, Any] = preset.model_dump() if preset else {"name": "workload", "requests_per_second": 1.0}
        base.setdefault("prompt_tokens", DEFAULT_PROMPT_TOKENS)
        base.setdefault("output_tokens", DEFAULT_OUTPUT_TOKENS)
        for mean in ("prompt_tokens", "output_tokens"):
            # The preset's tail belongs to the preset's mean: it scales along unless it is given too.
            tail = base.get(f"{mean}_p95")
            if mean in given and tail is not None:
                base[f"{mean}_p95"] = max(given[mean], round(tail * given[mean] / base[mean]))
        merged = base | given
        if self.requests_per_month is not None:
            merged["requests_per_second"] = self.requests_per_month / SECONDS_PER_MONTH
        if self.tokens_per_month is not None:
            tokens = merged["prompt_tokens"] + merged["output_tokens"]
            merged["requests_per_second"] = self.tokens_per_month / tokens / SECONDS_PER_MONTH
        try:
            return Workload(**merged)
        except ValidationError as error:
            raise ScenarioError(_explain(error, where="workload")) from None


class Constraints(BaseModel):
    """What may be considered at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: tuple[Name, ...] = Field(default=(), max_length=500, description="only these; empty: every one known")
    exclude_gpus: tuple[Name, ...] = Field(default=(), max_length=500)
    precisions: tuple[Name, ...] = Field(default=("bf16", "fp8", "int8", "int4"), min_length=1, max_length=50)
    kv_format: Name = "bf16"
    max_gpus_per_replica: int = Field(default=8, ge=1, le=1024)
    zones: tuple[Name, ...] = Field(default=(), max_length=50, description="of rented GPUs (EU, US, GB …); empty: any")
    eu_only: bool = Field(default=False, description="rent only where the price list itself says the EU")
    interruptible: bool = Field(default=False, description="whether spot and community offers count")
    own: bool = True
    rent: bool = True
    api: bool = True
    max_usd_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("precisions")
    @classmethod
    def _known_precisions(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(get_precision(name).name for name in names))
        except UnknownNameError as error:
            raise ValueError(str(error)) from None

    @field_validator("kv_format")
    @classmethod
    def _known_kv_format(cls, name: str) -> str:
        try:
            kv_bytes_per_value(name)
        except UnknownNameError as error:
            raise ValueError(str(error)) from None
        return name

    @model_validator(mode="after")
    def _something_is_allowed(self) -> Self:
        if not (self.own or self.rent or self.api):
            raise ValueError("own, rent and api are all false; allow at least one")
        if self.eu_only and self.zones and "EU" not in self.zones:
            raise ValueError("eu_only is true but zones does not list EU; add EU or drop zones")
        return self

    @property
    def allowed_zones(self) -> frozenset[str]:
        """Empty where any zone will do."""
        return frozenset({"EU"}) if self.eu_only else frozenset(self.zones)


class Scenario(BaseModel):
    """One question, complete: the same scenario gives the same answer everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="llmsizer scenario")

    name: Name = "scenario"
    description: str = Field(default="", max_length=2000)
    model: Name = Field(description="catalogue id, folder or file with a config.json, or a hub id")
    workload: WorkloadChoice
    slo: Slo = Slo()
    constraints: Constraints = Constraints()
    horizon_months: int = Field(default=36, ge=1, le=120, description="how long the service is wanted")
    currency: Literal["USD"] = Field(default="USD", description="every price in the catalogue is in US dollars")
    electricity_area: Name = Field(default="EU27", description="area code in the energy catalogue, e.g. DEU, FRA, USA")
    spare_replicas: int = Field(default=1, ge=0, le=64, description="replicas beyond what the peak hour needs")
    assumptions: dict[Name, float | tuple[float, float, float]] = Field(
        default={},
        max_length=100,
        description="cost assumptions of profiles/assumptions/ to replace: a number, or [low, mid, high]",
    )
    max_context_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="reserved for one request; left out: the workload's own tail"
    )


def parse_scenario(text: str, where: str = "scenario") -> Scenario:
    """A scenario from TOML text. Raises ScenarioError in one line: where, which key, what is wrong, what would work."""
    try:
        data = tomllib.loads(text)
        # Through JSON because its strict mode takes lists for tuples and nothing else for anything: no "5" for 5.
        encoded = json.dumps(data, default=str)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError; so is an integer of 5,000 digits
        raise ScenarioError(f"{where}: not readable as TOML: {_one_line(str(error) or type(error).__name__)}") from None
    try:
        return Scenario.model_validate_json(encoded, strict=True)
    except ValidationError as error:
        raise ScenarioError(_explain(error, where=where)) from None


def load_scenario(path: Path | str) -> Scenario:
    """The scenario in a TOML file. Raises ScenarioError."""
    try:
        file = Path(path)
        size_bytes = file.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise ScenarioError(
                f"{file}: {size_bytes:,} bytes; a scenario is a text of at most {MAX_FILE_BYTES:,} bytes"
            )
        raw = file.read_bytes()
    except (OSError, ValueError) as error:  # a null byte in a path is a ValueError
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ScenarioError(f"{_one_line(str(path))}: {what}; give the path of a scenario in TOML") from None
    try:
        return parse_scenario(raw.decode("utf-8-sig"), where=str(file))
    except UnicodeDecodeError:
        raise ScenarioError(f"{file}: not a text file in UTF-8; give a scenario in TOML") from None


_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Scenario,
    ("workload",): WorkloadChoice,
    ("slo",): Slo,
    ("constraints",): Constraints,
}


def _explain(error: ValidationError, where: str) -> str:
    """The first thing wrong, in one line."""
    first = error.errors(include_url=False)[0]
    path = tuple(str(part) for part in first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        table = _TABLES.get(path[:-1], Scenario)
        known = sorted(table.model_fields)
        return f"{where}: {_one_line(key)}: no such key; {suggest(nearest_names(path[-1], known), known)}"
    if first["type"] == "missing":
        example = {"model": ' = "mistral-small-4"', "workload": ' = "chat"'}.get(key, "")
        return f"{where}: {key}: missing; add {key}{example}"
    what = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    shown = "" if isinstance(first["input"], dict) else f" = {_one_line(repr(first['input']))}"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return f"{where}: {key}{shown}: {_one_line(what, limit=300)}{more}" if key else f"{where}: {_one_line(what)}{more}"


def _one_line(text: str, limit: int = 120) -> str:
    """Printable, on one line, and short: a bad value may be anything."""
    flat = "".join(c if c.isprintable() else " " for c in text)
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"
