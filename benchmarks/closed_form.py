"""How far the planner's closed form is from the event simulator: the largest rate within the SLO by both.

    python benchmarks/closed_form.py [--draws N] [--seed N] [--json FILE]

Deployments are drawn at random: GPU × model × format × tensor width × workload preset × SLO × burstiness × lengths with
or without a tail. Both methods are given the same step times, the same room for context and one replica. The ratio is
closed form over simulation: above 1 a plan promises more than a simulation holds. Conversations are drawn as single
requests with the same prompts, answers and cached share; what their prefix cache really keeps is another question.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from llmsizer.decide.candidates.modelled import ModelledPhysics
from llmsizer.decide.fleets import closed_form
from llmsizer.errors import LlmSizerError
from llmsizer.facts.catalog import default_catalog
from llmsizer.facts.deployment import Deployment, deployment
from llmsizer.facts.kernels import load_support
from llmsizer.facts.precision import get_precision
from llmsizer.facts.workload import Slo, Workload
from llmsizer.physics.memory.parallelism import tensor_problem
from llmsizer.traffic.closed_form.sizing import hold
from llmsizer.traffic.service import stream_within
from llmsizer.traffic.simulator.deployed import replica_of
from llmsizer.traffic.simulator.fleet import Fleet
from llmsizer.traffic.simulator.rate_search import largest_rate

FORMATS = ("bf16", "fp8", "int8", "int4")
WIDTHS = (1, 2, 4, 8)
TTFT_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
TPOT_SECONDS = (0.02, 0.03, 0.05, 0.1)
GAP_CVS = (0.5, 1.0, 1.5, 2.0)
FIXED_LENGTHS_SHARE = 0.2
REQUESTS, TOLERANCE = 12_000, 0.01  # of each simulation: chance in the held rate is then 1 to 3 %
TOGETHER = 4  # replicas of the fleet that is compared with as many alone
BARS = {"within_10_percent": 0.9, "most_optimistic": 1.15}


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One question to both methods; rates in requests per second of one replica."""

    candidate: str
    preset: str
    gap_cv: float
    fixed_lengths: bool
    ttft_seconds: float
    tpot_seconds: float
    closed_rate: float
    closed_limit: str
    simulated_rate: float
    simulated_limit: str
    fleet_rate_each: float | None  # of one in a fleet behind a router

    @property
    def ratio(self) -> float:
        return self.closed_rate / self.simulated_rate if self.simulated_rate > 0 else math.inf


def drawn_workload(rng: np.random.Generator) -> tuple[Workload, bool]:
    """A preset with its own burstiness or another, with its tails or without."""
    catalog = default_catalog()
    preset = catalog.workload(str(rng.choice(sorted(catalog.workload_names))))
    single: dict[str, object] = {"turns": 1.0}
    if preset.turns > 1:
        single |= {"shared_prefix_tokens": 0}
    if rng.random() < 0.5:
        single |= {"gap_cv": float(rng.choice(GAP_CVS))}
    fixed = bool(rng.random() < FIXED_LENGTHS_SHARE)
    if fixed:
        single |= {"prompt_tokens_p95": None, "output_tokens_p95": None, "reasoning_tokens_p95": None}
    return preset.model_copy(update=single), fixed


def drawn_deployment(rng: np.random.Generator, workload: Workload) -> Deployment | None:
    """None where the engine does not run it, the model does not divide, or it holds no such context."""
    catalog = default_catalog()
    gpus = [gpu for gpu in catalog.gpus() if not gpu.is_cpu]
    gpu = gpus[int(rng.integers(len(gpus)))]
    model = catalog.model(str(rng.choice(sorted(catalog.model_names))))
    precision, width = get_precision(str(rng.choice(FORMATS))), int(rng.choice(WIDTHS))
    refused = (
        width > gpu.max_per_node
        or tensor_problem(model, precision, width) is not None
        or load_support("vllm").problem(model, precision, gpu)
        or workload.context_tokens > model.max_context_tokens
    )
    if refused:
        return None
    return deployment(model, gpu, precision.name, tp=width, max_context_tokens=workload.context_tokens)


def compared(rng: np.random.Generator, *, requests: int, with_fleet: bool) -> Draw | None:
    """One draw; None where it is no question: it does not fit, nobody measured it, or both hold nothing."""
    workload, fixed = drawn_workload(rng)
    slo = Slo(ttft_p95_seconds=float(rng.choice(TTFT_SECONDS)), tpot_p95_seconds=float(rng.choice(TPOT_SECONDS)))
    candidate = drawn_deployment(rng, workload)
    if candidate is None:
        return None
    physics = ModelledPhysics()
    try:
        memory = physics.memory(candidate, workload)
        if not memory.fits:
            return None
        closed = hold(closed_form(candidate, workload, physics, memory), slo)
        shared = workload.shared_prefix_tokens
        replica = replica_of(candidate, shared_prefix_tokens=shared)
        stream = stream_within(workload, replica)
        found = largest_rate(replica, stream, slo, requests=requests, tolerance=TOLERANCE)
    except LlmSizerError:
        return None
    if closed.rate == 0 and found.requests_per_second == 0:
        return None
    together = None
    if with_fleet:
        fleet = Fleet(replicas=TOGETHER)
        together = largest_rate(replica, stream, slo, fleet=fleet, requests=requests, tolerance=TOLERANCE)
    return Draw(
        candidate=candidate.label,
        preset=workload.name,
        gap_cv=workload.gap_cv,
        fixed_lengths=fixed,
        ttft_seconds=slo.ttft_p95_seconds,
        tpot_seconds=slo.tpot_p95_seconds,
        closed_rate=closed.rate,
        closed_limit=closed.edge.limit,
        simulated_rate=found.requests_per_second,
        simulated_limit=found.missed,
        fleet_rate_each=None if together is None else together.requests_per_second / TOGETHER,
    )


