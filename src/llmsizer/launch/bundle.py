"""A bundle: the files that start a fleet, made whole or not at all, with a manifest that says what they came from."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.plan_file import Chosen
from llmsizer.decide.pricing.study import workload_of
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import Catalog
from llmsizer.files import whole_folder
from llmsizer.launch.checks.rules import rule_findings
from llmsizer.launch.container import arguments
from llmsizer.launch.engine_data import load_engine
from llmsizer.launch.fleet import Fleet, fleet_of
from llmsizer.launch.identity import MANIFEST, PLAN, README, scenario_hash
from llmsizer.launch.readme import readme
from llmsizer.launch.scripts import script_files
from llmsizer.launch.targets import TARGETS
from llmsizer.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Files by name, and the fleet they start."""

    fleet: Fleet
    target: str
    files: dict[str, str]


def make_bundle(
    chosen: Chosen,
    catalog: Catalog,
    *,
    engine: str,
    target: str,
    today: datetime.date,
    engine_version: str | None = None,
    checkpoint: str | None = None,
    physics: ModelledPhysics | None = None,
) -> Bundle:
    """Everything in memory; nothing is written. Raises LlmSizerError where the plan cannot be started that way."""
    target_named(target)
    fleet = fleet_of(
        chosen.plan,
        chosen.scenario,
        workload_of(chosen.scenario, catalog),
        load_engine(engine, engine_version),
        physics=physics,
        checkpoint=checkpoint,
    )
    return bundle_of(fleet, target, today=today, chosen=chosen)


def bundle_of(fleet: Fleet, target: str, *, today: datetime.date, chosen: Chosen | None = None) -> Bundle:
    """The files of a fleet, with the plan it came from where there is one. Raises InputError where a rule is broken."""
    files_of = target_named(target)
    if fleet.deployment.servers > 1 and target != "shell":
        raise InputError(
            f"one replica spans {fleet.deployment.servers} servers, which only the target shell starts: on each of "
            "them start.sh with its NODE_RANK"
        )
    broken = rule_findings(arguments(fleet), needs_of(fleet), fleet.engine)
    if broken:
        raise InputError(f"{fleet.deployment.label}: {broken[0].what}")
    differences = chosen.differences if chosen else ()
    files = {**files_of(fleet), **script_files(fleet, is_planned=chosen is not None)}
    files[README] = readme(fleet, target, differences)
    files[PLAN] = _json(_plan_document(fleet, chosen, today))
    files[MANIFEST] = _json(_manifest(fleet, target, sorted(files), differences, today))
    return Bundle(fleet=fleet, target=target, files=files)


def target_named(name: str) -> Callable[[Fleet], dict[str, str]]:
    """What makes a target's files. Raises UnknownNameError."""
    if name not in TARGETS:
        also = {"kubernetes": "k8s", "docker-compose": "compose", "docker": "compose", "sh": "shell"}
        raise UnknownNameError("target of a bundle", name, TARGETS, also=also)
    return TARGETS[name]


def write_bundle(bundle: Bundle, out: Path) -> None:
    """The folder, whole or not at all; scripts may be run. Raises InputError where it exists or cannot be written."""
    with whole_folder(out) as folder:
        for name, text in bundle.files.items():
            path = folder / name
            path.write_text(text, encoding="utf-8")
            if name.endswith(".sh"):
                path.chmod(0o755)


def needs_of(fleet: Fleet) -> dict[str, Any]:
    """What the plan needs of the flags: written into the manifest, and held against what the files really say."""
    deployment = fleet.deployment
    return {
        "model": fleet.scenario.model,
        "weights": deployment.weights.name,
        "kv_format": deployment.kv_format,
        "gpu": deployment.gpu.id,
        "gpus_per_replica": fleet.gpus,
        "memory_engine": deployment.engine,
        "context_tokens": deployment.max_context_tokens,
        "kv_tokens": fleet.promise.kv_tokens,
        "sequences": fleet.promise.sequences,
        "speculation": None if deployment.speculates is None else deployment.speculates.label,
    }


def _manifest(
    fleet: Fleet, target: str, files: list[str], differences: tuple[str, ...], today: datetime.date
) -> dict[str, Any]:
    promise = fleet.promise
    return {
        "schema_version": 1,
        "made_by": f"llmsizer {__version__}",
        "made_on": today.isoformat(),
        "engine": fleet.engine.name,
        "engine_version": fleet.engine.version,
        "flag_table": fleet.engine.table.source,
        "target": target,
        "plan": fleet.label,
        "scenario_sha256": scenario_hash(fleet.scenario),
        "checkpoint": fleet.checkpoint,
        "replicas": fleet.replicas,
        "spare_replicas": fleet.spare_replicas,
        "needs": needs_of(fleet),
        "promise": {
            "requests_per_second": promise.requests_per_second.to_dict(),
            "peak_requests_per_second": promise.at_peak.requests_per_second,
            "ttft_p95_seconds": promise.at_peak.ttft_p95.to_dict(),
            "tpot_p95_seconds": promise.at_peak.tpot_p95.to_dict(),
        },
        "differences": list(differences),
        "files": files,
    }


def _plan_document(fleet: Fleet, chosen: Chosen | None, today: datetime.date) -> dict[str, Any]:
    """The plan file with this plan alone, which ``llmsizer verify`` reads; without a plan the scenario alone.

    A plan is made for vLLM: what its peak hour is like under this engine takes that one's place.
    """
    whole = chosen.recommendation.to_dict() if chosen else None
    return {
        "schema_version": 1,
        "scenario": fleet.scenario.name,
        "model": fleet.deployment.model.name,
        "priced_on": whole["priced_on"] if whole else today.isoformat(),
        "plans": [chosen.plan.to_dict() | {"at_peak": fleet.promise.at_peak.to_dict()}] if chosen else [],
        "promised_for": fleet.engine.label,
        "apis": [],
        "asked": fleet.scenario.model_dump(mode="json"),
    }


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
