"""Are the intervals right on a real engine? Each 90 % interval is held against the mean of 20 further runs.

One long sweep of the product (`llmsizer profile`, points in laps). Its laps from any one on are what a sweep begun
there would have measured: the first, at least ten and at least as many seconds as the command's default, make the
records with their intervals, by the product's own functions; of the twenty laps after them each point's mean is taken.
Windows overlap, and a machine's slow drift hits all points of a window together: ``disjoint_windows`` says how many
trials are independent in the strict sense. Half the width of the intervals stands beside where 90 % of the further
means fell: an interval that is right and no wider than it must be has a ratio of about 1.

    llmsizer model --config config.json --out model && llmsizer quantize model --methods openvino-int8 --out variants
    python benchmarks/repeatability.py variants/openvino-int8 --json benchmarks/results/repeatability.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile import DEFAULT_LEAST_SECONDS, DEFAULT_REPEATS, Point, profile
from llmsizer.profile.drift import FURTHER_RUNS
from llmsizer.profile.engines import chosen_engine
from llmsizer.profile.measure import Sample
from llmsizer.profile.row import Request, Run, drift_during, measured_record
from llmsizer.profile.store import read_samples
from llmsizer.quantize import read_variant

POINTS = (
    Point(batch=1, prompt_tokens=32, output_tokens=16),
    Point(batch=1, prompt_tokens=256, output_tokens=16),
    Point(batch=4, prompt_tokens=64, output_tokens=16),
    Point(batch=8, prompt_tokens=32, output_tokens=16),
)
STEP_LAPS = 3
SECONDS = 320.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One interval against what followed it."""

    inside: bool
    half_width: float  # over the value
    miss: float  # |further mean − mean| over the mean


def samples_of(records: Path, record: ProfileRecord) -> list[Sample]:
    """The runs of a point as the product took them, from the file beside its row."""
    found = []
    for row in read_samples(records, record):
        at = (row.sent_seconds or 0.0, *row.token_seconds)
        gaps = tuple(later - earlier for earlier, later in pairwise(at[1:]))
        found.append(Sample(ttft_seconds=at[1] - at[0], gaps_seconds=gaps, started_seconds=at[0]))
    return found


def on_one_clock(runs: Sequence[list[Sample]]) -> list[list[Sample]]:
    """Each point's samples count from its own first run; in a lap, each point begins when the one before it ended."""
    found = [list(runs[0])]
    for samples in runs[1:]:
        ended = [sample.started_seconds + sample.total_seconds for sample in found[-1]]
        late = float(np.median([end - s.started_seconds for end, s in zip(ended, samples, strict=False)]))
        found.append([replace(sample, started_seconds=sample.started_seconds + late) for sample in samples])
    return found


def windows(request: Request, runs: dict[Point, list[Sample]], least_seconds: float) -> dict[str, list[Seen]]:
    """Every third lap begins a window: records of its first laps, and the means of the twenty laps after."""
    laps = min(len(samples) for samples in runs.values())
    seen: dict[str, list[Seen]] = {"ttft": [], "tpot": []}
    clock = runs[POINTS[0]]
    for start in range(0, laps, STEP_LAPS):
        long_enough = (
            lap for lap in range(start, laps)
            if clock[lap].started_seconds - clock[start].started_seconds >= least_seconds
        )  # fmt: skip
        end = max(start + DEFAULT_REPEATS, next(long_enough, laps) + 1)
        if end + FURTHER_RUNS > laps:
            break
        first = {p: Run(interleaved=True, samples=samples[start:end]) for p, samples in runs.items()}
        drift = drift_during(list(first.values()))
        for point, run in first.items():
            record = measured_record(request, point, run, drift=drift)
            further = runs[point][end : end + FURTHER_RUNS]
            tpot = [sample.tpot_seconds or 0.0 for sample in further]
            seen["ttft"].append(_held(record, "ttft", [sample.ttft_seconds for sample in further]))
            seen["tpot"].append(_held(record, "tpot", tpot))
    return seen


def _held(record: ProfileRecord, name: str, further: Sequence[float]) -> Seen:
    low, high = getattr(record, f"{name}_seconds_low"), getattr(record, f"{name}_seconds_high")
    mean, after = record.distributions[name].mean or 0.0, float(np.mean(further))
    return Seen(inside=low <= after <= high, half_width=(high - low) / 2.0 / mean, miss=abs(after - mean) / mean)


def summary(seen: Sequence[Seen]) -> dict[str, Any]:
    if not seen:
        return {"intervals": 0}
    width, reach = np.median([s.half_width for s in seen]), np.quantile([s.miss for s in seen], 0.9)
    return {
        "intervals": len(seen),
        "contained_share": round(float(np.mean([s.inside for s in seen])), 3),
        "half_width_median": round(float(width), 4),
        "ninety_percent_of_further_means_within": round(float(reach), 4),
        "width_over_need": round(float(width / reach), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of the whole sweep")
    parser.add_argument(
        "--least-seconds", type=float, default=DEFAULT_LEAST_SECONDS, help="of each window's first part"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    variant = read_variant(asked.variant)
    device = DeviceRecord(name="cpu", kind="cpu", cores=os.cpu_count(), memory_bytes=1e12)
    load_before, began = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        records = profile([variant], POINTS, records_path=file, least_seconds=asked.seconds, device=device)
        runs = dict(zip(POINTS, on_one_clock([samples_of(file, record) for record in records]), strict=True))
    request = Request(
        variant=variant, engine=chosen_engine(variant, None), device=device, repeats=DEFAULT_REPEATS, seed=0
    )
    seen = windows(request, runs, asked.least_seconds)
    laps = min(len(samples) for samples in runs.values())
    lap_seconds = asked.seconds / max(1, laps)
    window = max(asked.least_seconds, DEFAULT_REPEATS * lap_seconds) + FURTHER_RUNS * lap_seconds
    document = {
        "points": [asdict(point) for point in POINTS],
        "laps": laps,
        "lap_seconds": round(lap_seconds, 2),
        "windows": len(seen["ttft"]) // len(POINTS),
        "disjoint_windows": round(asked.seconds / window, 1),
        **{name: summary(found) for name, found in seen.items()},
        "foreign_cpu_share": round(records[0].hardware.foreign_cpu_share or 0.0, 3) if records[0].hardware else None,
        "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "seconds": round(time.monotonic() - began, 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(document, indent=2))
    if asked.json:
        series = [{"ttft": [round(s.ttft_seconds, 6) for s in r], "tpot": [round(s.tpot_seconds or 0.0, 7) for s in r],
                   "at": [round(s.started_seconds, 3) for s in r]} for r in runs.values()]  # fmt: skip
        asked.json.write_text(json.dumps({**document, "runs": series}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
