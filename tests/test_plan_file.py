"""An answer that was written down is read back, asked again, and says where today differs."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pytest

from llmsizer.decide.plan_file import ask_again, choose_plan, load_plan_file, parse_plan_file
from llmsizer.decide.recommend import recommend
from llmsizer.errors import InputError, UnknownNameError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import Scenario, parse_scenario

TODAY = datetime.date(2026, 9, 1)
TEXT = """
name = "small"
model = "llama-3.1-8b"
[workload]
preset = "chat"
tokens_per_month = 200_000_000
[constraints]
gpus = ["l40s", "h100-sxm-80"]
"""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    catalog = default_catalog()
    scenario = parse_scenario(TEXT)
    answer = recommend(load_model(scenario.model, catalog), scenario, catalog, today=TODAY)
    return json.loads(json.dumps(answer.to_dict()))


def test_a_written_answer_gives_the_same_plan_when_it_is_asked_again(document: dict[str, Any]) -> None:
    written = parse_plan_file(json.dumps(document))
    chosen = ask_again(written, default_catalog())
    assert chosen.plan.to_dict() == document["plans"][0]
    assert chosen.differences == ()
    assert written.asked == parse_scenario(TEXT)


def test_a_plan_is_named_by_number_by_label_and_by_the_beginning_of_one(document: dict[str, Any]) -> None:
    written = parse_plan_file(json.dumps(document))
    label = document["plans"][-1]["label"]
    by_label = ask_again(written, default_catalog(), wanted=label)
    assert by_label.plan.label == label
    assert choose_plan(by_label.recommendation, str(len(document["plans"]))).label == label
    assert choose_plan(by_label.recommendation, label[:-1]).label == label


def test_another_figure_today_is_said_in_one_line(document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    changed["plans"][0]["cost"]["usd_per_month"]["value"] = 12.5
    (line,) = ask_again(parse_plan_file(json.dumps(changed)), default_catalog()).differences
    assert line.startswith("USD a month: 12.5 in the file, ")
    assert "\n" not in line


def test_a_plan_whose_replicas_changed_is_still_found(document: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(document))
    changed["plans"][0] |= {"label": "rent at Nobody: 99 × int4", "replicas": 98}
    chosen = ask_again(parse_plan_file(json.dumps(changed)), default_catalog())
    assert chosen.plan.label == document["plans"][0]["label"]
    assert any(line.startswith("replicas: 98 in the file") for line in chosen.differences)


def test_an_api_has_nothing_to_start(document: dict[str, Any]) -> None:
    written = parse_plan_file(json.dumps(document))
    with pytest.raises(InputError, match="nothing to start"):
        ask_again(written, default_catalog(), wanted=document["apis"][0]["offer"])
    with pytest.raises(InputError, match="nothing to start"):
        ask_again(parse_plan_file(json.dumps(document | {"plans": []})), default_catalog())


@pytest.mark.parametrize("wanted", ["0", "9999", "no such plan", "rent"])
def test_a_plan_that_is_not_there_is_one_line(document: dict[str, Any], wanted: str) -> None:
    with pytest.raises((InputError, UnknownNameError)) as caught:
        ask_again(parse_plan_file(json.dumps(document)), default_catalog(), wanted=wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "no answer of llmsizer plan"),
        ('{"plans": []}', "make it anew"),
        ('{"plans": [], "asked": {"model": 5}, "schema_version": 1}', "asked.model"),
        ('{"plans": [], "asked": {"model": "x"}, "schema_version": 2}', "schema_version"),
    ],
)
def test_a_file_that_is_no_answer_is_one_line_that_says_what_would_work(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_plan_file(text, where="PLAN.json")
    assert "\n" not in str(caught.value)
    assert "PLAN.json" in str(caught.value)


def test_a_missing_file_and_a_binary_one_are_one_line(tmp_path: Path) -> None:
    binary = tmp_path / "plan.json"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "none.json", binary, tmp_path, "a\0b"):
        with pytest.raises(InputError, match="llmsizer plan"):
            load_plan_file(path)


def test_every_shipped_scenario_survives_being_written_down() -> None:
    for file in sorted((default_catalog().root / "scenarios").glob("*.toml")):
        scenario = parse_scenario(file.read_text())
        again = Scenario.model_validate_json(json.dumps(scenario.model_dump(mode="json")), strict=True)
        assert again == scenario, file.name
