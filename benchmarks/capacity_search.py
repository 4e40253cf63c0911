"""How long the search for one candidate's capacity takes: ``python benchmarks/capacity_search.py [--json FILE]``.

CPU seconds of ``largest_rate`` – bisection on event simulations – for each preset on two machines, after compilation;
the median of five seeds. The bar is 50 ms for a chat workload.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.facts.hub import load_model
from llmsizer.facts.workload import Slo
from llmsizer.traffic.service import stream_within
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.rate_search import largest_rate

MACHINES = (
    ("mistral-small-4-press-22b", "h100-sxm-80", "fp8", 1),
    ("mistral-small-4", "rtx-pro-6000-server", "int4", 1),
)
SEEDS = 5
BAR_SECONDS = 0.05


def measure(model: str, gpu: str, weights: str, tensor: int, preset: str) -> dict[str, object]:
    """One search, by seed."""
    catalog = default_catalog()
    workload = catalog.workload(preset)
    candidate = deployment(
        load_model(model, catalog), catalog.gpu(gpu), weights, tp=tensor, max_context_tokens=workload.context_tokens
    )
    replica = replica_of(candidate, shared_prefix_tokens=workload.shared_prefix_tokens if workload.turns == 1 else 0)
    stream, slo = stream_within(workload, replica), Slo()
    largest_rate(replica, stream, slo)  # compiles
    seconds = []
    for seed in range(SEEDS):
        started = time.process_time()
        found = largest_rate(replica, stream, slo, seed=seed)
        seconds.append(time.process_time() - started)
    return {
        "candidate": candidate.label,
        "preset": preset,
        "turns": workload.turns,
        "requests_per_second": found.requests_per_second,
        "simulations": found.simulations,
        "cpu_seconds_median": statistics.median(seconds),
        "cpu_seconds_least": min(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(*machine, preset) for machine in MACHINES for preset in default_catalog().workload_names]
    for row in rows:
        print(
            f"{row['candidate']:60} {row['preset']:10} {row['cpu_seconds_median'] * 1e3:5.0f} ms"  # type: ignore[operator]
            f"  {row['requests_per_second']:.3g} requests/s in {row['simulations']} simulations"
        )
    if arguments.json:
        document = {"bar_seconds": BAR_SECONDS, "machine": platform.processor() or platform.machine(),
                    "cores": os.cpu_count(), "rows": rows}  # fmt: skip
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
