"""What every stage of the campaign shares: its arguments, its time, its models, and lines that are never taken twice.

A stage appends JSON lines to ``<out>/<stage>.jsonl`` as it goes. A line whose ``key`` is already in that file, or in a
file of the same name under ``--have``, is not measured again: call a stage as often as it takes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.errors import LlmSizerError
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Point
from llmsizer.quantize.at_precisions import random_variant

ROOT = Path(__file__).parents[2]
BUDGET_SECONDS = 500.0  # of a call of nine minutes, the start of Python and the last point's end left out
MODELS = {"22b": "mistral-small-2409", "8b": "llama-3.1-8b", "3b": "llama-3.2-3b"}
DRY_CONFIG: dict[str, Any] = {
    "architectures": ["MistralForCausalLM"],
    "model_type": "mistral",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 64,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "sliding_window": None,
    "tie_word_embeddings": False,
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One call of one stage."""

    name: str
    out: Path
    have: tuple[Path, ...]
    dry_run: bool
    deadline: float
    clock: Callable[[], float] = time.monotonic

    @property
    def seconds_left(self) -> float:
        return self.deadline - self.clock()

    @property
    def file(self) -> Path:
        return self.out / f"{self.name}.jsonl"

    def done(self) -> set[str]:
        """Keys of all whole lines that say ok; a torn line or a failed point is measured again."""
        keys: set[str] = set()
        for folder in (self.out, *self.have):
            path = folder / self.file.name
            for line in path.read_text().splitlines() if path.exists() else []:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if row.get("status", "ok") == "ok" and "key" in row:
                    keys.add(row["key"])
        return keys

    def write(self, key: str, row: dict[str, Any]) -> None:
        """Append one line and wait until it is on the disk."""
        self.out.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as file:
            file.write(json.dumps({"stage": self.name, "key": key, "dry_run": self.dry_run, **row}) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def run(self, parts: Iterable[tuple[str, Callable[[], dict[str, Any]]]], *, seconds_each: float = 20.0) -> None:
        """Do what is not done while there is time; a part that fails leaves a line with its reason."""
        done = self.done()
        for key, part in parts:
            if key in done:
                continue
            if self.seconds_left < seconds_each:
                say(f"{self.name}: time is up before {key}; call again to go on")
                return
            start = self.clock()
            try:
                row = {"status": "ok", **part()}
            except Exception as error:  # a library that cannot do a thing here is a result
                row = {"status": "failed", "failure": f"{type(error).__name__}: {str(error).splitlines()[0:1]}"[:300]}
            self.write(key, {**row, "seconds": self.clock() - start})
            say(f"{self.name}: {key}: {row['status']} {row.get('failure', '')}")
        say(f"{self.name}: all parts are done")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def parser(what: str) -> argparse.ArgumentParser:
    """The arguments that all stages share."""
    made = argparse.ArgumentParser(description=what)
    made.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "gpu-out")), help="folder to write to")
    made.add_argument("--have", type=Path, action="append", default=[], help="folder with lines of earlier calls")
    made.add_argument("--budget-seconds", type=float, default=BUDGET_SECONDS)
    made.add_argument("--dry-run", action="store_true", help="the same path on a CPU, with a model of two small layers")
    return made


def stage(name: str, arguments: argparse.Namespace) -> Stage:
    return Stage(
        name=name,
        out=arguments.out,
        have=tuple(arguments.have),
        dry_run=arguments.dry_run,
        deadline=time.monotonic() + arguments.budget_seconds,
    )


def config_of(model: str, *, dry_run: bool) -> dict[str, Any]:
    """The published geometry from the catalogue; in a dry run a toy's."""
    if dry_run:
        return dict(DRY_CONFIG)
    config: dict[str, Any] = tomllib.loads((ROOT / "profiles" / "models" / f"{MODELS[model]}.toml").read_text())[
        "config"
    ]
    return config


def variant_of(model: str, precision: str, folder: Path, *, dry_run: bool) -> Variant:
    """A folder with a config and no weights: engines make random ones on the device."""
    path = folder / f"{model}-{precision}"
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps(config_of(model, dry_run=dry_run)))
    return random_variant(path, precision, model=model)


def grid(batches: Iterable[int], prompts: Iterable[int], output_tokens: int) -> list[Point]:
    return [Point(batch=b, prompt_tokens=p, output_tokens=output_tokens) for p in prompts for b in batches]


def fits(spec: ModelSpec, weights_bytes: float, point: Point, memory_bytes: float) -> bool:
    """Whether weights, cache and the prompt's activations (a guess: eight hidden states a token) leave a tenth free."""
    cache = point.batch * spec.kv_bytes_per_token() * (point.prompt_tokens + point.output_tokens)
    activations = point.batch * point.prompt_tokens * spec.hidden_size * 2 * 8
    return weights_bytes + cache + activations < 0.9 * memory_bytes


class TimeIsUp(Exception):
    """Raised in the main thread when a call's budget is spent."""


@contextlib.contextmanager
def stopping_at(at: Stage) -> Iterator[None]:
    """Leave the block when the time is up; what was measured is on the disk, and the next call goes on from there."""

    def up(_signal: int, _frame: object) -> None:
        raise TimeIsUp

    before = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, at.seconds_left))
    try:
        yield
    except TimeIsUp:
        say(f"{at.name}: time is up; call again to go on")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def main(run: Callable[[list[str] | None], None]) -> None:
    """Run a stage; what a user can mend is one line."""
    try:
        run(None)
    except LlmSizerError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
