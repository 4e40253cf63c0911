"""A llama.cpp and a transformers bundle that really serve on this machine: planned, started, asked, loaded, stopped.

    python benchmarks/launch_bundle.py [--work DIR] [--json benchmarks/results/launch_bundle.json]

One calibration on static batches of this machine, then the plan's TTFT and TPOT beside what the load generator measures
on the server that the bundle's own start.sh started. The model has random weights and the reference model's tokenizer:
its speed is that of its shape. ``--work`` keeps model and records: a second run measures the server alone.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.profile.device import describe_device
from llmsizer.profile.engines.served import free_port

PROMPT, OUTPUT = 128, 48
CONTEXT = 1024  # the load generator asks longer prompts too, to learn how words become tokens
LOAD_SHARE = 0.5  # of what a replica holds by the plan
REQUESTS = 40
BAR = 0.20
SERVER = f"{sys.executable} -m llmsizer.profile.engines.xllamacpp_server"
POINTS = ((1, 32, 32), (1, PROMPT, OUTPUT), (1, 384, 32), (4, PROMPT, OUTPUT))


@dataclass(frozen=True, kw_only=True)
class Case:
    """One engine's way through: what it serves, and how its program is called here."""

    engine: str
    precision: str
    quantized_by: str
    environment: Mapping[str, str]


CASES = (
    Case(engine="llama.cpp", precision="gguf-q8_0", quantized_by="gguf-q8_0", environment={"LLAMA_SERVER": SERVER}),
    Case(
        engine="transformers",
        precision="bf16",
        quantized_by="",
        environment={"TRANSFORMERS": str(Path(sys.executable).with_name("transformers")), "HF_HUB_OFFLINE": "1"},
    ),
)


def own_device(work: Path, device: DeviceRecord) -> str:
    """This machine as an entry of the catalogue, by a file of overrides. Returns its id."""
    bandwidth = device.read_bytes_per_second or device.copy_bytes_per_second
    flops = max(device.gemm_flops_per_second.values())
    assert bandwidth and device.memory_bytes
    file = work / "overrides.toml"
    file.write_text(
        f'[gpus."{device.name}"]\nname = "{device.name}"\nvendor = "own"\ndevice_class = "cpu"\n'
        f"memory_bytes = {device.memory_bytes:.0f}\nmemory_bytes_per_second = {bandwidth:.0f}\n"
        f"flops_per_second = {{ fp32 = {flops:.0f} }}\n",
        encoding="utf-8",
    )
    os.environ["LLMSIZER_OVERRIDES"] = str(file)
    return device.name


