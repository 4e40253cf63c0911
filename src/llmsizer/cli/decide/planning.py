"""``plan``, ``compare``: answers from facts, without measuring anything."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, comma_list
from llmsizer.cli.currency import add_currency, in_currency, print_rate
from llmsizer.cli.decide import memory
from llmsizer.cli.decide.comparing import add_money, print_comparison, with_money
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.sources import add_keeping, is_store, kept_in, read_source
from llmsizer.errors import InputError
from llmsizer.files import path_of
from llmsizer.plain import plain
from llmsizer.units import plain_number

if TYPE_CHECKING:
    from llmsizer.decide.answer import Recommendation
    from llmsizer.decide.checked import Check
    from llmsizer.decide.plan_file import Chosen
    from llmsizer.facts.figure import Figure
    from llmsizer.facts.records import ProfileRecord, QualityRecord
    from llmsizer.facts.scenario import Scenario
    from llmsizer.money.spread import Bar
    from llmsizer.physics.calibration.store import StoredCalibration

SHOWN_PLANS, SHOWN_BARS = 5, 6
SCENARIO_HELP = "a scenario in TOML, or the name of one that ships (eu-chat, eu-chat-22b)"


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    memory.add_command(commands)
    for name, help_text, run in (
        ("plan", "the cheapest setups that meet a scenario, and why the others do not", _plan),
        ("compare", "own, rent or API over the volume, and where they cross", _compare),
    ):
        parser = commands.add_parser(name, help=help_text)
        parser.add_argument("scenario", help=SCENARIO_HELP)
        memory.add_speculation(parser)
        add_precisions(parser)
        add_evidence(parser)
        if name == "compare":
            add_money(parser)
        else:
            add_currency(parser)
            add_keeping(parser, "scenario and answer")
            skip = "do not check the first plan by the event simulator (some tenths of a second)"
            parser.add_argument("--no-simulation", action="store_true", help=skip)
        add_json(parser)
        parser.set_defaults(run=run)


def add_evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--records", metavar="FILE|STORE", help="own profile records: they calibrate, and are shown")
    parser.add_argument("--quality", metavar="FILE|STORE", help="own quality records: they replace the prior")


def find_scenario(name: str) -> Scenario:
    """A scenario from a path, or by the name of one that ships."""
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.scenario import load_scenario

    path = path_of(name)
    if path.exists():
        return load_scenario(path)
    folder = default_catalog().root / "scenarios"
    shipped = folder / f"{name}.toml"
    if shipped.is_file():
        return load_scenario(shipped)
    known = ", ".join(sorted(file.stem for file in folder.glob("*.toml")))
    raise InputError(f"no scenario {name!r}; give the path of a TOML file, or one that ships: {known}")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The user's own measurements, and the calibration they give."""

    profiles: tuple[ProfileRecord, ...] = ()
    quality: tuple[QualityRecord, ...] = ()
    calibration: StoredCalibration | None = None


def read_evidence(profiles: Path | str | None, quality: Path | str | None) -> Evidence:
    """Own records from files or stores. Raises InputError where one is missing or holds nothing usable."""
    from llmsizer.facts.records import ProfileRecord, QualityRecord
    from llmsizer.physics.calibration.own_records import calibrate

    measured = read_source(profiles, ProfileRecord) if profiles else []
    if profiles and not measured and not is_store(str(profiles)):  # a store may begin empty
        raise InputError(f"{profiles}: holds no records; measure some with: llmsizer profile … --records {profiles}")
    return Evidence(
        profiles=tuple(measured),
        quality=tuple(read_source(quality, QualityRecord)) if quality else (),
        # Points of load alone tell nothing of a step's time: they are shown, and calibrate nothing.
        calibration=calibrate(measured)[0] if any(record.carries_step_times for record in measured) else None,
    )


def answer(scenario: Scenario, evidence: Evidence) -> Recommendation:
    """The recommendation for a scenario; own records, where given, come before everything public."""
    from llmsizer.decide.recommend import recommend_today
    from llmsizer.facts.catalog import default_catalog

    return recommend_today(scenario, default_catalog(), calibration=evidence.calibration, records=evidence.quality)


def chosen_plan(
    name: str, wanted: str | None, evidence: Evidence, *, precisions: Sequence[str] | None = None
) -> Chosen:
    """One plan of a scenario, or of a file that ``plan --json`` wrote. Raises LlmSizerError."""
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.decide.plan_file import Chosen, ask_again, choose_plan, load_plan_file
    from llmsizer.facts.catalog import default_catalog

    if name.endswith(".json"):
        if precisions is not None:
            raise InputError(f"{name} is planned already; --precisions is for a scenario")
        return ask_again(
            load_plan_file(name),
            default_catalog(),
            wanted=wanted,
            physics=ModelledPhysics(evidence.calibration),
            records=evidence.quality,
        )
    scenario = with_precisions(find_scenario(name), precisions)
    recommendation = answer(scenario, evidence)
    return Chosen(scenario=scenario, recommendation=recommendation, plan=choose_plan(recommendation, wanted))


