"""Task scores of variants beside the reference's, paired item by item."""

from __future__ import annotations

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from llmsizer.errors import InputError, MeasurementError
from llmsizer.facts.quality_parts import TaskScore
from llmsizer.facts.variant import Variant
from llmsizer.files import whole_file
from llmsizer.progress import Progress, silent
from llmsizer.quality.sandbox import isolation
from llmsizer.quality.statistics import INTERVAL_LEVEL, Floats, mean_by_document
from llmsizer.quality.text import check_same_tokens

# What people call a task, and what it is called in lm-eval.
NAMES = {
    "mmlu": "mmlu",
    "mmlu-pro": "mmlu_pro",
    "gsm8k": "gsm8k",
    "math": "hendrycks_math",
    "arc": "arc_challenge",
    "arc-easy": "arc_easy",
    "arc-challenge": "arc_challenge",
    "hellaswag": "hellaswag",
}
CODE_TASKS = ("humaneval", "mbpp")
CODE_SUFFIX = "code"  # a local task in HumanEval's form: NAME.code.jsonl
RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChoice:
    """Which tasks, how many items of each, from where, and whether code that a model wrote may run."""

    names: tuple[str, ...]
    folder: Path | None = None
    limit: int | None = None
    allow_code: bool = False


Items = Mapping[str, float]


def evaluate_tasks(
    variants: Sequence[Variant],
    reference: Variant,
    choice: TaskChoice,
    *,
    kept_in: Path | None = None,
    progress: Progress = silent,
) -> list[dict[str, TaskScore]]:
    """For each variant its score in each task; what is finished is kept in the folder ``kept_in``.

    Nothing is downloaded. Raises InputError and MeasurementError.
    """
    check_same_tokens(reference, variants)
    code_files = {name: _code_file(name, choice) for name in choice.names}
    scored: list[dict[str, TaskScore]] = [{} for _ in variants]
    done, total = 0, len(choice.names) * (len(variants) + 1)
    for name in choice.names:
        progress(f"{name}: {reference.name}", done / total)
        metric, expected = _items(reference, reference, name, choice, code_files[name], kept_in)
        done += 1
        for variant, scores in zip(variants, scored, strict=True):
            progress(f"{name}: {variant.name}", done / total)
            _, items = _items(variant, reference, name, choice, code_files[name], kept_in)
            scores[name] = paired_score(items, expected, metric=metric)
            done += 1
    return scored


def paired_score(items: Items, expected: Items, *, metric: str, seed: int = 0) -> TaskScore:
    """Both models on the same items; intervals hold 90 %. Raises MeasurementError where the items differ."""
    if set(items) != set(expected):
        alone = len(set(items) ^ set(expected))
        raise MeasurementError(f"{alone} items were answered by one model only; run both again")
    keys = sorted(expected)
    own, other = (np.array([scores[key] for key in keys]) for scores in (items, expected))
    ones = np.ones(len(keys))
    score, reference = mean_by_document(own, ones), mean_by_document(other, ones)
    lost, won = int((own < other).sum()), int((own > other).sum())
    is_right_or_wrong = bool(np.isin(np.concatenate([own, other]), (0.0, 1.0)).all())
    difference = mean_by_document(own - other, ones)
    ends = discordant_interval(lost, won, len(keys)) if is_right_or_wrong else (difference.low, difference.high)
    low, high = _recovery_interval(own, other, seed)
    if is_right_or_wrong and low is not None and high is not None:  # resampling alike answers gives no width either
        low, high = min(low, 1 + ends[0] / reference.value), max(high, 1 + ends[1] / reference.value)
    return TaskScore(
        metric=metric,
        items=len(keys),
        score=score.value,
        score_standard_error=_known(score.standard_error),
        reference_score=reference.value,
        difference=difference.value,
        difference_low=_known(ends[0]),
        difference_high=_known(ends[1]),
        recovery=score.value / reference.value if reference.value > 0 else None,
        recovery_low=low,
        recovery_high=high,
        only_reference_right=lost if is_right_or_wrong else None,
        only_variant_right=won if is_right_or_wrong else None,
        mcnemar_p=mcnemar_p(lost, won) if is_right_or_wrong else None,
    )


