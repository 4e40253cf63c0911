"""The sweep with real child processes and fake engines: order, isolation, resume, and what a crash leaves."""

from __future__ import annotations

import os
import signal
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from llmsizer.cli.measure import measuring
from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.record_parts import SamplesFile
from llmsizer.facts.records import SCHEMA_VERSION, DeviceRecord, ProfileRecord, QualityRecord
from llmsizer.facts.variant import Variant
from llmsizer.profile import append_record, profile, read_records
from llmsizer.profile.child import Child
from llmsizer.profile.device import _cpu_identity, same_device
from llmsizer.profile.row import Stopping
from llmsizer.profile.store import read_samples
from processes import has_ended
from recorded_children import DEVICE, POINTS, Recorded, recorded, variant


@pytest.fixture(autouse=True)
def children_find_the_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))


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
    log.clear()
    assert (
        profile([variant("A")], POINTS, records_path=path, repeats=2, device=DEVICE, start_child=recorded(log))
        == second
    )
    assert not log


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
    assert records[0].hardware is not None and (records[0].hardware.load_average or 0.0) >= 0.0
    assert records[1].phases is not None and records[1].tpot_seconds
    assert records[1].phases.decode_step_wall_seconds == records[1].tpot_seconds
    assert records[1].phases.decode_tokens_per_second == records[1].batch / records[1].tpot_seconds
    assert (records[0].process_peak_bytes or 0) > (records[0].process_anonymous_bytes or 0) > 1e6
    assert read_records(tmp_path / "records.jsonl", ProfileRecord) == (records, [])


@pytest.mark.parametrize(
    ("engine", "reason"),
    [
        ("DiesAtBatch2", "killed by SIGKILL"),
        ("RefusesBatch2", "MemoryError: cannot allocate"),
        ("OutOfMemory", "Unable to allocate 8.00 GiB"),
    ],
)
def test_a_crash_is_a_row_and_the_other_points_are_kept(tmp_path: Path, engine: str, reason: str) -> None:
    records = measured(tmp_path, engine)
    assert [record.status for record in records] == ["ok", "failed"]
    assert reason in str(records[1].failure)


def test_a_child_that_cannot_load_says_why_in_every_row(tmp_path: Path) -> None:
    records = measured(tmp_path, "ExitsAtLoad")
    assert [record.failure for record in records] == ["exit code 3: library not found"] * 2


def test_an_engine_that_stops_early_is_not_believed(tmp_path: Path) -> None:
    assert "2 tokens a request, not the 3" in str(measured(tmp_path, "StopsEarly")[0].failure)


def test_an_engine_whose_logits_are_no_numbers_is_a_row_that_says_so(tmp_path: Path) -> None:
    records = measured(tmp_path, "NotFinite")
    assert [record.status for record in records] == ["failed"] * 2
    assert "not finite" in str(records[0].failure)


def test_a_library_that_writes_into_the_protocol_is_a_row(tmp_path: Path) -> None:
    assert "no answer" in str(measured(tmp_path, "WritesToTheProtocol")[0].failure)


def test_what_an_engine_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEFT_CHILD", str(tmp_path / "pid"))
    assert measured(tmp_path, "LeavesAChild")[0].failure == "killed by SIGKILL"
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_what_an_engine_tells_of_itself_stands_in_the_row(tmp_path: Path) -> None:
    record = measured(tmp_path, "Talks")[0]
    assert record.kernels == ("MarlinLinearKernel",)
    assert record.memory is not None
    assert (record.memory.weights_bytes, record.memory.kv_pool_bytes) == (5.0, 7.0)
    assert record.memory.peak_allocated_bytes == {"run": 123.0}
    assert (record.memory.host_resident_peak_bytes or 0) > 1e6


