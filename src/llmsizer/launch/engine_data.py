"""What is known of the engines that bundles start: images and ports, and the flags of each version."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from llmsizer.errors import CatalogError, InputError, UnknownNameError
from llmsizer.facts.complaint import explain
from llmsizer.facts.engine import version_key
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.profile_files import find_profiles, read_toml

Platform = Literal["cuda", "rocm", "intel", "cpu"]
_PLATFORMS: dict[str, Platform] = {"NVIDIA": "cuda", "AMD": "rocm", "Intel": "intel"}
ENGINES = ("vllm", "sglang", "llama.cpp", "transformers")


class FlagSpec(BaseModel):
    """One command-line flag as the package defines it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flag: str
    kind: str  # switch, int, "int, K M G", float, text, text?, list, json
    also: tuple[str, ...] = ()  # other spellings
    choices: tuple[str | int, ...] = ()
    default: Any = None
    negatable: bool = False
    off: tuple[str, ...] = ()  # spellings that turn a switch off
    deprecated: str = ""


class FlagTable(BaseModel):
    """Every flag of one version of an engine, and the metrics that it shows."""

    model_config = ConfigDict(frozen=True)

    engine: str
    version: str
    source: dict[str, Any]
    metrics: tuple[str, ...]
    flags: tuple[FlagSpec, ...]

    def find(self, name: str) -> FlagSpec | None:
        """The flag of that spelling; also where it turns a switch off."""
        return _index(self).get(name)

    def first(self, names: Sequence[str]) -> FlagSpec | None:
        """The first of several spellings that this version has and has not deprecated; else the first it has."""
        found = [spec for name in names if (spec := self.find(name)) is not None]
        return next((spec for spec in found if not spec.deprecated), found[0] if found else None)


_INDEXES: dict[tuple[str, str, int], dict[str, FlagSpec]] = {}


def _index(table: FlagTable) -> dict[str, FlagSpec]:
    """Spelling → flag, made once for a table."""
    key = (table.engine, table.version, len(table.flags))
    if key not in _INDEXES:
        found: dict[str, FlagSpec] = {}
        for spec in table.flags:
            off = spec.off or ((f"--no-{spec.flag.removeprefix('--')}",) if spec.negatable else ())
            for name in (spec.flag, *spec.also, *off):
                found.setdefault(name, spec)
        _INDEXES[key] = found
    return _INDEXES[key]


class EngineFacts(BaseModel):
    """How one engine is started and watched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    command: tuple[str, ...]
    container_command: tuple[str, ...]
    port: int
    health: str
    metrics: str
    queue_metrics: tuple[str, ...]
    kv_metrics: tuple[str, ...]
    key_variable: str
    memory_engine: str
    images: dict[Platform, str]
    image_versions: dict[str, str] = {}
    kv_formats: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine in one version."""

    name: str
    facts: EngineFacts
    table: FlagTable

    @property
    def version(self) -> str:
        return self.table.version

    @property
    def label(self) -> str:
        return f"{self.facts.title} {self.version}"

    def metric(self, names: Sequence[str]) -> str:
        """The first of these metrics that the version shows; empty where it shows none."""
        return next((name for name in names if name in self.table.metrics), "")

    def image(self, platform: Platform) -> str:
        """The image by tag. Raises InputError where the engine has none for such a device."""
        if platform not in self.facts.images:
            known = ", ".join(self.facts.images)
            raise InputError(
                f"{self.facts.title} has no image for {platform} devices, only for {known}; take another GPU or engine"
            )
        version = self.facts.image_versions.get(self.version, self.version)
        return self.facts.images[platform].format(version=version)


def platform_of(gpu: GpuSpec) -> Platform:
    """Which build of an engine a device needs. Raises InputError for devices that no image here serves."""
    if gpu.is_cpu:
        return "cpu"
    if gpu.vendor not in _PLATFORMS:
        raise InputError(
            f"{gpu.name}: no engine here has an image for devices of {gpu.vendor}; take NVIDIA, AMD or Intel"
        )
    return _PLATFORMS[gpu.vendor]


def known_versions(engine: str, root: Path | None = None) -> tuple[str, ...]:
    """Versions with a flag table, oldest first."""
    folder = find_profiles(root) / "launch" / "flags"
    found = [file.name.removeprefix(f"{engine}-").removesuffix(".json") for file in folder.glob(f"{engine}-*.json")]
    return tuple(sorted(found, key=version_key))


@cache
def load_engine(name: str, version: str | None = None, root: Path | None = None) -> Engine:
    """An engine in the newest version whose flags are known, or in exactly the one named. Raises UnknownNameError."""
    if name not in ENGINES:
        raise UnknownNameError(
            "engine for a bundle", name, ENGINES, also={"llamacpp": "llama.cpp", "hf": "transformers"}
        )
    versions = known_versions(name, root)
    if version is not None and version.removeprefix("v") not in versions:
        raise InputError(f"the flags of {name} {version} are not in a table; known versions: {', '.join(versions)}")
    wanted = version.removeprefix("v") if version else versions[-1]
    folder = find_profiles(root) / "launch"
    path = folder / "flags" / f"{name}-{wanted}.json"
    facts = read_toml(folder / "engines.toml")["engines"][name]
    try:
        table = FlagTable.model_validate(json.loads(path.read_text(encoding="utf-8")))
        return Engine(name=name, facts=EngineFacts.model_validate(facts), table=table)
    except ValidationError as error:
        raise CatalogError(explain(error, str(path), {(): FlagTable})) from None
