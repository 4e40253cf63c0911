"""``sweep``: the cheapest plans × rates × seeds, simulated on processes or on Ray, resumed from what is on disk."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, add_json, comma_list, number, whole_number
from llmsizer.cli.decide.planning import SCENARIO_HELP, Evidence, answer, find_scenario, read_evidence
from llmsizer.cli.measure.measuring import progress_bar
from llmsizer.cli.output import print_json, print_table
from llmsizer.errors import InputError
from llmsizer.installed import optional
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.cluster import Task
    from llmsizer.facts.scenario import Scenario
    from llmsizer.traffic.points import Point


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    sweep = commands.add_parser("sweep", help="the cheapest plans × rates × seeds, simulated on a process pool")
    sweep.add_argument("scenario", help=SCENARIO_HELP)
    sweep.add_argument("--plans", type=whole_number("plans", most=1000), default=5, help="the cheapest so many")
    sweep.add_argument(
        "--rates",
        default="0.5,1,1.5,2",
        metavar="X,…",
        help="load, as a multiple of the peak hour's (default: 0.5,1,1.5,2)",
    )
    sweep.add_argument(
        "--seeds", type=whole_number("seeds", most=10_000), default=3, help="runs of each point with other draws"
    )
    sweep.add_argument(
        "--hours", type=number("hours", least=1e-3, most=1e5), metavar="HOURS", help="of traffic in each run"
    )
    sweep.add_argument("--workers", type=whole_number("workers", most=1024), default=1, help="processes (default: 1)")
    sweep.add_argument("--cluster", metavar="ADDRESS", help="a running Ray cluster instead: auto, or ray://host:10001")
    sweep.add_argument(
        "--runs",
        "--store",
        dest="store",
        type=Path,
        metavar="FILE",
        help="finished runs, a line each; resumes from them",
    )
    sweep.add_argument("--records", metavar="FILE|STORE", help="own profile records: they calibrate")
    add_json(sweep)
    sweep.set_defaults(run=_sweep)


def _sweep(arguments: argparse.Namespace) -> int:
    from llmsizer.cluster import check_address, sweep
    from llmsizer.traffic.points import simulate_point

    optional("numba", what="the event simulator", extra="simulate")  # before anything takes time
    scenario = find_scenario(arguments.scenario)
    shares = [number("rates", least=1e-6, most=1e4)(text) for text in comma_list(arguments.rates)]
    if arguments.cluster and arguments.workers != 1:
        raise InputError("--workers are processes of this machine, --cluster brings its own; give one of them")
    if not shares:
        raise InputError("--rates is empty; write for example 0.5,1,1.5")
    if arguments.cluster:
        check_address(arguments.cluster)  # before anything takes time
    evidence = read_evidence(arguments.records, None)
    tasks = _tasks(scenario, evidence, arguments.plans, shares, arguments.seeds, arguments.hours)
    with progress_bar("sweeping") as progress:
        results = sweep(
            simulate_point,
            tasks,
            store=arguments.store,
            workers=arguments.workers,
            cluster=arguments.cluster,
            progress=progress,
        )
    if arguments.json:
        print_json({"scenario": scenario.name, "points": results})
        return 0
    headers = ("plan", "of the peak", "requests/s", "verdict", "TTFT p95", "TPOT p95", "goodput/s", "meets the SLO")
    note = f"median of {arguments.seeds} seeds, lowest–highest in brackets; step times as in llmsizer simulate"
    print_table(f"{len(results)} runs (simulated)", headers, _rows(results), note=note)
    return 0


def _tasks(
    scenario: Scenario, evidence: Evidence, plans: int, shares: Sequence[float], seeds: int, hours: float | None
) -> list[Task[Point]]:
    """Every plan × rate × seed; plans that differ only in who bills them are simulated once."""
    from llmsizer.cluster import Task, key_of
    from llmsizer.decide.pricing.study import workload_of
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.traffic.points import Point
    from llmsizer.traffic.service import Goal, stream_within
    from llmsizer.traffic.simulator.deployed import replica_of
    from llmsizer.traffic.simulator.fleet import Fleet

    recommendation = answer(scenario, evidence)
    if not recommendation.plans:
        raise InputError(f"{recommendation.sentence.rstrip('.')}: there is no plan to sweep over")
    workload = workload_of(scenario, default_catalog())
    tasks: dict[str, Task[Point]] = {}
    for plan in recommendation.plans[:plans]:
        d = plan.deployment
        replica = replica_of(d, calibration=evidence.calibration)
        stream, count = stream_within(workload, replica), plan.replicas + plan.spare_replicas
        for share in shares:
            at_rate = stream.at_rate(share * workload.peak_requests_per_second)
            for seed in range(seeds):
                point = Point(
                    candidate=f"{count} × {d.weights.name} on {d.parallelism.gpus}× {d.gpu.name}",
                    share_of_peak=share,
                    replica=replica,
                    stream=at_rate,
                    fleet=Fleet(replicas=count),
                    goal=Goal(slo=scenario.slo),
                    seed=seed,
                    hours=hours,
                )
                key = key_of(point.content())
                label = f"{point.candidate} at {share:g} of the peak, seed {seed}"
                tasks.setdefault(key, Task(key=key, label=label, argument=point))
    return list(tasks.values())


def _rows(results: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """One row for the seeds of a plan at a rate."""
    groups: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["candidate"], result["share_of_peak"]), []).append(result)
    rows: list[tuple[object, ...]] = []
    for (candidate, share), runs in groups.items():
        verdicts = ", ".join(sorted({run["verdict"] for run in runs}))
        good = [run["goodput_requests_per_second"] for run in runs if run["goodput_requests_per_second"] is not None]
        met = sum(run["meets_slo"] for run in runs)
        rows.append(
            (
                candidate,
                f"{share:g}×",
                f"{runs[0]['requests_per_second']:.4g}",
                verdicts,
                _spread([run["ttft_p95_seconds"] for run in runs]),
                _spread([run["tpot_p95_seconds"] for run in runs]),
                f"{statistics.median(good):.4g}" if good else "–",
                f"{met} of {len(runs)}",
            )
        )
    return rows


def _spread(seconds: Sequence[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    if len(known) < len(seconds):
        return "–"
    text = format_seconds(statistics.median(known))
    return text if len(known) == 1 else f"{text} [{format_seconds(min(known))}–{format_seconds(max(known))}]"
