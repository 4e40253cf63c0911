"""A question in a file: which model, which load, how fast, within which limits.

Written in TOML. Everything but ``model`` has a default, and every default is stated here and in the JSON schema under
``profiles/schema/``.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from llmsizer.errors import ScenarioError, UnknownNameError
from llmsizer.facts.complaint import explain, one_line
from llmsizer.facts.money_options import CurrencyCode, MoneyOptions
from llmsizer.facts.offered import OfferedServers
from llmsizer.facts.precision import get_precision, kv_bytes_per_value
from llmsizer.facts.speculation import SpeculationChoice
from llmsizer.facts.workload import Growth, Slo
from llmsizer.facts.workload.choice import Name, UsersChoice, WorkloadChoice
from llmsizer.facts.workload.hours import DAYS, HOURS_PER_DAY
from llmsizer.facts.workload.lengths import LengthChoice

MAX_FILE_BYTES = 1_000_000
PathOrName = Annotated[str, StringConstraints(min_length=1, max_length=4096, strip_whitespace=True)]


class FleetChoice(BaseModel):
    """How a fleet follows its demand through the week."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    headroom: float = Field(
        default=0.0, ge=0, le=10, allow_inf_nan=False, description="free above the peak: 0.2 is 20 %"
    )
    active_days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = Field(
        default=(), max_length=7, description="of the active window; empty, with the hours left out: where demand is"
    )
    active_from_hour: int | None = Field(default=None, ge=0, le=23, description="the window's first hour, local time")
    active_to_hour: int | None = Field(default=None, ge=1, le=24, description="the hour at which it closes")
    idle_minutes: float = Field(
        default=15.0, gt=0, le=1440, allow_inf_nan=False, description="scale-to-zero: stays up so long without requests"
    )

    @model_validator(mode="after")
    def _the_window_is_one(self) -> Self:
        first, last = self.active_from_hour, self.active_to_hour
        if (first is None) != (last is None):
            raise ValueError("an active window needs active_from_hour and active_to_hour, both of them")
        if first is not None and last is not None and last <= first:
            raise ValueError(f"active_to_hour = {last} is not after active_from_hour = {first}; give a later hour")
        return self

    @property
    def window_hours(self) -> frozenset[int] | None:
        """Hours of the week that are served, counted from Monday midnight; None where the demand decides."""
        if not self.active_days and self.active_from_hour is None:
            return None
        first, last = self.active_from_hour or 0, self.active_to_hour or HOURS_PER_DAY
        days = [DAYS.index(day) for day in self.active_days or DAYS]
        return frozenset(day * HOURS_PER_DAY + hour for day in days for hour in range(first, last))


class Constraints(BaseModel):
    """What may be considered at all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: tuple[Name, ...] = Field(default=(), max_length=500, description="only these; empty: every one known")
    exclude_gpus: tuple[Name, ...] = Field(default=(), max_length=500)
    precisions: tuple[Name, ...] = Field(default=("bf16", "fp8", "int8", "int4"), min_length=1, max_length=50)
    kv_format: Name = "bf16"
    max_gpus_per_replica: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="more than one server holds only where no format asked fits one server of that GPU",
    )
    zones: tuple[Name, ...] = Field(default=(), max_length=50, description="of rented GPUs (EU, US, GB …); empty: any")
    operator_jurisdictions: tuple[Name, ...] = Field(
        default=(), max_length=50, description="whose law the operator stands under (EU, US, GB …); empty: any"
    )
    eu_only: bool = Field(
        default=False, description="rent only in the EU and from operators under EU law; unknown is not taken as EU"
    )
    interruptible: bool = Field(default=False, description="whether spot and community offers count")
    own: bool = True
    rent: bool = True
    api: bool = True
    max_usd_per_month: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    max_kw_per_rack: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="power and cooling of one rack; a server has to fit in one"
    )
    max_lead_months: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="until it has to serve; hardware has an assumed lead time"
    )
    licences: tuple[Name, ...] = Field(
        default=(), max_length=50, description="of the model's weights that are acceptable; empty: any"
    )

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
        if self.eu_only and self.operator_jurisdictions and "EU" not in self.operator_jurisdictions:
            raise ValueError("eu_only is true but operator_jurisdictions does not list EU; add EU or drop them")
        return self

    @property
    def allowed_zones(self) -> frozenset[str]:
        """Empty where any zone will do."""
        return frozenset({"EU"}) if self.eu_only else frozenset(self.zones)

    @property
    def allowed_jurisdictions(self) -> frozenset[str]:
        """Empty where the operator may stand under any law."""
        return frozenset({"EU"}) if self.eu_only else frozenset(self.operator_jurisdictions)

    @property
    def bounds_place(self) -> bool:
        """Whether where data goes, or under whose law, is limited: what no API's price list says."""
        return bool(self.allowed_zones or self.allowed_jurisdictions)


