"""Scenario files: what they mean, and that no file whatever gets past them as anything but one clear line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsizer.errors import LlmSizerError, ScenarioError
from llmsizer.facts.scenario import load_scenario, parse_scenario
from llmsizer.facts.workload import Workload
from llmsizer.units import SECONDS_PER_MONTH

GOOD = """
name = "chat in Europe"
model = "mistral-small-4"
horizon_months = 36
electricity_area = "DEU"
spare_replicas = 1

[workload]
preset = "chat"
tokens_per_month = 100_000_000

[slo]
ttft_p95_seconds = 2.0
tpot_p95_seconds = 0.05

[constraints]
eu_only = true
precisions = ["16bit", "fp8"]
"""
PRESET = Workload(
    name="chat", requests_per_second=3, prompt_tokens=1000, output_tokens=250, prompt_tokens_p95=2500, peak_to_average=3
)


def test_tokens_a_month_become_requests_a_second_by_hand() -> None:
    workload = parse_scenario(GOOD).workload.resolve(PRESET)
    # 100 M tokens / 1,250 tokens a request / 2,628,000 s a month
    assert workload.requests_per_second == pytest.approx(80_000 / SECONDS_PER_MONTH)
    assert workload.input_tokens_per_month + workload.output_tokens_per_month == pytest.approx(100e6)
    assert (workload.name, workload.peak_to_average) == ("chat", 3)


def test_a_preset_may_be_named_alone() -> None:
    scenario = parse_scenario('model = "m"\nworkload = "chat"')
    assert scenario.workload.preset == "chat"
    found = scenario.workload.resolve(PRESET)
    # Hours that nobody named are the usual ones, as steep as the preset says.
    assert (found.hours, len(found.hourly_weights)) == ("office-hours-europe", 168)
    assert found.model_copy(update={"hours": "", "hourly_weights": ()}) == PRESET


def test_a_new_mean_takes_the_tail_along() -> None:
    scenario = parse_scenario('model = "m"\n[workload]\npreset = "chat"\nprompt_tokens = 2000')
    assert scenario.workload.resolve(PRESET).prompt_tokens_p95 == 5000


def test_precision_names_are_made_one() -> None:
    assert parse_scenario(GOOD).constraints.precisions == ("bf16", "fp8")


def test_eu_only_means_the_eu_zone() -> None:
    assert parse_scenario(GOOD).constraints.allowed_zones == {"EU"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "model: missing; add model = "),
        ('model = "m"', "workload: missing"),
        ('model = 3\nworkload = "chat"', "model = 3: should be a valid string"),
        (
            'model = "m"\nworkload = "chat"\nhorizon_monts = 3',
            "horizon_monts: no such key; did you mean horizon_months",
        ),
        ('model = "m"\n[workload]\ntokens_per_month = -1', "workload.tokens_per_month = -1: should be greater than 0"),
        ('model = "m"\n[workload]\ntokens_per_month = nan', "finite number"),
        ('model = "m"\n[workload]\ntokens_per_month = inf', "finite number"),
        ('model = "m"\n[workload]\ntokens_per_month = true', "valid number"),
        ('model = "m"\n[workload]\ntokens_per_month = "5"', "valid number"),
        ('model = "m"\n[workload]\nprompt_tokens = 5', "no volume; give tokens_per_month"),
        ('model = "m"\n[workload]\ntokens_per_month = 1\nrequests_per_second = 1', "keep one of them"),
        ('model = "m"\nworkload = "c"\n[constraints]\nprecisions = ["fp9"]', "did you mean fp8"),
        ('model = "m"\nworkload = "c"\n[constraints]\nkv_format = "x"', "no KV-cache format"),
        ('model = "m"\nworkload = "c"\n[constraints]\neu_only = true\nzones = ["US"]', "add EU or drop zones"),
        ('model = "m"\nworkload = "c"\n[constraints]\nown = false\nrent = false\napi = false', "allow at least one"),
        ('model = "m"\nworkload = "c"\nhorizon_months = 1' + "0" * 5000, "not readable as TOML"),
        ("a = " + "[" * 5000, "not readable as TOML"),
        ("model = ", "not readable as TOML"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, says: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse_scenario(text, where="x.toml")
    message = str(caught.value)
    assert message.startswith("x.toml: ") and says in message and "\n" not in message and len(message) < 500


def test_tail_below_the_mean_names_the_workload() -> None:
    scenario = parse_scenario('model = "m"\n[workload]\ntokens_per_month = 1\nprompt_tokens = 9\nprompt_tokens_p95 = 3')
    with pytest.raises(ScenarioError, match="below the mean of 9"):
        scenario.workload.resolve(None)


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)))
    (tmp_path / "huge.toml").write_bytes(b"#" * 1_000_001)
    (tmp_path / "bom.toml").write_bytes(b"\xef\xbb\xbf" + GOOD.encode())
    for name, says in (
        ("binary.toml", "UTF-8"),
        ("huge.toml", "at most"),
        ("none.toml", "No such file"),
        ("", "irect"),
    ):
        with pytest.raises(ScenarioError, match=says):
            load_scenario(tmp_path / name)
    with pytest.raises(ScenarioError):
        load_scenario("nul\0byte.toml")
    assert load_scenario(tmp_path / "bom.toml").name == "chat in Europe"


def _mutant(random_: random.Random) -> bytes:
    """The good scenario with a few bytes, lines or values gone wrong."""
    values = [
        "nan",
        "-inf",
        "-1",
        "0",
        "1e400",
        "1" + "0" * 400,
        '""',
        "[]",
        "{}",
        "true",
        "1979-05-27",
        '"\\u0000"',
        "[[[]]]",
    ]
    lines = GOOD.splitlines()
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(lines))
        kind = random_.randrange(5)
        if kind == 0:
            lines.pop(at)
        elif kind == 1 and "=" in lines[at]:
            lines[at] = lines[at].split("=")[0] + "= " + random_.choice(values)
        elif kind == 2:
            lines.insert(at, f"key{random_.randrange(9)} = {random_.choice(values)}")
        elif kind == 3:
            lines[at] = lines[at][: random_.randrange(len(lines[at]) + 1)]
        else:
            lines.insert(at, random_.choice(["[workload]", "[[slo]]", "[constraints.deep.er]", "=", "\t\x0b"]))
    text = bytearray("\n".join(lines).encode())
    for _ in range(random_.choice([0, 0, 3])):
        text[random_.randrange(len(text))] = random_.randrange(256)
    return bytes(text)


def test_three_hundred_bad_scenarios_raise_nothing_but_our_own_error(tmp_path: Path) -> None:
    random_ = random.Random(7)
    refused = 0
    for number in range(300):
        file = tmp_path / f"{number}.toml"
        file.write_bytes(_mutant(random_))
        try:
            load_scenario(file).workload.resolve(PRESET)
        except LlmSizerError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 900
    assert refused > 150


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse_scenario(text)
    except ScenarioError as error:
        assert "\n" not in str(error)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5)
)
def test_any_value_for_a_key_is_read_or_refused(value: object) -> None:
    for key in (
        "model",
        "workload",
        "slo",
        "constraints",
        "horizon_months",
        "workload.tokens_per_month",
        "slo.ttft_p95_seconds",
    ):
        try:
            parse_scenario(f"{key} = {value!r}".replace("True", "true").replace("False", "false").replace("None", '""'))
        except ScenarioError as error:
            assert "\n" not in str(error)


def test_a_models_folder_is_found_beside_the_scenario(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    (deep / "ours").mkdir(parents=True)
    (deep / "ours" / "config.json").write_text("{}", encoding="utf-8")
    for written, found in (("ours", str(deep / "ours")), ("llama-3.1-8b", "llama-3.1-8b")):
        (deep / "s.toml").write_text(f'model = "{written}"\nworkload = "chat"\n', encoding="utf-8")
        assert load_scenario(deep / "s.toml").model == found
