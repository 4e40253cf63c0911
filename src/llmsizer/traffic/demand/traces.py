"""Request logs of others: read, checked, summarised, and ready to be replayed.

- Azure LLM inference traces, as published (``TIMESTAMP, ContextTokens, GeneratedTokens``; Patel et al., "Splitwise",
  2024) or as repackaged (``arrived_at, num_prefill_tokens, num_decode_tokens``).
- Mooncake's JSONL (Qin et al., "Mooncake", 2025): ``timestamp`` in ms, ``input_length``, ``output_length``, and
  ``hash_ids`` of 512-token blocks, from which the reuse of prefixes follows.
- Any gateway log as CSV or JSON lines, with a map from our names to its columns.
"""

from __future__ import annotations

import csv
import datetime
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from llmsizer.errors import InputError
from llmsizer.traffic.demand.arrivals import HOURS_PER_DAY, HOURS_PER_WEEK, gap_cv
from llmsizer.traffic.demand.requests import Requests
from llmsizer.units import SECONDS_PER_HOUR

Field = Literal["arrival", "prompt_tokens", "output_tokens", "cached_tokens", "group"]
NEEDED: tuple[Field, ...] = ("arrival", "prompt_tokens", "output_tokens")
MOONCAKE_BLOCK_TOKENS = 512
COLUMNS: dict[str, dict[Field, str]] = {
    "azure": {"arrival": "TIMESTAMP", "prompt_tokens": "ContextTokens", "output_tokens": "GeneratedTokens"},
    "vidur": {"arrival": "arrived_at", "prompt_tokens": "num_prefill_tokens", "output_tokens": "num_decode_tokens"},
    "mooncake": {"arrival": "timestamp", "prompt_tokens": "input_length", "output_tokens": "output_length"},
    "ours": {"arrival": "arrival", "prompt_tokens": "prompt_tokens", "output_tokens": "output_tokens"},
}
_OURS_TOO: tuple[Field, ...] = ("cached_tokens", "group")
ARRIVAL_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """What a trace says about a workload."""

    requests: int
    duration_seconds: float
    requests_per_second: float | None  # None where all come at once
    gap_cv: float | None
    peak_hour_to_average: float | None  # None below two hours
    hourly_requests: tuple[int, ...]  # by hour since the first request
    prompt_tokens_mean: float
    prompt_tokens_p95: float
    prompt_tokens_longest: int
    output_tokens_mean: float
    output_tokens_p95: float
    output_tokens_longest: int
    cached_prompt_fraction: float | None  # None where the trace does not say

    @property
    def hourly_weights(self) -> tuple[float, ...]:
        """The profile of a day or a week, where the trace covers one: its hours averaged over days or weeks."""
        counts = self.hourly_requests
        for period in (HOURS_PER_WEEK, HOURS_PER_DAY):
            whole = len(counts) // period * period
            if whole:
                rows = np.array(counts[:whole], dtype=np.float64).reshape(-1, period)
                return tuple(rows.mean(axis=0).tolist())
        return ()


def read_trace(
    path: Path,
    *,
    columns: Mapping[Field, str] | None = None,
    arrival_unit: str | None = None,
    context_tokens: int | None = None,
) -> Requests:
    """A trace from a file, times counted from its first request. Raises InputError in one line.

    ``columns`` maps our names to the file's; without it the formats above are recognised by their columns.
    ``arrival_unit``: s, ms, us or ns where arrivals are numbers; ISO dates need none.
    """
    rows = list(_rows(path))
    if not rows:
        raise InputError(f"{path} holds no requests")
    names, known = _columns(path, rows[0], columns)
    unit = arrival_unit or ("ms" if known == "mooncake" else "s")
    if unit not in ARRIVAL_UNITS:
        raise InputError(f"no unit of time named {unit!r}; known: {', '.join(ARRIVAL_UNITS)}")
    times = np.array([_seconds(path, i, row, names["arrival"], ARRIVAL_UNITS[unit]) for i, row in enumerate(rows)])
    if times[0] < 0:
        raise InputError(f"{path}: request 1 arrives at {times[0]:g} s; times count from 0 or from 1970")
    if np.isfinite(times[0]) and known != "vidur":
        times = times - times[0]
    prompts = _tokens(path, rows, names["prompt_tokens"])
    cached = _reused(path, rows, prompts) if known == "mooncake" else _optional(path, rows, names, "cached_tokens")
    requests = Requests(
        arrival_seconds=times,
        prompt_tokens=prompts,
        output_tokens=_tokens(path, rows, names["output_tokens"]),
        cached_tokens=cached,
        groups=_groups(rows, names["group"]) if "group" in names else np.empty(0, dtype=np.int32),
    )
    return requests.checked(str(path), context_tokens=context_tokens)


