"""Files and folders that exist whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from llmsizer.errors import InputError


@contextlib.contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder beside ``out`` that becomes ``out`` when the block ends well and vanishes when it does not."""
    if out.exists():
        raise InputError(f"{out} exists already; give a new folder or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    try:
        yield partial
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(out)
    except OSError as error:
        full = "the disk is full; free some space or give another folder" if error.errno == errno.ENOSPC else error
        raise InputError(f"{out}: cannot be written ({full})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def whole_file(out: Path) -> Iterator[Path]:
    """A file beside ``out`` that takes its place when the block ends well: a reader sees the old one or the new one."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{out.name}.partial-", dir=out.parent)
        os.close(handle)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)  # mkstemp makes it private
        partial.replace(out)
    except OSError as error:
        full = "the disk is full; free some space or give another path" if error.errno == errno.ENOSPC else error
        raise InputError(f"{out}: cannot be written ({full})") from error
    finally:
        partial.unlink(missing_ok=True)
