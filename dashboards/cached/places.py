"""Where this dashboard keeps what its users make: measurements, jobs, and values of their own."""

from __future__ import annotations

import os
from pathlib import Path

OUTPUT_VARIABLE, DEFAULT_OUTPUT = "LLMSIZER_OUTPUT", "demo-output"
OVERRIDES_VARIABLE, OVERRIDES = "LLMSIZER_OVERRIDES", "overrides.toml"


def output_folder() -> Path:
    """Where records lie: LLMSIZER_OUTPUT, else the demo's folder."""
    return Path(os.environ.get(OUTPUT_VARIABLE, DEFAULT_OUTPUT))


def overrides_file() -> Path:
    """The user's own values: LLMSIZER_OVERRIDES where it is set, else a file in the output folder."""
    return Path(os.environ.get(OVERRIDES_VARIABLE) or output_folder() / OVERRIDES)


def catalogue_state() -> str:
    """Another text whenever the user's own values are others: part of the key of whatever rests on the catalogue."""
    path = overrides_file()
    try:
        state = path.stat()
    except OSError:
        return ""
    return f"{path} {state.st_mtime_ns} {state.st_size}"
