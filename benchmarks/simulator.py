"""The simulator's speed, memory and compile time, from 10^4 to 10^7 requests, and the time of a capacity search.

    python benchmarks/simulator.py [--largest N] [--repeats N] [--json FILE]

Speed is CPU time of this process, drawing the requests included; compiling and loading are reported apart. The chat
workload is 16 requests/s (10^7 are a week) with lognormal lengths on an 8B model's step times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from llmsizer.facts.workload import Slo
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.lengths import Lognormal
from llmsizer.traffic.demand.stream import Stream
from llmsizer.traffic.simulator.engine import simulate
from llmsizer.traffic.simulator.fleet import Replica
from llmsizer.traffic.simulator.rate_search import largest_rate
from llmsizer.traffic.simulator.replications import replicate
from llmsizer.traffic.simulator.steps import tabulate

CHAT = Stream(
    arrivals=Arrivals(requests_per_second=16.0),
    prompt=Lognormal(mean_tokens=600, p95_tokens=1800, longest_tokens=12_000),
    output=Lognormal(mean_tokens=220, p95_tokens=600, longest_tokens=4_000),
    context_tokens=16_384,
)


def chat_step_seconds(
    prefill_tokens: int, prefill_pairs: float, decode_batch: int, decode_context_tokens: float
) -> float:
    """An 8B model in 16 bit on one H100 SXM, rounded: 16 GB of weights and 131 kB of cache per token at 2.6 TB/s."""
    tokens = prefill_tokens + decode_batch
    matrices = max(6.2e-3, 2 * 7e9 * tokens / 5.5e14)
    return 5e-4 + matrices + 5e-8 * decode_context_tokens + 4e-10 * prefill_pairs


def chat_replica() -> Replica:
    table = tabulate(chat_step_seconds, max_sequences=256, max_batched_tokens=8192, max_context_tokens=16_384)
    return Replica(steps=table, kv_tokens=420_000, max_sequences=256, max_batched_tokens=8192)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU seconds and wall seconds of a call."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def first_call_seconds() -> dict[str, float]:
    """Wall seconds of a first small run in a fresh process: compiling everything, and finding it compiled on disk."""
    code = (
        "import time; t = time.perf_counter(); import benchmarks.simulator as b;"
        "r = b.chat_replica(); s = time.perf_counter(); b.simulate(r, b.CHAT, duration_seconds=60);"
        "print(time.perf_counter() - s)"
    )
    root = Path(__file__).resolve().parent.parent
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": f"{root}:{root / 'src'}"}
        runs = [
            float(subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True).stdout)
            for _ in range(2)
        ]
    return {"compile_seconds": runs[0], "load_compiled_seconds": runs[1]}


def speed(sizes: list[int], repeats: int) -> list[dict[str, float]]:
    replica = chat_replica()
    simulate(replica, CHAT, duration_seconds=60)
    rows = []
    for size in sizes:
        runs = [
            timed(lambda n=size, seed=seed: simulate(replica, CHAT, duration_seconds=n / 16, seed=seed))  # type: ignore[misc]
            for seed in range(repeats)
        ]
        cpu, wall = (statistics.median(run[i] for run in runs) for i in (0, 1))
        rows.append(
            {
                "requests": size,
                "cpu_seconds": cpu,
                "wall_seconds": wall,
                "requests_per_cpu_second": size / cpu,
                "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
        print("  ".join(f"{name} {value:,.4g}" for name, value in rows[-1].items()))
    return rows


def speed_on_two_cores(total: int) -> dict[str, float]:
    """The same number of requests as two replications on two threads."""
    replica = chat_replica()
    seconds = timed(
        lambda: replicate(replica, CHAT, duration_seconds=total / 2 / 16, replications=2, seed=1, workers=2)
    )
    row = {"requests": float(total), "cpu_seconds": seconds[0], "wall_seconds": seconds[1]}
    print("two threads:", "  ".join(f"{name} {value:,.4g}" for name, value in row.items()))
    return row


def capacity_search(repeats: int) -> dict[str, float]:
    """Wall and CPU milliseconds to find the largest rate of one candidate, by other seeds; compiled before."""
    replica, slo = chat_replica(), Slo(ttft_p95_seconds=0.5, tpot_p95_seconds=0.012)
    largest_rate(replica, CHAT, slo)
    runs = [timed(lambda seed=seed: largest_rate(replica, CHAT, slo, seed=seed)) for seed in range(repeats)]  # type: ignore[misc]
    found = [largest_rate(replica, CHAT, slo, seed=seed) for seed in range(repeats)]
    row = {
        "cpu_milliseconds": 1e3 * statistics.median(cpu for cpu, _ in runs),
        "wall_milliseconds": 1e3 * statistics.median(wall for _, wall in runs),
        "simulations": statistics.median(result.simulations for result in found),
        "requests_per_second": statistics.median(result.requests_per_second for result in found),
    }
    print("capacity search:", "  ".join(f"{name} {value:,.4g}" for name, value in row.items()))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=10_000_000, help="requests of the largest run")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    sizes = [10**k for k in range(4, 8) if 10**k <= arguments.largest]
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    report: dict[str, object] = {"speed": speed(sizes, arguments.repeats), "two_cores": speed_on_two_cores(sizes[-1])}
    report["capacity_search"] = capacity_search(15)
    report["load_average"] = os.getloadavg()[0]
    report["first_call"] = first_call_seconds()
    print("first call:", report["first_call"])
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
