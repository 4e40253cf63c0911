"""``records``: look at what was measured, compare it, and carry it between files and stores."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import AnyOrderParser, Commands, add_json, whole_number
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.records.exporting import OF_PLANS, OF_RECORDS, add_export_options, export_plan, export_reports
from llmsizer.cli.records.importing import STORE_HELP, add_import
from llmsizer.cli.sources import DEFAULT_STORE, SOURCE_HELP, read_kind, read_store
from llmsizer.errors import InputError
from llmsizer.facts.precision import ALIASES
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.profile.comparing import Faster
    from llmsizer.store.content import Kind

KINDS = ("records", "quality", "scenarios", "plans")
FILTERS = ("model", "variant", "precision", "engine", "device")
SHOWN_VALUES = 12
FILTER_HELP = {
    "variant": "only this one, as list prints it",
    "precision": "only this format, or its family: int8 is also int8-wo",
    "engine": "only this one, e.g. vllm",
}


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("records", help="list, show, compare, export and import what was measured")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=AnyOrderParser)
    listed = actions.add_parser("list", help="one row an operating point")
    _add_source(listed)
    _add_filters(listed)
    listed.add_argument("--kind", choices=KINDS, default="records", help="what to list")
    listed.set_defaults(run=_list)
    show = actions.add_parser("show", help="one point: every field with its unit, basis or why it is unknown")
    show.add_argument("id", help="the record's id or the beginning of it, as list prints it")
    _add_source(show)
    show.set_defaults(run=_show)
    compare = actions.add_parser("compare", help="how many times as fast one variant, engine or device is as another")
    compare.add_argument("over", metavar="A", help="a variant, precision, engine or device, e.g. int4")
    compare.add_argument("under", metavar="B", help="what to hold it against, e.g. fp16")
    _add_source(compare)
    _add_filters(compare)
    compare.add_argument("--metric", choices=("decode", "first token", "throughput"), default="decode",
                         help="what is held against one another")  # fmt: skip
    compare.set_defaults(run=_compare)
    export = actions.add_parser("export", help="write records to a file, or what another tool reads of them or a plan")
    export.add_argument("out", type=Path, metavar="OUT", help="a file, or for several llm-d reports a folder")
    _add_source(export)
    _add_filters(export, "engine")
    add_export_options(export)
    export.add_argument("--kind", choices=KINDS, default="records", help="what to write")
    export.add_argument(
        "--format", choices=("jsonl", "parquet", "csv", *OF_RECORDS, *OF_PLANS),
        help="default: by OUT's ending. llm-d: Benchmark Report 0.2, a folder of them for several records; "
        "focus: FOCUS 1.0 cost rows, prometheus: rules for the SLO, both of a file that plan --json wrote",
    )  # fmt: skip
    export.set_defaults(run=_export)
    add_import(actions)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"{SOURCE_HELP} (default: the store)")
    parser.add_argument("--store", metavar="STORE", help=STORE_HELP)
    add_json(parser)


def _add_filters(parser: argparse.ArgumentParser, *elsewhere: str) -> None:
    for name in (name for name in FILTERS if name not in elsewhere):
        help_text = "only those with this in their name" if name in ("model", "device") else FILTER_HELP.get(name)
        parser.add_argument(f"--{name}", help=help_text)
    parser.add_argument("--batch", type=whole_number("batch"), help="only those of so many requests at once")


def _read(arguments: argparse.Namespace, kind: Kind) -> list[Any]:
    """Items of all sources named, each content once, that pass the filters."""
    from llmsizer.store.content import content_id

    found: dict[str, Any] = {}
    for source in arguments.sources or ([] if arguments.store else [DEFAULT_STORE]):
        for item in read_kind(source, kind):
            found.setdefault(content_id(item), item)
    for item in read_store(arguments.store, kind) if arguments.store else ():
        found.setdefault(content_id(item), item)
    return [item for item in found.values() if _passes(item, arguments)]


def _passes(item: Any, arguments: argparse.Namespace) -> bool:
    for name in FILTERS:
        wanted = getattr(arguments, name, None)
        if wanted is None:
            continue
        text, asked = _value(item, name).lower(), wanted.lower()
        if name in ("model", "device"):
            matches = asked in text
        else:
            matches = text == asked or (name == "precision" and _is_member(text, asked))
        if not matches:
            return False
    batch = getattr(arguments, "batch", None)
    return batch is None or getattr(item, "batch", None) == batch


def _value(item: Any, name: str) -> str:
    value = getattr(item, name, None)
    return str(getattr(value, "name", value))


def _is_member(text: str, family: str) -> bool:
    """``int8-wo`` is an int8, ``gguf-q4_0`` a gguf; usual other names of a format, such as w4a16, are that format."""
    text, family = (ALIASES.get(name, name) for name in (text, family))
    return text == family or text.startswith(f"{family}-")


def _nothing(arguments: argparse.Namespace) -> str:
    """What there is instead, for each filter that was given."""
    asked = [name for name in (*FILTERS, "batch") if getattr(arguments, name, None) is not None]
    everything = _read(argparse.Namespace(**{**vars(arguments), **dict.fromkeys(asked)}), arguments.kind)
    there = []
    for name in asked:
        values = sorted({_value(item, name) for item in everything if hasattr(item, name)})
        more = f" and {len(values) - SHOWN_VALUES} more" if len(values) > SHOWN_VALUES else ""
        there.append(f"{name} {', '.join(values[:SHOWN_VALUES])}{more}")
    if not everything or not there:
        return f"nothing matches: there are no {arguments.kind}"
    return f"nothing matches; of {len(everything)} {arguments.kind} there are {'; '.join(there)}"


def _list(arguments: argparse.Namespace) -> int:
    items = _read(arguments, arguments.kind)
    if arguments.json:
        print_json(items)
    elif not items:
        console().print(_nothing(arguments), highlight=False, soft_wrap=True)
    elif arguments.kind == "records":
        _print_list(items)
    elif arguments.kind == "quality":
        from llmsizer.cli.measure.quality import print_quality

        print_quality(items)
    else:
        rows = [(item.name, item.model, item.created_at) for item in items]
        print_table(arguments.kind.capitalize(), ("name", "model", "made"), rows)
    return 0


def _print_list(records: Sequence[ProfileRecord]) -> None:
    from llmsizer.store.content import content_id

    rows = []
    for record in records:
        pattern = record.load.pattern if record.load else "batch"
        shape = f"{pattern} {record.batch} × {record.prompt_tokens}→{record.output_tokens}"
        rate = record.output_tokens_per_second
        speed = (
            _seconds(record.ttft_seconds),
            _seconds(record.tpot_seconds),
            "unknown" if rate is None else f"{rate:.4g}",
        )
        failed = (f"failed: {record.failure}", "", "")
        rows.append(
            (
                content_id(record)[:8],
                record.model,
                record.variant,
                record.engine,
                record.device.name,
                shape,
                *(speed if record.status == "ok" else failed),
                ", ".join(record.flags),
            )
        )
    headers = ("id", "model", "variant", "engine", "device", "load", "TTFT", "TPOT", "tok/s", "flags")
    print_table(f"{len(records)} operating points (measured)", headers, rows)


def _seconds(value: float | None) -> str:
    return "unknown" if value is None else format_seconds(value)


def _show(arguments: argparse.Namespace) -> int:
    from llmsizer.profile.shown import fields_of, text_of
    from llmsizer.store.content import content_id

    everything = [*_read(arguments, "records"), *_read_quality(arguments)]
    wanted = arguments.id.lower()
    named = {
        content_id(item): item
        for item in everything
        if content_id(item).startswith(wanted) or getattr(item, "record_id", "").lower().startswith(wanted)
    }
    if not named:
        raise InputError(f"no record's id begins with {arguments.id!r}; `llmsizer records list` prints the ids")
    if len(named) > 1:
        raise InputError(
            f"{len(named)} records' ids begin with {arguments.id!r}: {', '.join(n[:8] for n in list(named)[:6])}; "
            "give more of it"
        )
    name, item = next(iter(named.items()))
    fields = fields_of(item)
    if arguments.json:
        print_json({"content_id": name, "record": item, "fields": fields})
        return 0
    known = [field for field in fields if field.value is not None]
    rows = [(f.field, text_of(f.value), f.unit, f.basis) for f in known]
    print_table(f"Record {name}", ("field", "value", "unit", "basis"), rows)
    _print_unknown([(f.field, f.note) for f in fields if f.value is None])
    return 0


def _read_quality(arguments: argparse.Namespace) -> list[Any]:
    """Quality records of the sources that hold any; a file of profile records holds none."""
    from llmsizer.cli.sources import is_store

    stores = [source for source in arguments.sources if is_store(source)]
    if arguments.sources and not stores and not arguments.store:
        return []
    return _read(argparse.Namespace(**{**vars(arguments), "sources": stores}), "quality")


def _print_unknown(fields: Sequence[tuple[str, str]]) -> None:
    reasons: dict[str, list[str]] = {}
    for name, note in fields:
        reasons.setdefault(note, []).append(name)
    for note, names in reasons.items():
        console().print(f"unknown ({note}): {', '.join(names)}", highlight=False)


def _compare(arguments: argparse.Namespace) -> int:
    from llmsizer.profile.comparing import compare

    compared = compare(_read(arguments, "records"), arguments.over, arguments.under, metric=arguments.metric)
    if arguments.json:
        print_json([_as_document(one) for one in compared])
        return 0
    rows = [
        (
            one.over.model,
            f"{one.over.batch} × {one.over.prompt_tokens}→{one.over.output_tokens}",
            one.text(),
            "in turn" if one.paired else "apart",
            "yes" if one.is_sure else "no",
        )
        for one in compared
    ]
    title = f"{arguments.over} against {arguments.under}: {arguments.metric}, times as fast [90 % interval]"
    print_table(title, ("model", "batch × prompt→output", "times as fast", "measured", "sure which is faster"), rows)
    first, last = compared[0], compared[-1]
    text = (
        f"{arguments.over.upper()} is {first.text()} as fast as {arguments.under.upper()} at batch {first.over.batch}"
    )
    if last.over.batch != first.over.batch:
        text += f" and {last.text()} at {last.over.batch}"
    console().print(text, highlight=False)
    return 0


def _as_document(one: Faster) -> dict[str, Any]:
    return {
        "model": one.over.model,
        "batch": one.over.batch,
        "prompt_tokens": one.over.prompt_tokens,
        "output_tokens": one.over.output_tokens,
        "metric": one.metric,
        "times_as_fast": one.ratio.value,
        "low": one.ratio.low,
        "high": one.ratio.high,
        "level": one.ratio.level,
        "paired": one.paired,
        "record_ids": [one.over.record_id, one.under.record_id],
    }


def _export(arguments: argparse.Namespace) -> int:
    from llmsizer.store.exchange import FORMATS, export_items

    format_name = arguments.format or arguments.out.suffix.lower().removeprefix(".")
    if format_name in OF_PLANS:
        return _exported(arguments, export_plan(arguments), "rows" if format_name == "focus" else "rules")
    if format_name not in (*FORMATS, *OF_RECORDS):
        raise InputError(f"{arguments.out}: no format for this ending; end it in .jsonl, .parquet or .csv")
    items: list[Any] = _read(arguments, arguments.kind)
    if not items:
        raise InputError(f"{_nothing(arguments)}; nothing was written")
    if format_name in OF_RECORDS:
        if arguments.kind != "records":
            raise InputError(
                f"--format {format_name} is for records; {arguments.kind} go into .jsonl, .parquet or .csv"
            )
        return _exported(arguments, len(export_reports(items, arguments.out)), "reports")
    export_items(items, arguments.out, format_name)
    return _exported(arguments, len(items), arguments.kind)


def _exported(arguments: argparse.Namespace, count: int, what: str) -> int:
    format_name = arguments.format or arguments.out.suffix.lower().removeprefix(".")
    done = {"written": count, "out": arguments.out, "format": format_name}
    text = f"{count} {what} → {arguments.out}"
    print_json(done) if arguments.json else console().print(text, highlight=False)
    return 0
