"""What watching costs: decode time with a device watched ten times a second beside decode time without.

On a machine without a GPU the sensor is a stand-in that does the same Python work and answers after as long as a driver
takes (200 µs, asleep, as NVML's calls hold no lock): what is measured is the watcher, not a driver. Pairs take turns at
going first. Run: ``python benchmarks/tracker_overhead.py VARIANT``; results in
``benchmarks/results/tracker_overhead.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsizer.facts.record_parts import EnergySource
from llmsizer.profile.engines import chosen_engine, load_engine
from llmsizer.profile.intervals import judged, median_with_interval
from llmsizer.profile.measure import Point, prompts_of, take_sample
from llmsizer.profile.trackers.sensor import Reading, find_sensor
from llmsizer.profile.trackers.watch import Watch
from llmsizer.quantize import read_variant

RESULTS = Path(__file__).parent / "results" / "tracker_overhead.json"
POINT = Point(batch=1, prompt_tokens=16, output_tokens=33)
PAIRS = 20
BAR = 0.01
DRIVER_SECONDS = 200e-6


class StandIn:
    """A sensor whose driver takes its time."""

    power_source: EnergySource = "nvml-power"
    counter_source: EnergySource = "nvml-counter"

    def read(self, seconds: float) -> Reading:
        time.sleep(DRIVER_SECONDS)
        return Reading(
            seconds=seconds, watts=500.0, sm_clock_hertz=1.9e9, throttle_reasons=(), temperature_celsius=60.0
        )

    def counter_joules(self) -> float | None:
        return time.monotonic() * 500.0

    def power_limit_watts(self) -> float | None:
        return 700.0

    def used_bytes(self) -> float | None:
        return None

    def process_bytes(self, process_ids: Sequence[int]) -> float | None:
        return None

    def foreign_processes(self, own: Sequence[int]) -> tuple[str, ...] | None:
        return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variant", type=Path)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--cpu-time", action="store_true", help="of this process: for a machine that others use")
    asked = parser.parse_args()
    variant = read_variant(asked.variant)
    engine = load_engine(chosen_engine(variant, None), variant)
    found = find_sensor()
    sensor: Any = found or StandIn()

    clock = time.process_time if asked.cpu_time else time.perf_counter

    def decode(prompts: Any) -> float:
        return sum(take_sample(engine, prompts, POINT.output_tokens, clock).gaps_seconds)

    def watched(prompts: Any) -> float:
        with Watch(sensor):
            return decode(prompts)

    ratios = []
    for pair in range(-2, asked.pairs):
        prompts = prompts_of(POINT, vocabulary=engine.vocabulary, seed=2, run=pair + 2)
        order = (watched, decode) if pair % 2 else (decode, watched)
        taken = {run: run(prompts) for run in order}
        if pair >= 0:
            ratios.append(taken[watched] / taken[decode])
    ratio = median_with_interval(ratios)
    row = {
        "sensor": type(sensor).__name__,
        "pairs": asked.pairs,
        "clock": clock.__name__,
        "watched_over_unwatched": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "level": ratio.level,
        "bar": 1.0 + BAR,
        "bar_is": judged(ratio, most=1.0 + BAR),
    }
    RESULTS.write_text(json.dumps(row, indent=1) + "\n")
    print(
        f"watched ÷ unwatched {ratio.value:.4f} [{ratio.low:.4f}, {ratio.high:.4f}] over {asked.pairs} pairs: "
        f"bar {row['bar_is']}"
    )


if __name__ == "__main__":
    main()