def summary(draws: Sequence[Draw]) -> dict[str, float]:
    """The ratio's distribution."""
    ratios = np.array([draw.ratio for draw in draws])
    quantiles = np.quantile(ratios, (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0), method="nearest").tolist()
    return {
        "draws": len(draws),
        **dict(zip(("least", "p5", "p25", "median", "p75", "p95", "most"), quantiles, strict=True)),
        "within_10_percent": float(np.mean(np.abs(ratios - 1) <= 0.1)),
        "above_1.05": float(np.mean(ratios > 1.05)),
        "above_1.15": float(np.mean(ratios > 1.15)),
    }


BY: dict[str, Callable[[Draw], str]] = {
    "preset": lambda draw: draw.preset,
    "arrivals": lambda draw: f"gap cv {draw.gap_cv:g}",
    "lengths": lambda draw: "fixed" if draw.fixed_lengths else "lognormal",
    "limit, simulated": lambda draw: draw.simulated_limit,
    "limit, closed form": lambda draw: draw.closed_limit,
}


def grouped(draws: Sequence[Draw]) -> dict[str, dict[str, dict[str, float]]]:
    """The same of each class of draws."""
    found = {}
    for name, key in BY.items():
        members: dict[str, list[Draw]] = defaultdict(list)
        for draw in draws:
            members[key(draw)].append(draw)
        found[name] = {which: summary(rows) for which, rows in sorted(members.items())}
    return found


def line(name: str, row: dict[str, float]) -> str:
    return (
        f"{name:34s}{row['draws']:5.0f}{row['least']:7.2f}{row['p5']:7.2f}{row['median']:7.2f}{row['p95']:7.2f}"
        f"{row['most']:7.2f}{row['within_10_percent']:8.0%}{row['above_1.15']:8.0%}"
    )


def fleets(draws: Sequence[Draw]) -> dict[str, float]:
    """What one in a fleet holds over what it holds alone, simulated."""
    gains = [d.fleet_rate_each / d.simulated_rate for d in draws if d.fleet_rate_each and d.simulated_rate]
    low, middle, high = np.quantile(gains, (0.0, 0.5, 1.0)).tolist() if gains else (math.nan,) * 3
    return {"replicas": TOGETHER, "draws": len(gains), "least": low, "median": middle, "most": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests", type=int, default=REQUESTS, help="of each simulation")
    parser.add_argument("--no-fleets", action="store_true", help="leave out the fleets of four")
    parser.add_argument("--verbose", action="store_true", help="every draw, the most optimistic last")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    draws: list[Draw] = []
    used, tried = time.process_time(), 0
    while len(draws) < arguments.draws:
        rng = np.random.default_rng((arguments.seed, tried))  # each draw is its own: more of them change none
        tried += 1
        found = compared(rng, requests=arguments.requests, with_fleet=not arguments.no_fleets)
        if found is not None:
            draws.append(found)
    used = time.process_time() - used
    whole, classes = summary(draws), grouped(draws)
    if arguments.verbose:
        for draw in sorted(draws, key=lambda one: one.ratio):
            slo = f"{draw.ttft_seconds:g} s {draw.tpot_seconds * 1e3:g} ms"
            print(
                f"{draw.ratio:6.2f} {draw.closed_rate:9.4g} {draw.closed_limit:13s} {draw.simulated_rate:9.4g} "
                f"{draw.simulated_limit:9s} {draw.preset:10s} cv {draw.gap_cv:g} {slo:14s} "
                f"{'fixed ' if draw.fixed_lengths else ''}{draw.candidate}"
            )
    print(f"{'closed form / simulated':34s}draws  least     p5 median    p95   most  ±10 %  >15 %")
    print(line("all", whole))
    for name, rows in classes.items():
        for which, row in rows.items():
            print(line(f"{name}: {which}", row))
    together = fleets(draws)
    print(f"one of {TOGETHER} over one alone, simulated: {together}; {used:.0f} CPU s, load {os.getloadavg()[0]:.1f}")
    if arguments.json:
        report = {"unit": "closed form over simulated rate", "seed": arguments.seed, "requests": arguments.requests,
                  "bars": BARS, "all": whole, "classes": classes, "fleets": together,
                  "draws": [asdict(draw) | {"ratio": round(draw.ratio, 4)} for draw in draws]}  # fmt: skip
        text = json.dumps(report, indent=1)
        text = text.replace("Infinity", "null").replace("NaN", "null")  # the simulation holds nothing; no fleets
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
