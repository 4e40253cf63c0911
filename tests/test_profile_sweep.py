"""The sweep with real child processes and fake engines: order, isolation, resume, and what a crash leaves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.profile import Point, append_record, profile, read_records
from llmsizer.profile.child import Child
from llmsizer.profile.device import _cpu_identity, same_device

DEVICE = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
POINTS = (Point(batch=1, prompt_tokens=4, output_tokens=3), Point(batch=2, prompt_tokens=4, output_tokens=3))


@pytest.fixture(autouse=True)
def children_find_the_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))


def variant(name: str) -> Variant:
    parts = (WeightPart(format="fp16", params=10, bytes=20),)
    return Variant(
        path=Path("/x"), model="m", name=name, precision="fp16", method=name, format="openvino-ir", parts=parts
    )


class Recorded:
    """A child that notes what it is asked, in one list for all."""

    def __init__(self, log: list[tuple[str, str, int]], name: str, fail_at: tuple[str, int] | None = None) -> None:
        self.loaded = {"version": "1", "load_seconds": 0.5, "options": {}}
        self._log, self._name, self._fail_at = log, name, fail_at

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        batch = arguments["point"]["batch"]
        self._log.append((action, self._name, batch))
        if (action, batch) == self._fail_at:
            raise MeasurementError("out of luck")
        if action == "warm":
            return {"resident_bytes": 1.0, "anonymous_bytes": 1.0, "allocator_bytes": None}
        return {"ttft_seconds": 0.2, "gaps_seconds": [0.1, 0.1], "foreign_cpu_seconds": 0.0}

    def close(self) -> None:
        self._log.append(("close", self._name, 0))


def recorded(log: list[tuple[str, str, int]], **fail_at: tuple[str, int]) -> Callable[[Variant, str], Any]:
    return lambda v, engine: Recorded(log, v.name, fail_at.get(v.name))


def test_repeats_go_round_the_variants_after_each_was_warmed(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    profile(
        [variant("A"), variant("B"), variant("C")],
        POINTS[:1],
        records_path=tmp_path / "r",
        repeats=3,
        device=DEVICE,
        start_child=recorded(log),
    )
    assert [(action, name) for action, name, _ in log[:3]] == [("warm", "A"), ("warm", "B"), ("warm", "C")]
    assert "".join(name for action, name, _ in log if action == "measure") == "ABC" + "BCA" + "CAB"


def test_variants_that_do_not_fit_together_are_measured_one_by_one(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    small = DEVICE.model_copy(update={"memory_bytes": 100.0})
    records = profile(
        [variant("A"), variant("B")],
        POINTS[:1],
        records_path=tmp_path / "r",
        repeats=2,
        device=small,
        start_child=recorded(log),
    )
    assert "".join(name for action, name, _ in log if action == "measure") == "AABB"
    assert log.index(("close", "A", 0)) < log.index(("warm", "B", 1))
    assert all("not_interleaved" in record.flags for record in records)


def test_finished_points_are_not_measured_again(tmp_path: Path) -> None:
    path, log = tmp_path / "records.jsonl", []  # type: ignore[var-annotated]
    first = profile([variant("A")], POINTS[:1], records_path=path, repeats=2, device=DEVICE, start_child=recorded(log))
    log.clear()
    second = profile([variant("A")], POINTS, records_path=path, repeats=2, device=DEVICE, start_child=recorded(log))
    assert {batch for action, _, batch in log if action == "measure"} == {2}
    assert second[0] == first[0]
    assert len(read_records(path, ProfileRecord)[0]) == 2


def test_a_failed_point_is_a_row_with_its_reason_and_is_tried_again(tmp_path: Path) -> None:
    path, log = tmp_path / "records.jsonl", []  # type: ignore[var-annotated]
    start = recorded(log, A=("measure", 1))
    records = profile(
        [variant("A"), variant("B")], POINTS, records_path=path, repeats=2, device=DEVICE, start_child=start
    )
    found = {(r.variant, r.batch): (r.status, r.failure) for r in records}
    assert found[("A", 1)] == ("failed", "out of luck")
    assert [found[key][0] for key in (("A", 2), ("B", 1), ("B", 2))] == ["ok"] * 3
    again = profile([variant("A")], POINTS, records_path=path, repeats=2, device=DEVICE, start_child=recorded(log))
    assert [record.status for record in again] == ["ok", "ok"]


def measured(tmp_path: Path, engine: str, **options: Any) -> list[ProfileRecord]:
    return profile(
        [variant("A")],
        POINTS,
        records_path=tmp_path / "records.jsonl",
        repeats=2,
        engine=f"fake_engines:{engine}",
        device=DEVICE,
        **options,
    )


def test_a_real_child_measures_and_its_prints_disturb_nothing(tmp_path: Path) -> None:
    records = measured(tmp_path, "Quick")
    assert [record.status for record in records] == ["ok", "ok"]
    assert records[0].allocator_peak_bytes == 123.0
    assert records[0].engine_options == {"arithmetic": "none"}
    assert (records[0].process_peak_bytes or 0) > (records[0].process_anonymous_bytes or 0) > 1e6
    assert read_records(tmp_path / "records.jsonl", ProfileRecord) == (records, [])


@pytest.mark.parametrize(
    ("engine", "reason"),
    [("DiesAtBatch2", "killed by SIGKILL"), ("RefusesBatch2", "MemoryError: cannot allocate")],
)
def test_a_crash_is_a_row_and_the_other_points_are_kept(tmp_path: Path, engine: str, reason: str) -> None:
    records = measured(tmp_path, engine)
    assert [record.status for record in records] == ["ok", "failed"]
    assert records[1].failure == reason


def test_a_child_that_cannot_load_says_why_in_every_row(tmp_path: Path) -> None:
    records = measured(tmp_path, "ExitsAtLoad")
    assert [record.failure for record in records] == ["exit code 3: library not found"] * 2


def test_an_engine_that_stops_early_is_not_believed(tmp_path: Path) -> None:
    assert "2 tokens a request, not the 3" in str(measured(tmp_path, "StopsEarly")[0].failure)


def test_a_silent_child_is_ended_at_the_time_limit(tmp_path: Path) -> None:
    def impatient(v: Variant, engine: str) -> Child:
        child = Child(v, engine)
        child._timeout = 0.2
        return child

    records = measured(tmp_path, "Hangs", start_child=impatient)
    assert [record.failure for record in records] == ["no answer for 0 s; killed"] * 2


def test_ctrl_c_keeps_what_was_measured_and_ends_the_children(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    seen: list[str] = []

    def interrupt(what: str, fraction: float) -> None:
        seen.append(what)
        if "batch 2" in what:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        profile(
            [variant("A")],
            POINTS,
            records_path=tmp_path / "r",
            repeats=2,
            device=DEVICE,
            start_child=recorded(log),
            progress=interrupt,
        )
    assert log[-1] == ("close", "A", 0)
    assert [record.batch for record in read_records(tmp_path / "r", ProfileRecord)[0]] == [1]


def test_a_torn_line_is_reported_skipped_and_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    append_record(path, DEVICE)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    append_record(path, DEVICE)
    records, problems = read_records(path, DeviceRecord)
    assert records == [DEVICE, DEVICE]
    assert len(problems) == 1 and ":2: skipped" in problems[0]


def test_nothing_to_measure_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to measure"):
        profile([], POINTS, records_path=tmp_path / "r", device=DEVICE)


def test_a_resumed_sweep_keeps_the_device_it_began_with() -> None:
    name, cores, memory_bytes = _cpu_identity()
    mine = DeviceRecord(name=name, kind="cpu", cores=cores, memory_bytes=memory_bytes, copy_bytes_per_second=1.0)
    later = mine.model_copy(update={"copy_bytes_per_second": 2.0})
    if not Path("/dev/nvidia0").exists():
        assert same_device([mine, later, DEVICE]) == later
    assert same_device([DEVICE]) is None
