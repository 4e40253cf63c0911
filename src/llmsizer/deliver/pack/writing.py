"""The decision pack: memo, report, workbook, bill of materials, scenario and answer in one folder under one hash."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.decide.answer import Recommendation
from llmsizer.decide.question import Physics
from llmsizer.deliver.pack.memo import render_memo
from llmsizer.deliver.pack.sections import handed_over
from llmsizer.deliver.pages.report import render_report
from llmsizer.deliver.papers.bill_of_materials import bill_of_materials, bom_csv
from llmsizer.deliver.papers.conditions import Condition, conditions
from llmsizer.deliver.papers.decision import decide_papers
from llmsizer.deliver.papers.order_dates import order_dates, order_heading
from llmsizer.deliver.papers.power_and_rack import power_sheet
from llmsizer.deliver.tables.residuals import CalibrationSummary
from llmsizer.deliver.workbook.writing import write_workbook
from llmsizer.errors import InputError, MissingExtraError
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.files import whole_folder
from llmsizer.money.currency import shown_in
from llmsizer.version import __version__

MANIFEST = "manifest.json"
CONTENTS = {
    "memo.html": "one page: the decision, its cost, what would change it",
    "report.html": "everything, with each number's basis",
    "workbook.xlsx": "live formulas, driven by the sheet of assumptions",
    "bill-of-materials.csv": "what to order: confirmed, estimate, unknown",
    "scenario.json": "the question; its hash ties the files together",
    "answer.json": "the answer as data",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A pack that was written: its folder, its files, and what a reader is told first."""

    folder: Path
    files: tuple[str, ...]
    hash: str
    left_out: str  # why a file is missing; empty where none is
    conditions: tuple[Condition, ...]
    order_text: str
    order_heading: str = "When to order"  # names the fleet where the answer buys none


def write_pack(
    out: Path,
    recommendation: Recommendation,
    scenario: Scenario,
    catalog: Catalog,
    *,
    today: datetime.date,
    physics: Physics | None = None,
    profiles: Sequence[ProfileRecord] = (),
    quality: Sequence[QualityRecord] = (),
    calibration: CalibrationSummary | None = None,
) -> Pack:
    """Write the folder, whole or not at all; one that an earlier run wrote is replaced.

    Without the extra ``report`` the workbook is left out, and the pack says so. Raises InputError where the folder
    holds anything else or cannot be written.
    """
    decision = decide_papers(recommendation, scenario, catalog, today=today, physics=physics, records=quality)
    orders, power, bom = order_dates(decision), power_sheet(decision), bill_of_materials(decision)
    found = conditions(decision, orders, power)
    day = today.isoformat()
    left_out = ""
    with shown_in(decision.currency):
        extra = handed_over(bom, orders, found, power, order_heading(decision))
    with _new_or_replaced(out) as folder:
        try:
            write_workbook(folder / "workbook.xlsx", decision, bom=bom, orders=orders, found=found, power=power)
        except MissingExtraError as error:
            left_out = f"workbook.xlsx is left out: {error}"
        texts = {
            "memo.html": render_memo(decision, orders=orders, found=found, power=power, written_on=day),
            "report.html": render_report(
                recommendation=recommendation,
                comparison=recommendation.comparison,
                profiles=profiles,
                quality=quality,
                calibration=calibration,
                scenario=scenario,
                written_on=day,
                handed_over=extra,
            ),
            "bill-of-materials.csv": bom_csv(bom, decision.currency.code),
            "scenario.json": _json(scenario.model_dump(mode="json")),
            "answer.json": _json(recommendation.to_dict()),
        }
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        names = tuple(name for name in CONTENTS if (folder / name).exists())
        manifest = _manifest(folder, names, decision.hash, scenario, recommendation, left_out)
        (folder / MANIFEST).write_text(_json(manifest), encoding="utf-8", newline="\n")
    return Pack(
        folder=out,
        files=(*names, MANIFEST),
        hash=decision.hash,
        left_out=left_out,
        conditions=found,
        order_text=orders.text,
        order_heading=order_heading(decision),
    )


def _manifest(
    folder: Path,
    names: Sequence[str],
    scenario_hash: str,
    scenario: Scenario,
    recommendation: Recommendation,
    left_out: str,
) -> dict[str, object]:
    return {
        "made_by": "llmsizer report",
        "version": __version__,
        "scenario": scenario.name,
        "scenario_hash": scenario_hash,
        "priced_on": recommendation.priced_on,
        "model": recommendation.model,
        "reading": recommendation.reading,
        "currency": recommendation.currency.to_dict(),
        "sentence": recommendation.sentence,
        "left_out": left_out,
        "files": [
            {"name": name, "what": CONTENTS[name], "sha256": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
            for name in names
        ],
    }


def _json(document: Any) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@contextlib.contextmanager
def _new_or_replaced(out: Path) -> Iterator[Path]:
    """A folder that takes its place when the block ends well. One of ours, or an empty one, gives way to it."""
    check_folder(out)
    aside, fresh = (out.with_name(f".{out.name}.{name}") for name in ("before", "new"))
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    is_replaced = out.exists()
    with whole_folder(fresh if is_replaced else out) as partial:
        yield partial
    if is_replaced:
        shutil.rmtree(aside, ignore_errors=True)
        out.rename(aside)
        fresh.rename(out)
        shutil.rmtree(aside, ignore_errors=True)


def check_folder(out: Path) -> None:
    """Raises InputError where a pack may not be written: before anything takes time."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder")
    if out.exists() and any(out.iterdir()) and not _is_ours(out):
        raise InputError(f"{out} holds other files; give a new folder, or one that an earlier report wrote")


def _is_ours(folder: Path) -> bool:
    """Whether a folder holds a pack and nothing that anyone added."""
    return (folder / MANIFEST).is_file() and {p.name for p in folder.iterdir()} <= {*CONTENTS, MANIFEST}
