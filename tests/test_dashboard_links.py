"""Links and scenario files: every input survives the way there and back, prices stay home, mistakes are sentences."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from dashboard_pages import show, small, turn_to, usual, words_of
from llmsizer.decide.answer import Recommendation
from llmsizer.errors import LlmSizerError
from llmsizer.facts.scenario import Scenario, parse_scenario

PRICED = """
name = "own prices"
model = "mistral-small-4"
horizon_months = 18
[workload]
users = { count = 5000, requests_per_user_per_day = 12 }
prompt_tokens = 900
output_tokens = 120
hours = "office-hours-europe"
[workload.growth]
start = "2027-01-01"
until = "2028-12-31"
per_month = 0.03
[slo]
ttft_p95_seconds = 1.25
quality_floor = 0.975
[constraints]
zones = ["DE", "FR"]
max_usd_per_month = 9000
[fleet]
headroom = 0.2
[assumptions]
people_fte_own = 0.4
"""
LENGTHS_IN_A_FILE = b"""
model = "mistral-small-4"
[workload]
preset = "chat"
prompt = { kind = "empirical", file = "/etc/passwd" }
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Scenario]:
    """Every scenario that a page asks, in order."""
    seen: list[Scenario] = []

    def remember(scenario: Scenario) -> Recommendation:
        seen.append(scenario)
        return usual()

    monkeypatch.setattr("cached.answers.recommendation", remember)
    return seen


def test_a_link_brings_its_question_along(asked: list[Scenario]) -> None:
    app = show("decide", volume="50", place="eu_law", horizon="60", quality="99", speed="own", ttft="1.5", tpot="40")
    assert not app.exception
    last = asked[-1]
    assert last.workload.tokens_per_month == 50e6
    assert last.constraints.eu_only
    assert (last.horizon_months, last.slo.quality_floor) == (60, 0.99)
    assert (last.slo.ttft_p95_seconds, last.slo.tpot_p95_seconds) == (1.5, 0.04)


def test_the_address_of_a_changed_question_asks_it_again(asked: list[Scenario]) -> None:
    app = show("decide")
    app.number_input(key="volume").set_value(750.0).run()
    app.toggle(key="lengths").set_value(True).run()
    app.number_input(key="prompt_tokens").set_value(7_000).run()
    app.multiselect(key="paths").set_value(["api", "own"]).run()
    changed = asked[-1]
    link = {key: str(value) for key, value in app.query_params.items()}
    assert link["prompt_tokens"] == "7000"
    show("decide", **link)
    assert asked[-1] == changed


def test_a_budget_never_reaches_the_address(asked: list[Scenario]) -> None:
    app = show("decide")
    app.number_input(key="budget").set_value(4321.0).run()
    assert asked[-1].constraints.max_usd_per_month == 4321.0
    assert "4321" not in str(dict(app.query_params))
    assert "budget" not in app.query_params
    show("decide", budget="77")
    assert asked[-1].constraints.max_usd_per_month is None


@pytest.mark.parametrize(
    ("key", "value"),
    [("volume", "lots"), ("volume", "nan"), ("model", "<script>"), ("horizon", "9e9"), ("lengths", "?")],
)
def test_a_link_that_cannot_be_meant_says_so_and_the_usual_stands(asked: list[Scenario], key: str, value: str) -> None:
    app = show("decide", **{key: value})
    assert not app.exception
    from question import inputs

    assert asked[-1] == inputs.usual_scenario()
    assert len(app.warning) == 1
    assert "the usual stands" in str(app.warning[0].value)


def test_a_link_works_on_a_page_of_its_own_and_on_the_way_back(asked: list[Scenario]) -> None:
    app = show("build_vs_buy", volume="50")
    assert asked[-1].workload.tokens_per_month == 50e6
    turn_to(app, "evidence")
    turn_to(app, "decide")
    assert app.number_input(key="volume").value == 50.0
    assert asked[-1].workload.tokens_per_month == 50e6


