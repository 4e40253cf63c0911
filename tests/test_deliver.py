"""What people read: figures in words, tables that add up, charts that say what they draw, one report that is whole."""

from __future__ import annotations

import datetime
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

import answers
import hostile_answers
import measured_by_hand
from llmsizer.decide.recommend import recommend
from llmsizer.deliver import answer_tables, svg, wording
from llmsizer.deliver.basis import MARKS
from llmsizer.deliver.charts.charts import cost_chart, draw_measure, memory_chart, stairs_chart
from llmsizer.deliver.confidence import best_by_path, confidence
from llmsizer.deliver.qualities import quality_groups, quality_measures, quality_table
from llmsizer.deliver.report import render_report, scenario_hash, write_report
from llmsizer.deliver.residuals import CalibrationSummary, Check, bands_table, residuals_table
from llmsizer.deliver.sections import measures
from llmsizer.deliver.variants import groups, speed_sentences, variants_table
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart
from llmsizer.physics.intervals import Band

HOSTILE = "<script>alert('x')</script>\"'&\x00<img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "link", "hr", "input"}
CALIBRATION = CalibrationSummary(
    text="fitted on 3 profiles",
    checks=(Check(what="fp16", quantity="TPOT", measured=0.010, predicted=0.011, unit="s", held_out=True),),
)


