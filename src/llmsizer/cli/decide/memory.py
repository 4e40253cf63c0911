"""``llmsizer memory``: where the memory of one GPU goes, what it holds, and what would make it hold more."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, number, whole_number
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.units import format_gb, format_gib

if TYPE_CHECKING:
    from llmsizer.facts.catalog import Catalog
    from llmsizer.facts.deployment import Deployment
    from llmsizer.facts.speculation import SpeculationChoice
    from llmsizer.physics.answers.memory import MemoryAnswer
    from llmsizer.physics.memory.account import MemoryBudget


def add_command(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("memory", help="where the VRAM of one GPU goes, and whether it fits")
    parser.add_argument("model", help="a catalogue name, a config.json, its folder, or a hub id")
    parser.add_argument("--gpu", required=True, help="e.g. h100-sxm-80; see: llmsizer catalog list gpus")
    parser.add_argument(
        "--weights", metavar="FORMAT", help="bf16, fp8, int8, int4, nvfp4, gguf-q4_k_m … (default: as published)"
    )
    parser.add_argument("--kv", default="bf16", metavar="FORMAT", help="format of the KV cache (default: bf16)")
    for flag, name in (("--tp", "tensor"), ("--pp", "pipeline"), ("--ep", "expert")):
        parser.add_argument(flag, type=whole_number(flag[2:], most=4096), default=1, help=f"{name} parallel degree")
    parser.add_argument("--context", type=whole_number("context", most=100_000_000), default=8192, metavar="TOKENS",
                        help="prompt and answer of one request together, e.g. 32k")  # fmt: skip
    parser.add_argument("--concurrency", type=whole_number("concurrency"), default=1, help="requests of that context")
    parser.add_argument("--engine", default="vllm", help="vllm, sglang, tensorrt-llm, llama.cpp, transformers …")
    parser.add_argument(
        "--engine-version", metavar="V", help="whose memory rules are taken (default: the newest known)"
    )
    shared = whole_number("shared-prefix", least=0, most=100_000_000)
    parser.add_argument("--shared-prefix", type=shared, default=0, metavar="TOKENS",
                        help="beginning that all requests have in common, in the prefix cache")  # fmt: skip
    add_speculation(parser)
    add_json(parser)
    parser.set_defaults(run=_run)


def add_speculation(parser: argparse.ArgumentParser) -> None:
    """The options of speculative decoding, alike in every command."""
    parser.add_argument("--speculative-tokens", type=whole_number("speculative-tokens", least=0, most=32), metavar="K",
                        help="drafted and verified a step")  # fmt: skip
    parser.add_argument("--acceptance-rate", type=number("acceptance-rate", most=1.0), metavar="RATE",
                        help="of one drafted token, 0 to 1; counted as assumed")  # fmt: skip
    parser.add_argument("--draft-model", metavar="MODEL", help="what drafts; without it n-grams of the prompt")
    parser.add_argument("--speculative-method", choices=("draft-model", "eagle", "mtp", "ngram"),
                        help="default: draft-model where one is named, else ngram")  # fmt: skip


def speculation_asked(arguments: argparse.Namespace) -> SpeculationChoice | None:
    """What the options say; None where none is given. Raises InputError where one lacks another."""
    from llmsizer.errors import InputError
    from llmsizer.facts.speculation import SpeculationChoice

    tokens, rate, draft = arguments.speculative_tokens, arguments.acceptance_rate, arguments.draft_model
    method = arguments.speculative_method
    if tokens is None and rate is None and draft is None and method is None:
        return None
    if tokens is None or rate is None:
        missing = "--speculative-tokens" if tokens is None else "--acceptance-rate"
        raise InputError(f"speculation needs {missing} too; e.g. --speculative-tokens 4 --acceptance-rate 0.7")
    try:
        return SpeculationChoice(method=method, draft_tokens=tokens, acceptance_rate=rate, draft_model=draft)
    except ValueError as error:
        told = next((line.split("Value error, ")[1] for line in str(error).splitlines() if "Value error" in line), "")
        raise InputError(f"speculation: {told.split(' [')[0] or error}") from None


def _deployment(arguments: argparse.Namespace, catalog: Catalog) -> Deployment:
    from llmsizer.facts.deployment import Deployment, Parallelism
    from llmsizer.facts.hub import load_model
    from llmsizer.facts.precision import get_precision

    speculation = speculation_asked(arguments)
    model = load_model(arguments.model, catalog)
    return Deployment(
        model=model,
        gpu=catalog.gpu(arguments.gpu),
        weights=get_precision(arguments.weights or model.native_weights),
        kv_format=arguments.kv,
        parallelism=Parallelism(tensor=arguments.tp, pipeline=arguments.pp, expert=arguments.ep),
        engine=arguments.engine,
        engine_version=arguments.engine_version,
        max_context_tokens=arguments.context,
        speculation=speculation.resolve(lambda name: load_model(name, catalog)) if speculation else None,
    )


def _run(arguments: argparse.Namespace) -> int:
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.physics.answers.memory import answer_memory

    catalog = default_catalog()
    found = answer_memory(
        _deployment(arguments, catalog),
        catalog.gpus_on_sale,
        concurrency=arguments.concurrency,
        shared_tokens=arguments.shared_prefix,
    )
    if arguments.json:
        print_json(found)
        return 0
    _print(found)
    for change in found.changes[:3]:
        verb = "hold them" if found.budget.fits else "fit"
        console().print(f"  would {verb}: {change.text}, then {_held(change.budget)}", highlight=False)
    if found.effect or found.effect_unknown:
        console().print(found.effect.sentence if found.effect else found.effect_unknown, highlight=False)
    return 0


def _held(budget: MemoryBudget) -> str:
    most, context = budget.max_concurrency(), budget.deployment.max_context_tokens
    return f"{most:,} request{'s' if most != 1 else ''} of {context:,} tokens"


def _print(found: MemoryAnswer) -> None:
    budget, deployment, out = found.budget, found.budget.deployment, console()
    if deployment.model.reading:
        out.print(deployment.model.reading, style="italic", highlight=False)
    if found.engine_note:
        out.print(f"! {found.engine_note}", style="yellow", highlight=False)
    rows = [
        (name, format_gib(size, digits=2), f"{size / budget.gpu_bytes:.1%}", budget.basis[name])
        for name, size in budget.parts.items()
    ]
    rows.append(("GPU", format_gib(budget.gpu_bytes, digits=2), "100.0%", budget.basis["unused"]))
    title = f"{deployment.label}: memory of one GPU under {budget.engine.engine} {budget.engine.version}"
    print_table(title, ("part", "size", "share", "basis"), rows)
    out.print(
        f"weights of one copy {format_gb(budget.replica_weight_bytes)} · "
        f"KV cache {budget.kv_bytes_per_token:,.0f} bytes per token and GPU · "
        f"{budget.kv_capacity_tokens:,} tokens of cache",
        highlight=False,
    )
    if not budget.fits:
        out.print(f"✗ does not fit: {budget.reason}", style="red", highlight=False)
        if budget.max_context_tokens:
            out.print(f"  one request may be {budget.max_context_tokens:,} tokens long", highlight=False)
        return
    out.print(
        f"✓ fits: {_held(budget)} at once; one request may be {budget.max_context_tokens:,} tokens long "
        f"(the model's limit: {deployment.model.max_context_tokens:,})",
        highlight=False,
    )
    held = " · ".join(f"{count:,} of {context:,}" for context, count in found.held_at_context.items())
    if held:
        out.print(f"requests at once by context: {held}", highlight=False)
    if budget.max_concurrency() > budget.max_sequences:
        out.print(f"the engine's default runs {budget.max_sequences:,} at once", highlight=False)
    _print_sharing(budget, found.shared_tokens)
    if not found.holds:
        most = budget.max_concurrency(shared_tokens=found.shared_tokens)
        out.print(f"✗ not {found.concurrency:,} of them: the cache holds {most:,}", style="red", highlight=False)


def _print_sharing(budget: MemoryBudget, shared: int) -> None:
    """What a common beginning saves: its prefill after the first request, and its cache in all but one."""
    if not shared:
        return
    context = budget.deployment.max_context_tokens
    part = min(shared, context)
    saved = format_gib(budget.layout.shared_bytes(part), digits=2)
    most = budget.max_concurrency(shared_tokens=part)
    console().print(
        f"prefix cache: {part:,} of {context:,} tokens in common are prefilled once ({part / context:.0%} of the "
        f"prefill saved for every later request) and kept once ({saved} a request saved on each GPU): "
        f"{most:,} at once instead of {budget.max_concurrency():,}, as long as the beginning stays cached",
        highlight=False,
    )
