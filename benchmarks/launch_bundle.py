"""A llama.cpp bundle that really serves on this machine: calibrated, planned, started, asked, loaded, stopped.

    python benchmarks/launch_bundle.py [--rounds 2] [--work DIR] [--json benchmarks/results/launch_bundle.json]

Each round is one calibration on static batches and, right after it, the plan's TTFT and TPOT beside what the load
generator measures on the server that the bundle's own start.sh started: so the machine has little time to change speed
between the two, and how much it did shows between the rounds. Prompt and answer lengths are the same on both sides, and
the batches that the load makes lie within those that were calibrated. The model has random weights and a tokenizer
trained on Python's sources: its speed is that of its shape. ``--work`` keeps the model.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.facts.deployment import Deployment
from llmsizer.facts.precision import get_precision
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.facts.scenario import Scenario
from llmsizer.profile.device import describe_device
from llmsizer.profile.engines.served import free_port

if TYPE_CHECKING:
    from llmsizer.facts.variant import Variant
    from llmsizer.launch.fleet import Fleet
    from llmsizer.physics.calibration.own_records import Move

PROMPT, OUTPUT = 64, 32
CONTEXT = 1024  # the load generator asks longer prompts too, to learn how words become tokens
LOAD_SHARE = 0.4  # of what a replica holds by the plan
TPOT_LIMIT_SECONDS = 0.15
LAYERS = 6  # of the speed model's 12: half a minute of load is then some dozens of requests
BAR = 0.20
# One program for both sides, found as `llama-server` on the PATH by the calibration and by start.sh alike. It has all
# cores but one: a load generator on a core of the server's would stall its threads at every barrier.
SERVER = """#!/bin/sh
if [ "$1" = "--version" ]; then echo "version: xllamacpp {version}"; exit 0; fi
exec taskset -c {cores} {python} -m llmsizer.profile.engines.xllamacpp_server "$@" --threads {threads}
"""
POINTS = (
    (1, 32, OUTPUT),
    (1, PROMPT, OUTPUT),
    (1, 192, OUTPUT),
    (2, PROMPT, OUTPUT),
    (4, PROMPT, OUTPUT),
    (8, PROMPT, OUTPUT),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One engine's way through: what it serves, and how its program is called here."""

    engine: str
    precision: str
    quantized_by: str
    environment: Mapping[str, str]
    most_batch: int = 8  # of the points that calibrate


@dataclass(frozen=True, kw_only=True)
class Asked:
    """How much is measured."""

    rounds: int
    repeats: int  # of each point that calibrates
    requests: int  # of each load
    device: DeviceRecord


CASES = (
    Case(engine="llama.cpp", precision="gguf-q8_0", quantized_by="gguf-q8_0", environment={}),
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


def model_folder(work: Path) -> Path:
    """Random weights of some 160 million parameters with a tokenizer trained on Python's sources."""
    from llmsizer import reference_model
    from llmsizer.installed import quiet_transformers
    from llmsizer.reference_model.corpus import read_corpus
    from llmsizer.reference_model.training import BEGIN, END, UNKNOWN, train_tokenizer

    folder = work / "served"
    if folder.is_dir():
        return folder
    tokenizer = train_tokenizer(read_corpus(seed=0).train, 4096)
    config = reference_model.SPEED_CONFIG | {
        "vocab_size": tokenizer.get_vocab_size(),
        "num_hidden_layers": LAYERS,
    }
    reference_model.random_checkpoint(config, folder)
    wrapped = quiet_transformers(what="a tokenizer").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token=UNKNOWN, bos_token=BEGIN, eos_token=END
    )
    wrapped.save_pretrained(folder)
    return folder


def cores_apart(work: Path) -> None:
    """The server's program on the PATH, bound to all cores but the last; this process and its load on the last."""
    cores = sorted(os.sched_getaffinity(0))
    servers = cores[:-1] or cores
    program = work / "bin" / "llama-server"
    program.parent.mkdir(exist_ok=True)
    text = SERVER.format(
        version=version("xllamacpp"), cores=",".join(map(str, servers)), python=sys.executable, threads=len(servers)
    )
    program.write_text(text, encoding="utf-8")
    program.chmod(0o755)
    os.environ["PATH"] = f"{program.parent.resolve()}:{os.environ['PATH']}"
    os.sched_setaffinity(0, {cores[-1]})


def variant_of(case: Case, model: Path, work: Path) -> Variant:
    """The served format on disk; made once."""
    from llmsizer.quantize import quantize_all
    from llmsizer.quantize.run import original

    if not case.quantized_by:
        return original(model)
    return quantize_all(model, [case.quantized_by], work / "variants")[0]


