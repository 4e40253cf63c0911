"""(d) Continuous batching at concurrency 1–256: a closed loop over transformers' own manager.

Its figures are that engine's; a serving engine's are stage ``serving``'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import campaign
import numpy as np

from llmsizer.profile.engines.transformers_batching import TransformersBatching
from llmsizer.quantize.at_precisions import RANDOM_PRECISIONS

USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROMPT_TOKENS, OUTPUT_TOKENS = 512, 128
ROUNDS = 3  # requests a user makes one after the other; the first round warms up


def closed_loop(engine: Any, users: int, prompt: int, output: int, clock: Callable[[], float]) -> dict[str, Any]:
    """Each user sends the next request when the last is answered. TTFT and TPOT of all rounds but the first."""
    generator = np.random.default_rng(users)
    engine.fit(users, prompt + output)
    stamps: dict[str, list[float]] = {}
    rounds: dict[str, int] = {}
    counted: dict[str, int] = {}

    def send(number: int) -> None:
        start = clock()
        name = engine.add(generator.integers(3, engine.vocabulary, prompt).tolist(), output)
        stamps[name], rounds[name], counted[name] = [start], number, 0

    for _ in range(users):
        send(0)
    open_requests = users
    while open_requests:
        name, total = engine.next_output()
        stamps[name] += [clock()] * (total - counted[name])
        counted[name] = total
        if total == output:
            open_requests -= 1
            if rounds[name] + 1 < ROUNDS:
                send(rounds[name] + 1)
                open_requests += 1
    return summary(users, {n: s for n, s in stamps.items() if rounds[n] > 0})


def summary(users: int, stamps: dict[str, list[float]]) -> dict[str, Any]:
    """TTFT = first − sent; TPOT = (last − first)/(n − 1); rates over the span of these requests."""
    ttft = [s[1] - s[0] for s in stamps.values()]
    tpot = [(s[-1] - s[1]) / (len(s) - 2) for s in stamps.values() if len(s) > 2]
    span = max(s[-1] for s in stamps.values()) - min(s[0] for s in stamps.values())
    tokens = sum(len(s) - 1 for s in stamps.values())
    return {
        "concurrency": users,
        "requests": len(stamps),
        "ttft_seconds_p50": float(np.median(ttft)),
        "tpot_seconds_p50": float(np.median(tpot)) if tpot else None,
        "output_tokens_per_second": tokens / span,
    }


def parts(at: campaign.Stage, model: str, precision: str) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    variant = campaign.variant_of(model, precision, at.out / "models", dry_run=at.dry_run)
    loaded: list[Any] = []

    def measure(users: int, prompt: int, output: int) -> dict[str, Any]:
        if not loaded:
            loaded.append(TransformersBatching(variant))
        row = closed_loop(loaded[0], users, prompt, output, time.perf_counter)
        return {**row, "model": model, "precision": precision, "engine": "transformers-cb", **loaded[0].options}

    prompt, output = (8, 4) if at.dry_run else (PROMPT_TOKENS, OUTPUT_TOKENS)
    try:
        for users in USERS[:2] if at.dry_run else USERS:
            yield f"{model} {precision} {users} users", partial(measure, users, prompt, output)
    finally:
        for engine in loaded:
            engine.close()


def run(arguments: list[str] | None = None) -> None:
    parser = campaign.parser(__doc__ or "")
    parser.add_argument("--model", choices=sorted(campaign.MODELS), default="22b")
    parser.add_argument("--precision", choices=list(RANDOM_PRECISIONS), default="fp16")
    asked = parser.parse_args(arguments)
    at = campaign.stage("concurrency", asked)
    with campaign.stopping_at(at):
        at.run(parts(at, asked.model, asked.precision), seconds_each=30.0)


if __name__ == "__main__":
    campaign.main(run)
