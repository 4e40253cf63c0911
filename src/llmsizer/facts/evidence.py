"""Published evidence on number formats: what quality they keep, and on which GPUs the engine has kernels for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llmsizer.errors import CatalogError
from llmsizer.facts.figure import Figure
from llmsizer.facts.gpu import GpuSpec
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.precision import Precision
from llmsizer.facts.profile_files import find_profiles, read_rows, read_toml, take_provenance
from llmsizer.facts.provenance import Estimate, Provenance

_UNQUANTIZED = {"fp32", "fp16", "bf16"}


def load_quality_prior(root: Path | None = None) -> dict[str, Figure]:
    """Recovery of the 16-bit reference's scores by format, median and 90 % range over published models."""
    prior: dict[str, Figure] = {}
    for where, cells, origin in read_rows(find_profiles(root) / "measured" / "public" / "quality_prior.toml"):
        try:
            median, low, high = (float(cells[key]) for key in ("recovery", "low", "high"))
        except (KeyError, TypeError, ValueError):
            raise CatalogError(f"{where}: recovery, low and high are needed, as numbers") from None
        counts = f"median over {cells.get('models')} models, {cells.get('rows')} published evaluations"
        prior[str(cells.get("precision"))] = Figure(
            estimate=Estimate(value=median, low=low, high=high, basis=origin.basis, reason=counts),
            unit="of the 16-bit reference's scores",
            source=origin.source,
            as_of=origin.as_of,
        )
    return prior


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
        if gpu.family not in self.families.get(_format(precision), frozenset()):
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


def _format(precision: Precision) -> str:
    if precision.name in _UNQUANTIZED:
        return "16bit"
    return "gguf" if precision.name.startswith("gguf") else precision.name
