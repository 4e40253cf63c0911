"""Measure variants over operating points: interleaved, spread over time, isolated, resumable.

Repeats go in laps over all points, and at each point round the variants (A B C, B C A, …): a machine that slows down
slows all variants down, and each point is measured in the machine's good and bad moments alike. Single runs are kept on
the disk until their point's row is, so that a sweep goes on where it was killed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant
from llmsizer.profile.child import Child, WorkerDied
from llmsizer.profile.device import describe_device, same_device
from llmsizer.profile.drift import Drift
from llmsizer.profile.engines import chosen_engine, stays_at_a_point
from llmsizer.profile.journal import drop_runs, keep_run, keep_told, kept_runs, kept_told
from llmsizer.profile.measure import Point, Sample
from llmsizer.profile.row import (
    Qualities,
    Request,
    Run,
    Stopping,
    drift_during,
    failed_record,
    measured_record,
    record_id,
    with_quality,
)
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
DEFAULT_REPEATS = 10  # fewer cannot tell a machine's drift from noise
DEFAULT_LEAST_SECONDS = 90.0  # a few times what machines take to change their pace, where we saw it: 10–25 s
# What a loaded variant takes over its file: engines repack weights beside the mapped ones (OpenVINO FP16: 3.5 times).
RESIDENT_OVER_FILE = 4.0
MEMORY_SHARE = 0.6
StartChild = Callable[[Variant, str], Any]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C came; ``records``: the rows there are of what was asked, those of points cut short among them."""

    def __init__(self, records: list[ProfileRecord]) -> None:
        super().__init__()
        self.records = records


@dataclass(slots=True, kw_only=True)
class _Seat:
    """One variant in the round, with its child while it lives."""

    request: Request
    todo: list[Point]
    runs: dict[Point, Run] = field(default_factory=dict)
    child: Any = None
    warm: set[Point] = field(default_factory=set)  # shapes that this child has run

    def begins(self, points: Sequence[Point], records_path: Path, *, alone: bool) -> None:
        """What an earlier process measured of these points is taken over."""
        for point in points:
            if point in self.todo:
                name = record_id(self.request, point)
                loaded, memory = kept_told(records_path, name)
                self.runs[point] = run = Run(interleaved=not alone, loaded=loaded, memory=memory)
                for answer in kept_runs(records_path, name):
                    _take(run, answer)

    def at(self, point: Point) -> bool:
        """Whether the point is being measured: begun, and not broken off."""
        return point in self.runs and self.runs[point].failure is None


