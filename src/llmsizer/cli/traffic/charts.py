"""``--plot OUT.html`` of ``simulate`` and ``capacity``: what they said, drawn."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.output import console
from llmsizer.errors import InputError
from llmsizer.files import path_of
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.cli.traffic.asked import Asked
    from llmsizer.deliver.elements.chart import Chart
    from llmsizer.traffic.failing.availability import HeldRate, Site
    from llmsizer.traffic.load_curves import LoadCurve
    from llmsizer.traffic.service import Service
    from llmsizer.traffic.simulator.replications import Replications


def add_plot_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--plot", type=html_file, metavar="OUT.html", help="also write the charts, as one HTML page")


def html_file(text: str) -> Path:
    """A file that can be written as a page. Raises InputError before anything takes time."""
    path = path_of(text)
    if path.suffix.lower() not in {".html", ".htm"}:
        raise InputError(f"--plot {text!r}: the charts are one HTML page; give a name that ends in .html")
    if path.is_dir() or not path.parent.is_dir():
        raise InputError(f"--plot {text!r}: there is no folder {str(path.parent)!r} to write a file into")
    return path


def plot_service(
    arguments: argparse.Namespace, asked: Asked, runs: Replications, service: Service, rate: float
) -> None:
    """The page of ``simulate``. A trace has a rate of its own: no other is drawn."""
    from llmsizer.deliver.charts.load_charts import cdf_chart, latency_chart, occupancy_charts
    from llmsizer.traffic.load_curves import distributions, load_curve, occupancy_series

    site = None if arguments.trace else _site(arguments, asked)
    charts: list[Chart] = []
    slo = asked.scenario.slo
    if site is not None:
        curve = load_curve(site, site.replicas, "the fleet")
        peak = asked.fleet.workload.peak_requests_per_second
        charts += [latency_chart([curve], "TTFT", slo, peak), latency_chart([curve], "TPOT", slo, peak)]
        charts += _week(asked, site, curve.held)
    shares = distributions(runs)
    if shares:
        charts.append(cdf_chart(shares, slo, "in this run"))
    series = occupancy_series(runs, asked.replica, service.simulated_replicas)
    charts += occupancy_charts(series)
    met = "meets the SLO" if service.meets_slo else f"misses the SLO ({service.missed})"
    said = f"{asked.fleet.label} at {rate:.4g} requests/s: {service.verdict}, {met}."
    _write(arguments.plot, asked, f"{asked.scenario.name} under load", said, charts)


def _site(arguments: argparse.Namespace, asked: Asked) -> Site:
    from llmsizer.traffic.failing.availability import Site
    from llmsizer.traffic.service import stream_within

    return Site(
        replica=asked.replica,
        stream=stream_within(asked.fleet.workload, asked.replica, gap_cv=arguments.burstiness),
        goal=asked.goal,
        replicas=asked.fleet.replicas,
        replicas_per_host=asked.fleet.replicas_per_host,
        gpus_per_replica=asked.fleet.deployment.parallelism.gpus,
        routing_fleet=asked.routed,
        replications=arguments.replications,
        seed=arguments.seed,
    )


def plot_capacity(arguments: argparse.Namespace, asked: Asked, site: Site, answer: dict[str, Any]) -> None:
    """The page of ``capacity``: all up against one host down."""
    from llmsizer.deliver.charts.load_charts import domains_table, latency_chart
    from llmsizer.traffic.load_curves import load_curve

    slo, peak = asked.scenario.slo, answer["peak_requests_per_second"]
    curves: list[LoadCurve] = [load_curve(site, site.replicas, "all up", answer["fleet_holds"])]
    left = site.replicas - site.domains.largest["one host"]
    if left:
        curves.append(load_curve(site, left, "one host down"))
    charts = [
        latency_chart(curves, "TTFT", slo, peak),
        latency_chart(curves, "TPOT", slo, peak),
        *_week(asked, site, answer["fleet_holds"]),
    ]
    rows = []
    for lost in answer["losses"]:
        service = lost.service
        tails = ["–", "–"] if service is None else [
            format_seconds(value) if (value := service.row(metric).p95.value) is not None else "–"
            for metric in ("TTFT", "TPOT")
        ]  # fmt: skip
        verdict = "nothing is left" if service is None else service.verdict
        if service is not None and service.missed not in ("", service.verdict):
            verdict += f", misses {service.missed}"
        rows.append((lost.what, lost.replicas_left, verdict, tails[0], tails[1]))
    held: HeldRate = answer["fleet_holds"]
    said = (
        f"{asked.fleet.label} holds {held.requests_per_second:.3g} requests/s within the SLO; the peak hour has "
        f"{peak:.4g}. {answer['outages'].hosts_that_may_be_down} of {site.hosts} hosts may be down at once."
    )
    _write(arguments.plot, asked, f"What {asked.scenario.name} holds", said, charts, (domains_table(rows),))


def _week(asked: Asked, site: Site, held: HeldRate) -> list[Chart]:
    from llmsizer.deliver.charts.load_charts import week_chart
    from llmsizer.traffic.load_curves import week

    workload = asked.fleet.workload
    if not workload.hourly_weights:
        return []
    source = workload.hours or "the scenario's own"
    return [week_chart(week(site, workload.hourly_weights, workload.requests_per_second, held), source)]


def _write(path: Path, asked: Asked, title: str, said: str, charts: list[Chart], tables: tuple[Any, ...] = ()) -> None:
    from llmsizer.deliver.pages.load import LoadPage, write_load_page

    reading = (asked.fleet.deployment.model.reading,) if asked.fleet.deployment.model.reading else ()
    basis = f"simulated, step times {asked.steps}"
    page = LoadPage(title=title, sentences=(said, *reading), charts=tuple(charts), tables=tables, basis=basis)
    write_load_page(path, page)
    console(stderr=True).print(f"charts: {path}", highlight=False)
