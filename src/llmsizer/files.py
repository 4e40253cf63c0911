"""Paths as people write them; files and folders that exist whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmsizer.errors import InputError


def path_of(text: str | Path) -> Path:
    """A path as a user writes it, ``~`` and all. Raises InputError."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise InputError(f"{text}: nobody here has such a home folder; give the whole path") from None


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` when the block ends well and vanishes when it does not."""
    if out.exists():
        raise InputError(f"{out} exists already; give a new folder or remove it")
    with _written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    try:
        with _written(out):
            yield partial
            partial.chmod(0o755)  # mkdtemp makes it private
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """A file beside ``out`` that takes its place when the block ends well: a reader sees the old one or the new one."""
    with _written(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.partial-", dir=out.parent)
        os.close(handle)
    partial = Path(name)
    try:
        with _written(out):
            yield partial
            partial.chmod(0o644)  # mkstemp makes it private
            partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def _written(out: Path) -> Iterator[None]:
    """A file system's refusal as one line."""
    try:
        yield
    except OSError as error:
        full = "the disk is full; free some space or write elsewhere" if error.errno == errno.ENOSPC else None
        raise InputError(f"{out}: cannot be written ({full or error.strerror or error})") from error
