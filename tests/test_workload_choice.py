"""What a scenario says of its workload: hours, people, growth, lengths, prefixes and turns; and what it cannot say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import LlmSizerError, ScenarioError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.scenario import load_scenario, parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.facts.workload.hours import load_shape, peak_to_average, shape_names, week_of, with_peak
from llmsizer.traffic.demand.requests import joined
from llmsizer.traffic.demand.stream import stream_of

ASSUMED = {"requests_per_user_per_day": 4.0, "peak_hour_user_share": 0.2, "requests_per_active_user_hour": 9.0}


def resolved(text: str) -> Workload:
    """The workload of a scenario without a preset."""
    return parse_scenario('model = "m"\n[workload]\n' + text).workload.resolve(None, assumed=ASSUMED)


def test_users_by_the_day_by_hand() -> None:
    # 7,200 people × 6 requests ÷ 86,400 s = 0.5 requests/s on average
    assert resolved("[workload.users]\ncount = 7200\nrequests_per_user_per_day = 6").requests_per_second == 0.5
    assumed = resolved("users = {count = 7200}")
    assert assumed.requests_per_second == pytest.approx(7200 * 4 / 86400)
    assert "assumed: requests_per_user_per_day" in assumed.volume_note


def test_users_by_the_peak_hour_by_hand() -> None:
    # 1,800 people, a fifth of them with 10 requests in the peak hour: 1 request/s then, a quarter of it on average.
    found = resolved(
        "peak_to_average = 4\n[workload.users]\ncount = 1800\npeak_hour_share = 0.2\nrequests_per_active_hour = 10"
    )
    assert found.peak_requests_per_second == pytest.approx(1.0) and found.requests_per_second == pytest.approx(0.25)
    half = resolved("peak_to_average = 4\nusers = {count = 1800, peak_hour_share = 0.2}")
    assert half.peak_requests_per_second == pytest.approx(0.9) and "assumed: requests_per" in half.volume_note


def test_a_week_of_one_busy_hour() -> None:
    weights = [0] * 167 + [5]
    found = resolved(f"requests_per_second = 2\nhours = {weights}")
    assert found.peak_to_average == pytest.approx(168) and found.peak_requests_per_second == pytest.approx(336)


def test_a_day_repeats_through_the_week() -> None:
    day = [0.0] * 12 + [1.0] * 12
    assert resolved(f"requests_per_second = 2\nhours = {day}").hourly_weights == tuple(day) * 7


def test_named_shapes_are_weeks_with_a_source() -> None:
    for name in shape_names():
        shape = load_shape(name)
        assert len(shape.weights) == 168 and shape.description and shape.provenance.source
        assert 1 <= peak_to_average(shape.weights) < 10
    assert set(shape_names()) == {"office-hours-europe", "round-the-clock", "evening-consumer"}


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=168, max_size=168).filter(any), st.floats(1, 167))
def test_a_shape_takes_the_peak_asked_for_or_says_that_it_cannot(hours: list[int], peak: float) -> None:
    weights = week_of([float(hour) for hour in hours])
    try:
        found = with_peak(weights, peak)
    except ValueError as error:
        assert "give 168 weights" in str(error) and peak * hours.count(max(hours)) > 168 * (1 - 1e-6)
        return
    assert peak_to_average(found) == pytest.approx(peak, rel=1e-6)
    assert math.fsum(found) == pytest.approx(168)
    order = np.argsort(weights, kind="stable")
    assert np.all(np.diff(np.array(found)[order]) >= -1e-9)


def test_presets_say_when_they_come() -> None:
    catalog = default_catalog()
    for name in catalog.workload_names:
        preset = catalog.workload(name)
        assert len(preset.hourly_weights) == 168 and preset.hours in shape_names()
        assert peak_to_average(preset.hourly_weights) == pytest.approx(preset.peak_to_average)
    assert catalog.workload("chat").turns > 1 and catalog.workload("agent").reasoning_tokens > 0
    assert catalog.workload("rag").cached_prompt_fraction == pytest.approx(0.2)  # 1,000 of 4,000 tokens, 80 % of them


def test_a_lognormal_by_median_and_tail_by_hand() -> None:
    # sigma = ln(3)/1.645 = 0.668; mean = 100·exp(0.223) = 125
    found = resolved('requests_per_second = 1\nprompt = {kind = "lognormal", p50 = 100, p95 = 300}')
    assert (found.prompt_tokens, found.prompt_tokens_p95) == (125, 300)
    # cv = 1: sigma² = ln 2; median = 1000/√2 = 707; p95 = 707·exp(1.645·0.8326) = 2781
    found = resolved('requests_per_second = 1\nprompt = {kind = "lognormal", mean = 1000, cv = 1.0}')
    assert (found.prompt_tokens, found.prompt_tokens_p95) == (1000, 2781)


def test_lengths_from_a_file_beside_the_scenario_are_drawn_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "lengths.csv").write_text("id,tokens\na,10\nb,10\nc,1000\n")
    (tmp_path / "s.toml").write_text(
        'model = "m"\n[workload]\nrequests_per_second = 5\n'
        'prompt = {kind = "empirical", file = "lengths.csv", column = "tokens"}\n'
        'output = {kind = "fixed", tokens = 7}\n'
    )
    found = load_scenario(tmp_path / "s.toml").workload.resolve(None)
    assert (found.prompt_tokens, found.prompt_tokens_p95, found.output_tokens) == (340, 1000, 7)
    requests = joined(list(stream_of(found).stretches(1000, 1)))
    assert set(requests.prompt_tokens.tolist()) == {10, 1000} and set(requests.output_tokens.tolist()) == {7}
    assert requests.prompt_tokens.mean() == pytest.approx(340, rel=0.05)


def test_a_shared_prefix_is_cached_as_often_as_it_hits() -> None:
    found = resolved(
        "requests_per_second = 5\nprompt_tokens = 1000\noutput_tokens = 9\n"
        "shared_prefix_tokens = 600\nprefix_hit_rate = 0.5"
    )
    assert found.cached_prompt_fraction == pytest.approx(0.3)
    requests = joined(list(stream_of(found).stretches(4000, 1)))
    assert set(requests.prompt_tokens.tolist()) == {1000}
    assert requests.cached_tokens.sum() / requests.prompt_tokens.sum() == pytest.approx(0.3, rel=0.03)


def test_turns_resend_what_was_said_and_the_means_are_those_written_down() -> None:
    # T = 4, prefix 100, answers 50: 1,000 = 100 + 4·new + 3·50, so each turn adds 187.5 tokens.
    found = resolved(
        "requests_per_second = 20\nprompt_tokens = 1000\noutput_tokens = 50\nreasoning_tokens = 30\n"
        "shared_prefix_tokens = 100\nturns = 4\nthink_seconds = 20"
    )
    assert found.new_prompt_tokens == 187.5
    assert found.cached_prompt_fraction == pytest.approx((100 * 3 / 4 + 3 * 237.5) / 1000)
    requests = joined(list(stream_of(found, context_tokens=100_000).stretches(4000, 2)))
    assert len(requests) == pytest.approx(80_000, rel=0.02)
    assert requests.prompt_tokens.mean() == pytest.approx(1000, rel=0.03)
    assert requests.cached_tokens.sum() / requests.prompt_tokens.sum() == pytest.approx(
        found.cached_prompt_fraction, rel=0.03
    )
    # Reasoning is generated and not sent again.
    assert set(requests.output_tokens.tolist()) == {80}


def test_a_steady_demand_of_conversations_is_full_from_the_start() -> None:
    found = resolved(
        "requests_per_second = 20\nprompt_tokens = 1000\noutput_tokens = 50\nturns = 5\nthink_seconds = 60"
    )
    requests = joined(list(stream_of(found, context_tokens=100_000).stretches(600, 2)))
    early = int((requests.arrival_seconds < 60).sum())
    assert early == pytest.approx(1200, rel=0.2) and len(requests) == pytest.approx(12_000, rel=0.1)
    assert requests.arrival_seconds.min() >= 0 and np.all(np.diff(requests.arrival_seconds) >= 0)


def test_reasoning_is_generated_counted_and_reserved_for() -> None:
    found = resolved(
        "tokens_per_month = 1_000_000\nprompt_tokens = 500\noutput_tokens = 200\nreasoning_tokens = 300\n"
        "output_tokens_p95 = 400\nreasoning_tokens_p95 = 900"
    )
    assert (found.generated_tokens, found.generated_tokens_p95, found.context_tokens) == (500, 1300, 1800)
    assert found.input_tokens_per_month + found.output_tokens_per_month == pytest.approx(1e6)
    assert found.reasoning_tokens_per_month == pytest.approx(300_000)


def test_the_hours_of_the_week_get_their_requests() -> None:
    weights = [float(1 + hour % 7) for hour in range(168)]
    found = resolved(f"requests_per_second = 0.5\nhours = {weights}\ngap_cv = 1.5")
    requests = joined(list(stream_of(found, by_hour=True).stretches(168 * 3600, 4)))
    counts = np.bincount((requests.arrival_seconds // 3600).astype(int), minlength=168)
    assert counts.sum() == pytest.approx(0.5 * 168 * 3600, rel=0.02)
    for kind in range(7):
        assert counts[np.arange(168) % 7 == kind].sum() == pytest.approx(0.5 * 168 * 3600 * (1 + kind) / 28, rel=0.05)


def test_another_prompt_takes_the_presets_prefix_and_turns_along_as_far_as_it_holds() -> None:
    chat = default_catalog().workload("chat")
    text = 'model = "m"\n[workload]\npreset = "chat"\nprompt_tokens = {}'
    short = parse_scenario(text.format(100)).workload.resolve(chat)
    assert short.prompt_tokens == 100 and short.shared_prefix_tokens == round(200 * 100 / 1200) and short.turns < 2
    long = parse_scenario(text.format(5000)).workload.resolve(chat)
    assert (long.shared_prefix_tokens, long.turns) == (200, 2.0)


RATE = 'model = "m"\n[workload]\nrequests_per_second = 1\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"hours = {[1.0] * 167}", "167 hourly weights; give 24"),
        (f"hours = {[0.0] * 168}", "every hourly weight is 0"),
        (f"hours = {[1.0] * 167 + [-1.0]}", "the weight of hour 167 is -1.0"),
        ("hours = [nan]", "1 hourly weights"),
        (f"hours = [nan, {str([1.0] * 23)[1:]}", "the weight of hour 0 is nan"),
        ("hours = [1, true]", "give the name of a shape"),
        ("hours = 7", "give the name of a shape"),
        ('hours = "office-hours"', "did you mean office-hours-europe"),
        (f"hours = {[1.0] * 24}\npeak_to_average = 2", "keep one of them"),
        ('hours = "evening-consumer"\npeak_to_average = 100', "give 168 weights of your own"),
        ("gap_cv = -1", "greater than or equal to 0"),
        ("gap_cv = nan", "finite number"),
        ('prompt = {kind = "lognormal", mean = 100}', "it takes mean with p95"),
        ('prompt = {kind = "lognormal", mean = 100, p95 = 400}', "give 1 to 3.87 times"),
        ('prompt = {kind = "lognormal", p50 = 100, p95 = 50}', "lies above its median"),
        ('prompt = {kind = "lognormal", p50 = 10, p95 = 1000}', "cannot be planned with"),
        ('prompt = {kind = "normal", mean = 100}', "prompt.kind"),
        ('prompt = {kind = "fixed", tokens = 0}', "greater than or equal to 1"),
        ('prompt = {kind = "fixed", tokens = nan}', "finite number"),
        ('prompt = {kind = "fixed", tokens = 5}\nprompt_tokens = 5', "say the same thing twice"),
        ('prompt = {kind = "empirical", file = "/nowhere.txt"}', "No such file"),
        ('reasoning = {kind = "empirical", file = "x"}', "give it fixed or lognormal"),
        ("shared_prefix_tokens = 5000", "cannot hold the shared prefix"),
        ("turns = 100", "cannot hold"),
        ("turns = 0.5", "greater than or equal to 1"),
        ("think_seconds = 0", "greater than 0"),
        ("prefix_hit_rate = 1.5", "less than or equal to 1"),
        ("users = {count = 5}", "keep one of them"),
        ("[workload.growth]\nper_year = 0.5", "start: missing"),
        ("[workload.growth]\nper_year = 0.5\nstart = 2027-01-01\nuntil = 2026-01-01", "give a later day"),
        ("[workload.growth]\nstart = 2026-01-01\nuntil = 2027-01-01", "per_year or per_month"),
        ('[workload.growth]\nper_year = 1\nstart = "soon"\nuntil = 2027-01-01', "write for example 2027-12-31"),
        ("[workload.growth]\nper_year = -1\nstart = 2026-01-01\nuntil = 2027-01-01", "greater than -1"),
        ("[workload.growth]\nper_yaer = 1\nstart = 2026-01-01\nuntil = 2027-01-01", "did you mean per_year"),
        ("[fleet]\nheadroom = -0.1", "greater than or equal to 0"),
        ("[fleet]\nactive_from_hour = 8", "both of them"),
        ("[fleet]\nactive_from_hour = 20\nactive_to_hour = 8", "give a later hour"),
        ('[fleet]\nactive_days = ["monday"]', "active_days"),
        ("[fleet]\nidle_minutes = inf", "finite number"),
    ],
)
def test_what_cannot_be_meant_is_one_line(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(RATE + text, where="x.toml").workload.resolve(None)
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "give 1 to 100,000"),
        ("1\n2\nx\n", "length 3 of lengths.txt is 'x'"),
        ("1\n2.5\n", "length 2 of lengths.txt is '2.5'"),
        ("1\n-4\n", "length 2"),
        ("nan\n", "length 1"),
    ],
)
def test_a_file_that_holds_no_lengths_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "lengths.txt").write_text(text)
    (tmp_path / "s.toml").write_text(RATE + 'output = {kind = "empirical", file = "lengths.txt"}\n')
    with pytest.raises(ScenarioError, match=says) as caught:
        load_scenario(tmp_path / "s.toml").workload.resolve(None)
    assert "\n" not in str(caught.value)


def test_the_window_is_counted_from_monday_midnight() -> None:
    scenario = parse_scenario(RATE + '[fleet]\nactive_days = ["mon", "sun"]\nactive_from_hour = 7\nactive_to_hour = 9')
    assert scenario.fleet.window_hours == {7, 8, 151, 152}
    assert parse_scenario(RATE).fleet.window_hours is None
    assert parse_scenario(RATE + '[fleet]\nactive_days = ["tue"]').fleet.window_hours == set(range(24, 48))


values = st.sampled_from(
    ["nan", "-1", "0", "1e400", '""', "[]", "{}", "true", "1979-05-27", "[[1]]", "0.5", "3", '"x"']
)
keys = st.sampled_from(
    ["hours", "gap_cv", "users", "prompt", "output", "reasoning", "growth", "turns", "think_seconds", "users.count",
     "growth.start", "growth.until", "prompt.kind", "prompt.file", "shared_prefix_tokens", "prefix_hit_rate"]
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(keys, values), min_size=1, max_size=3))
def test_any_value_of_any_key_is_read_or_refused_in_one_line(pairs: list[tuple[str, str]]) -> None:
    try:
        parse_scenario(RATE + "\n".join(f"{key} = {value}" for key, value in pairs)).workload.resolve(None)
    except LlmSizerError as error:
        assert "\n" not in str(error)
