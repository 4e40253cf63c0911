"""JSON schemas of what goes in and what comes out, published under ``profiles/schema/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from llmsizer.decide.answer import RecommendationDoc
from llmsizer.facts.record_parts import RequestSample
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.money.comparison import ComparisonDoc

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def published_schemas() -> dict[str, dict[str, Any]]:
    """File name → schema."""
    return {
        "scenario.schema.json": {"$schema": _DRAFT} | Scenario.model_json_schema(),
        "recommendation.schema.json": {"$schema": _DRAFT} | TypeAdapter(RecommendationDoc).json_schema(),
        "comparison.schema.json": {"$schema": _DRAFT} | TypeAdapter(ComparisonDoc).json_schema(),
        "profile-record.schema.json": {"$schema": _DRAFT} | ProfileRecord.model_json_schema(),
        "quality-record.schema.json": {"$schema": _DRAFT} | QualityRecord.model_json_schema(),
        "request-sample.schema.json": {"$schema": _DRAFT} | RequestSample.model_json_schema(),
    }


def write_schemas(folder: Path) -> None:
    """Bring the published files up to date."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in published_schemas().items():
        (folder / name).write_text(schema_text(schema), encoding="utf-8")


def schema_text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
