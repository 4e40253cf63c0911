"""``simulate``, ``capacity``: what users see under load, from simulations beside the closed form."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, add_json, comma_list, existing_path, number, whole_number
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.planning import SCENARIO_HELP, Evidence, find_scenario, read_evidence
from llmsizer.errors import InputError
from llmsizer.installed import optional
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.decide.fleets import ServedFleet
    from llmsizer.facts.figure import Figure
    from llmsizer.facts.scenario import Scenario
    from llmsizer.traffic.availability import Growth, HeldRate, Loss, Outages, Site
    from llmsizer.traffic.capacity import LoadPoint
    from llmsizer.traffic.requests import Requests
    from llmsizer.traffic.service import Goal, Service, Simulated
    from llmsizer.traffic.simulator.fleet import Replica

ROUTINGS = {"least-loaded": "least loaded", "round-robin": "round robin", "prefix-affine": "prefix affine"}


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    simulate = commands.add_parser("simulate", help="a fleet under load: latencies, goodput, verdict (simulated)")
    _add_question(simulate)
    simulate.add_argument("--trace", type=existing_path, help="replay a log of requests instead of the workload")
    simulate.add_argument("--columns", help="of the trace: arrival=ts,prompt_tokens=in,output_tokens=out …")
    simulate.add_argument("--arrival-unit", help="of the trace's times where they are numbers: s, ms, us or ns")
    simulate.add_argument(
        "--rate", type=number("rate", least=1e-9, most=1e6), help="requests/s (default: the peak hour)"
    )
    simulate.add_argument("--hours", type=number("hours", least=1e-3, most=1e5), help="of each run")
    simulate.set_defaults(run=_simulate)
    capacity = commands.add_parser("capacity", help="what one replica holds within the SLO, growth, a host down")
    _add_question(capacity)
    capacity.add_argument("--growth", type=number("growth", least=-0.99, most=100), help="a year: 0.5 is +50 %%")
    capacity.add_argument("--until", metavar="DATE", help="with --growth: the day to grow to, such as 2028-01-01")
    capacity.set_defaults(run=_capacity)


def _add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", help=SCENARIO_HELP)
    parser.add_argument("--gpu", help="this GPU instead of the recommended one")
    parser.add_argument("--weights", help="these weights instead of the recommended ones")
    parser.add_argument("--tp", type=whole_number("tp", most=4096), help="tensor parallel degree, with both of them")
    parser.add_argument("--replicas", type=whole_number("replicas", most=10_000), help="all, spares included")
    parser.add_argument("--routing", default="least-loaded", choices=ROUTINGS)
    parser.add_argument("--burstiness", type=number("burstiness", most=20), default=1.0, metavar="CV",
                        help="of the gaps: 0 constant, 1 Poisson (default), above 1 bursty")  # fmt: skip
    parser.add_argument("--e2e-p95", type=number("e2e-p95", least=1e-3), metavar="SECONDS", help="also asked for")
    parser.add_argument("--replications", type=whole_number("replications", most=1000), default=5)
    parser.add_argument("--seed", type=whole_number("seed", least=0), default=0)
    parser.add_argument("--records", type=Path, metavar="FILE", help="own profile records: they calibrate")
    add_json(parser)


class _Asked:
    """What both commands begin with: scenario, fleet, replica, goal."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        optional("numba", what="the event simulator", extra="simulate")  # before anything takes time
        from llmsizer.decide.fleets import FleetChoice, served_fleet
        from llmsizer.facts.catalog import default_catalog
        from llmsizer.facts.hub import load_model
        from llmsizer.traffic.service import Goal
        from llmsizer.traffic.simulator.deployed import replica_of
        from llmsizer.traffic.simulator.fleet import Fleet

        self.scenario: Scenario = find_scenario(arguments.scenario)
        self.evidence: Evidence = read_evidence(arguments.records, None)
        catalog = default_catalog()
        choice = FleetChoice(
            gpu=arguments.gpu, weights=arguments.weights, tensor=arguments.tp, replicas=arguments.replicas
        )
        self.fleet: ServedFleet = served_fleet(
            load_model(self.scenario.model, catalog),
            self.scenario,
            catalog,
            choice,
            today=datetime.date.today(),
            calibration=self.evidence.calibration,
        )
        self.replica: Replica = replica_of(self.fleet.deployment, calibration=self.evidence.calibration)
        self.goal: Goal = Goal(slo=self.scenario.slo, e2e_p95_seconds=arguments.e2e_p95)
        self.routed = Fleet(replicas=self.fleet.replicas, routing=ROUTINGS[arguments.routing])  # type: ignore[arg-type]

    @property
    def steps(self) -> str:
        """What the simulated step times rest on."""
        own = "own records" if self.evidence.calibration else "public records"
        return f"{self.fleet.closed.basis} on {own}"


