"""``llmsizer catalog``: prices and assumptions, whether they hold, and bringing them up to date."""

from __future__ import annotations

import argparse
import datetime
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, add_json
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.facts.catalog import Catalog
    from llmsizer.facts.catalog.refresh import Change, Refresh
    from llmsizer.facts.provenance import Provenance

OLD = "†"  # beside a date: older than 90 days
_SHOWN_CHANGES = 40


def add_check_and_refresh(verbs: Commands) -> None:  # type: ignore[type-arg]
    check = verbs.add_parser(
        "check", help="sources, dates, duplicates, ranges, and how much is old; exit 1 on problems"
    )
    check.add_argument(
        "--overrides", type=Path, metavar="FILE", help="with this file of your own ($LLMSIZER_OVERRIDES)"
    )
    add_json(check)
    check.set_defaults(run=_check)
    refresh = verbs.add_parser("refresh", help="newer prices from a file of models.dev, LiteLLM or SkyPilot: a diff")
    refresh.add_argument(
        "file", type=Path, help="api.json, model_prices_and_context_window.json or a provider's vms.csv"
    )
    refresh.add_argument("--format", choices=("models.dev", "litellm", "skypilot"), help="left out: recognised")
    refresh.add_argument("--provider", help="of a SkyPilot file, where its folder does not say")
    refresh.add_argument("--as-of", metavar="DATE", help="of the prices (default: the day the file was written)")
    refresh.add_argument("--new", action="store_true", help="also offers that the catalogue does not hold yet")
    refresh.add_argument("--write", action="store_true", help="into your overrides file, never into the package")
    refresh.add_argument("--overrides", type=Path, metavar="FILE", help="left out: $LLMSIZER_OVERRIDES")
    add_json(refresh)
    refresh.set_defaults(run=_refresh)


def dated(origin: Provenance) -> str:
    """The date, marked where it is more than 90 days back."""
    return origin.as_of + (OLD if origin.is_stale(datetime.date.today()) else "")


def stale_note(entries: Sequence[Any]) -> str:
    """How many of the facts listed are old; empty where none is."""
    today = datetime.date.today()
    origins = [entry.provenance for entry in entries if hasattr(entry, "provenance")]
    old = sum(origin.is_stale(today) for origin in origins)
    return f"{OLD} {old} of {len(origins)} older than 90 days" if old else ""


Listing = tuple[Sequence[Any], Sequence[str], Any, str]


def list_purchase(catalog: Catalog, _: argparse.Namespace) -> Listing:
    from llmsizer.money.currency import US_DOLLARS

    def row(price: Any) -> Sequence[object]:
        return (
            price.item,
            price.kind,
            price.unit,
            US_DOLLARS.text(price.usd),
            price.provenance.basis,
            dated(price.provenance),
        )

    return (
        catalog.purchase_prices(),
        ("item", "kind", "unit", "price", "basis", "as of"),
        row,
        "press estimates: a range",
    )


def list_energy(catalog: Catalog, _: argparse.Namespace) -> Listing:
    def row(fact: Any) -> Sequence[object]:
        span = f"{fact.low:g}" if fact.low == fact.high else f"{fact.low:g}–{fact.high:g}"
        return fact.area, fact.metric, span, fact.unit, fact.segment, fact.provenance.basis, dated(fact.provenance)

    return catalog.energy(), ("area", "what", "value", "unit", "of", "basis", "as of"), row, ""


def list_tco(catalog: Catalog, _: argparse.Namespace) -> Listing:
    def row(fact: Any) -> Sequence[object]:
        return fact.parameter, fact.text, fact.unit, fact.context, fact.provenance.basis, dated(fact.provenance)

    return catalog.tco(), ("what", "value", "unit", "of", "basis", "as of"), row, "what sources print; not used unseen"


def list_assumptions(catalog: Catalog, _: argparse.Namespace) -> Listing:
    from llmsizer.facts.assumptions import load_assumptions

    def row(item: Any) -> Sequence[object]:
        name, figure = item["name"], item["figure"]
        band = f"{figure.value:g} [{figure.low:g}–{figure.high:g}]"
        return name, band, figure.unit, figure.source, figure.as_of + (OLD if figure.stale else "")

    figures = load_assumptions({}, datetime.date.today(), catalog.root)
    entries = [{"name": name, "figure": figure} for name, figure in figures.items()]
    old = sum(figure.stale for figure in figures.values())
    note = f"a scenario replaces any of them in its assumptions table; {OLD} {old} of {len(figures)} older than 90 days"
    return entries, ("assumption", "mid [low–high]", "unit", "source", "as of"), row, note


