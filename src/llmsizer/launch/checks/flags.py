"""A command line against the flag table of its engine's version: unknown, removed, mistyped, not among the choices."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.errors import nearest_names, suggest
from llmsizer.launch.checks.finding import Finding
from llmsizer.launch.engine_data import Engine, FlagSpec

_HUMAN = re.compile(r"-?\d+(?:\.\d+)?[kKmMgGtT]?")
_SCALES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One flag as it stands in the command line."""

    name: str  # as written
    spec: FlagSpec | None
    values: tuple[str, ...]

    @property
    def value(self) -> str | None:
        return self.values[0] if self.values else None


def read_words(words: Sequence[str], engine: Engine) -> tuple[list[Given], list[str]]:
    """Flags with their values, and the words that belong to none."""
    given: list[Given] = []
    loose: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not _is_flag(word):
            loose.append(word)
            continue
        name, _, inline = word.partition("=")
        spec = engine.table.find(name) or engine.table.find(name.replace("_", "-"))
        values = [inline] if "=" in word else []
        most = 0 if values else _most_values(spec)
        while at < len(words) and len(values) < most and not _is_flag(words[at]):
            values.append(words[at])
            at += 1
        given.append(Given(name=name, spec=spec, values=tuple(values)))
    return given, loose


def _is_flag(word: str) -> bool:
    return word.startswith("-") and not re.fullmatch(r"-\d+(\.\d+)?", word)


def _most_values(spec: FlagSpec | None) -> int:
    if spec is None:
        return 1
    return {"switch": 0, "list": 1_000}.get(spec.kind, 1)


def flag_findings(words: Sequence[str], engine: Engine, file: str) -> list[Finding]:
    """What the engine's parser would refuse, and what this program never writes."""
    found: list[Finding] = []

    def wrong(name: str, what: str) -> None:
        found.append(Finding(name=name, file=file, what=f"{file}: {what}"))

    given, _ = read_words(words, engine)
    seen: set[str] = set()
    for one in given:
        if one.spec is None:
            known = [spec.flag for spec in engine.table.flags]
            wrong("unknown flag", f"{engine.label} has no {one.name}; {suggest(nearest_names(one.name, known), known)}")
            continue
        if one.spec.deprecated:
            wrong("removed flag", f"{one.name} is on its way out of {engine.label}: {one.spec.deprecated}")
        if one.spec.flag in seen and one.spec.kind != "list":
            wrong("flag given twice", f"{one.name} stands twice; the last one wins in silence")
        seen.add(one.spec.flag)
        problem = _value_problem(one)
        if problem:
            wrong(*problem)
        if one.spec.flag == "--trust-remote-code":
            wrong(
                "trusts remote code",
                "--trust-remote-code runs whatever the checkpoint's repository holds; leave it out",
            )
        if one.spec.flag in {"--api-key", "--hf-token"}:
            wrong("secret value", f"{one.name} puts a secret into the command line; reference it from the environment")
    return found


def _value_problem(one: Given) -> tuple[str, str] | None:
    """Name of the finding and what is wrong with the value; None where it can be taken."""
    assert one.spec is not None
    kind, value = one.spec.kind, one.value
    if kind == "switch":
        return ("wrong type", f"{one.name} is a switch and takes no {value!r}") if one.values else None
    if value is None:
        return None if kind == "text?" else ("wrong type", f"{one.name} needs a value ({kind})")
    good = {"int": _is_int, "int, K M G": _is_human, "float": _is_float, "json": _is_json}.get(kind)
    if good is not None and not good(value):
        return "wrong type", f"{one.name} {value!r}: not of the kind {kind}"
    choices = [str(choice) for choice in one.spec.choices]
    if choices and value not in choices:
        return "bad choice", f"{one.name} {value!r}: not among {', '.join(choices)}"
    return None


def _is_int(value: str) -> bool:
    return re.fullmatch(r"[+-]?\d+", value) is not None


def _is_human(value: str) -> bool:
    return _HUMAN.fullmatch(value) is not None or value == "auto"


def _is_float(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _is_json(value: str) -> bool:
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def number_of(given: Sequence[Given], names: Sequence[str]) -> float | None:
    """The value of the first of these flags as a number, ``8k`` read as engines read it; None where it is not given."""
    for one in given:
        names_of_one = {one.name} | ({one.spec.flag, *one.spec.also} if one.spec else set())
        if names_of_one & set(names) and one.value is not None and _HUMAN.fullmatch(one.value):
            scale = _SCALES.get(one.value[-1], 1.0)
            return float(one.value.rstrip("kKmMgGtT")) * scale
    return None
