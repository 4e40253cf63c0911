"""Tasks in HumanEval's form: the model finishes a function, its tests decide, in the sandbox."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from llmsizer.errors import InputError
from llmsizer.quality.sandbox import run_sandboxed

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
NEEDED = ("prompt", "test", "entry_point")


class Writer(Protocol):
    """What completes a text."""

    def generate(self, context: str, until: tuple[str, ...], most_tokens: int = ...) -> str: ...


def read_problems(file: Path) -> list[dict[str, str]]:
    """JSON lines with prompt, test and entry_point. Raises InputError naming the line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not readable as text ({error}); give JSON lines in HumanEval's form") from None
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            entry = None
        if not isinstance(entry, dict) or not all(isinstance(entry.get(key), str) for key in NEEDED):
            raise InputError(f"{file}: line {number} has not {', '.join(NEEDED)}; give JSON lines in HumanEval's form")
        problems.append({key: str(entry[key]) for key in NEEDED})
    if not problems:
        raise InputError(f"{file}: holds no problem; give JSON lines in HumanEval's form")
    return problems


def run_code_task(model: Writer, file: Path, *, limit: int | None = None) -> dict[str, Any]:
    """1 for each problem whose tests pass at the first, greedy answer, else 0."""
    items = {}
    for index, problem in enumerate(read_problems(file)[:limit]):
        answer = model.generate(problem["prompt"], STOPS)
        code = f"{problem['prompt']}{answer}\n{problem['test']}\ncheck({problem['entry_point']})\n"
        items[str(index)] = 1.0 if run_sandboxed(code).passed else 0.0
    return {"metric": "pass@1", "items": items}
