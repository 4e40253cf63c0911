"""``--currency``: what amounts are shown in, and the line that says the rate."""

from __future__ import annotations

import argparse
import datetime
import re
from typing import TYPE_CHECKING

from llmsizer.cli.output import console
from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.facts.scenario import Scenario
    from llmsizer.money.currency import Currency


def add_currency(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--currency", metavar="CODE", help="to show amounts in, e.g. EUR; at a dated rate")


def currency_asked(arguments: argparse.Namespace) -> str | None:
    """The code; None where the option was left out. Raises InputError where it cannot be one."""
    if not arguments.currency:
        return None
    code: str = arguments.currency.strip().upper()
    if not re.fullmatch("[A-Z]{3}", code):
        raise InputError(f"--currency {arguments.currency!r} is no code of a currency; give one such as EUR")
    return code


def in_currency(scenario: Scenario, arguments: argparse.Namespace) -> Scenario:
    """The scenario with its amounts in the currency asked for. Raises InputError."""
    code = currency_asked(arguments)
    return scenario.model_copy(update={"currency": code}) if code else scenario


def known_currency(arguments: argparse.Namespace) -> Currency:
    """The currency asked for where no scenario gives rates of its own. Raises InputError, ScenarioError."""
    from llmsizer.facts.assumptions import load_assumptions
    from llmsizer.money.currency import USD, currency_of

    return currency_of(currency_asked(arguments) or USD, load_assumptions({}, datetime.date.today()), {})


def print_rate(currency: Currency) -> None:
    """Nothing for dollars."""
    if currency.note:
        console().print(f"Amounts are in {currency.code}: {currency.note}.", highlight=False)
