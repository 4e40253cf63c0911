"""The report's sections, each from the answer to HTML; a section with nothing to say is empty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel

from llmsizer.decide.answer import Recommendation
from llmsizer.deliver.charts.charts import Measure, cost_chart, draw_measure, memory_chart, stairs_chart
from llmsizer.deliver.charts.uncertainty import bands_chart, information_table, shown_bars, tornado_chart
from llmsizer.deliver.elements.basis import MEANINGS, mark
from llmsizer.deliver.elements.confidence import Option, best_by_path, confidence
from llmsizer.deliver.elements.glossary import GLOSSARY
from llmsizer.deliver.elements.wording import headline, plain_number, sentence, tokens
from llmsizer.deliver.pages import html
from llmsizer.deliver.tables.bills import apis_table, arithmetic_table, costs_table, crossovers_table
from llmsizer.deliver.tables.plans import assumptions_table, modes_table, plans_table, unsure_table
from llmsizer.deliver.tables.rejections import near_misses_table, rejection_groups
from llmsizer.deliver.tables.residuals import CalibrationSummary, bands_table, residuals_table
from llmsizer.deliver.tables.variants import Group, Point, groups, peak_memory_bytes, speed_sentences, variants_table
from llmsizer.deliver.views.qualities import QualityGroup, quality_groups, quality_measures, quality_table
from llmsizer.facts.provenance import Basis
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.money.comparison import Comparison
from llmsizer.money.cost import Cost
from llmsizer.physics.calibration.store import default_calibration

PATH_HEADINGS = {"own": "Own", "rent": "Rent", "api": "Pay an API (same model)"}
PLANS_SHOWN = 3


def section(title: str, *parts: str) -> str:
    """A heading and what stands under it; nothing where there is nothing."""
    body = "".join(parts)
    return f"<section>{html.said('h2', title)}{body}</section>" if body else ""


def answer(recommendation: Recommendation) -> str:
    """One sentence, what each path costs, how clear it is, and what would flip it."""
    clear = confidence(recommendation)
    dated = f"prices as of {recommendation.priced_on}{_rate(recommendation)}"
    scenario = html.said("p", f"Scenario {recommendation.scenario}, {dated}", "eyebrow")
    first, rest = headline(recommendation.sentence)
    lead = html.said("h1", first) + (html.said("p", rest, "lead") if rest else "")
    options = best_by_path(recommendation)
    cards = "".join(_path_card(option, is_lowest=i == 0, others=len(options)) for i, option in enumerate(options))
    sure = f"<p><strong>Confidence: {html.said('span', clear.word)}.</strong> {html.said('span', clear.text)}</p>"
    flags = "".join(html.said("p", sentence(flag)) for flag in recommendation.flags)
    warning = html.tag("div", flags, "callout warn") if flags else ""
    return (
        scenario
        + lead
        + (html.tag("div", cards, "cards paths") if cards else "")
        + _facts(recommendation)
        + sure
        + (_flips(recommendation) + _reading(recommendation) + warning)
    )


def _rate(recommendation: Recommendation) -> str:
    note = recommendation.currency.note
    return f"; amounts in {recommendation.currency.code}: {note}" if note else ""


def question(scenario: BaseModel | None, recommendation: Recommendation) -> str:
    """What was asked, as given: nothing here is a finding."""
    if scenario is None:
        return ""
    given = dict(_flat(scenario.model_dump(mode="json", exclude_none=True)))
    bills = [plan.cost for plan in recommendation.plans] + [api.cost for api in recommendation.apis]
    if bills:
        given["tokens a month, input"] = tokens(bills[0].input_tokens_per_month)
        given["tokens a month, output"] = tokens(bills[0].output_tokens_per_month)
    items = "".join(html.said("dt", key) + html.said("dd", value) for key, value in given.items())
    return section("The question", html.tag("dl", items, "question"))


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested values as one list of words; what is empty says nothing."""
    for key, value in values.items():
        name = f"{prefix}{key.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list):
            if value:
                yield name, ", ".join(str(item) for item in value)
        elif isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif value != "":
            yield name, plain_number(value) if isinstance(value, int | float) else str(value)


def _path_card(option: Option, *, is_lowest: bool, others: int) -> str:
    tag = html.said("span", "lowest", "tag") if is_lowest and others > 1 else ""
    heading = html.tag("p", html.said("span", PATH_HEADINGS[option.path]) + tag, "what")
    which = html.said("p", option.label, "which")
    remark = html.said("p", sentence("; ".join(option.notes)), "remark") if option.notes else ""
    content = heading + html.figure_block(option.usd_per_month) + which + remark
    return html.tag("div", content, "card lowest" if is_lowest else "card")