def add_precisions(parser: argparse.ArgumentParser) -> None:
    """Formats to consider in place of the scenario's."""
    parser.add_argument(
        "--precisions", type=comma_list, metavar="P,…", help="formats to consider in place of the scenario's, "
        "e.g. fp8,int4, or gguf-q4_k_m for llama.cpp",
    )  # fmt: skip


def with_precisions(scenario: Scenario, names: Sequence[str] | None) -> Scenario:
    """The scenario with only these formats allowed; as it is where none are named. Raises LlmSizerError."""
    from llmsizer.facts.precision import get_precision

    if names is None:
        return scenario
    if not names:
        raise InputError("--precisions is empty; name formats such as fp8,int4")
    known = tuple(dict.fromkeys(get_precision(name).name for name in names))
    return scenario.model_copy(update={"constraints": scenario.constraints.model_copy(update={"precisions": known})})


def scenario_asked(arguments: argparse.Namespace) -> Scenario:
    """The scenario named, with the options' speculation and formats in place of its own."""
    scenario = with_precisions(find_scenario(arguments.scenario), getattr(arguments, "precisions", None))
    choice = memory.speculation_asked(arguments)
    return scenario.model_copy(update={"speculation": choice}) if choice else scenario


def _plan(arguments: argparse.Namespace) -> int:
    with kept_in(arguments.store) as keep:
        scenario = in_currency(scenario_asked(arguments), arguments)
        evidence = read_evidence(arguments.records, arguments.quality)
        recommendation = answer(scenario, evidence)
        checks = () if arguments.no_simulation else _checks(recommendation, scenario, evidence)
        document = {**plain(recommendation), "checked": plain(checks)}
        if arguments.store:
            from llmsizer.store.exchange import plan_document, scenario_document

            keep("scenarios", [scenario_document(scenario)])
            keep("plans", [plan_document(document, name=scenario.name)])
    if arguments.json:
        print_json(document)
    else:
        print_recommendation(recommendation, checks)
    return 0


def _checks(recommendation: Recommendation, scenario: Scenario, evidence: Evidence) -> tuple[Check, ...]:
    from llmsizer.decide.checked import check_plans
    from llmsizer.decide.pricing.study import workload_of
    from llmsizer.facts.catalog import default_catalog

    workload = workload_of(scenario, default_catalog())
    return check_plans(recommendation.plans, scenario, workload, calibration=evidence.calibration)


def _compare(arguments: argparse.Namespace) -> int:
    scenario = with_money(scenario_asked(arguments), arguments)
    comparison = answer(scenario, read_evidence(arguments.records, arguments.quality)).comparison
    if comparison is None:
        raise InputError("there is nothing to compare: the scenario allows neither owning, renting nor an API")
    if arguments.json:
        print_json(comparison)
    else:
        print_comparison(comparison, parts=arguments.parts, cash_flow=arguments.cash_flow)
    return 0


def range_usd(figure: Figure) -> str:
    """``€1,234 [1,000–1,500]``; unknown with its reason."""
    from llmsizer.money.currency import format_usd, shown

    if figure.value is None:
        return f"unknown: {figure.estimate.reason}"
    if figure.low is None or figure.high is None:
        return format_usd(figure.value)
    ends = [format_usd(end).removeprefix(shown().symbol) for end in (figure.low, figure.high)]
    return f"{format_usd(figure.value)} [{ends[0]}–{ends[1]}]"


def print_recommendation(recommendation: Recommendation, checks: Sequence[Check] = ()) -> None:
    """The answer first, then the cheapest plans, the APIs, what came close, what would flip it, what is left out."""
    from llmsizer.money.currency import shown_in

    with shown_in(recommendation.currency):
        _print_recommendation(recommendation, checks)


def _print_recommendation(recommendation: Recommendation, checks: Sequence[Check]) -> None:
    out = console()
    out.print(recommendation.sentence, style="bold", highlight=False)
    print_rate(recommendation.currency)
    for note in (recommendation.reading, recommendation.memory_note):
        if note:
            out.print(note, style="italic", highlight=False)
    _print_plans(recommendation)
    _print_checks(recommendation, checks)
    for note in recommendation.plans[0].notes if recommendation.plans else ():
        out.print(f"· the first plan: {note}", highlight=False)
    _print_modes(recommendation)
    _print_apis(recommendation)
    if recommendation.near_misses:
        rows = [(r.candidate, r.reason, r.nearest_fix) for r in recommendation.near_misses]
        print_table("Came closest", ("candidate", "why not", "what would do"), rows)
    _print_excluded(recommendation)
    _print_uncertainty(recommendation)
    for flip in recommendation.flips:
        out.print(f"· would flip: {flip.text}", highlight=False)
    for flag in recommendation.flags:
        out.print(f"! {flag}", highlight=False, style="yellow")
    kinds: dict[str, int] = {}
    for rejection in recommendation.rejections:
        kinds[rejection.kind] = kinds.get(rejection.kind, 0) + 1
    summary = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1]))
    out.print(f"{len(recommendation.rejections)} candidates rejected: {summary or 'none'}", highlight=False)
    out.print(f"Left out: {'; '.join(recommendation.leaves_out)}", style="dim", highlight=False)


