"""``records import``: own records and other tools' results into a store or a file of records."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import add_json
from llmsizer.cli.output import console, print_json
from llmsizer.cli.sources import complain
from llmsizer.errors import InputError, LlmSizerError

if TYPE_CHECKING:
    from llmsizer.exchange.columns import ColumnMap
    from llmsizer.exchange.given import Given
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.store.content import Item, Kind

STORE_HELP = "path or postgresql://… (default: LLMSIZER_STORE, else a file in the user's data folder)"
OWN_ENDINGS = (".toml", ".parquet")
FORMATS = (
    "auto", "guidellm", "aiperf", "vllm", "inference-perf", "llama-bench", "llm-d", "optimum-benchmark", "inferencex",
    "csv", "llmsizer",
)  # fmt: skip
SHOWN_NOTES = 8


def add_import(actions: Any) -> None:
    """The ``import`` action of ``records``."""
    taken = actions.add_parser("import", help="put own records and other tools' results into a store or a file")
    taken.add_argument(
        "files", nargs="+", type=Path, metavar="FILE",
        help="results of GuideLLM, AIPerf, genai-perf, vllm bench, inference-perf, llama-bench, optimum-benchmark or "
        "InferenceX, an llm-d Benchmark Report, a CSV; or own records, a scenario in TOML, what plan --json printed",
    )  # fmt: skip
    taken.add_argument("--format", choices=FORMATS, default="auto", help="default: by what the file holds")
    taken.add_argument("--map", type=Path, metavar="MAP.toml", help="which columns of a CSV are what, and their units")
    taken.add_argument(
        "--given", action="append", default=[], metavar="NAME=VALUE",
        help="what the file does not say: model, device, engine, engine_version, precision, accelerators, batch, "
        "prompt_tokens or output_tokens; may be repeated. What the file says stands, but a name that only the server "
        "has for its model",
    )  # fmt: skip
    where = taken.add_mutually_exclusive_group()
    where.add_argument("--store", metavar="STORE", help=STORE_HELP)
    where.add_argument("--records", type=Path, metavar="OUT.jsonl", help="add to this file of records, not to a store")
    add_json(taken)
    taken.set_defaults(run=_import)


def _import(arguments: argparse.Namespace) -> int:
    """All files are read before anything is written; one that is refused leaves the others as they are."""
    mapping, given = _asked(arguments)
    taken: list[tuple[Path, dict[Kind, list[Item]]]] = []
    refused: list[str] = []
    for path in arguments.files:
        try:
            taken.append((path, _read(path, arguments.format, mapping, given)))
        except LlmSizerError as error:
            refused.append(" ".join(str(error).split()))
    if not taken and len(refused) == 1:
        raise InputError(refused[0])
    complain(refused, most=len(refused))
    totals = _write_file(arguments.records, taken) if arguments.records else _write_store(arguments.store, taken)
    where = totals.pop("store")
    records = [item for _, found in taken for item in found.get("records", [])]
    if arguments.json:
        print_json({"store": where, **totals, "refused": refused, "notes": _notes(records)})
        return 1 if refused else 0
    for name, total in totals.items():
        console().print(f"{name}: {total['new']} new, {total['known']} known already", highlight=False)
    console().print(f"→ {where}" if taken else "nothing was imported", highlight=False)
    for note in _notes(records)[:SHOWN_NOTES]:
        console().print(note, highlight=False)
    return 1 if refused else 0


def _asked(arguments: argparse.Namespace) -> tuple[ColumnMap | None, Given]:
    from dataclasses import asdict

    from llmsizer.exchange.columns import given_of, read_map

    values = [text.partition("=") for text in arguments.given]
    wrong = next((name for name, sign, value in values if not sign or not value), None)
    if wrong is not None:
        raise InputError(f"--given {wrong}: give it as NAME=VALUE, e.g. --given device=h100-sxm")
    mapping = read_map(arguments.map) if arguments.map else None
    from_map = {k: v for k, v in asdict(mapping.given).items() if v} if mapping else {}
    return mapping, given_of(from_map | {name: value for name, _, value in values}, "--given")


def _read(path: Path, format: str, mapping: ColumnMap | None, given: Given) -> dict[Kind, list[Item]]:
    """What a file holds, by kind. Raises InputError in one line."""
    from llmsizer.exchange.importing import OWN, import_file, read_content, recognise
    from llmsizer.exchange.values import Refused
    from llmsizer.store.exchange import read_items

    own = format == OWN or (format == "auto" and path.suffix.lower() in OWN_ENDINGS and path.is_file())
    if not own and format == "auto" and mapping is None:
        try:
            own = recognise(read_content(path)) == OWN
        except Refused as error:
            raise Refused(f"{path}: {error}") from None
    if not own:
        return {"records": list(import_file(path, format=format, mapping=mapping, given=given))}
    try:
        found, complaints = read_items(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except InputError:
        raise
    except LlmSizerError as error:
        raise InputError(f"{path}: {error}") from None
    complain(complaints)
    return found


def _write_store(store_name: str | None, taken: list[tuple[Path, dict[Kind, list[Item]]]]) -> dict[str, Any]:
    from llmsizer.store import open_store

    totals: dict[str, Any] = {}
    if not taken:
        return {"store": store_name}
    with open_store(store_name) as store:
        for _, found in taken:
            for kind, items in found.items():
                added = store.add(kind, items)
                total = totals.setdefault(kind, {"new": 0, "known": 0})
                total["new"] += added.new
                total["known"] += added.known
        return {**totals, "store": str(store.location)}


def _write_file(out: Path, taken: list[tuple[Path, dict[Kind, list[Item]]]]) -> dict[str, Any]:
    from llmsizer.profile.store import append_all

    other = next(((path, kind) for path, found in taken for kind in found if kind != "records"), None)
    if other:
        raise InputError(f"{other[0]}: holds {other[1]}; only records go into a file, give --store for the rest")
    if not taken:
        return {"store": str(out)}
    records: list[Any] = [item for _, found in taken for item in found.get("records", [])]
    new = append_all(out, records) if records else 0
    return {"records": {"new": new, "known": len(records) - new}, "store": str(out)}


def _notes(records: list[Any]) -> list[str]:
    """What a reader must know of imported records: what was converted, and why some calibrate nothing."""
    notes: dict[str, None] = {}
    imported: list[ProfileRecord] = [record for record in records if record.is_imported]
    for record in imported:
        assert record.origin is not None
        for name, how in record.origin.converted.items():
            notes[f"{record.origin.file}: {name} = {how}"] = None
        if reason := record.unknown.get("calibration"):
            notes[f"{record.origin.file}: calibrates nothing, {reason}"] = None
    return list(notes)
