"""A bundle's folder, checked as it lies there: what a hand changed since it was made is checked too."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.decide.plan_file import parse_plan_file
from llmsizer.errors import InputError
from llmsizer.launch.checks.documents import compose_findings, containers, manifest_findings, read_yaml
from llmsizer.launch.checks.finding import Finding
from llmsizer.launch.checks.flags import flag_findings
from llmsizer.launch.checks.rules import rule_findings
from llmsizer.launch.checks.scripts import script_findings, started_words
from llmsizer.launch.checks.secrets import environment_findings, image_findings, text_findings
from llmsizer.launch.engine_data import Engine, load_engine
from llmsizer.launch.identity import MANIFEST, PLAN, scenario_hash
from llmsizer.launch.scaling import adapted

_MOST_BYTES = 4_000_000
_NEEDED = ("engine", "engine_version", "target", "needs", "files", "scenario_sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What was looked at and what was found; ``skipped`` says what could not be looked at."""

    folder: Path
    engine: Engine
    target: str
    files: tuple[str, ...]
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.findings


def check_bundle(folder: Path) -> Checked:
    """Every check there is. Raises InputError where the folder is no bundle, MissingExtraError without the extra."""
    manifest = _manifest(folder)
    engine = load_engine(str(manifest["engine"]), str(manifest["engine_version"]))
    findings: list[Finding] = []
    for name in manifest["files"]:
        if not (folder / name).is_file():
            findings.append(
                Finding(name="file missing", file=name, what=f"{name}: named in {MANIFEST}, not in the folder")
            )
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.stat().st_size <= _MOST_BYTES)
    for path in files:
        findings.extend(_of_file(path, manifest, engine))
    findings.extend(_of_scenario(folder, manifest))
    return Checked(
        folder=folder,
        engine=engine,
        target=str(manifest["target"]),
        files=tuple(path.name for path in files),
        findings=tuple(findings),
        skipped=_skipped(),
    )


def _skipped() -> tuple[str, ...]:
    return () if shutil.which("shellcheck") else ("shellcheck is not installed: scripts were read by sh -n alone",)


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{folder}: no bundle ({MANIFEST}: {said}); make one with llmsizer bundle SCENARIO --out DIR"
        ) from None
    missing = [key for key in _NEEDED if not isinstance(manifest, dict) or key not in manifest]
    if missing:
        raise InputError(f"{folder / MANIFEST}: {', '.join(missing)} missing; make the bundle anew")
    return dict(manifest)


def _of_file(path: Path, manifest: dict[str, Any], engine: Engine) -> Iterator[Finding]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        yield Finding(name="not text", file=path.name, what=f"{path.name}: not a text file in UTF-8")
        return
    yield from text_findings(text, path.name)
    if path.suffix == ".sh":
        yield from script_findings(path)
    try:
        if path.name == "start.sh":
            words = started_words(text, path.name)
            yield from _of_words(words[_command_length(words, engine) :], manifest, engine, path.name)
        elif path.suffix in {".yaml", ".yml"}:
            for document in read_yaml(path):
                yield from _of_document(document, manifest, engine, path.name)
    except InputError as error:
        yield Finding(name="not readable", file=path.name, what=str(error))


def _command_length(words: Sequence[str], engine: Engine) -> int:
    usual = engine.facts.command
    return len(usual) if tuple(words[1 : len(usual)]) == usual[1:] else 1


def _of_words(words: Sequence[str], manifest: dict[str, Any], engine: Engine, file: str) -> Iterator[Finding]:
    yield from flag_findings(words, engine, file)
    yield from rule_findings(words, manifest["needs"], engine, file)


def _of_document(document: Any, manifest: dict[str, Any], engine: Engine, file: str) -> Iterator[Finding]:
    if isinstance(document, dict) and "services" in document and "kind" not in document:
        yield from compose_findings(document, file)
        services = document["services"] if isinstance(document["services"], dict) else {}
        for service in services.values():
            yield from _of_container(
                service, service.get("command"), service.get("environment"), manifest, engine, file
            )
        return
    yield from manifest_findings(document, file)
    for one in containers(document):
        yield from _of_container(one, one.get("args"), one.get("env"), manifest, engine, file)
    yield from _of_metrics(json.dumps(document), engine, file)
    if (
        isinstance(document, dict)
        and document.get("kind") == "Secret"
        and (document.get("data") or document.get("stringData"))
    ):
        yield Finding(
            name="secret value", file=file, what=f"{file}: a Secret with its data written down; create it apart"
        )


def _of_container(
    one: dict[str, Any], words: Any, environment: Any, manifest: dict[str, Any], engine: Engine, file: str
) -> Iterator[Finding]:
    yield from image_findings(one.get("image"), file)
    yield from environment_findings(environment, file)
    plain = [str(word).replace("$$", "$") for word in words] if isinstance(words, list) else []
    yield from _of_words(plain, manifest, engine, file)


def _of_metrics(text: str, engine: Engine, file: str) -> Iterator[Finding]:
    """Metrics that scaling rules ask for are shown by this version; an adapter writes them without colons."""
    shown = {adapted(name) for name in engine.table.metrics}
    for name in sorted(set(re.findall(r'"metric": {"name": "([\w:.-]+)"', text)) - shown):
        yield Finding(name="unknown metric", file=file, what=f"{file}: {engine.label} shows no metric {name}")
    for name in sorted(set(re.findall(r"sum\(([\w:]+)", text))):
        if name not in engine.table.metrics:
            yield Finding(name="unknown metric", file=file, what=f"{file}: {engine.label} shows no metric {name}")


def _of_scenario(folder: Path, manifest: dict[str, Any]) -> Iterator[Finding]:
    try:
        written = parse_plan_file((folder / PLAN).read_text(encoding="utf-8"), where=PLAN)
    except (OSError, InputError) as error:
        yield Finding(name="plan not readable", file=PLAN, what=f"{PLAN}: {error}")
        return
    if scenario_hash(written.asked) != manifest["scenario_sha256"]:
        yield Finding(
            name="another scenario", file=PLAN, what=f"{PLAN}: its scenario is not the one the bundle was made for"
        )