def _simulate(arguments: argparse.Namespace) -> int:
    from llmsizer.traffic.service import serve, serve_trace, stream_within
    from llmsizer.traffic.sizing import load_at

    asked = _Asked(arguments)
    closed_point: LoadPoint | str
    if arguments.trace:
        requests = _trace(arguments, asked)
        service = serve_trace(asked.replica, requests, asked.routed, asked.goal)
        closed_point = _closed_form_of_trace(arguments.trace.name, requests, asked)
    else:
        workload = asked.fleet.workload
        rate: float = arguments.rate or workload.peak_requests_per_second
        closed_point = load_at(asked.fleet.closed, rate / asked.fleet.replicas)
        stream = stream_within(workload, asked.replica, gap_cv=arguments.burstiness).at_rate(rate)
        service = serve(
            asked.replica,
            stream,
            asked.routed,
            asked.goal,
            hours=arguments.hours,
            replications=arguments.replications,
            seed=arguments.seed,
        )
    if arguments.json:
        print_json(_document(asked, {"service": service, "closed_form": closed_point, "seed": arguments.seed}))
    else:
        _print_service(asked, service, closed_point)
    return 0


def _document(asked: _Asked, answer: dict[str, object]) -> dict[str, object]:
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


def _trace(arguments: argparse.Namespace, asked: _Asked) -> Requests:
    from llmsizer.traffic.traces import read_trace

    if arguments.rate or arguments.hours:
        raise InputError("a trace brings its own times: leave out --rate and --hours")
    return read_trace(
        arguments.trace,
        columns=_columns(arguments.columns),
        arrival_unit=arguments.arrival_unit,
        context_tokens=asked.fleet.deployment.model.max_context_tokens,
    )


def _closed_form_of_trace(name: str, requests: Requests, asked: _Asked) -> LoadPoint | str:
    """What the closed form says of the trace's mean rate and lengths, or why it says nothing."""
    from llmsizer.decide.fleets import closed_form
    from llmsizer.decide.modelled import ModelledPhysics
    from llmsizer.traffic.service import workload_of_trace
    from llmsizer.traffic.sizing import load_at
    from llmsizer.traffic.traces import summarise

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


def _shown(number: Simulated) -> str:
    """``0.43 s [0.41–0.45]``, or why not."""
    if number.value is None:
        return "–"
    band = "" if number.low is None or number.high is None else f" [{_short(number.low)}–{_short(number.high)}]"
    return format_seconds(number.value) + band


def _short(seconds: float) -> str:
    return format_seconds(seconds).replace(" ", "")


def _plain(number: Simulated, digits: int = 3) -> str:
    if number.value is None:
        return f"none ({number.reason})"

    def text(value: float) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"

    band = "" if number.low is None or number.high is None else f" [{text(number.low)}–{text(number.high)}]"
    return text(number.value) + band


def _verdict_line(service: Service) -> str:
    if service.verdict == "OVERLOADED":
        return "[bold red]OVERLOADED[/]: more comes than is served; there is no latency to report"
    met = "[bold green]meets the SLO[/]" if service.meets_slo else f"[bold red]misses the SLO[/] ({service.missed})"
    return f"[bold]{service.verdict}[/], {met}"


def _print_service(asked: _Asked, service: Service, closed: LoadPoint | str) -> None:
    out = console()
    if asked.fleet.deployment.model.reading:
        out.print(asked.fleet.deployment.model.reading, style="italic", highlight=False)
    out.print(f"{asked.fleet.label} at {service.requests_per_second:.4g} requests/s: {_verdict_line(service)}",
              highlight=False)  # fmt: skip
    if service.verdict == "OVERLOADED":
        said = closed if isinstance(closed, str) else f"{closed.verdict}, {closed.utilisation:.0%} of saturation"
        out.print(f"the planner's closed form at the same load: {said}", highlight=False)
    else:
        _print_latencies(asked, service)
        _print_closed_form(service, closed)
    room, slo = service.occupancy, asked.scenario.slo
    out.print(
        f"goodput (TTFT ≤ {format_seconds(slo.ttft_p95_seconds)}, TPOT ≤ {format_seconds(slo.tpot_p95_seconds)}"
        f"{'' if asked.goal.e2e_p95_seconds is None else f', E2E ≤ {format_seconds(asked.goal.e2e_p95_seconds)}'}): "
        f"{_plain(service.goodput_requests_per_second)} requests/s of {service.requests_per_second:.4g} offered",
        highlight=False,
    )
    out.print(
        f"each replica (simulated): steps {_plain(room.utilisation, 2)} of the time · "
        f"batch {_plain(room.mean_batch)} of {room.max_sequences} · KV {_plain(room.mean_kv_tokens)} tokens, at most "
        f"{room.peak_kv_tokens:,} of {room.kv_capacity_tokens:,} · at most {room.peak_waiting:,} waiting in all · "
        f"{room.preemptions:,} preemptions",
        highlight=False,
    )


