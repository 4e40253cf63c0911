"""``choose-precision``: which format to serve a model in, at equal quality, by the kernel that will really run."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, comma_list, number, whole_number
from llmsizer.cli.currency import add_currency, currency_asked, print_rate
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.decide.precision.choice import PrecisionOption, PrecisionQuestion
    from llmsizer.decide.precision.crossover import Crossover
    from llmsizer.facts.catalog import Catalog
    from llmsizer.facts.figure import Figure

DEFAULT_PRECISIONS = "bf16,fp8,int8,int8-wo,int4,nvfp4"


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("choose-precision", help="$/1M tokens by format at equal quality, by real kernels")
    parser.add_argument("model", help="a catalogue name, a config.json, its folder, or a hub id")
    parser.add_argument("--gpu", required=True, help="one or more, comma list; see: llmsizer catalog list gpus")
    parser.add_argument("--workload", default="chat", help="a preset: agent, batch, chat, code, rag … (default: chat)")
    share = number("quality-floor", least=0.01, most=1.0)
    parser.add_argument("--quality-floor", type=share, default=0.99, metavar="SHARE",
                        help="of the 16-bit reference's quality that must stay (default: 0.99)")  # fmt: skip
    parser.add_argument("--quality", metavar="FILE|STORE", help="own quality records: they replace published figures")
    parser.add_argument("--task", help="show published recovery on this task too: mmlu, gsm8k, humaneval …")
    parser.add_argument(
        "--precisions", default=DEFAULT_PRECISIONS, metavar="P,…", help=f"comma list (default: {DEFAULT_PRECISIONS})"
    )
    parser.add_argument(
        "--kv", default="bf16,fp8", metavar="FORMAT,…", help="cache formats; the first is priced (default: bf16,fp8)"
    )
    parser.add_argument("--engine", default="vllm", help="whose kernels run the formats")
    parser.add_argument("--engine-version", default=None, help="kernels differ by version (default: newest known)")
    parser.add_argument("--ttft", type=number("ttft", least=0.001), default=2.0, metavar="SECONDS", help="p95 limit")
    parser.add_argument("--tpot", type=number("tpot", least=0.0001), default=0.05, metavar="SECONDS", help="p95 limit")
    parser.add_argument("--max-gpus", type=whole_number("max-gpus", most=1024), default=8, help="of one replica")
    parser.add_argument("--usd-per-gpu-hour", type=number("usd-per-gpu-hour", least=0.0001), metavar="USD",
                        help="your own price of a GPU-hour")  # fmt: skip
    add_currency(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from llmsizer.decide.precision.choice import choice_sentence, choose_precision
    from llmsizer.decide.precision.side_by_side import side_by_side
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.money.currency import shown_in
    from llmsizer.money.prices import price_book

    catalog = default_catalog()
    question = _question(arguments, catalog)
    if note := catalog.engine_note(question.engine, question.engine_version):
        console(stderr=True).print(f"! {note}", style="yellow", highlight=False)
    book = price_book(catalog, question.scenario, datetime.date.today())
    options = choose_precision(question, catalog, book)
    crossings = [(gpu.id, one) for gpu in question.gpus for one in side_by_side(question, options, gpu).crossovers]
    tasks = _published(arguments.task, question, catalog) if arguments.task else {}
    with shown_in(book.currency):
        sentence = choice_sentence(options, arguments.quality_floor)
    if arguments.json:
        print_json(
            {
                "sentence": sentence,
                "currency": book.currency.to_dict(),
                "options": options,
                "crossovers": [{"gpu": gpu, "sentence": c.sentence, **_fields(c)} for gpu, c in crossings],
                "published_task_recovery": tasks,
            }
        )
        return 0
    console().print(sentence, style="bold", highlight=False)
    with shown_in(book.currency):
        _print(options, crossings)
    for name, figure in tasks.items():
        text = f"{arguments.task} in {name}: {figure.estimate.text()} {figure.unit}"
        console().print(f"· {text}; {figure.estimate.reason}", highlight=False)
    print_rate(book.currency)
    return 0


def _question(arguments: argparse.Namespace, catalog: Catalog) -> PrecisionQuestion:
    from llmsizer.cli.sources import read_source
    from llmsizer.decide.precision.choice import PrecisionQuestion, precisions_of
    from llmsizer.decide.pricing.study import workload_of
    from llmsizer.facts.hub import load_model
    from llmsizer.facts.precision import kv_bytes_per_value
    from llmsizer.facts.records import QualityRecord
    from llmsizer.facts.scenario import Constraints, Scenario
    from llmsizer.facts.workload import Slo
    from llmsizer.facts.workload.choice import WorkloadChoice

    for option in ("gpu", "precisions", "kv"):
        if not comma_list(getattr(arguments, option)):
            raise InputError(f"--{option} names none; give one or more, with commas between them")
    formats = tuple(comma_list(arguments.kv))
    for kv in formats:
        kv_bytes_per_value(kv)
    slo = Slo(ttft_p95_seconds=arguments.ttft, tpot_p95_seconds=arguments.tpot, quality_floor=arguments.quality_floor)
    scenario = Scenario(
        currency=currency_asked(arguments) or "USD",
        name="choose-precision",
        model=arguments.model,
        workload=WorkloadChoice(preset=arguments.workload),
        slo=slo,
        constraints=Constraints(max_gpus_per_replica=arguments.max_gpus),
    )
    model, workload = load_model(arguments.model, catalog), workload_of(scenario, catalog)
    if workload.context_tokens > model.max_context_tokens:
        raise InputError(
            f"a request of the workload {arguments.workload} takes {workload.context_tokens:,} tokens of context; "
            f"{model.name} holds {model.max_context_tokens:,}: take another --workload or a model that holds more"
        )
    return PrecisionQuestion(
        model=model,
        gpus=tuple({g.id: g for g in map(catalog.gpu, comma_list(arguments.gpu))}.values()),
        workload=workload,
        scenario=scenario,
        precisions=precisions_of(comma_list(arguments.precisions)),
        kv_formats=formats,
        engine=arguments.engine,
        engine_version=arguments.engine_version,
        records=tuple(read_source(arguments.quality, QualityRecord)) if arguments.quality else (),
        usd_per_gpu_hour=arguments.usd_per_gpu_hour,
    )


def _fields(one: Crossover) -> dict[str, object]:
    return {name: getattr(one, name) for name in ("first", "second", "lead_alone", "loses_at", "looked_to")}


def _published(task: str, question: PrecisionQuestion, catalog: Catalog) -> dict[str, Figure]:
    from llmsizer.facts.recovery import load_recovery, published_recovery

    table = load_recovery(catalog.root)
    params = float(question.model.total_params)
    return {p.name: published_recovery(table, p.name, task, params) for p in question.precisions if p.is_quantized}


def _print(options: Sequence[PrecisionOption], crossings: Sequence[tuple[str, Crossover]]) -> None:
    from llmsizer.decide.precision.choice import quality_words
    from llmsizer.money.currency import shown

    rows = [
        (o.label, _usd(o.usd_per_million_tokens), f"{o.kernel}, computes in {o.computes_in}", quality_words(o.quality),
         o.requests_per_second.estimate.text(suffix="/s"), f"{o.kv_capacity_tokens or 0:,}")
        for o in options if not o.rejected
    ]  # fmt: skip
    each = f"{shown().symbol.strip()}/1M tokens at capacity"
    headers = ("format", each, "kernel that runs", "quality kept", "holds within SLO", "KV tokens")
    if rows:
        print_table("At equal quality, cheapest first", headers, rows)
    out = [(o.label, o.kernel, o.rejected) for o in options if o.rejected]
    if out:
        print_table("Out", ("format", "kernel", "why"), out)
    for gpu, one in crossings:
        console().print(f"→ {gpu}: {one.sentence} (predicted)", highlight=False)
    said: set[str] = set()
    priced: set[str] = set()
    for o in options:
        if o.rejected or o.gpu in priced:  # the best of each GPU; --json has them all
            continue
        priced.add(o.gpu)
        for cache in o.caches:
            usd = _usd(cache.usd_per_million_tokens)
            more = f"{cache.capacity_tokens:,} tokens ({cache.gain:.2f}×), {usd} per 1M tokens"
            console().print(f"· {cache.format} KV cache with {o.label}: {more}", highlight=False)
            said.add(f"{cache.format} KV cache: {cache.note}")
        hour = o.usd_per_gpu_hour
        origin = f"{hour.source}, {hour.as_of}".removesuffix(", ")
        text = f"priced at {_usd(hour)} per GPU-hour of {o.gpu}: {origin}" if hour.value else ""
        if text:
            console().print(f"· {text}", highlight=False)
    notes = {f"{o.precision}: {o.kernel_note} ({o.kernel_source})" for o in options if o.kernel_note and not o.rejected}
    for text in (*sorted(said), *sorted(notes)):
        console().print(f"! {text}", highlight=False)


def _usd(figure: Figure) -> str:
    from llmsizer.money.currency import shown

    return shown().figure(figure).estimate.text(shown().symbol)
