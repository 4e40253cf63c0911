"""The dashboard driven through its real router, for the tests of each page.

A test file of a page begins with::

    pytest.importorskip("streamlit")
    from dashboard_pages import dashboards as dashboards, measured as measured, show, words_of
"""

from __future__ import annotations

import json
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import answers
import measured_by_hand

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from streamlit.testing.v1 import AppTest

from llmsizer.decide.answer import Recommendation
from llmsizer.facts.scenario import Scenario

DASHBOARDS = Path(__file__).parent.parent / "dashboards"
OWN_MODULES = {path.stem for path in DASHBOARDS.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
PAGES = ("decide", "precision", "memory", "load", "build_vs_buy", "profiles", "evidence")
HOSTILE = "<script>alert(1)</script> **b** $x$ :red[y] `z` [l](http://e.x)"


def usual(_: Scenario | None = None) -> Recommendation:
    return replace(answers.recommendation(), comparison=answers.comparison())


def small(tokens_per_month: float = 1e9, **constraints: object) -> Scenario:
    """A question that the catalogue answers in a moment: two cards, one precision."""
    few = {"gpus": ["l40s", "h100-sxm-80"], "precisions": ["fp8"], "max_gpus_per_replica": 2}
    return Scenario.model_validate(
        {
            "name": "test",
            "model": "llama-3.1-8b",
            "workload": {"preset": "chat", "tokens_per_month": tokens_per_month},
            "constraints": few | constraints,
        }
    )


MADE_BY_HAND: dict[str, Any] = {  # what would ask the catalogue
    "cached.answers.recommendation": usual,
    "cached.answers.first": lambda _: None,
    "cached.money.spreads": lambda _: (),
    "cached.money.places": lambda _: (),
}
REAL: dict[str, Any] = {}  # the same of the dashboard under test


def really_answer(monkeypatch: pytest.MonkeyPatch, scenario: Scenario) -> Recommendation:
    """The pages answer this scenario from the catalogue, whatever the side bar says; small ones take a moment."""
    for name, real in REAL.items():
        monkeypatch.setattr(name, real)
    monkeypatch.setattr("question.inputs.question", lambda: scenario)
    found = REAL["cached.answers.recommendation"](scenario)
    assert isinstance(found, Recommendation)
    return found


@pytest.fixture(autouse=True)
def dashboards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The dashboard's own modules can be imported, afresh; the folder of records is empty, the answer made by hand."""
    monkeypatch.syspath_prepend(str(DASHBOARDS))
    monkeypatch.setenv("LLMSIZER_OUTPUT", str(tmp_path))
    monkeypatch.delenv("LLMSIZER_LANGUAGE", raising=False)
    # Each run would read the description of every installed package, in search of components: most of a run's time.
    monkeypatch.setattr("streamlit.components.v2.manifest_scanner.scan_component_manifests", list)
    for name, stub in MADE_BY_HAND.items():
        REAL[name] = pkgutil.resolve_name(name)
        monkeypatch.setattr(name, stub)
    main = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = main  # Streamlit puts the script in its place, and worker processes would start that
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN_MODULES]:
        del sys.modules[name]


@pytest.fixture
def measured(tmp_path: Path) -> None:
    """Records as the demo leaves them."""
    folder = tmp_path / "run"
    folder.mkdir()
    write(folder / "profiles.jsonl", measured_by_hand.profiles())
    write(folder / "quality.jsonl", measured_by_hand.quality())


def write(path: Path, records: list[Any]) -> None:
    path.write_text("".join(record.model_dump_json() + "\n" for record in records), encoding="utf-8")


def show(page: str, **query: str) -> AppTest:
    """A page opened by its own address with these query parameters, through the router."""
    app = AppTest.from_file(str(DASHBOARDS / "app.py"), default_timeout=600)
    for key, value in query.items():
        app.query_params[key] = value
    if page != PAGES[0]:
        app.switch_page(f"views/{page}.py")
    return app.run()


def turn_to(app: AppTest, page: str) -> AppTest:
    return app.switch_page(f"views/{page}.py").run()


def words_of(app: AppTest) -> str:
    """Everything the page says, as Markdown shows it."""
    elements = [*app.title, *app.header, *app.subheader, *app.markdown, *app.caption, *app.info, *app.warning]
    tables = [str(cell) for table in app.table for row in table.value.to_dict("records") for cell in row.values()]
    return "\n".join([*(str(e.value) for e in elements), *tables]).replace("\\", "").replace("\u00a0", " ")


def figures_of(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")]