def _print_latencies(asked: _Asked, service: Service) -> None:
    rows = [
        (row.metric, *(_shown(n) for n in (row.mean, row.p50, row.p90, row.p95, row.p99))) for row in service.latencies
    ]
    one = service.replications == 1
    runs = f"{service.replications} × {service.simulated_hours:.3g} h, {service.requests:,} requests measured; "
    kind = "one run gives no interval" if one else "[90 % interval: chance in the demand, not error of the step times]"
    title = f"Latency (simulated; step times {asked.steps})"
    print_table(title, ("", "mean", "p50", "p90", "p95", "p99"), rows, note=runs + kind)
    defined = " · ".join(f"{row.metric} = {row.definition}" for row in service.latencies)
    console().print(defined, style="dim", highlight=False)


def _print_closed_form(service: Service, closed: LoadPoint | str) -> None:
    """What the planner's formula says of the same load, with how far it is from the simulation."""
    if isinstance(closed, str):
        console().print(f"the planner's closed form says nothing: {closed}", highlight=False)
        return

    def row(what: str, figure: Figure, simulated: Simulated) -> tuple[str, str, str, str]:
        off = "–"
        if figure.value is not None and simulated.value:
            off = f"{figure.value / simulated.value - 1:+.0%}"
        said = figure.estimate.reason if figure.value is None else format_seconds(figure.value)
        if figure.low is not None and figure.high is not None:
            said += f" [{_short(figure.low)}–{_short(figure.high)}]"
        return what, said, _shown(simulated), off

    ttft, tpot = service.row("TTFT"), service.row("TPOT")
    rows = [
        row("TTFT mean", closed.ttft_mean, ttft.mean),
        row("TTFT p95", closed.ttft_p95, ttft.p95),
        row("TPOT mean", closed.tpot_mean, tpot.mean),
        row("TPOT p95", closed.tpot_p95, tpot.p95),
    ]
    title = f"The planner's closed form at the same load: {closed.verdict}, {closed.utilisation:.0%} of saturation"
    headers = ("", f"closed form ({closed.ttft_mean.basis}) [90 %]", "simulated", "off")
    print_table(title, headers, rows)


def _capacity(arguments: argparse.Namespace) -> int:
    from llmsizer.facts.assumptions import load_assumptions
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.traffic.availability import Site, growth, held_rate, loss, outages, replicas_needed
    from llmsizer.traffic.service import stream_within

    until, today = _until(arguments), datetime.date.today()
    asked = _Asked(arguments)
    fleet, peak = asked.fleet, asked.fleet.workload.peak_requests_per_second
    site = Site(
        replica=asked.replica,
        stream=stream_within(fleet.workload, asked.replica, gap_cv=arguments.burstiness),
        goal=asked.goal,
        replicas=fleet.replicas,
        replicas_per_host=fleet.replicas_per_host,
        gpus_per_replica=fleet.deployment.parallelism.gpus,
        routing_fleet=asked.routed,
        replications=arguments.replications,
        seed=arguments.seed,
    )
    assumed = load_assumptions(asked.scenario.assumptions, today, default_catalog().root)
    failures, repair = assumed["gpu_failures_per_year"], assumed["gpu_repair_hours"]
    each, whole = held_rate(site, 1, fleet.closed), held_rate(site, fleet.replicas)
    answer: dict[str, Any] = {
        "peak_requests_per_second": peak,
        "one_replica_holds": each,
        "closed_form_one_replica_holds": fleet.closed_rate_each,
        "fleet_holds": whole,
        "headroom": whole.requests_per_second / peak - 1,
        "replicas_needed": replicas_needed(site, peak, each.requests_per_second),
        "losses": [
            loss(site, "one replica down", 1, peak),
            loss(site, "one host down", fleet.replicas_per_host, peak),
        ],
        "outages": outages(site, peak, failures.estimate, repair.estimate),
        "assumptions": {"gpu_failures_per_year": failures, "gpu_repair_hours": repair},
    }
    if until is not None:
        answer["growth"] = growth(
            site, fleet.workload, each.requests_per_second, whole.requests_per_second, arguments.growth, today, until
        )
    if arguments.json:
        print_json(_document(asked, answer))
    else:
        _print_capacity(asked, answer, site)
    return 0


