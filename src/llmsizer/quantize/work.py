"""The hidden folder in which a variant grows: kept when a run is killed, taken away when it fails."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from llmsizer.errors import InputError


@contextlib.contextmanager
def work_folder(out: Path, key: str) -> Iterator[Path]:
    """A folder beside ``out``, named by what is made; its part ``variant`` becomes ``out`` when the block ends well.

    An interrupted or killed run leaves it for the next one of the same key. Raises InputError.
    """
    if out.exists():
        raise InputError(f"{out} exists already; give a new folder or remove it")
    work = out.parent / f".{out.name}.work-{key}"
    try:
        work.mkdir(parents=True, exist_ok=True)
        lock = os.open(work, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise InputError(f"{out} is being made by another run; wait for it or give another folder") from None
    if not os.fstat(lock).st_nlink:  # the run that held it has ended since it was opened, and took it away
        os.close(lock)
        raise InputError(f"{out} was being made by another run, which has just ended; look there, or start again")
    try:
        yield work
        (work / "variant").rename(out)
    except KeyboardInterrupt:
        raise
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        full = "the disk is full; free some space or give another folder" if error.errno == errno.ENOSPC else error
        raise InputError(f"{out}: cannot be written ({full})") from error
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    else:
        shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)
