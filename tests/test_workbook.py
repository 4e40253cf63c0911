"""The workbook holds the program's formulas: recalculated it gives the program's figures, and it follows its inputs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import papers
import recalculate
from llmsizer.deliver.formulas.live import Live, least, live, most, rounded_up
from llmsizer.deliver.formulas.places import Register, column_letters, safe_name
from llmsizer.deliver.papers.decision import Decision
from llmsizer.deliver.workbook.money import program_cash
from llmsizer.money.drivers import ApiDrivers, OwnDrivers, RentDrivers
from llmsizer.money.formulas import monthly_parts

pytest.importorskip("xlsxwriter")
NEEDS_OFFICE = pytest.mark.skipif(recalculate.office() is None, reason="LibreOffice is not installed")
VARIANTS = {
    "usual": {},
    "growth, VAT": {"money": {"vat_rate": 0.19}, "workload": {"growth": papers.GROWTH, "preset": "chat",
                    "tokens_per_month": 3e10}, "horizon_months": 60, "fleet": {"headroom": 0.2}},
    "lease": {"money": {"acquisition": "lease"}, "horizon_months": 30},
    "lease, renewed": {"money": {"acquisition": "lease"}, "horizon_months": 100},
    "marginal": {"money": {"lens": "marginal"}},
    "batch, spot": {"money": {"batch_share": 0.4, "batch_discount": 0.5, "api_discount": 0.1},
                    "constraints": {"interruptible": True}},
    "by the hour": {"workload": {"tokens_per_month": 2e11}, "constraints": {"own": False}},
    "interruptible by the hour": {"workload": {"tokens_per_month": 2e11},
                                  "constraints": {"own": False, "interruptible": True}, "spare_replicas": 2},
    "asleep": {"workload": {"tokens_per_month": 3e6}, "slo": {"ttft_p95_seconds": 3600.0}},
    "ramp, leased": {"workload": {"tokens_per_month": 4e11, "growth": papers.RAMP}, "horizon_months": 24,
                     "money": {"acquisition": "lease"}},
    "ramp, replaced": {"workload": {"tokens_per_month": 4e11, "growth": papers.RAMP}, "horizon_months": 48,
                       "money": {"vat_rate": 0.19}, "assumptions": {"depreciation_years": 2.5}},
    "over two servers": {"model": "deepseek-v3", "spare_replicas": 0, "workload": {"tokens_per_month": 1e9},
                         "slo": {"ttft_p95_seconds": 10.0, "tpot_p95_seconds": 0.2},
                         "constraints": {"gpus": ["l40s"], "precisions": ["int4"]}},
    "servers offered": {"offered": {"gpu": "h100", "servers": 3, "gpus_per_server": 4, "usd_per_server": 170_000},
                        "workload": {"tokens_per_month": 4e11, "growth": papers.RAMP}, "horizon_months": 24},
    "window, a year": {"fleet": {"active_from_hour": 8, "active_to_hour": 19, "active_days": ["mon", "tue"]},
                       "money": {"rent_term": "cheapest", "vat_rate": 0.1}, "workload": {"tokens_per_month": 4e10}},
    "nothing fits": {"slo": {"tpot_p95_seconds": 1e-6}},
}  # fmt: skip


@pytest.fixture(scope="module")
def decisions() -> dict[str, Decision]:
    return {name: papers.decision(papers.scenario(**changes)) for name, changes in VARIANTS.items()}


@pytest.fixture(scope="module")
def files(decisions: dict[str, Decision], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("workbooks")
    return {name: papers.workbook(d, folder / f"{i}.xlsx") for i, (name, d) in enumerate(decisions.items())}


RECORDS: list[OwnDrivers | RentDrivers | ApiDrivers] = [
    OwnDrivers(servers=2.0, gpus=16.0, busy_gpus=9.0, horizon_months=80.0, server_usd=320e3, network_capex_share=0.125,
               spare_parts_share=0.02, price_decline_per_year=0.1, residual_after_36_months=0.3, depreciation_years=3.0,
               capital_charge_per_year=0.08, maintenance_per_year=0.05, gpu_watts=700.0, busy_depth=0.5,
               idle_power_share=0.15, one_sequence_power_share=0.5, full_batch_power_share=0.9, host_watts=500.0,
               network_power_share=0.075, pue=1.54, usd_per_kwh=0.2, colocation_usd_per_kw_month=200.0,
               storage_usd_per_unit_month=50.0, software_usd_per_gpu_year=10.0, people_fte_own=1.0,
               people_fte_per_further_server=0.03,
               fte_usd_per_year=120e3, vat_rate=0.19),
    RentDrivers(instances=3.0, instance_hours=2190.0, usd_per_instance_hour=4.0, output_tokens_per_month=3e9,
                egress_bytes_per_token=50.0, egress_usd_per_gb=0.05, storage_usd_per_unit_month=50.0,
                people_fte_rent=0.25, people_fte_per_further_instance=0.01, fte_usd_per_year=120e3, vat_rate=0.19),
    ApiDrivers(input_tokens_per_month=8e7, cached_fraction=0.5, cache_reads_per_write=10.0, is_write_billed=True,
               output_tokens_per_month=2e7, reasoning_tokens_per_month=1e7, input_usd_per_mtok=3.0,
               cached_input_usd_per_mtok=0.3, cache_write_usd_per_mtok=3.75, output_usd_per_mtok=15.0,
               reasoning_usd_per_mtok=15.0, long_share=0.2, long_input_usd_per_mtok=6.0,
               long_cached_input_usd_per_mtok=0.6, long_cache_write_usd_per_mtok=7.5, long_output_usd_per_mtok=22.5,
               batch_share=0.4, batch_input_factor=0.5, batch_output_factor=0.5, retry_share=0.02, discount=0.1),
]  # fmt: skip


def named(record: Any) -> Any:
    """The same record, each number a name with that value."""
    numbers = {f.name: getattr(record, f.name) for f in fields(record) if isinstance(getattr(record, f.name), float)}
    return replace(record, **{name: Live(name, value) for name, value in numbers.items() if not math.isnan(value)})


def python_of(text: str) -> str:
    """A spreadsheet formula as Python, for the few functions and signs that are written."""
    text = re.sub(r"(?<![<>])=", "==", text.replace("<=", "<=")).replace("<==", "<=")
    return text.replace("^", "**").replace("IF(", "IF_(")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "MIN": min, "MAX": max, "IF_": lambda c, a, b: a if c else b, "EXP": math.exp, "LN": math.log,
    "ROUNDUP": lambda x, n: math.ceil(x), "INT": math.floor, "NA": lambda: math.nan,
}  # fmt: skip


@pytest.mark.parametrize("record", RECORDS, ids=["own", "rent", "api"])
def test_the_text_of_every_line_computes_what_the_program_computes(record: Any) -> None:
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    plain, written = monthly_parts(record), monthly_parts(named(record))
    for name, usd in plain.items():
        formula = written[name]
        assert isinstance(formula, Live)
        assert formula.value == pytest.approx(float(usd), rel=1e-12), name
        assert eval(python_of(formula.text), {**FUNCTIONS, **values}) == pytest.approx(float(usd), rel=1e-12), name


@st.composite
def expressions(draw: st.DrawFn, depth: int = 4) -> Live:
    if depth == 0 or draw(st.booleans()):
        value = draw(st.floats(0.1, 9.0))
        return draw(st.sampled_from([live(value), Live(draw(st.sampled_from("abc")), 0.0)]))
    a, b = draw(expressions(depth - 1)), draw(expressions(depth - 1))
    make = draw(st.sampled_from([
        lambda: a + b, lambda: a - b, lambda: a * b, lambda: a / (b * b + 1), lambda: -a, lambda: least(a, b),
        lambda: most(a, 1), lambda: (a * a + 1) ** (b * 0.1),
    ]))  # fmt: skip
    return make()


@given(expressions(), st.floats(0.5, 3.0), st.floats(0.5, 3.0), st.floats(-2.0, 2.0))
def test_a_formulas_text_keeps_the_order_of_its_operators(tree: Live, a: float, b: float, c: float) -> None:
    # The tree's value is of a = b = c = 0: its text there has to give the same, whatever was put in brackets.
    zero = eval(python_of(tree.text), {**FUNCTIONS, "a": 0.0, "b": 0.0, "c": 0.0})
    assert zero == pytest.approx(tree.value, rel=1e-9, abs=1e-9) or abs(zero) > 1e12


def test_numpys_functions_become_the_spreadsheets() -> None:
    x = Live("x", 2.5)
    assert np.ceil(x).text == "ROUNDUP(x,0)"
    assert np.minimum(x, 2.0).text == "MIN(x,2)" and np.minimum(x, 2.0).value == 2.0
    assert np.clip(x, 0.0, Live("y", 1.0)).text == "MAX(0,MIN(x,y))"
    assert np.where(x > 1, x, float("nan")).text == "IF(x>1,x,NA())"
    assert (np.float64(3.0) * x).text == "3*x"
    assert rounded_up(x * 2, 1e-9).value == 5


def test_names_are_never_taken_for_cells() -> None:
    assert safe_name("pue") == "pue_" and safe_name("api1_usd") == "api1_usd"
    assert safe_name("A1") == "A1_" and safe_name("=cmd|x") == "cmd_x" and safe_name("1st") == "v_1st"
    assert [column_letters(i) for i in (0, 25, 26, 701, 702)] == ["A", "Z", "AA", "ZZ", "AAA"]


def test_the_variants_rent_in_every_mode(decisions: dict[str, Decision]) -> None:
    modes = {name: made.path("rent").plan.mode for name, made in decisions.items() if made.path("rent")}
    assert modes["by the hour"] == modes["interruptible by the hour"] == "by-hour"
    assert modes["asleep"] == "scale-to-zero" and modes["window, a year"] == "active-window"
    assert "always-on" in modes.values()
    spot = decisions["interruptible by the hour"].path("rent")
    assert spot is not None and spot.rental is not None and spot.rental.contract.offer.is_interruptible


@pytest.mark.parametrize("name", VARIANTS)
def test_bills_as_formulas_are_the_programs_bills(name: str, decisions: dict[str, Decision]) -> None:
    made = decisions[name]
    assert made.paths
    for one in made.paths:
        assert one.bill.total.value == pytest.approx(one.cost.usd_per_month.value, abs=0.004), one.label
        for part in one.cost.parts:
            assert one.bill.lines[part.name].value == pytest.approx(part.usd_per_month.value, abs=0.004), part.name


@pytest.mark.parametrize("name", VARIANTS)
def test_the_file_comes_with_the_programs_values(
    name: str, decisions: dict[str, Decision], files: dict[str, Path]
) -> None:
    made, cells, names = decisions[name], recalculate.cells(files[name]), recalculate.named(files[name])
    for one in made.paths:
        assert cells[names[f"{one.key}_total_usd"]] == pytest.approx(one.cost.usd_per_month.value, abs=0.004)
        flow = program_cash(made, one)
        assert cells[names[f"{one.key}_cash"]] == pytest.approx(flow.total_usd, abs=0.004)
        assert cells[names[f"{one.key}_npv"]] == pytest.approx(flow.npv_usd, abs=0.004)
    comparison = made.recommendation.comparison
    assert comparison is not None
    if name == "growth, VAT":  # stairs are of the same candidates, row by row
        own = next(path for path in comparison.paths if path.path == "own")
        shown = [cells["comparison", f"B{row}"] for row in range(5, 5 + len(own.steps))]
        assert shown == pytest.approx([step.usd_per_month.value for step in own.steps], abs=0.004)


def test_every_assumption_says_what_it_is_and_drives_a_cell(
    decisions: dict[str, Decision], files: dict[str, Path]
) -> None:
    cells, formulas = recalculate.cells(files["usual"]), recalculate.formulas(files["usual"])
    rows = [int(place[1:]) for sheet, place in cells if sheet == "assumptions" and re.fullmatch(r"A\d+", place)]
    rows = [row for row in rows if ("assumptions", f"B{row}") in cells and row > 4]
    assert len(rows) == len(decisions["usual"].register.rows) > 50
    written = " ".join(formulas.values())
    for row in rows:
        name = cells["assumptions", f"A{row}"]
        assert isinstance(cells["assumptions", f"B{row}"], float)
        for column in "CFGH":
            assert cells.get(("assumptions", f"{column}{row}")), f"{name} has no {column}"
        assert re.search(rf"\b{name}\b", written), f"{name} drives nothing"


def test_figures_are_formulas_and_not_copies(files: dict[str, Path]) -> None:
    formulas = recalculate.formulas(files["usual"])
    for sheet, least_many in (("summary", 10), ("fleet", 15), ("owning", 10), ("renting", 5), ("API", 10),
                              ("comparison", 500), ("cash flow", 100), ("BOM", 15), ("power & rack", 8),
                              ("disqualifying", 1)):  # fmt: skip
        assert sum(place[0] == sheet for place in formulas) >= least_many, sheet


@NEEDS_OFFICE
def test_recalculated_without_its_values_the_workbook_gives_the_programs_figures_to_the_cent(
    files: dict[str, Path], tmp_path: Path
) -> None:
    names = list(files)
    for name, computed in zip(names, recalculate.recalculated([files[n] for n in names], tmp_path), strict=True):
        wrong = recalculate.differences(
            recalculate.cells(files[name]), computed, set(recalculate.formulas(files[name]))
        )
        assert not wrong, f"{name}: {wrong[:5]}"


@NEEDS_OFFICE
def test_a_changed_assumption_gives_what_the_program_gives_for_it(
    decisions: dict[str, Decision], files: dict[str, Path], tmp_path: Path
) -> None:
    changes = {"pue": 1.2, "people_fte_own": 0.5, "depreciation_years": 2.0, "usd_per_eur": 1.087,
               "egress_usd_per_gb": 0.1, "hardware_lead_months": 2.5, "residual_after_36_months": 0.4}  # fmt: skip
    other = papers.decision(papers.scenario(assumptions=changes, money={"vat_rate": 0.2}))
    names = recalculate.named(files["usual"])
    cells = {names[safe_name(key)]: value for key, value in changes.items() if safe_name(key) in names}
    changed = recalculate.changed(files["usual"], tmp_path / "changed.xlsx", cells | {names["vat_rate"]: 0.2})
    (found,) = recalculate.recalculated([changed], tmp_path)
    for before, one in zip(decisions["usual"].paths, other.paths, strict=True):
        assert before.label == one.label, "the change was meant to leave the choice as it is"
        assert found[names[f"{one.key}_total_usd"]] == pytest.approx(one.cost.usd_per_month.value, abs=0.005)
        assert found[names[f"{one.key}_npv"]] == pytest.approx(program_cash(other, one).npv_usd, abs=0.005)


@pytest.mark.parametrize("words", ["=cmd|'/c calc'!A1", "+1+1", "-1", "@SUM(A1)", "<script>alert(1)</script>", "\t=1"])
def test_words_that_begin_like_formulas_stay_words(words: str, decisions: dict[str, Decision], tmp_path: Path) -> None:
    usual = decisions["nothing fits"]
    asked = usual.scenario.model_copy(update={"name": words, "description": f"{words} {words}"})
    answer = replace(usual.recommendation, sentence=words, model=words, reading=words)
    made = replace(usual, scenario=asked, recommendation=answer, register=Register())
    made.__dict__["paths"] = tuple(replace(one, label=f"{words} {one.key}") for one in made.paths)
    path = papers.workbook(made, tmp_path / "hostile.xlsx")
    cells, formulas = recalculate.cells(path), recalculate.formulas(path)
    shown = {place for place, cell in cells.items() if isinstance(cell, str) and words.strip() in cell}
    assert {sheet for sheet, _ in shown} >= {"summary", "API", "cash flow"}, "the words are shown"
    looked_up = {place for place in shown & set(formulas) if formulas[place].startswith("INDEX(")}
    assert shown & set(formulas) == looked_up, "only a look-up of a label shows them"
    assert not any("cmd" in text or "script" in text for text in formulas.values())


def test_the_same_decision_makes_the_same_file(decisions: dict[str, Decision], tmp_path: Path) -> None:
    again = (replace(decisions["marginal"], register=Register()) for _ in range(2))
    first, second = (papers.workbook(made, tmp_path / f"{i}.xlsx") for i, made in enumerate(again))
    assert first.read_bytes() == second.read_bytes()
