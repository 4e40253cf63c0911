"""The parent's side of a worker: it sleeps until an answer, a death or the time limit.

A worker that the kernel, a signal, its own engine or the time limit ends becomes a failed row with the reason. Where
the parent itself is killed, its children see their input end, and on Linux the kernel kills them with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from llmsizer.errors import MeasurementError
from llmsizer.facts.variant import Variant

TIMEOUT_SECONDS = 600.0
# Between a kill and its end lies the return of all memory: of a large model on a busy machine, many seconds.
STOP_SECONDS = 60.0
VMSTAT = Path("/proc/vmstat")


class WorkerDied(Exception):
    """The child ended or fell silent; the text says how. It becomes a failed record, never a user's traceback."""


class Child:
    """One worker process with one variant loaded."""

    def __init__(self, variant: Variant, engine: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._timeout = timeout_seconds
        self._oom_kills = _oom_kills()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (it lives as long as the child)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "llmsizer.profile.worker", str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which then ends the child in order
        )
        self._buffer = b""
        try:
            start = time.monotonic()
            self.loaded = self.ask("load", engine=engine, variant=variant.model_dump(mode="json"))
            self.loaded["ready_seconds"] = time.monotonic() - start
        except BaseException:
            self.close()
            raise

    def ask(self, action: str, **arguments: Any) -> dict[str, Any]:
        """One request, one answer. Raises MeasurementError on a refusal and WorkerDied when nobody answers."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": action, **arguments}).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ConnectionResetError):
            raise WorkerDied(self._how_it_ended()) from None
        line = self._line()
        try:
            reply: dict[str, Any] = json.loads(line)
            succeeded = reply.pop("ok")
        except (ValueError, KeyError, AttributeError):
            self.close()
            raise WorkerDied(f"answered {line[:60]!r}, which is no answer; killed") from None
        if not succeeded:
            raise MeasurementError(str(reply["reason"]))
        return reply

    def _line(self) -> bytes:
        """Wait for a whole line; blocked in the kernel, so that the parent takes no core from the measurement."""
        stdout = self._process.stdout
        assert stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(self._timeout):
                    self.close()
                    raise WorkerDied(f"no answer for {self._timeout:.0f} s; killed")
                chunk = os.read(stdout.fileno(), 65_536)
                if not chunk:
                    raise WorkerDied(self._how_it_ended())
                self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.close()
            return "closed its answers and went on; killed"
        self._end_group()
        if code < 0:
            name = signal.Signals(-code).name
            return f"killed by {name}" + (self._memory_hint() if name == "SIGKILL" else "")
        self._log.seek(0)
        lines = [line for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f"exit code {code}" + (f": {lines[-1].strip()[:200]}" if lines else "")

    def close(self) -> None:
        """End the child: politely by the end of its input, then by force."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if self._process.returncode is None:
            self._end_group()
            with contextlib.suppress(subprocess.TimeoutExpired):  # a driver that hangs holds it; others can go on
                self._process.wait(STOP_SECONDS)
        self._log.close()

    def _end_group(self) -> None:
        """The child and what its engine started by itself, which must not keep the device's memory."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _memory_hint(self) -> str:
        now = _oom_kills()
        if now is None or self._oom_kills is None:
            return " (out of memory?)"
        return " (out of memory)" if now > self._oom_kills else ""


def _oom_kills() -> int | None:
    """Processes that the kernel has ended for want of memory since it started; None where it does not say."""
    with contextlib.suppress(OSError):
        for line in VMSTAT.read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return None
