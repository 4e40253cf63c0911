"""What a store holds: four kinds of documents, each known by a hash of its content."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from llmsizer.facts.records import ProfileRecord, QualityRecord

Kind = Literal["records", "quality", "scenarios", "plans"]


class Document(BaseModel):
    """A scenario as it was asked, or a plan as it was answered: JSON of its own published schema, with a name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    model: str = ""
    content: dict[str, Any]
    created_at: str = ""


Item = ProfileRecord | QualityRecord | Document
TYPES: dict[Kind, type[ProfileRecord] | type[QualityRecord] | type[Document]] = {
    "records": ProfileRecord,
    "quality": QualityRecord,
    "scenarios": Document,
    "plans": Document,
}


def document_of(item: Item) -> str:
    """The item as it is kept: JSON with sorted keys, without what is only a default; its version always."""
    document = item.model_dump(mode="json", exclude_defaults=True)
    if not isinstance(item, Document):
        document["schema_version"] = item.schema_version
    return json.dumps(document, sort_keys=True, ensure_ascii=False)


def content_id(item: Item) -> str:
    """A hash of what an item says, the same whichever version of the schema wrote it down."""
    dropped = {"schema_version", "created_at"}
    said = item.model_dump(mode="json", exclude_defaults=True, exclude=dropped)
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]


def columns_of(kind: Kind, item: Item) -> dict[str, Any]:
    """What an item can be looked up by, beside its document."""
    if isinstance(item, ProfileRecord):
        return {
            "record_id": item.record_id,
            "status": item.status,
            "model": item.model,
            "variant": item.variant,
            "precision": item.precision,
            "engine": item.engine,
            "device": item.device.name,
            "batch": item.batch,
            "prompt_tokens": item.prompt_tokens,
            "output_tokens": item.output_tokens,
            "pattern": item.load.pattern if item.load else "batch",
            "measured_at": item.measured_at,
        }
    if isinstance(item, QualityRecord):
        names = ("model", "variant", "precision", "method", "dataset", "measured_at")
        return {name: getattr(item, name) for name in names}
    return {"name": item.name, "model": item.model, "created_at": item.created_at}


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested fields under dotted names; lists as JSON text."""
    for name, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list | tuple | Mapping):
            yield f"{prefix}{name}", json.dumps(inner, ensure_ascii=False) if inner else None
        else:
            yield f"{prefix}{name}", inner