def test_the_raw_samples_lie_beside_the_row_and_are_those_that_were_hashed(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    record = measured(tmp_path, "Quick")[0]
    samples = read_samples(path, record)
    assert len(samples) == record.repeats == 2
    assert [len(sample.token_seconds) for sample in samples] == [3, 3]
    first, *rest = samples[0].token_seconds
    assert first - samples[0].sent_seconds == pytest.approx(record.ttft_samples[0])
    assert sum(b - a for a, b in pairwise((first, *rest))) / 2 == pytest.approx(record.tpot_samples[0])
    file = tmp_path / (record.samples or pytest.fail()).file
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(MeasurementError, match="their hash differs"):
        read_samples(path, record)
    outside = record.model_copy(update={"samples": SamplesFile(file="../../etc/passwd", sha256="", count=1)})
    with pytest.raises(MeasurementError, match="outside"):
        read_samples(path, outside)


def test_rows_name_where_the_quality_of_their_variant_was_measured(tmp_path: Path) -> None:
    known: dict[str, Any] = {"model": "m", "precision": "fp16", "engine": "e", "dataset": "d", "documents": 2}
    known |= {"tokens": 512, "perplexity": 9.0, "perplexity_standard_error": 0.5}
    for name, more in (("A", {"kl_nats_per_token": 0.25, "kl_nats_per_token_low": 0.125}), ("B", {})):
        append_record(tmp_path / "q.jsonl", QualityRecord(variant=name, method=name, **known, **more))
    qualities = measuring._qualities(str(tmp_path / "q.jsonl"))
    asked: dict[str, Any] = {"records_path": tmp_path / "r", "repeats": 1, "device": DEVICE, "qualities": qualities}
    variants = [variant("A"), variant("B"), variant("C")]
    a, b, c = profile(variants, POINTS[:1], start_child=recorded([]), **asked)
    assert a.quality is not None and b.quality is not None and c.quality is None
    assert (a.quality.metric, a.quality.value, a.quality.low, a.quality.tokens) == (
        "kl_nats_per_token",
        0.25,
        0.125,
        512,
    )
    assert (b.quality.metric, b.quality.value, b.quality.low) == ("perplexity", 9.0, None)
    assert a.quality.content_id != b.quality.content_id
    assert read_records(tmp_path / "r", ProfileRecord) == ([a, b, c], [])


class Noisy(Recorded):
    """TTFT scatters by 30 % for A and not at all for B."""

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        answer = super().ask(action, **arguments)
        if action == "measure" and self._name == "A":
            answer["ttft_seconds"] *= 1.3 if arguments["run"] % 2 else 0.7
        return answer


@pytest.mark.parametrize(("width", "runs"), [(1.0, 3), (0.25, None), (0.0001, 12)])
def test_repeats_go_on_until_the_interval_is_narrow_and_never_beyond_the_bound(
    tmp_path: Path, width: float, runs: int | None
) -> None:
    log: list[tuple[str, str, int]] = []
    stopping = Stopping(relative_width=width, most_repeats=12)
    records = profile(
        [variant("A"), variant("B")],
        POINTS[:1],
        records_path=tmp_path / "r",
        repeats=3,
        stopping=stopping,
        device=DEVICE,
        start_child=lambda v, engine: Noisy(log, v.name),
    )
    counts = {record.repeats for record in records}
    assert len(counts) == 1  # the steady one is measured on too: the i-th runs are pairs
    if runs is not None:
        assert counts == {runs}
    else:
        low, high = records[0].ttft_seconds_low, records[0].ttft_seconds_high
        assert 3 < records[0].repeats < 12 and low and high and high - low <= 2.0 * width * 0.21


def test_a_row_of_a_newer_schema_is_skipped_with_a_line(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    records = measured(tmp_path, "Quick")
    append_record(path, records[0].model_copy(update={"schema_version": SCHEMA_VERSION + 1}))
    found, problems = read_records(path, ProfileRecord)
    assert found == records
    assert len(problems) == 1 and f"reads up to {SCHEMA_VERSION}: upgrade" in problems[0]


def test_records_of_the_first_schema_are_read(tmp_path: Path) -> None:
    shipped = Path(__file__).parent.parent / "dashboards" / "example" / "profiles.jsonl"
    found, problems = read_records(shipped, ProfileRecord)
    assert len(found) == 18 and not problems
    assert {record.schema_version for record in found} == {1}
    assert all(record.carries_step_times and record.memory is None for record in found)


def test_a_silent_child_is_ended_at_the_time_limit(tmp_path: Path) -> None:
    def impatient(v: Variant, engine: str) -> Child:
        child = Child(v, engine)
        child._timeout = 0.2
        return child

    records = measured(tmp_path, "Hangs", start_child=impatient)
    assert [record.failure for record in records] == ["no answer for 0 s; killed"] * 2


def test_a_child_that_its_driver_holds_keeps_nobody_from_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    child = Child(variant("A"), "fake_engines:Quick")
    process = child._process

    def held(seconds: float) -> int:
        raise subprocess.TimeoutExpired("worker", seconds)

    with monkeypatch.context() as patch:
        patch.setattr(process, "wait", held)
        child.close()
    assert process.wait() == -signal.SIGKILL


def test_laps_go_over_all_points_so_that_each_is_measured_early_and_late(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    asked: dict[str, Any] = {"records_path": tmp_path / "r", "repeats": 2, "device": DEVICE}
    profile([variant("A"), variant("B")], POINTS, start_child=recorded(log), **asked)
    order = [f"{name}{batch}" for action, name, batch in log if action == "measure"]
    assert order == ["A1", "B1", "A2", "B2", "B1", "A1", "B2", "A2"]


def test_an_engine_that_rebuilds_for_each_shape_stays_at_a_point(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    held = variant("A").model_copy(update={"format": "huggingface"})
    asked: dict[str, Any] = {"records_path": tmp_path / "r", "repeats": 3, "device": DEVICE}
    profile([held], POINTS, start_child=recorded(log), engine="transformers-static", **asked)
    assert [batch for action, _, batch in log if action == "measure"] == [1, 1, 1, 2, 2, 2]


class Ticking(Recorded):
    """Each run begins four seconds after the last."""

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        return {**super().ask(action, **arguments), "started_seconds": 4.0 * len(self._log)}


def test_repeats_go_on_until_they_are_spread_over_the_time_asked_for(tmp_path: Path) -> None:
    log: list[tuple[str, str, int]] = []
    asked: dict[str, Any] = {"records_path": tmp_path / "r", "repeats": 2, "device": DEVICE}
    records = profile(
        [variant("A")], POINTS, start_child=lambda v, engine: Ticking(log, v.name), least_seconds=60.0, **asked
    )
    # a run every 4 s: 60 s lie between the first and the sixteenth, eight of each point
    assert [record.repeats for record in records] == [8, 8] or [record.repeats for record in records] == [9, 9]


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