def calibration_records(
    case: Case, variant: Variant, file: Path, repeats: int, device: DeviceRecord
) -> list[ProfileRecord]:
    """Static batches, one point after the other: llama.cpp's server is started anew for each and has to get warm."""
    from llmsizer.profile import Point, profile

    points = [Point(batch=b, prompt_tokens=p, output_tokens=o) for b, p, o in POINTS if b <= case.most_batch]
    return profile(
        [variant], points, records_path=file, repeats=repeats, engine=case.engine, in_laps=False, device=device
    )


def planned(case: Case, model: Path, gpu: str, records: list[ProfileRecord]) -> tuple[Fleet, tuple[Move, ...]]:
    """The fleet for a share of what one replica holds, and the calibration's own residuals."""
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.decide.pricing.study import workload_of
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.hub import load_model
    from llmsizer.launch.engine_data import load_engine
    from llmsizer.launch.fleet import fleet_for
    from llmsizer.physics.calibration.own_records import calibrate

    catalog = default_catalog()
    calibration, moves = calibrate(records)
    deployment = Deployment(
        model=load_model(str(model), catalog),
        gpu=catalog.gpu(gpu),
        weights=get_precision(case.precision),
        max_context_tokens=CONTEXT,
    )

    def fleet(rate: float) -> Fleet:
        workload = {
            "requests_per_second": rate,
            "peak_to_average": 1.0,
            "prompt_tokens": PROMPT,
            "output_tokens": OUTPUT,
        }
        scenario = Scenario.model_validate(
            {
                "name": "this-machine",
                "model": str(model),
                "workload": workload,
                "slo": {"ttft_p95_seconds": 5.0, "tpot_p95_seconds": TPOT_LIMIT_SECONDS},
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
    assert holds is not None
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


def load(url: str, name: str, case: Case, model: Path, records: Path, rate: float, requests: int) -> ProfileRecord:
    """One point of Poisson load, as load-test.sh sends it, with prompts counted by the model's own tokenizer."""
    command = [
        sys.executable, "-m", "llmsizer", "profile", url, "--model", name, "--rate", f"{rate:.4g}",
        "--prompt-tokens", str(PROMPT), "--output-tokens", str(OUTPUT), "--requests", str(requests),
        "--tokenizer", str(model), "--records", str(records), "--fresh", "--json",
        "--precision", case.precision, "--max-minutes", "5", "--point-seconds", "240",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"the load failed: {done.stderr.strip()[-400:]}")
    return ProfileRecord.model_validate_json(records.read_text().strip().splitlines()[-1])


def seen(record: ProfileRecord) -> dict[str, float]:
    """Means and p95 in seconds."""
    found: dict[str, float] = {}
    for metric, name in (("effective_ttft", "ttft"), ("tpot", "tpot")):
        spread = record.distributions[metric]
        found[name] = float(spread.mean or 0.0)
        if "p95" in spread.percentiles:
            found[f"{name}_p95"] = spread.percentiles["p95"].value
    return found


def one_round(case: Case, work: Path, model: Path, variant: Variant, gpu: str, asked: Asked) -> dict[str, Any]:
    """Calibrate, plan, bundle, check, start, ask, load, stop."""
    from llmsizer.launch.bundle import bundle_of, write_bundle
    from llmsizer.launch.checks.bundle import check_bundle

    scratch = Path(tempfile.mkdtemp(dir=work))
    busy_before = os.getloadavg()[0]
    records = calibration_records(case, variant, scratch / "calibration.jsonl", asked.repeats, asked.device)
    fleet, moves = planned(case, model, gpu, records)
    folder = scratch / "bundle"
    write_bundle(bundle_of(fleet, "shell", today=datetime.date.today()), folder)
    checked = check_bundle(folder)
    file = next(variant.path.glob("*.gguf")) if case.engine == "llama.cpp" else model.resolve()
    name = str(file) if case.engine == "transformers" else fleet.served_name
    promise = fleet.promise
    rate = promise.at_peak.requests_per_second
    with started(folder, port := free_port(), {**case.environment, "MODEL": str(file)}) as url:
        own = {**os.environ, "URL": url, "WAIT_SECONDS": "180", "MODEL_NAME": name, "PORT": str(port)}
        healthy = subprocess.run(["sh", "health.sh"], cwd=folder, env=own, check=False).returncode == 0
        answers = subprocess.run(["sh", "smoke-test.sh"], cwd=folder, env=own, check=False).returncode == 0
        record = load(url, name, case, model, folder / "load.jsonl", rate, asked.requests)
    measured = seen(record)
    promised = {
        "ttft": promise.at_peak.ttft_mean.value, "ttft_p95": promise.at_peak.ttft_p95.value,
        "tpot": promise.at_peak.tpot_mean.value, "tpot_p95": promise.at_peak.tpot_p95.value,
    }  # fmt: skip
    return {
        "load_average_before": busy_before,
        "offline_check_passed": checked.passed,
        "healthy": healthy,
        "answers": answers,
        "requests_per_second": rate,
        "share_of_what_a_replica_holds": LOAD_SHARE,
        "slots": fleet.deployment.max_sequences,
        "batch_by_plan": rate * ((promised["ttft"] or 0.0) + (OUTPUT - 1) * (promised["tpot"] or 0.0)),
        "promised_seconds": promised,
        "measured_seconds": measured,
        "measured_over_promised_less_one": {k: measured[k] / v - 1 for k, v in promised.items() if v and k in measured},
        "calibrated_on": [
            {"batch": r.batch, "prompt_tokens": r.prompt_tokens, "ttft_seconds": r.ttft_seconds,
             "tpot_seconds": r.tpot_seconds} for r in records
        ],
        "calibration": [move.text() for move in moves],
    }  # fmt: skip


def run(case: Case, work: Path, model: Path, gpu: str, asked: Asked) -> dict[str, Any]:
    """All rounds of one engine, and the median of how far off each figure was."""
    from llmsizer.launch.engine_data import load_engine

    variant = variant_of(case, model, work)
    rounds = [one_round(case, work, model, variant, gpu, asked) for _ in range(asked.rounds)]
    errors = {
        key: statistics.median(one["measured_over_promised_less_one"][key] for one in rounds)
        for key in rounds[0]["measured_over_promised_less_one"]
    }
    return {
        "engine": load_engine(case.engine).label,
        "precision": case.precision,
        "answers": all(one["answers"] and one["healthy"] and one["offline_check_passed"] for one in rounds),
        "measured_over_promised_less_one": errors,
        "within_bar": all(abs(errors[key]) <= BAR for key in ("ttft", "tpot")),
        "rounds": rounds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="keeps the model (default: a folder that goes away)")
    parser.add_argument("--engines", default="llama.cpp", help="llama.cpp, transformers or both with a comma")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3, help="of each point that calibrates")
    parser.add_argument("--requests", type=int, default=60, help="of each load")
    parser.add_argument("--realtime", action="store_true", help="real-time priority, for a machine with other work")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        work = given.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        device = describe_device()
        asked = Asked(rounds=given.rounds, repeats=given.repeats, requests=given.requests, device=device)
        gpu, model = own_device(work, device), model_folder(work)
        cases = [case for case in CASES if case.engine in given.engines.split(",")]
        for case in cases:
            variant_of(case, model, work)
        cores_apart(work)
        if given.realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        found = [run(case, work, model, gpu, asked) for case in cases]
    document = {
        "device": device.name,
        "cores": device.cores,
        "measured_on": datetime.date.today().isoformat(),
        "load": f"{PROMPT} tokens in, {OUTPUT} out, {asked.requests} Poisson requests a round",
        "real_time_priority": given.realtime,
        "bar": f"TTFT and TPOT, means, median of {asked.rounds} rounds, within {BAR:.0%} of the plan's",
        "seconds": round(time.perf_counter() - start, 1),
        "engines": found,
    }
    for one in found:
        _print(one)
    if given.json:
        given.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(one["within_bar"] and one["answers"] for one in found) else 1


def _print(found: dict[str, Any]) -> None:
    for number, one in enumerate(found["rounds"], start=1):
        pairs = ", ".join(
            f"{k} {one['measured_seconds'][k] * 1000:.1f} ms for {one['promised_seconds'][k] * 1000:.1f} ({v:+.0%})"
            for k, v in one["measured_over_promised_less_one"].items()
        )
        print(
            f"round {number}, load average {one['load_average_before']:.1f}, {one['requests_per_second']:.2g}/s, "
            f"{one['batch_by_plan']:.1f} at once: {pairs}"
        )
    shown = ", ".join(f"{k} {v:+.0%}" for k, v in found["measured_over_promised_less_one"].items())
    verdict = "within" if found["within_bar"] else "beyond"
    print(f"{found['engine']} {found['precision']}: measured over promised, median: {shown}; {verdict} the bar")


if __name__ == "__main__":
    raise SystemExit(main())
