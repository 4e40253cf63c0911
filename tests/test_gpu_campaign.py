"""The GPU campaign's stages on a CPU: each ends, leaves whole lines, and a second call takes nothing twice."""

from __future__ import annotations

import importlib
import json
import os
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile import Point, read_records
from tiny_models import needs

pytest.importorskip("torch")
HERE = Path(__file__).parent
GPU = HERE.parent / "benchmarks" / "gpu"


@pytest.fixture(autouse=True)
def scripts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GPU))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


def script(name: str) -> Any:
    return importlib.import_module(name)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def some_device() -> DeviceRecord:
    return DeviceRecord(name="cpu", kind="cpu", cores=1, memory_bytes=1e9, read_bytes_per_second=1e9)


def test_the_machine_stage_measures_every_part_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = script("machine")
    monkeypatch.setattr(machine, "describe_device", some_device)
    monkeypatch.setattr(machine, "REPEATS", 1)
    for _ in range(2):
        machine.run(["--dry-run", "--out", str(tmp_path)])
    rows = lines(tmp_path / "machine.jsonl")
    assert len(rows) == len({row["key"] for row in rows}) == 11
    assert all(row["status"] == "ok" and row["dry_run"] for row in rows)


def test_what_another_folder_holds_is_not_measured_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = script("campaign")
    asked = campaign.parser("x").parse_args(["--out", str(tmp_path / "new"), "--have", str(tmp_path / "old")])
    at = campaign.stage("s", asked)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "s.jsonl").write_text(
        '{"key": "a", "status": "ok"}\n{"key": "b", "status": "failed"}\n{"key": "c", "sta'
    )
    did: list[str] = []
    at.run((key, lambda key=key: did.append(key) or {"v": 1}) for key in "abc")  # type: ignore[misc]
    assert did == ["b", "c"]  # a failure and a torn line are tried again
    assert [row["key"] for row in lines(at.file)] == ["b", "c"]


def test_a_part_that_fails_is_a_line_and_the_others_go_on(tmp_path: Path) -> None:
    campaign = script("campaign")
    at = campaign.stage("s", campaign.parser("x").parse_args(["--out", str(tmp_path)]))

    def broken() -> dict[str, Any]:
        raise RuntimeError("not implemented for this device\nlong story")

    at.run([("a", broken), ("b", lambda: {"v": 1})])
    first, second = lines(at.file)
    assert first["status"] == "failed" and "not implemented for this device" in first["failure"]
    assert second["v"] == 1


def test_a_call_stops_before_a_part_it_has_no_time_for(tmp_path: Path) -> None:
    campaign = script("campaign")
    at = campaign.stage("s", campaign.parser("x").parse_args(["--out", str(tmp_path), "--budget-seconds", "0"]))
    at.run([("a", lambda: {})])
    assert not at.file.exists()
    with campaign.stopping_at(at):
        while True:  # left by the alarm
            pass


def test_the_grid_writes_records_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = script("grid")
    monkeypatch.setattr(grid, "describe_device", some_device)
    call = ["--dry-run", "--out", str(tmp_path), "--precision", "int8-w8a8", "--engine", "fake_engines:Quick"]
    grid.run(call)
    grid.run(call)
    records, problems = read_records(tmp_path / "grid-22b.jsonl", ProfileRecord)
    assert problems == []
    assert [(r.status, r.batch, r.precision) for r in records] == [("ok", 1, "int8"), ("ok", 2, "int8")]
    assert "2 points, 0 do not fit, 0 to do" in capsys.readouterr().out


def test_the_concurrency_stage_answers_every_user_and_leaves_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    concurrency = script("concurrency")
    monkeypatch.setattr(concurrency, "describe_device", some_device)
    for _ in range(2):
        concurrency.run(["--dry-run", "--out", str(tmp_path)])
    records, problems = read_records(tmp_path / "concurrency.jsonl", ProfileRecord)
    assert problems == [] and len({record.record_id for record in records}) == 2
    found = [(r.load.pattern, r.load.concurrency, r.repeats) for r in records if r.load]
    assert found == [("single", 1, 2), ("closed", 2, 4)]  # two rounds after the warm-up
    assert all(r.engine == "transformers-cb" and not r.is_static_batch for r in records if r.batch > 1)


def test_a_closed_loop_by_hand(tmp_path: Path) -> None:
    concurrency, campaign = script("concurrency"), script("campaign")
    variant = campaign.variant_of("3b", "fp16", tmp_path, dry_run=True)
    request = concurrency.Request(variant=variant, engine="e", device=some_device(), repeats=2, seed=0)
    engine = SimpleNamespace(version="1", options={}, memory_use=lambda: None)
    stamps = {"a": [0.0, 1.0, 1.5, 2.0], "b": [2.0, 2.5, 3.5, 4.0]}
    found = concurrency.record_of(request, Point(batch=1, prompt_tokens=8, output_tokens=3), stamps, engine)
    assert [found.distributions[name].mean for name in ("ttft", "tpot")] == [0.75, 0.625]
    assert found.output_tokens_per_second == 6 / 4