class Scenario(BaseModel):
    """One question, complete: the same scenario gives the same answer everywhere."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="llmsizer scenario")

    name: Name = "scenario"
    description: str = Field(default="", max_length=2000)
    model: PathOrName = Field(
        description="catalogue id, hub id, or folder or file with a config.json, as seen from here"
    )
    workload: WorkloadChoice
    slo: Slo = Slo()
    constraints: Constraints = Constraints()
    horizon_months: int = Field(default=36, ge=1, le=120, description="how long the service is wanted")
    currency: CurrencyCode = Field(
        default="USD", description="to show amounts in; prices are in US dollars, other codes need a rate"
    )
    money: MoneyOptions = MoneyOptions()
    offered: OfferedServers | None = Field(
        default=None, description="servers of a quote or that stand there: owning is these; left out: any that suit"
    )
    electricity_area: Name = Field(default="EU27", description="area code in the energy catalogue, e.g. DEU, FRA, USA")
    fleet: FleetChoice = FleetChoice()
    spare_replicas: int = Field(default=1, ge=0, le=64, description="replicas beyond what the peak hour needs")
    assumptions: dict[Name, float | tuple[float, float, float]] = Field(
        default={},
        max_length=100,
        description="assumptions of profiles/assumptions/ to replace: a number, or [low, mid, high]",
    )
    speculation: SpeculationChoice | None = Field(
        default=None, description="speculative decoding of every candidate; left out: none"
    )
    max_context_tokens: int | None = Field(
        default=None, ge=1, le=10_000_000, description="reserved for one request; left out: the workload's own tail"
    )

    @model_validator(mode="after")
    def _what_is_offered_may_be_owned(self) -> Self:
        if self.offered is not None and not self.constraints.own:
            raise ValueError("servers are [offered] but constraints.own is false; leave out one of them")
        return self


def parse_scenario(text: str, where: str = "scenario", folder: Path | None = None) -> Scenario:
    """A scenario from TOML, or from JSON as answers and packs hold it.

    Raises ScenarioError in one line: where, which key, what is wrong, what would work.
    """
    language = "JSON" if text.lstrip().startswith("{") else "TOML"  # no TOML begins with a brace
    try:
        data = json.loads(text) if language == "JSON" else tomllib.loads(text)
        if folder is not None:
            data = _files_beside(data, folder)
        # Through JSON because its strict mode takes lists for tuples and nothing else for anything: no "5" for 5.
        encoded = json.dumps(data, default=str)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError is a ValueError; so is an integer of 5,000 digits
        raise ScenarioError(
            f"{where}: not readable as {language}: {one_line(str(error) or type(error).__name__)}"
        ) from None
    try:
        return Scenario.model_validate_json(encoded, strict=True)
    except ValidationError as error:
        raise ScenarioError(explain(error, where, _TABLES)) from None


def load_scenario(path: Path | str) -> Scenario:
    """The scenario in a file of TOML or JSON. Raises ScenarioError."""
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
        raise ScenarioError(f"{one_line(str(path))}: {what}; give the path of a scenario in TOML") from None
    try:
        return parse_scenario(raw.decode("utf-8-sig"), where=str(file), folder=file.parent)
    except UnicodeDecodeError:
        raise ScenarioError(f"{file}: not a text file in UTF-8; give a scenario in TOML") from None


def _files_beside(data: Any, folder: Path) -> Any:
    """The same scenario with its files, of lengths or of the model, found from its own folder, wherever it is read."""
    model = data.get("model")
    if isinstance(model, str):
        beside = folder / model
        with contextlib.suppress(OSError, ValueError):  # a name that no file system takes is no path
            if beside.is_file() or (beside / "config.json").is_file():
                data["model"] = str(beside)
    workload = data.get("workload")
    for part in ("prompt", "output", "reasoning"):
        table = workload.get(part) if isinstance(workload, dict) else None
        if isinstance(table, dict) and isinstance(table.get("file"), str):
            table["file"] = str(folder / table["file"])
    return data


_TABLES: dict[tuple[str, ...], type[BaseModel]] = {
    (): Scenario,
    ("workload",): WorkloadChoice,
    ("workload", "users"): UsersChoice,
    ("workload", "growth"): Growth,
    ("workload", "prompt"): LengthChoice,
    ("workload", "output"): LengthChoice,
    ("workload", "reasoning"): LengthChoice,
    ("slo",): Slo,
    ("constraints",): Constraints,
    ("money",): MoneyOptions,
    ("offered",): OfferedServers,
    ("speculation",): SpeculationChoice,
    ("fleet",): FleetChoice,
}
