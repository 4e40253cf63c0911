"""Kill a sweep again and again, parent or child, at random moments; nothing finished may be lost, doubled or torn.

Real processes: a parent runs ``llmsizer.profile.profile`` with a fake engine that answers at once, and this script
sends SIGKILL to it or to one of its children after a random time, then starts it again on the same file. After every
kill the file is read: each finished point seen before must still be there, unchanged, once; every single run of the
others must be kept; raw samples must be those that were hashed; and no process of the sweep may be left. One strike in
ten is a Ctrl-C to the parent: it must leave rows of what was measured, which the next start goes on with.

    python benchmarks/kill_test.py --kills 1000 --json benchmarks/results/kill_test.json
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from llmsizer.errors import MeasurementError
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.variant import Variant, WeightPart
from llmsizer.profile import Point, profile, read_records
from llmsizer.profile.journal import kept_runs
from llmsizer.profile.store import read_samples, samples_folder

HERE = Path(__file__).resolve()
ENGINES = HERE.parent.parent / "tests"
POINTS_A_SWEEP = 8
VARIANTS = ("A", "B")
# A sweep costs some two seconds of a core, and each start one of Python alone; strikes fall anywhere into it,
# counted in the sweep's own CPU time, so that a busy machine does not put them all into the start.
LONGEST_CPU_SECONDS = 2.0
LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 60.0
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
INTERRUPTED_SHARE = 0.1


@dataclass(kw_only=True)
class Result:
    """What was done and what went wrong; the last six must be 0."""

    kills_of_parent: int = 0
    kills_of_child: int = 0
    interrupts: int = 0  # Ctrl-C, beside the kills
    sweeps_completed: int = 0
    rows_cut_short_seen: int = 0
    points_finished: int = 0
    rows_torn_and_skipped: int = 0
    points_lost: int = 0
    points_changed: int = 0
    points_duplicated: int = 0
    samples_wrong: int = 0
    runs_lost: int = 0
    processes_left: int = 0

    @property
    def kills(self) -> int:
        return self.kills_of_parent + self.kills_of_child

    @property
    def faults(self) -> int:
        counts = (self.points_lost, self.points_changed, self.points_duplicated, self.samples_wrong)
        return sum(counts) + self.runs_lost + self.processes_left


def sweep(records: Path, seed: int) -> None:
    """What a user's process does: measure all points, going on where the file ends."""
    parts = (WeightPart(format="fp16", params=10, bytes=20),)
    variants = [
        Variant(path=Path("/x"), model="m", name=n, precision="fp16", method=n, format="openvino-ir", parts=parts)
        for n in VARIANTS
    ]
    # 1,500 gaps make a row of some 4 KiB and its samples larger: one write is more than one page
    points = [Point(batch=b, prompt_tokens=4, output_tokens=1500) for b in range(1, POINTS_A_SWEEP + 1)]
    device = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
    profile(variants, points, records_path=records, repeats=5, engine="fake_engines:Quick", device=device, seed=seed)


def kill_many(
    kills: int,
    *,
    folder: Path,
    seed: int = 0,
    longest_cpu_seconds: float = LONGEST_CPU_SECONDS,
    until: float = math.inf,
    say: bool = False,
) -> Result:
    """As many kills as asked for, over as many sweeps as that takes, or until that moment of the monotonic clock."""
    choose, result, known = random.Random(seed), Result(), {}  # type: ignore[var-annotated]
    runs: Counter[str] = Counter()
    round_number = said = 0
    while result.kills < kills and time.monotonic() < until:
        records = folder / f"records-{round_number}.jsonl"
        parent = _start(records, seed=round_number)
        _strike(parent, choose, result, longest_cpu_seconds)
        result.processes_left += _left_behind(parent)
        _inspect(records, known, result)
        runs = _runs_kept(records, runs, result)
        if parent.returncode == 0:
            result.sweeps_completed += 1
            result.points_finished += len(known)
            known, runs = {}, Counter()
            round_number += 1
        if say and result.kills >= said + 25:
            said = result.kills
            print(asdict(result), flush=True)
    result.points_finished += len(known)
    return result


