"""Formats at one width on one GPU: memory, speed over concurrency, where leads end, joules of a token."""

from __future__ import annotations

import datetime

import numpy as np
import pytest

from llmsizer.decide.precision.choice import PrecisionQuestion, choose_precision, deployment_of, precisions_of
from llmsizer.decide.precision.crossover import concurrencies, crossover
from llmsizer.decide.precision.side_by_side import SideBySide, side_by_side, speeds_at
from llmsizer.decide.pricing.study import workload_of
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import Scenario
from llmsizer.money.prices import price_book
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.traffic.energy import Power, joules_per_output_token
from llmsizer.traffic.simulator.fleet import PowerCurve

CATALOG = default_catalog()
TODAY = datetime.date(2026, 11, 21)


def question(model: str, gpu: str, *precisions: str) -> PrecisionQuestion:
    scenario = Scenario.model_validate({"model": model, "workload": {"preset": "chat"}})
    return PrecisionQuestion(
        model=CATALOG.model(model),
        gpus=(CATALOG.gpu(gpu),),
        workload=workload_of(scenario, CATALOG),
        scenario=scenario,
        precisions=precisions_of(precisions or ("bf16", "fp8", "int8", "int4")),
    )


def compared(asked: PrecisionQuestion) -> SideBySide:
    options = choose_precision(asked, CATALOG, price_book(CATALOG, asked.scenario, TODAY))
    return side_by_side(asked, options, asked.gpus[0])


def test_formats_stand_at_the_width_of_the_one_that_needs_most_and_only_the_format_differs() -> None:
    asked = question("mistral-small-4", "h100-sxm-80")
    found = compared(asked)
    assert found.width == max(f.option.gpus for f in found.formats) > 1
    for one in found.formats:
        deployment = deployment_of(asked, found.gpu, one.precision, found.width)
        assert one.budget is not None and one.budget.parts == estimate_memory(deployment).parts
    assert found.formats[0].precision == "bf16" and found.formats[-1].precision == "int4"


def test_crossovers_are_those_of_the_pair_alone() -> None:
    asked = question("llama-3.1-8b", "h100-sxm-80")
    found = compared(asked)
    for one in found.crossovers:
        first, second = (deployment_of(asked, found.gpu, name, found.width) for name in (one.first, one.second))
        assert one == crossover(first, second, asked.workload)
    assert {c.second for c in found.crossovers} == {"bf16", "fp8", "int8"}


def test_the_reference_is_once_as_fast_as_itself_and_a_lead_ends_where_the_lines_cross() -> None:
    found = compared(question("llama-3.1-8b", "h100-sxm-80"))
    lines = {f.precision: found.speed_up(f) for f in found.formats}
    bf16, int4, fp8 = lines["bf16"], lines["int4"], lines["fp8"]
    assert bf16 is not None and int4 is not None and fp8 is not None
    assert np.allclose(bf16, 1.0)
    ends = next(c.loses_at for c in found.crossovers if c.second == "fp8")
    at = concurrencies().tolist().index(ends)
    assert int4[at] < fp8[at] and int4[at - 1] >= fp8[at - 1]


def test_where_nothing_fits_the_formats_are_still_accounted_for() -> None:
    found = compared(question("mistral-small-4-119b-2603", "rtx-4060"))
    assert found.formats and all(f.held_at_once == 0 for f in found.formats)
    assert all(f.budget is not None and f.budget.reason for f in found.formats)


def test_without_a_challenger_no_lead_is_looked_for() -> None:
    assert compared(question("llama-3.1-8b", "h100-sxm-80", "bf16", "fp8")).crossovers == ()


def test_speeds_are_read_off_at_the_counts_that_were_computed() -> None:
    found = compared(question("llama-3.1-8b", "h100-sxm-80", "bf16"))
    (one,) = found.formats
    assert one.tokens_per_second is not None
    assert speeds_at(one, (1, 3_333))[1] == one.tokens_per_second[0] and 3_333 not in speeds_at(one, (1, 3_333))


@pytest.mark.parametrize(
    ("in_flight", "joules"),
    # 256 inside: it always steps, at 400 W; hardly anyone inside: 100 W idle, whatever the steps draw
    [(256.0, 400 / 1000), (1e-9, 100 / 1000)],
)
def test_joules_of_a_token_by_hand(in_flight: float, joules: float) -> None:
    curve = PowerCurve(idle_watts=100, one_watts=200, full_watts=400)
    power = Power(mid=curve, low=curve, high=curve, basis="assumed", reason="by hand")
    found = joules_per_output_token(in_flight, 1000.0, power)
    assert found.value == pytest.approx(joules) and found.basis == "assumed"


def test_joules_stay_unknown_where_the_power_or_the_rate_is() -> None:
    assert joules_per_output_token(1.0, 10.0, "no TDP").reason == "no TDP"
    curve = PowerCurve(idle_watts=1, one_watts=2, full_watts=3)
    power = Power(mid=curve, low=curve, high=curve, basis="assumed", reason="")
    assert joules_per_output_token(1.0, 0.0, power).value is None


def test_every_format_that_is_priced_says_what_a_token_takes() -> None:
    found = compared(question("llama-3.1-8b", "h100-sxm-80"))
    figures = {f.precision: f.option.joules_per_output_token for f in found.formats}
    assert all(f.value and f.low and f.high and f.low <= f.value <= f.high for f in figures.values())
    assert all(f.basis == "calibrated" and f.unit == "J/output token" for f in figures.values())
