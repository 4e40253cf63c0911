"""Records as JSON lines: appended whole and synced; a torn last line is reported and skipped, never believed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from llmsizer.errors import InputError

Record = TypeVar("Record", bound=BaseModel)


def append_record(path: Path, record: BaseModel) -> None:
    """Add one line and wait until it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    line = record.model_dump_json().encode() + b"\n"
    with path.open("ab+") as file:
        if file.tell() and not _ends_with_newline(path):
            line = b"\n" + line  # a torn line must not swallow the next one
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read_records(path: Path, kind: type[Record]) -> tuple[list[Record], list[str]]:
    """All whole records of a file, and a line for each that is not; a missing file holds none."""
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(kind.model_validate_json(line))
        except ValidationError as error:
            problems.append(f"{path}:{number}: skipped, not a whole {kind.__name__} ({error.error_count()} problems)")
    return records, problems
