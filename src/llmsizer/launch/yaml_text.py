"""Plain data as YAML text: block style, strings quoted wherever a reader could take them for something else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "none"}


def yaml_text(document: Any) -> str:
    """One document with a newline at its end. Keys keep their order."""
    return "\n".join(_lines(document, "")) + "\n"


def yaml_documents(documents: Sequence[Any]) -> str:
    return "---\n".join(yaml_text(document) for document in documents)


def _lines(value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [
            line for key, item in value.items() for line in _entry(f"{indent}{_scalar(str(key))}:", item, indent + "  ")
        ]
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        return [line for item in value for line in _item(item, indent)]
    return [indent + _scalar(value)]


def _entry(head: str, item: Any, indent: str) -> list[str]:
    if isinstance(item, Mapping | Sequence) and not isinstance(item, str) and item:
        return [head, *_lines(item, indent)]
    return [f"{head} {_scalar(item)}"]


def _item(item: Any, indent: str) -> list[str]:
    if isinstance(item, Mapping | Sequence) and not isinstance(item, str) and item:
        first, *rest = _lines(item, indent + "  ")
        return [f"{indent}- {first.strip()}", *rest]
    return [f"{indent}- {_scalar(item)}"]


def _scalar(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, Mapping | list | tuple):
        return "{}" if isinstance(value, Mapping) else "[]"
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a YAML string
