"""Other tools run against a mock whose delays are known; their files imported, and held against the truth.

    python benchmarks/exchange.py [--venvs DIR] [--vllm-wheel DIR] [--llm-d DIR] [--keep DIR] [--json FILE]

GuideLLM, AIPerf, inference-perf and vLLM's client are used where ``DIR/guidellm-venv``, ``aiperf-venv``,
``inference-perf-venv`` (and ``--vllm-wheel``, see ``vllm_client.py``) hold them. With ``--llm-d``, a folder that holds
llm-d's ``benchmark_report`` package, their files also go through its own converters to Benchmark Reports 0.1 and 0.2,
and what we export is validated by its model. The truth is the mock's programme plus how late the mock itself was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import load_generator
from llmsizer.errors import LlmSizerError
from llmsizer.exchange.benchmark_report_out import report_of
from llmsizer.exchange.importing import import_file
from llmsizer.facts.records import ProfileRecord
from llmsizer.store.exchange import export_items

TTFT_SECONDS, TPOT_SECONDS, OUTPUT_TOKENS = 1.0, 0.05, 33
USERS = 4
MOST_ERROR = 0.01
CONVERT = """
import sys; sys.path.insert(0, sys.argv[1])
from benchmark_report import native_to_br0_{minor} as native
native.import_{tool}(sys.argv[2]).export_yaml(sys.argv[3])
"""
VALIDATE = """
import json, sys; sys.path.insert(0, sys.argv[1])
from benchmark_report.schema_v0_2 import BenchmarkReportV02
BenchmarkReportV02(**json.load(open(sys.argv[2])))
"""
CONVERTERS = {"guidellm": "guidellm", "aiperf": "aiperf", "vllm": "vllm_benchmark", "inference-perf": "inference_perf"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--vllm-wheel", type=Path)
    parser.add_argument("--llm-d", type=Path)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--keep", type=Path, help="leave the tools' files here")
    parser.add_argument("--realtime", action="store_true", help="mock and tools before all else on a shared machine")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    load_generator.OUTPUT_TOKENS = OUTPUT_TOKENS
    program = str(Path(__file__).with_name("load_mock.py"))
    command = [*load_generator.first(arguments), sys.executable, program, str(TTFT_SECONDS), str(TPOT_SECONDS)]
    mock = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert mock.stdout is not None
    url = f"http://127.0.0.1:{mock.stdout.readline().strip()}"
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = arguments.keep or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            rows = [row for tool in COMMANDS for row in measured(tool, url, arguments, folder)]
            round_trips = [round_trip(row, arguments, folder) for row in rows if "record" in row]
    finally:
        mock.kill()
        mock.wait()
    for row in rows:
        row.pop("record", None)
    document = {
        "machine": {"cpu": load_generator.cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()},
        "load_average": os.getloadavg()[0],
        "realtime": arguments.realtime,
        "programme": {"ttft_s": TTFT_SECONDS, "tpot_s": TPOT_SECONDS, "output_tokens": OUTPUT_TOKENS, "users": USERS,
                      "requests": arguments.requests},
        "measured_at": time.strftime("%Y-%m-%d"),
        "imported": rows,
        "round_trips": round_trips,
    }  # fmt: skip
    print_table(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def measured(tool: str, url: str, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A tool's file and its llm-d reports, each imported and held against the truth."""
    command, environment, result = COMMANDS[tool](url, arguments, folder)
    if not Path(command[0]).exists() or (tool == "vllm" and not arguments.vllm_wheel):
        return [{"tool": tool, "failed": "not installed"}]
    load_generator.ask_stats(url)
    command = [*load_generator.first(arguments), *command]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, **environment}, cwd=folder, timeout=400, check=False
    )
    if done.returncode or not result.exists():
        return [{"tool": tool, "failed": " ".join((done.stderr or done.stdout).split())[-300:]}]
    stats = load_generator.ask_stats(url)
    rows = [compared(tool, result, stats)]
    for minor in (1, 2) if arguments.llm_d else ():
        report = folder / f"llm_d_{tool}_0_{minor}.yaml"
        code = CONVERT.format(minor=minor, tool=CONVERTERS[tool])
        converted = subprocess.run(
            [sys.executable, "-c", code, str(arguments.llm_d), str(result), str(report)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        name = f"{tool} → llm-d 0.{minor}"
        if converted.returncode:
            reason = " ".join(converted.stderr.split())[-160:]
            rows.append({"tool": name, "failed": f"llm-d's own converter: {reason}"})
        else:
            rows.append(compared(name, report, stats))
    return rows


def compared(tool: str, file: Path, stats: dict[str, Any]) -> dict[str, Any]:
    try:
        record = import_file(file)[0]
    except LlmSizerError as error:
        return {"tool": tool, "failed": str(error).replace(str(file), file.name)}
    ttft = TTFT_SECONDS + stats["first_late_ms_p50"] / 1e3
    truth = {
        "ttft_s": ttft,
        "tpot_s": TPOT_SECONDS,
        "itl_s": TPOT_SECONDS,
        "output_tokens_per_s": USERS * OUTPUT_TOKENS / (ttft + (OUTPUT_TOKENS - 1) * TPOT_SECONDS),
    }
    itl = record.distributions.get("itl")
    seen = {
        "ttft_s": record.ttft_seconds,
        "tpot_s": record.tpot_seconds,
        "itl_s": itl.mean if itl else None,
        "output_tokens_per_s": record.output_tokens_per_second,
    }
    errors = {name: None if value is None else value / truth[name] - 1 for name, value in seen.items()}
    return {
        "tool": tool,
        "version": record.origin.tool_version if record.origin else "",
        "format": record.origin.format if record.origin else "",
        "truth": truth,
        "imported": seen,
        "relative_error": errors,
        "within_1_percent": all(abs(error) <= MOST_ERROR for error in errors.values() if error is not None),
        "record": record,
    }


def round_trip(row: dict[str, Any], arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Exported as a Benchmark Report and as CSV, and imported again."""
    record: ProfileRecord = row["record"]
    report, table = folder / "round_trip.json", folder / "round_trip.csv"
    report.write_text(json.dumps(report_of(record)))
    export_items([record], table, "csv")
    back = import_file(report)[0]
    fields = ("model", "batch", "prompt_tokens", "output_tokens", "ttft_seconds", "tpot_seconds",
              "output_tokens_per_second")  # fmt: skip
    found = {
        "tool": row["tool"],
        "llm_d_same_figures": all(getattr(record, name) == getattr(back, name) for name in fields),
        "csv_same_record": import_file(table)[0] == record,
    }
    if arguments.llm_d:
        valid = subprocess.run(
            [sys.executable, "-c", VALIDATE, str(arguments.llm_d), str(report)], capture_output=True, check=False
        )
        found["valid_by_llm_d"] = valid.returncode == 0
    return found


def guidellm_command(url: str, arguments: argparse.Namespace, folder: Path) -> Any:
    command = load_generator.guidellm_command(url, USERS, arguments.requests, arguments.venvs, folder)
    return command, load_generator.ENVIRONMENTS["guidellm"], folder / "guidellm.json"


def aiperf_command(url: str, arguments: argparse.Namespace, folder: Path) -> Any:
    command = load_generator.aiperf_command(url, USERS, arguments.requests, arguments.venvs, folder)
    return command, load_generator.ENVIRONMENTS["aiperf"], folder / "aiperf" / "profile_export_aiperf.json"


def vllm_command(url: str, arguments: argparse.Namespace, folder: Path) -> Any:
    command = [
        str(arguments.venvs / "inference-perf-venv/bin/python"), str(Path(__file__).with_name("vllm_client.py")),
        str(arguments.vllm_wheel), "--backend", "openai", "--base-url", url, "--model", "mock", "--tokenizer",
        str(load_generator.tokenizer(folder)), "--dataset-name", "random", "--random-input-len", "16",
        "--random-output-len", str(OUTPUT_TOKENS), "--num-prompts", str(arguments.requests), "--max-concurrency",
        str(USERS), "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99", "--save-result",
        "--result-filename", "vllm_serve.json", "--ignore-eos",
    ]  # fmt: skip
    return command, {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}, folder / "vllm_serve.json"


def inference_perf_command(url: str, arguments: argparse.Namespace, folder: Path) -> Any:
    def fixed(tokens: int) -> dict[str, int]:
        return {"min": tokens, "max": tokens, "mean": tokens, "std_dev": 0, "total_count": arguments.requests}

    stage = {"num_requests": arguments.requests, "concurrency_level": USERS}
    config = {
        "load": {"type": "concurrent", "num_workers": 1, "stages": [stage]},
        "api": {"type": "completion", "streaming": True},
        "server": {"type": "vllm", "model_name": "mock", "base_url": url, "ignore_eos": True},
        "tokenizer": {"pretrained_model_name_or_path": str(load_generator.tokenizer(folder))},
        "data": {"type": "random", "input_distribution": fixed(16), "output_distribution": fixed(OUTPUT_TOKENS)},
        "report": {"request_lifecycle": {"summary": True, "per_stage": True, "per_request": False}},
        "storage": {"local_storage": {"path": str(folder / "inference-perf")}},
    }
    file = folder / "inference_perf.yml"
    file.write_text(json.dumps(config))  # JSON is YAML
    command = [str(arguments.venvs / "inference-perf-venv/bin/inference-perf"), "-c", str(file)]
    return command, {"HF_HUB_OFFLINE": "1"}, folder / "inference-perf" / "stage_0_lifecycle_metrics.json"


COMMANDS = {
    "guidellm": guidellm_command,
    "aiperf": aiperf_command,
    "vllm": vllm_command,
    "inference-perf": inference_perf_command,
}


def print_table(document: dict[str, Any]) -> None:
    print(f"relative error of what was imported; load average {document['load_average']:.1f}")
    for row in document["imported"]:
        if "failed" in row:
            print(f"{row['tool']:28} {row['failed']}")
            continue
        errors = ", ".join(
            f"{name} {'–' if error is None else format(error, '+.2%')}" for name, error in row["relative_error"].items()
        )
        print(f"{row['tool']:28} {errors}   within 1 %: {row['within_1_percent']}")
    for row in document["round_trips"]:
        print("round trip", row)


if __name__ == "__main__":
    sys.exit(main())
