"""Shell scripts: ``sh -n``, shellcheck where it is installed, and the command line that one of them starts."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

from llmsizer.errors import InputError
from llmsizer.launch.checks.finding import Finding

_TIMEOUT_SECONDS = 300
_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")


def script_findings(path: Path) -> list[Finding]:
    """Syntax, and what shellcheck says; scripts are read, never run."""
    found = _of(["sh", "-n", str(path)], "shell syntax", path)
    linter = shutil.which("shellcheck")
    if linter and not found:
        found = _of([linter, "--format=gcc", "--severity=warning", str(path)], "shellcheck", path)
    return found


def _of(command: list[str], name: str, path: Path) -> list[Finding]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return [Finding(name=name, file=path.name, what=f"{path.name}: not read within {_TIMEOUT_SECONDS} s")]
    if done.returncode == 0:
        return []
    said = next(iter((done.stderr + done.stdout).strip().splitlines()), f"exit code {done.returncode}")
    return [Finding(name=name, file=path.name, what=f"{path.name}: {said.replace(f'{path}:', 'line ')[:240]}")]


def started_words(text: str, file: str) -> list[str]:
    """The words after ``exec``, with defaults in the place of variables. Raises InputError where nothing is started."""
    lines = text.replace("\\\n", " ").splitlines()
    last = next((line for line in reversed(lines) if line.startswith("exec ")), None)
    if last is None:
        raise InputError(f"{file}: starts nothing; it wants a line that begins with exec")
    defaults = dict(re.findall(r'^(\w+)="\$\{\w+:-([^}]*)\}"', text, re.MULTILINE))
    filled = _DEFAULT.sub(lambda match: match[1], last.removeprefix("exec "))
    for name, value in defaults.items():
        filled = filled.replace(f"${name}", value)
    try:
        return shlex.split(filled)
    except ValueError as error:
        raise InputError(f"{file}: {error}") from None
