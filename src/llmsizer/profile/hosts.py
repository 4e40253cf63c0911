"""One sweep over many GPUs or hosts: each point goes where there is room, with all its variants, which stay pairs.

The hosts need this package in the same version and the variants' folders under the same paths. What a host measures is
kept in a file beside the records as soon as it arrives, so an interrupted sweep goes on from there.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsizer import cluster as clusters
from llmsizer.facts.records import ProfileRecord
from llmsizer.facts.variant import Variant
from llmsizer.profile.measure import Point
from llmsizer.profile.row import Qualities, Stopping, with_quality
from llmsizer.profile.store import append_once, append_record, keep_samples, read_records
from llmsizer.profile.sweep import DEFAULT_POINTS, DEFAULT_REPEATS, profile
from llmsizer.progress import Progress, silent

Json = dict[str, Any]


def profile_on_hosts(
    variants: Sequence[Variant],
    points: Sequence[Point] = DEFAULT_POINTS,
    *,
    records_path: Path,
    cluster: str | None,
    needs: Mapping[str, float] | None = None,
    repeats: int = DEFAULT_REPEATS,
    engine: str | None = None,
    seed: int = 0,
    stopping: Stopping | None = None,
    least_seconds: float = 0.0,
    qualities: Qualities | None = None,
    progress: Progress = silent,
) -> list[ProfileRecord]:
    """Measure all points on a Ray cluster and append their rows; points finished on any host are left as they are.

    ``needs``: what Ray must set aside for one point, e.g. ``{"GPU": 1}`` or, for a CPU to itself, ``{"CPU": 64}``.
    ``cluster``: its address, or None for this machine alone. Raises LlmSizerError where a point loses its host thrice.
    """
    stored, _ = read_records(records_path, ProfileRecord)
    asked: Json = {"repeats": repeats, "engine": engine, "seed": seed, "least_seconds": least_seconds}
    asked["stopping"] = [stopping.relative_width, stopping.most_repeats] if stopping else None
    tasks = []
    for point in points:
        todo = [variant for variant in variants if not _is_finished(stored, variant, point, engine, repeats, seed)]
        if todo:
            argument = {**asked, "point": point_document(point), "variants": [v.model_dump(mode="json") for v in todo]}
            key = clusters.key_of(argument)
            tasks.append(
                clusters.Task(key=key, label=f"batch {point.batch}, prompt {point.prompt_tokens}", argument=argument)
            )
    arrived = arrived_file(records_path, asked, variants, points)
    results = clusters.sweep(measure_here, tasks, store=arrived, cluster=cluster, needs=needs, progress=progress)
    found: list[ProfileRecord] = []
    for result in results:
        for row, samples in zip(result["rows"], result["samples"], strict=True):
            record = with_quality(ProfileRecord.model_validate(row), qualities or {})
            found.append(_keep(records_path, record, samples))
    arrived.unlink(missing_ok=True)  # every row is in the records now
    return found


def arrived_file(records_path: Path, asked: Json, variants: Sequence[Variant], points: Sequence[Point]) -> Path:
    """Where what hosts measured waits for the rest: one file for each sweep asked of one records file."""
    names = [[v.model, v.method, v.name] for v in variants]
    key = clusters.key_of(asked, names, [point_document(point) for point in points])
    return records_path.with_suffix(f".{key[:8]}.arrived.jsonl")


def measure_here(argument: Json) -> Json:
    """One point with its variants on the machine that runs this; rows and samples as plain JSON."""
    stopping = argument["stopping"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "records.jsonl"
        rows = profile(
            [Variant.model_validate(variant) for variant in argument["variants"]],
            [Point(**argument["point"])],
            records_path=path,
            repeats=argument["repeats"],
            engine=argument["engine"],
            seed=argument["seed"],
            least_seconds=argument["least_seconds"],
            stopping=Stopping(relative_width=stopping[0], most_repeats=stopping[1]) if stopping else None,
        )
        samples = [
            base64.b64encode((path.parent / r.samples.file).read_bytes()).decode() if r.samples else "" for r in rows
        ]
        return {"rows": [row.model_dump(mode="json") for row in rows], "samples": samples}


def point_document(point: Point) -> Json:
    return {"batch": point.batch, "prompt_tokens": point.prompt_tokens, "output_tokens": point.output_tokens}


def _keep(records_path: Path, row: ProfileRecord, samples: str) -> ProfileRecord:
    """Samples first, then the row that speaks of them."""
    if row.samples is not None:
        kept = keep_samples(records_path, row.record_id, base64.b64decode(samples), count=row.samples.count)
        row = row.model_copy(update={"samples": kept})
    if row.is_finished:
        append_once(records_path, row)
    else:
        append_record(records_path, row)
    return row


def _is_finished(
    stored: Sequence[ProfileRecord], variant: Variant, point: Point, engine: str | None, repeats: int, seed: int
) -> bool:
    """Whether any host has this point of this variant; which host measures what is Ray's choice."""
    return any(
        record.is_finished
        and (record.model, record.method, record.variant) == (variant.model, variant.method, variant.name)
        and (record.batch, record.prompt_tokens, record.output_tokens)
        == (point.batch, point.prompt_tokens, point.output_tokens)
        and record.engine == (engine or record.engine)
        and record.repeats >= repeats
        and record.seed == seed
        for record in stored
        if record.load is None
    )
