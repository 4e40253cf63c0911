"""Which formats an engine runs on which GPU, and as which kernel: data with sources, not the checkpoint's name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from llmsizer.errors import CatalogError
from llmsizer.facts.engine import version_key
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import ComputeFormat, Precision
from llmsizer.facts.profile_files import find_profiles, read_rows, read_toml, take_provenance
from llmsizer.facts.provenance import Provenance

_UNQUANTIZED = ("fp32", "fp16", "bf16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What one format runs as on one family of GPUs under a range of versions of an engine."""

    engine: str
    since: str
    until: str  # without it
    format: str
    families: frozenset[str]
    runs: bool
    name: str
    compute: ComputeFormat | None
    provenance: Provenance

    @property
    def note(self) -> str:
        return self.provenance.note

    def is_about(self, engine: str, version: str | None, format_name: str, family: str) -> bool:
        """Without a version: the newest that a row knows."""
        if (self.engine, self.format) != (engine, format_name) or family not in self.families:
            return False
        if version is None:
            return not self.until
        asked = version_key(version)
        return version_key(self.since) <= asked and (not self.until or asked < version_key(self.until))


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheFormat:
    """What is known of a quantized KV cache."""

    format: str
    families: frozenset[str]
    caveat: str
    source: str
    as_of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelTable:
    """Everything in ``profiles/support/kernels.toml``."""

    kernels: tuple[Kernel, ...]
    caches: Mapping[str, CacheFormat]

    @property
    def engines(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(kernel.engine for kernel in self.kernels))

    def find(self, engine: str, version: str | None, precision: Precision, gpu: GpuSpec) -> Kernel | None:
        """The first row that fits; None where nobody said."""
        name = kernel_format(precision)
        return next((k for k in self.kernels if k.is_about(engine, version, name, gpu.family)), None)


def kernel_format(precision: Precision) -> str:
    """The name a format has in the table."""
    if precision.name in _UNQUANTIZED:
        return "16bit"
    return "gguf" if precision.name.startswith("gguf") else precision.name


def load_kernels(root: Path | None = None) -> KernelTable:
    """Raises CatalogError naming the row."""
    path = find_profiles(root) / "support" / "kernels.toml"
    kernels = tuple(_kernel(where, cells, origin) for where, cells, origin in read_rows(path))
    caches = {name: _cache(name, values, str(path)) for name, values in read_toml(path).get("kv", {}).items()}
    return KernelTable(kernels=kernels, caches=caches)


def _kernel(where: str, cells: Mapping[str, Any], origin: Provenance) -> Kernel:
    runs, compute = cells.get("runs"), cells.get("compute")
    if not isinstance(runs, bool) or (runs and compute not in get_args(ComputeFormat)):
        raise CatalogError(f"{where}: a kernel that runs needs compute, one of {', '.join(get_args(ComputeFormat))}")
    try:
        return Kernel(
            engine=str(cells["engine"]),
            since=str(cells.get("since", "")),
            until=str(cells.get("until", "")),
            format=str(cells["format"]),
            families=frozenset(str(cells["families"]).split()),
            runs=runs,
            name=str(cells.get("kernel", "")),
            compute=compute if runs else None,
            provenance=origin,
        )
    except KeyError as error:
        raise CatalogError(f"{where}: {error.args[0]} is missing") from None


def _cache(name: str, values: Any, where: str) -> CacheFormat:
    if not isinstance(values, dict) or not {"families", "caveat", "source", "as_of"} <= set(values):
        raise CatalogError(f"{where}: kv.{name} needs families, caveat, source and as_of")
    return CacheFormat(
        format=name,
        families=frozenset(map(str, values["families"])),
        caveat=str(values["caveat"]),
        source=str(values["source"]),
        as_of=str(values["as_of"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatSupport:
    """Architecture families by format, for one engine."""

    engine: str
    families: Mapping[str, frozenset[str]]
    instead: Mapping[str, str]
    plain_models_only: frozenset[str]  # families too old for kernels of experts and of latent attention
    provenance: Provenance

    def problem(self, model: ModelSpec, precision: Precision, gpu: GpuSpec) -> str:
        """Why the engine does not run this model in this format there; empty where it does."""
        if gpu.family not in self.families.get(kernel_format(precision), frozenset()):
            return f"{self.engine} lists no {precision.name} kernels for {gpu.family}"
        if gpu.family in self.plain_models_only and (model.is_moe or "latent" in model.attention_kinds):
            what = "mixtures of experts" if model.is_moe else "latent attention"
            return f"no report of {self.engine} running {what} on {gpu.family}"
        return ""


def load_support(engine: str, root: Path | None = None) -> FormatSupport:
    """What an engine's documentation says. Raises CatalogError."""
    path = find_profiles(root) / "support" / f"{engine}.toml"
    data = read_toml(path)
    families, instead = data.get("families", {}), data.get("instead", {})
    if not isinstance(families, dict) or not all(isinstance(names, list) for names in families.values()):
        raise CatalogError(f"{path}: families has the wrong shape; give a list of families for each format")
    return FormatSupport(
        engine=engine,
        families={name: frozenset(map(str, names)) for name, names in families.items()},
        plain_models_only=frozenset(map(str, data.get("plain_models_only", []))),
        instead={str(name): str(text) for name, text in instead.items()},
        provenance=take_provenance(data, str(path)),
    )
