"""Measure variants over operating points: interleaved, isolated, resumable.

Repeats go round the variants (A B C, B C A, …), so that a machine that slows down slows all of them down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant
from llmsizer.profile.child import Child, WorkerDied
from llmsizer.profile.device import describe_device, same_device
from llmsizer.profile.engines import chosen_engine
from llmsizer.profile.measure import Point, Sample
from llmsizer.profile.row import Request, Run, Stopping, failed_record, measured_record, record_id
from llmsizer.profile.row_parts import merged, request_samples
from llmsizer.profile.store import append_once, append_record, read_records, write_samples
from llmsizer.progress import Progress, silent

DEFAULT_POINTS = (
    Point(batch=1, prompt_tokens=32, output_tokens=16),
    Point(batch=1, prompt_tokens=128, output_tokens=16),
    Point(batch=1, prompt_tokens=512, output_tokens=16),
    Point(batch=4, prompt_tokens=64, output_tokens=16),
    Point(batch=8, prompt_tokens=64, output_tokens=16),
    Point(batch=16, prompt_tokens=64, output_tokens=16),
)
DEFAULT_REPEATS = 5  # the fewest whose extremes enclose the median with 90 % (1 − 2/2⁵ = 94 %)
# What a loaded variant takes over its file: engines repack weights beside the mapped ones (OpenVINO FP16: 3.5 times).
RESIDENT_OVER_FILE = 4.0
MEMORY_SHARE = 0.6
StartChild = Callable[[Variant, str], Any]


@dataclass(slots=True, kw_only=True)
class _Seat:
    """One variant in the round, with its child while it lives."""

    request: Request
    todo: list[Point]
    child: Any = None
    broken: str | None = None


def profile(
    variants: Sequence[Variant],
    points: Sequence[Point] = DEFAULT_POINTS,
    *,
    records_path: Path,
    repeats: int = DEFAULT_REPEATS,
    engine: str | None = None,
    seed: int = 0,
    stopping: Stopping | None = None,
    device: DeviceRecord | None = None,
    start_child: StartChild = Child,
    progress: Progress = silent,
) -> list[ProfileRecord]:
    """Measure each variant at each point and append a record for each; finished points are read, not repeated.

    A crash, a refusal or a silence becomes a failed record and the other points go on; failed points are tried again by
    the next call. ``stopping``: measure on after ``repeats`` until the intervals are narrow enough, all variants alike,
    so that their runs stay pairs. Returns one record per variant and point, in the variants' order. Raises InputError.
    """
    if repeats < 1 or not variants or not points:
        raise InputError("nothing to measure; give at least one variant, one point and one repeat")
    stored, _ = read_records(records_path, ProfileRecord)
    device = device or same_device(record.device for record in stored) or describe_device()
    sweep_id = uuid.uuid4().hex[:12]
    requests = [
        Request(
            variant=v,
            engine=chosen_engine(v, engine),
            device=device,
            repeats=repeats,
            seed=seed,
            stopping=stopping,
            sweep_id=sweep_id,
        )
        for v in variants
    ]
    done = {record.record_id: record for record in stored if record.status == "ok"}
    seats = [_Seat(request=r, todo=[p for p in points if record_id(r, p) not in done]) for r in requests]
    work = _Work(records_path=records_path, start_child=start_child, progress=progress)
    work.total = max(1, sum(len(seat.todo) for seat in seats) * (repeats + 1))
    for group in _groups([seat for seat in seats if seat.todo], device):
        work.measure_group(group)
    found = done | {record.record_id: record for record in work.records}
    return [found[record_id(request, point)] for request in requests for point in points]


def _groups(seats: list[_Seat], device: DeviceRecord) -> list[list[_Seat]]:
    """All variants at once where they fit into memory together, else one after the other."""
    needed = sum(seat.request.variant.weights_bytes for seat in seats) * RESIDENT_OVER_FILE
    if needed <= MEMORY_SHARE * (device.memory_bytes or 0.0):
        return [seats]
    return [[seat] for seat in seats]


class _Work:
    """The running sweep: what is written, how far it is."""

    def __init__(self, *, records_path: Path, start_child: StartChild, progress: Progress) -> None:
        self.records: list[ProfileRecord] = []
        self.total = 1
        self._done = 0
        self._path, self._start_child, self._progress = records_path, start_child, progress

    def measure_group(self, seats: list[_Seat]) -> None:
        points = sorted({p for seat in seats for p in seat.todo}, key=lambda p: (p.work_tokens, dataclasses.astuple(p)))
        try:
            for point in points:  # from small to large: a process keeps the buffers of its largest point
                self._measure_point([seat for seat in seats if point in seat.todo], point, alone=len(seats) == 1)
        finally:
            for seat in seats:
                self._close(seat)

    def _measure_point(self, seats: list[_Seat], point: Point, *, alone: bool) -> None:
        runs = {id(seat): Run(interleaved=not alone) for seat in seats}
        for seat in seats:
            self._step(seat, point, partial(self._warm, seat, point, runs[id(seat)]))
        for repeat in itertools.count():
            if not self._goes_on(seats, runs, repeat):
                break
            start = repeat % len(seats)
            for seat in (*seats[start:], *seats[:start]):
                self._step(seat, point, partial(_measure, seat, point, repeat, runs[id(seat)]))
        for seat in seats:
            if seat.broken is None:
                self._finish(seat, point, runs[id(seat)])
            seat.broken = None

    @staticmethod
    def _goes_on(seats: list[_Seat], runs: dict[int, Run], repeat: int) -> bool:
        """Every seat as often as the least sure of them needs: the i-th runs of all are pairs."""
        alive = [seat for seat in seats if seat.broken is None]
        if repeat < max(seat.request.repeats for seat in seats):
            return bool(alive)
        return any(s.request.stopping and not runs[id(s)].is_narrow(s.request.stopping) for s in alive)

    def _step(self, seat: _Seat, point: Point, action: Callable[[], None]) -> None:
        self._done += 1
        name = seat.request.variant.name
        shape = f"batch {point.batch}, prompt {point.prompt_tokens}"
        self._progress(f"measuring {name}: {shape}", min(1.0, self._done / self.total))
        if seat.broken is not None:
            return
        try:
            action()
        except (WorkerDied, MeasurementError) as error:
            seat.broken = str(error)
            self._write(failed_record(seat.request, point, seat.broken))
            self._close(seat)  # what failed once may be left in any state

    def _warm(self, seat: _Seat, point: Point, run: Run) -> None:
        if seat.child is None:
            seat.child = self._start_child(seat.request.variant, seat.request.engine)
        run.loaded = seat.child.loaded
        run.memory = seat.child.ask("warm", point=dataclasses.asdict(point), seed=seat.request.seed)

    def _finish(self, seat: _Seat, point: Point, run: Run) -> None:
        """Samples first: a row that is there has everything it speaks of."""
        samples = write_samples(self._path, record_id(seat.request, point), request_samples(point, run.samples))
        record = measured_record(seat.request, point, run, samples)
        append_once(self._path, record)
        self.records.append(record)

    def _write(self, record: ProfileRecord) -> None:
        append_record(self._path, record)
        self.records.append(record)

    def _close(self, seat: _Seat) -> None:
        if seat.child is not None:
            with contextlib.suppress(OSError):
                seat.child.close()
            seat.child = None


def _measure(seat: _Seat, point: Point, repeat: int, run: Run) -> None:
    # run 0 was the warm-up; no two runs share a prompt
    answer = seat.child.ask("measure", point=dataclasses.asdict(point), seed=seat.request.seed, run=repeat + 1)
    sample = Sample(
        ttft_seconds=answer["ttft_seconds"],
        gaps_seconds=tuple(answer["gaps_seconds"]),
        started_seconds=answer.get("started_seconds", 0.0),
    )
    if not sample.is_plausible:
        raise MeasurementError("the engine's times are not finite; nothing was kept of the point")
    run.parts = merged(run.parts, answer.get("parts", {}))
    run.samples.append(sample)
    run.foreign_cpu_seconds += answer["foreign_cpu_seconds"]
    run.core_seconds += sample.total_seconds * (os.cpu_count() or 1)
