"""What each method does, as data: a new recipe is a new file under ``profiles/recipes``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from llmsizer.errors import CatalogError, UnknownNameError
from llmsizer.facts.profile_files import find_profiles, read_toml, toml_files
from llmsizer.facts.variant import Format

Toolkit = Literal["openvino", "gguf", "llm-compressor", "gptqmodel", "none"]
Algorithm = Literal["none", "round-to-nearest", "minmax", "gptq", "awq", "smoothquant", "scale-estimation"]
CALIBRATED = ("minmax", "gptq", "awq", "smoothquant", "scale-estimation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to store weights. Matrices whose names hold a text of ``kept_8bit`` keep eight bits, and so on."""

    name: str
    description: str
    variant: str
    precision: str  # a key of facts.precision.PRECISIONS
    toolkit: Toolkit
    format: Format
    bits: int
    algorithm: Algorithm = "none"
    then: Algorithm = "round-to-nearest"  # how weights are rounded after smoothing
    scheme: str = ""  # compressed-tensors' name of what is stored
    group_size: int | None = None  # None: one scale per output channel or tensor
    symmetric: bool = True
    act_order: str | None = None
    smoothing_strength: float = 0.5
    kv_scales: Literal["fp8"] | None = None
    kept_8bit: tuple[str, ...] = ()
    kept_16bit: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()  # mixed precision: what a group of layers may be stored as
    tensor_types: Mapping[str, str] = field(default_factory=dict)  # GGUF: type by a part of the name
    more_bits: str = ""  # GGUF: the type of the layers that llama.cpp's mixes favour
    calibration_sequences: int = 128
    sequence_tokens: int = 256

    @property
    def is_quantized(self) -> bool:
        return self.bits < 16

    @property
    def is_calibrated(self) -> bool:
        return self.algorithm in CALIBRATED

    @property
    def part(self) -> str:
        """What the quantized part is called in a manifest: "int4", "fp8" …"""
        if self.scheme.startswith("FP8"):
            return "fp8"
        if self.scheme.startswith(("NVFP4", "MXFP4")):
            return self.scheme[:5].lower()
        return f"int{self.bits}"


def read_recipe(file: Path) -> Recipe:
    """A recipe from its file. Raises CatalogError naming file and key."""
    data: dict[str, Any] = read_toml(file)
    known = {f.name: f for f in dataclasses.fields(Recipe)}
    unknown = set(data) - set(known) | ({"name"} & set(data))
    if unknown:
        raise CatalogError(f"{file}: {min(unknown)} is not known; known: {', '.join(sorted(set(known) - {'name'}))}")
    needed = {"description", "variant", "precision", "toolkit", "format", "bits"}
    if not data.keys() >= needed:
        raise CatalogError(f"{file}: {min(needed - data.keys())} is missing; needed: {', '.join(sorted(needed))}")
    for key, allowed in (("toolkit", Toolkit), ("format", Format), ("algorithm", Algorithm), ("then", Algorithm)):
        if key in data and data[key] not in get_args(allowed):
            raise CatalogError(f"{file}: {key} = {data[key]!r}; known: {', '.join(get_args(allowed))}")
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Recipe(name=file.stem, **values)


RECIPES: dict[str, Recipe] = {file.stem: read_recipe(file) for file in toml_files(find_profiles() / "recipes")}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name, or of a TOML file of one's own. Raises UnknownNameError and CatalogError."""
    if name.endswith(".toml"):
        return read_recipe(Path(name))
    if name not in RECIPES:
        raise UnknownNameError("quantization method", name, RECIPES)
    return RECIPES[name]


# What engines read of experts, stored one by one, and what a toolkit makes of a single matrix.
EXPERT_SCHEMES = ("W4A16", "W8A16", "W8A8", "FP8_DYNAMIC", "FP8", "NVFP4A16", "NVFP4", "MXFP4A16")


def knows_experts(recipe: Recipe) -> bool:
    """Whether a method quantizes mixtures of experts here."""
    if recipe.toolkit != "llm-compressor":
        return recipe.toolkit in ("gguf", "none")
    alone = recipe.algorithm in ("round-to-nearest", "minmax", "gptq") and not recipe.choices and not recipe.kv_scales
    return alone and recipe.scheme in EXPERT_SCHEMES
