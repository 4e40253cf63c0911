"""How long a table of predictions takes: ``python benchmarks/predict_speed.py [--rows 10000] [--json FILE]``.

CPU and wall seconds of ``predict_rows`` on rows that differ in load and prompt. The bar is 10,000 rows in 10 s.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from llmsizer.physics.answers.predict import predict_rows


def rows(count: int) -> list[dict[str, str]]:
    """``count`` rows of one model under a closed loop, each with its own users and prompt."""
    same = {"engine": "vllm", "engine_version": "0.19.0", "model": "meta-llama/Llama-3.1-8B-Instruct"}
    same |= {"weight_dtype": "bf16", "gpu": "h100-sxm-80gb", "tp": "1", "output_len": "256", "load_kind": "concurrency"}
    return [
        {**same, "row_id": str(i), "load_value": str(1 + i % 300), "input_len": str(64 + i % 4000)}
        for i in range(count)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    table = rows(asked.rows)
    predict_rows(table[:10])  # the catalogue and the calibration are read once
    cpu, wall = time.process_time(), time.perf_counter()
    predict_rows(table)
    result = {
        "rows": asked.rows,
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(result, indent=1))
    if asked.json:
        asked.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
