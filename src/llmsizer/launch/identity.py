"""Names of a bundle's files, and what ties it to its scenario."""

from __future__ import annotations

import hashlib

from llmsizer.facts.scenario import Scenario

MANIFEST, PLAN, README = "bundle.json", "plan.json", "README.md"


def scenario_hash(scenario: Scenario) -> str:
    """SHA-256 of the scenario in full, defaults included."""
    return hashlib.sha256(scenario.model_dump_json().encode()).hexdigest()
