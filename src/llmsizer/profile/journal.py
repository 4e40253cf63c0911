"""Single runs on the disk until their point's row is: a sweep that is killed goes on with the runs it had.

Points are measured in turn and finish together, so without it a kill would cost the whole sweep. One file a point, in
the folder of its samples: what the engine told when it was loaded and warmed, and each run. The finished row replaces
it; the row of a point that was cut short does not.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from llmsizer.profile.store import append_line, samples_folder

Json = dict[str, Any]
TOLD = "told"  # the key of the line that is no run


def keep_run(records_path: Path, record_id: str, answer: Json) -> None:
    """Append what the worker answered for one run, and wait until it is on the disk."""
    append_line(_file(records_path, record_id), json.dumps(answer).encode())


def keep_told(records_path: Path, record_id: str, *, loaded: Json, memory: Json) -> None:
    """Append what the worker told before the first run: without it no row could be made of the runs."""
    append_line(_file(records_path, record_id), json.dumps({TOLD: {"loaded": loaded, "memory": memory}}).encode())


def kept_runs(records_path: Path, record_id: str) -> list[Json]:
    """The runs of a point that an earlier process took, in order; a torn line is no run."""
    return [line for line in _lines(records_path, record_id) if TOLD not in line]


def kept_told(records_path: Path, record_id: str) -> tuple[Json, Json]:
    """What the first worker told of loading and of warming up; empty where none got so far."""
    for line in _lines(records_path, record_id):
        if TOLD in line:
            return line[TOLD]["loaded"], line[TOLD]["memory"]
    return {}, {}


def drop_runs(records_path: Path, record_id: str) -> None:
    """Forget them: the row is written, or what they were part of has failed."""
    _file(records_path, record_id).unlink(missing_ok=True)


def _lines(records_path: Path, record_id: str) -> list[Json]:
    file, found = _file(records_path, record_id), []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                found.append(document)
    return found


def _file(records_path: Path, record_id: str) -> Path:
    return samples_folder(records_path) / f"{record_id}.runs.jsonl"
