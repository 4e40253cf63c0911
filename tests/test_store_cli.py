"""``llmsizer records`` as a user types it."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

import measured_by_hand
from llmsizer.cli import main
from llmsizer.cli.sources import read_source
from llmsizer.facts.records import ProfileRecord, QualityRecord
from tiny_models import needs

pytestmark = needs("sqlalchemy", "pyarrow")
Capture = pytest.CaptureFixture[str]
EXAMPLE = Path(__file__).parent.parent / "dashboards" / "example"
PROFILES, QUALITY = str(EXAMPLE / "profiles.jsonl"), str(EXAMPLE / "quality.jsonl")


@pytest.fixture(autouse=True)
def own_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMSIZER_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.chdir(tmp_path)


def run(capsys: Capture, *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_records_go_into_the_store_once_and_are_listed_by_what_they_are(capsys: Capture) -> None:
    code, out, _ = run(capsys, "records", "import", PROFILES, QUALITY, "--json")
    first = json.loads(out)
    assert code == 0 and (first["records"], first["quality"]) == ({"new": 18, "known": 0}, {"new": 3, "known": 0})
    _, out, _ = run(capsys, "records", "import", PROFILES, "--json")
    assert json.loads(out)["records"] == {"new": 0, "known": 18}
    _, out, _ = run(capsys, "records", "list", "--precision", "int4", "--batch", "1", "--json")
    assert {(r["precision"], r["batch"]) for r in json.loads(out)} == {("int4", 1)}
    code, out, _ = run(capsys, "records", "list", "--device", "epyc", "--engine", "openvino")
    assert code == 0 and out.startswith("18 operating points")
    assert "nothing matches" in run(capsys, "records", "list", "--batch", "77")[1]
    assert "int8" in run(capsys, "records", "list", "--kind", "quality")[1]


def test_one_point_is_shown_with_units_basis_and_reasons(capsys: Capture) -> None:
    _, out, _ = run(capsys, "records", "list", PROFILES, "--json")
    name = json.loads(out)[0]["record_id"]
    code, out, _ = run(capsys, "records", "show", name, PROFILES)
    assert code == 0 and "ttft_seconds" in out and "measured" in out
    assert "unknown (no energy counter" in out
    fields = json.loads(run(capsys, "records", "show", name, PROFILES, "--json")[1])["fields"]
    assert {"field", "value", "unit", "basis", "note"} == set(fields[0])


def test_variants_are_compared_with_an_interval(capsys: Capture) -> None:
    code, out, _ = run(capsys, "records", "compare", "int4", "fp16", PROFILES)
    assert code == 0 and "INT4 is 2.9× [2.8, 3] as fast as FP16 at batch 1 and 1.3× [1.3, 1.4] at 16" in out
    rows = json.loads(run(capsys, "records", "compare", "int4", "fp16", PROFILES, "--json")[1])
    assert len(rows) == 6 and all(row["low"] < row["times_as_fast"] < row["high"] for row in rows)


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_what_is_exported_can_be_read_wherever_records_are(capsys: Capture, tmp_path: Path, name: str) -> None:
    assert run(capsys, "records", "export", name, PROFILES, "--variant", "int8")[0] == 0
    assert len(json.loads(run(capsys, "records", "list", name, "--json")[1])) == 6
    assert {r.variant for r in read_evidence_records(name)} == {"int8"}


def read_evidence_records(source: str) -> list[ProfileRecord]:
    """As plan, compare, report, predict, validate and calibrate read what ``--records`` names."""
    return read_source(source, ProfileRecord)


def test_a_store_is_read_wherever_a_file_is(capsys: Capture, tmp_path: Path) -> None:
    run(capsys, "records", "import", PROFILES)
    from_file = sorted(read_evidence_records(PROFILES), key=lambda r: r.record_id)
    for source in ("store", str(tmp_path / "store.sqlite"), f"sqlite:///{tmp_path / 'store.sqlite'}"):
        assert sorted(read_evidence_records(source), key=lambda r: r.record_id) == from_file


def test_an_answer_and_its_scenario_are_kept_where_a_team_looks_for_them(capsys: Capture, tmp_path: Path) -> None:
    where = str(tmp_path / "team.sqlite")
    code, out, err = run(capsys, "plan", "eu-chat", "--store", where, "--json")
    assert code == 0 and "plans: 1 new" in err and "scenarios: 1 new" in err
    (plan,) = json.loads(run(capsys, "records", "list", "--kind", "plans", where, "--json")[1])
    assert plan["name"] == "eu-chat" and plan["content"] == json.loads(out)
    (scenario,) = json.loads(run(capsys, "records", "list", "--kind", "scenarios", where, "--json")[1])
    assert scenario["content"]["workload"]["tokens_per_month"] == 100_000_000
    code, out, err = run(capsys, "plan", "eu-chat", "--store", "mysql://ann:secret@db/x", "--json")
    assert code == 1 and not out and "no store can lie in" in err and "secret" not in err


def test_what_quality_finds_is_kept_in_a_store_too(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_source(QUALITY, QualityRecord)
    monkeypatch.setattr("llmsizer.quality.evaluate.evaluate", lambda *_, **__: found)
    for read in ("original", "read_variant"):
        monkeypatch.setattr(f"llmsizer.quantize.{read}", lambda path: path)
    monkeypatch.setattr("llmsizer.cli.measure.quality._check_leakage", lambda *_: None)
    text = tmp_path / "text.txt"
    text.write_text("a document\n")
    for _ in range(2):
        code = main(["quality", "text", str(tmp_path), str(tmp_path), "--text", str(text), "--store", "store"])
        assert code == 0
    err = capsys.readouterr().err
    assert "quality: 3 new, 0 known already" in err and "quality: 0 new, 3 known already" in err


MISTAKES = [
    (("list",), "no store at"),
    (("list", "/no/such/file"), "no records at"),
    (("list", __file__), "nothing in it can be read"),
    (("list", "--store", "mysql://ann:secret@db/x"), "no store can lie in"),
    (("show", "zzz", PROFILES), "no record's id begins with"),
    (("show", "d", PROFILES), "give more of it"),
    (("compare", "int4", "nonsense", PROFILES), "no measured record is named"),
    (("export", "out.xlsx", PROFILES), "end it in .jsonl"),
    (("export", "out.csv", PROFILES, "--batch", "77"), "nothing matches"),
    (("export", "/proc/no/out.csv", PROFILES), "cannot be written"),
    (("import", __file__), "no format of a benchmark"),
    (("import", str(EXAMPLE)), "a folder"),
]


@pytest.mark.parametrize(("argv", "words"), MISTAKES, ids=lambda v: " ".join(v)[:40] if isinstance(v, tuple) else "")
def test_a_mistake_gets_one_line_without_a_password(capsys: Capture, argv: tuple[str, ...], words: str) -> None:
    code, out, err = run(capsys, "records", *argv)
    assert code == 1 and not out
    last = err.strip().splitlines()[-1]
    assert words in last and last.startswith("llmsizer: ") and "secret" not in err


def test_a_file_that_cannot_be_read_is_refused_in_a_line_and_the_others_are_imported(capsys: Capture) -> None:
    code, out, err = run(capsys, "records", "import", PROFILES, __file__)
    assert code == 1 and len(err.strip().splitlines()) == 1 and "test_store_cli.py" in err
    assert "0 new" not in out and "new" in out


def foreign(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE people (name)")


def cut(path: Path) -> None:
    assert main(["records", "import", PROFILES, "--store", str(path)]) == 0
    path.write_bytes(path.read_bytes()[:6000])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: path.write_bytes(b"no database" * 300), "damaged or no store"),
        (cut, "damaged or was cut"),
        (foreign, "holds tables that are not llmsizer's"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: None, "no store at"),
    ],
)
def test_what_is_no_store_is_one_line_and_stays_as_it_is(
    capsys: Capture, tmp_path: Path, make: Callable[[Path], object], said: str
) -> None:
    path = tmp_path / "own.sqlite"
    make(path)
    capsys.readouterr()
    before = path.read_bytes() if path.is_file() else None
    code, _, err = run(capsys, "records", "list", "--store", str(path))
    assert code == 1 and err.count("\n") == 1 and said in err
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_family_of_formats_is_found_by_its_name_and_what_is_not_there_is_answered_with_what_is(
    capsys: Capture, tmp_path: Path
) -> None:
    path = tmp_path / "own.jsonl"
    point = measured_by_hand.profile("int8", 1)
    named = ("int8", "int8-wo", "w4a16")
    records = [point.model_copy(update={"record_id": name, "precision": name}) for name in named]
    path.write_text("".join(record.model_dump_json() + "\n" for record in records))
    for precision, count in (("int8", 2), ("int8-wo", 1), ("int4", 1), ("INT8", 2), ("w8a16", 1)):
        found = json.loads(run(capsys, "records", "list", str(path), "--precision", precision, "--json")[1])
        assert len(found) == count, precision
    _, out, _ = run(capsys, "records", "list", str(path), "--precision", "fp8", "--batch", "7")
    assert "of 3 records there are precision int8, int8-wo, w4a16; batch 1" in out
    assert "profile records and no quality" in run(capsys, "records", "list", str(path), "--kind", "quality")[2]
