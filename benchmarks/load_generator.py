"""What the load generator itself adds and costs, beside GuideLLM and AIPerf on the same mock.

    python benchmarks/load_generator.py [--users 1000] [--tools llmsizer,guidellm,aiperf] [--venvs DIR] [--json FILE]

The mock (``load_mock.py``, its own process) writes the time of writing into every token; what a client adds is the
time from there to its own stamp. The others report no stamps, so for them it is their percentiles less the mock's own.
Cost is the CPU time of the whole process tree: of a long run less that of a short one, so that starting up is left out.
GuideLLM and AIPerf are used where ``DIR/guidellm-venv`` and ``DIR/aiperf-venv`` hold them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

import llmsizer
from llmsizer.profile.load.asking import Asking, Asks
from llmsizer.profile.load.figures import figures
from llmsizer.profile.load.patterns import Budget, Closed, Shape
from llmsizer.profile.load.point import Task
from llmsizer.profile.load.prompts import COMMON_WORDS, Prompts
from llmsizer.profile.load.wire import endpoint_of
from llmsizer.profile.load.workers import Target, run, workers_for
from llmsizer.traffic.demand.lengths import Fixed
from llmsizer.version import __version__

TTFT_SECONDS, TPOT_SECONDS = 0.5, 0.1
OUTPUT_TOKENS, PROMPT_WORDS = 17, 16
STAMP_CHARACTERS = 20  # " %019d"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--short", type=int, default=1, help="requests of the short run, per user")
    parser.add_argument("--long", type=int, default=4, help="requests of the long run, per user")
    parser.add_argument("--tools", default="llmsizer,guidellm,aiperf")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--realtime", action="store_true", help="mock and tools before all else on a shared machine")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--own", nargs=3, help=argparse.SUPPRESS)  # the child: URL, users, requests
    arguments = parser.parse_args()
    if arguments.own:
        print(json.dumps(own_run(arguments.own[0], int(arguments.own[1]), int(arguments.own[2]))))
        return 0
    mock = subprocess.Popen(
        [*first(arguments), sys.executable, str(Path(__file__).with_name("load_mock.py")), str(TTFT_SECONDS),
         str(TPOT_SECONDS)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert mock.stdout is not None
    url = f"http://127.0.0.1:{mock.stdout.readline().strip()}"
    try:
        with tempfile.TemporaryDirectory() as folder:
            rows = [measured(tool, url, arguments, Path(folder)) for tool in arguments.tools.split(",")]
    finally:
        mock.kill()
        mock.wait()
    document = {
        "machine": {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()},
        "load_average": {"start": LOAD_AT_START, "end": os.getloadavg()[0]},
        "users": arguments.users,
        "realtime": arguments.realtime,
        "programme": {"ttft_s": TTFT_SECONDS, "tpot_s": TPOT_SECONDS, "output_tokens": OUTPUT_TOKENS},
        "measured_at": time.strftime("%Y-%m-%d"),
        "tools": rows,
    }
    print_table(document)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


def first(arguments: argparse.Namespace) -> list[str]:
    """Round-robin realtime scheduling, inherited by every process of a tool."""
    return ["chrt", "-r", "1"] if arguments.realtime else []


LOAD_AT_START = os.getloadavg()[0]


def measured(tool: str, url: str, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A short and a long run of one tool; a tool that is not there or fails is a row that says so."""
    users = arguments.users
    counts = (users * arguments.short, users * arguments.long)
    cpu, wall, found, stats = [], [], {}, {}
    for requests in counts:
        command = COMMANDS[tool](url, users, requests, arguments.venvs, folder)
        if not Path(command[0]).exists():
            return {"tool": tool, "failed": f"{command[0]} is not installed"}
        ask_stats(url)
        before, begun = children_seconds(), time.monotonic()
        environment = {**os.environ, **ENVIRONMENTS[tool]}
        try:
            done = subprocess.run(
                [*first(arguments), *command],
                capture_output=True,
                text=True,
                env=environment,
                cwd=folder,
                timeout=400,
                check=True,
            )
            found = RESULTS[tool](done.stdout, folder)
        except subprocess.CalledProcessError as error:
            return {"tool": tool, "failed": " ".join(error.stderr.split())[-300:]}
        except (subprocess.SubprocessError, OSError, KeyError, ValueError) as error:
            return {"tool": tool, "failed": " ".join(str(error).split())[-300:]}
        cpu.append(children_seconds() - before)
        wall.append(time.monotonic() - begun)
        stats = ask_stats(url)
    marginal = (cpu[1] - cpu[0]) / (counts[1] - counts[0])
    return {
        "tool": tool,
        **found,
        "cpu_seconds": cpu,
        "wall_seconds": wall,
        "requests": counts,
        "requests_per_cpu_second": 1 / marginal if marginal > 0 else None,
        "requests_per_cpu_second_with_start": counts[1] / cpu[1],
        "mock": stats,
        "ttft_added_ms_p50": added(found, stats, "p50"),
        "ttft_added_ms_p99": added(found, stats, "p99"),
    }


