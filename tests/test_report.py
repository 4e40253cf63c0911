"""The report: charts that say what they draw, one page that is whole and answers first."""

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
from llmsizer.deliver.charts.charts import cost_chart, draw_measure, memory_chart, stairs_chart
from llmsizer.deliver.elements import svg
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.confidence import best_by_path
from llmsizer.deliver.pages.report import render_report, scenario_hash, write_report
from llmsizer.deliver.pages.sections import measures
from llmsizer.deliver.tables.bills import costs_table
from llmsizer.deliver.tables.residuals import CalibrationSummary, Check
from llmsizer.deliver.tables.variants import groups
from llmsizer.errors import InputError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.figure import unknown
from llmsizer.facts.scenario import Scenario, load_scenario
from llmsizer.money.cost import USD_PER_MONTH

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
        cost_chart(costs, costs_table(costs)).draw(width),
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
    style = (resources.files("llmsizer.deliver.pages") / "report.css").read_text()
    block = re.findall(r":root \{([^}]*)\}", style)[theme]
    colours = {**dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)), "white": "#ffffff"}
    page = colours.get("page", "#ffffff")
    for name in ("ink", "muted", "own", "rent", "api", "accent", "good"):
        assert contrast(colours[name], page) >= 4.5, name
        assert contrast(colours[name], colours["surface"]) >= 4.5 or name in ("own", "rent", "api"), name
    for number in range(1, 11):
        assert contrast(colours[f"part-{number}"], colours["on-part"]) >= 4.5, number
        assert contrast(colours[f"part-{number}"], page) >= 3, number
