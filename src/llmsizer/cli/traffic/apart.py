"""``simulate --disaggregate P:D``: prefill and decode on replicas of their own, beside the same GPUs doing both."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import number
from llmsizer.cli.output import console, print_table
from llmsizer.cli.traffic.tables import plain_number, shown_seconds
from llmsizer.errors import InputError
from llmsizer.units import GIGA, format_seconds

if TYPE_CHECKING:
    from llmsizer.cli.traffic.asked import Asked
    from llmsizer.traffic.demand.stream import Stream
    from llmsizer.traffic.disaggregation import Disaggregated
    from llmsizer.traffic.energy import Energy, Power
    from llmsizer.traffic.service import Service


def add_apart_options(parser: argparse.ArgumentParser) -> None:
    both = "replicas for each, such as 2:2, beside as many that do both"
    parser.add_argument("--disaggregate", metavar="PREFILL:DECODE", help=both)
    link = "of each GPU, for its part of the KV cache (default: the GPU's link by data sheet)"
    parser.add_argument("--kv-link", type=number("kv-link", least=1e-3, most=1e5), metavar="GB/S", help=link)


def split_of(arguments: argparse.Namespace) -> tuple[int, int] | None:
    """Prefill and decode replicas; None where none are asked for. Raises InputError."""
    text: str | None = arguments.disaggregate
    if text is None:
        if arguments.kv_link is not None:
            raise InputError("--kv-link needs --disaggregate PREFILL:DECODE, such as 2:2")
        return None
    parts = text.split(":")
    if len(parts) != 2 or not all(part.isdecimal() and 1 <= int(part) <= 10_000 for part in parts):
        raise InputError(f"--disaggregate {text!r}: give two counts of replicas from 1 to 10,000, such as 2:2")
    if arguments.trace:
        raise InputError("--disaggregate takes the workload, not a trace; leave out one of them")
    prefill, decode = (int(part) for part in parts)
    if arguments.replicas not in (None, prefill + decode):
        raise InputError(f"--replicas {arguments.replicas} and --disaggregate {text} differ; leave out --replicas")
    return prefill, decode


def apart(
    arguments: argparse.Namespace, asked: Asked, stream: Stream, split: tuple[int, int], power: Power | str
) -> Disaggregated:
    from llmsizer.traffic.disaggregation import disaggregate, kv_link

    given = None if arguments.kv_link is None else arguments.kv_link * GIGA
    return disaggregate(
        asked.replica,
        stream,
        asked.goal,
        split,
        kv_link(asked.fleet.deployment, given),
        power,
        gpus_per_replica=asked.fleet.deployment.parallelism.gpus,
        routing_fleet=asked.routed,
        hours=arguments.hours,
        replications=arguments.replications,
        seed=arguments.seed,
    )


def print_apart(found: Disaggregated, together: Service, energy: Energy) -> None:
    prefill, decode = found.prefill_replicas, found.decode_replicas
    rows: list[tuple[str, ...]] = [
        ("verdict", _verdict(found.verdict, found.missed), _verdict(together.verdict, together.missed))
    ]
    for row in found.latencies:
        other = together.row(row.metric)
        for key in ("p50", "p95", "p99") if row.metric != "ITL" else ():
            rows.append((f"{row.metric} {key}", *(shown_seconds(getattr(each, key)) for each in (row, other))))
    goodput = (plain_number(each.goodput_requests_per_second) for each in (found, together))
    rows.append(("goodput, requests/s", *goodput))
    rows.append(("J per output token", *(each.joules_per_output_token.text() for each in (found.energy, energy))))
    print_table(
        f"{prefill} prefill and {decode} decode replicas, beside {together.replicas} that do both (simulated)",
        ("", f"{prefill}:{decode} apart", f"{together.replicas} together"),
        rows,
        note=f"a mean prompt's KV cache takes {format_seconds(found.transfer_seconds_mean_prompt)} to hand over: "
        f"{found.link.bytes_per_token / 1e3:,.0f} kB a token on each GPU over {found.link.source} ({found.link.basis})",
    )
    decoding = "–" if found.decode_utilisation is None else f"{found.decode_utilisation:.0%}"
    console().print(f"prefill replicas step {found.prefill_utilisation:.0%} of the time, decode replicas {decoding}",
                    highlight=False)  # fmt: skip


def _verdict(verdict: str, missed: str) -> str:
    if verdict == "OVERLOADED":
        return verdict
    return f"{verdict}, {'misses ' + missed if missed else 'meets the SLO'}"