def mcnemar_p(lost: int, won: int) -> float:
    """Exact two-sided p of so uneven a split of the items where the two differ, were each as likely (McNemar 1947).

    >>> mcnemar_p(5, 0)
    0.0625
    """
    discordant = lost + won
    tail = sum(math.comb(discordant, k) for k in range(min(lost, won) + 1))
    return min(1.0, 2.0 * (tail / (1 << discordant)))


def discordant_interval(lost: int, won: int, items: int) -> tuple[float, float]:
    """Interval of the difference of two shares of the same items: Wald's with half an item more in each cell.

    Agresti and Min (2005). Models that answered ten items alike may differ on the eleventh: no interval is empty.

    >>> low, high = discordant_interval(0, 0, 60)
    >>> round(low, 3), round(high, 3)
    (-0.027, 0.027)
    """
    lost_more, won_more, n = lost + 0.5, won + 0.5, items + 2.0
    mean = (won_more - lost_more) / n
    error = math.sqrt(max(0.0, lost_more + won_more - (won_more - lost_more) ** 2 / n)) / n
    margin = NormalDist().inv_cdf(0.5 + INTERVAL_LEVEL / 2) * error
    return max(-1.0, mean - margin), min(1.0, mean + margin)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _recovery_interval(own: Floats, other: Floats, seed: int) -> tuple[float | None, float | None]:
    """Percentile bootstrap over items, both models resampled together; none where a resample scores nothing."""
    if own.size < 2:
        return None, None
    draws = np.random.default_rng(seed).integers(0, own.size, (RESAMPLES, own.size))
    references = other[draws].mean(axis=1)
    if (references <= 0).any():
        return None, None
    low, high = np.quantile(own[draws].mean(axis=1) / references, [0.5 - INTERVAL_LEVEL / 2, 0.5 + INTERVAL_LEVEL / 2])
    return float(low), float(high)


def _code_file(name: str, choice: TaskChoice) -> Path | None:
    """The problems of a task that runs code. Raises InputError where that was not allowed, or the file is missing."""
    local = None if choice.folder is None else choice.folder / f"{name}.{CODE_SUFFIX}.jsonl"
    if name not in CODE_TASKS and (local is None or not local.is_file()):
        return None
    if not choice.allow_code:
        raise InputError(f"{name} runs code that the model wrote; allow it, in a sandbox, with --allow-code-execution")
    if local is None or not local.is_file():
        raise InputError(
            f"{name} needs {name}.{CODE_SUFFIX}.jsonl (prompt, test, entry_point a line) in the --task-folder; "
            "it is never downloaded in silence"
        )
    return local


def _items(
    variant: Variant, reference: Variant, name: str, choice: TaskChoice, code: Path | None, kept_in: Path | None
) -> tuple[str, Items]:
    """From the kept file of an earlier run, else from a worker of its own."""
    asked = {
        "variant": variant.model_dump(mode="json", exclude={"path"}),
        "path": str(variant.path),
        "tokenizer": str(reference.path),
        "task": NAMES.get(name, name),
        "folder": None if choice.folder is None else str(choice.folder.resolve()),
        "limit": choice.limit,
        "code_file": None if code is None else str(code.resolve()),
        "allow_code": choice.allow_code,
    }
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    kept = None if kept_in is None else kept_in / f"{variant.name}-{name}-{key}.json"
    if kept is not None and kept.is_file():
        return _read(kept)
    with tempfile.TemporaryDirectory(prefix="llmsizer-task-") as scratch:
        out = Path(scratch) / "items.json"
        _run_worker({**asked, "out": str(out)}, name)
        if kept is not None:
            with whole_file(kept) as partial:
                partial.write_bytes(out.read_bytes())
        return _read(out)


def _read(file: Path) -> tuple[str, Items]:
    try:
        answer: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return str(answer["metric"]), {str(key): float(value) for key, value in answer["items"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file}: not what a task worker wrote; remove it, and the task runs again") from None


def _run_worker(asked: dict[str, Any], name: str) -> None:
    from llmsizer.quality.task_worker import OFFLINE

    # lm-eval itself may run a task's code: then the whole worker goes without a network.
    before = isolation() if asked["allow_code"] else ()
    done = subprocess.run(
        [*before, sys.executable, "-m", "llmsizer.quality.task_worker"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **OFFLINE},
        check=False,
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.strip().splitlines() if line.strip()]
        raise MeasurementError(said[-1] if said else f"{name}: the worker ended with exit code {done.returncode}")
