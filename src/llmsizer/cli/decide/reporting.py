"""``llmsizer report``: the papers a decision is handed over with, in one folder."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

from llmsizer.cli.arguments import Commands, add_json
from llmsizer.cli.currency import add_currency, in_currency, print_rate
from llmsizer.cli.decide.memory import add_speculation
from llmsizer.cli.decide.planning import (
    SCENARIO_HELP,
    add_evidence,
    add_precisions,
    answer,
    read_evidence,
    scenario_asked,
)
from llmsizer.cli.output import console, print_json
from llmsizer.files import path_of


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    report = commands.add_parser(
        "report", help="the decision pack: memo, report, workbook with live formulas, bill of materials"
    )
    report.add_argument("scenario", help=SCENARIO_HELP)
    add_speculation(report)
    add_precisions(report)
    report.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the pack; made anew")
    add_evidence(report)
    add_currency(report)
    add_json(report)
    report.set_defaults(run=_report)


def _report(arguments: argparse.Namespace) -> int:
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.deliver.pack.writing import check_folder, write_pack
    from llmsizer.deliver.papers.conditions import holding
    from llmsizer.deliver.tables.residuals import calibration_summary
    from llmsizer.facts.catalog import default_catalog

    folder = path_of(arguments.out)
    check_folder(folder)
    scenario = in_currency(scenario_asked(arguments), arguments)
    evidence = read_evidence(arguments.records, arguments.quality)
    recommendation = answer(scenario, evidence)
    pack = write_pack(
        folder,
        recommendation,
        scenario,
        default_catalog(),
        today=datetime.date.fromisoformat(recommendation.priced_on),
        physics=ModelledPhysics(evidence.calibration),
        profiles=evidence.profiles,
        quality=evidence.quality,
        calibration=calibration_summary(evidence.profiles),
    )
    void = holding(pack.conditions)
    if arguments.json:
        print_json(
            {
                "folder": str(pack.folder),
                "files": list(pack.files),
                "scenario_hash": pack.hash,
                "sentence": recommendation.sentence,
                "report": str(pack.folder / "report.html"),
                "order_by": pack.order_text,
                "disqualifying": [f"{c.text}: {c.consequence}" for c in void],
                "left_out": pack.left_out,
            }
        )
        return 0
    out = console()
    out.print(recommendation.sentence, highlight=False, style="bold")
    for condition in void:
        out.print(f"! {condition.text}: {condition.consequence}", highlight=False, style="yellow")
    out.print(f"{pack.order_heading}: {pack.order_text}", highlight=False)
    print_rate(recommendation.currency)
    if pack.left_out:
        out.print(pack.left_out, highlight=False, style="yellow")
    out.print(f"{pack.folder}: {', '.join(pack.files)} (hash {pack.hash})", highlight=False)
    return 0