def added(found: dict[str, Any], stats: dict[str, Any], percentile: str) -> float | None:
    reported, late = found.get(f"ttft_ms_{percentile}"), stats.get(f"first_late_ms_{percentile}")
    return None if reported is None or late is None else reported - TTFT_SECONDS * 1e3 - late


def own_run(url: str, users: int, requests: int) -> dict[str, Any]:
    """Ours, in a process like the others."""
    shape = Shape(prompt=Fixed(tokens=PROMPT_WORDS), output=Fixed(tokens=OUTPUT_TOKENS))
    asks = Asks(shape=shape, asking=Asking(model="mock", api="completions", prompts=Prompts()))
    pattern = Closed(concurrency=users)
    budget = Budget(requests=requests, warmup_requests=0, seconds=300.0, ramp_seconds=1.0)
    task = Task(pattern=pattern, asks=asks, budget=budget, keep_text=True)
    ran = run(Target(endpoint=endpoint_of(url)), task, workers=workers_for(pattern, users))
    delays = []
    for sent in ran.sent:
        if sent.part != "counted" or sent.failure is not None:
            continue
        written = [int(sent.text[i : i + STAMP_CHARACTERS]) for i in range(0, len(sent.text), STAMP_CHARACTERS)]
        delays += [read - wrote for read, wrote in zip(sent.chunk_ns, written, strict=True)]
    milliseconds = np.array(delays) / 1e6
    found = figures(ran.sent, pattern)
    return {
        "version": __version__,
        "requests_ok": found.counts.requests_ok,
        "errors": found.counts.errors,
        "ttft_ms_p50": 1e3 * (found.value("ttft") or 0.0),
        "ttft_ms_p99": 1e3 * (found.value("ttft", "p99") or 0.0),
        "tpot_ms_p50": 1e3 * (found.value("tpot") or 0.0),
        "tpot_ms_p99": 1e3 * (found.value("tpot", "p99") or 0.0),
        "added_ms": {f"p{p:g}": float(np.percentile(milliseconds, p)) for p in (50, 90, 99, 99.9)},
        "core_share": ran.cpu_share,
        "tokens_stamped": len(delays),
    }


def own_command(url: str, users: int, requests: int, venvs: Path, folder: Path) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), "--own", url, str(users), str(requests)]


def guidellm_command(url: str, users: int, requests: int, venvs: Path, folder: Path) -> list[str]:
    data = folder / "guidellm.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": p, "output_tokens_count": OUTPUT_TOKENS}) + "\n" for p in prompts(requests))
    )
    return [
        str(venvs / "guidellm-venv/bin/guidellm"), "run", "--disable-console",
        "--backend", f"kind=openai_http,target={url},model=mock,request_format=/v1/completions",
        "--profile", f"kind=concurrent,streams={users}", "--constraint", f"kind=max_requests,count={requests}",
        "--tokenizer", f"kind=hf_auto,model={tokenizer(folder)}", "--data", f"kind=json_file,path={data}",
        "--output", f"kind=json,path={folder / 'guidellm.json'}",
    ]  # fmt: skip


def aiperf_command(url: str, users: int, requests: int, venvs: Path, folder: Path) -> list[str]:
    data = folder / "aiperf.jsonl"
    data.write_text("".join(json.dumps({"text": p, "output_length": OUTPUT_TOKENS}) + "\n" for p in prompts(requests)))
    return [
        str(venvs / "aiperf-venv/bin/aiperf"), "profile", "--model", "mock", "--url", url,
        "--endpoint-type", "completions", "--streaming", "--use-server-token-count", "--ui", "none",
        "--no-gpu-telemetry", "--tokenizer", str(tokenizer(folder)), "--concurrency", str(users),
        "--request-count", str(requests), "--input-file", str(data), "--custom-dataset-type", "single_turn",
        "--artifact-dir", str(folder / "aiperf"),
    ]  # fmt: skip


