"""Environments for toolkits that cannot share ours: made at first use, below a cache folder, and used again after that.

Such an environment is laid over the running one: it sees our packages (torch above all) and installs only what differs.
It is cached by a hash of what it was asked for, so that another version makes another one.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from llmsizer.errors import QuantizationError
from llmsizer.installed import versions_of
from llmsizer.progress import Progress

READY = "ready"
PINNED = ("torch", "transformers")  # ours, which the environment must not replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What to install over our own packages."""

    name: str
    requirements: tuple[str, ...]

    @property
    def lock(self) -> str:
        """Hash of everything that decides what gets installed."""
        ours = versions_of(*PINNED)
        asked = (sys.version_info[:3], sys.prefix, self.requirements, sorted(ours.items()))
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:12]


def environments_folder() -> Path:
    """$LLMSIZER_ENVS, or ``llmsizer/envs`` in the user's cache folder."""
    named = os.environ.get("LLMSIZER_ENVS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named).expanduser().absolute() if named else cache / "llmsizer" / "envs"


def python_of(environment: Environment) -> Path:
    return environments_folder() / f"{environment.name}-{environment.lock}" / "bin" / "python"


def is_made(environment: Environment) -> bool:
    return (python_of(environment).parent.parent / READY).is_file()


def ensure(environment: Environment, progress: Progress) -> Path:
    """The environment's Python; the environment is made where it is not there yet. Raises QuantizationError."""
    folder = python_of(environment).parent.parent
    if not is_made(environment):
        with _alone(folder.parent):
            if not is_made(environment):  # whoever held the lock may have made it
                progress(f"making the environment of {environment.name} in {folder} (once)", 0.0)
                _make(environment, folder)
    return python_of(environment)


@contextlib.contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """One process at a time: an environment cannot be moved once it is made, so it grows where it will stand."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(parent, os.O_RDONLY)
    except OSError as error:
        raise QuantizationError(
            f"{parent}: no environment can be made there ({error.strerror}); name another folder in LLMSIZER_ENVS"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _make(environment: Environment, folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)  # an installation that was killed
    constraints = [f"{name}=={version}" for name, version in versions_of(*PINNED).items()]
    try:
        with tempfile.TemporaryDirectory(prefix="llmsizer-pins-") as scratch:
            pins = Path(scratch) / "constraints.txt"
            pins.write_text("\n".join(constraints) + "\n", encoding="utf-8")
            _run([sys.executable, "-m", "venv", str(folder)], environment)
            _see_ours(folder)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
            _run([*pip, "-c", str(pins), *environment.requirements], environment)
        (folder / READY).write_text("\n".join(environment.requirements) + "\n", encoding="utf-8")
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _see_ours(folder: Path) -> None:
    """Let the environment find our packages after its own."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    (site / "zz_llmsizer_parent.pth").write_text(sysconfig.get_paths()["purelib"] + "\n", encoding="utf-8")


def _run(command: Sequence[str], environment: Environment) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise QuantizationError(f"the environment of {environment.name} could not be made ({error})") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
        reason = next((line for line in lines if line.startswith("ERROR")), lines[-1])
        raise QuantizationError(
            f"the environment of {environment.name} could not be made: {reason}; "
            f"it needs a package index, and {environments_folder()} writable (or LLMSIZER_ENVS elsewhere)"
        )