def _facts(recommendation: Recommendation) -> str:
    best = recommendation.best
    if best is None:
        return ""
    facts = (
        ("TTFT p95 in the peak hour", best.at_peak.ttft_p95),
        ("TPOT p95 in the peak hour", best.at_peak.tpot_p95),
        ("Cost of 1 M tokens, in and out", best.cost.usd_per_million_tokens),
        ("Quality kept against 16 bit", best.quality_recovery),
    )
    cards = "".join(
        html.tag("div", html.said("p", name, "what") + html.figure_block(value), "card small") for name, value in facts
    )
    return html.said("h3", f"The best plan: {best.label}") + html.tag("div", cards, "cards")


def _flips(recommendation: Recommendation) -> str:
    if not recommendation.flips:
        return ""
    items = "".join(
        html.tag(
            "li",
            f"<strong>{html.said('span', flip.what)}</strong>: {html.said('span', flip.text)} "
            f"{html.surety(flip.threshold)}",
        )
        for flip in recommendation.flips
    )
    return html.said("h3", "What would change this answer") + html.tag("ul", items, "flips")


def _reading(recommendation: Recommendation) -> str:
    words = [
        f"Model: {recommendation.model}. {sentence(recommendation.reading)}".strip(),
        sentence(recommendation.memory_note),
    ]
    return html.tag("div", "".join(html.said("p", text) for text in words if text), "callout")


def named_costs(recommendation: Recommendation) -> list[tuple[str, Cost]]:
    """The bills that are set side by side: the cheapest of each path, or whatever there is."""
    return [(option.label, option.cost) for option in best_by_path(recommendation)]


def plans(recommendation: Recommendation) -> str:
    shown = recommendation.plans[:PLANS_SHOWN]
    if not shown:
        return section(
            "Plans", html.said("p", "No plan meets everything that was asked; the near misses say what would.")
        )
    more = sum(plan.is_robust for plan in recommendation.plans[PLANS_SHOWN:])
    note = html.said("p", f"Further plans that meet everything: {more}.", "muted") if more else ""
    table = plans_table(shown)
    unsure = unsure_table(recommendation)
    less_sure = html.table(unsure) if unsure.rows else ""
    modes = modes_table(recommendation)
    run = html.table(modes) if modes.rows else ""
    return section("The best plans side by side", html.table(table, caption=False, css="side"), note, less_sure, run)


def memory(recommendation: Recommendation) -> str:
    shown = recommendation.plans[:PLANS_SHOWN]
    return section("Where the memory goes", html.chart(memory_chart(shown))) if shown else ""


def build_or_buy(recommendation: Recommendation, comparison: Comparison | None) -> str:
    comparison = comparison or recommendation.comparison
    if comparison is None:
        return ""
    best = recommendation.best
    cost = best.cost if best else (recommendation.apis[0].cost if recommendation.apis else None)
    volume = cost.input_tokens_per_month + cost.output_tokens_per_month if cost else None
    crossings = crossovers_table(comparison)
    return section(
        "Build or buy",
        html.said("p", sentence(comparison.sentence)),
        html.chart(stairs_chart(comparison, volume)),
        html.said("h3", "Where the answer flips"),
        html.table(crossings, caption=False),
        html.said("h3", "Left out of this comparison") if comparison.leaves_out else "",
        html.bullets(comparison.leaves_out),
    )


def how_sure(recommendation: Recommendation) -> str:
    """What each path may cost, how probable it is that it wins, what moves the answer and what is worth measuring."""
    sure = recommendation.uncertainty
    if sure is None:
        return ""
    moved = html.chart(tornado_chart(sure)) if shown_bars(sure) else ""
    asked = information_table(sure)
    first = html.said("h3", asked.title) + html.table(asked, caption=False) if asked.rows else ""
    return section("How sure it is", html.said("p", sentence(sure.text)), html.chart(bands_chart(sure)), moved, first)


def costs(recommendation: Recommendation) -> str:
    named = named_costs(recommendation)
    if not named:
        return ""
    table = costs_table(named)
    arithmetic = html.details("How each line is computed", html.table(arithmetic_table(named), caption=False))
    apis = apis_table(recommendation)
    other = html.said("h3", "API prices at your volume") + html.table(apis, caption=False) if apis.rows else ""
    return section("What it costs, part by part", html.chart(cost_chart(named, table)), arithmetic, other)


