"""A foreign file is taken whole or refused in one line that says what and where."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from foreign_files import SAMPLES, broken, import_sample, samples
from llmsizer.cli import main
from llmsizer.errors import InputError, LlmSizerError
from llmsizer.exchange.columns import given_of, read_map
from llmsizer.exchange.importing import MOST_POINTS, import_file
from llmsizer.exchange.values import Refused
from llmsizer.facts.records import ProfileRecord

FUZZED = 400  # ten thousand: benchmarks/import_fuzz.py
Capture = pytest.CaptureFixture[str]


def refusal(path: Path, **options: Any) -> str:
    with pytest.raises(Refused) as caught:
        import_file(path, **options)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(str(path)) and len(line) < 400
    return line


def changed(folder: Path, name: str, *path: str | int, value: Any) -> Path:
    """A sample with one value replaced."""
    document = json.loads((SAMPLES / name).read_text())
    place = document
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    file = folder / name
    file.write_text(json.dumps(document))
    return file


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        (b"\x7fELF\x00\x01", "no text"),
        (b"GGUF\xff\xfe", "no text"),
        (b"{}", "no format of a benchmark that is known: guidellm"),
        (b'{"a": ', "the file is damaged or was cut"),
        (b"[" * 100_000, "JSON nested too deeply"),
        (b"version: [", "no whole YAML"),
        (b"version: !!python/object/apply:os.system [ls]", "no whole YAML"),
        (b"just words", "no format of a benchmark"),
        (b"a,b\n1,2\n", "say what they are with --map"),
        (b"a,b\n1,2,3\n", "line 2 has 3 cells, the header 2"),
        (b"a,a\n1,2\n", "names are missing or stand twice"),
        (b"a,b\n", "a header and no rows"),
    ],
)
def test_what_is_no_benchmark_says_so_in_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    assert words in refusal(file)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no such device")
def test_a_folder_a_device_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "a folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "nowhere.json")
    assert "neither a file" in refusal(Path("/dev/zero"))  # it would never end


@pytest.mark.parametrize("sample", samples(), ids=lambda path: path.name)
def test_half_a_file_is_not_half_imported(tmp_path: Path, sample: Path) -> None:
    data = sample.read_bytes()
    file = tmp_path / sample.name
    file.write_bytes(data[: len(data) // 2])
    if sample.suffix == ".yaml":  # half of it may be whole YAML: then what is missing is refused by name
        assert refusal(file)
    elif sample.suffix == ".jsonl":
        assert "is no whole JSON" in refusal(file)
    elif sample.name not in ("table.csv",):
        assert "damaged" in refusal(file) or "whole" in refusal(file) or "has no time" in refusal(file)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (float("nan"), "is nan; a measured figure is finite"),
        (float("inf"), "is inf; a measured figure is finite"),
        (-0.5, "is -0.5; it cannot be negative"),
        (1e200, "beyond the most that is believed"),
        ("fast", "is no number ('fast')"),
        ([1], "is no number (list)"),
        (True, "is no number (bool)"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_with_its_place(tmp_path: Path, value: Any, words: str) -> None:
    places: tuple[tuple[str, tuple[str | int, ...]], ...] = (
        ("vllm_serve.json", ("mean_ttft_ms",)),
        ("aiperf.json", ("time_to_first_token", "p95")),
        ("inference_perf_stage.json", ("successes", "latency", "time_to_first_token", "mean")),
        ("guidellm_2.json", ("benchmarks", 0, "metrics", "time_to_first_token_ms", "successful", "mean")),
        ("llama_bench.json", (0, "samples_ns", 0)),
    )
    for name, path in places:
        line = refusal(changed(tmp_path, name, *path, value=value))
        assert words in line or ("avg_ns" in line), name


def test_seconds_beside_milliseconds_are_noticed(tmp_path: Path) -> None:
    document = json.loads((SAMPLES / "vllm_serve.json").read_text())
    for key, value in document.items():
        if "e2el" in key:
            document[key] = value / 1e3  # as if the tool had meant seconds
    file = tmp_path / "mixed.json"
    file.write_text(json.dumps(document))
    assert "mixes units: a request took 0.0026" in refusal(file)
    assert "percentiles do not rise" in refusal(changed(tmp_path, "vllm_serve.json", "p99_ttft_ms", value=0.9))


@pytest.mark.parametrize("nanoseconds", [1e-320, 1e-300, 1e-6])
def test_a_time_that_no_clock_tells_is_refused_and_divides_nothing(tmp_path: Path, nanoseconds: float) -> None:
    row = {"model_filename": "m.gguf", "n_prompt": 0, "n_gen": 128, "avg_ns": nanoseconds, "build_commit": "x"}
    (tmp_path / "bench.json").write_text(json.dumps([row]))
    assert "shorter than any clock tells" in refusal(tmp_path / "bench.json")


def test_merge_keys_of_yaml_are_refused_before_they_multiply(tmp_path: Path) -> None:
    # each level is four copies of the one before: twenty levels would be a million million
    levels = [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}, *a{i - 1}, *a{i - 1}]}}" for i in range(1, 21)]
    (tmp_path / "report.yaml").write_text("\n".join(['version: "0.1"', "a0: &a0 {k: 1}", *levels]))
    assert "merge keys" in refusal(tmp_path / "report.yaml")


def test_a_format_that_was_named_wrongly_says_which_it_looks_like() -> None:
    assert "is no aiperf result; it looks like guidellm" in refusal(SAMPLES / "guidellm_2.json", format="aiperf")
    assert "no vllm result; it is a table" in refusal(SAMPLES / "table.csv", format="vllm")


def test_newer_schemas_are_not_guessed_at(tmp_path: Path) -> None:
    assert "schemas up to 2" in refusal(changed(tmp_path, "guidellm_2.json", "metadata", "version", value=3))
    assert "schemas 1.x" in refusal(changed(tmp_path, "aiperf.json", "schema_version", value="2.0"))


def test_single_requests_and_summaries_over_stages_name_the_file_to_import(tmp_path: Path) -> None:
    file = tmp_path / "profile_export.jsonl"
    file.write_text('{"metadata": {"x_request_id": "a"}, "metrics": {}}\n' * 3)
    assert "import its profile_export_aiperf.json" in refusal(file)
    summary = changed(tmp_path, "inference_perf_stage.json", "load_summary", value={"count": 64})
    assert "stage_*_lifecycle_metrics.json" in refusal(summary)
    report = tmp_path / "benchmark_report.json"
    report.write_text(json.dumps(json.loads((SAMPLES / "optimum_benchmark.json").read_text())["report"]))
    assert "import benchmark.json" in refusal(report)


def test_a_million_lines_are_refused_before_they_become_records(tmp_path: Path) -> None:
    file = tmp_path / "many.csv"
    file.write_text("users,in,out,ttft,tpot,tok/s,note\n" + "1,512,128,41,7.2,138,x\n" * 200_000)
    assert "200,000 rows" in refusal(file, mapping=read_map(SAMPLES / "table_map.toml"))
    row = json.dumps({"model_filename": "m", "n_prompt": 1, "n_gen": 0, "avg_ns": 1, "build_commit": "c"})
    file.write_text(f"{row}\n" * (MOST_POINTS + 1))
    assert "10,001 lines" in refusal(file)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[columns]\nspeed = 'x'", "no field 'speed'"),
        ("[columns]\nbatch = 3", "needs a column's name"),
        ("[columns]\nttft_seconds = { column = 'x', unit = 'weeks' }", "has the unit 'weeks'"),
        ("[columns]\nbatch = { column = 'x', unit = 'ms' }", "has the unit 'ms'"),
        ("[columns]\nttft_seconds = { column = 'x', times = -1 }", "is a number above 0"),
        ("[other]", "no table [other]"),
        ("columns = 1", "columns is no table"),
        ("[load]\npattern = 'wild'", "load.pattern is 'wild'"),
        ("[given]\nbatch = 0", "it is 1 or more"),
        ("[given]\ncolour = 'red'", "nothing named 'colour' can be given"),
        ("[columns", "no map of columns in TOML"),
    ],
)
def test_a_map_that_cannot_be_used_names_the_key(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "map.toml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_map(file)
    assert words in str(caught.value) and str(file) in str(caught.value)


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("users,in\n1,2\n")
    assert "no column 'out'" in refusal(file, mapping=read_map(SAMPLES / "table_map.toml"))
    with pytest.raises(InputError, match="batch is no number"):
        given_of({"batch": "many"}, "--given")


def test_broken_files_are_refused_in_a_line_or_taken_whole(tmp_path: Path) -> None:
    chance = random.Random(2)
    contents = {path: path.read_bytes() for path in samples()}
    refused = 0
    for _ in range(FUZZED):
        sample = chance.choice(list(contents))
        file = tmp_path / sample.name
        file.write_bytes(broken(contents[sample], chance))
        try:
            records = import_sample(file)
        except LlmSizerError as error:
            refused += 1
            assert "\n" not in str(error)
        else:
            assert records and all(ProfileRecord.model_validate_json(r.model_dump_json()) == r for r in records)
    assert FUZZED / 4 < refused < FUZZED


def test_the_command_imports_what_it_can_and_names_what_it_cannot(tmp_path: Path, capsys: Capture) -> None:
    out, cut = tmp_path / "records.jsonl", tmp_path / "cut.json"
    cut.write_bytes((SAMPLES / "aiperf.json").read_bytes()[:500])
    files = [str(SAMPLES / "guidellm_2.json"), str(cut), str(tmp_path), str(SAMPLES / "llama_bench.sql")]
    assert main(["records", "import", *files, "--records", str(out)]) == 1
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert len(lines) == 2 and "cut.json" in lines[0] and "a folder" in lines[1]
    assert "records: 4 new, 0 known already" in printed.out and len(out.read_text().splitlines()) == 4
    assert main(["records", "import", *files, "--records", str(out), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["records"] == {"new": 0, "known": 4} and len(said["refused"]) == 2
    assert main(["records", "import", str(cut), "--records", str(tmp_path / "none.jsonl")]) == 1
    assert capsys.readouterr().err.startswith("llmsizer: ") and not (tmp_path / "none.jsonl").exists()


def test_without_a_yaml_reader_the_extra_is_named_and_json_still_comes_in(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    files = [str(SAMPLES / "llm_d_vllm_0_2.yaml"), str(SAMPLES / "aiperf.json")]
    assert main(["records", "import", *files, "--records", str(tmp_path / "r.jsonl")]) == 1
    printed = capsys.readouterr()
    assert "pip install 'llmsizer[exchange]'" in printed.err and "records: 1 new" in printed.out


@pytest.mark.skipif(sys.platform == "win32", reason="no such files there")
def test_what_is_given_on_the_command_line_is_checked(capsys: Capture) -> None:
    for given, words in (
        ("device", "NAME=VALUE"),
        ("batch=0", "1 or more"),
        ("colour=red", "nothing named"),
        ("devise=h100", "did you mean device"),
        ("device=h10", "did you mean h100"),
        ("device=foo", "LLMSIZER_OVERRIDES"),
        ("precision=fp9", "did you mean fp8"),
        ("model=lama", "no model named 'lama'; did you mean llama"),
        ("engine=vlm", "did you mean vllm?"),
    ):
        assert main(["records", "import", str(SAMPLES / "aiperf.json"), "--given", given]) == 1
        assert words in capsys.readouterr().err
