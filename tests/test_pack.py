"""The decision pack: whole or not at all, one hash, words from outside harmless, and papers that say what is so."""

from __future__ import annotations

import csv
import datetime
import hashlib
import html
import io
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import papers
from llmsizer.deliver.formulas.live import live
from llmsizer.deliver.formulas.places import Register
from llmsizer.deliver.pack.memo import render_memo
from llmsizer.deliver.pack.writing import CONTENTS, MANIFEST, write_pack
from llmsizer.deliver.pages.report import render_report
from llmsizer.deliver.papers.bill_of_materials import BomLine, bill_of_materials, bom_csv, harmless
from llmsizer.deliver.papers.conditions import Condition, conditions, holding
from llmsizer.deliver.papers.decision import Decision
from llmsizer.deliver.papers.order_dates import order_dates
from llmsizer.deliver.papers.power_and_rack import power_sheet
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog, load_catalog
from llmsizer.facts.figure import exact
from llmsizer.facts.provenance import Estimate
from test_report import Page

HOSTILE = ["=cmd|'/c calc'!A1", "+1+1", "-2+3", "@SUM(A1)", "<script>alert(1)</script>\"'&", "\t=1", "${title}"]
OWN = {"own": True, "rent": False, "api": False}


@pytest.fixture(scope="module")
def usual() -> Decision:
    return papers.decision(papers.scenario())


@pytest.fixture(scope="module")
def growing() -> Decision:
    growth = {"preset": "chat", "tokens_per_month": 2e11, "growth": papers.GROWTH}
    return papers.decision(papers.scenario(workload=growth, constraints=OWN | {"gpus": ["h100-sxm-80"]}))


def found_of(made: Decision) -> tuple[Condition, ...]:
    return conditions(made, order_dates(made), power_sheet(made))


def memo(made: Decision) -> str:
    orders, power = order_dates(made), power_sheet(made)
    found = conditions(made, orders, power)
    return render_memo(made, orders=orders, found=found, power=power, written_on="2026-11-20")


def pack(made: Decision, out: Path) -> list[str]:
    written = write_pack(out, made.recommendation, made.scenario, default_catalog(), today=papers.TODAY)
    return list(written.files)


def test_a_pack_is_tied_together_by_one_hash(usual: Decision, tmp_path: Path) -> None:
    pytest.importorskip("xlsxwriter")
    files = pack(usual, tmp_path / "pack")
    assert set(files) == {*CONTENTS, MANIFEST} == {path.name for path in (tmp_path / "pack").iterdir()}
    manifest = json.loads((tmp_path / "pack" / MANIFEST).read_text())
    assert manifest["scenario_hash"] == usual.hash
    for entry in manifest["files"]:
        assert hashlib.sha256((tmp_path / "pack" / entry["name"]).read_bytes()).hexdigest() == entry["sha256"]
    for name in ("memo.html", "report.html"):
        assert usual.hash in (tmp_path / "pack" / name).read_text()
    assert json.loads((tmp_path / "pack" / "scenario.json").read_text()) == usual.scenario.model_dump(mode="json")
    answer = json.loads((tmp_path / "pack" / "answer.json").read_text())
    assert answer["sentence"] == usual.recommendation.sentence


