"""What ``capacity`` says of time: the peak hour, four ways to run through the week, cold starts, growth, batch work."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from llmsizer.cli.currency import print_rate
from llmsizer.cli.output import console, print_table
from llmsizer.errors import InputError
from llmsizer.units import format_count, format_seconds

if TYPE_CHECKING:
    from llmsizer.cli.traffic.asked import Asked
    from llmsizer.decide.pricing.rentals import ModeRent
    from llmsizer.facts.workload import Growth
    from llmsizer.money.currency import Currency
    from llmsizer.money.prices import PriceBook
    from llmsizer.traffic.failing.availability import HeldRate, Site
    from llmsizer.traffic.hours.batch_lane import BatchLane
    from llmsizer.traffic.hours.cold_starts import ColdStarts
    from llmsizer.traffic.hours.growing import Month
    from llmsizer.traffic.hours.week import Running, Sizing

_MOST_MONTHS_SHOWN = 14


def hourly_answers(asked: Asked, site: Site, each: HeldRate, growth: Growth | None) -> dict[str, Any]:
    """Every answer about time; only the reason where not even an idle replica meets the SLO."""
    from llmsizer.facts.assumptions import load_assumptions
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.money.prices import price_book
    from llmsizer.physics.memory.account import estimate_memory
    from llmsizer.traffic.closed_form.meanfield import saturation_rate
    from llmsizer.traffic.hours.growing import replicas_by_month
    from llmsizer.traffic.hours.week import START_UP, all_modes, hour_name, hourly_rates, peak_hour, start_up

    workload, closed = asked.fleet.workload, asked.fleet.closed
    if each.requests_per_second <= 0:
        return {"by_hour": {"reason": "even a nearly idle replica misses the SLO: no number of them helps"}}
    assumed = load_assumptions(asked.scenario.assumptions, datetime.date.today(), default_catalog().root)
    starting = start_up(estimate_memory(asked.fleet.deployment).replica_weight_bytes, assumed)
    sizing = _sizing(asked, each, starting.value or 0.0)
    rates = hourly_rates(workload)
    modes = all_modes(rates, sizing)
    book = price_book(default_catalog(), asked.scenario, datetime.date.today())
    lanes = _lanes(rates, modes, each, saturation_rate(closed, closed.mid), workload.tokens_per_request)
    found: dict[str, Any] = {
        "volume_note": workload.volume_note,
        "hours": workload.hours,
        "peak_hour": hour_name(peak_hour(rates)),
        "peak_to_average": workload.peak_to_average,
        "requests_per_second_by_hour": rates.tolist(),
        "headroom": sizing.headroom,
        "spare_replicas": sizing.spare_replicas,
        "start_up_seconds": starting,
        "idle_seconds": sizing.idle_seconds,
        "modes": [
            _mode_document(running, lane, rent)
            for running, lane, rent in zip(modes, lanes, _rents(asked, modes, book), strict=True)
        ],
        "currency": book.currency,
        "cold_starts": _cold(asked, site, modes[-1], sizing),
        "assumptions": {name: assumed[name] for name in START_UP},
    }
    if growth is not None:
        found["months"] = replicas_by_month(workload, growth, sizing)
    return {"by_hour": found}


def _sizing(asked: Asked, each: HeldRate, start_seconds: float) -> Sizing:
    from llmsizer.traffic.closed_form.sizing import load_at
    from llmsizer.traffic.hours.week import Sizing

    idle, fleet, workload = load_at(asked.fleet.closed, 0.0), asked.scenario.fleet, asked.fleet.workload
    stay = (idle.ttft_mean.value or 0.0) + (workload.generated_tokens - 1) * (idle.tpot_mean.value or 0.0)
    return Sizing(
        requests_per_second_each=each.requests_per_second,
        headroom=fleet.headroom,
        spare_replicas=asked.scenario.spare_replicas,
        start_seconds=start_seconds,
        stay_seconds=stay,
        turns=workload.turns,
        think_seconds=workload.think_seconds,
        idle_seconds=fleet.idle_minutes * 60,
        window=fleet.window_hours,
    )


def _lanes(
    rates: Any, modes: tuple[Running, ...], each: HeldRate, saturation_each: float, tokens_per_request: float
) -> list[BatchLane]:
    from llmsizer.facts.provenance import Estimate
    from llmsizer.traffic.hours.batch_lane import batch_lane

    held = Estimate(value=each.requests_per_second, low=each.low, high=each.high, basis="calibrated")
    return [
        batch_lane(
            rates, running, rate_each=held, saturation_each=saturation_each, tokens_per_request=tokens_per_request
        )
        for running in modes
    ]


def _cold(asked: Asked, site: Site, running: Running, sizing: Sizing) -> ColdStarts | dict[str, str]:
    from llmsizer.traffic.hours.cold_starts import cold_starts
    from llmsizer.traffic.service import stream_within

    stream = stream_within(asked.fleet.workload, asked.replica, gap_cv=site.stream.arrivals.gap_cv, by_hour=True)
    try:
        return cold_starts(asked.replica, stream, running, sizing, asked.goal, seed=site.seed)
    except InputError as error:
        return {"reason": str(error)}


def _rents(asked: Asked, modes: tuple[Running, ...], book: PriceBook) -> tuple[ModeRent, ...]:
    from llmsizer.decide.pricing.rentals import rent_of_modes

    return rent_of_modes(modes, asked.fleet.deployment, asked.fleet.workload, asked.scenario, book)


def _mode_document(running: Running, lane: BatchLane, rent: ModeRent) -> dict[str, Any]:
    return {
        "mode": running.mode,
        "meaning": running.meaning,
        "peak_replicas": running.peak_replicas,
        "replicas_by_hour": running.replicas_by_hour,
        "replica_hours_by_hour": running.replica_hours_by_hour,
        "replica_hours_per_week": running.replica_hours_per_week,
        "replica_hours_per_month": running.replica_hours_per_month,
        "billed_share": running.billed_share,
        "served_share": running.served_share,
        "starts_per_week": running.starts_per_week,
        "basis": running.basis,
        "batch_lane": lane,
        "rent": rent,
    }


def print_hourly(answer: dict[str, Any]) -> None:
    out, found = console(), answer["by_hour"]
    if "reason" in found:
        out.print(f"hour by hour: nothing to say ({found['reason']})", highlight=False)
        return
    if found["volume_note"]:
        out.print(f"demand: {found['volume_note']}", highlight=False)
    out.print(
        f"hours: {found['hours'] or 'the same all week'}; the busiest is {found['peak_hour']}, "
        f"{found['peak_to_average']:.3g} times the average; headroom {found['headroom']:.0%}, "
        f"{found['spare_replicas']} spare",
        highlight=False,
    )
    _print_modes(found["modes"], found["currency"])
    _print_replicas_by_hour(next(mode for mode in found["modes"] if mode["mode"] == "by-hour"))
    _print_cold(found)
    if "months" in found:
        _print_months(found["months"])


def _print_modes(modes: list[dict[str, Any]], currency: Currency) -> None:
    whole = modes[0]["replica_hours_per_month"]
    rows = []
    for mode in modes:
        lane: BatchLane = mode["batch_lane"]
        tokens = lane.tokens_per_month
        rows.append(
            (
                mode["mode"],
                mode["peak_replicas"],
                f"{mode['replica_hours_per_month']:,.0f} ({mode['replica_hours_per_month'] / whole:.0%})",
                f"{mode['starts_per_week']:,.3g}",
                currency.text(mode["rent"].usd_per_month.value),
                f"{mode['served_share']:.1%}",
                f"{format_count(tokens.value)} ({format_count(tokens.low)}–{format_count(tokens.high)})",
            )
        )
    headers = ("", "replicas", "replica-hours/month", "starts/week", "rent/month", "served", "batch tokens/month")
    note = (
        "replicas: at most, spares included; batch tokens: what idle replica-seconds would serve of such requests "
        "within the online SLO (low: at slow step times; high: up to saturation, online requests first)"
    )
    print_table("Through the week", headers, rows, note=note)
    rent: ModeRent = modes[0]["rent"]
    said = rent.usd_per_month.estimate.reason if rent.usd_per_month.value is None else f"always on: {rent.offer}"
    console().print(f"rented, {said}", highlight=False)
    print_rate(currency)


def _print_replicas_by_hour(mode: dict[str, Any]) -> None:
    from llmsizer.facts.workload.hours import DAYS, HOURS_PER_DAY

    counts = mode["replicas_by_hour"]
    width = len(str(max(counts)))
    out = console()
    out.print("replicas by the hour, from midnight", style="dim", highlight=False)
    for number, day in enumerate(DAYS):
        row = counts[number * HOURS_PER_DAY : (number + 1) * HOURS_PER_DAY]
        out.print(f"{day} " + " ".join(f"{count:{width}d}" for count in row), highlight=False)


def _print_cold(found: dict[str, Any]) -> None:
    cold, starting = found["cold_starts"], found["start_up_seconds"]
    out = console()
    if isinstance(cold, dict):
        out.print(f"cold starts: {cold['reason']}", highlight=False)
        return
    weeks = "1 week" if cold.weeks == 1 else f"{cold.weeks} weeks"
    out.print(
        f"scale-to-zero, simulated over {weeks} with a start-up of {format_seconds(cold.start_seconds)} and "
        f"{format_seconds(found['idle_seconds'])} of idling: {_starts(cold.starts)} {cold.caught:,} of "
        f"{cold.requests:,} requests; {cold.missed_share:.2%} of all miss the SLO because of them; the longest wait is "
        f"{format_seconds(cold.longest_wait_seconds)}; awake {cold.awake_hours_per_week:.0f} of 168 hours",
        highlight=False,
    )
    out.print(f"start-up: {starting.text(suffix=' s')}, {starting.reason}", highlight=False)
    for name, figure in found["assumptions"].items():
        out.print(
            f"· {name} = {figure.estimate.text()} {figure.unit}: {figure.source}, {figure.as_of}", highlight=False
        )


def _starts(count: int) -> str:
    return "1 cold start catches" if count == 1 else f"{count:,} cold starts catch"


def _print_months(months: tuple[Month, ...]) -> None:
    step = -(-len(months) // _MOST_MONTHS_SHOWN)
    shown = [*months[:-1:step], months[-1]]
    rows = [
        (str(m.day), format_count(m.requests_per_month), f"{m.peak_requests_per_second:.4g}", m.replicas) for m in shown
    ]
    headers = ("on", "requests a month", "peak hour, requests/s", "replicas")
    note = "headroom and spares included" + (f"; every {step} months, all of them in --json" if step > 1 else "")
    print_table("As demand grows", headers, rows, note=note)
