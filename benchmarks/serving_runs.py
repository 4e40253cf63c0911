"""How close the simulator comes to measured serving runs, replayed from their arrival times.

    python benchmarks/serving_runs.py FOLDER [--json FILE]

FOLDER holds runs as published in casys-kaist/LLMServingSim (MIT): one folder each with ``vllm_requests.jsonl``,
``vllm_meta.json`` and ``config.json``. Three predictions of each run are compared with what was measured:

- **public facts**: the package's calibrated step times; this run and this machine are not among their evidence;
- **calibrated on itself**: six efficiencies fitted on the run (what the simulator can express at best);
- **calibrated on another run** of the same GPU: fitted there, predicted here.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import deployment
from llmsizer.physics.memory.account import estimate_memory
from llmsizer.traffic.demand.requests import Requests
from llmsizer.traffic.simulator.calibrate import MeasuredRun, calibrate
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.engine import replay
from llmsizer.traffic.simulator.results import SimulationResult
from llmsizer.traffic.simulator.terms import Link

Floats = NDArray[np.float64]
GPUS = {"RTXPRO6000": "rtx-pro-6000-server", "RTX4090": "rtx-4090"}
SOURCE = "https://github.com/casys-kaist/LLMServingSim (MIT), vLLM 0.19.0, 300 requests each, Poisson arrivals"
STATISTICS = ("mean", "p50", "p90", "p99")


def read_run(folder: Path) -> MeasuredRun:
    """One run, times from its first arrival.

    Arrivals are wall-clock and engine times monotonic; the offset is the least seen between arriving and queueing.
    """
    rows = [json.loads(line) for line in (folder / "vllm_requests.jsonl").read_text(encoding="utf-8").splitlines()]
    meta = json.loads((folder / "vllm_meta.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "request_id"}
    arrivals = columns["arrival_time"] + float(np.min(columns["queued_ts"] - columns["arrival_time"]))
    order, zero = np.argsort(arrivals, kind="stable"), float(arrivals.min())
    options, catalog = meta["engine_kwargs"], default_catalog()
    requests = Requests(
        arrival_seconds=(arrivals - zero)[order],
        prompt_tokens=columns["input_toks"][order].astype(np.int32),
        output_tokens=columns["output_toks"][order].astype(np.int32),
    )
    served = deployment(
        catalog.model(options["model"].rpartition("/")[2].lower()),
        catalog.gpu(GPUS[config["nodes"][0]["instances"][0]["hardware"]]),
        "bf16",
        tp=options["tensor_parallel_size"],
        engine_version=meta["vllm_version"],
        max_context_tokens=int((requests.prompt_tokens + requests.output_tokens).max()),
        max_sequences=options["max_num_seqs"],
        max_batched_tokens=options["max_num_batched_tokens"],
    )
    return MeasuredRun(
        deployment=served,
        requests=requests,
        first_token_seconds=(columns["first_token_ts"] - zero)[order],
        end_seconds=(columns["last_token_ts"] - zero)[order],
        max_sequences=options["max_num_seqs"],
        max_batched_tokens=options["max_num_batched_tokens"],
        kv_tokens=estimate_memory(served).kv_capacity_tokens,
        replicas=options["data_parallel_size"],
        shares_experts=options["enable_expert_parallel"],
        link=Link(bytes_per_second=config["link_bw"] * 1e9, latency_seconds=config["link_latency"] * 1e-9),
    )


def latencies(requests: Requests, first: Floats, end: Floats) -> dict[str, Floats]:
    """Mean, p50, p90 and p99 of each latency, exactly."""
    arrival, many = requests.arrival_seconds, requests.output_tokens > 1
    values = {
        "e2e": end - arrival,
        "ttft": first - arrival,
        "tpot": (end - first)[many] / (requests.output_tokens[many] - 1),
    }
    return {name: np.array([v.mean(), *np.percentile(v, [50, 90, 99])]) for name, v in values.items()}


def errors(run: MeasuredRun, result: SimulationResult) -> dict[str, dict[str, float]]:
    """Relative errors in percent."""
    assert result.first_token_seconds is not None and result.end_seconds is not None
    measured = latencies(run.requests, run.first_token_seconds, run.end_seconds)
    simulated = latencies(run.requests, result.first_token_seconds, result.end_seconds)
    return {
        metric: dict(zip(STATISTICS, (100 * (simulated[metric] / measured[metric] - 1)).round(1).tolist(), strict=True))
        for metric in measured
    }


def compare(runs: dict[str, MeasuredRun]) -> dict[str, dict[str, dict[str, float]]]:
    found = {}
    fits = {name: calibrate(run) for name, run in runs.items()}
    for name, run in runs.items():
        public = replay(replica_of(run.deployment), run.requests, fleet=run.fleet, keep_records=True)
        found[f"{name}: public facts"] = errors(run, public)
        found[f"{name}: calibrated on itself"] = errors(run, run.replayed(fits[name].efficiencies))
        for other, fit in fits.items():
            if other != name and runs[other].deployment.gpu.id == run.deployment.gpu.id:
                found[f"{name}: calibrated on {other}"] = errors(run, run.replayed(fit.efficiencies))
    for name, fit in fits.items():
        print(f"{name}: {fit.efficiencies}, median E2E residual {fit.residual:.1%}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", type=Path, help="write the errors here")
    arguments = parser.parse_args()
    folders = sorted(path.parent for path in arguments.folder.glob("*/vllm_requests.jsonl"))
    found = compare({folder.name: read_run(folder) for folder in folders})
    print(f"\n{'error in %':58s}" + "".join(f"{m + ' ' + s:>10s}" for m in ("e2e", "ttft", "tpot") for s in STATISTICS))
    for name, table in found.items():
        print(f"{name:58s}" + "".join(f"{table[m][s]:+10.1f}" for m in ("e2e", "ttft", "tpot") for s in STATISTICS))
    if arguments.json:
        report = {"source": SOURCE, "unit": "relative error in percent", "errors": found}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
