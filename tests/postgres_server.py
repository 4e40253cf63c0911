"""A PostgreSQL cluster of the test's own, on a socket of its own; nothing where no server is installed."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

INSTALLED = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path("/usr/local/bin"), Path("/usr/bin")]


class NotHere(Exception):
    """Why there is no server to test with."""


def _program(name: str) -> str:
    found = shutil.which(name) or next((str(folder / name) for folder in INSTALLED if (folder / name).exists()), None)
    if found is None:
        raise NotHere(f"no PostgreSQL server is installed ({name} not found)")
    return found


def _owner() -> dict[str, object]:
    """PostgreSQL refuses to run as root; then it runs as its own user, or as nobody."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise NotHere("running as root, and there is no user postgres or nobody to run the server as")


@contextlib.contextmanager
def running() -> Iterator[str]:
    """The address of an empty database on a fresh cluster, stopped and removed after the block. Raises NotHere."""
    initdb, control, owner = _program("initdb"), _program("pg_ctl"), _owner()
    folder = Path(tempfile.mkdtemp(prefix="llmsizer-pg-"))  # short: a socket's path has 107 bytes
    if owner:
        os.chown(folder, owner["user"], owner["group"])  # type: ignore[arg-type]

    def call(*command: str) -> None:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            **owner,  # type: ignore[call-overload]
        )
        if done.returncode:
            raise NotHere(f"{Path(command[0]).name} failed: {(done.stderr or done.stdout).strip()[-300:]}")

    data = str(folder / "data")
    try:
        call(initdb, "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=50"
        call(control, "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql://tester@/postgres?host={folder}"
        finally:
            call(control, "-D", data, "-w", "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
