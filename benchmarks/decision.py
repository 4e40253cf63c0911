"""How long an answer takes: the whole catalogue warm and from a cold command line, and 100,000 draws of its cost.

    python benchmarks/decision.py [--json FILE] [--scenario NAME]

CPU seconds are what the work takes on an idle core; wall seconds stand beside them, since others may use the machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llmsizer.cli.decide.planning import find_scenario
from llmsizer.decide.answer import Recommendation
from llmsizer.decide.certainty.sure import sureness
from llmsizer.decide.pricing.apis import api_choices
from llmsizer.decide.pricing.study import _sized, study
from llmsizer.decide.recommend import _priced, recommend
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.hub import load_model

BARS = {"warm": 1.0, "volume": 1.0, "cold": 3.0, "draws": 2.0}  # seconds
PRECISIONS = ("bf16", "fp8", "int8", "int4", "nvfp4", "mxfp4")
DRAWS = 100_000
REPEATS = 5
TODAY = datetime.date(2026, 11, 21)


def timed(work: Callable[[], object], repeats: int = REPEATS) -> dict[str, float]:
    """Medians of CPU and wall seconds."""
    cpu, wall = [], []
    for _ in range(repeats):
        before_cpu, before = time.process_time(), time.perf_counter()
        work()
        cpu.append(time.process_time() - before_cpu)
        wall.append(time.perf_counter() - before)
    return {"cpu_seconds": statistics.median(cpu), "wall_seconds": statistics.median(wall)}


def command_line(path: Path) -> None:
    """A fresh process, as a user starts it."""
    subprocess.run(
        [sys.executable, "-m", "llmsizer", "plan", str(path), "--json"], check=True, stdout=subprocess.DEVNULL
    )


def cold(path: Path) -> dict[str, float]:
    """CPU seconds of child processes, by the system's own account."""
    wall, cpu = [], []
    for _ in range(REPEATS):
        used, before = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command_line(path)
        wall.append(time.perf_counter() - before)
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    return {"cpu_seconds": statistics.median(cpu), "wall_seconds": statistics.median(wall)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scenario", default="build-or-buy", help="its model and load; every GPU and format is asked")
    options = parser.parse_args()
    shipped = find_scenario(options.scenario)
    scenario = shipped.model_copy(
        update={"constraints": shipped.constraints.model_copy(update={"precisions": PRECISIONS})}
    )
    catalog = default_catalog()
    model = load_model(scenario.model, catalog)

    def anew() -> Recommendation:
        _sized.cache_clear()
        return recommend(model, scenario, catalog, today=TODAY)

    answer = anew()
    found = study(model, scenario, catalog, today=TODAY)
    picks, choices = _priced(found)[0], api_choices(found)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "asked.toml"
        names = ", ".join(f'"{name}"' for name in PRECISIONS)
        text = (catalog.root / "scenarios" / f"{options.scenario}.toml").read_text(encoding="utf-8")
        assert "[constraints]" not in text, "give a scenario without constraints"
        path.write_text(f"{text}\n[constraints]\nprecisions = [{names}]\n", encoding="utf-8")
        rows = {
            "warm": timed(anew),
            "volume": timed(lambda: recommend(model, scenario, catalog, today=TODAY)),
            "cold": cold(path),
            "draws": timed(lambda: sureness(found, picks, choices, draws=DRAWS)),
        }
    load = os.getloadavg()[0]
    what = {"warm": "whole catalogue, warm", "volume": "the same, its sizes kept",
            "cold": "the same from a cold command line",
            "draws": f"{DRAWS:,} draws, with flips"}  # fmt: skip
    print(
        f"{options.scenario}: {len(answer.plans)} plans, {len(answer.rejections)} rejections; load average {load:.1f}"
    )
    for name, row in rows.items():
        print(f"{what[name]:36}{row['cpu_seconds']:8.2f} CPU s{row['wall_seconds']:8.2f} s{BARS[name]:8.1f} s asked")
    if options.json:
        about = {"scenario": options.scenario, "cores": os.cpu_count(), "load_average": load, "bars_seconds": BARS,
                 "plans": len(answer.plans), "rejections": len(answer.rejections)}  # fmt: skip
        options.json.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
