"""What ``simulate`` and ``capacity`` print: simulated numbers beside the closed form, each said to be what it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsizer.cli.output import console, print_table
from llmsizer.units import KILO, format_seconds

if TYPE_CHECKING:
    from llmsizer.cli.traffic.asked import Asked
    from llmsizer.facts.figure import Figure
    from llmsizer.traffic.closed_form.capacity import LoadPoint
    from llmsizer.traffic.energy import Energy
    from llmsizer.traffic.failing.availability import Growth, HeldRate, Site
    from llmsizer.traffic.service import Service, Simulated


def shown_seconds(number: Simulated) -> str:
    """``0.43 s [0.41–0.45]``, or why not."""
    if number.value is None:
        return "–"
    band = "" if number.low is None or number.high is None else f" [{_short(number.low)}–{_short(number.high)}]"
    return format_seconds(number.value) + band


def _short(seconds: float) -> str:
    return format_seconds(seconds).replace(" ", "")


def plain_number(number: Simulated, digits: int = 3) -> str:
    if number.value is None:
        return f"none ({number.reason})"

    def text(value: float) -> str:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}"

    band = "" if number.low is None or number.high is None else f" [{text(number.low)}–{text(number.high)}]"
    return text(number.value) + band


def stand_for(simulated: int, replicas: int) -> str:
    """What is said of a fleet that is too large to be simulated whole."""
    return (
        f"{simulated} of the {replicas:,} replicas are simulated, each under its share of the demand, and stand for all"
    )


def _verdict_line(service: Service) -> str:
    if service.verdict == "OVERLOADED":
        return "OVERLOADED: more comes than is served; there is no latency to report"
    met = "✓ meets the SLO" if service.meets_slo else f"✗ misses the SLO ({service.missed})"
    return f"{service.verdict}, {met}"


def print_service(asked: Asked, service: Service, closed: LoadPoint | str, energy: Energy) -> None:
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
    if service.simulated_replicas < service.replicas:
        out.print(stand_for(service.simulated_replicas, service.replicas), highlight=False)
    out.print(
        f"goodput (TTFT ≤ {format_seconds(slo.ttft_p95_seconds)}, TPOT ≤ {format_seconds(slo.tpot_p95_seconds)}"
        f"{'' if asked.goal.e2e_p95_seconds is None else f', E2E ≤ {format_seconds(asked.goal.e2e_p95_seconds)}'}): "
        f"{plain_number(service.goodput_requests_per_second)} requests/s of {service.requests_per_second:.4g} offered "
        "on average (each run draws its own)",
        highlight=False,
    )
    out.print(
        f"each replica (simulated): steps {plain_number(room.utilisation, 2)} of the time · "
        f"batch {plain_number(room.mean_batch)} of {room.max_sequences} · KV {plain_number(room.mean_kv_tokens)} "
        f"tokens, at most {room.peak_kv_tokens:,} of {room.kv_capacity_tokens:,} · at most {room.peak_waiting:,} "
        f"waiting in all · {room.preemptions:,} preemptions",
        highlight=False,
    )
    _print_prefixes(asked, service)
    _print_energy(energy)


def _print_prefixes(asked: Asked, service: Service) -> None:
    """What the prefix cache saved here, beside the share that the plan counts: in conversations they differ."""
    planned = asked.fleet.workload.cached_prompt_fraction
    if not planned and not service.cached_prompt_share:
        return
    talks = asked.fleet.workload.turns > 1
    why = "what the replicas still hold of each conversation" if talks else "as drawn"
    scattered = talks and service.cached_prompt_share < 0.8 * planned and asked.routed.routing != "prefix affine"
    hint = "; --routing prefix-affine takes a conversation back to the replica that holds it" if scattered else ""
    console().print(
        f"prefix cache: {service.cached_prompt_share:.0%} of all prompt tokens hit (simulated: {why}); the plan and "
        f"its closed form count {planned:.0%}{hint}",
        highlight=False,
    )


def _print_energy(energy: Energy) -> None:
    out = console()
    if energy.watts.value is None:
        out.print(f"energy: unknown ({energy.watts.reason})", highlight=False)
        return
    joules, hours = energy.joules_per_output_token, energy.watt_hours_per_1000_output_tokens
    each = (
        f"none ({joules.reason})"
        if joules.value is None
        else (f"{joules.text(suffix=' J')} an output token, {hours.text(suffix=' Wh')} per 1,000")
    )
    assert energy.idle_share.value is not None
    out.print(
        f"energy of {energy.gpus} GPUs: {energy.watts.scaled(1 / KILO).text(suffix=' kW')} on average · {each} · "
        f"{energy.idle_share.value:.0%} drawn while waiting · {energy.watts.reason}; "
        "host, network and cooling come on top",
        highlight=False,
    )


def _print_latencies(asked: Asked, service: Service) -> None:
    rows = [
        (row.metric, *(shown_seconds(n) for n in (row.mean, row.p50, row.p90, row.p95, row.p99)))
        for row in service.latencies
    ]
    one = service.replications == 1
    runs = f"{service.replications} × {service.simulated_hours:.3g} h, {service.requests:,} requests counted; "
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
        return what, said, shown_seconds(simulated), off

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


def print_capacity(asked: Asked, answer: dict[str, Any], site: Site) -> None:
    from llmsizer.traffic.closed_form.sizing import replicas_for

    out, peak = console(), answer["peak_requests_per_second"]
    if asked.fleet.deployment.model.reading:
        out.print(asked.fleet.deployment.model.reading, style="italic", highlight=False)
    out.print(f"{asked.fleet.label}, peak hour {peak:.4g} requests/s", style="bold", highlight=False)
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
    if asked.routed.times_sample > 1:
        note += f"; {stand_for(asked.routed.sample.replicas, site.replicas)}"
    print_table("Capacity within the SLO", ("", "simulated", "closed form", "gives out first"), rows, note=note)
    if "growth" in answer:
        _print_growth(answer["growth"], site)


def _print_growth(grown: Growth, site: Site) -> None:
    lasts = "is not outgrown within 30 years" if grown.exhausted_on is None else f"lasts until {grown.exhausted_on}"
    count = "1 replica" if grown.replicas == 1 else f"{grown.replicas} replicas"
    spare = f"{grown.spare_replicas} spare" if grown.spare_replicas else ""
    free = f"{grown.headroom:.0%} headroom" if grown.headroom else ""
    kept = " and ".join(filter(None, [free, spare]))
    console().print(
        f"at {grown.growth_per_year:+.0%} a year the peak hour of {grown.until} has "
        f"{grown.peak_requests_per_second:.4g} requests/s and needs {count}{' and ' if spare else ''}{spare} (simulated"
        f"{f', {free} included' if free else ''}); the fleet of {site.replicas} {lasts}"
        f"{f' with {kept} kept' if kept else ''}",
        highlight=False,
    )
