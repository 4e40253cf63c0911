"""Single runs on the disk until their point's row is: a sweep that is killed goes on with the runs it had.

Points are measured in turn and finish together, so without it a kill would cost the whole sweep. One file a point, in
the folder of its samples; the row replaces it.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from llmsizer.profile.store import append_line, samples_folder

Json = dict[str, Any]


def keep_run(records_path: Path, record_id: str, answer: Json) -> None:
    """Append what the worker answered for one run, and wait until it is on the disk."""
    append_line(_file(records_path, record_id), json.dumps(answer).encode())


def kept_runs(records_path: Path, record_id: str) -> list[Json]:
    """The runs of a point that an earlier process took, in order; a torn line is no run."""
    file, found = _file(records_path, record_id), []
    for line in file.read_bytes().splitlines() if file.exists() else ():
        with contextlib.suppress(ValueError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                found.append(answer)
    return found


def drop_runs(records_path: Path, record_id: str) -> None:
    """Forget them: the row is written, or what they were part of has failed."""
    _file(records_path, record_id).unlink(missing_ok=True)


def _file(records_path: Path, record_id: str) -> Path:
    return samples_folder(records_path) / f"{record_id}.runs.jsonl"
