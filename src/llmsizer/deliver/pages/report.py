"""The report: one HTML file that explains itself, needs nothing else, and prints."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel

from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.elements.escaping import escape
from llmsizer.deliver.pages import html, sections
from llmsizer.deliver.tables.residuals import CalibrationSummary
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.files import whole_file
from llmsizer.money.comparison import Comparison
from llmsizer.money.currency import shown_in
from llmsizer.version import __version__

REPORT_NAME = "report.html"


def write_report(
    out_dir: Path,
    *,
    recommendation: Recommendation,
    comparison: Comparison | None = None,
    profiles: Sequence[ProfileRecord] = (),
    quality: Sequence[QualityRecord] = (),
    calibration: CalibrationSummary | None = None,
    scenario: BaseModel | None = None,
    written_on: str = "",
    name: str = REPORT_NAME,
) -> Path:
    """Write the report into a folder, whole or not at all. Raises InputError where the folder cannot be written."""
    text = render_report(
        recommendation=recommendation,
        comparison=comparison,
        profiles=profiles,
        quality=quality,
        calibration=calibration,
        scenario=scenario,
        written_on=written_on,
    )
    path = out_dir / name
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return path


def render_report(
    *,
    recommendation: Recommendation,
    comparison: Comparison | None = None,
    profiles: Sequence[ProfileRecord] = (),
    quality: Sequence[QualityRecord] = (),
    calibration: CalibrationSummary | None = None,
    scenario: BaseModel | None = None,
    written_on: str = "",
    handed_over: str = "",
) -> str:
    """The report as text: the answer first, then why, then every number it rests on.

    ``handed_over`` is the pack's own part, as HTML: conditions, order dates, materials, power.
    """
    with shown_in(recommendation.currency):
        return _render(recommendation, comparison, profiles, quality, calibration, scenario, written_on, handed_over)


def _render(
    recommendation: Recommendation,
    comparison: Comparison | None,
    profiles: Sequence[ProfileRecord],
    quality: Sequence[QualityRecord],
    calibration: CalibrationSummary | None,
    scenario: BaseModel | None,
    written_on: str,
    handed_over: str,
) -> str:
    body = "\n".join(
        (
            sections.answer(recommendation),
            sections.question(scenario, recommendation),
            sections.plans(recommendation),
            sections.build_or_buy(recommendation, comparison),
            sections.how_sure(recommendation),
            sections.costs(recommendation),
            handed_over,
            sections.memory(recommendation),
            sections.measured(profiles, quality),
            sections.calibrated(calibration),
            sections.rejected(recommendation),
            sections.assumptions(recommendation),
            sections.leaves_out(recommendation),
            sections.definitions(),
        )
    )
    return html.page(
        title=f"{recommendation.scenario}: which hardware, which precision, own, rent or API",
        style=html.asset("report.css"),
        body=body,
        footer=_footer(recommendation, scenario, written_on),
    )


def scenario_hash(scenario: BaseModel) -> str:
    """Twelve digits that change when any input of the scenario does."""
    text = json.dumps(scenario.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _footer(recommendation: Recommendation, scenario: BaseModel | None, written_on: str) -> str:
    facts = [f"llmsizer {__version__}", f"prices judged on {recommendation.priced_on}"]
    if written_on:
        facts.append(f"written on {written_on}")
    if scenario is not None:
        facts.append(f"scenario {recommendation.scenario}, hash {scenario_hash(scenario)}")
    return f"<p>{escape(' · '.join(facts))}</p><p>The same scenario and version give the same numbers.</p>"
