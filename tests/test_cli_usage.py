"""The command line's manners: help, examples, slips of the finger, pipes, narrow and plain terminals."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmsizer.cli import build_parser, main
from llmsizer.cli.arguments import OneLineParser, all_parsers
from llmsizer.cli.examples import EXAMPLES, GROUPS
from llmsizer.cli.output import print_table

Capture = pytest.CaptureFixture[str]


def parsers() -> Iterator[tuple[str, OneLineParser]]:
    for parser in all_parsers(build_parser()):
        yield parser.prog.partition(" ")[2], parser


def said(capsys: Capture, line: str) -> tuple[int, str]:
    """Exit code and the one line on stderr of a call that goes wrong."""
    try:
        code = main(shlex.split(line))
    except SystemExit as stop:
        code = int(stop.code or 0)
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return code, err


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("catlog list", "no command 'catlog'; did you mean catalog?"),
        ("plna eu-chat", "did you mean plan?"),
        ("catalog lst", "llmsizer catalog: no verb 'lst'; did you mean list?"),
        ("records imprt x", "did you mean import?"),
        ("plan eu-chat --recrds x", "llmsizer plan: no option --recrds; did you mean --records?"),
        ("records list --presicion int8", "llmsizer records list: no option --presicion; did you mean --precision?"),
        ("bundle eu-chat --targt=k8s", "no option --targt; did you mean --target?"),
        ("fine-tune m --method qlra", "did you mean qlora or lora?"),
        ("verify x --url y --api chta", "did you mean chat?"),
        ("quality gat records.jsonl", "did you mean gate?"),
        ("verify plan.json records.jsonl", "'records.jsonl' is one word too many"),
        ("--json plan eu-chat", "options go behind it, as in: llmsizer plan eu-chat --json"),
        ("catalog --json list", "options go behind it, as in: llmsizer catalog list models --json"),
        ("plan", "scenario is missing; as in: llmsizer plan eu-chat"),
        ("memory llama-3.1-8b", "--gpu is missing; as in: llmsizer memory"),
        ("plan eu-chat --zzzz", "no option --zzzz; see 'llmsizer plan --help'"),
    ],
)
def test_a_slip_of_the_finger_is_answered_with_what_was_meant(capsys: Capture, line: str, meant: str) -> None:
    code, err = said(capsys, line)
    assert code == 2 and meant in err


def test_every_example_in_help_is_a_call_that_the_parser_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("variants/int4", "models/reference"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("config.json", "held-out.jsonl", "rows.csv", "measured.csv"):
        (tmp_path / name).touch()
    parser = build_parser()
    for path, lines in EXAMPLES.items():
        for line in lines:
            words = shlex.split(line.partition(" > ")[0])
            assert words[0] == "llmsizer" and parser.parse_args(words[1:]).run, line
            assert line.startswith(f"llmsizer {path}") or path == "verify", (path, line)


def test_every_command_stands_in_the_help_with_a_line_and_has_an_example() -> None:
    commands = build_parser()._commands()
    assert sorted(name for names in GROUPS.values() for name in names) == sorted(commands)
    shown = build_parser().format_help()
    assert all(f"  {name} " in shown for name in commands)
    paths = {path for path, parser in parsers() if path and not parser._commands()}
    parts = {path for path in paths if path.startswith("quality ")}  # below the command's own examples
    assert paths - set(EXAMPLES) <= parts


def test_every_option_says_what_it_is_and_help_begins_with_what_the_command_does() -> None:
    silent = [
        f"{path} {action.option_strings[-1]}"
        for path, parser in parsers()
        for action in parser._actions
        if action.option_strings and not action.help
    ]
    assert silent == []
    assert [path for path, parser in parsers() if not parser.description] == []


@pytest.mark.parametrize("call", ["catalog list offers", "catalog list offers --json", "schema scenario", "--help"])
def test_a_reader_that_goes_away_is_no_mistake(call: str) -> None:
    command = shlex.join([sys.executable, "-m", "llmsizer", *shlex.split(call)])
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{command} | true"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_of_ascii_alone_loses_signs_and_not_the_answer() -> None:
    command = [sys.executable, "-m", "llmsizer", "memory", "mistral-small-4", "--gpu", "h100", "--weights", "int4"]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=plain)
    assert "? fits: 50 requests of 8,192 tokens" in done.stdout and done.stderr == ""


def test_a_terminal_too_narrow_for_a_table_gets_a_block_for_each_row(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = ("plan", "costs a month", "tokens")
    rows = [("rent", "interruptible-machines", "10"), ("own", "", "20")]
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, as far as the printer sees
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_table("", headers, rows, note="as of today")
    narrow = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out)
    assert [line.strip() for line in narrow.splitlines()] == [
        "─ rent", "costs a month: interruptible-machines", "tokens: 10", "─ own", "tokens: 20", "as of today",
    ]  # fmt: skip
    monkeypatch.setenv("COLUMNS", "80")
    print_table("", headers, rows)
    assert "│ rent" in capsys.readouterr().out


def test_words_are_whole_in_a_file_however_long_its_lines(capsys: Capture) -> None:
    headers = tuple(f"column-{i}" for i in range(9))
    rows = [tuple("a" * 20 for _ in headers)]
    print_table("", headers, rows)
    assert capsys.readouterr().out.count("a" * 20) == 9
