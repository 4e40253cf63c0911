"""Whether the profiler adds to what it measures: its decode time beside that of a bare loop over the same engine.

Both run in one process over one loaded model, in pairs that take turns at going first, so that a busy machine slows
both. The ratio's median stands with an order-statistic interval, and the bar is held or missed
only where all of that interval says so. Run: ``python benchmarks/bare_loop.py VARIANT …`` with
folders that ``llmsizer quantize`` wrote; results in ``benchmarks/results/bare_loop.json``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llmsizer.profile.engines import chosen_engine, load_engine
from llmsizer.profile.intervals import judged, median_with_interval
from llmsizer.profile.measure import Point, prompts_of, take_sample
from llmsizer.quantize import read_variant
from llmsizer.quantize.run import original

RESULTS = Path(__file__).parent / "results" / "bare_loop.json"
POINT = Point(batch=1, prompt_tokens=16, output_tokens=17)
PAIRS = 20
BAR = 0.03
CLOCK: Callable[[], float] = time.perf_counter


def bare_openvino(engine: Any, prompts: Any) -> float:
    """Decode seconds: the request's own calls and nothing else."""
    request = engine._request
    request.reset_state()
    tokens, past, beams, start = prompts, 0, np.zeros(1, np.int32), 0.0
    for step in range(POINT.output_tokens):
        fed = tokens.shape[1]
        inputs = {
            "input_ids": tokens,
            "attention_mask": np.ones((1, past + fed), np.int64),
            "position_ids": np.arange(past, past + fed, dtype=np.int64)[None],
            "beam_idx": beams,
        }
        request.infer(inputs)
        past += fed
        tokens = request.get_output_tensor(0).data[:, -1].argmax(axis=-1).astype(np.int64)[:, None]
        if step == 0:
            start = CLOCK()
    return CLOCK() - start


def bare_transformers(engine: Any, prompts: Any) -> float:
    """Decode seconds of the model called in a loop with its own growing cache."""
    torch, model = engine._torch, engine._model
    tokens, cache, start = torch.from_numpy(prompts), None, 0.0
    with torch.no_grad():
        for step in range(POINT.output_tokens):
            output = model(tokens, past_key_values=cache, use_cache=True, logits_to_keep=1)
            cache, tokens = output.past_key_values, output.logits[:, -1].argmax(dim=-1, keepdim=True)
            if step == 0:
                start = CLOCK()
    return CLOCK() - start


BARE: dict[str, Callable[[Any, Any], float]] = {"openvino": bare_openvino, "transformers": bare_transformers}


def compare(path: Path, pairs: int) -> dict[str, Any]:
    """Profiler ÷ bare loop, decode time, over pairs of runs on the same prompt."""
    variant = original(path) if (path / "model.safetensors").exists() else read_variant(path)
    name = chosen_engine(variant, None)
    engine = load_engine(name, variant)

    def profiled(prompts: Any) -> float:
        return sum(take_sample(engine, prompts, POINT.output_tokens, CLOCK).gaps_seconds)

    def bare(prompts: Any) -> float:
        return BARE[name](engine, prompts)

    ratios, times = [], []
    for pair in range(-2, pairs):
        prompts = prompts_of(POINT, vocabulary=engine.vocabulary, seed=1, run=pair + 2)
        first, second = (profiled, bare) if pair % 2 else (bare, profiled)
        taken = {first: first(prompts), second: second(prompts)}
        if pair >= 0:  # two pairs warm up
            ratios.append(taken[profiled] / taken[bare])
            times.append(taken[bare] / (POINT.output_tokens - 1))
    ratio = median_with_interval(ratios)
    return {
        "variant": f"{variant.method}",
        "engine": f"{name} {engine.version}",
        "pairs": pairs,
        "bare_tpot_seconds": float(np.median(times)),
        "ratio": ratio.value,
        "ratio_low": ratio.low,
        "ratio_high": ratio.high,
        "level": ratio.level,
        "bar_is": judged(ratio, least=1.0 - BAR, most=1.0 + BAR),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="+", type=Path)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--cpu-time", action="store_true", help="of this process: for a machine that others use")
    asked = parser.parse_args()
    global CLOCK
    CLOCK = time.process_time if asked.cpu_time else time.perf_counter
    rows = [compare(path, asked.pairs) for path in asked.variants]
    for row in rows:
        print(
            f"{row['variant']:16} {row['engine'][:30]:30} bare {row['bare_tpot_seconds'] * 1e3:7.2f} ms/token, "
            f"profiler ÷ bare {row['ratio']:.4f} [{row['ratio_low']:.4f}, {row['ratio_high']:.4f}], bar {row['bar_is']}"
        )
    RESULTS.write_text(
        json.dumps(
            {"bar": BAR, "clock": CLOCK.__name__, "point": "batch 1, prompt 16, 16 decode steps", "rows": rows},
            indent=1,
        )
        + "\n"
    )


if __name__ == "__main__":
    main()
