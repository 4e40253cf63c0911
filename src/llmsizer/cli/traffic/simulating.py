"""``simulate``, ``capacity``: what users see under load, from simulations beside the closed form."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, comma_list, existing_path, number
from llmsizer.cli.output import print_json, working
from llmsizer.cli.traffic.apart import add_apart_options, apart, print_apart, split_of
from llmsizer.cli.traffic.asked import Asked, add_question
from llmsizer.cli.traffic.charts import add_plot_option, plot_capacity, plot_service
from llmsizer.cli.traffic.failing import add_failure_options, failure_answers, print_failures
from llmsizer.cli.traffic.hourly import hourly_answers, print_hourly
from llmsizer.cli.traffic.tables import print_capacity, print_service
from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.facts.workload import Growth
    from llmsizer.traffic.closed_form.capacity import LoadPoint
    from llmsizer.traffic.demand.requests import Requests


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    simulate = commands.add_parser("simulate", help="a fleet under load: latencies, goodput, verdict (simulated)")
    add_question(simulate)
    simulate.add_argument("--trace", type=existing_path, help="replay a log of requests instead of the workload")
    simulate.add_argument(
        "--columns", metavar="OURS=THEIRS,…", help="of the trace: arrival=ts,prompt_tokens=in,output_tokens=out …"
    )
    simulate.add_argument(
        "--arrival-unit", metavar="UNIT", help="of the trace's times where they are numbers: s, ms, us or ns"
    )
    simulate.add_argument(
        "--rate", type=number("rate", least=1e-9, most=1e6), metavar="REQUESTS/S", help="instead of the peak hour's"
    )
    simulate.add_argument(
        "--hours", type=number("hours", least=1e-3, most=1e5), metavar="HOURS", help="of traffic in each run"
    )
    simulate.add_argument("--week", action="store_true", help="the whole week by its hours instead of the peak hour")
    add_apart_options(simulate)
    add_plot_option(simulate)
    simulate.set_defaults(run=_simulate)
    capacity = commands.add_parser("capacity", help="what one replica holds within the SLO, growth, a host down")
    add_question(capacity)
    capacity.add_argument(
        "--growth",
        type=number("growth", least=-0.99, most=100),
        metavar="SHARE",
        help="of the load, a year: 0.5 is +50 %%",
    )
    capacity.add_argument("--until", metavar="DATE", help="with --growth: the day to grow to, such as 2028-01-01")
    add_failure_options(capacity)
    add_plot_option(capacity)
    capacity.set_defaults(run=_capacity)


def _simulate(arguments: argparse.Namespace) -> int:
    from llmsizer.facts.assumptions import load_assumptions
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.traffic.closed_form.sizing import load_at
    from llmsizer.traffic.energy import SHARES, energy_of, power_of
    from llmsizer.traffic.service import observe, observe_trace, service_of, stream_within

    if not arguments.trace and (arguments.columns or arguments.arrival_unit):
        raise InputError("--columns and --arrival-unit are of a trace: give --trace FILE too, or leave them out")
    split = split_of(arguments)
    arguments.replicas = sum(split) if split else arguments.replicas
    asked = Asked(arguments)
    assumed = load_assumptions(asked.scenario.assumptions, datetime.date.today(), default_catalog().root)
    power = power_of(asked.fleet.deployment, assumed)
    closed_point: LoadPoint | str
    stream = None
    if arguments.trace:
        requests = _trace(arguments, asked)
        runs = observe_trace(asked.replica, requests, asked.routed, asked.goal)
        rate = len(requests) / runs.runs[0].duration_seconds
        closed_point = _closed_form_of_trace(arguments.trace.name, requests, asked)
    else:
        workload = asked.fleet.workload
        usual = workload.requests_per_second if arguments.week else workload.peak_requests_per_second
        rate = arguments.rate or usual
        closed_point = load_at(asked.fleet.closed, rate / asked.fleet.replicas)
        if arguments.week:
            closed_point = "it knows one rate at a time, and a week has 168"
        stream = stream_within(workload, asked.replica, gap_cv=arguments.burstiness, by_hour=arguments.week)
        stream = stream.at_rate(rate)
        sampled = {
            "hours": _week_hours(arguments) if arguments.week else arguments.hours,
            "replications": arguments.replications,
            "seed": arguments.seed,
        }
        with working("simulating the fleet"):
            runs = observe(asked.replica, stream, asked.routed, asked.goal, **sampled)
    simulated = asked.fleet.replicas if arguments.trace else asked.routed.sample.replicas
    service = service_of(runs, asked.replica, asked.routed, asked.goal, rate, simulated_replicas=simulated)
    gpus, times = asked.fleet.deployment.parallelism.gpus, asked.fleet.replicas / simulated
    energy = energy_of(runs.runs, simulated, gpus, power, times=times)
    answer: dict[str, object] = {"service": service, "closed_form": closed_point, "seed": arguments.seed}
    answer |= {"energy": energy, "assumptions": {name: assumed[name] for name in SHARES}}
    if split and stream:
        answer["disaggregated"] = apart(arguments, asked, stream, split, power)
    if arguments.plot:
        plot_service(arguments, asked, runs, service, rate)
    if arguments.json:
        print_json(_document(asked, answer))
        return 0
    print_service(asked, service, closed_point, energy)
    if "disaggregated" in answer:
        print_apart(answer["disaggregated"], service, energy)  # type: ignore[arg-type]
    return 0


def _week_hours(arguments: argparse.Namespace) -> float:
    """So long that a whole week is left when the warm-up is cut off."""
    from llmsizer.facts.workload.hours import HOURS_PER_WEEK
    from llmsizer.traffic.service import WARM_UP_SHARE

    if arguments.hours:
        raise InputError("--week has 168 hours of its own: leave out --hours")
    return HOURS_PER_WEEK / (1 - WARM_UP_SHARE)


def _document(asked: Asked, answer: dict[str, object]) -> dict[str, object]:
    fleet, deployment = asked.fleet, asked.fleet.deployment
    return {
        "scenario": asked.scenario.name,
        "fleet": fleet.label,
        "model": deployment.model.name,
        "reading": deployment.model.reading,
        "gpu": deployment.gpu.id,
        "weights": deployment.weights.name,
        "tensor_parallel": deployment.parallelism.tensor,
        "replicas": fleet.replicas,
        "step_times": asked.steps,
        "slo": asked.scenario.slo,
        **answer,
    }


def _trace(arguments: argparse.Namespace, asked: Asked) -> Requests:
    from llmsizer.traffic.demand.traces import read_trace

    if arguments.rate or arguments.hours or arguments.week:
        raise InputError("a trace brings its own times: leave out --rate, --hours and --week")
    return read_trace(
        arguments.trace,
        columns=_columns(arguments.columns),
        arrival_unit=arguments.arrival_unit,
        context_tokens=asked.fleet.deployment.model.max_context_tokens,
    )


def _closed_form_of_trace(name: str, requests: Requests, asked: Asked) -> LoadPoint | str:
    """What the closed form says of the trace's mean rate and lengths, or why it says nothing."""
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.decide.fleets import closed_form
    from llmsizer.traffic.closed_form.sizing import load_at
    from llmsizer.traffic.demand.traces import summarise
    from llmsizer.traffic.service import workload_of_trace

    deployment, physics = asked.fleet.deployment, ModelledPhysics(asked.evidence.calibration)
    try:
        workload = workload_of_trace(name, summarise(requests))
        closed = closed_form(deployment, workload, physics, physics.memory(deployment, workload))
    except InputError as error:
        return str(error)
    return load_at(closed, workload.requests_per_second / asked.fleet.replicas)


