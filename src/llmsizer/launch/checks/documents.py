"""YAML files against the schemas that their readers publish."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.facts.profile_files import find_profiles
from llmsizer.installed import optional
from llmsizer.launch.checks.finding import Finding
from llmsizer.yaml_reading import yaml_documents

_WHAT = "checking a bundle"
_MOST_VALUES = 100_000


def read_yaml(path: Path) -> list[Any]:
    """All documents of a file. Raises InputError in one line where it is not YAML."""
    try:
        documents = yaml_documents(path.read_text(encoding="utf-8"), what=_WHAT, extra="launch")
        _check_size(documents)
        return documents
    except (OSError, UnicodeDecodeError, InputError) as error:
        raise InputError(f"{path.name}: not readable as YAML: {error}") from None


def _check_size(documents: list[Any]) -> None:
    """Anchors count as often as they are named: a few lines can name each other a million million times."""
    left, seen = list(documents), 0
    while left:
        value = left.pop()
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        seen += 1
        if seen > _MOST_VALUES:
            raise InputError(f"more than {_MOST_VALUES:,} values in it")


def compose_findings(document: Any, file: str) -> list[Finding]:
    return _against(_schemas()["compose"], document, file)


def manifest_findings(document: Any, file: str) -> list[Finding]:
    """One Kubernetes, KServe or KEDA object by its kind."""
    kind = document.get("kind") if isinstance(document, dict) else None
    schema = _schemas().get(str(kind))
    if schema is None:
        return [Finding(name="unknown kind", file=file, what=f"{file}: no schema here for an object of kind {kind!r}")]
    return _against(schema, document, file)


def _against(schema: dict[str, Any], document: Any, file: str) -> list[Finding]:
    jsonschema = optional("jsonschema", what=_WHAT, extra="launch")
    validator = jsonschema.validators.validator_for(schema)(schema)
    errors = sorted(validator.iter_errors(document), key=lambda error: list(map(str, error.absolute_path)))
    return [Finding(name="schema", file=file, what=f"{file}: {_said(error)}") for error in errors]


def _said(error: Any) -> str:
    path = ".".join(str(part) for part in error.absolute_path) or "the document"
    return f"{path}: {' '.join(str(error.message).split())[:240]}"


@cache
def _schemas() -> dict[str, dict[str, Any]]:
    """Kind → schema, each closed in itself; ``compose`` beside them."""
    folder = find_profiles() / "launch" / "schemas"
    read = {
        name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("kubernetes", "kserve", "keda", "compose")
    }
    definitions = {
        name: part for file in ("kubernetes", "kserve", "keda") for name, part in read[file]["$defs"].items()
    }
    found: dict[str, dict[str, Any]] = {"compose": read["compose"]}
    for file in ("kubernetes", "kserve", "keda"):
        for kind, name in read[file]["roots"].items():
            found[kind] = {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$ref": f"#/$defs/{name}",
                "$defs": definitions,
            }
    return found


def containers(document: Any) -> Iterator[dict[str, Any]]:
    """Every container of an object, wherever its pod stands."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key in {"containers", "initContainers"} and isinstance(value, list):
                yield from (one for one in value if isinstance(one, dict))
            yield from containers(value)
    elif isinstance(document, list):
        for value in document:
            yield from containers(value)
