"""``llmsizer answer press-claims``: what was said of Mistral Small 4, and what is so, under both readings."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json
from llmsizer.cli.currency import add_currency, known_currency, print_rate
from llmsizer.cli.output import console, print_json, print_table

if TYPE_CHECKING:
    from llmsizer.money.currency import Currency

_MARKS = {"holds": "✓ holds", "holds in part": "◐ holds in part", "does not hold": "✗ does not hold"}


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("answer", help="questions that ship with the program, answered with figures")
    parser.add_argument("question", nargs="?", default="press-claims", choices=("press-claims",))
    add_currency(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from llmsizer.decide.press_claims import READINGS, VOLUMES, press_claims
    from llmsizer.facts.catalog import default_catalog

    today, catalog = datetime.date.today(), default_catalog()
    currency = known_currency(arguments)
    claims = press_claims(catalog, today, currency.code)
    if arguments.json:
        told = [claim.to_dict() for claim in claims]
        print_json({"question": arguments.question, "currency": currency.to_dict(), "claims": told})
        return 0
    rows = [(claim.text, *(f"{_MARKS[f.verdict]} ({f.basis})\n{f.text}" for f in claim.findings)) for claim in claims]
    print_table("", ("said of Mistral Small 4", *READINGS), rows)
    for finding in next(claim for claim in claims if "European" in claim.text).findings:
        names = list(dict.fromkeys(key.split(": ", 1)[1] for key in finding.figures))
        volumes = list(dict.fromkeys(key.split(": ", 1)[0] for key in finding.figures))
        table = [
            (name, *(_usd(finding.figures.get(f"{volume}: {name}"), currency) for volume in volumes)) for name in names
        ]
        print_table(f"{finding.reading}: {currency.words} a month", ("way", *volumes), table)
    print_rate(currency)
    console().print(
        f"Volumes of {', '.join(f'{v:,.0f}' for v in VOLUMES)} tokens a month, input and output; the scenarios are "
        "eu-chat-22b and eu-chat (llmsizer report eu-chat --out DIR). Another model is another quality tier.",
        style="dim", highlight=False,
    )  # fmt: skip
    return 0


def _usd(value: object, currency: Currency) -> str:
    return currency.text(value) if isinstance(value, int | float) else "unknown"
