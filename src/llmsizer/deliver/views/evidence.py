"""Where every number comes from: those of an answer, and the catalogue's tables with source, date and age."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from llmsizer.decide.answer import Plan, Recommendation
from llmsizer.deliver.elements.confidence import best_by_path
from llmsizer.deliver.elements.tables import Cell, Table, figure, number, words
from llmsizer.facts.assumptions import load_assumptions
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.catalog.own_values import ValueChange
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import STALE_AFTER_DAYS, Basis, Provenance
from llmsizer.units import format_count, plain_number

OLD = f"older than {STALE_AFTER_DAYS} days"


def figures_of(recommendation: Recommendation) -> Iterator[tuple[str, Figure]]:
    """Every figure of the answer with its name: the cheapest of each path, its bill's lines, speed and quality."""
    for option in best_by_path(recommendation):
        yield f"{option.label}: a month", option.usd_per_month
        for part in option.cost.parts:
            yield f"{option.label}: {part.name}", part.usd_per_month
        yield f"{option.label}: input and output", option.cost.usd_per_million_tokens
    if recommendation.best is not None:
        yield from _of_plan(recommendation.best)
    for flip in recommendation.flips:
        yield f"flips at: {flip.what}", flip.threshold


def _of_plan(plan: Plan) -> Iterator[tuple[str, Figure]]:
    yield f"{plan.label}: requests a replica holds", plan.capacity.requests_per_second
    yield f"{plan.label}: output tokens a replica gives", plan.capacity.output_tokens_per_second
    yield f"{plan.label}: TTFT p95 in the peak hour", plan.at_peak.ttft_p95
    yield f"{plan.label}: TPOT p95 in the peak hour", plan.at_peak.tpot_p95
    yield f"{plan.label}: quality kept", plan.quality_recovery


def answer_evidence_table(recommendation: Recommendation) -> Table:
    """Each figure with its basis, source and date; what is unknown with its reason."""
    rows = tuple(
        (words(name), _cell(value), words(_dated(value.as_of, is_old=value.stale)), words(_source(value)))
        for name, value in figures_of(recommendation)
    )
    return Table(title="Every figure of this answer", headers=("Figure", "Value", "As of", "Source"), rows=rows)


def _cell(value: Figure) -> Cell:
    """Without its date, which has a column of its own."""
    cell = figure(value)
    return cell if value.value is None else replace(cell, remark="")


def _source(value: Figure) -> str:
    return value.source or value.estimate.reason or "computed from the figures above"


def _dated(as_of: str, *, is_old: bool) -> str:
    return f"{as_of or 'no date'} · {OLD}" if is_old else as_of or "–"


def catalogue_kinds() -> tuple[str, ...]:
    """The kinds that ``catalogue_table`` knows."""
    return tuple(_TABLES)


def catalogue_table(
    catalog: Catalog, kind: str, today: datetime.date, *, matching: str = "", old_only: bool = False
) -> Table:
    """One kind of fact, a row each, with source and date; the words of ``matching`` all occur in a row."""
    headers, read = _TABLES[kind]
    wanted = matching.lower().split()
    rows = []
    count = old = 0
    for cells, origin in read(catalog, today):
        is_old = origin.is_stale(today)
        count, old = count + 1, old + is_old
        row = (*cells, words(_dated(origin.as_of, is_old=is_old)), words(origin.source))
        text = " ".join(cell.plain for cell in row).lower()
        if all(word in text for word in wanted) and (is_old or not old_only):
            rows.append(row)
    note = f"{old:,} of {count:,} are {OLD}." if old else f"None of {count:,} is {OLD}."
    return Table(title=kind, headers=(*headers, "As of", "Source"), rows=tuple(rows), note=note)


Facts = Iterable[tuple[tuple[Cell, ...], Provenance]]


def _models(catalog: Catalog, _: datetime.date) -> Facts:
    for model in catalog.models():
        origin = model.provenance
        active = format_count(model.active_params) if model.is_moe else "all"
        yield (
            (
                words(model.name, strong=True),
                Cell(text=format_count(model.total_params), basis=origin.basis),
                words(active),
                number(model.kv_bytes_per_token(), "bytes", origin.basis),
                number(model.max_context_tokens, "tokens", origin.basis),
                words(model.licence or "unknown"),
            ),
            origin,
        )