def _columns(text: str | None) -> Any:
    if text is None:
        return None
    pairs = [part.split("=", 1) for part in comma_list(text)]
    known = ("arrival", "prompt_tokens", "output_tokens", "cached_tokens", "group")
    for pair in pairs:
        if len(pair) != 2 or pair[0] not in known:
            raise InputError(f"--columns {'='.join(pair)!r}: write ours=theirs, ours one of {', '.join(known)}")
    return dict(pairs)


def _capacity(arguments: argparse.Namespace) -> int:
    from llmsizer.traffic.failing.availability import Site, growth, held_rate, replicas_needed
    from llmsizer.traffic.service import stream_within

    stated = _growth(arguments)
    asked = Asked(arguments)
    plan = stated or asked.fleet.workload.growth
    fleet, peak = asked.fleet, asked.fleet.workload.peak_requests_per_second
    site = Site(
        replica=asked.replica,
        stream=stream_within(fleet.workload, asked.replica, gap_cv=arguments.burstiness),
        goal=asked.goal,
        replicas=fleet.replicas,
        replicas_per_host=fleet.replicas_per_host,
        gpus_per_replica=fleet.deployment.parallelism.gpus,
        zones=arguments.zones,
        routing_fleet=asked.routed,
        replications=arguments.replications,
        seed=arguments.seed,
    )
    with working("looking for the largest rate"):
        each, whole = held_rate(site, 1, fleet.closed), held_rate(site, fleet.replicas)
    with working("simulating fleets of other sizes"):
        needed = replicas_needed(site, peak, each.requests_per_second)
    with working("simulating the week, lost hosts and an upgrade"):
        hourly = hourly_answers(asked, site, each, plan)
        failures = failure_answers(arguments, asked, site, peak, needed)
    answer: dict[str, Any] = {
        "peak_requests_per_second": peak,
        "one_replica_holds": each,
        "closed_form_one_replica_holds": fleet.closed_rate_each,
        "fleet_holds": whole,
        "headroom": whole.requests_per_second / peak - 1,
        "replicas_needed": needed,
        **hourly,
        **failures,
    }
    if plan is not None:
        spare = min(asked.scenario.spare_replicas, fleet.replicas - 1)
        serving = held_rate(site, fleet.replicas - spare) if spare else whole
        held = (each.requests_per_second, serving.requests_per_second)
        answer["growth"] = growth(site, fleet.workload, *held, plan, spare_replicas=spare)
    if arguments.plot:
        plot_capacity(arguments, asked, site, answer)
    if arguments.json:
        print_json(_document(asked, answer))
    else:
        print_capacity(asked, answer, site)
        print_hourly(answer)
        print_failures(answer)
    return 0


def _growth(arguments: argparse.Namespace) -> Growth | None:
    """The growth that the options ask about, from today; None where they ask about none."""
    from pydantic import ValidationError

    from llmsizer.facts.workload import Growth

    if (arguments.growth is None) != (arguments.until is None):
        raise InputError("growth needs both --growth and --until, such as --growth 0.5 --until 2028-01-01")
    if arguments.until is None:
        return None
    try:
        until = datetime.date.fromisoformat(arguments.until)
    except ValueError:
        raise InputError(f"--until {arguments.until!r} is not a date; write for example 2028-01-01") from None
    try:
        return Growth(per_year=arguments.growth, start=datetime.date.today(), until=until)
    except ValidationError as error:
        what = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"--growth, --until: {what}") from None
