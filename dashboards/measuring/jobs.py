"""Long work on this machine, started from a page: outlives a reload and the server, one at a time, seen by everyone.

A job is a folder below ``OUTPUT/jobs``: ``job.json`` (what was asked), ``status.json`` (how it goes),
``progress.json``, ``log.txt``, and what each command printed. A watcher (``watcher.py``) in a process group of its own
runs the job's commands of ``llmsizer`` one after the other. Watcher and command hold one lock file of the machine's,
so that a job is alive exactly as long as the lock is held and its name stands in it: the kernel lets go of it however
they end, even by ``kill -9``. No command passes through a shell.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llmsizer.errors import InputError
from llmsizer.store.location import data_folder
from measuring import watcher
from measuring.watcher import CANCEL, JOB, LOG, PROGRESS, STATUS, State, as_object, now, read_json, write_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

PROGRAM = (sys.executable, "-P", "-m", "llmsizer")  # -P: a folder named llmsizer in the working folder is not imported
PID = "pid"
SHOWN_JOBS = 20
LOG_TAIL_BYTES = 8_000


@dataclass(frozen=True, kw_only=True)
class Step:
    """One command of llmsizer. ``@checkpoint`` and ``@variants`` stand for the folders that earlier steps made."""

    title: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it is at this moment."""

    folder: Path
    title: str
    steps: tuple[Step, ...]
    started_at: str
    state: State
    step: int = 0  # index of the command that runs or ran last
    what: str = ""  # what that command says that it does
    fraction: float = 0.0  # of the whole job, from 0 to 1
    message: str = ""  # why it failed
    ended_at: str = ""

    @property
    def is_alive(self) -> bool:
        return self.state in ("running", "stopping")


class Busy(InputError):
    """This machine measures already: two at once would slow each other down, and both would be wrong."""

    def __init__(self, title: str) -> None:
        super().__init__(
            f"this machine is busy with {title!r}; two measurements at once would spoil each other, so wait or cancel"
        )
        self.title = title


def start(output: Path, title: str, steps: Sequence[Step], *, program: Sequence[str] | None = None) -> Path:
    """Start a job below ``output`` and return its folder at once. Raises Busy, and InputError where it cannot start."""
    for step in steps:
        if any("\0" in argument for argument in step.arguments):
            raise InputError(f"{step.title}: a name with a zero byte in it names no file")
    with _machine() as lock:
        folder = _new_folder(output)
        asked = {"title": title, "program": list(program or PROGRAM), "steps": [asdict(step) for step in steps]}
        write_json(folder / JOB, asked | {"started_at": now()})
        write_json(folder / STATUS, {"state": "running", "step": 0})
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps({"folder": str(folder), "title": title}).encode(), 0)
        with (folder / LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", str(Path(watcher.__file__).resolve()), str(folder), str(lock)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=(lock,),
            )  # fmt: skip
        (folder / PID).write_text(str(process.pid), encoding="ascii")
    threading.Thread(target=process.wait, daemon=True).start()  # nobody else takes note of its end in this process
    return folder


def busy_with() -> tuple[Path, str] | None:
    """Folder and title of the job that this machine is at, of any server and any output folder."""
    if fcntl is None:
        return None
    with contextlib.suppress(OSError):
        handle = os.open(_lock_file(), os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: those who look do not see one another
        except BlockingIOError:
            held = as_object(os.pread(handle, 1 << 16, 0))
            return Path(str(held.get("folder", ""))), str(held.get("title", "?"))
        finally:
            os.close(handle)
    return None


def jobs(output: Path) -> list[Job]:
    """The jobs of an output folder, newest first."""
    try:
        folders = [f for f in (output / "jobs").iterdir() if f.is_dir() and not f.is_symlink() and (f / JOB).is_file()]
    except OSError:
        return []
    return [read(folder) for folder in sorted(folders, reverse=True)[:SHOWN_JOBS]]


def read(folder: Path) -> Job:
    """A job as it is now: what its files say, and whether it still lives."""
    held = busy_with()  # before the status: a job that ends in between has written its status by then
    asked, status = read_json(folder / JOB), read_json(folder / STATUS)
    steps = tuple(
        Step(title=str(step.get("title", "")), arguments=tuple(map(str, step.get("arguments", ()))))
        for step in asked.get("steps", ())
    )
    state: State = status.get("state", "lost")
    step, wanted_end = int(status.get("step", 0)), (folder / CANCEL).exists()
    if state == "running":
        alive = held is not None and held[0] == folder.resolve()
        state = ("stopping" if wanted_end else "running") if alive else ("cancelled" if wanted_end else "lost")
    progress = read_json(folder / PROGRESS)
    part = min(1.0, max(0.0, float(progress.get("fraction", 0.0))))
    return Job(
        folder=folder,
        title=str(asked.get("title", folder.name)),
        steps=steps,
        started_at=str(asked.get("started_at", "")),
        state=state,
        step=step,
        what=str(progress.get("what", "")),
        fraction=1.0 if state == "done" else (step + part) / max(1, len(steps)),
        message=str(status.get("message", "")),
        ended_at=str(status.get("ended_at", "")),
    )


def cancel(job: Job, *, at_once: bool = False) -> None:
    """Ask a job to end in order, or end it at once; what it finished is kept. One that has ended is left alone."""
    held = busy_with()
    if held is None or held[0] != job.folder.resolve():
        return
    with contextlib.suppress(OSError):
        (job.folder / CANCEL).touch()
    # The lock is held, so the group lives and its number is nobody else's.
    with contextlib.suppress(OSError, ValueError):
        group = int((job.folder / PID).read_text(encoding="ascii"))
        if group > 1:  # 0 would be this server's own
            os.killpg(group, signal.SIGKILL if at_once else signal.SIGINT)


def log_tail(job: Job) -> str:
    """The end of what the commands said."""
    with contextlib.suppress(OSError), (job.folder / LOG).open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        return file.read().decode("utf-8", "replace")
    return ""


def _lock_file() -> Path:
    return data_folder() / "machine.lock"


@contextlib.contextmanager
def _machine() -> Iterator[int]:
    """The machine's lock, for this process and those that inherit it. Raises Busy, InputError."""
    if fcntl is None:
        raise InputError("measuring from the page needs Linux or macOS; use llmsizer profile in a terminal")
    path = _lock_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); set XDG_DATA_HOME to another folder") from None
    try:
        _take(handle)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int) -> None:
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            held = busy_with()
            if held is not None:
                raise Busy(held[1]) from None
            # Somebody only looked, for microseconds.


def _new_folder(output: Path) -> Path:
    now = datetime.datetime.now(datetime.UTC)
    folder = output.resolve() / "jobs" / f"{now:%Y%m%d-%H%M%S-%f}-{secrets.token_hex(2)}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise InputError(f"{output}: no job can be kept here ({error.strerror}); set LLMSIZER_OUTPUT") from None
    return folder
