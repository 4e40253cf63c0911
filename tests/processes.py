"""Whether processes have ended: a kill is sent at once, and obeyed when a busy machine comes to it."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE_SECONDS = 60.0


def has_ended(process: int) -> bool:
    """Whether a process ends before patience does; a zombie that nobody reaped has ended."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not _is_over(process):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _is_over(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
