"""A sweep that is stopped, killed or broken off: what was measured is kept, and the next call takes the rest."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from llmsizer.cli import main
from llmsizer.cli.measure import measuring
from llmsizer.facts.records import CUT_SHORT, ProfileRecord
from llmsizer.facts.variant import Variant
from llmsizer.profile import profile, read_records
from llmsizer.profile import sweep as sweeps
from llmsizer.profile.child import WorkerDied
from llmsizer.profile.flags import warnings
from llmsizer.profile.journal import keep_run, kept_runs
from llmsizer.profile.store import append_once, read_samples
from recorded_children import DEVICE, POINTS, Log, Recorded, recorded, variant


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda file: None)


VARIANTS = (variant("A"), variant("B"))
REPEATS = 3


def _kill_test() -> ModuleType:
    """The benchmark as a module: what it does a thousand times is done a few times here."""
    spec = importlib.util.spec_from_file_location(
        "kill_test", Path(__file__).parent.parent / "benchmarks" / "kill_test.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class Breaking(Recorded):
    """Takes a time of its own for every run of a point, and is broken before the n-th question to all."""

    def __init__(self, log: Log, name: str, at: int | None = None, by: BaseException | None = None) -> None:
        super().__init__(log, name)
        self._at, self._by = at, by

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        answer = super().ask(action, **arguments)
        if self._by is not None and len(self._log) == self._at:
            raise self._by
        if action == "measure":  # a run is known by its number, so that one taken twice would show
            answer["ttft_seconds"] = 0.2 + 0.001 * arguments["run"] + 0.01 * arguments["point"]["batch"]
        return answer


def sweep(path: Path, log: Log, *, at: int | None = None, by: BaseException | None = None) -> list[ProfileRecord]:
    def start(v: Variant, engine: str) -> Any:
        return Breaking(log, v.name, at, by)

    return profile(VARIANTS, POINTS, records_path=path, repeats=REPEATS, device=DEVICE, start_child=start)


def measured(log: Log) -> Counter[tuple[str, int]]:
    return Counter((name, batch) for action, name, batch in log if action == "measure")


def rows(path: Path) -> list[ProfileRecord]:
    found, problems = read_records(path, ProfileRecord)
    assert not problems
    for record in found:
        assert len(read_samples(path, record)) == record.repeats == len(record.ttft_samples)
    return found


def whole_sweep(tmp_path: Path) -> tuple[int, dict[str, tuple[float, ...]]]:
    """How many questions an undisturbed sweep asks, and what it measures."""
    log: Log = []
    records = sweep(tmp_path / "undisturbed", log)
    return len([entry for entry in log if entry[0] != "close"]), {r.record_id: r.ttft_samples for r in records}


def test_ctrl_c_at_any_moment_leaves_rows_of_what_was_measured_and_the_next_call_takes_the_rest(tmp_path: Path) -> None:
    questions, wanted = whole_sweep(tmp_path)
    assert questions == len(VARIANTS) * len(POINTS) * (1 + REPEATS)
    for at in range(1, questions + 1):
        path, log = tmp_path / f"r{at}", []  # type: ignore[var-annotated]
        with pytest.raises(sweeps.Interrupted) as stopped:
            sweep(path, log, at=at, by=KeyboardInterrupt())
        assert log[-1][0] == "close"
        before = measured(log[: at - 1])  # the question at which it came has no answer
        kept = rows(path)
        assert {(r.variant, r.batch): r.repeats for r in kept} == before
        assert all(CUT_SHORT in r.flags and not r.is_finished and r.carries_step_times for r in kept)
        assert {r.record_id for r in stopped.value.records} == {r.record_id for r in kept}
        again: Log = []
        records = sweep(path, again)
        assert before + measured(again) == Counter({(v.name, p.batch): REPEATS for v in VARIANTS for p in POINTS})
        assert {r.record_id: r.ttft_samples for r in records} == wanted
        assert all(record.is_finished for record in records)
        assert sorted(rows(path), key=lambda r: r.record_id) == sorted(records, key=lambda r: r.record_id)
        assert not list(path.with_name(f"{path.name}.samples").glob("*.runs.jsonl"))


@pytest.mark.parametrize("at", range(1, 17))
def test_a_crash_in_a_late_repeat_keeps_the_earlier_ones_and_the_other_points(tmp_path: Path, at: int) -> None:
    path, log = tmp_path / "r", []  # type: ignore[var-annotated]
    records = sweep(path, log, at=at, by=WorkerDied("killed by SIGKILL"))
    _, name, batch = log[at - 1]
    earlier = measured(log[: at - 1])[name, batch]
    (broken,) = [r for r in records if not r.is_finished]
    assert (broken.variant, broken.batch) == (name, batch)
    assert len([r for r in records if r.is_finished and r.repeats == REPEATS]) == 3
    if earlier:
        assert (broken.status, broken.repeats, broken.flags.count(CUT_SHORT)) == ("ok", earlier, 1)
        assert broken.failure == f"killed by SIGKILL, in repeat {earlier + 1}"
        assert any("killed by SIGKILL" in line for line in warnings(records, lambda r: r.variant))
    else:
        assert (broken.status, broken.failure, broken.repeats) == ("failed", "killed by SIGKILL", 0)
    again: Log = []
    records = sweep(path, again)
    assert measured(again) == {(name, batch): REPEATS - earlier}
    assert all(r.is_finished and r.repeats == REPEATS for r in records)
    finished = [r for r in rows(path) if r.status == "ok"]
    assert len(finished) == 4 and all(r.is_finished for r in finished)


def test_a_run_that_cannot_be_believed_leaves_nothing_of_its_point(tmp_path: Path) -> None:
    class Mad(Breaking):
        def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
            answer = super().ask(action, **arguments)
            if arguments.get("run") == REPEATS:
                answer["ttft_seconds"] = float("nan")
            return answer

    path = tmp_path / "r"
    (record,) = profile(
        VARIANTS[:1], POINTS[:1], records_path=path, repeats=REPEATS, device=DEVICE,
        start_child=lambda v, engine: Mad([], v.name),
    )  # fmt: skip
    assert (record.status, record.repeats) == ("failed", 0)
    assert "nothing was kept" in str(record.failure)
    assert not kept_runs(path, record.record_id)


def test_a_real_child_that_is_killed_in_its_third_run_leaves_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("LIFETIMES", str(tmp_path / "lifetimes"))
    asked: dict[str, Any] = {"records_path": tmp_path / "r", "repeats": 4, "device": DEVICE}
    (first,) = profile(VARIANTS[:1], POINTS[:1], engine="fake_engines:DiesOnceInRun3", **asked)
    assert (first.repeats, first.is_cut_short) == (2, True)
    assert first.failure == "killed by SIGKILL, in repeat 3"
    (whole,) = profile(VARIANTS[:1], POINTS[:1], engine="fake_engines:DiesOnceInRun3", **asked)
    assert whole.is_finished and whole.failure is None
    assert whole.ttft_samples[:2] == first.ttft_samples and whole.repeats == 4


def test_rows_cut_short_give_way_to_those_that_hold_more_in_files_and_stores(tmp_path: Path) -> None:
    path = tmp_path / "r"
    for at in (13, 2):
        with pytest.raises(KeyboardInterrupt):
            sweep(path, [], at=at, by=KeyboardInterrupt())
    lines = [ProfileRecord.model_validate_json(line) for line in path.read_text().splitlines()]
    shown = rows(path)
    assert len(lines) > len(shown) == 4
    sweep(path, [])
    lines = [ProfileRecord.model_validate_json(line) for line in path.read_text().splitlines()]
    pytest.importorskip("sqlalchemy")
    from llmsizer.store import open_store

    with open_store(str(tmp_path / "store.sqlite")) as store:
        store.add("records", lines)
        assert {(r.record_id, r.repeats) for r in store.profiles()} == {(r.record_id, REPEATS) for r in rows(path)}


def test_the_command_shows_what_an_interrupted_sweep_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "r.jsonl"
    with pytest.raises(sweeps.Interrupted) as stopped:
        sweep(records, [], at=14, by=KeyboardInterrupt())

    def interrupted(arguments: Any) -> list[ProfileRecord]:
        raise stopped.value

    monkeypatch.setattr(measuring, "_measured", interrupted)
    assert main(["profile", str(tmp_path), "--records", str(records)]) == 130
    out, err = capsys.readouterr()
    assert "stopped before all its repeats" in out and "the same command goes on" in err
    assert main(["records", "list", str(records)]) == 0
    assert CUT_SHORT in capsys.readouterr().out


def test_a_command_that_could_measure_nothing_says_so_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = profile(
        VARIANTS, POINTS, records_path=tmp_path / "r", repeats=1, device=DEVICE,
        start_child=lambda v, engine: Breaking([], v.name, 1, WorkerDied("exit code 3: library not found")),
    )  # fmt: skip
    monkeypatch.setattr(measuring, "_measured", lambda arguments: records)
    assert main(["profile", str(tmp_path), "--json"]) == 1
    assert capsys.readouterr().err == (
        "llmsizer: nothing could be measured; the first point: exit code 3: library not found\n"
    )
    monkeypatch.setattr(measuring, "_measured", lambda arguments: [*records, *sweep(tmp_path / "other", [])])
    assert main(["profile", str(tmp_path), "--json"]) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("at_ctrl_c", [signal.default_int_handler, signal.SIG_IGN])
def test_being_terminated_is_like_ctrl_c_and_only_while_measuring(number: signal.Signals, at_ctrl_c: Any) -> None:
    found = {each: signal.signal(each, signal.SIG_DFL) for each in (number, signal.SIGINT)}  # under nohup, ignored
    signal.signal(signal.SIGINT, at_ctrl_c)
    try:
        with pytest.raises(KeyboardInterrupt), measuring.ended_in_order():
            os.kill(os.getpid(), number)
            pytest.fail("the signal did nothing")
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        for each, handler in found.items():
            signal.signal(each, handler)


def test_a_point_that_another_process_finished_meanwhile_is_not_doubled(tmp_path: Path) -> None:
    path = tmp_path / "r"
    first = sweep(tmp_path / "other", [])[0]
    assert append_once(path, first) and not append_once(path, first)
    assert read_records(path, ProfileRecord)[0] == [first]


kill_test = _kill_test()


def test_ten_kills_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    result = kill_test.kill_many(10, seed=1, folder=tmp_path, longest_cpu_seconds=0.8)
    assert result.kills >= 10
    assert result.faults == 0, result


def test_a_torn_run_is_no_run(tmp_path: Path) -> None:
    answer = {"ttft_seconds": 0.2, "gaps_seconds": [0.1], "foreign_cpu_seconds": 0.0}
    keep_run(tmp_path / "r", "id", answer)
    file = tmp_path / "r.samples" / "id.runs.jsonl"
    file.write_bytes(file.read_bytes() + b'{"ttft_seconds": 0.')
    keep_run(tmp_path / "r", "id", answer)  # what comes after the torn line is not swallowed by it
    assert kept_runs(tmp_path / "r", "id") == [answer, answer]


def test_a_sweep_whose_last_row_was_lost_measures_nothing_again(tmp_path: Path) -> None:
    path, log = tmp_path / "r", []  # type: ignore[var-annotated]
    asked: dict[str, Any] = {"records_path": path, "repeats": 2, "device": DEVICE}
    first = profile([variant("A")], POINTS[:1], start_child=recorded(log), **asked)[0]
    answer = {"ttft_seconds": 0.2, "gaps_seconds": [0.1, 0.1], "foreign_cpu_seconds": 0.0}
    path.unlink()
    for _ in range(2):
        keep_run(path, first.record_id, answer)
    log.clear()
    again = profile([variant("A")], POINTS[:1], start_child=recorded(log), **asked)[0]
    assert [action for action, _, _ in log] == ["warm", "close"]
    assert again.ttft_samples == first.ttft_samples
