"""Variant folders are described by a manifest and read back from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from llmsizer.errors import InputError
from llmsizer.facts.variant import Variant

MANIFEST = "llmsizer_manifest.json"


def write_manifest(folder: Path, variant: Variant) -> None:
    (folder / MANIFEST).write_text(variant.model_dump_json(indent=1, exclude={"path"}) + "\n", encoding="utf-8")


def read_variant(folder: Path) -> Variant:
    """The variant in a folder that ``quantize`` wrote. Raises InputError."""
    file = folder / MANIFEST
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"{folder}: no {MANIFEST}; give a folder that `llmsizer quantize` wrote") from None
    try:
        return Variant.model_validate({**_object(text), "path": folder.resolve()})
    except (ValidationError, ValueError) as error:
        raise InputError(f"{file}: not a manifest of ours ({str(error).splitlines()[0]})") from None


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value