def _print_plans(recommendation: Recommendation) -> None:
    rows = []
    for plan in recommendation.plans[:SHOWN_PLANS]:
        cost, rate = plan.cost.usd_per_month, plan.capacity.requests_per_second
        rows.append(
            (
                plan.label + ("" if plan.is_robust else " (may miss the SLO)"),
                f"{range_usd(cost)} ({cost.basis}, {cost.as_of or 'no date'})",
                range_usd(plan.cost.usd_per_million_tokens).split(" [")[0],
                f"{rate.estimate.text(suffix='/s')}",
                f"{plan.at_peak.ttft_p95.estimate.text(suffix=' s')}",
                plan.quality_recovery.estimate.text(),
            )
        )
    more = len(recommendation.plans) - SHOWN_PLANS
    ends = "[ends]: every input at its best or worst at once, far apart; P10–P90 draws them together."
    note = f"{ends} {more} more plans: --json has them all" if more > 0 else ends
    if rows:
        headers = ("plan", "a month [ends]", "per 1M tokens", "one replica holds", "TTFT p95 at peak", "quality kept")
        title = "Meet everything asked: those that surely meet the SLO first, then those that may miss it; each by cost"
        print_table(title, headers, rows, note=note)


def _print_checks(recommendation: Recommendation, checks: Sequence[Check]) -> None:
    """What a simulation says of the first plan, and of the next ones where it misses the SLO."""
    asked = recommendation.asked
    if asked is None or not checks:
        return
    out = console()
    for place, check in enumerate(checks):
        which = "the first plan" if not place else f"{check.label}"
        style = "yellow" if check.holds_slo is False else ""
        out.print(f"· {which}: {check.sentence(asked.slo)}", highlight=False, style=style)


def _print_uncertainty(recommendation: Recommendation) -> None:
    """The spread of each path, the widest bars, and what to measure first."""
    from llmsizer.decide.certainty.drivers import driver_words
    from llmsizer.decide.certainty.uncertainty import share_text
    from llmsizer.money.currency import format_usd

    sure = recommendation.uncertainty
    if sure is None:
        return
    rows = [
        (
            path.label,
            f"{format_usd(path.usd_p10)} · {format_usd(path.usd_p50)} · {format_usd(path.usd_p90)}",
            share_text(path.within_slo),
            path.why_not if path.wins is None else share_text(path.wins),
        )
        for path in sure.paths
    ]
    headers = ("path", "P10 · P50 · P90 a month", "within the SLO", "cheapest that may be taken")
    print_table(f"How sure, over {sure.draws:,} draws", headers, rows, note=sure.text)
    bars = [
        (
            driver_words(bar.driver),
            _moved(bar),
            f"{format_usd(bar.usd_at_low)} – {format_usd(bar.usd_at_high)}",
        )
        for bar in sure.tornado[:SHOWN_BARS]
        if bar.width_usd > 0
    ]
    if bars:
        print_table(f"What moves {sure.recommended}", ("one at a time", "from – to", "a month"), bars)


def _moved(bar: Bar) -> str:
    """``80,000 – 180,000 EUR/year``: from where to where a driver was moved."""
    from llmsizer.money.currency import shown

    low, high = (plain_number(shown().value(end, bar.unit)) for end in (bar.low, bar.high))
    return f"{low} – {high} {shown().unit(bar.unit)}"


def _print_excluded(recommendation: Recommendation) -> None:
    from llmsizer.deliver.tables.plans import excluded_table

    table = excluded_table(recommendation)
    if table.rows:
        print_table(table.title, table.headers, [tuple(cell.plain for cell in row) for row in table.rows])


def _print_modes(recommendation: Recommendation) -> None:
    """How the first rented plan's machines may be paid for and run."""
    from llmsizer.deliver.tables.plans import modes_table

    table = modes_table(recommendation)
    if table.rows:
        rows = [tuple(cell.plain for cell in row) for row in table.rows]
        print_table(table.title, table.headers, rows, note=table.note)


def _print_apis(recommendation: Recommendation) -> None:
    rows = []
    for api in recommendation.apis[:SHOWN_PLANS]:
        cost = api.cost.usd_per_month
        tier = "same model" if api.same_model else "another quality tier"
        rows.append((api.offer, tier, range_usd(cost), cost.basis, cost.as_of))
    if rows:
        print_table("The same volume by API", ("offer", "what", "a month", "basis", "as of"), rows)