def summarise(requests: Requests) -> TraceSummary:
    """Rate, burstiness, daily curve and lengths of a trace."""
    times, prompts, outputs = requests.arrival_seconds, requests.prompt_tokens, requests.output_tokens
    duration = float(times[-1] - times[0])
    hours = np.bincount(((times - times[0]) // SECONDS_PER_HOUR).astype(np.int64))
    whole = hours[: int(duration // SECONDS_PER_HOUR)]
    return TraceSummary(
        requests=len(requests),
        duration_seconds=duration,
        requests_per_second=(len(requests) - 1) / duration if duration > 0 else None,
        gap_cv=gap_cv(times),
        peak_hour_to_average=float(whole.max() / whole.mean()) if len(whole) > 1 else None,
        hourly_requests=tuple(hours.tolist()),
        prompt_tokens_mean=float(prompts.mean()),
        prompt_tokens_p95=float(np.percentile(prompts, 95)),
        prompt_tokens_longest=int(prompts.max()),
        output_tokens_mean=float(outputs.mean()),
        output_tokens_p95=float(np.percentile(outputs, 95)),
        output_tokens_longest=int(outputs.max()),
        cached_prompt_fraction=float(requests.cached_tokens.sum() / prompts.sum())
        if requests.cached_tokens.size
        else None,
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from None
    if path.suffix not in {".jsonl", ".ndjson", ".json"}:
        yield from csv.DictReader(text.splitlines())
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                raise InputError(f"{path}:{number} is not JSON; give one object per line") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number} is not an object; give one object per line")
            yield row


def _columns(
    path: Path, row: Mapping[str, Any], columns: Mapping[Field, str] | None
) -> tuple[Mapping[Field, str], str]:
    if columns is not None:
        missing = [name for name in NEEDED if name not in columns]
        if missing:
            raise InputError(f"the column map lacks {', '.join(missing)}; it needs {', '.join(NEEDED)}")
        absent = [column for column in columns.values() if column not in row]
        if absent:
            raise InputError(f"{path} has no column {absent[0]!r}; it has {', '.join(map(str, row))}")
        return columns, ""
    for known, names in COLUMNS.items():
        if all(column in row for column in names.values()):
            more = {name: name for name in _OURS_TOO if known == "ours" and name in row}
            return {**names, **more}, known
    raise InputError(f"{path}: columns {', '.join(map(str, row))} are no known trace; give a column map")


def _seconds(path: Path, index: int, row: Mapping[str, Any], column: str, unit_seconds: float) -> float:
    value = row[column]
    try:
        return float(value) * unit_seconds
    except (TypeError, ValueError):
        pass
    try:
        # Azure writes seven digits of a second, Python reads six.
        text = str(value).replace("Z", "+00:00")
        head, dot, tail = text.partition(".")
        digits = tail[: len(tail) - len(tail.lstrip("0123456789"))]
        moment = datetime.datetime.fromisoformat(head + dot + digits[:6] + tail[len(digits) :])
    except ValueError:
        raise InputError(f"{path}: request {index + 1} arrives at {value!r}, which is no time") from None
    return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()


def _tokens(path: Path, rows: list[dict[str, Any]], column: str) -> NDArray[np.int32]:
    counts = np.empty(len(rows), dtype=np.int32)
    for index, row in enumerate(rows):
        try:
            value = float(row[column])
        except (TypeError, ValueError, KeyError):
            value = math.nan
        if not 0 <= value < 2**31 or value != int(value):
            raise InputError(f"{path}: request {index + 1} has {column} = {row.get(column)!r}; give a whole number")
        counts[index] = int(value)
    return counts


def _optional(path: Path, rows: list[dict[str, Any]], names: Mapping[Field, str], field: Field) -> NDArray[np.int32]:
    return _tokens(path, rows, names[field]) if field in names else np.empty(0, dtype=np.int32)


def _groups(rows: list[dict[str, Any]], column: str) -> NDArray[np.int32]:
    """Sessions numbered in order of appearance; an empty one is none."""
    numbers: dict[str, int] = {}
    found = [str(row.get(column) or "") for row in rows]
    return np.array([numbers.setdefault(name, len(numbers)) if name else -1 for name in found], dtype=np.int32)


def _reused(path: Path, rows: list[dict[str, Any]], prompts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Tokens of leading blocks that an earlier request had: what a prefix cache of unbounded size would hold."""
    seen: set[int] = set()
    cached = np.zeros(len(rows), dtype=np.int32)
    for index, row in enumerate(rows):
        blocks = row.get("hash_ids") or []
        if not isinstance(blocks, list) or not all(isinstance(block, int) for block in blocks):
            raise InputError(f"{path}: request {index + 1} has hash_ids that are no list of whole numbers")
        known = 0
        while known < len(blocks) and blocks[known] in seen:
            known += 1
        seen.update(blocks)
        cached[index] = min(known * MOONCAKE_BLOCK_TOKENS, int(prompts[index]))
    return cached
