"""The whole path on this machine: model → variants → measurements → calibration → plan → price → report.

Every stage keeps its result in the output folder and is skipped when it is there already, so that an interrupted run
goes on where it stopped. Two models of our own stand in for a downloaded one: a small trained one, on which
quantization damage shows as perplexity, and a larger one with random weights, whose speed is that of its shape.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.errors import InputError
from llmsizer.progress import Progress, part_of, silent

if TYPE_CHECKING:
    from llmsizer.decide.answer import Recommendation
    from llmsizer.deliver.tables.residuals import CalibrationSummary
    from llmsizer.facts.records import ProfileRecord, QualityRecord
    from llmsizer.facts.scenario import Scenario
    from llmsizer.facts.variant import Variant

METHODS = ("openvino-fp16", "openvino-int8", "openvino-int4")
SCENARIOS = ("eu-chat", "eu-chat-22b")  # both readings of Mistral Small 4
QUALITY_DOCUMENTS = 48
DEMO_REPEATS = 5  # half of what a measurement to rely on takes: the demo shows the path


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the first half of the path leaves: variants and their records."""

    variants: tuple[Variant, ...]
    profiles: tuple[ProfileRecord, ...]
    quality: tuple[QualityRecord, ...]
    profiles_file: Path
    quality_file: Path


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Everything the demo found, and where its reports lie."""

    measured: Measured
    calibration: CalibrationSummary | None
    recommendations: tuple[Recommendation, ...]
    reports: tuple[Path, ...]


def run_demo(out: Path, *, scenarios: Sequence[Scenario], progress: Progress = silent) -> Demo:
    """Run the path below ``out``; a second call repeats only what is missing. Raises LlmSizerError."""
    from llmsizer.deliver.tables.residuals import calibration_summary

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: {error.strerror}; give a folder that can be written") from None
    measured = measure(out, progress=part_of(progress, 0.0, 0.9))
    progress("calibrating on these measurements", 0.9)
    calibration = calibration_summary(measured.profiles)
    recommendations, reports = decide(out, measured, calibration, scenarios, progress=part_of(progress, 0.92, 1.0))
    return Demo(measured=measured, calibration=calibration, recommendations=recommendations, reports=reports)


def measure(out: Path, *, progress: Progress = silent) -> Measured:
    """Build both models, quantize them, measure speed and memory on one and quality on the other."""
    from llmsizer import reference_model
    from llmsizer.profile import profile
    from llmsizer.quantize import quantize_all

    models = out / "models"
    trained = reference_model.build(models, progress=part_of(progress, 0.0, 0.35))
    large = reference_model.build_random(models, progress=part_of(progress, 0.35, 0.4))
    variants_folder = out / "variants"
    small_variants = quantize_all(trained, METHODS, variants_folder / "trained", progress=part_of(progress, 0.4, 0.5))
    large_variants = quantize_all(large, METHODS, variants_folder / "large", progress=part_of(progress, 0.5, 0.6))
    quality_file = out / "quality.jsonl"
    quality = _quality(trained, small_variants, quality_file, progress=part_of(progress, 0.6, 0.7))
    profiles_file = out / "profiles.jsonl"
    profiles = profile(
        large_variants, records_path=profiles_file, repeats=DEMO_REPEATS, progress=part_of(progress, 0.7, 1.0)
    )
    return Measured(
        variants=tuple(large_variants),
        profiles=tuple(profiles),
        quality=tuple(quality),
        profiles_file=profiles_file,
        quality_file=quality_file,
    )


def _quality(trained: Path, variants: Sequence[Variant], file: Path, *, progress: Progress) -> list[QualityRecord]:
    from llmsizer import reference_model
    from llmsizer.facts.records import QualityRecord
    from llmsizer.profile import append_record, read_records
    from llmsizer.quality.evaluate import evaluate

    if file.is_file():
        kept, _ = read_records(file, QualityRecord)
        if [record.variant for record in kept] == [variant.name for variant in variants]:
            progress("quality: measured before", 1.0)
            return kept
        file.unlink()
    records = evaluate(
        variants,
        variants[0],
        reference_model.held_out_documents(trained)[:QUALITY_DOCUMENTS],
        dataset=reference_model.DATASET,
        progress=progress,
    )
    for record in records:
        append_record(file, record)
    return records


def decide(
    out: Path,
    measured: Measured,
    calibration: CalibrationSummary | None,
    scenarios: Sequence[Scenario],
    *,
    progress: Progress = silent,
) -> tuple[tuple[Recommendation, ...], tuple[Path, ...]]:
    """Plan and price each scenario, and write a report of each."""
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.decide.recommend import recommend
    from llmsizer.deliver.pages.report import write_report
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.hub import load_model
    from llmsizer.physics.calibration.own_records import calibrate

    physics = ModelledPhysics(calibrate(measured.profiles)[0])
    catalog, today = default_catalog(), datetime.date.today()
    recommendations, reports = [], []
    for index, scenario in enumerate(scenarios):
        progress(f"planning {scenario.name}", index / len(scenarios))
        model = load_model(scenario.model, catalog)
        found = recommend(model, scenario, catalog, today=today, physics=physics)
        recommendations.append(found)
        reports.append(
            write_report(
                out / scenario.name,
                recommendation=found,
                comparison=found.comparison,
                profiles=measured.profiles,
                quality=measured.quality,
                calibration=calibration,
                scenario=scenario,
                written_on=today.isoformat(),
            )
        )
    progress("reports written", 1.0)
    return tuple(recommendations), tuple(reports)
