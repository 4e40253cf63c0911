"""A job's watcher, a process of its own: runs the job's commands one after the other and writes down how each went.

Started as ``python watcher.py FOLDER LOCK`` by ``jobs.py``, which reads the same files.
"""

from __future__ import annotations

import datetime
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from llmsizer.progress import FILE_VARIABLE

State = Literal["running", "stopping", "done", "failed", "cancelled", "lost"]
JOB, STATUS, PROGRESS, LOG, CANCEL = "job.json", "status.json", "progress.json", "log.txt", "cancel"
GRACE_SECONDS = 30  # that a command has to end in order once it was asked to
CHECKPOINT, VARIANTS = "@checkpoint", "@variants"  # in a step: what an earlier step of the same job printed


def now() -> str:
    """The moment in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Whole at any moment for those who read it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(json.dumps(document), encoding="utf-8")
    partial.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object of a file; empty where there is none."""
    try:
        return as_object(path.read_bytes())
    except OSError:
        return {}


def as_object(content: bytes) -> dict[str, Any]:
    """A JSON object; of anything else an empty one: files of a killed job may be torn."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


class Watcher:
    """Runs a job's commands and writes down how each went."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self.lock = folder, lock
        self.process: subprocess.Popen[bytes] | None = None
        self.is_asked_to_end = False

    def end(self, number: int, frame: object) -> None:
        """SIGINT and SIGTERM: the command has had the first itself, as it is in the same group."""
        self.is_asked_to_end = True
        if self.process is not None and number == signal.SIGTERM:
            self.process.send_signal(signal.SIGINT)
        signal.alarm(GRACE_SECONDS)

    def force(self, number: int, frame: object) -> None:
        if self.process is not None:
            self.process.kill()

    def run(self) -> None:
        signal.signal(signal.SIGINT, self.end)
        signal.signal(signal.SIGTERM, self.end)
        signal.signal(signal.SIGALRM, self.force)
        asked = read_json(self.folder / JOB)
        made: dict[str, list[str]] = {}
        for index, step in enumerate(asked["steps"]):
            write_json(self.folder / STATUS, {"state": "running", "step": index})
            (self.folder / PROGRESS).unlink(missing_ok=True)
            if self.is_asked_to_end or (self.folder / CANCEL).exists():
                return self._ended("cancelled", index)
            printed = self.folder / f"step-{index + 1}.json"
            missing = [a for a in step["arguments"] if a in (CHECKPOINT, VARIANTS) and a not in made]
            if missing:
                return self._ended("failed", index, f"no earlier command made {missing[0]}")
            arguments = [word for argument in step["arguments"] for word in made.get(argument, [argument])]
            code = self._command([*asked["program"], *arguments], printed)
            if self.is_asked_to_end:
                return self._ended("cancelled", index)
            if code != 0:
                return self._ended("failed", index, self._why(code))
            made |= _made(printed)
        return self._ended("done", len(asked["steps"]) - 1)

    def _command(self, command: list[str], printed: Path) -> int:
        environment = os.environ | {FILE_VARIABLE: str(self.folder / PROGRESS), "PYTHONUNBUFFERED": "1"}
        with printed.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, env=environment, pass_fds=(self.lock,)
            )
            if self.is_asked_to_end:  # between the question above and the start
                self.process.send_signal(signal.SIGINT)
            return self.process.wait()

    def _why(self, code: int) -> str:
        if code < 0:
            more = "; the system ends what takes too much memory so" if code == -signal.SIGKILL else ""
            return f"ended by signal {-code} ({signal.Signals(-code).name}){more}"
        lines = (self.folder / LOG).read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), f"ended with code {code}")[:500]

    def _ended(self, state: State, index: int, message: str = "") -> None:
        signal.alarm(0)
        write_json(
            self.folder / STATUS,
            {"state": state, "step": index, "message": message, "ended_at": now()},
        )


def _made(printed: Path) -> dict[str, list[str]]:
    """The folders that a command named in its JSON document: a checkpoint, or variants."""
    try:
        document = json.loads(printed.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if isinstance(document, dict) and isinstance(document.get("checkpoint"), str):
        return {CHECKPOINT: [str(Path(document["checkpoint"]).resolve())]}
    if isinstance(document, list) and document and all(isinstance(v, dict) and "path" in v for v in document):
        return {VARIANTS: [str(Path(v["path"]).resolve()) for v in document]}
    return {}


if __name__ == "__main__":
    Watcher(Path(sys.argv[1]), int(sys.argv[2])).run()
