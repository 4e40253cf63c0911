"""Are the intervals right on a real engine? Each 90 % interval is held against the mean of 20 further runs.

One child process holds the variant; runs follow one another without a pause. Of every 30 the first 10 give an interval
as the profiler states it, and the other 20 their mean. An interval of a mean must contain the mean of further runs in
about 90 % of the trials, a little less because 20 further runs scatter by themselves: with 10 runs and independent,
normal times in 86 %. ``predictive`` intervals, wider by that scatter, in 90 %.

    llmsizer model --config config.json --out model && llmsizer quantize model --out variants
    python benchmarks/repeatability.py variants/openvino-int8 --json benchmarks/results/repeatability.json
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.profile import Point, default_engine
from llmsizer.profile.child import Child
from llmsizer.profile.intervals import mean_with_interval
from llmsizer.profile.steady import steady_state
from llmsizer.quantize import read_variant

POINT = Point(batch=1, prompt_tokens=32, output_tokens=16)
FIRST, FURTHER = 10, 20
WARM_RUNS = 5


def measure(folder: Path, runs: int) -> dict[str, Any]:
    """Every run's TTFT and TPOT in seconds, in the order taken, and how busy the machine was with other work."""
    variant = read_variant(folder)
    child = Child(variant, default_engine(variant))
    found: dict[str, Any] = {"ttft": [], "tpot": [], "foreign_cpu_share": []}
    try:
        child.ask("warm", point=asdict(POINT), seed=0)
        own, wall = time.process_time(), time.monotonic()
        for run in range(1, runs + WARM_RUNS + 1):
            answer = child.ask("measure", point=asdict(POINT), seed=0, run=run)
            if run <= WARM_RUNS:
                continue
            gaps = answer["gaps_seconds"]
            total = answer["ttft_seconds"] + sum(gaps)
            found["ttft"].append(answer["ttft_seconds"])
            found["tpot"].append(sum(gaps) / len(gaps))
            found["foreign_cpu_share"].append(answer["foreign_cpu_seconds"] / total / (os.cpu_count() or 1))
        found["parent_cpu_share"] = (time.process_time() - own) / (time.monotonic() - wall)
    finally:
        child.close()
    return found


def coverage(series: Sequence[float]) -> dict[str, Any]:
    """How often intervals of the first runs contained the mean of the further ones; all trials, and the steady ones."""
    trials = [series[i : i + FIRST + FURTHER] for i in range(0, len(series) - FIRST - FURTHER + 1, FIRST + FURTHER)]
    seen: list[tuple[bool, bool, bool]] = []
    for trial in trials:
        interval = mean_with_interval(trial[:FIRST])
        further = float(np.mean(trial[FIRST:]))
        low, high = interval.low or 0.0, interval.high or math.inf
        wider = math.sqrt(1.0 + FIRST / FURTHER)
        inside = low <= further <= high
        mean = interval.value
        predicted = mean - (mean - low) * wider <= further <= mean + (high - mean) * wider
        seen.append((inside, predicted, steady_state(trial).found))
    steady = [trial for trial in seen if trial[2]]
    return {
        "trials": len(seen),
        "contained_share": _share(seen, 0),
        "contained_share_predictive": _share(seen, 1),
        "steady_trials": len(steady),
        "contained_share_of_steady": _share(steady, 0),
        "contained_share_predictive_of_steady": _share(steady, 1),
    }


def _share(trials: Sequence[tuple[bool, bool, bool]], index: int) -> float | None:
    return round(sum(trial[index] for trial in trials) / len(trials), 3) if trials else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", type=Path)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    found = measure(arguments.variant, arguments.trials * (FIRST + FURTHER))
    document = {
        "point": asdict(POINT),
        "first_runs": FIRST,
        "further_runs": FURTHER,
        "tpot": coverage(found["tpot"]),
        "ttft": coverage(found["ttft"]),
        "tpot_seconds_median": float(np.median(found["tpot"])),
        "ttft_seconds_median": float(np.median(found["ttft"])),
        "foreign_cpu_share_median": float(np.median(found["foreign_cpu_share"])),
        "load_average": [round(load_before, 2), round(os.getloadavg()[0], 2)],
        "parent_cpu_share": round(found["parent_cpu_share"], 4),
        "cores": os.cpu_count(),
    }
    print(json.dumps(document, indent=2))
    if arguments.json:
        series = {name: [round(v, 7) for v in found[name]] for name in ("tpot", "ttft")}
        arguments.json.write_text(json.dumps({**document, "seconds": series}) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