def model_folder(work: Path, *, is_small: bool) -> Path:
    """Random weights of a quarter of a billion parameters with the trained 16 M's tokenizer, or that one itself."""
    from llmsizer import reference_model

    if is_small:
        return reference_model.build(work / "models")
    folder = work / "served"
    if not folder.is_dir():
        trained = reference_model.build(work / "models")
        config = {
            **reference_model.SPEED_CONFIG,
            "vocab_size": json.loads((trained / "config.json").read_text())["vocab_size"],
        }
        reference_model.random_checkpoint(config, folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(trained / name, folder / name)
    return folder


def records_of(case: Case, model: Path, work: Path, repeats: int) -> tuple[Path, list[ProfileRecord]]:
    """The variant on disk, and its records: the one calibration."""
    from llmsizer.profile import Point, profile, read_records
    from llmsizer.quantize import quantize_all
    from llmsizer.quantize.run import original

    out = work / "variants"
    variant = quantize_all(model, [case.quantized_by], out)[0] if case.quantized_by else original(model)
    points = [Point(batch=b, prompt_tokens=p, output_tokens=o) for b, p, o in POINTS]
    file = work / f"{case.engine}.jsonl"
    kept = read_records(file, ProfileRecord)[0] if file.is_file() else []
    if len(kept) == len(POINTS):
        return variant.path, kept
    return variant.path, profile([variant], points, records_path=file, repeats=repeats, engine=case.engine)


def planned(case: Case, model: Path, gpu: str, records: list[ProfileRecord]) -> tuple[Any, Any]:
    """The fleet for half of what one replica holds, and the calibration's own residuals."""
    from llmsizer.decide.modelled import ModelledPhysics
    from llmsizer.decide.study import workload_of
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.hub import load_model
    from llmsizer.launch.engine_data import load_engine
    from llmsizer.launch.fleet import fleet_for
    from llmsizer.physics.own_records import calibrate

    catalog = default_catalog()
    calibration, moves = calibrate(records)
    deployment = Deployment(
        model=load_model(str(model), catalog),
        gpu=catalog.gpu(gpu),
        weights=get_precision(case.precision),
        max_context_tokens=CONTEXT,
    )

    def fleet(rate: float) -> Any:
        scenario = Scenario.model_validate(
            {
                "name": "this-machine",
                "model": str(model),
                "workload": {
                    "requests_per_second": rate,
                    "peak_to_average": 1.0,
                    "prompt_tokens": PROMPT,
                    "output_tokens": OUTPUT,
                },
                "slo": {"ttft_p95_seconds": 5.0, "tpot_p95_seconds": 0.25},
                "spare_replicas": 0,
            }
        )
        return fleet_for(
            deployment,
            scenario,
            workload_of(scenario, catalog),
            load_engine(case.engine),
            physics=ModelledPhysics(calibration),
            checkpoint=str(model.resolve()),
        )

    holds = fleet(0.01).promise.requests_per_second.value
    return fleet(LOAD_SHARE * holds), moves


@contextlib.contextmanager
def started(folder: Path, port: int, environment: Mapping[str, str]) -> Iterator[str]:
    """The server of the bundle's start.sh, ended with its whole group."""
    log = (folder / "server.log").open("w")
    own = {**os.environ, **environment, "PORT": str(port)}
    process = subprocess.Popen(
        ["sh", "start.sh"], cwd=folder, env=own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
        log.close()


def load(url: str, name: str, case: Case, gpu: str, records: Path, *pattern: str) -> dict[str, float]:
    """Means and p95 of one point of load, seconds."""
    command = [
        sys.executable, "-m", "llmsizer", "profile", url, "--model", name, *pattern, "--prompt-tokens", str(PROMPT),
        "--output-tokens", str(OUTPUT), "--requests", str(REQUESTS), "--records", str(records), "--fresh", "--json",
        "--precision", case.precision, "--max-minutes", "5",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr.strip()[-400:]}")
    record = ProfileRecord.model_validate_json(records.read_text().strip().splitlines()[-1])
    found: dict[str, float] = {}
    for what in ("effective_ttft", "tpot"):
        spread = record.distributions[what]
        found[what.removeprefix("effective_")] = float(spread.mean or 0.0)
        if "p95" in spread.percentiles:
            found[f"{what.removeprefix('effective_')}_p95"] = spread.percentiles["p95"].value
    return found


def run(case: Case, work: Path, gpu: str, repeats: int, *, is_small: bool) -> dict[str, Any]:
    """One engine: calibrate, plan, bundle, check, start, ask, load, stop."""
    from llmsizer.launch.bundle import bundle_of, write_bundle
    from llmsizer.launch.checks.bundle import check_bundle

    served = model_folder(work, is_small=is_small)
    path, records = records_of(case, served, work, repeats)
    fleet, moves = planned(case, served, gpu, records)
    folder = Path(tempfile.mkdtemp(dir=work)) / case.engine
    write_bundle(bundle_of(fleet, "shell", today=datetime.date.today()), folder)
    checked = check_bundle(folder)
    file = next(path.glob("*.gguf")) if case.engine == "llama.cpp" else served.resolve()
    port = free_port()
    rate = fleet.promise.peak_requests_per_second
    name = str(file) if case.engine == "transformers" else fleet.served_name
    with started(folder, port, {**case.environment, "MODEL": str(file)}) as url:
        own = {**os.environ, "URL": url, "WAIT_SECONDS": "180", "MODEL_NAME": name}
        healthy = subprocess.run(["sh", "health.sh"], cwd=folder, env=own, check=False).returncode == 0
        answers = subprocess.run(["sh", "smoke-test.sh"], cwd=folder, env=own, check=False).returncode == 0
        measured = load(url, name, case, gpu, folder / "load.jsonl", "--rate", f"{rate:.4g}")
    promise = fleet.promise
    promised = {
        "ttft": promise.ttft_mean.value, "ttft_p95": promise.ttft_p95.value,
        "tpot": promise.tpot_mean.value, "tpot_p95": promise.tpot_p95.value,
    }  # fmt: skip
    errors = {key: measured[key] / promised[key] - 1 for key in measured if promised.get(key)}
    return {
        "engine": fleet.engine.label,
        "precision": case.precision,
        "offline_check_passed": checked.passed,
        "healthy": healthy,
        "answers": answers,
        "requests_per_second": rate,
        "promised_seconds": promised,
        "measured_seconds": measured,
        "measured_over_promised_less_one": errors,
        "calibrated_on": [move.text() for move in moves],
        "within_bar": all(abs(errors[key]) <= BAR for key in ("ttft", "tpot")),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="keeps model and records (default: a folder that goes away)")
    parser.add_argument("--engines", default="llama.cpp,transformers")
    parser.add_argument("--repeats", type=int, default=5, help="of each point that calibrates")
    parser.add_argument("--small", action="store_true", help="the trained 16 M model: quick, and mostly overhead")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        device = describe_device()
        gpu = own_device(work, device)
        found = [
            run(case, work, gpu, asked.repeats, is_small=asked.small)
            for case in CASES
            if case.engine in asked.engines.split(",")
        ]
    document = {
        "device": device.name,
        "cores": device.cores,
        "measured_on": datetime.date.today().isoformat(),
        "load": f"{PROMPT} tokens in, {OUTPUT} out, {REQUESTS} Poisson requests, {LOAD_SHARE:.0%} of capacity",
        "bar": f"TTFT and TPOT, means, within {BAR:.0%} of the plan's",
        "engines": found,
    }
    for one in found:
        shown = ", ".join(f"{k} {v:+.0%}" for k, v in one["measured_over_promised_less_one"].items())
        print(f"{one['engine']} {one['precision']}: answers {one['answers']}; measured over promised: {shown}")
    if asked.json:
        asked.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
