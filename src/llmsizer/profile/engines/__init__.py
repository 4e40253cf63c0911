"""One engine per file, imported only when it is used; a dict is registry enough."""

from __future__ import annotations

import importlib
from typing import Any

from llmsizer.errors import UnknownNameError
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Backend

ENGINES: dict[str, str] = {
    "openvino": "llmsizer.profile.engines.openvino:OpenVino",
    "transformers": "llmsizer.profile.engines.transformers:Transformers",
}
READS: dict[str, tuple[str, ...]] = {
    "openvino": ("openvino-ir", "gguf"),
    "transformers": ("huggingface", "compressed-tensors"),
}


def default_engine(variant: Variant) -> str:
    """The engine that runs a variant's format here."""
    return next(engine for engine, formats in READS.items() if variant.format in formats)


def load_engine(name: str, variant: Variant) -> Backend:
    """Load a variant into an engine, named as above or as ``package.module:Class``."""
    if name not in ENGINES and ":" not in name:
        raise UnknownNameError("engine", name, ENGINES)
    module, _, attribute = ENGINES.get(name, name).partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)
    backend: Backend = make(variant)
    return backend