def guidellm_results(output: str, folder: Path) -> dict[str, Any]:
    metrics = json.loads((folder / "guidellm.json").read_text())["benchmarks"][0]["metrics"]
    ttft, itl = (metrics[name]["successful"] for name in ("time_to_first_token_ms", "inter_token_latency_ms"))
    return {
        "requests_ok": metrics["request_totals"]["successful"],
        "ttft_ms_p50": ttft["percentiles"]["p50"],
        "ttft_ms_p99": ttft["percentiles"]["p99"],
        "tpot_ms_p50": itl["percentiles"]["p50"],  # what it calls inter-token latency is the others' TPOT
        "tpot_ms_p99": itl["percentiles"]["p99"],
    }


def aiperf_results(output: str, folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "aiperf" / "profile_export_aiperf.json").read_text())
    ttft, itl = found["time_to_first_token"], found["inter_token_latency"]
    return {
        "requests_ok": found["request_count"]["avg"],
        "ttft_ms_p50": ttft["p50"],
        "ttft_ms_p99": ttft["p99"],
        "tpot_ms_p50": itl["p50"],
        "tpot_ms_p99": itl["p99"],
    }


def prompts(count: int) -> list[str]:
    generator = random.Random(count)
    return [" ".join(generator.choices(COMMON_WORDS, k=PROMPT_WORDS)) for _ in range(count)]


def tokenizer(folder: Path) -> Path:
    """A small tokenizer for tools that will not start without one."""
    import tokenizers

    place = folder / "tokenizer"
    if not place.exists():
        place.mkdir()
        vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, **{f"Ġ{word}": i + 3 for i, word in enumerate(COMMON_WORDS)}}
        made = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
        made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        made.decoder = tokenizers.decoders.ByteLevel()
        made.save(str(place / "tokenizer.json"))
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 100_000}
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **names}
        (place / "tokenizer_config.json").write_text(json.dumps(settings))
        (place / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": len(vocabulary)}))
    return place


COMMANDS = {"llmsizer": own_command, "guidellm": guidellm_command, "aiperf": aiperf_command}
ENVIRONMENTS = {
    "llmsizer": {"PYTHONPATH": str(Path(llmsizer.__file__).resolve().parents[1])},
    "guidellm": {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
    "aiperf": {"TOKENIZERS_PARALLELISM": "false"},  # offline it takes a tokenizer's path for a hub's name
}
RESULTS = {
    "llmsizer": lambda output, folder: json.loads(output.splitlines()[-1]),
    "guidellm": guidellm_results,
    "aiperf": aiperf_results,
}


def ask_stats(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/stats", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cpu_name() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def print_table(document: dict[str, Any]) -> None:
    print(f"{document['users']} users, {document['machine']['cores']} cores, load average {document['load_average']}")
    for row in document["tools"]:
        if "failed" in row:
            print(f"{row['tool']:10} failed: {row['failed']}")
            continue
        speed = row["requests_per_cpu_second"]
        print(
            f"{row['tool']:10} {'–' if speed is None else format(speed, '8.0f')} requests/CPU-s"
            f" ({row['requests_per_cpu_second_with_start']:.0f} with its start)"
            f"   TTFT added p50 {row['ttft_added_ms_p50']:.2f} ms, p99 {row['ttft_added_ms_p99']:.2f} ms"
            f"   TPOT p50 {row['tpot_ms_p50']:.2f} ms, p99 {row['tpot_ms_p99']:.2f} ms"
        )
        if "added_ms" in row:
            shares = ", ".join(f"{name} {value:.3f} ms" for name, value in row["added_ms"].items())
            print(f"{'':10} from the mock's write to the stamp of each token: {shares}")
        mock = row["mock"]
        print(f"{'':10} the mock: {mock['core_share']:.0%} of a core, late p99 {mock['late_ms_p99']:.2f} ms")


if __name__ == "__main__":
    raise SystemExit(main())