def _check(arguments: argparse.Namespace) -> int:
    from llmsizer.facts.catalog import load_catalog
    from llmsizer.facts.catalog.check import check_catalog

    found = check_catalog(load_catalog(overrides=arguments.overrides), datetime.date.today())
    if arguments.json:
        print_json(found.to_dict())
        return 1 if found.problems else 0
    rows = [(kind.kind, kind.facts, kind.stale, kind.oldest) for kind in found.kinds]
    facts = sum(kind.facts for kind in found.kinds)
    print_table(f"The catalogue on {found.checked_on}", ("kind", "facts", "older than 90 days", "oldest"), rows)
    out = console()
    for problem in found.problems:
        out.print(f"✗ {problem}", highlight=False)
    guesses = len(found.without_source)
    names = ", ".join(found.without_source)
    out.print(f"{guesses} assumptions are stated guesses without a source: {names}", highlight=False)
    verdict = f"{len(found.problems)} problems" if found.problems else "no problem"
    out.print(f"{facts:,} facts, {found.stale:,} of them older than 90 days; {verdict} found", highlight=False)
    return 1 if found.problems else 0


def _refresh(arguments: argparse.Namespace) -> int:
    from llmsizer.facts.catalog import load_catalog
    from llmsizer.facts.catalog.price_files import read_price_file
    from llmsizer.facts.catalog.refresh import file_date, refresh_from, write_refresh

    file: Path = arguments.file
    prices = read_price_file(file, arguments.format, arguments.provider)
    as_of = _date(arguments.as_of) if arguments.as_of else file_date(file)
    target = _overrides_file(arguments) if arguments.write else arguments.overrides
    exists = target is not None and target.exists()
    catalog = load_catalog(overrides=target if exists else None) if target else load_catalog()
    refresh = refresh_from(catalog, prices, file, as_of, with_new=arguments.new)
    written = write_refresh(refresh, target) if arguments.write else 0
    if arguments.json:
        print_json(refresh.to_dict() | {"written": written, "overrides": str(target) if arguments.write else None})
        return 0
    _print_refresh(refresh)
    if arguments.write:
        console().print(f"{written} rows written to {target}", highlight=False)
        if os.environ.get("LLMSIZER_OVERRIDES") != str(target):
            console().print(f"it counts where LLMSIZER_OVERRIDES={target} is set", highlight=False)
    else:
        console().print("nothing written; --write puts it into your overrides file", highlight=False)
    return 0


def _date(text: str) -> str:
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(f"--as-of {text!r} is no date; give one such as 2026-11-21") from None


def _overrides_file(arguments: argparse.Namespace) -> Path:
    named = arguments.overrides or os.environ.get("LLMSIZER_OVERRIDES")
    if not named:
        raise InputError("no overrides file to write into; give --overrides FILE or set LLMSIZER_OVERRIDES")
    return Path(named)


def _print_refresh(refresh: Refresh) -> None:
    from llmsizer.money.currency import US_DOLLARS

    def row(change: Change) -> Sequence[object]:
        by = "new" if change.was is None else "gone" if change.ratio is None else f"{change.ratio - 1:+.1%}"
        what = change.key.removesuffix("_usd_per_mtok").replace("_", " ")
        return (
            change.id,
            what,
            US_DOLLARS.text(change.was) if change.was else "–",
            US_DOLLARS.text(change.now) if change.now else "–",
            by,
        )

    shown = refresh.changes[:_SHOWN_CHANGES]
    more = len(refresh.changes) - len(shown)
    note = f"{more} more: --json has them all" if more else ""
    if shown:
        unit = "USD a million tokens" if refresh.kind == "apis" else "USD a GPU-hour"
        print_table(f"{len(refresh.changes)} prices differ ({refresh.format}, {unit})",
                    ("offer", "what", "was", "now", "change"), map(row, shown), note=note)  # fmt: skip
    out = console()
    out.print(
        f"{len(refresh.rows)} rows to write, true on {refresh.provenance['as_of']}, {refresh.same} at the same prices; "
        f"{refresh.new} in the file that the catalogue does not hold; {refresh.not_in_file} of the catalogue's "
        f"not in the file; {refresh.unpriced} without a price",
        highlight=False,
    )
    if refresh.unmapped:
        out.print(f"GPUs that the catalogue does not hold: {', '.join(refresh.unmapped)}", highlight=False)
