"""(d) Continuous batching at concurrency 1–256: a closed loop over transformers' own manager.

Its figures are that engine's; a serving engine's are stage ``serving``'s. Each line is a ``ProfileRecord`` too, with
the stage's own keys beside it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import campaign
import numpy as np

from llmsizer.facts.record_parts import Counts, Load, Throughput
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile import Point, describe_device
from llmsizer.profile.distribution import distribution_of
from llmsizer.profile.engines.transformers_batching import TransformersBatching
from llmsizer.profile.intervals import LEVEL
from llmsizer.profile.row import Request, asked_of
from llmsizer.quantize.at_precisions import RANDOM_PRECISIONS

USERS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROMPT_TOKENS, OUTPUT_TOKENS = 512, 128
ROUNDS = 3  # requests a user makes one after the other; the first round warms up


Stamps = dict[str, list[float]]  # of a request by its name: when it was sent, then when each token came


def closed_loop(engine: Any, users: int, prompt: int, output: int, clock: Callable[[], float]) -> Stamps:
    """Each user sends the next request when the last is answered; the stamps of all rounds but the first."""
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
    return {name: s for name, s in stamps.items() if rounds[name] > 0}


def record_of(request: Request, point: Point, stamps: Stamps, engine: Any) -> ProfileRecord:
    """TTFT = first − sent; TPOT = (last − first)/(n − 1); rates over the span of these requests."""
    asked = asked_of(request, point)
    ttft = [s[1] - s[0] for s in stamps.values()]
    tpot = [(s[-1] - s[1]) / (len(s) - 2) for s in stamps.values() if len(s) > 2]
    span = max(s[-1] for s in stamps.values()) - min(s[0] for s in stamps.values())
    tokens = sum(len(s) - 1 for s in stamps.values())
    found = {name: distribution_of(values, name) for name, values in (("ttft", ttft), ("tpot", tpot)) if values}
    figures: dict[str, Any] = {}
    for name, distribution in found.items():
        middle = distribution.percentiles["p50"]
        figures[f"{name}_seconds"] = middle.value
        figures[f"{name}_seconds_low"], figures[f"{name}_seconds_high"] = middle.low, middle.high
    return ProfileRecord(
        **asked | {"record_id": hashlib.sha256(f"closed {ROUNDS} {asked['record_id']}".encode()).hexdigest()[:16]},
        engine_version=engine.version,
        engine_options=engine.options,
        repeats=len(stamps),
        **figures,
        interval_level=LEVEL,
        output_tokens_per_second=tokens / span,
        throughput=Throughput(requests_per_second=len(stamps) / span),
        distributions=found,
        counts=Counts(requests_total=len(stamps), requests_ok=len(stamps), requests_failed=0),
        load=Load(
            pattern="single" if point.batch == 1 else "closed", concurrency=point.batch, warmup_requests=point.batch
        ),
        memory=engine.memory_use(),
    )


def parts(
    at: campaign.Stage, model: str, precision: str, device: DeviceRecord
) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    variant = campaign.variant_of(model, precision, at.out / "models", dry_run=at.dry_run)
    request = Request(variant=variant, engine="transformers-cb", device=device, repeats=ROUNDS - 1, seed=0)
    loaded: list[Any] = []

    def measure(users: int, prompt: int, output: int) -> dict[str, Any]:
        if not loaded:
            loaded.append(TransformersBatching(variant))
        stamps = closed_loop(loaded[0], users, prompt, output, time.perf_counter)
        point = Point(batch=users, prompt_tokens=prompt, output_tokens=output)
        return record_of(request, point, stamps, loaded[0]).model_dump(mode="json", exclude_none=True)

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
        at.run(parts(at, asked.model, asked.precision, describe_device()), seconds_each=30.0)


if __name__ == "__main__":
    campaign.main(run)