def profile(
    variants: Sequence[Variant],
    points: Sequence[Point] = DEFAULT_POINTS,
    *,
    records_path: Path,
    repeats: int = DEFAULT_REPEATS,
    engine: str | None = None,
    seed: int = 0,
    stopping: Stopping | None = None,
    least_seconds: float = 0.0,
    in_laps: bool = True,
    device: DeviceRecord | None = None,
    qualities: Qualities | None = None,
    start_child: StartChild = Child,
    progress: Progress = silent,
) -> list[ProfileRecord]:
    """Measure each variant at each point and append a record for each; finished points are read, not repeated.

    A crash, a refusal or a silence becomes a failed record and the other points go on; failed points are tried again by
    the next call. What breaks off after some of its repeats, by a crash or by Ctrl-C, becomes a record of those with
    the flag ``cut_short``; the next call takes the rest. ``stopping``: measure on after ``repeats`` until the intervals
    are narrow enough, all variants alike, so that their runs stay pairs. ``least_seconds``: measure on until the
    repeats are spread over as long. ``in_laps``: else one point after the other, so that rows are finished early where
    a machine may be taken away. ``qualities``: where the variants' quality was measured, for their rows to name it.

    Returns one record per variant and point, in the variants' order. Raises InputError, and Interrupted on Ctrl-C.
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
            least_seconds=least_seconds,
            sweep_id=sweep_id,
        )
        for v in variants
    ]
    work = _Work(records_path, start_child, progress, qualities or {}, in_laps=in_laps)
    found = {record.record_id: record for record in stored if record.is_finished}
    names = [record_id(request, point) for request in requests for point in points]
    try:
        work.measure([_Seat(request=r, todo=[p for p in points if record_id(r, p) not in found]) for r in requests])
    except KeyboardInterrupt:
        found |= {record.record_id: record for record in work.records}
        raise Interrupted([found[name] for name in names if name in found]) from None
    found |= {record.record_id: record for record in work.records}
    return [found[name] for name in names]


def _groups(seats: list[_Seat]) -> list[list[_Seat]]:
    """All variants at once where they fit into memory together, else one after the other."""
    needed = sum(seat.request.variant.weights_bytes for seat in seats) * RESIDENT_OVER_FILE
    if needed <= MEMORY_SHARE * (seats[0].request.device.memory_bytes or 0.0):
        return [seats]
    return [[seat] for seat in seats]


class _Work:
    """The running sweep: what is written, how far it is."""

    def __init__(
        self, records_path: Path, start_child: StartChild, progress: Progress, qualities: Qualities, *, in_laps: bool
    ) -> None:
        self.records: list[ProfileRecord] = []
        self._total, self._done = 1, 0
        self._path, self._start_child, self._progress = records_path, start_child, progress
        self._in_laps, self._qualities = in_laps, qualities

    def measure(self, seats: list[_Seat]) -> None:
        """All that the seats have to do."""
        busy = [seat for seat in seats if seat.todo]
        if busy:
            self._total = sum(len(seat.todo) for seat in busy) * (busy[0].request.repeats + 1)
            for group in _groups(busy):
                self._measure_group(group)

    def _measure_group(self, seats: list[_Seat]) -> None:
        # From small to large: a process keeps the buffers of its largest point, and the first lap looks at memory.
        points = sorted({p for seat in seats for p in seat.todo}, key=lambda p: (p.work_tokens, dataclasses.astuple(p)))
        stays = any(stays_at_a_point(seat.request.engine) for seat in seats)
        rounds = [points] if self._in_laps and not stays else [[point] for point in points]
        try:
            for together in rounds:
                for seat in seats:
                    seat.begins(together, self._path, alone=len(seats) == 1)
                self._go_round(seats, together, least_seconds=seats[0].request.least_seconds / len(rounds))
        finally:
            for seat in seats:
                self._close(seat)

    def _go_round(self, seats: list[_Seat], points: list[Point], *, least_seconds: float) -> None:
        """Laps over the points until each has what it needs; rows are written once the machine's drift is known.

        Whatever ends the laps before – Ctrl-C, a full disk – what was measured becomes rows.
        """
        going = list(points)
        try:
            for lap in itertools.count():
                going = [point for point in going if self._goes_on(seats, point, lap, least_seconds)]
                if not going:
                    break
                for point in going:
                    self._visit(seats, point, lap, seen=_seconds_seen(seats), least_seconds=least_seconds)
            for seat in seats:
                for point in [p for p in seat.runs if seat.at(p) and not seat.runs[p].loaded]:
                    self._step(seat, point, self._warm)  # all its runs are an earlier process's, which told nothing
        finally:
            self._write_rows(seats, points, going)

    @staticmethod
    def _goes_on(seats: list[_Seat], point: Point, lap: int, least_seconds: float) -> bool:
        """Every seat as often as the least sure of them needs: the i-th runs of all are pairs."""
        here = [seat for seat in seats if seat.at(point)]
        if not here or lap < here[0].request.repeats or any(len(seat.runs[point].samples) > lap for seat in here):
            return bool(here)
        if _seconds_seen(here) < least_seconds:
            return True
        return any(s.request.stopping and not s.runs[point].is_narrow(s.request.stopping) for s in here)

    def _visit(self, seats: list[_Seat], point: Point, lap: int, *, seen: float, least_seconds: float) -> None:
        """One run of each variant that has not got its run of this lap, after the shape was warmed."""
        here = [seat for seat in seats if seat.at(point)]
        missing = [seat for seat in here if len(seat.runs[point].samples) <= lap]
        for seat in missing:
            if point not in seat.warm:
                self._step(seat, point, self._warm)
        start = lap % len(here)
        for seat in (*here[start:], *here[:start]):
            if seat in missing and seat.at(point):
                self._step(seat, point, self._measure, waited=seen / least_seconds if least_seconds else 1.0)

    def _step(self, seat: _Seat, point: Point, action: Callable[[_Seat, Point], None], waited: float = 1.0) -> None:
        self._done += 1
        name = seat.request.variant.name
        shape = f"batch {point.batch}, prompt {point.prompt_tokens}"
        self._progress(f"measuring {name}: {shape}", min(1.0, waited, self._done / self._total))
        try:
            action(seat, point)
        except (WorkerDied, MeasurementError) as error:
            self._break_off(seat, point, str(error))

    def _break_off(self, seat: _Seat, point: Point, reason: str) -> None:
        """Nothing more of this point: what was measured of it stays, to be a row; without any, the reason is one."""
        run = seat.runs[point]
        if run.samples and run.loaded:
            run.failure = f"{reason}, in repeat {len(run.samples) + 1}"
        else:
            del seat.runs[point]
            if not run.samples:
                drop_runs(self._path, record_id(seat.request, point))
            record = failed_record(seat.request, point, reason)
            append_record(self._path, record)
            self.records.append(record)
        self._close(seat)  # what failed once may be left in any state

    def _warm(self, seat: _Seat, point: Point) -> None:
        if seat.child is None:
            seat.child = self._start_child(seat.request.variant, seat.request.engine)
        run = seat.runs[point]
        told = seat.child.ask("warm", point=dataclasses.asdict(point), seed=seat.request.seed)
        seat.warm.add(point)
        if not run.loaded:  # a later child only goes on
            run.loaded, run.memory = seat.child.loaded, told
            keep_told(self._path, record_id(seat.request, point), loaded=run.loaded, memory=run.memory)

    def _measure(self, seat: _Seat, point: Point) -> None:
        run = seat.runs[point]
        # run 0 was the warm-up; no two runs share a prompt
        number = len(run.samples) + 1
        answer = seat.child.ask("measure", point=dataclasses.asdict(point), seed=seat.request.seed, run=number)
        _take(run, answer)
        keep_run(self._path, record_id(seat.request, point), answer)

    def _write_rows(self, seats: list[_Seat], points: list[Point], going: list[Point]) -> None:
        """A row of each point that has runs; of those still ``going`` or broken off, one that says so."""
        drift = drift_during([run for seat in seats for run in seat.runs.values()])
        for seat in seats:
            for point in points:
                run = seat.runs.pop(point, None)
                if run is not None and run.samples and run.loaded:
                    run.is_cut_short = run.failure is not None or point in going
                    self._write_row(seat.request, point, run, drift)

    def _write_row(self, request: Request, point: Point, run: Run, drift: dict[str, Drift]) -> None:
        """Samples first: a row that is there has everything it speaks of."""
        name = record_id(request, point)
        samples = write_samples(self._path, name, request_samples(point, run.samples))
        record = with_quality(measured_record(request, point, run, samples, drift), self._qualities)
        if record.is_finished:
            append_once(self._path, record)
            drop_runs(self._path, name)
        else:
            append_record(self._path, record)
        self.records.append(record)

    def _close(self, seat: _Seat) -> None:
        seat.warm.clear()
        if seat.child is not None:
            with contextlib.suppress(OSError):
                seat.child.close()
            seat.child = None


def _seconds_seen(seats: list[_Seat]) -> float:
    """From the first run to the last, of all points."""
    times = [at for seat in seats for run in seat.runs.values() for at in run.started_seconds]
    return max(times, default=0.0) - min(times, default=0.0)


def _take(run: Run, answer: dict[str, Any]) -> None:
    """A worker's answer into the run, now or from the disk."""
    sample = Sample(
        ttft_seconds=answer["ttft_seconds"],
        gaps_seconds=tuple(answer["gaps_seconds"]),
        started_seconds=answer.get("started_seconds", 0.0),
    )
    if not sample.is_plausible:
        run.samples.clear()  # who measures so once is not believed at all
        raise MeasurementError("the engine's times are not finite; nothing was kept of the point")
    run.parts = merged(run.parts, answer.get("parts", {}))
    run.samples.append(sample)
    run.foreign_cpu_seconds += answer["foreign_cpu_seconds"]
    run.core_seconds += sample.total_seconds * (os.cpu_count() or 1)