def measured(profiles: Sequence[ProfileRecord], quality: Sequence[QualityRecord]) -> str:
    speed = [_measured_group(group) for group in groups(profiles)]
    losses = [_quality_group(group) for group in quality_groups(quality)]
    return section("Measured: the same model in several formats", *speed, *losses)


def _measured_group(group: Group) -> str:
    points = group.points
    shown = [points[0], points[-1]] if len(points) > 1 else list(points)
    parts = [html.said("h3", f"Size and speed: {group.label}")]
    if shown:
        parts.append(_panels(measures(group, shown[0])))
    parts += [html.table(variants_table(group, point)) for point in shown]
    if shown:
        reasons = [f"{point.label}: {words}" for point in shown for words in speed_sentences(group, point)]
        parts.append(html.said("h3", "Is smaller faster?") + html.bullets(reasons))
    failed = [f"{r.variant}, {r.batch} at once: {r.failure or 'failed'}" for r in group.failures]
    return "".join(parts) + (html.said("h3", "Failed") + html.bullets(failed) if failed else "")


def _quality_group(group: QualityGroup) -> str:
    heading = html.said("h3", f"What it loses: {group.label}")
    return heading + _panels(quality_measures(group.records)) + html.table(quality_table(group), caption=False)


def measures(group: Group, point: Point) -> tuple[Measure, ...]:
    """The four quantities of speed and size that tell the variants apart."""
    records = group.at(point)
    tpot = tuple((r.variant, r.tpot_seconds, r.tpot_seconds_low, r.tpot_seconds_high) for r in records)
    ttft = tuple((r.variant, r.ttft_seconds, r.ttft_seconds_low, r.ttft_seconds_high) for r in records)
    disk = tuple((r.variant, r.weights_bytes_on_disk, None, None) for r in records)
    memory = tuple((r.variant, peak_memory_bytes(r), None, None) for r in records)
    return (
        Measure(name="On disk", unit="bytes", better="lower", values=disk),
        Measure(name="Peak memory", unit="bytes", better="lower", values=memory),
        Measure(name="TPOT", unit="s", better="lower", values=tpot),
        Measure(name="TTFT", unit="s", better="lower", values=ttft),
    )


def _panels(shown: Sequence[Measure]) -> str:
    figures = "".join(
        html.tag("figure", html.said("figcaption", f"{m.name} {mark('measured')}, {m.better} is better") + draw)
        for m, draw in ((m, draw_measure(m, 380)) for m in shown)
    )
    return html.tag("div", figures, "panels")


def calibrated(calibration: CalibrationSummary | None) -> str:
    """How far the predictor is off: on its own held-out evidence, and on this machine's records where given."""
    parts = []
    if calibration is not None:
        error = calibration.median_error
        half = "" if error is None else f"Half of these predictions are within {error:.1%} of what was measured."
        parts = [html.said("p", sentence(calibration.text)), html.said("p", half) if half else ""]
        parts.append(html.table(residuals_table(calibration.checks), caption=False))
    parts.append(html.table(bands_table(default_calibration().bands.bands)))
    return section("How good the predictions are", *parts)


def rejected(recommendation: Recommendation) -> str:
    misses = near_misses_table(recommendation)
    near = html.said("h3", "Near misses, and what would bring them in") + html.table(misses, caption=False)
    grouped = "".join(
        html.details(f"{group.words}: {group.count:,}", html.table(group.table, caption=False))
        for group in rejection_groups(recommendation)
    )
    count = len(recommendation.rejections)
    every = html.said("h3", f"All {count:,} rejections, by reason") + grouped
    return section("What is out, and why", near if misses.rows else "", every) if count else ""


def assumptions(recommendation: Recommendation) -> str:
    table = assumptions_table(recommendation)
    return section("Assumptions", html.table(table, caption=False)) if table.rows else ""


def leaves_out(recommendation: Recommendation) -> str:
    return section("What this leaves out", html.bullets(sentence(text) for text in recommendation.leaves_out))


def definitions() -> str:
    """How sure each kind of number is, and what the words mean."""
    bases: list[tuple[Basis, str]] = list(MEANINGS.items())
    marks = "".join(html.said("dt", mark(basis)) + html.said("dd", meaning) for basis, meaning in bases)
    terms = "".join(html.said("dt", term) + html.said("dd", meaning) for term, meaning in GLOSSARY)
    lists = (
        html.said("h3", "Basis of a number") + html.tag("dl", marks) + html.said("h3", "Terms") + html.tag("dl", terms)
    )
    return section("Definitions", lists)
