"""What people read: figures in words, and tables that add up."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import answers
import measured_by_hand
from llmsizer.deliver.elements import tables, wording
from llmsizer.deliver.elements.confidence import best_by_path, confidence
from llmsizer.deliver.tables.bills import costs_table
from llmsizer.deliver.tables.rejections import rejection_groups
from llmsizer.deliver.tables.residuals import CalibrationSummary, Check, bands_table, residuals_table
from llmsizer.deliver.tables.variants import groups, speed_sentences, variants_table
from llmsizer.deliver.views.qualities import quality_groups, quality_measures, quality_table
from llmsizer.facts.figure import Figure, exact, unknown
from llmsizer.money.cost import USD_PER_MONTH, Cost, CostPart
from llmsizer.physics.calibration.intervals import Band


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
        (answers.usd(100.0, "price list", 0, stale=True), "$100 / month ▲ price list · stale: 2026-06-01"),
        (unknown("nobody says", "USD"), "? unknown · nobody says"),
    ],
)
def test_a_figure_in_words_has_its_unit_its_range_and_its_basis(figure: Figure, words: str) -> None:
    assert tables.figure(figure).plain == words


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
    rows = costs_table([("own", cost)]).rows
    total = costs_table([("own", cost)]).total_row
    assert total is not None
    shown = [usd_in(row[1].text) for row in rows[:total]]
    assert sum(shown) == pytest.approx(usd_in(rows[total][1].text), abs=1e-9)
    assert usd_in(rows[total][1].text) == pytest.approx(cost.usd_per_month.value, abs=0.51)


def test_two_lines_of_one_name_are_one_row() -> None:
    base = answers.own_cost()
    doubled = replace(base, parts=(*base.parts, CostPart(name="energy", usd_per_month=answers.usd(100.0))))
    table = costs_table([("own", doubled)])
    energy = [row for row in table.rows if row[0].text == "energy"]
    assert len(energy) == 1
    assert energy[0][1].remark == "2 lines"
    assert usd_in(energy[0][1].text) == pytest.approx(318.55, abs=1)


def test_a_bill_with_an_unknown_part_says_at_least() -> None:
    table = costs_table([("API", answers.unpriced_cost())])
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
    groups_found = rejection_groups(answers.recommendation())
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
    (group,) = rejection_groups(replace(base, rejections=(first, twin)))
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


def test_a_band_of_log_seconds_is_shown_as_shares() -> None:
    # exp(-0.5) - 1 = -39 %, exp(0.5) - 1 = +65 %
    table = bands_table({"load-tpot|seen": Band(-0.5, 0.5, 968)})
    assert [row[0].text for row in table.rows] == ["TPOT under load"]
    assert table.rows[0][1].plain == "-39% to +65% ◆ calibrated · 968 measurements"
    assert table.rows[0][2].basis == "unknown"