def _until(arguments: argparse.Namespace) -> datetime.date | None:
    """The day to grow to; None where no growth is asked about."""
    if (arguments.growth is None) != (arguments.until is None):
        raise InputError("growth needs both --growth and --until, such as --growth 0.5 --until 2028-01-01")
    if arguments.until is None:
        return None
    try:
        return datetime.date.fromisoformat(arguments.until)
    except ValueError:
        raise InputError(f"--until {arguments.until!r} is not a date; write for example 2028-01-01") from None


def _print_capacity(asked: _Asked, answer: dict[str, Any], site: Site) -> None:
    from llmsizer.traffic.sizing import replicas_for

    out, peak = console(), answer["peak_requests_per_second"]
    if asked.fleet.deployment.model.reading:
        out.print(asked.fleet.deployment.model.reading, style="italic", highlight=False)
    out.print(f"[bold]{asked.fleet.label}[/bold], peak hour {peak:.4g} requests/s", highlight=False)
    each: HeldRate = answer["one_replica_holds"]
    whole: HeldRate = answer["fleet_holds"]
    closed = asked.fleet.closed_rate_each
    by_formula = replicas_for(peak, closed) if closed > 0 else "–"
    band = "" if each.low is None or each.high is None else f" [{each.low:.3g}–{each.high:.3g}]"
    rows = [
        ("one replica holds, requests/s", f"{each.requests_per_second:.3g}{band}", f"{closed:.3g}", each.limited_by),
        ("replicas for the peak hour", answer["replicas_needed"], by_formula, ""),
        (f"the fleet of {site.replicas} holds, requests/s", f"{whole.requests_per_second:.3g}", "", whole.limited_by),
        ("headroom over the peak hour", f"{answer['headroom']:+.0%}", "", ""),
    ]
    note = f"step times {asked.steps}; [90 % interval of the step times]; {each.simulations} simulations per rate"
    print_table("Capacity within the SLO", ("", "simulated", "closed form", "gives out first"), rows, note=note)
    if "growth" in answer:
        _print_growth(answer["growth"], site)
    _print_losses(answer["losses"])
    _print_outages(answer["outages"], answer["assumptions"])


def _print_growth(grown: Growth, site: Site) -> None:
    lasts = "is not outgrown within 30 years" if grown.exhausted_on is None else f"lasts until {grown.exhausted_on}"
    count = "1 replica" if grown.replicas == 1 else f"{grown.replicas} replicas"
    console().print(
        f"at {grown.growth_per_year:+.0%} a year the peak hour of {grown.until} has "
        f"{grown.peak_requests_per_second:.4g} requests/s and needs {count} (simulated); "
        f"the fleet of {site.replicas} {lasts}",
        highlight=False,
    )


def _print_losses(losses: list[Loss]) -> None:
    rows = []
    for lost in losses:
        service = lost.service
        if service is None:
            rows.append((lost.what, 0, "no", "nothing is left to serve", "–", "–"))
            continue
        holds = "yes" if lost.holds_slo else f"no ({service.missed})"
        tails = (_shown(service.row("TTFT").p95), _shown(service.row("TPOT").p95))
        rows.append((lost.what, lost.replicas_left, holds, service.verdict, *tails))
    headers = ("in the peak hour", "replicas left", "SLO holds", "verdict", "TTFT p95", "TPOT p95")
    note = "a rolling upgrade, one replica at a time, is one replica down"
    print_table("With a part of the fleet gone (simulated)", headers, rows, note=note)


def _print_outages(found: Outages, assumed: dict[str, Figure]) -> None:
    out = console()
    down = found.hosts_that_may_be_down
    may = "the SLO is missed with all hosts up" if down < 0 else f"{down} of {found.hosts} hosts may be down at once"
    out.print(
        f"{may}; more are, for {found.hours_a_year_beyond.text(suffix=' h')} a year if every hour were the peak hour "
        f"({found.gpus_per_host} GPUs a host, failing independently)",
        highlight=False,
    )
    for name, figure in assumed.items():
        out.print(
            f"· {name} = {figure.estimate.text()} {figure.unit}: {figure.source}, {figure.as_of}",
            highlight=False,
        )
