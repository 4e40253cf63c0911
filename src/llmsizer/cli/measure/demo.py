"""``llmsizer demo``: the whole path on this machine, then what it found in a page of text."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json
from llmsizer.cli.decide.planning import find_scenario, print_recommendation
from llmsizer.cli.measure.evidence import print_calibration
from llmsizer.cli.measure.measuring import print_profiles, progress_bar
from llmsizer.cli.measure.quality import print_quality
from llmsizer.cli.measure.quantizing import print_variants
from llmsizer.cli.output import console, print_json

if TYPE_CHECKING:
    from llmsizer.demo import Demo


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("demo", help="the whole path on this machine: build, quantize, measure, plan, report")
    parser.add_argument("--out", type=Path, default=Path("demo-output"), metavar="DIR", help="resumes what is there")
    add_json(parser)
    parser.set_defaults(run=_demo)


def _demo(arguments: argparse.Namespace) -> int:
    from llmsizer.demo import SCENARIOS, run_demo

    scenarios = [find_scenario(name) for name in SCENARIOS]
    with progress_bar("demo") as progress:
        found = run_demo(arguments.out, scenarios=scenarios, progress=progress)
    if arguments.json:
        print_json(_document(found))
        return 0
    _print(found, arguments.out)
    return 0


def _document(found: Demo) -> dict[str, object]:
    return {
        "variants": found.measured.variants,
        "profiles": found.measured.profiles,
        "quality": found.measured.quality,
        "calibration": found.calibration,
        "recommendations": found.recommendations,
        "reports": found.reports,
    }


def _print(found: Demo, out: Path) -> None:
    screen = console()
    screen.rule("1. The variants, measured on this machine")
    print_variants(list(found.measured.variants))
    print_profiles(list(found.measured.profiles))
    print_quality(list(found.measured.quality))
    screen.rule("2. Calibrated on them")
    print_calibration(found.calibration)
    for number, recommendation in enumerate(found.recommendations, start=3):
        screen.rule(f"{number}. {recommendation.scenario}: the decision")
        print_recommendation(recommendation)
        if recommendation.comparison is not None:
            screen.print(f"Build or buy: {recommendation.comparison.sentence}", highlight=False)
    screen.rule("Where it lies")
    for report in found.reports:
        screen.print(f"report     {report}", highlight=False)
    screen.print(f"records    {found.measured.profiles_file}, {found.measured.quality_file}", highlight=False)
    screen.print(f"dashboard  make dashboard   (or: llmsizer dashboard --records {out})", highlight=False)
