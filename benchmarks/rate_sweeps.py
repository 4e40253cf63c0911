"""Simulated against measured rate sweeps: TPOT where the engine keeps up, throughput where it does not.

    python benchmarks/rate_sweeps.py FILE [--json FILE]

FILE is ``data/master_results.csv`` of pChitral/vllm-cost-meter (MIT; arXiv:2606.11690). Each row was 500 requests of
512 prompt and 256 output tokens, Poisson arrivals, no prefix cache, engine defaults (the count follows from duration
and throughput, the rest is stated there). From public facts alone: none of these rows is evidence of the step times.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.traffic.demand.arrivals import Arrivals
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.engine import replay
from llmsizer.traffic.simulator.fleet import Replica

SOURCE = "https://github.com/pChitral/vllm-cost-meter (MIT), data/master_results.csv; arXiv:2606.11690"
REQUESTS, PROMPT_TOKENS, OUTPUT_TOKENS, SEEDS = 500, 512, 256, 5
MODELS = {
    "meta-llama/Meta-Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "Qwen/Qwen3-30B-A3B-Instruct-2507": "qwen3-30b-a3b",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mixtral-8x7b",
}
GPUS = {"H100": "h100-sxm-80", "A100_80GB_PCIe": "a100-pcie-80"}
VERSIONS = {"vllm": "0.19.0", "sglang": "0.5.10"}
KEEPS_UP = 0.95  # completed over offered; the last requests of a run always end after the last arrival


@dataclass(frozen=True, kw_only=True)
class Line:
    """One configuration; errors in percent."""

    config: str
    name: str
    saturation_error: float
    tpot_p50_errors: dict[str, float]  # by request rate


def served(row: dict[str, str]) -> Deployment:
    catalog = default_catalog()
    return deployment(
        catalog.model(MODELS[row["model"]]),
        catalog.gpu(GPUS[row["hardware"]]),
        {"float16": "bf16"}.get(row["precision"], row["precision"]),
        tp=int(row["gpus"]),
        engine=row["engine"],
        engine_version=VERSIONS[row["engine"]],
        max_context_tokens=1024,
    )


def simulated(replica: Replica, rate: float) -> tuple[float, float]:
    """Median TPOT in seconds and completed requests per second, medians over seeds."""
    tpots, throughputs = [], []
    for seed in range(SEEDS):
        stretches = Arrivals(requests_per_second=rate).stretches(10 * REQUESTS / rate, np.random.default_rng(seed))
        arrivals = np.concatenate(list(stretches))[:REQUESTS]
        requests = Requests(
            arrival_seconds=arrivals - arrivals[0],
            prompt_tokens=np.full(REQUESTS, PROMPT_TOKENS, dtype=np.int32),
            output_tokens=np.full(REQUESTS, OUTPUT_TOKENS, dtype=np.int32),
        )
        result = replay(replica, requests, keep_records=True)
        assert result.first_token_seconds is not None and result.end_seconds is not None
        tpots.append(float(np.median(result.end_seconds - result.first_token_seconds)) / (OUTPUT_TOKENS - 1))
        throughputs.append(REQUESTS / float(result.end_seconds.max()))
    return statistics.median(tpots), statistics.median(throughputs)


def compare(rows: list[dict[str, str]]) -> list[Line]:
    """One line per configuration: saturation, and TPOT at every rate that the engine kept up with."""
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["config"]].append(row)
    table = []
    for config, members in groups.items():
        try:
            replica = replica_of(served(members[0]))
        except LlmSizerError as error:
            print(f"{config}: {error}")
            continue
        saturation = (0.0, 0.0)
        tpot_errors: dict[str, float] = {}
        for row in sorted(members, key=lambda r: float(r["rps"])):
            rate, throughput = float(row["rps"]), float(row["request_throughput"])
            tpot, completed = simulated(replica, rate)
            saturation = max(saturation[0], throughput), max(saturation[1], completed)
            if throughput >= KEEPS_UP * rate:
                tpot_errors[f"{rate:g}"] = round(100 * (tpot * 1e3 / float(row["tpot_p50_ms"]) - 1), 1)
        name = (
            f"{members[0]['engine']} {MODELS[members[0]['model']]} {members[0]['precision']} {members[0]['hardware']}"
        )
        off = round(100 * (saturation[1] / saturation[0] - 1), 1)
        table.append(Line(config=config, name=name, saturation_error=off, tpot_p50_errors=tpot_errors))
        print(f"{config:4s}{name:44s} saturation {saturation[0]:6.2f} {off:+6.1f} %   TPOT p50 % {tpot_errors}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--json", type=Path, help="write the errors here")
    arguments = parser.parse_args()
    with arguments.file.open(encoding="utf-8", newline="") as lines:
        table = compare(list(csv.DictReader(lines)))
    for engine in VERSIONS:
        lines = [line for line in table if line.name.startswith(engine)]
        tpots = [abs(error) for line in lines for error in line.tpot_p50_errors.values()]
        saturations = [abs(line.saturation_error) for line in lines]
        for what, values in (("TPOT p50 while keeping up", tpots), ("saturation rate", saturations)):
            within = sum(value <= 15 for value in values)
            middle = statistics.median(values) if values else 0.0
            print(f"{engine} {what}: median error {middle:.1f} %, {within} of {len(values)} within 15 %")
    if arguments.json:
        report = {"source": SOURCE, "unit": "relative error in percent", "errors": [asdict(line) for line in table]}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
