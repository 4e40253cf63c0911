"""Kill a quantization at random moments and go on each time: the files must be those of a run that nobody disturbed.

python benchmarks/quantize_kill.py CHECKPOINT [--method int4-gptq] [--kills 10]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results" / "quantize_kill.json"
SAME_EVERY_TIME = "created_at"  # the one line of the manifest that may differ


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a variant; of the manifest without its date."""
    found = {}
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        if file.name == "llmsizer_manifest.json":
            manifest = json.loads(content)
            manifest.pop(SAME_EVERY_TIME)
            content = json.dumps(manifest, sort_keys=True).encode()
        found[file.name] = hashlib.sha256(content).hexdigest()
    return found


def start(checkpoint: Path, method: str, out: Path, calibration: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "llmsizer", "quantize", str(checkpoint), "--methods", method]
    command += ["--out", str(out), "--calibration", str(calibration), "--no-verify"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--method", default="int4-gptq")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--documents", type=int, default=3, help="of the checkpoint's own calibration text")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="quantize-kill-") as scratch:
        folder = Path(scratch)
        calibration = folder / "calibration.jsonl"
        lines = (arguments.checkpoint / "calibration.jsonl").read_text(encoding="utf-8").splitlines()
        calibration.write_text("\n".join(lines[: arguments.documents]) + "\n", encoding="utf-8")
        began = time.monotonic()
        if start(arguments.checkpoint, arguments.method, folder / "whole", calibration).wait():
            raise SystemExit("the undisturbed run failed")
        whole_seconds = time.monotonic() - began
        expected = hashes(folder / "whole" / arguments.method)
        kills, draw = [], random.Random(arguments.seed)
        while True:
            process = start(arguments.checkpoint, arguments.method, folder / "killed", calibration)
            if len(kills) >= arguments.kills:
                process.wait()
                break
            try:
                process.wait(timeout=draw.uniform(0.3, 0.8) * whole_seconds)
                shutil.rmtree(folder / "killed")  # finished before it was killed: begin another
                continue
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            if (folder / "killed" / arguments.method).exists():  # killed after its end
                assert hashes(folder / "killed" / arguments.method) == expected, "a half variant was left"
                shutil.rmtree(folder / "killed")
                continue
            work = list((folder / "killed").glob(".*.work-*/layers/layer-*.json"))
            kills.append(len(work))
            print(f"kill {len(kills)}: {len(work)} layers were finished", flush=True)
        found = hashes(folder / "killed" / arguments.method)
        left = [path.name for path in (folder / "killed").iterdir() if path.name != arguments.method]
    result = {
        "method": arguments.method,
        "kills": len(kills),
        "layers_finished_at_each_kill": kills,
        "undisturbed_seconds": round(whole_seconds, 1),
        "files": len(expected),
        "identical": found == expected,
        "left_behind": left,
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    if found != expected or left:
        raise SystemExit(f"differing files: {sorted(k for k in expected if found.get(k) != expected[k])}; left: {left}")


if __name__ == "__main__":
    main()
