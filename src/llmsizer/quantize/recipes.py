"""What each method does, as data: a new recipe is a new record here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from llmsizer.errors import UnknownNameError
from llmsizer.facts.variant import Format

Toolkit = Literal["openvino", "gguf", "llm-compressor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to store weights. Layers named in ``kept_8bit`` hold eight bits where the others hold four."""

    name: str
    variant: str
    precision: str
    toolkit: Toolkit
    format: Format
    bits: int
    algorithm: Literal["none", "round-to-nearest", "gptq"] = "none"
    group_size: int | None = None  # None: one scale per output channel
    symmetric: bool = True
    kept_8bit: tuple[str, ...] = ()
    kept_16bit: tuple[str, ...] = ()
    description: str

    @property
    def is_quantized(self) -> bool:
        return self.bits < 16


EMBEDDINGS = ("embed_tokens", "lm_head")

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="openvino-fp16",
            variant="fp16",
            precision="fp16",
            toolkit="openvino",
            format="openvino-ir",
            bits=16,
            description="16-bit weights as OpenVINO IR, unquantized",
        ),
        Recipe(
            name="openvino-int8",
            variant="int8",
            precision="int8-wo",
            toolkit="openvino",
            format="openvino-ir",
            bits=8,
            algorithm="round-to-nearest",
            description="NNCF, 8 bit symmetric per channel, all matrices",
        ),
        Recipe(
            name="openvino-int4",
            variant="int4",
            precision="int4",
            toolkit="openvino",
            format="openvino-ir",
            bits=4,
            algorithm="round-to-nearest",
            group_size=128,
            kept_8bit=EMBEDDINGS,
            description="NNCF, 4 bit symmetric in groups of 128; embeddings and output matrix 8 bit",
        ),
        Recipe(
            name="gguf-f16",
            variant="fp16",
            precision="fp16",
            toolkit="gguf",
            format="gguf",
            bits=16,
            description="16-bit weights as GGUF, unquantized",
        ),
        Recipe(
            name="gguf-q8_0",
            variant="int8",
            precision="gguf-q8_0",
            toolkit="gguf",
            format="gguf",
            bits=8,
            algorithm="round-to-nearest",
            group_size=32,
            description="GGUF Q8_0, all matrices",
        ),
        Recipe(
            name="gguf-q4_0",
            variant="int4",
            precision="gguf-q4_0",
            toolkit="gguf",
            format="gguf",
            bits=4,
            algorithm="round-to-nearest",
            group_size=32,
            kept_8bit=EMBEDDINGS,
            description="GGUF Q4_0; embeddings and output matrix Q8_0",
        ),
        Recipe(
            name="int8",
            variant="int8",
            precision="int8-wo",
            toolkit="llm-compressor",
            format="compressed-tensors",
            bits=8,
            algorithm="round-to-nearest",
            kept_16bit=EMBEDDINGS,
            description="llm-compressor W8A16, 8 bit symmetric per channel; embeddings and output matrix 16 bit",
        ),
        Recipe(
            name="int4-rtn",
            variant="int4-rtn",
            precision="int4",
            toolkit="llm-compressor",
            format="compressed-tensors",
            bits=4,
            algorithm="round-to-nearest",
            group_size=128,
            kept_16bit=EMBEDDINGS,
            description="llm-compressor W4A16 rounded to nearest, groups of 128; embeddings and output matrix 16 bit",
        ),
        Recipe(
            name="int4-gptq",
            variant="int4",
            precision="int4",
            toolkit="llm-compressor",
            format="compressed-tensors",
            bits=4,
            algorithm="gptq",
            group_size=128,
            kept_16bit=EMBEDDINGS,
            description="llm-compressor GPTQ W4A16, groups of 128; embeddings and output matrix 16 bit",
        ),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name. Raises UnknownNameError."""
    if name not in RECIPES:
        raise UnknownNameError("quantization method", name, RECIPES)
    return RECIPES[name]