class Page(HTMLParser):
    """Checks that tags nest, and collects what tests ask about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{tag}> is never closed" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> closes something else")

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def full_report() -> str:
    return render_report(
        recommendation=answers.recommendation(),
        comparison=answers.comparison(),
        profiles=measured_by_hand.profiles(),
        quality=measured_by_hand.quality(),
        calibration=CALIBRATION,
        written_on="2026-07-15",
    )


def usd_in(text: str) -> float:
    found = re.search(r"\$([\d,.]+)", text)
    assert found, text
    return float(found.group(1).replace(",", ""))


@pytest.mark.parametrize(
    ("figure", "words"),
    [
        (exact(12_340.4, USD_PER_MONTH, "price list", "s"), "$12,340 / month ▲ price list"),
        (exact(0.084, "s", "measured", "s"), "84 ms ● measured"),
        (exact(44.5e9, "bytes", "published", "s"), "44.5 GB □ published"),
        (exact(0.972, "fraction", "assumed", "s"), "97.2 % ○ assumed"),
        (exact(4.55e-6, "nats", "measured", "s"), "4.55 × 10⁻⁶ nats ● measured"),
        (exact(24.8e9, "tokens/month", "calibrated", "s"), "24.8 billion tokens / month ◆ calibrated"),
        (answers.usd(1000.0, "assumed", 0.2), "$1,000 / month ($800 to $1,200) ○ assumed"),
        (answers.usd(100.0, "price list", 0, stale=True), "$100 / month ▲ price list, stale price"),
        (unknown("nobody says", "USD"), "unknown (nobody says) ? unknown"),
    ],
)
def test_a_figure_in_words_has_its_unit_its_range_and_its_basis(figure: Figure, words: str) -> None:
    assert wording.figure_text(figure) == words


def test_an_unknown_number_is_never_shown_as_nought() -> None:
    assert wording.amount(None, "USD/month") == "unknown"
    assert wording.amount(float("nan"), "s") == "unknown"
    assert wording.size(None) == wording.tokens(None) == "unknown"


def test_parts_rounded_for_display_sum_to_their_rounded_total() -> None:
    # 0.4 + 0.4 + 0.4 = 1.2: rounded apart they would make 0, together they must show 1.
    assert sum(wording.shown_parts([0.4, 0.4, 0.4], 0)) == 1
    assert wording.shown_parts([1.005, 2.005], 2) == [1.01, 2.0]
    assert sum(wording.shown_parts([-3.3, 10.6], 0)) == 7


@pytest.mark.parametrize("scale", [0.0007, 0.01, 0.333, 1.0, 1.7, 1234.567])
def test_the_parts_of_a_bill_sum_as_displayed_to_its_total(scale: float) -> None:
    cost = answers.own_cost(scale)
    rows = answer_tables.costs_table([("own", cost)]).rows
    total = answer_tables.costs_table([("own", cost)]).total_row
    assert total is not None
    shown = [usd_in(row[1].text) for row in rows[:total]]
    assert sum(shown) == pytest.approx(usd_in(rows[total][1].text), abs=1e-9)
    assert usd_in(rows[total][1].text) == pytest.approx(cost.usd_per_month.value, abs=0.51)


def test_two_lines_of_one_name_are_one_row() -> None:
    base = answers.own_cost()
    doubled = replace(base, parts=(*base.parts, CostPart(name="energy", usd_per_month=answers.usd(100.0))))
    table = answer_tables.costs_table([("own", doubled)])
    energy = [row for row in table.rows if row[0].text == "energy"]
    assert len(energy) == 1
    assert energy[0][1].remark == "2 lines"
    assert usd_in(energy[0][1].text) == pytest.approx(318.55, abs=1)


def test_a_bill_with_an_unknown_part_says_at_least() -> None:
    table = answer_tables.costs_table([("API", answers.unpriced_cost())])
    assert table.total_row is not None
    total = table.rows[table.total_row][1]
    assert total.text == "at least $900.00"
    assert total.basis == "unknown"
    assert "no output price was published" in total.remark


def test_the_paths_are_ranked_by_cost_and_another_model_is_no_substitute() -> None:
    assert [(o.path, round(o.usd_per_month.value or 0)) for o in best_by_path(answers.recommendation())] == [
        ("rent", 5615),
        ("own", 7168),
        ("api", 7726),
    ]


@pytest.mark.parametrize(("own", "word"), [(7_000.0, "close call"), (9_000.0, "leaning"), (20_000.0, "clear")])
def test_confidence_is_clear_only_where_ranges_do_not_overlap(own: float, word: str) -> None:
    # renting costs 6,500 (5,200 to 7,800); owning spreads by 30 % around what is given
    def plan(value: float, spread: float, base: Cost) -> Cost:
        return replace(base, parts=(CostPart(name="all", usd_per_month=answers.usd(value, spread=spread)),))

    base = answers.recommendation()
    plans = (
        replace(base.plans[0], cost=plan(6_500, 0.2, answers.rent_cost())),
        replace(base.plans[1], cost=plan(own, 0.3, answers.own_cost())),
    )
    assert confidence(replace(base, plans=plans, apis=())).word == word


def test_without_a_plan_there_is_no_confidence() -> None:
    assert confidence(answers.nothing_fits()).clearness == "none"


def test_rejections_are_grouped_by_reason_with_the_largest_group_first() -> None:
    groups_found = answer_tables.rejection_groups(answers.recommendation())
    assert [(group.words, group.count) for group in groups_found] == [
        ("Too slow for what was asked", 2),
        ("Does not fit in memory", 1),
        ("Loses more quality than allowed", 1),
        ("No price known", 1),
    ]


def test_candidates_out_for_the_very_same_reason_share_a_row() -> None:
    base = answers.recommendation()
    first = base.rejections[0]
    twin = replace(first, candidate="mistral-small-4-22b bf16 on 1× NVIDIA L40")
    (group,) = answer_tables.rejection_groups(replace(base, rejections=(first, twin)))
    assert group.count == 2
    assert [row[0].text for row in group.table.rows] == ["bf16 on 1× NVIDIA L40S, bf16 on 1× NVIDIA L40"]


def test_variants_stand_widest_first_with_their_measured_numbers() -> None:
    (group,) = groups(measured_by_hand.profiles())
    assert [p.batch for p in group.points] == [1, 8]
    table = variants_table(group, group.points[0])
    assert [row[0].text for row in table.rows] == ["fp16", "int8", "int4"]
    assert table.rows[1][1].plain == "48.1 MB ● measured"
    assert [r.failure for r in group.failures] == ["out of memory"]


def test_a_smaller_format_that_is_not_faster_gets_its_reason() -> None:
    (group,) = groups(measured_by_hand.profiles())
    faster, slower = speed_sentences(group, group.points[0])
    assert faster.startswith("INT8 against FP16: decodes 1.40 times as fast")
    # 29.3 MB at 21 GB/s are 1.4 ms of 6.2 ms
    assert "INT4 against INT8: 1.07 times as slow" in slower
    assert "1.4 ms of a step's 6.2 ms (23%)" in slower


def test_without_a_measured_bandwidth_no_reason_is_made_up() -> None:
    records = [
        r.model_copy(update={"device": measured_by_hand.DEVICE.model_copy(update={"read_bytes_per_second": None})})
        for r in measured_by_hand.profiles()
    ]
    (group,) = groups(records)
    assert "cannot be said" in speed_sentences(group, group.points[0])[1]


def test_throughput_over_load_compares_like_with_like() -> None:
    # the point of another length at one request has no place on the line
    other = measured_by_hand.profile("fp16", 1).model_copy(update={"prompt_tokens": 32})
    (group,) = groups([other, *measured_by_hand.profiles()])
    assert {(r.batch, r.prompt_tokens) for r in group.over_load} == {(1, 256), (8, 256)}
    assert groups([other])[0].over_load == ()


def test_predictions_stand_beside_what_was_measured() -> None:
    checks = (
        Check(what="fp16", quantity="TTFT", measured=1.0, predicted=1.1, unit="s", held_out=True),
        Check(what="fp16", quantity="TPOT", measured=0.010, predicted=0.009, unit="s", held_out=True),
        Check(what="int8", quantity="TTFT", measured=1.0, predicted=1.0, unit="s", held_out=True),
    )
    table = residuals_table(checks)
    assert table.headers[1:] == ("TTFT measured", "TTFT predicted", "TPOT measured", "TPOT predicted")
    assert [cell.plain for cell in table.rows[0][1:3]] == ["1 s ● measured", "1.1 s ◆ calibrated · +10.0%"]
    assert table.rows[1][3].text == "–"
    assert CalibrationSummary(text="", checks=checks).median_error == pytest.approx(0.1)


def test_what_was_not_measured_is_unknown_with_its_reason() -> None:
    update = {"ttft_seconds": None, "unknown": {"ttft_seconds": "the engine does not stream"}}
    (group,) = groups([measured_by_hand.profile("fp16", 1).model_copy(update=update)])
    row = variants_table(group, group.points[0]).rows[0]
    assert row[3].plain == "? unknown · the engine does not stream"
    assert row[5].plain == "? unknown · not measured"


def test_what_a_format_loses_stands_against_its_reference() -> None:
    (group,) = quality_groups([*measured_by_hand.quality(), measured_by_hand.quality()[1]])
    table = quality_table(group)
    assert [row[0].text for row in table.rows] == ["fp16", "int8", "int4"]
    assert [cell.text for cell in table.rows[0][3:]] == ["reference"] * 3
    assert table.rows[2][2].plain == "33.90 ± 0.62 ● measured"
    assert table.rows[2][3].plain == "× 1.0790 (× 1.0768 to × 1.0812) ● measured"
    assert table.rows[2][5].plain == "87.8% (86.6% to 89.0%) ● measured"
    assert table.rows[1][1].plain == "48.1 MB ● measured · 8.20 bits each"
    divergence, differs = quality_measures(group.records)
    assert [name for name, *_ in divergence.values] == ["int8", "int4"]
    assert differs.values[1][1] == pytest.approx(0.122)  # 1 − 0.878


def test_without_agreement_perplexity_is_drawn_with_its_interval() -> None:
    records = [r.model_copy(update={"top1_agreement": None}) for r in measured_by_hand.quality()]
    _, perplexity = quality_measures(records)
    # 31.42 ± 1.645 × 0.62
    assert perplexity.values[0] == ("fp16", 31.42, pytest.approx(30.40, abs=0.01), pytest.approx(32.44, abs=0.01))


def test_medians_apart_with_intervals_that_overlap_are_called_scattered() -> None:
    wide = {"tpot_seconds_low": 0.001, "tpot_seconds_high": 0.02}
    records = [r.model_copy(update=wide) for r in measured_by_hand.profiles()]
    (group,) = groups(records)
    assert "1.40 times as fast by the medians, but the repeats scatter" in speed_sentences(group, group.points[0])[0]


def test_ticks_are_round_numbers_within_the_scale() -> None:
    assert svg.linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert svg.Scale(low=50, high=2e4, start=0, end=1, logarithmic=True).ticks == [100, 1_000, 10_000]
    assert svg.linear_ticks(3, 3) == [3]


def test_stairs_are_level_until_the_next_step() -> None:
    assert svg.stepped([(0, 1), (1, 1), (2, 3)]) == [(0, 1), (1, 1), (1, 1), (2, 1), (2, 3)]


def test_labels_are_pushed_apart_and_stay_inside() -> None:
    assert svg.spread([10.0, 11.0, 12.0], 5, 0, 18) == [8.0, 13.0, 18.0]


@pytest.mark.parametrize("width", [350.0, 960.0])
def test_every_chart_draws_within_its_box(width: float) -> None:
    recommendation = answers.recommendation()
    costs = [(o.label, o.cost) for o in best_by_path(recommendation)]
    (group,) = groups(measured_by_hand.profiles())
    drawings = [
        memory_chart(recommendation.plans[:3]).draw(width),
        cost_chart(costs, answer_tables.costs_table(costs)).draw(width),
        stairs_chart(answers.comparison(), 13.1e9).draw(width),
        *(draw_measure(m, width) for m in measures(group, group.points[0])),
    ]
    for drawing in drawings:
        page = Page(drawing)
        assert not page.faults
        for name, attributes in page.tags:
            if name == "rect":
                right = float(attributes["x"] or 0) + float(attributes["width"] or 0)
                assert 0 <= float(attributes["x"] or 0) <= right <= width + 1
        assert page.tags[0][1]["role"] == "img"
        assert page.tags[0][1]["aria-label"]


def test_an_unknown_cost_is_a_gap_in_its_line_and_not_a_fall_to_nought() -> None:
    base = answers.comparison()
    steps = list(base.paths[0].steps)
    steps[20] = replace(steps[20], usd_per_month=unknown("no price", USD_PER_MONTH))
    holed = replace(base, paths=(replace(base.paths[0], steps=tuple(steps)),))
    assert stairs_chart(holed).draw(960).count('class="line line-own"') == 2


def test_a_chart_of_nothing_is_still_a_chart() -> None:
    empty = replace(answers.comparison(), paths=(), crossovers=(), tokens_per_month=())
    assert "<svg" in stairs_chart(empty, 1e9).draw(960)
    assert "<svg" in memory_chart(()).draw(350)


def test_the_report_is_well_formed_and_loads_nothing() -> None:
    text = full_report()
    page = Page(text)
    assert not page.faults
    for name, attributes in page.tags:
        assert name not in {"script", "link", "iframe", "object", "embed", "img", "form"}
        assert not {"src", "href", "srcset", "action", "data"} & attributes.keys()
        assert not any(key.startswith("on") for key in attributes)
    assert "@import" not in text
    assert "url(" not in re.sub(r"clip-path=\"url\(#clip\d+\)\"", "", text)


def test_the_report_answers_first() -> None:
    text = Page(full_report()).text
    order = (
        answers.recommendation().sentence,
        "$5,615 / month",
        "Confidence: leaning",
        "What would change this answer",
        "the press's 22B" if "the press's 22B" in text else "The press's 22B",
        "The best plans side by side",
        "Build or buy",
        "not reached",
        "What it costs, part by part",
        "Where the memory goes",
        "Measured: the same model in several formats",
        "How good the predictions are",
        "Near misses",
        "All 5 rejections, by reason",
        "Assumptions",
        "What this leaves out",
        "Definitions",
    )
    positions = [text.find(words) for words in order]
    assert -1 not in positions, dict(zip(order, positions, strict=True))
    assert positions == sorted(positions)


def test_every_number_in_the_report_carries_its_basis_as_shape_and_word() -> None:
    text = full_report()
    bases = re.findall(r'class="fig[^"]*" data-basis="([^"]+)"', text)
    assert len(bases) > 100
    marks = re.findall(r'<span class="shape">(.)</span> ([a-z ]+)</span>', text)
    assert len(marks) == len(bases)
    assert all(MARKS[word] == shape for shape, word in marks)  # type: ignore[index]
    cells = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", text)
    money = [cell for cell in cells if "$" in cell and 'class="fig"' not in cell]
    assert not [c for c in money if not re.search(r"[a-z]{3}|×", c)]  # words and arithmetic apart


def test_no_name_from_outside_becomes_markup() -> None:
    text = render_report(
        recommendation=hostile_answers.hostile(HOSTILE),
        comparison=hostile_answers.hostile_comparison(HOSTILE),
        profiles=hostile_answers.hostile_profiles(HOSTILE),
        quality=hostile_answers.hostile_quality(HOSTILE),
        calibration=CalibrationSummary(
            text=HOSTILE, checks=(Check(what=HOSTILE, quantity=HOSTILE, measured=1, predicted=1, unit=HOSTILE),)
        ),
        scenario=Scenario.model_validate({"name": "n", "model": HOSTILE[:100], "workload": {"preset": HOSTILE[:100]}}),
        written_on=HOSTILE,
    )
    page = Page(text)
    assert not page.faults
    assert not {"script", "img"} & {name for name, _ in page.tags}
    assert "$style" not in text
    assert "\x00" not in text


def test_a_dollar_name_is_not_taken_for_a_place_in_the_template() -> None:
    text = render_report(recommendation=hostile_answers.hostile("$body ${style} $$"))
    assert "$body ${style} $$" in Page(text).text


def test_where_nothing_fits_the_report_says_so_and_why() -> None:
    text = Page(render_report(recommendation=answers.nothing_fits())).text
    assert "Nothing in the catalogue meets this" in text
    assert "Confidence: no answer" in text
    assert "What would bring it in" in text or "what would bring them in" in text


def test_the_report_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_report(tmp_path / "new", recommendation=answers.recommendation())
    before = path.read_text()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        write_report(tmp_path / "new", recommendation=answers.nothing_fits())
    assert path.read_text() == before
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_report(tmp_path / "file", recommendation=answers.recommendation())


def test_a_band_of_log_seconds_is_shown_as_shares() -> None:
    # exp(-0.5) - 1 = -39 %, exp(0.5) - 1 = +65 %
    table = bands_table({"load-tpot|seen": Band(-0.5, 0.5, 968)})
    assert [row[0].text for row in table.rows] == ["TPOT under load"]
    assert table.rows[0][1].plain == "-39% to +65% ◆ calibrated · 968 measurements"
    assert table.rows[0][2].basis == "unknown"


def test_the_scenario_hash_changes_with_any_input() -> None:
    first = Scenario.model_validate({"model": "a", "workload": {"preset": "chat"}})
    assert scenario_hash(first) == scenario_hash(first.model_copy())
    assert scenario_hash(first) != scenario_hash(first.model_copy(update={"horizon_months": 12}))
    assert len(scenario_hash(first)) == 12


def test_a_real_answer_makes_a_whole_report() -> None:
    catalog = default_catalog()
    scenario = load_scenario(catalog.root / "scenarios" / "eu-chat.toml")
    found = recommend(catalog.model(scenario.model), scenario, catalog, today=datetime.date(2026, 11, 21))
    text = render_report(recommendation=found, comparison=found.comparison, scenario=scenario)
    page = Page(text)
    assert not page.faults
    assert found.reading.split()[0].strip('"') in page.text
    assert f"All {len(found.rejections)} rejections, by reason" in page.text
    assert "nan" not in page.text.lower().split()
    assert scenario_hash(scenario) in page.text
    assert "The question" in page.text
    assert "slo: ttft p95 seconds 2 " in page.text


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", (0, 1), ids=("light", "dark"))
def test_text_has_a_contrast_of_four_and_a_half_and_marks_of_three(theme: int) -> None:
    style = (resources.files("llmsizer.deliver") / "report.css").read_text()
    block = re.findall(r":root \{([^}]*)\}", style)[theme]
    colours = {**dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)), "white": "#ffffff"}
    page = colours.get("page", "#ffffff")
    for name in ("ink", "muted", "own", "rent", "api", "accent", "good"):
        assert contrast(colours[name], page) >= 4.5, name
        assert contrast(colours[name], colours["surface"]) >= 4.5 or name in ("own", "rent", "api"), name
    for number in range(1, 11):
        assert contrast(colours[f"part-{number}"], colours["on-part"]) >= 4.5, number
        assert contrast(colours[f"part-{number}"], page) >= 3, number
