"""``llmsizer bundle``: the files that start a plan, and ``bundle check``: those files held against what is known."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, comma_list
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from llmsizer.launch.bundle import Bundle
    from llmsizer.launch.checks.bundle import Checked

CHECK = "check"


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser(
        "bundle",
        help="from a plan to files that start it: shell, compose, Kubernetes, KServe; `bundle check DIR` verifies them",
    )
    parser.add_argument("scenario", metavar="SCENARIO|PLAN.json|check", help="what to start, or the word check")
    parser.add_argument("folder", nargs="?", type=Path, help="with check: the bundle's folder")
    parser.add_argument("--engine", default="vllm", help="vllm, sglang, llama.cpp or transformers (default: vllm)")
    parser.add_argument("--engine-version", metavar="V", help="one whose flags are known (default: the newest)")
    parser.add_argument("--target", default="shell", help="shell, compose, k8s or kserve (default: shell)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder that does not exist yet")
    parser.add_argument("--plan", metavar="LABEL|N", help="which plan (default: the first)")
    parser.add_argument("--precisions", type=comma_list, metavar="P,…",
                        help="in place of the scenario's formats, e.g. gguf-q4_k_m for llama.cpp")  # fmt: skip
    parser.add_argument("--checkpoint", metavar="REPO|/PATH", help="the weights (default: the maker's, or /models/…)")
    parser.add_argument("--records", metavar="FILE|STORE", help="own profile records: they calibrate the promise")
    parser.add_argument("--quality", metavar="FILE|STORE", help="own quality records: they replace the prior")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    if arguments.scenario == CHECK:
        return _check(arguments)
    if arguments.folder is not None:
        raise InputError(f"{arguments.folder}: one scenario or plan file at a time; the folder goes after --out")
    if arguments.out is None:
        raise InputError("--out DIR is missing: a folder that does not exist yet")
    return _make(arguments)


def _make(arguments: argparse.Namespace) -> int:
    from llmsizer.cli.decide.planning import chosen_plan, read_evidence
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.launch.bundle import make_bundle, target_named, write_bundle
    from llmsizer.launch.engine_data import load_engine

    load_engine(arguments.engine, arguments.engine_version)  # a wrong name is said before anything takes time
    target_named(arguments.target)
    if arguments.out.exists():
        raise InputError(f"{arguments.out} exists already; give a new folder or remove it")
    evidence = read_evidence(arguments.records, arguments.quality)
    chosen = chosen_plan(arguments.scenario, arguments.plan, evidence, precisions=arguments.precisions)
    bundle = make_bundle(
        chosen,
        default_catalog(),
        engine=arguments.engine,
        target=arguments.target,
        today=datetime.date.today(),
        engine_version=arguments.engine_version,
        checkpoint=arguments.checkpoint,
        physics=ModelledPhysics(evidence.calibration),
    )
    write_bundle(bundle, arguments.out)
    checked, unchecked = _checked(arguments.out)
    if arguments.json:
        print_json({"folder": str(arguments.out), **_made(bundle), "check": _as_json(checked), "unchecked": unchecked})
    else:
        _print_made(bundle, arguments.out, chosen.differences)
        console().print(unchecked or _sentence(checked), highlight=False)
    return 0 if checked is None or checked.passed else 1


def _checked(folder: Path) -> tuple[Checked | None, str]:
    """The check of what was just written, or why there is none."""
    from llmsizer.launch.checks.bundle import check_bundle

    try:
        return check_bundle(folder), ""
    except MissingExtraError as error:
        return None, f"not checked: {error}"


def _check(arguments: argparse.Namespace) -> int:
    from llmsizer.launch.checks.bundle import check_bundle

    if arguments.folder is None:
        raise InputError("bundle check needs the folder of a bundle: llmsizer bundle check DIR")
    checked = check_bundle(arguments.folder)
    if arguments.json:
        print_json(_as_json(checked))
    else:
        if checked.findings:
            rows = [(f.name, f.what) for f in checked.findings]
            print_table("", ("check", "what is wrong"), rows)
        console().print(_sentence(checked), highlight=False)
        for line in checked.skipped:
            console().print(f"! {line}", style="yellow", highlight=False)
    return 0 if checked.passed else 1


def _sentence(checked: Checked | None) -> str:
    if checked is None:
        return ""
    what = f"{len(checked.files)} files for {checked.engine.label} on {checked.target}"
    if checked.passed:
        return f"{what}: every check passed"
    count = len(checked.findings)
    return f"{what}: {count} finding{'s' if count > 1 else ''}, the first: {checked.findings[0].what}"


def _as_json(checked: Checked | None) -> dict[str, object] | None:
    if checked is None:
        return None
    return {
        "folder": str(checked.folder),
        "engine": checked.engine.name,
        "engine_version": checked.engine.version,
        "target": checked.target,
        "passed": checked.passed,
        "files": list(checked.files),
        "findings": [{"name": f.name, "file": f.file, "what": f.what} for f in checked.findings],
        "skipped": list(checked.skipped),
    }


def _made(bundle: Bundle) -> dict[str, object]:
    fleet = bundle.fleet
    return {
        "plan": fleet.label,
        "engine": fleet.engine.name,
        "engine_version": fleet.engine.version,
        "target": bundle.target,
        "files": sorted(bundle.files),
        "replicas": fleet.replicas,
        "spare_replicas": fleet.spare_replicas,
        "promise": {
            "requests_per_second": fleet.promise.requests_per_second,
            "ttft_p95_seconds": fleet.promise.at_peak.ttft_p95,
            "tpot_p95_seconds": fleet.promise.at_peak.tpot_p95,
        },
    }


def _print_made(bundle: Bundle, folder: Path, differences: tuple[str, ...]) -> None:
    from llmsizer.launch.settings import settings_of

    fleet, out = bundle.fleet, console()
    out.print(f"{folder}: {fleet.label} under {fleet.engine.label}", style="bold", highlight=False)
    for line in differences:
        out.print(f"! {line}", style="yellow", highlight=False)
    print_table("", ("flag", "value", "why"), [(s.flag, s.value or "", s.why) for s in settings_of(fleet)])
    promise = fleet.promise
    out.print(
        f"Promised of one replica: {promise.requests_per_second.estimate.text(suffix=' requests/s')} within the SLO; "
        f"at the peak's {promise.at_peak.requests_per_second:.3g} requests/s "
        f"TTFT p95 {promise.at_peak.ttft_p95.estimate.text(suffix=' s')}, "
        f"TPOT p95 {promise.at_peak.tpot_p95.estimate.text(suffix=' s')}.",
        highlight=False,
    )
    out.print(f"Files: {', '.join(sorted(bundle.files))}", highlight=False)
