"""Make variants of a checkpoint in fewer bits: whole folders, in formats that engines read, with a manifest.

>>> from llmsizer.quantize import RECIPES
>>> RECIPES["openvino-int4"].group_size
128
"""

from __future__ import annotations

from llmsizer.facts.variant import Variant
from llmsizer.quantize.manifest import MANIFEST, read_variant
from llmsizer.quantize.recipes import RECIPES, Recipe, get_recipe
from llmsizer.quantize.run import Job, original, quantize, quantize_all

__all__ = [
    "MANIFEST",
    "RECIPES",
    "Job",
    "Recipe",
    "Variant",
    "get_recipe",
    "original",
    "quantize",
    "quantize_all",
    "read_variant",
]