def test_quantizing_halves_what_it_should(tmp_path: Path) -> None:
    script("quantizing").run(["--dry-run", "--out", str(tmp_path), "--model", "3b"])
    rows = {row["scheme"]: row for row in lines(tmp_path / "quantizing.jsonl")}
    assert set(rows) == {"int8-wo", "int8-w8a8", "int4-wo"}
    assert rows["int4-wo"]["layers"] == 14  # seven a layer; the output matrix stays
    assert rows["int4-wo"]["weights_bytes_after"] < rows["int8-wo"]["weights_bytes_after"]
    assert rows["int8-wo"]["peak_allocated_bytes"] is None  # a CPU keeps no such count


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@needs("llmcompressor", "datasets")
def test_gptq_is_timed_beside_the_toolkits_own_on_the_same_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gptq = script("gptq")
    monkeypatch.setattr(gptq, "RECIPES", gptq.RECIPES)
    monkeypatch.setitem(gptq.RECIPES, gptq.METHOD, gptq.RECIPES[gptq.METHOD])  # put back afterwards
    for _ in range(2):
        gptq.run(["--dry-run", "--out", str(tmp_path), "--model", "3b"], run_alone=gptq.measured)
    rows = {row["by"]: row for row in lines(tmp_path / "gptq.jsonl")}
    assert [row["status"] for row in rows.values()] == ["ok", "ok"], rows
    assert set(rows) == {"ours", "toolkit"} and len(lines(tmp_path / "gptq.jsonl")) == 2
    assert all(row["calibration_tokens"] == 8 * 32 and row["peak_allocated_bytes"] is None for row in rows.values())
    assert rows["ours"]["file_bytes"] == pytest.approx(rows["toolkit"]["file_bytes"], rel=0.1)
    assert not list((tmp_path / "models").glob("*-ours"))


def test_serving_starts_vllm_in_the_precision_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serving = script("serving")
    monkeypatch.setattr(serving, "describe_device", some_device)
    binary = tmp_path / "bin" / "vllm"
    binary.parent.mkdir()
    binary.write_text(f'#!/bin/sh\nexec {sys.executable} {HERE / "fake_vllm.py"} "$@"\n')
    binary.chmod(0o755)
    monkeypatch.setenv("PATH", f"{binary.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LLMSIZER_VLLM_FLAGS", "")  # the stage sets it
    serving.run(["--dry-run", "--out", str(tmp_path), "--precision", "int4"])
    records, _ = read_records(tmp_path / "serving.jsonl", ProfileRecord)
    assert [(r.status, r.kernels) for r in records] == [("ok", ("MacheteLinearKernel",))] * 2
    config = json.loads((tmp_path / "vllm-models" / "22b-int4" / "config.json").read_text())
    assert config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] == 4


def test_the_grid_leaves_out_what_cannot_fit() -> None:
    campaign = script("campaign")
    spec = model_from_config(campaign.config_of("22b", dry_run=False), name="22b")
    assert 22e9 < spec.total_params < 23e9
    assert spec.kv_bytes_per_token() == 2 * 56 * 8 * 128 * 2
    weights = 2.0 * spec.total_params
    assert campaign.fits(spec, weights, Point(batch=8, prompt_tokens=8192, output_tokens=64), 141e9)
    # 64 × 8,256 tokens × 229,376 bytes = 121 GB of cache beside 44 GB of weights
    assert not campaign.fits(spec, weights, Point(batch=64, prompt_tokens=8192, output_tokens=64), 141e9)


def test_a_wheel_is_stripped_split_and_joined(tmp_path: Path) -> None:
    wheels = script("wheels")
    wheel = tmp_path / "p-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("p/__init__.py", "x = 1\n")
        file.writestr("p/huge.so", os.urandom(5000))
        file.writestr("p-1.dist-info/RECORD", "")
    (tmp_path / "thin").mkdir()
    stripped = wheels.strip(wheel, tmp_path / "thin", drop=["p/*.so"])
    parts = wheels.split(stripped, tmp_path / "parts", part_bytes=100)
    assert len(parts) > 1
    (joined,) = wheels.join(tmp_path / "parts", tmp_path / "made")
    with zipfile.ZipFile(joined) as file:
        assert file.namelist() == ["p/__init__.py", "p-1.dist-info/RECORD"]
        assert file.read("p-1.dist-info/RECORD").decode().startswith("p/__init__.py,sha256=")
    parts[0].write_bytes(b"other")
    with pytest.raises(SystemExit, match="do not make the file"):
        wheels.join(tmp_path / "parts", tmp_path / "made")
    parts[0].unlink()
    with pytest.raises(SystemExit, match="parts are missing"):
        wheels.join(tmp_path / "parts", tmp_path / "made")


def test_parts_that_name_a_file_elsewhere_are_not_joined(tmp_path: Path) -> None:
    listing = {"name": "../other.whl", "sha256": "", "parts": []}
    (tmp_path / "p.json").write_text(json.dumps(listing))
    with pytest.raises(SystemExit, match="another folder"):
        script("wheels").join(tmp_path, tmp_path / "made")
