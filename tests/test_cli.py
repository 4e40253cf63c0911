"""The command line as a user meets it: answers, one-line errors, exit codes, one JSON document."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import llmsizer
from llmsizer.cli import build_parser, main

Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a command in this process."""
    try:
        code = main(list(argv))
    except SystemExit as stop:  # argparse ends --help, --version and wrong usage itself
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_version_is_the_package_version(capsys: Capture) -> None:
    code, out, _ = run(capsys, "--version")
    assert (code, out.strip()) == (0, f"llmsizer {llmsizer.__version__}")


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "llmsizer", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"llmsizer {llmsizer.__version__}"


def test_import_loads_nothing_heavy() -> None:
    # What costs time at import is libraries: none may come in by the package alone.
    code = "import sys, llmsizer; print(sorted({'numpy','pydantic','rich','torch','streamlit'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_a_command_line_loads_nothing_that_only_an_answer_needs() -> None:
    slow = "{'pydantic', 'numpy', 'rich', 'importlib.metadata', 'urllib.request', 'asyncio'}"
    code = f"import sys; from llmsizer.cli import build_parser; build_parser(); print({slow} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


def test_every_public_name_resolves() -> None:
    assert all(getattr(llmsizer, name) is not None for name in llmsizer.__all__)
    assert list(llmsizer.__all__) == [*sorted(set(llmsizer.__all__) - {"__version__"}), "__version__"]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = llmsizer.nonsense


@pytest.mark.parametrize("kind", ["models", "gpus", "offers", "apis", "workloads"])
def test_catalog_lists_as_text_and_as_json(capsys: Capture, kind: str) -> None:
    code, text, _ = run(capsys, "catalog", "list", kind)
    assert code == 0 and kind in text
    code, document, _ = run(capsys, "catalog", "list", kind, "--json")
    assert code == 0 and len(json.loads(document)) >= 6


def test_mistral_small_4_shows_both_readings(capsys: Capture) -> None:
    _, text, _ = run(capsys, "catalog", "show", "mistral-small-4")
    assert "2 readings" in text and "119,401,483,264" in text and "22,247,282,688" in text
    _, document, _ = run(capsys, "catalog", "show", "mistral-small-4", "--json")
    assert len(json.loads(document)) == 2


def test_memory_of_the_press_reading_is_44_5_gb_of_weights_and_parts_sum(capsys: Capture) -> None:
    # 22,247,282,688 parameters × 2 bytes = 44.49 GB
    argv = ("memory", "mistral-small-4-press-22b", "--gpu", "a100-sxm-80", "--json")
    code, document, _ = run(capsys, *argv)
    answer = json.loads(document)
    assert code == 0 and answer["fits"]
    assert answer["replica_weight_bytes"] == pytest.approx(44.49e9, rel=1e-3)
    assert sum(answer["parts_bytes"].values()) == pytest.approx(answer["gpu_bytes"])
    assert "press" in answer["reading"]
    assert set(answer["basis"]) == set(answer["parts_bytes"])


def test_what_does_not_fit_is_an_answer_with_a_way_out(capsys: Capture) -> None:
    code, text, _ = run(capsys, "memory", "mistral-small-4-press-22b", "--gpu", "a100-sxm-40")
    assert code == 0 and "does not fit" in text and "would fit: quantize the weights" in text


def test_plan_answers_in_a_sentence_and_names_the_reading(capsys: Capture) -> None:
    code, document, _ = run(capsys, "plan", "eu-chat", "--json")
    answer = json.loads(document)
    assert code == 0 and answer["sentence"] and "119B" in answer["reading"]
    assert answer["plans"] or answer["apis"] or answer["near_misses"]


def test_completion_and_schema_print(capsys: Capture) -> None:
    code, script, _ = run(capsys, "completion", "bash")
    assert code == 0 and "llmsizer" in script
    code, schema, _ = run(capsys, "schema", "scenario")
    assert code == 0 and "properties" in json.loads(schema)


@pytest.mark.parametrize(
    ("model", "weights"), [("gpt-oss-120b", "mxfp4"), ("deepseek-v3", "fp8"), ("llama-3.1-8b", "bf16")]
)
def test_memory_takes_the_weights_that_the_maker_published(capsys: Capture, model: str, weights: str) -> None:
    _, text, _ = run(capsys, "memory", model, "--gpu", "h200", "--tp", "8", "--json")
    assert json.loads(text)["weights"] == weights


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("row_id,model,gpu\n1,llama-3.1-8b,h100,stray\n", "line 2 has more cells than the header"),
        ("row_id;model;gpu\n1;llama-3.1-8b;h100\n", "separate them by commas"),
        ("", "it has none"),
    ],
)
def test_a_table_that_is_none_is_refused_in_one_line(capsys: Capture, tmp_path: Path, table: str, said: str) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text(table)
    code, _, error = run(capsys, "predict", str(rows), "--output", str(tmp_path / "out.csv"))
    assert code == 1 and said in error and error.count("\n") == 1


