"""Runs a server that ends with the one that started it, even where that one is killed and can clean up nothing.

``python -m llmsizer.profile.engines.leash GRACE_SECONDS COMMAND …``: the starter holds this process's standard input
open; its end, or SIGTERM, means stop. The server has a process group of its own, which is ended as a whole: politely,
and by force after the grace, so that no worker of it keeps the device's memory.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from types import FrameType


def run(grace_seconds: float, command: Sequence[str], *, stop_file: int = 0) -> int:
    """The server's exit code, after it ended by itself or because ``stop_file`` did."""
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)

    def stop(_signal: int = 0, _frame: FrameType | None = None) -> None:
        _signal_group(server.pid, signal.SIGTERM)

    def watch() -> None:
        while os.read(stop_file, 4096):
            pass
        stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(grace_seconds)
        _signal_group(server.pid, signal.SIGKILL)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, daemon=True).start()
    code = server.wait()
    _signal_group(server.pid, signal.SIGKILL)  # what the server itself left behind
    return code


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    sys.exit(run(float(sys.argv[1]), sys.argv[2:]))