def _gpus(catalog: Catalog, _: datetime.date) -> Facts:
    for gpu in catalog.gpus():

        def of(field: str, gpu: Any = gpu) -> Basis:
            basis: Basis = gpu.provenance_by_field.get(field, gpu.provenance).basis
            return basis

        rate = gpu.flops_16bit_per_second
        tera = None if rate is None else rate / 1e12
        yield (
            (
                words(gpu.name, strong=True, remark=gpu.id),
                number(gpu.memory_bytes, "bytes", of("memory_bytes"), why_unknown="has none of its own"),
                number(gpu.memory_bytes_per_second / 1e9, "GB/s", of("memory_bytes_per_second")),
                number(tera, "TFLOP/s", of("flops_per_second"), why_unknown="not printed"),
                number(gpu.tdp_watts, "W", of("tdp_watts"), why_unknown="not printed"),
            ),
            gpu.provenance,
        )


def _offers(catalog: Catalog, _: datetime.date) -> Facts:
    for offer in catalog.offers():
        where = offer.zone if offer.region in ("", "n/a") else f"{offer.zone} {offer.region}"
        origin = offer.provenance
        remark = "the machine is billed on top" if offer.gpu_only else ""
        yield (
            (
                words(offer.provider, strong=True),
                words(offer.gpu or offer.gpu_as_listed),
                words(where),
                words(offer.term),
                number(offer.usd_per_gpu_hour, "USD/GPU-hour", origin.basis, remark=remark),
            ),
            origin,
        )


def _apis(catalog: Catalog, _: datetime.date) -> Facts:
    for api in catalog.apis():
        basis, none = api.provenance.basis, "not in the price list"
        prices = (api.input_usd_per_mtok, api.cached_input_usd_per_mtok, api.output_usd_per_mtok)
        yield (
            (
                words(api.id, strong=True),
                *(number(price, "USD", basis, why_unknown=none) for price in prices),
                words(api.serves or "–"),
            ),
            api.provenance,
        )


def _purchases(catalog: Catalog, _: datetime.date) -> Facts:
    for price in catalog.purchase_prices():
        value = number(price.usd, "USD", price.provenance.basis, why_unknown="none was published")
        yield (words(price.item, strong=True), words(price.kind), words(price.unit), value), price.provenance


def _energy(catalog: Catalog, _: datetime.date) -> Facts:
    for fact in catalog.energy():
        origin = fact.provenance
        ends = sorted({end for end in (fact.low, fact.high) if end is not None})
        text = " to ".join(map(plain_number, ends))
        value = Cell(text=f"{text} {fact.unit}", basis=origin.basis) if text else Cell(text="unknown", basis="unknown")
        what = words(fact.metric.replace("_", " "))
        yield (words(fact.area, strong=True), what, value, words(fact.segment), words(fact.period)), origin


def _tco(catalog: Catalog, _: datetime.date) -> Facts:
    for fact in catalog.tco():
        value = Cell(text=f"{fact.text} {fact.unit}".strip(), basis=fact.provenance.basis)
        yield (words(fact.parameter, strong=True), value, words(fact.context)), fact.provenance


def _assumptions(catalog: Catalog, today: datetime.date) -> Facts:
    for name, value in load_assumptions({}, today, catalog.root).items():
        origin = Provenance(source=value.source, as_of=value.as_of, confidence="", basis=value.basis)
        yield (words(name, strong=True), _cell(value), words(value.unit)), origin


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Catalog, datetime.date], Facts]]] = {
    "models": (("Model", "Parameters", "Active", "KV cache a token, 16 bit", "Longest context", "Licence"), _models),
    "gpus": (("GPU", "Memory", "Bandwidth", "16-bit dense", "Power"), _gpus),
    "offers": (("Provider", "GPU", "Where", "Term", "A GPU-hour"), _offers),
    "apis": (("API", "1 M tokens in", "1 M cached in", "1 M out", "Model behind it"), _apis),
    "purchase": (("Item", "Kind of price", "Of", "Price"), _purchases),
    "energy": (("Area", "What", "Value", "Of", "Period"), _energy),
    "tco": (("Figure", "As the source prints it", "Of"), _tco),
    "assumptions": (("Assumption", "Value", "Unit"), _assumptions),
}


def changes_table(changes: Iterable[ValueChange]) -> Table:
    """What would be written: each number as it is, with its source, and as it shall be."""
    rows = tuple(
        (
            words(change.name, strong=True),
            words(change.key.replace("_", " ")),
            number(change.was, "", change.was_from.basis, remark=f"{change.was_from.as_of}, {change.was_from.source}"),
            number(change.now, "", "assumed", why_unknown="taken out"),
        )
        for change in changes
    )
    return Table(title="What would change", headers=("Fact", "Number", "Now", "Becomes"), rows=rows)