def test_columns_called_otherwise_are_read_and_it_is_said(capsys: Capture, tmp_path: Path) -> None:
    rows, to = tmp_path / "rows.csv", str(tmp_path / "out.csv")
    rows.write_text("model,gpu,precision,batch,batch_size\nllama-3.1-8b,h100,int4,8,8\n")
    code, _, error = run(capsys, "predict", str(rows), "--output", to)
    assert code == 0 and error == "read as: precision → weight_dtype\n"  # the batch has a column of its own name
    rows.write_text("model,gpu,weight_dtype\nllama-3.1-8b,h100,int4\n")
    assert run(capsys, "predict", str(rows), "--output", to)[2] == ""


BAD_COMMANDS = [
    ("memory", "no-such-model", "--gpu", "h100-sxm-80"),
    ("memory", "llama-3.1-8b", "--gpu", "h1000"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--weights", "int3.5"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--kv", "int1"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--tp", "3"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--tp", "0"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--tp", "-2"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--context", "nan"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--context", "1e99"),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--context", ""),
    ("memory", "llama-3.1-8b", "--gpu", "h100-sxm-80", "--engine", "vlllm"),
    ("memory", "llama-3.1-8b", "--gpu", "epyc-9654"),
    ("memory", "", "--gpu", "h100-sxm-80"),
    ("memory", "/", "--gpu", "h100-sxm-80"),
    ("memory", "/dev/null", "--gpu", "h100-sxm-80"),
    ("plan", "no-such-scenario"),
    ("plan", "."),
    ("plan", "/dev/null"),
    ("plan", "eu-chat", "--precisions", "int5"),
    ("plan", "eu-chat", "--precisions", ","),
    ("bundle", "plan.json", "--out", "x", "--precisions", "fp8"),
    ("quantize", ".", "--size-budget", "10XB"),
    ("plan", "x" * 300),
    ("plan", "~nobody-here/x.toml"),
    ("records", "list", "x" * 300),
    ("plan", "eu-chat", "--records", "/dev/null"),
    ("choose-precision", "llama-3.1-8b", "--gpu", ","),
    ("choose-precision", "llama-3.1-8b", "--gpu", "h100", "--precisions", ","),
    ("simulate", "eu-chat", "--columns", "arrival=ts"),
    ("dashboard", "--records", "/no/such/folder"),
    ("compare", "no-such-scenario"),
    ("report", "no-such-scenario", "--out", "x"),
    ("catalog", "list", "nonsense"),
    ("catalog", "show", "nonsense"),
    ("catalog", "list", "offers", "--gpu", "nonsense"),
    ("catalog", "list", "apis", "--serves", "nonsense"),
    ("quantize", "/no/such/folder"),
    ("quantize", "."),
    ("quantize", ".", "--methods", "int5"),
    ("profile", "/no/such/folder"),
    ("profile", "."),
    ("profile", ".", "--points", "1x2"),
    ("quality", ".", ".", "--text", "/no/such/file"),
    ("records", "list", "/no/such/file"),
    ("records", "list", sys.executable),
    ("verify", "--history", "--ledger", sys.executable),
    ("model", "--config", "/no/such/config.json"),
    ("schema", "nonsense"),
    ("schema", "../../etc/passwd"),
    ("completion", "fish-and-chips"),
]


@pytest.mark.parametrize("argv", BAD_COMMANDS, ids=lambda argv: " ".join(argv)[:60])
def test_a_mistake_gets_one_line_and_exit_code_1(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert code == 1, (out, err)
    assert err.count("\n") == 1 and err.startswith("llmsizer: ") and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []  # nothing half-written


@pytest.mark.parametrize("argv", [(), ("plan",), ("nonsense",), ("plan", "x", "--nonsense")])
def test_wrong_usage_gets_one_line_and_exit_code_2(capsys: Capture, argv: tuple[str, ...]) -> None:
    code, _, err = run(capsys, *argv)
    assert code == 2 and err.count("\n") == 1


def test_an_interrupt_is_one_line(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("llmsizer.cli.build_parser", interrupted)
    code, _, err = run(capsys, "plan", "eu-chat")
    assert code == 130 and err.count("\n") == 1


def test_every_command_has_help(capsys: Capture) -> None:
    for command in build_parser()._subparsers._group_actions[0].choices:  # type: ignore[union-attr]
        code, out, _ = run(capsys, str(command), "--help")
        assert code == 0 and "usage" in out


def test_the_catalogue_and_the_memory_account_give_the_same_weights(capsys: Capture) -> None:
    argv = ("mistral-small-4", "--gpu", "h100", "--weights", "int4", "--tp", "2", "--json")
    _, document, _ = run(capsys, "memory", *argv)
    _, shown, _ = run(capsys, "catalog", "show", "mistral-small-4")
    assert f"{json.loads(document)['replica_weight_bytes'] / 1e9:.1f} GB" in shown