def test_an_uploaded_scenario_loses_nothing_until_a_field_is_changed() -> None:
    from question import scenarios

    scenario = parse_scenario(PRICED)
    values = scenarios.values_of(scenario)
    base = scenario.model_dump(mode="json", exclude_unset=True)
    assert Scenario.model_validate(scenarios.scenario(values, base, values)) == scenario
    changed = Scenario.model_validate(scenarios.scenario(values | {"volume": 10.0, "horizon": 24}, base, values))
    assert changed.workload.tokens_per_month == 10e6
    assert changed.workload.users is None
    assert changed.workload.growth == scenario.workload.growth
    assert changed.fleet == scenario.fleet
    assert changed.constraints.zones == ("DE", "FR")
    assert changed.horizon_months == 24


def test_a_scenario_is_uploaded_asked_and_forgotten_again(asked: list[Scenario]) -> None:
    app = show("decide")
    app.file_uploader[0].upload("mine.toml", PRICED.encode(), "text/plain")
    app.run()
    assert not app.exception
    assert asked[-1] == parse_scenario(PRICED)
    assert "own prices" in words_of(app)
    assert "assumptions" in words_of(app)
    next(b for b in app.button if "Start over" in b.label).click().run()
    from question import inputs

    assert asked[-1] == inputs.usual_scenario()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\xff\xfe", "not a text file"),
        (b"model = ", "not readable as TOML"),
        (b'{"model": ', "not readable as JSON"),
        (b'model = "mistral-small-4"\nvolume = 3\nworkload = "chat"', "volume"),
        (b'model = "/etc/hostname"\nworkload = "chat"', "not in the catalogue"),
        (LENGTHS_IN_A_FILE, "file on your machine"),
    ],
)
def test_a_scenario_that_cannot_be_read_is_a_sentence(asked: list[Scenario], text: bytes, says: str) -> None:
    app = show("decide")
    app.file_uploader[0].upload("mine.toml", text, "text/plain")
    app.run()
    assert not app.exception
    assert says in str(app.warning[0].value).replace("\\", "")
    from question import inputs

    assert asked[-1] == inputs.usual_scenario()


def test_a_downloaded_scenario_is_the_same_when_it_comes_back() -> None:
    from question import inputs

    scenario = parse_scenario(PRICED)
    assert inputs.read_scenario(scenario.model_dump_json().encode(), "mine.json") == scenario
    with pytest.raises(LlmSizerError, match="at most"):
        inputs.read_scenario(b" " * 2_000_000, "large.json")


@pytest.mark.usefixtures("measured")
def test_the_pack_and_the_workbook_are_made_of_the_same_answer(tmp_path: Path) -> None:
    import io
    import zipfile

    from parts import exports

    files = exports._pack(small())
    with zipfile.ZipFile(io.BytesIO(exports._zipped(files))) as archive:
        names = {Path(name).name for name in archive.namelist()}
        answer = json.loads(archive.read("llmsizer-pack/answer.json"))
    assert {"memo.html", "report.html", "workbook.xlsx", "scenario.json", "answer.json", "manifest.json"} <= names
    assert answer["plans"]


choice = st.sampled_from


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_values_come_back_from_their_link(data: st.DataObject) -> None:
    from question import fields

    values: fields.Values = {}
    for field in fields.FIELDS:
        if not field.in_link:
            continue
        if isinstance(field.usual, bool):
            values[field.key] = data.draw(st.booleans())
        elif isinstance(field.usual, list):
            values[field.key] = data.draw(st.lists(choice(list(fields.choices(field.key))), unique=True))
        elif isinstance(field.usual, str):
            values[field.key] = data.draw(choice(list(fields.choices(field.key))))
        elif isinstance(field.usual, int):
            values[field.key] = data.draw(st.integers(int(field.least), int(field.most)))
        else:
            values[field.key] = round(data.draw(st.floats(max(field.least, 0.001), min(field.most, 1e6))), 3)
    values["speed"] = fields.OWN_SPEED
    found, wrong = fields.from_link(fields.to_link(values))
    assert not wrong
    assert fields.usual() | found == fields.usual() | values
