"""Code that a model wrote, run in a process of its own with limits, and without a network where Linux allows that.

This contains mistakes, not malice: the process runs as the same user and can read what that user can read.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO

CPU_SECONDS = 10
MEMORY_BYTES = 1 << 30
FILE_BYTES = 1 << 20
_NO_NETWORK = ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child")
_REACHED_END = "\nllmsizer: every line was run\n"

# Limits are set by the process itself before it runs anything; hard ones, which it cannot raise again. The last line is
# what passing means: a program that ends itself before its tests are over ends well too.
_BOOTSTRAP = f"""
import resource, sys
for what, most in ((resource.RLIMIT_CPU, {CPU_SECONDS}), (resource.RLIMIT_AS, {MEMORY_BYTES}),
                   (resource.RLIMIT_FSIZE, {FILE_BYTES}), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_NOFILE, 64)):
    resource.setrlimit(what, (most, most))
exec(compile(sys.stdin.read(), "answer", "exec"), {{"__name__": "__main__"}})
sys.__stdout__.write({_REACHED_END!r})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Whether the code ended well, and if not why: the last line of what it said."""

    passed: bool
    reason: str = ""


def run_sandboxed(code: str, *, timeout_seconds: float = CPU_SECONDS) -> Outcome:
    """Run Python source by itself in an empty folder with an empty environment."""
    command = [*isolation(), sys.executable, "-I", "-S", "-c", _BOOTSTRAP]
    with (
        tempfile.TemporaryDirectory(prefix="llmsizer-answer-") as folder,
        tempfile.TemporaryFile() as out,  # files, and no pipes: the limit on files holds what endless printing takes
        tempfile.TemporaryFile() as errors,
    ):
        try:
            done = subprocess.run(
                command,
                input=code.encode(errors="replace"),
                stdout=out,
                stderr=errors,
                cwd=folder,
                env={"PATH": "/usr/bin:/bin"},
                timeout=timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Outcome(passed=False, reason=f"took longer than {timeout_seconds:g} s")
        printed, said = (_whole(stream).strip() for stream in (out, errors))
    if done.returncode == 0:
        passed = _REACHED_END.strip() in printed
        return Outcome(passed=passed, reason="" if passed else "it ended itself before its tests were over")
    lines = said.splitlines()
    return Outcome(passed=False, reason=lines[-1][:200] if lines else f"exit code {done.returncode}")


def _whole(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


@functools.cache
def isolation() -> tuple[str, ...]:
    """What to put before a command so that it has no network; empty where the system does not allow it."""
    if shutil.which(_NO_NETWORK[0]) is None:
        return ()
    tried = subprocess.run([*_NO_NETWORK, "true"], capture_output=True, check=False)
    return _NO_NETWORK if tried.returncode == 0 else ()