def test_a_pack_that_fails_leaves_the_one_before(
    usual: Decision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(usual, tmp_path / "pack")
    before = {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()}

    def broken(*_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmsizer.deliver.pack.writing.render_memo", broken)
    with pytest.raises((InputError, OSError)):
        pack(usual, tmp_path / "pack")
    assert {path.name: path.read_bytes() for path in (tmp_path / "pack").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_an_earlier_pack_is_replaced_and_anything_else_is_left_alone(usual: Decision, tmp_path: Path) -> None:
    pack(usual, tmp_path / "pack")
    (tmp_path / "pack" / "memo.html").write_text("old")
    pack(usual, tmp_path / "pack")
    assert (tmp_path / "pack" / "memo.html").read_text() != "old"
    (tmp_path / "pack" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        pack(usual, tmp_path / "pack")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        pack(usual, tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert MANIFEST in pack(usual, tmp_path / "empty")


def test_what_a_killed_run_left_stands_in_no_ones_way_and_does_not_come_back(usual: Decision, tmp_path: Path) -> None:
    for earlier in ("pack", ".pack.new", ".pack.before"):
        pack(usual, tmp_path / earlier)
        (tmp_path / earlier / "memo.html").write_text("old")
    pack(usual, tmp_path / "pack")
    assert (tmp_path / "pack" / "memo.html").read_text() != "old"
    (tmp_path / "pack").rename(tmp_path / ".pack.new")  # killed between the two moves of a folder
    (tmp_path / ".pack.new" / "memo.html").write_text("old")
    pack(usual, tmp_path / "pack")
    assert (tmp_path / "pack" / "memo.html").read_text() != "old"
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]


def test_without_the_extra_the_pack_says_what_it_lacks(
    usual: Decision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    written = write_pack(tmp_path / "p", usual.recommendation, usual.scenario, default_catalog(), today=papers.TODAY)
    assert "workbook.xlsx" not in written.files and "llmsizer[report]" in written.left_out
    assert json.loads((tmp_path / "p" / MANIFEST).read_text())["left_out"] == written.left_out


@pytest.mark.parametrize("words", HOSTILE)
def test_words_from_outside_are_harmless_in_every_paper(words: str, usual: Decision) -> None:
    asked = usual.scenario.model_copy(update={"name": words, "description": words})
    answer = replace(usual.recommendation, scenario=words, model=words, reading=words, sentence=f"{words} says so.")
    made = replace(usual, scenario=asked, recommendation=answer, register=Register())
    made.__dict__["paths"] = tuple(replace(one, label=words) for one in made.paths)
    shown = memo(made), render_report(recommendation=answer, scenario=asked)
    for text in shown:
        page = Page(text)
        assert not page.faults
        assert "script" not in {tag for tag, _ in page.tags}
        assert html.escape(words.strip(), quote=True) in text
    lines = (BomLine(path=words, item=words, quantity=live(1), unit=words, billed_by=words, each=live(2.0),
                     price=replace(exact(2.0, "USD", "price list", words), as_of=words), note=words),)  # fmt: skip
    row = next(iter(list(csv.reader(io.StringIO(bom_csv(lines))))[1:]))
    assert not any(cell.lstrip()[:1] in ("=", "+", "-", "@", "\t") for cell in row), row


def test_a_hostile_provider_of_the_users_own_reaches_no_formula(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(
        '[[offers]]\nid = "x"\nprovider = "=cmd|calc<script>"\nzone = "EU"\ngpu = "l40s"\ngpu_as_listed = "@L40S"\n'
        'term = "on-demand"\nusd_per_gpu_hour = 0.01\nregion = "+evil"\ninstance = "-1"\n'
    )
    catalog = load_catalog(overrides=own)
    made = papers.decision(papers.scenario(constraints={"gpus": ["l40s"], "own": False, "api": False}), catalog)
    assert "=cmd|calc<script>" in made.paths[0].label
    for text in (memo(made), render_report(recommendation=made.recommendation)):
        assert "<script>" not in text and "&lt;script&gt;" in text
    cells = [cell for row in csv.reader(io.StringIO(bom_csv(bill_of_materials(made)))) for cell in row]
    assert not any(cell[:1] in ("=", "+", "@") for cell in cells)


@pytest.mark.parametrize("words", ["=1", " =1", "+1", "-1", "@a", "|x", "%x", "\r=1"])
def test_csv_words_that_begin_like_a_formula_get_an_apostrophe(words: str) -> None:
    assert harmless(words).startswith("'")
    assert harmless("plain = words") == "plain = words"


def test_the_memo_says_cost_flips_and_what_would_void_it(usual: Decision) -> None:
    text = Page(memo(usual)).text
    for words in ("What would change the answer", "What would make it void", "Order by", usual.hash, "USD a month"):
        assert words in text
    best = usual.cheapest
    assert best is not None and f"{best.cost.usd_per_month.value:,.0f}" in text


def test_the_memo_prints_on_one_page(growing: Decision, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed to print with")
    long = growing.scenario.model_copy(update={"name": "n" * 200, "description": "words and more words " * 95})
    page, printed = tmp_path / "memo.html", tmp_path / "memo.pdf"
    page.write_text(memo(replace(growing, scenario=long, register=Register())), encoding="utf-8")
    subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         f"--user-data-dir={tmp_path / 'profile'}", "--no-pdf-header-footer", f"--print-to-pdf={printed}",
         page.as_uri()],
        check=True, capture_output=True, timeout=900,
    )  # fmt: skip
    content = printed.read_bytes()
    assert content.count(b"/Type /Page\n") + content.count(b"/Type /Page ") == 1
    assert b"/MediaBox [0 0 594" in content or b"/MediaBox [0 0 595" in content


def test_the_fleet_is_full_on_the_day_that_growth_by_hand_says(growing: Decision) -> None:
    own = growing.path("own")
    assert own is not None and own.sized is not None and own.plan is not None
    orders = order_dates(growing)
    workload = growing.found.question.workload
    holds = own.plan.replicas * own.sized.held.rate
    # Demand doubles each year from 1 June 2027.
    years = math.log2(holds / workload.peak_requests_per_second)
    assert orders.exhausted_on == datetime.date(2027, 6, 1) + datetime.timedelta(days=years * 365.25)
    assert orders.exhausted_on >= datetime.date(2029, 6, 1), "it is sized for the end of the growth"
    assert orders.order_by is not None
    assert (orders.exhausted_on - orders.order_by).days == int(3 * 30.4375), "the lead time is three months"
    assert [step.replicas for step in orders.steps] == sorted({step.replicas for step in orders.steps})
    assert orders.steps[-1].replicas == own.plan.replicas + own.plan.spare_replicas
    for step in orders.steps[1:]:
        at = (step.needed_on - datetime.date(2027, 6, 1)).days / 365.25
        demand = workload.peak_requests_per_second * 2**at
        assert demand <= (step.replicas - 1) * own.sized.held.rate, "spare aside, so many hold the demand"


def test_without_growth_there_is_no_order_by_day_and_a_reason(usual: Decision) -> None:
    orders = order_dates(usual)
    assert orders.order_by is None and orders.reason and "No growth is given" in orders.text
    rented = papers.decision(papers.scenario(constraints={"own": False, "gpus": ["l40s"]}))
    assert "nothing is bought" in order_dates(rented).reason
    assert power_sheet(rented) is None


def test_power_by_hand(growing: Decision) -> None:
    power, own = power_sheet(growing), growing.path("own")
    assert power is not None and own is not None and own.plan is not None
    # 8 × H100 SXM of 700 W and 2.3 kW of the rest; 7.5 % for switches; PUE 1.54.
    assert power.value("server_kw") == pytest.approx(7.9)
    assert power.value("reserved_kw") == pytest.approx(own.plan.units * 7.9 * 1.075)
    assert power.value("servers_by_rack") == 1, "15 kW a rack by 7.9 kW; 40 U by 8 U would be 5"
    assert power.value("racks") == own.plan.units
    assert power.value("facility_kw") == pytest.approx(power.value("mean_kw") * 1.54)
    assert power.value("kwh_month") == pytest.approx(power.value("facility_kw") * 730)
    bill = next(part for part in own.cost.parts if part.name == "electricity").usd_per_month.value
    price = growing.found.book.usd_per_kwh.value
    assert bill == pytest.approx(power.value("kwh_month") * price)


def test_every_line_of_the_bill_of_materials_says_how_sure_it_is(usual: Decision) -> None:
    lines = bill_of_materials(usual)
    assert {line.path for line in lines} == {"own", "rent", "api"}
    assert {line.status for line in lines} >= {"estimate", "unknown"}
    for line in lines:
        assert (line.usd is None) == (line.status == "unknown"), line.item
        assert line.status != "unknown" or line.note, "an unknown line says whom to ask"
    listed = exact(100.0, "USD", "price list", "a list", "2026-11-01")
    sure = BomLine(path="own", item="x", quantity=live(2), unit="", billed_by="", each=live(100.0), price=listed)
    assert sure.status == "confirmed" and sure.usd is not None and sure.usd.value == 200
    assert replace(sure, price=replace(listed, stale=True)).status == "estimate"
    ranged = replace(listed, estimate=Estimate(value=100.0, low=90.0, high=120.0, basis="price list"))
    assert replace(sure, price=ranged).status == "estimate"
    assert replace(sure, each=live(float("nan"))).status == "unknown"


def test_the_servers_line_is_the_price_of_the_servers(growing: Decision) -> None:
    own = growing.path("own")
    assert own is not None and own.plan is not None
    server = next(line for line in bill_of_materials(growing) if line.item == "server")
    # Four prices of 8 × H100 servers in the catalogue: 250, 300, 350 and 400 thousand dollars, their median 325.
    assert server.usd is not None and server.usd.value == pytest.approx(own.plan.units * 325_000)


def test_a_leased_server_is_billed_by_the_month_at_the_bills_own_lease() -> None:
    leased = papers.decision(papers.scenario(money={"acquisition": "lease"}))
    own = leased.path("own")
    assert own is not None
    lines = [line for line in bill_of_materials(leased) if line.path == "own"]
    server = next(line for line in lines if line.item.startswith("server"))
    assert server.billed_by == "server and month" and server.usd is not None
    assert server.usd.value == pytest.approx(own.cost.part("lease").value)
    assert not any(line.item.startswith(("network", "spare parts")) for line in lines)


def test_what_rules_machines_out_is_named_a_budget_or_that_none_were_asked_for() -> None:
    only_api = papers.decision(papers.scenario(constraints={"own": False, "rent": False}))
    assert not any("achine" in condition.text for condition in found_of(only_api))
    poor = papers.decision(papers.scenario(constraints={"max_usd_per_month": 1.0}))
    assert any(c.text.startswith("Every machine that meets the rest costs more") for c in found_of(poor))


def test_a_cheaper_api_of_the_same_model_disqualifies_machines(usual: Decision) -> None:
    held = holding(found_of(usual))
    assert any("should stay on the API" in condition.consequence for condition in held)
    below = next(c for c in held if c.text.startswith("The load stays below"))
    assert below.test is not None and below.test.value


def test_a_memo_that_takes_the_api_is_not_voided_by_the_api_being_cheaper(usual: Decision) -> None:
    assert usual.taken == "api"
    text = Page(memo(usual)).text
    assert "should stay on the API" not in text and "The cheapest machines instead" in text
    eu = papers.decision(papers.scenario(constraints={"eu_only": True, "rent": False}))
    assert eu.taken == "own"
    assert "should stay on the API, if the provider confirms" in Page(memo(eu)).text


def test_what_nobody_measured_is_an_open_condition_and_not_a_false_one(usual: Decision) -> None:
    eu = papers.decision(papers.scenario(constraints={"eu_only": True}))
    states = {c.text: c.state for c in found_of(eu)}
    assert states["The API processes data outside where it may be"] == "unknown"
    quality = next(state for text, state in states.items() if "quality on your task" in text)
    assert quality == "unknown"


def test_nothing_feasible_is_a_condition_that_holds() -> None:
    nothing = papers.decision(papers.scenario(slo={"tpot_p95_seconds": 1e-6}, constraints={"api": False}))
    assert holding(found_of(nothing))[0].text == "No machine meets what was asked"
    assert "can be priced" in memo(nothing) or "None meets what was asked" in memo(nothing)
