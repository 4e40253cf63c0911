"""One engine per file, imported only when it is used; a dict is registry enough."""

from __future__ import annotations

import importlib
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Backend

GPU_DEVICES = ("/dev/nvidia0", "/dev/kfd")
HOME = "llmsizer.profile.engines"
CHECKPOINTS = ("huggingface", "compressed-tensors")


@dataclass(frozen=True, slots=True)
class Engine:
    """Where an engine is, which formats it reads, and the extra that brings what it needs."""

    target: str
    reads: tuple[str, ...]
    extra: str
    stays: bool = False  # at a point until it is done: each change of shape rebuilds caches, graphs or code


# In the order of preference for a format.
ENGINES: dict[str, Engine] = {
    "openvino": Engine(f"{HOME}.openvino:OpenVino", ("openvino-ir", "gguf"), "profile"),
    "transformers": Engine(f"{HOME}.transformers:Transformers", CHECKPOINTS, "profile"),
    "transformers-static": Engine(f"{HOME}.transformers:static", CHECKPOINTS, "profile", stays=True),
    "transformers-graph": Engine(f"{HOME}.transformers:graph", CHECKPOINTS, "profile", stays=True),
    "transformers-compiled": Engine(f"{HOME}.transformers:compiled", CHECKPOINTS, "profile", stays=True),
    "transformers-cb": Engine(f"{HOME}.transformers_batching:TransformersBatching", CHECKPOINTS, "profile", stays=True),
    "llama.cpp": Engine(f"{HOME}.llama_cpp:LlamaCpp", ("gguf",), "llama-cpp"),
    "vllm": Engine(f"{HOME}.vllm:Vllm", CHECKPOINTS, "vllm"),
    "vllm-offline": Engine(f"{HOME}.vllm:VllmOffline", CHECKPOINTS, "vllm"),
}


def stays_at_a_point(name: str) -> bool:
    """Whether an engine is to finish one shape before the next; transformers compiles for each on a GPU."""
    return name in ENGINES and (ENGINES[name].stays or (name == "transformers" and has_gpu()))


def default_engine(variant: Variant) -> str:
    """The engine that runs a variant's format here: on a GPU one that uses it, where there is one for the format."""
    able = [name for name, engine in ENGINES.items() if variant.format in engine.reads]
    preferred = preferred_engine()
    if preferred in able:
        return preferred
    return "llama.cpp" if "llama.cpp" in able and has_gpu() and has_llama_cpp() else able[0]


def preferred_engine() -> str:
    """The family to make variants for: vLLM on a GPU where it is installed, else transformers; without one OpenVINO."""
    if not has_gpu():
        return "openvino"
    return "vllm" if shutil.which("vllm") or importlib.util.find_spec("vllm") else "transformers"


def has_gpu() -> bool:
    """Whether a driver of NVIDIA or AMD shows a device here."""
    return any(Path(device).exists() for device in GPU_DEVICES)


def has_llama_cpp() -> bool:
    return bool(shutil.which("llama-server") or importlib.util.find_spec("xllamacpp"))


def chosen_engine(variant: Variant, name: str | None) -> str:
    """The engine asked for, or the default. Raises InputError where it is unknown or cannot read the variant."""
    if name is None:
        return default_engine(variant)
    if ":" in name:
        return name
    engine = known_engine(name)
    if variant.format not in engine.reads:
        able = ", ".join(other for other, o in ENGINES.items() if variant.format in o.reads)
        raise InputError(
            f"engine {name!r} reads {' and '.join(engine.reads)}, but variant {variant.name!r} at {variant.path} is "
            f"{variant.format}; engines that read it: {able}"
        )
    return name


def known_engine(name: str) -> Engine:
    """The engine of that name. Raises InputError, which names those there are and the extras that bring them."""
    if name not in ENGINES:
        known = ", ".join(f"{known} [{engine.extra}]" for known, engine in ENGINES.items())
        raise InputError(
            f"no engine named {name!r}; known, with the extra to install (pip install 'llmsizer[EXTRA]'): {known}"
        )
    return ENGINES[name]


def load_engine(name: str, variant: Variant) -> Backend:
    """Load a variant into an engine, named as above or as ``package.module:Class``."""
    module, _, attribute = (name if ":" in name else known_engine(name).target).partition(":")
    make: Any = getattr(importlib.import_module(module), attribute)
    backend: Backend = make(variant)
    return backend
