"""``llmsizer fine-tune``: memory by part, the GPUs it needs, the hours, and what renting them costs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, comma_list, number, whole_number
from llmsizer.cli.currency import add_currency, known_currency, print_rate
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.units import format_gb

if TYPE_CHECKING:
    from llmsizer.decide.tuning import TuningPlan
    from llmsizer.facts.figure import Figure
    from llmsizer.money.currency import Currency
    from llmsizer.physics.fine_tuning import Method

METHODS: tuple[Method, ...] = ("full", "lora", "qlora")


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("fine-tune", help="what hardware, time and money a fine-tune takes")
    parser.add_argument("model", help="a catalogue name, a config.json, its folder, or a hub id")
    parser.add_argument("--method", choices=METHODS, help="left out: all three")
    parser.add_argument("--gpu", help="e.g. h100-sxm-80; left out: six usual ones")
    parser.add_argument("--gpus", type=whole_number("gpus", most=4096), help="left out: the fewest that hold it")
    tokens = number("tokens", least=1, most=1e15)
    parser.add_argument(
        "--tokens", type=tokens, default=10e6, metavar="TOKENS", help="to train on, epochs counted (default: 10M)"
    )
    length = whole_number("sequence-length", most=10_000_000)
    parser.add_argument("--sequence-length", type=length, default=2048, metavar="TOKENS", help="of one sequence")
    parser.add_argument(
        "--batch", type=whole_number("batch", most=65_536), default=1, help="sequences on a GPU at once"
    )
    parser.add_argument(
        "--rank", type=whole_number("rank", most=4096), default=16, help="of the adapters of lora and qlora"
    )
    parser.add_argument(
        "--optimizer",
        default="adamw",
        choices=("adamw", "adamw-8bit", "paged-adamw", "sgd", "adafactor"),
        help="whose states are kept beside the weights",
    )
    parser.add_argument("--sharding", default="zero3", choices=("none", "zero1", "zero2", "zero3"),
                        help="over GPUs; zero3 is FSDP's full shard")  # fmt: skip
    parser.add_argument("--no-checkpointing", action="store_true", help="keep all activations: faster, larger")
    parser.add_argument("--fused-loss", action="store_true", help="logits are never stored whole")
    parser.add_argument(
        "--mfu", type=number("mfu", least=0.001, most=1.0), metavar="SHARE", help="of the data sheet's rate, 0 to 1"
    )
    parser.add_argument("--zones", type=comma_list, default=[], metavar="EU,US", help="of rented GPUs")
    add_currency(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    plans, currency = _plans(arguments), known_currency(arguments)
    if arguments.json:
        print_json({"currency": currency.to_dict(), "plans": [plan.to_dict() for plan in plans]})
        return 0
    out = console()
    if plans[0].model.reading:
        out.print(plans[0].model.reading, style="italic", highlight=False)
    if arguments.gpu and arguments.method:
        _print_parts(plans[0])
    _print_plans(plans, arguments.tokens, currency)
    print_rate(currency)
    return 0


def _plans(arguments: argparse.Namespace) -> list[TuningPlan]:
    from llmsizer.decide.tuning import USUAL_GPUS, plan_tuning
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.hub import load_model
    from llmsizer.physics.fine_tuning import MFU, FineTuning

    catalog = default_catalog()
    model = load_model(arguments.model, catalog)
    gpus = [catalog.gpu(name) for name in ([arguments.gpu] if arguments.gpu else USUAL_GPUS)]
    mfu = MFU if arguments.mfu is None else _given(arguments.mfu)
    plans = []
    methods: Sequence[Method] = [arguments.method] if arguments.method else METHODS
    for method in methods:
        job = FineTuning(
            method=method,
            sequence_tokens=arguments.sequence_length,
            batch=arguments.batch,
            rank=arguments.rank,
            optimizer=arguments.optimizer,
            checkpointing=not arguments.no_checkpointing,
            sharding=arguments.sharding,
            fused_loss=arguments.fused_loss,
        )
        plans += [
            plan_tuning(model, job, gpu, arguments.tokens, catalog, gpus=arguments.gpus, mfu=mfu, zones=arguments.zones)
            for gpu in gpus
        ]
    return plans


def _given(share: float) -> Figure:
    from llmsizer.facts.figure import Figure
    from llmsizer.facts.provenance import Estimate

    estimate = Estimate(value=share, low=share, high=share, basis="assumed", reason="given with --mfu")
    return Figure(estimate=estimate, unit="of the dense 16-bit rate", source="the command line")


def _print_parts(plan: TuningPlan) -> None:
    total = plan.memory.total_bytes
    rows = [
        (name.replace("process", "context and libraries"), format_gb(size, digits=2), f"{size / total:.1%}")
        for name, size in plan.memory.parts.items()
    ]
    rows.append(("total", format_gb(total, digits=2), "100.0%"))
    title = f"{plan.model.name}, {plan.job.method}: memory of one of {plan.gpus or 'any number of'} {plan.gpu.name}"
    print_table(title, ("part", "size", "share"), rows)


def _print_plans(plans: Sequence[TuningPlan], tokens: float, currency: Currency) -> None:
    from llmsizer.decide.tuning import LEAVES_OUT

    rows = []
    for plan in plans:
        count = "no number" if plan.gpus is None else str(plan.gpus)
        hours, usd = plan.time.hours if plan.time else None, plan.usd
        rows.append(
            (
                plan.job.method,
                plan.gpu.name,
                f"{count} (fewest {plan.fewest})" if plan.fewest != plan.gpus and plan.fewest else count,
                format_gb(plan.memory.total_bytes),
                "yes" if plan.fits else f"no: {plan.reason}",
                "" if hours is None else f"{_range(hours)}, {hours.estimate.reason.split(':')[0]}",
                f"{currency.text(usd.value)} [{currency.text(usd.low)}–{currency.text(usd.high)}] at {plan.offer}"
                if usd.low is not None and usd.high is not None
                else f"unknown: {usd.estimate.reason}",
            )
        )  # fmt: skip
    headers = ("method", "GPU", "GPUs", "on each", "fits", "hours", "rented")
    print_table(f"{plans[0].model.name}: {tokens:,.0f} tokens", headers, rows)
    mfu = plans[0].mfu
    console().print(
        f"Time assumes {mfu.value:.0%} [{mfu.low:.0%}–{mfu.high:.0%}] of the data sheet's 16-bit rate ({mfu.source}), "
        "and sharded weights that travel in every step, between nodes at 25 to 400 Gbit/s a GPU.\n"
        f"Left out: {'; '.join(LEAVES_OUT)}",
        style="dim", highlight=False,
    )  # fmt: skip


def _range(figure: Figure) -> str:
    return f"{figure.value:,.3g} [{figure.low:,.3g}–{figure.high:,.3g}]"
