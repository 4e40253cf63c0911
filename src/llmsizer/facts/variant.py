"""A model in one stored precision: where its files lie, how they were made, what they weigh."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["huggingface", "compressed-tensors", "gptq", "awq", "gguf", "openvino-ir"]

SCHEMA_VERSION = 1


class WeightPart(BaseModel):
    """The weights of one stored format; the bytes contain their scales and zero points."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: str  # "int4", "int8", "fp16" …
    params: int = Field(ge=0)
    bytes: int = Field(ge=0)

    @property
    def bits_per_weight(self) -> float | None:
        return 8.0 * self.bytes / self.params if self.params else None


class FilePart(BaseModel):
    """A kind of content of the weight files, over all of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str  # "layers", "scales", "header", "tokenizer" …
    bytes: int = Field(ge=0)
    is_weights: bool  # else it is there for the reader: names, shapes, vocabulary, padding


class RoundTrip(BaseModel):
    """What a second, independent reader made of the stored weights, beside what an engine made of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    reader: str  # the engine
    against: str  # the independent one
    tokens: int = Field(ge=1)
    measure: str  # what ``value`` is
    value: float
    bound: float

    @property
    def holds(self) -> bool:
        return self.value <= self.bound


class ExpertUse(BaseModel):
    """How the experts of a mixture fared in calibration, over all layers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    experts: int = Field(ge=1)
    rounded: int = Field(ge=0)  # to nearest, having been sent fewer tokens than ``least_tokens``
    least_tokens: int = Field(ge=1)
    fewest_tokens: int = Field(ge=0)  # that one of them was sent


class Variant(BaseModel):
    """One folder of weights. Everything but ``path`` is written beside the weights as their manifest."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    path: Path
    model: str
    name: str  # "fp16", "int8", "int4": what people call it
    precision: str  # a key of facts.precision.PRECISIONS
    method: str
    format: Format
    recipe: dict[str, object] = {}
    toolkit: str = ""
    versions: dict[str, str] = {}
    source_sha256: str = ""
    calibration_sha256: str = ""  # of the texts that the method looked at; empty: it looked at none
    calibration_tokens: int = 0
    expert_use: ExpertUse | None = None  # None: no mixture of experts, or nothing was calibrated
    round_trip: RoundTrip | None = None
    file_parts: tuple[FilePart, ...] = ()  # what every byte of the weight files on disk is; empty: not taken down
    quantized_format: str | None = None  # which of ``parts`` the recipe aimed at; None: nothing was quantized
    parts: tuple[WeightPart, ...] = ()
    config: dict[str, object] = {}  # the Hugging Face config.json of the source
    notes: tuple[str, ...] = ()
    created_at: str = ""

    @property
    def weights_bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @property
    def file_bytes(self) -> int | None:
        """Of the weight files on disk; None where they were not taken down."""
        return sum(part.bytes for part in self.file_parts) if self.file_parts else None

    @property
    def params(self) -> int:
        return sum(part.params for part in self.parts)

    @property
    def bits_per_weight(self) -> float | None:
        """Effective bits of one weight over the whole file, scales and unquantized layers included."""
        return 8.0 * self.weights_bytes / self.params if self.params else None

    @property
    def quantized_bytes_ratio(self) -> float | None:
        """Bytes of the quantized layers over the bytes they take in 16 bit; None where nothing was quantized."""
        for part in self.parts:
            if part.format == self.quantized_format and part.params:
                return part.bytes / (2.0 * part.params)
        return None
