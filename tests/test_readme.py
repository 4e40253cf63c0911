"""What the README shows runs and says what it says."""

from __future__ import annotations

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest

from llmsizer.cli import build_parser
from llmsizer.facts.scenario import parse_scenario

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_example_prints_what_its_comment_says() -> None:
    (code,) = blocks("python")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {})
    (said,) = re.findall(r"^# (.*)$", code, flags=re.MULTILINE)
    assert printed.getvalue().strip() == said


def test_the_scenario_example_is_a_scenario() -> None:
    (text,) = blocks("toml")
    assert parse_scenario(text, "README.md").name == "eu-chat"
    assert tomllib.loads(text)["workload"]["tokens_per_month"] == 100_000_000


def test_every_command_it_names_exists() -> None:
    choices = build_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert choices is not None
    named = set(
        re.findall(r"\bllmsizer ([a-z][a-z-]*)", "\n".join(re.findall(r"```\n(.*?)```", README, flags=re.DOTALL)))
    )
    assert named and named <= set(choices)


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!http)[^)]+)\)", README))
def test_every_picture_and_file_it_links_is_there(link: str) -> None:
    assert (ROOT / link).is_file()


def test_no_placeholder_is_left() -> None:
    assert "<!--" not in README
