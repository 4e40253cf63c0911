"""``llmsizer catalog``: what is known, with source and date."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, add_json
from llmsizer.cli.catalog.prices import (
    add_check_and_refresh,
    dated,
    list_assumptions,
    list_energy,
    list_purchase,
    list_tco,
    stale_note,
)
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError, UnknownNameError, nearest_names, suggest
from llmsizer.units import format_count, format_gb

if TYPE_CHECKING:
    from llmsizer.facts.catalog import Catalog
    from llmsizer.facts.gpu import GpuSpec
    from llmsizer.facts.model import ModelSpec
    from llmsizer.facts.workload import Workload

Rows = list[tuple[object, ...]]


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("catalog", help="the facts: models, GPUs, prices, workloads, with source and date")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    listing = verbs.add_parser("list", help="one kind, a line each")
    listing.add_argument(
        "kind",
        nargs="?",
        default="models",
        help="models, gpus, offers, apis, workloads, purchases, energy, tco, assumptions (default: models)",
    )
    listing.add_argument("--gpu", help="offers: only those of this GPU")
    listing.add_argument("--serves", metavar="MODEL", help="apis: only those that serve this catalogue model")
    add_json(listing)
    listing.set_defaults(run=_list)
    show = verbs.add_parser("show", help="one model, GPU or workload, with the source of its numbers")
    show.add_argument("name", help="a model, GPU or workload; a config.json or its folder also works")
    add_json(show)
    show.set_defaults(run=_show)
    add_check_and_refresh(verbs)


def _catalog() -> Catalog:
    from llmsizer.facts.catalog import default_catalog

    return default_catalog()


def _list(arguments: argparse.Namespace) -> int:
    kind = arguments.kind.lower().rstrip("s") + "s"
    if kind not in _LISTS:
        names = [_SPELLED.get(name, name) for name in _LISTS]
        meant = suggest(nearest_names(arguments.kind, names, limit=1), names, shown=len(names))
        raise InputError(f"no kind of fact named {arguments.kind!r}; {meant}")
    entries, headers, row_of, note = _LISTS[kind](_catalog(), arguments)
    note = "; ".join(part for part in (note, stale_note(entries)) if part)
    if arguments.json:
        print_json(entries)
    else:
        print_table(
            f"{len(entries)} {_SPELLED.get(kind, kind)}", headers, [row_of(entry) for entry in entries], note=note
        )
    return 0


Listing = tuple[Sequence[Any], Sequence[str], Callable[[Any], Sequence[object]], str]


def _list_models(catalog: Catalog, _: argparse.Namespace) -> Listing:
    def row(model: ModelSpec) -> Sequence[object]:
        kinds = "+".join(model.attention_kinds)
        active = format_count(model.active_params) if model.is_moe else "all"
        kv_bytes = f"{model.kv_bytes_per_token():,.0f}"
        basis = model.provenance.basis
        return model.name, format_count(model.total_params), active, kinds, kv_bytes, model.max_context_tokens, basis

    headers = ("model", "parameters", "active", "attention", "KV bytes/token (16 bit)", "context", "basis")
    return catalog.models(), headers, row, "mistral-small-4 has two readings: llmsizer catalog show mistral-small-4"


def _list_gpus(catalog: Catalog, _: argparse.Namespace) -> Listing:
    def row(gpu: GpuSpec) -> Sequence[object]:
        rate = gpu.flops_16bit_per_second
        return (
            gpu.id,
            format_gb(gpu.memory_bytes, digits=0),
            f"{gpu.memory_bytes_per_second / 1e9:,.0f} GB/s",
            "unknown" if rate is None else f"{rate / 1e12:,.0f} TFLOP/s",
            "unknown" if gpu.tdp_watts is None else f"{gpu.tdp_watts:,.0f} W",
            gpu.provenance.basis,
            dated(gpu.provenance),
        )

    return catalog.gpus(), ("gpu", "memory", "bandwidth", "16-bit dense", "power", "basis", "as of"), row, ""


def _list_offers(catalog: Catalog, arguments: argparse.Namespace) -> Listing:
    from llmsizer.money.currency import US_DOLLARS

    def row(offer: Any) -> Sequence[object]:
        price = US_DOLLARS.text(offer.usd_per_gpu_hour) + (" + VM" if offer.gpu_only else "")
        where = offer.zone if not offer.region or offer.region == "n/a" else f"{offer.zone} {offer.region}"
        return offer.provider, offer.gpu or offer.gpu_as_listed, where, offer.term, price, dated(offer.provenance)

    offers = sorted(catalog.offers(gpu=arguments.gpu), key=lambda o: (o.gpu or "~", o.usd_per_gpu_hour))
    return offers, ("provider", "gpu", "where", "term", "per GPU-hour", "as of"), row, "basis: price list"


def _list_apis(catalog: Catalog, arguments: argparse.Namespace) -> Listing:
    from llmsizer.money.currency import US_DOLLARS

    def row(api: Any) -> Sequence[object]:
        prices = (api.input_usd_per_mtok, api.cached_input_usd_per_mtok, api.output_usd_per_mtok)
        return (api.id, *(US_DOLLARS.text(price) for price in prices), api.serves or "", dated(api.provenance))

    headers = ("api", "input /1M", "cached input /1M", "output /1M", "serves", "as of")
    return catalog.apis(model=arguments.serves), headers, row, "basis: price list; unknown stays unknown"


def _list_workloads(catalog: Catalog, _: argparse.Namespace) -> Listing:
    def row(workload: Workload) -> Sequence[object]:
        tails = f"{workload.prompt_tokens_p95 or '–'} / {workload.output_tokens_p95 or '–'}"
        return (
            workload.name,
            workload.prompt_tokens,
            workload.output_tokens,
            tails,
            f"{workload.cached_prompt_fraction:.0%}",
            f"{workload.peak_to_average:g}×",
            "assumed",
        )

    headers = ("workload", "prompt", "output", "p95 prompt / output", "cached", "peak", "basis")
    return [catalog.workload(name) for name in catalog.workload_names], headers, row, "starting points: override them"


_LISTS: dict[str, Callable[[Catalog, argparse.Namespace], Listing]] = {
    "models": _list_models,
    "gpus": _list_gpus,
    "offers": _list_offers,
    "apis": _list_apis,
    "workloads": _list_workloads,
    "purchases": list_purchase,
    "energys": list_energy,
    "tcos": list_tco,
    "assumptions": list_assumptions,
}
_SPELLED = {"energys": "energy", "tcos": "tco"}


def _show(arguments: argparse.Namespace) -> int:
    catalog = _catalog()
    name: str = arguments.name
    found: list[tuple[object, str, Rows]] = []
    for lookup, rows_of in ((_find_models, _model_rows), (_find_gpu, _gpu_rows), (_find_workload, _workload_rows)):
        try:
            entries = lookup(catalog, name)
        except UnknownNameError:
            continue
        found = [(entry, *rows_of(entry)) for entry in entries]
        break
    if not found:
        known = [*catalog.model_names, *catalog.gpu_names, *catalog.workload_names]
        raise UnknownNameError("model, GPU or workload", name, known)
    if arguments.json:
        print_json([entry for entry, _, _ in found] if len(found) > 1 else found[0][0])
        return 0
    if len(found) > 1:
        text = f"{name!r} names {len(found)} readings; the first is used unless you say otherwise."
        console().print(text, highlight=False, markup=False)
    for _, title, rows in found:
        print_table(title, ("number", "value", "basis", "source, as of"), rows)
    return 0


def _find_models(catalog: Catalog, name: str) -> Sequence[Any]:
    from llmsizer.facts.hub import load_model

    return catalog.readings(name) or (load_model(name, catalog),)


def _find_gpu(catalog: Catalog, name: str) -> Sequence[Any]:
    return (catalog.gpu(name),)


def _find_workload(catalog: Catalog, name: str) -> Sequence[Any]:
    return (catalog.workload(name),)


def _model_rows(model: ModelSpec) -> tuple[str, Rows]:
    from llmsizer.facts.precision import get_precision
    from llmsizer.physics.memory.account import checkpoint_bytes

    origin = f"{model.provenance.source}, {model.provenance.as_of}"
    basis = model.provenance.basis
    attention = ", ".join(f"{g.count}× {g.attention.kind}" for g in model.layer_groups)
    rows: Rows = [
        ("parameters", f"{model.total_params:,}", basis, f"counted from the geometry of {origin}"),
        ("active per token", f"{model.active_params:,}", basis, "counted from the geometry"),
        ("published", format_count(model.published_total_params), model.provenance.basis, model.provenance.confidence),
        ("layers", f"{model.layers}: {attention}", basis, ""),
        ("hidden size, vocabulary", f"{model.hidden_size:,}, {model.vocab_size:,}", basis, ""),
        ("KV cache at 16 bit", f"{model.kv_bytes_per_token():,.0f} bytes/token", basis, "by attention kind"),
        ("longest context", f"{model.max_context_tokens:,} tokens", basis, ""),
        ("licence", model.licence or "unknown", "published" if model.licence else "unknown", ""),
    ]
    for name in ("bf16", "fp8", "int4"):
        precision = get_precision(name)
        rows.append((f"weights at {name}", format_gb(checkpoint_bytes(model, precision)), basis, precision.description))
    title = f"{model.display_name or model.name} ({model.hf_repo or 'no public repository'})"
    return (f"{title}\n{model.reading}" if model.reading else title), rows


def _gpu_rows(gpu: GpuSpec) -> tuple[str, Rows]:
    def row(label: str, field: str, text: str) -> tuple[object, ...]:
        origin = gpu.provenance_by_field.get(field, gpu.provenance)
        return label, text, "unknown" if text == "unknown" else origin.basis, f"{origin.source}, {origin.as_of}"

    rows: Rows = [
        row("memory", "memory_bytes", format_gb(gpu.memory_bytes)),
        row("bandwidth", "memory_bytes_per_second", f"{gpu.memory_bytes_per_second / 1e9:,.0f} GB/s"),
    ]
    for name, rate in gpu.flops_per_second.items():
        rows.append(row(f"{name} dense", "flops_per_second", f"{rate / 1e12:,.1f} T/s"))
    watts = "unknown" if gpu.tdp_watts is None else f"{gpu.tdp_watts:,.0f} W"
    peer = gpu.peer_bytes_per_second
    rows.append(row("power", "tdp_watts", watts))
    rows.append(
        row("to its peers", "scaleup_bytes_per_second", "unknown" if peer is None else f"{peer / 1e9:,.0f} GB/s")
    )
    return f"{gpu.name} ({gpu.id}; {gpu.family}){': ' + gpu.note if gpu.note else ''}", rows


def _workload_rows(workload: Workload) -> tuple[str, Rows]:
    rows: Rows = [(key, value, "assumed", "llmsizer preset") for key, value in workload.model_dump().items()]
    return workload.name, rows
