"""What is installed: optional toolkits by one door, and versions, without which a measurement cannot be repeated."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

from llmsizer.errors import MissingExtraError


def optional(module: str, *, what: str, extra: str) -> Any:
    """Import a module that an extra brings. Raises MissingExtraError, saying which extra, where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise  # it is installed, but broken in itself: that message helps more
        raise MissingExtraError(what, extra) from None


# Types that transformers has, but offers only as a part of others: their class, and the type whose experts it reads
# one by one as engines store them (it knows Mistral Small 4's in the fused form of the hub alone).
TEXT_PARTS = {"mistral4": ("Mistral4ForCausalLM", "qwen2_moe")}


def quiet_transformers(*, what: str, model_type: object = None) -> Any:
    """transformers that asks no hub and draws no bars: nothing here needs the one, and the other breaks into ours.

    ``model_type`` is that of a language model to be loaded; it is made known where transformers has, but hides it.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    transformers = optional("transformers", what=what, extra="quantize")
    transformers.utils.logging.disable_progress_bar()
    if model_type in TEXT_PARTS:
        model, like = TEXT_PARTS[str(model_type)]
        names = importlib.import_module("transformers.models.auto.modeling_auto").MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        names.setdefault(model_type, model)
        mapping = importlib.import_module("transformers.conversion_mapping")
        known = mapping.get_checkpoint_conversion_mapping(like)
        mapping.register_checkpoint_conversion_mapping(model_type, known, overwrite=True)
    return transformers


def versions_of(*packages: str) -> dict[str, str]:
    """Installed versions by package name; what is not installed is left out."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and most commands ask for none

    found: dict[str, str] = {}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
