"""Where costs cross: exact on stairs and lines, and honest where they do not, or where nobody looked."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.cli import main
from llmsizer.decide.comparison.compare import MOST_TOKENS
from llmsizer.decide.recommend import recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario, parse_scenario
from llmsizer.money.comparison import Comparison
from llmsizer.money.crossing import Curve, Vector, crossing

CATALOG = default_catalog()
TODAY = datetime.date(2026, 11, 21)
FEW = """
model = "mistral-small-2409"
electricity_area = "DEU"
{head}
[workload]
preset = "chat"
tokens_per_month = 2e9
{growth}
[constraints]
gpus = ["l40s", "a100-sxm-80"]
zones = ["EU"]
precisions = ["fp8", "int8"]
{more}
"""


def scenario(head: str = "", growth: str = "", more: str = "") -> Scenario:
    return parse_scenario(FEW.format(head=head, growth=growth, more=more))


def compared(asked: Scenario) -> Comparison:
    found = recommend(CATALOG.model(asked.model), asked, CATALOG, today=TODAY).comparison
    assert found is not None
    return found


def stairs(each_usd: float, tokens_each: float) -> Curve:
    def usd(tokens: Vector) -> Vector:
        return each_usd * np.ceil(tokens / tokens_each)

    return usd


def line(usd_per_mtok: float, fixed: float = 0.0) -> Curve:
    return lambda tokens: fixed + tokens * usd_per_mtok / 1e6


def test_stairs_against_a_line_by_hand() -> None:
    # Servers of $1,000 hold 1,000 M tokens each; the API asks $1.10 a million. The first is even at 909.09 M,
    # and dearer again just beyond 1,000 M until 2000/1.1 = 1,818.18 M, and so on: step k from 1000k/1.1 M to 1000k M.
    # From step 11 on the next begins no later than the last ends: 11,000/1.1 = 10,000 M, where 10 servers are cheaper.
    found = crossing(line(1.10), stairs(1000, 1e9), 1e6, 1e12)
    assert found is not None
    assert found.first == math.ceil(1000e6 / 1.1)
    assert found.for_good == math.ceil(10_000e6 / 1.1)  # the tenth step's start: beyond it no step is dearer


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1, 1e6))
def test_lines_cross_at_the_first_whole_token(usd_per_mtok: float, fixed: float) -> None:
    tokens = fixed / usd_per_mtok * 1e6
    found = crossing(line(usd_per_mtok), line(0.0, fixed), 1e6, 1e12)
    assert found is not None
    if tokens > 1e12:
        assert found.for_good is None
    elif tokens > 1e6:
        assert found.for_good == pytest.approx(tokens, abs=1.5, rel=1e-11)


def test_not_reached_is_apart_from_not_searched() -> None:
    never = crossing(line(1.0), line(2.0), 1e6, 1e12)
    assert never is not None and never.for_good is None and never.first is None
    assert crossing(line(float("nan")), line(2.0), 1e6, 1e12) is None
    always = crossing(line(2.0), line(1.0), 1e6, 1e12)
    assert always is not None and (always.first, always.for_good) == (1e6, 1e6)


def test_the_crossover_is_exact_to_the_token_and_says_what_load_it_takes() -> None:
    found = compared(scenario())
    own = next(c for c in found.crossovers if c.cheaper_above == "own" and c.cheaper_below == "rent")
    assert own.state == "reached" and own.tokens_per_month == int(own.tokens_per_month or 0)
    assert own.required_utilisation is not None and 0 < own.required_utilisation <= 1
    assert own.searched_up_to_tokens_per_month == MOST_TOKENS
    assert own.month.state == "not searched" and "no growth" in own.month.text


def test_growth_names_the_month_or_says_how_far_it_looked() -> None:
    growth = 'growth = { per_month = %s, start = "2027-01-01", until = "2031-01-01" }'
    fast = next(c for c in compared(scenario(growth=growth % 0.2)).crossovers if c.cheaper_below == "rent")
    assert fast.month.state == "reached" and fast.month.month is not None and 0 < fast.month.month <= 48
    slow = next(c for c in compared(scenario(growth=growth % 0.001)).crossovers if c.cheaper_below == "rent")
    assert slow.month.state == "not reached" and slow.month.searched_months == 48


def test_bills_cash_and_paybacks_come_with_the_comparison() -> None:
    found = compared(scenario())
    assert [bill.path for bill in found.bills][:2] == ["own", "rent"]
    for bill, flow in zip(found.bills, found.cash_flows, strict=True):
        interest = bill.part("capital").value or 0.0
        assert flow.total_usd == pytest.approx(36 * ((bill.usd_per_month.value or 0.0) - interest))
    assert {payback.state for payback in found.paybacks} <= {"reached", "not reached", "not searched"}
    assert json.dumps(found.to_dict())


def test_the_lens_holds_for_every_path_together() -> None:
    full, marginal = compared(scenario()), compared(scenario(more='[money]\nlens = "marginal"'))
    assert marginal.lens == "marginal"
    for before, after in zip(full.bills, marginal.bills, strict=True):
        assert (after.usd_per_month.value or 0.0) <= (before.usd_per_month.value or 0.0)
        assert "people" not in {part.name for part in after.parts}


def test_compare_shows_parts_cash_and_currency_and_refuses_what_it_cannot_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "s.toml"
    path.write_text(FEW.format(head="", growth="", more=""))
    assert main(["compare", str(path), "--parts", "--cash-flow", "--currency", "eur"]) == 0
    shown = capsys.readouterr().out
    for word in ("electricity", "net present value", "€", "1 EUR = 1.087 USD", "2026-02-12", "total"):
        assert word in shown
    assert main(["compare", str(path), "--currency", "XYZ"]) == 1
    assert "no exchange rate" in capsys.readouterr().err
    assert main(["compare", str(path), "--currency", "euros"]) == 1
    assert main(["compare", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["currency"]["code"] == "USD"
