"""The memo: one page that says what to do, what it costs, what would change it, and what would make it void."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.decide.certainty.drivers import driver_words
from llmsizer.decide.certainty.uncertainty import share_text
from llmsizer.deliver.elements.basis import mark
from llmsizer.deliver.elements.escaping import escape
from llmsizer.deliver.elements.wording import amount, figure_range, from_to, headline, sentence, tokens
from llmsizer.deliver.pages import html
from llmsizer.deliver.papers.conditions import Condition, holding
from llmsizer.deliver.papers.decision import Decision, LivePath
from llmsizer.deliver.papers.order_dates import OrderDates, order_heading
from llmsizer.deliver.papers.power_and_rack import PowerSheet
from llmsizer.deliver.tables.plans import ordered
from llmsizer.facts.figure import Figure
from llmsizer.money.currency import format_usd, shown_in
from llmsizer.version import __version__

# What a page holds; the report has the rest.
_NUM = ' class="num"'
_SHOWN, _FLIPS, _CONDITIONS, _ASSUMPTIONS, _LONGEST = 4, 3, 4, 5, 230


def render_memo(
    decision: Decision, *, orders: OrderDates, found: Sequence[Condition], power: PowerSheet | None, written_on: str
) -> str:
    """The memo as one HTML file that loads nothing and prints on one page of A4."""
    with shown_in(decision.currency):
        return _render(decision, orders, found, power, written_on)


def _render(
    decision: Decision, orders: OrderDates, found: Sequence[Condition], power: PowerSheet | None, written_on: str
) -> str:
    answer = decision.recommendation
    first, rest = headline(answer.sentence)
    body = "\n".join(
        (
            html.said("p", f"Decision memo · {_short(decision.scenario.name, 80)} · {answer.priced_on}", "eyebrow"),
            html.said("h1", _short(first, 330)),
            html.said("p", _short(rest)) if rest else "",
            html.said("p", _short(decision.scenario.description), "muted") if decision.scenario.description else "",
            _verdict(decision, found),
            _costs(decision),
            html.tag("div", _changes(decision) + _void(decision, found), "columns"),
            html.tag("div", _machine(decision, power) + _order(decision, orders), "columns"),
            _assumed(decision),
        )
    )
    footer = (
        f"llmsizer {__version__} · scenario hash {decision.hash} · written on {written_on} · model {answer.model}. "
        f"{_short(sentence(answer.reading), 200)} {_rate(decision)}Ends: every part at its best, or worst, at once. "
        "Full report, workbook and bill of materials lie beside this memo under the same hash."
    )
    return html.page(
        title=f"Memo: {decision.scenario.name}",
        style=html.asset("memo.css", "llmsizer.deliver.pack"),
        body=body,
        footer=html.said("p", footer),
    )


def _rate(decision: Decision) -> str:
    note = decision.currency.note
    return f"Amounts are in {decision.currency.code}: {note}. " if note else ""


def _short(text: str, longest: int = _LONGEST) -> str:
    """The text, cut at a word where a page has no room for all of it."""
    flat = " ".join(text.split())
    if len(flat) <= longest:
        return flat
    return flat[:longest].rsplit(" ", 1)[0][:longest] + " …"


def _verdict(decision: Decision, found: Sequence[Condition]) -> str:
    """Where machines are taken although an API is cheaper, that before everything else."""
    stays = [c for c in found if c.state == "holds" and _is_for_apis(c)]
    if not stays or decision.taken == "api":
        return ""
    text = f"{stays[0].text}: {stays[0].consequence} ({stays[0].detail})" if stays[0].detail else stays[0].consequence
    return html.tag("div", html.said("p", sentence(_short(text))), "warn")


def _costs(decision: Decision) -> str:
    """The ways to the model that was asked for; where none has a price, that."""
    same = [one for one in decision.paths if one.same_model]
    others = [one for one in decision.paths if not one.same_model and one.cost.is_complete]
    cheapest = decision.cheapest
    first = same[:_SHOWN] if cheapest is None or cheapest in same[:_SHOWN] else [*same[: _SHOWN - 1], cheapest]
    shown = first + others[-1:]
    if not shown:
        return html.said("p", "Nothing that was considered can be priced and run.")
    rows = "".join(_cost_row(decision, one, is_lowest=one is cheapest) for one in shown)
    heads = "".join(
        f'<th scope="col"{css}>{escape(text)}</th>'
        for text, css in (
            ("Way", ""),
            (f"{decision.currency.code} a month", _NUM),
            ("range", _NUM),
            ("per 1M tokens", _NUM),
            ("wins in", _NUM),
            ("least sure input", ""),
        )
    )
    asked = f"At {tokens(decision.shared.tokens.value)} tokens a month"
    outs = [spread.why_not for one in shown if (spread := decision.spread(one)) is not None and spread.why_not]
    note = html.said("p", sentence(f"out: {_short('; '.join(dict.fromkeys(outs)), 190)}"), "muted") if outs else ""
    return html.said("h2", asked) + f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>" + note


def _cost_row(decision: Decision, one: LivePath, *, is_lowest: bool) -> str:
    usd = one.cost.usd_per_month
    ends = figure_range(usd)
    between = _p10_to_p90(decision, one) or (f"{ends} (ends)" if ends else "–")
    cells = (
        f'<th scope="row">{escape(_short(one.label, 90))}</th>'
        f'<td class="num">{escape(amount(usd.value, "USD"))}</td>'
        f'<td class="num">{escape(between)}</td>'
        f'<td class="num">{escape(format_usd(one.cost.usd_per_million_tokens.value))}</td>'
        f'<td class="num">{escape(_wins(decision, one))}</td>'
        f"<td>{escape(mark(usd.basis))}{', old price' if usd.stale else ''}</td>"
    )
    return f"<tr{' class=lowest' if is_lowest else ''}>{cells}</tr>"


def _p10_to_p90(decision: Decision, one: LivePath) -> str:
    spread = decision.spread(one)
    return f"{format_usd(spread.usd_p10)} to {format_usd(spread.usd_p90)} (P10–P90)" if spread else ""


def _wins(decision: Decision, one: LivePath) -> str:
    spread = decision.spread(one)
    if spread is None:
        return "–"
    return "out" if spread.why_not else "–" if spread.wins is None else share_text(spread.wins)


def _changes(decision: Decision) -> str:
    flips = decision.recommendation.flips[:_FLIPS]
    items = [_short(flip.text) for flip in flips] or ["nothing that was searched"]
    return html.tag("section", html.said("h2", "What would change the answer") + html.bullets(items))


def _is_for_apis(condition: Condition) -> bool:
    return "API" in condition.consequence and "stay" in condition.consequence


def _void(decision: Decision, found: Sequence[Condition]) -> str:
    """What holds first, then what nobody knows yet; that an API is cheaper voids no answer that takes it."""
    told = [c for c in found if not (decision.taken == "api" and _is_for_apis(c))]
    open_ones = [c for c in told if c.state == "unknown"]
    listed = [*holding(tuple(told)), *open_ones][:_CONDITIONS]
    items = [_short(f"{'open' if c.state == 'unknown' else 'holds'}: {c.text} → {c.consequence}", 170) for c in listed]
    return html.tag("section", html.said("h2", "What would make it void") + html.bullets(items or ["none found"]))


def _machine(decision: Decision, power: PowerSheet | None) -> str:
    best = decision.recommendation.best
    if best is None:
        return html.tag("section", html.said("h2", "Machines") + html.said("p", "None meets what was asked."))
    ttft, tpot = best.at_peak.ttft_p95, best.at_peak.tpot_p95
    items = [
        f"{best.label}: {best.replicas} serving, {best.spare_replicas} spare; {ordered(best)}",
        f"peak hour: TTFT p95 {_figure(ttft)}, TPOT p95 {_figure(tpot)}",
        f"quality kept: {_figure(best.quality_recovery)}",
    ]
    if power is not None and best.path == "own":
        items.append(
            f"power: {power.value('reserved_kw'):.1f} kW to reserve, racks: {power.value('racks'):.0f}, "
            f"{power.value('kwh_month'):,.0f} kWh a month with cooling"
        )
    title = "Machines" if decision.taken != "api" else "The cheapest machines instead"
    return html.tag("section", html.said("h2", title) + html.bullets(_short(item, 190) for item in items))


def _figure(value: Figure) -> str:
    between = figure_range(value)
    return f"{amount(value.value, value.unit)}{f' ({between})' if between else ''} {mark(value.basis)}"


def _order(decision: Decision, orders: OrderDates) -> str:
    title = _short(order_heading(decision, "Order by"), 90)
    return html.tag("section", html.said("h2", title) + html.said("p", sentence(_short(orders.text, 300))))


def _assumed(decision: Decision) -> str:
    """Those that move the recommended path's cost most, where draws say so."""
    sure = decision.recommendation.uncertainty
    if sure is None or not sure.tornado:
        return ""
    items = [
        f"{driver_words(bar.driver)}: {from_to(bar.low, bar.high, bar.unit)} makes "
        f"{format_usd(min(bar.usd_at_low, bar.usd_at_high))} to {format_usd(max(bar.usd_at_low, bar.usd_at_high))}"
        for bar in sure.tornado[:_ASSUMPTIONS]
    ]
    return html.said("h2", "What moves its cost most, a month") + html.bullets(_short(item, 150) for item in items)