def _start(records: Path, *, seed: int) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ENGINES), str(ENGINES.parent / "src"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(HERE), "--sweep", str(records), "--seed", str(seed)],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )


def _strike(parent: subprocess.Popen[bytes], choose: random.Random, result: Result, longest_cpu_seconds: float) -> None:
    """SIGKILL after a random time, to the parent or to a child; where a child is struck the sweep goes on."""
    at = 0.0
    while True:
        at += choose.uniform(0.0, longest_cpu_seconds)
        while _cpu_seconds(parent.pid) < at:
            with contextlib.suppress(subprocess.TimeoutExpired):
                parent.wait(choose.uniform(0.0, LOOK_SECONDS))  # between two ticks of the count, too
                return
        if choose.random() < INTERRUPTED_SHARE:
            result.interrupts += 1
            parent.send_signal(signal.SIGINT)
            parent.wait()
            return
        children = _children(parent.pid)
        if children and choose.random() < 0.5:
            with contextlib.suppress(ProcessLookupError):
                os.kill(choose.choice(children), signal.SIGKILL)
                result.kills_of_child += 1
            continue
        parent.kill()
        parent.wait()
        result.kills_of_parent += 1
        return


def _cpu_seconds(parent: int) -> float:
    """What a sweep and its children have used so far, those that ended included."""
    ticks = 0
    for process, fields in ((parent, slice(11, 15)), *((child, slice(11, 13)) for child in _children(parent))):
        with contextlib.suppress(OSError):
            ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[fields]))
    return ticks / TICKS_A_SECOND


def _children(parent: int) -> list[int]:
    with contextlib.suppress(OSError):
        return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return []


def _left_behind(parent: subprocess.Popen[bytes]) -> int:
    """Workers that were told this parent's number and still run when a busy machine must have ended them."""
    marks = [b"llmsizer.profile.worker", str(parent.pid).encode()]
    alive, until = 0, time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        alive = 0
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                arguments = command.read_bytes().split(b"\0")
                alive += all(mark in arguments for mark in marks)
        if not alive:
            return 0
        time.sleep(0.01)
    return alive


def _inspect(records: Path, known: dict[str, str], result: Result) -> None:
    """Hold the file against everything that was seen finished before."""
    found, problems = read_records(records, ProfileRecord)
    finished = [record for record in found if record.is_finished]
    texts = {record.record_id: record.model_dump_json() for record in finished}
    result.rows_torn_and_skipped += len(problems)
    result.points_duplicated += sum(count - 1 for count in Counter(r.record_id for r in finished).values())
    result.points_lost += len(known.keys() - texts.keys())
    result.points_changed += sum(1 for name in known.keys() & texts.keys() if known[name] != texts[name])
    result.rows_cut_short_seen += sum(record.is_cut_short for record in found)
    for record in found:
        if record.status == "ok" and record.record_id not in known:
            try:
                complete = len(read_samples(records, record)) == record.repeats
            except MeasurementError:
                complete = False
            result.samples_wrong += not complete
    known.update(texts)


def _runs_kept(records: Path, before: Counter[str], result: Result) -> Counter[str]:
    """Single runs of each point, in its row or waiting for it; none that was there may be gone."""
    now: Counter[str] = Counter()
    for record in read_records(records, ProfileRecord)[0]:
        now[record.record_id] = record.repeats
    for file in samples_folder(records).glob("*.runs.jsonl"):
        name = file.name.partition(".")[0]
        now[name] = max(now[name], len(kept_runs(records, name)))
    result.runs_lost += (before - now).total()
    return now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=math.inf, help="at most")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sweep", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.sweep:
        sweep(arguments.sweep, arguments.seed)
        return 0
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = kill_many(
            arguments.kills, seed=arguments.seed, folder=Path(folder), until=start + 60 * arguments.minutes, say=True
        )
    document = {**asdict(result), "faults": result.faults, "seconds": round(time.monotonic() - start, 1)}
    text = json.dumps(document, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
