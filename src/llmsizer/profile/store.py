"""Records as JSON lines: appended whole and synced; a torn last line is reported and skipped, never believed.

Raw samples lie beside the records in a folder named after them, compressed, one file a point, and their hash stands in
the row: the file is whole on the disk before its row is.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.record_parts import RequestSample, SamplesFile
from llmsizer.facts.records import ProfileRecord

Record = TypeVar("Record", bound=BaseModel)


def append_record(path: Path, record: BaseModel) -> None:
    """Add one line and wait until it is on the disk. Several processes may write to one file."""
    append_line(path, record.model_dump_json().encode())


def append_line(path: Path, line: bytes) -> None:
    """Add one line without its end, whatever it says; synced like a record."""
    with _locked(path) as file:
        _append(file, line)


def append_once(path: Path, record: ProfileRecord) -> bool:
    """Add a point unless the file holds it finished already, from another process say; whether it was added."""
    with _locked(path) as file:
        os.lseek(file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(file), "rb") as stream:
            same = (line for line in stream if record.record_id.encode() in line)
            finished = any(_is_finished(line, record.record_id) for line in same)
        if not finished:
            _append(file, record.model_dump_json().encode())
    return not finished


def append_all(path: Path, records: Sequence[ProfileRecord]) -> int:
    """Add those of several points that the file does not hold finished already, all at once; how many were added."""
    with _locked(path) as file:
        os.lseek(file, 0, os.SEEK_SET)
        with os.fdopen(os.dup(file), "rb") as stream:
            held = {read.record_id for line in stream if line.strip() and (read := _finished(line)) is not None}
        new = {record.record_id: record for record in records if record.record_id not in held}
        if new:
            _append(file, b"\n".join(record.model_dump_json().encode() for record in new.values()))
    return len(new)


def _finished(line: bytes) -> ProfileRecord | None:
    with contextlib.suppress(ValidationError):
        found = ProfileRecord.model_validate_json(line)
        return found if found.is_finished else None
    return None


def _is_finished(line: bytes, record_id: str) -> bool:
    found = _finished(line)
    return found is not None and found.record_id == record_id


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file open for reading and appending, held alone until the block ends or the process does."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    except OSError as error:
        raise InputError(f"{path}: records cannot be written here ({error.strerror}); give another file") from None
    try:
        _lock(file)
        if is_new:
            _sync_folder(path.parent)
        yield file
    except OSError as error:
        raise InputError(f"{path}: records cannot be written ({error.strerror})") from error
    finally:
        os.close(file)


def _lock(file: int) -> None:
    with contextlib.suppress(ImportError):  # Windows, where appending is not shared either
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _append(file: int, line: bytes) -> None:
    line = line + b"\n"
    end = os.lseek(file, 0, os.SEEK_END)
    if end and os.pread(file, 1, end - 1) != b"\n":
        line = b"\n" + line  # a torn line must not swallow the next one
    while line:
        line = line[os.write(file, line) :]
    os.fsync(file)


def _sync_folder(folder: Path) -> None:
    """A new file is safe only once the folder that names it is."""
    with contextlib.suppress(OSError):  # not every system lets a folder be opened
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_records(path: Path, kind: type[Record]) -> tuple[list[Record], list[str]]:
    """All whole records of a file, and a line for each that is not; a missing file holds none.

    A row of a newer schema than this program knows is skipped with a line too: its fields may mean something else. Rows
    of points cut short are left out where another holds their runs too.
    """
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    records: list[Record] = []
    problems: list[str] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            found = read_line(line, kind)
            if isinstance(found, str):
                problems.append(f"{path}:{number}: skipped, {found}")
            else:
                records.append(found)
    return without_replaced(records), problems


def without_replaced(records: Sequence[Record]) -> list[Record]:
    """Without rows of points cut short that a later call went on with: its row holds their runs too."""
    fullest: dict[str, ProfileRecord] = {}
    for record in records:
        if isinstance(record, ProfileRecord) and record.status == "ok":
            held = fullest.get(record.record_id)
            if held is None or (held.is_finished, held.repeats) <= (record.is_finished, record.repeats):
                fullest[record.record_id] = record
    return [
        record
        for record in records
        if not (isinstance(record, ProfileRecord) and record.is_cut_short and fullest[record.record_id] is not record)
    ]


def read_line(line: bytes | str, kind: type[Record]) -> Record | str:
    """One record, or why it is none."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return f"not a whole {kind.__name__} (no JSON: torn or foreign)"
    if not isinstance(document, dict):
        return f"not a whole {kind.__name__} (no JSON object)"
    known = kind.model_fields["schema_version"].default if "schema_version" in kind.model_fields else None
    version = document.get("schema_version", 1)
    if known is not None and isinstance(version, int) and version > known:
        return f"its schema is {version}, this llmsizer reads up to {known}: upgrade llmsizer to read it"
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        return f"not a whole {kind.__name__} ({error.error_count()} problems, the first at {where or 'the top'})"


def write_samples(records_path: Path, record_id: str, samples: Sequence[RequestSample]) -> SamplesFile:
    """Raw samples of one point into their own compressed file, synced; the same samples give the same bytes."""
    lines = "".join(sample.model_dump_json(exclude_defaults=True) + "\n" for sample in samples)
    return keep_samples(records_path, record_id, gzip.compress(lines.encode(), mtime=0), count=len(samples))


def samples_folder(records_path: Path) -> Path:
    """Where what belongs to the rows of a records file lies."""
    return records_path.with_name(f"{records_path.stem}.samples")


def keep_samples(records_path: Path, record_id: str, content: bytes, *, count: int) -> SamplesFile:
    """Compressed samples as they are, from this machine or another, into their place beside the records."""
    folder = samples_folder(records_path)
    digest = hashlib.sha256(content).hexdigest()
    target = folder / f"{record_id}-{digest[:8]}.jsonl.gz"
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(target)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{folder}: samples cannot be written here ({error.strerror})") from None
    _sync_folder(folder)
    return SamplesFile(file=f"{folder.name}/{target.name}", sha256=digest, count=count)


def read_samples(records_path: Path, record: ProfileRecord) -> list[RequestSample]:
    """The raw samples of a record. Raises MeasurementError where their file is gone or not the one that was hashed."""
    if record.samples is None:
        return []
    file = records_path.parent / record.samples.file
    if not file.resolve().is_relative_to(records_path.parent.resolve()):
        raise MeasurementError(f"{record.samples.file}: samples lie outside the records' folder; not read")
    try:
        content = file.read_bytes()
    except OSError as error:
        raise MeasurementError(f"{file}: the samples cannot be read ({error.strerror})") from None
    if hashlib.sha256(content).hexdigest() != record.samples.sha256:
        raise MeasurementError(f"{file}: not the samples that the record was made of (their hash differs)")
    return [RequestSample.model_validate_json(line) for line in gzip.decompress(content).splitlines()]
