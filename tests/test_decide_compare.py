"""Stairs, lines and where they cross."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import pytest

from deciding import (
    CATALOG,
    FEW,
    TODAY,
    RooflinePhysics,
    answer,
    answer_to_file,
    scenario,
    usd,
)
from llmsizer.decide.comparison.compare import LEAST_TOKENS, _crossover
from llmsizer.decide.comparison.curves import at_volume
from llmsizer.decide.pricing.study import study
from llmsizer.decide.recommend import compare


@pytest.mark.parametrize("name", ["eu-chat", "build-or-buy"])
def test_stairs_never_go_down_and_hold_the_bill_of_their_plan(name: str) -> None:
    comparison = answer_to_file(name).comparison
    assert comparison is not None
    for path in comparison.paths:
        costs = [step.usd_per_month.value for step in path.steps]
        assert None not in costs or (path.path, set(costs)) == ("rent", {None})  # nothing may be rented in EU mode
        known = [cost for cost in costs if cost is not None]
        assert all(b >= a * (1 - 1e-9) for a, b in pairwise(known)), path.label


def test_the_quick_sum_is_the_bill_in_full() -> None:
    asked = scenario(FEW)
    found = study(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())
    for tokens in (1e8, 3e10, 1e12):
        workload = at_volume(found.question.workload, tokens)
        for sized in found.sized[::3]:
            for path in ("own", "rent"):
                quick = found.pricer.usd(sized, "own" if path == "own" else "rent", workload)
                if quick is not None:
                    plan = found.pricer.plan(sized, "own" if path == "own" else "rent", workload)
                    assert quick == pytest.approx(usd(plan), rel=1e-12)


def _cross(below: dict[str, float], above: dict[str, float | None]) -> tuple[str, float | None]:
    """Fixed and per-token costs, crossed."""

    def line(spec: Mapping[str, float | None]):  # type: ignore[no-untyped-def]
        fixed, each = (math.nan if value is None else value for value in (spec["fixed"], spec["each"]))
        return lambda tokens: fixed + each * tokens

    crossing = _crossover("below", "above", line(below), line(above), {})
    return crossing.state, crossing.tokens_per_month


def test_crossovers_by_hand() -> None:
    # $0.50 a million against $1,000 a month: equal at 2,000 million
    state, tokens = _cross({"fixed": 0, "each": 0.5e-6}, {"fixed": 1000, "each": 0})
    assert (state, tokens) == ("reached", 2e9)


def test_not_reached_is_not_the_same_as_not_searched() -> None:
    assert _cross({"fixed": 0, "each": 1e-10}, {"fixed": 1000, "each": 0}) == ("not reached", None)
    assert _cross({"fixed": 0, "each": 1e-6}, {"fixed": None, "each": None}) == ("not searched", None)
    assert _cross({"fixed": 1000, "each": 0}, {"fixed": 0, "each": 0}) == ("reached", LEAST_TOKENS)


def test_compare_is_the_comparison_of_the_recommendation() -> None:
    asked = scenario(FEW)
    alone = compare(CATALOG.model(asked.model), asked, CATALOG, today=TODAY, physics=RooflinePhysics())
    whole = answer(asked).comparison
    assert whole is not None and alone.to_dict() == whole.to_dict()
