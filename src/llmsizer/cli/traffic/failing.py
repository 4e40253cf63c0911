"""What ``capacity`` says of failures: lost domains, N+1, the year, a rolling upgrade, and clients that ask again."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import number, whole_number
from llmsizer.cli.output import console, print_table
from llmsizer.cli.traffic.tables import shown_seconds
from llmsizer.errors import InputError
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.cli.traffic.asked import Asked
    from llmsizer.facts.figure import Figure
    from llmsizer.facts.provenance import Estimate
    from llmsizer.traffic.failing.availability import Loss, Outages, RollingUpgrade, Site
    from llmsizer.traffic.failing.retries import Retries, RetryPolicy


def add_failure_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--zones", type=whole_number("zones", most=10), default=1, help="that the hosts are dealt over")
    parser.add_argument("--retry-timeout", type=number("retry-timeout", least=1e-3, most=1e5), metavar="SECONDS",
                        help="clients that wait so long for a first token ask again: what that adds")  # fmt: skip
    parser.add_argument("--retries", type=whole_number("retries", most=20), help="how often they do (default: 2)")


def failure_answers(
    arguments: argparse.Namespace, asked: Asked, site: Site, peak: float, replicas_needed: int
) -> dict[str, Any]:
    """Every answer about failures, in the terms of the JSON document."""
    from llmsizer.facts.assumptions import load_assumptions
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.physics.memory.account import estimate_memory
    from llmsizer.traffic.failing.availability import losses, outages, rolling_upgrade
    from llmsizer.traffic.failing.failures import NAMES, Failures
    from llmsizer.traffic.hours.week import RESTART, restart

    policy = _policy(arguments)
    assumed = load_assumptions(asked.scenario.assumptions, datetime.date.today(), default_catalog().root)
    lost = losses(site, peak)
    starting = restart(estimate_memory(asked.fleet.deployment).replica_weight_bytes, assumed)
    answer: dict[str, Any] = {
        "losses": lost,
        "outages": outages(site, peak, Failures.of(assumed), replicas_needed),
        "rolling_upgrade": rolling_upgrade(lost[0], site.replicas, starting),
        "assumptions": {name: assumed[name] for name in (*NAMES, *RESTART)},
    }
    if policy is not None:
        answer["retry_policy"] = policy
        answer["retries"] = _retries(site, policy, peak)
    return answer


def _policy(arguments: argparse.Namespace) -> RetryPolicy | None:
    from llmsizer.traffic.failing.retries import RetryPolicy

    if arguments.retry_timeout is None:
        if arguments.retries is not None:
            raise InputError("--retries needs --retry-timeout: after how many seconds do clients ask again?")
        return None
    return RetryPolicy(timeout_seconds=arguments.retry_timeout, most_retries=arguments.retries or 2)


def _retries(site: Site, policy: RetryPolicy, peak: float) -> dict[str, Retries]:
    """With all replicas up, and with the largest host down."""
    from llmsizer.traffic.failing.retries import retries

    counts = {"all up": site.replicas, "one host down": site.replicas - site.domains.largest["one host"]}
    stream = site.stream.at_rate(peak)
    return {
        what: retries(site.replica, stream, site.fleet(count), policy, seed=site.seed)
        for what, count in counts.items()
        if count > 0
    }


def print_failures(answer: dict[str, Any]) -> None:
    _print_losses(answer["losses"])
    _print_domains(answer["outages"])
    _print_year(answer["outages"])
    _print_upgrade(answer["rolling_upgrade"])
    if "retries" in answer:
        _print_retries(answer["retry_policy"], answer["retries"])
    _print_assumptions(answer["assumptions"])


def _print_losses(losses: list[Loss]) -> None:
    rows = []
    for lost in losses:
        service = lost.service
        if service is None:
            rows.append((lost.what, 0, "no", "nothing is left to serve", "–", "–"))
            continue
        holds = "yes" if lost.holds_slo else f"no ({service.missed})"
        tails = (shown_seconds(service.row("TTFT").p95), shown_seconds(service.row("TPOT").p95))
        rows.append((lost.what, lost.replicas_left, holds, service.verdict, *tails))
    headers = ("in the peak hour", "replicas left", "SLO holds", "verdict", "TTFT p95", "TPOT p95")
    print_table("With a part of the fleet gone (simulated)", headers, rows)


def _print_domains(found: Outages) -> None:
    zones = " · ".join(
        f"zone {index}: {zone.hosts} host{'s' * (zone.hosts > 1)}, {zone.replicas} replica{'s' * (zone.replicas > 1)}"
        for index, zone in enumerate(found.zones, 1)
    )
    spared = ", ".join(
        f"{'–' if count is None else count} with {what} gone" for what, count in found.spared.items() if count
    )
    out = console()
    out.print(f"{zones} ({found.gpus_per_host} GPUs a host); the peak hour needs {spared}", highlight=False)


def _print_year(found: Outages) -> None:
    down = found.hosts_that_may_be_down
    may = "the SLO is missed with all hosts up" if down < 0 else f"{down} of {found.hosts} hosts may be down at once"
    console().print(
        f"{may}; more are, for {found.hours_a_year_beyond.text(suffix=' h')} a year, so the SLO is held "
        f"{_share(found.share_of_the_year_held)} of the year as if every hour were the peak hour; "
        f"{found.hours_a_year_beyond.reason}",
        highlight=False,
    )


def _share(held: Estimate) -> str:
    assert held.value is not None
    band = "" if held.low is None or held.high is None else f" [{held.low:.3%}–{held.high:.3%}]"
    return f"{held.value:.3%}{band} ({held.basis})"


def _print_upgrade(upgrade: RollingUpgrade) -> None:
    holds = "holds" if upgrade.during.holds_slo else "misses"
    if upgrade.seconds.value is None:
        console().print(f"rolling upgrade, one replica at a time: {upgrade.seconds.reason}", highlight=False)
        return
    assert upgrade.seconds_to_drain is not None and upgrade.seconds.low is not None and upgrade.seconds.high is not None
    low, high = upgrade.seconds.low / 60, upgrade.seconds.high / 60
    console().print(
        f"rolling upgrade, one replica at a time: {upgrade.seconds.value / 60:.3g} min [{low:.3g}–{high:.3g}] "
        f"({upgrade.seconds.basis}), each drains for {format_seconds(upgrade.seconds_to_drain)} (E2E p99, simulated); "
        f"the peak hour {holds} the SLO meanwhile",
        highlight=False,
    )


def _print_retries(policy: RetryPolicy, found: dict[str, Retries]) -> None:
    rows = [
        (
            what,
            f"{each.load_simulated:.3f}× ({each.verdict_simulated})",
            f"{each.load_from_calm:.3f}× ({each.verdict_from_calm})",
            f"{each.load_from_storm:.3f}× ({each.verdict_from_storm})",
            f"{each.timed_out_share:.2%}",
            f"{each.given_up_share:.2%}",
            "yes" if each.stays_down else "no",
        )
        for what, each in found.items()
    ]
    headers = ("peak hour", "load with retries", "fixed point from calm", "from a storm", "first tries late", "gave up",
               "a storm keeps itself going")  # fmt: skip
    title = f"Clients that wait {format_seconds(policy.timeout_seconds)} for a {policy.waits_for} and ask again"
    print_table(
        f"{title}, at most {policy.most_retries} times (simulated)",
        headers,
        rows,
        note="the engine goes on with what was given up; × of the demand",
    )


def _print_assumptions(assumed: dict[str, Figure]) -> None:
    for name, figure in assumed.items():
        console().print(
            f"· {name} = {figure.estimate.text()} {figure.unit}: {figure.source}, {figure.as_of}",
            highlight=False,
        )
