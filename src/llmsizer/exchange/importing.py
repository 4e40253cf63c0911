"""A file of any known format to records: recognised by what it holds, taken whole or refused in one line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError
from llmsizer.exchange import (
    aiperf,
    benchmark_report,
    columns,
    guidellm,
    inference_perf,
    inferencex,
    llama_bench,
    optimum_benchmark,
    vllm_bench,
)
from llmsizer.exchange.columns import ColumnMap
from llmsizer.exchange.given import Given
from llmsizer.exchange.point import Point, record_of
from llmsizer.exchange.values import Refused, at
from llmsizer.facts.record_parts import Origin
from llmsizer.facts.records import ProfileRecord
from llmsizer.yaml_reading import yaml_documents

MOST_BYTES = 512 * 1024**2
MOST_YAML_BYTES = 16 * 1024**2  # its parser takes a second a megabyte
MOST_POINTS = 10_000
OWN = "llmsizer"
CSV = "csv"


@dataclass(frozen=True, slots=True)
class Format:
    """How one tool's documents are recognised and read."""

    matches: Callable[[Any], bool]
    points: Callable[[Any], list[Point]]


FORMATS: dict[str, Format] = {
    "guidellm": Format(guidellm.matches, guidellm.points),
    "aiperf": Format(aiperf.matches, aiperf.points),
    "vllm": Format(vllm_bench.matches, vllm_bench.points),
    "inference-perf": Format(inference_perf.matches, inference_perf.points),
    "llama-bench": Format(llama_bench.matches, llama_bench.points),
    "llm-d": Format(benchmark_report.matches, benchmark_report.points),
    "optimum-benchmark": Format(optimum_benchmark.matches, optimum_benchmark.points),
    "inferencex": Format(inferencex.matches, inferencex.points),
}
LISTS = ("llama-bench", "inferencex")  # whose documents are lists of rows: lines of JSON are one list
NAMES = ("auto", *FORMATS, CSV, OWN)
SINGLE_REQUESTS: dict[str, tuple[tuple[str | int, ...], str]] = {
    "AIPerf": (("metadata", "x_request_id"), "profile_export_aiperf.json"),
    "inference-perf": ((0, "start_time"), "stage_*_lifecycle_metrics.json"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file holds: documents (several where each line is one) or the rows of a table."""

    documents: tuple[Any, ...] = ()
    rows: tuple[dict[str, str], ...] = ()
    sha256: str = ""


def import_file(
    path: Path, *, format: str = "auto", mapping: ColumnMap | None = None, given: Given | None = None
) -> list[ProfileRecord]:
    """All points of a foreign file as records.

    ``given`` says what the file does not. Raises Refused, in one line, where any of it cannot be converted.
    """
    try:
        return _import(path, format, mapping, given or (mapping.given if mapping else Given()))
    except Refused as error:
        raise Refused(f"{path}: {error}") from None


def _import(path: Path, format: str, mapping: ColumnMap | None, given: Given) -> list[ProfileRecord]:
    content = read_content(path)
    name = recognise(content, mapping) if format == "auto" else format
    source = Origin(format=name, file=path.name, sha256=content.sha256)
    if name == CSV:
        if not content.rows:
            raise Refused("no table of comma-separated values")
        if mapping is None or not mapping.columns:
            if set(content.rows[0]) >= columns.OWN_COLUMNS:
                return columns.own_records(list(content.rows))
            raise Refused("a table whose columns are not known; say what they are with --map MAP.toml")
        _believe(len(content.rows), "rows")
        found = columns.points(list(content.rows), mapping)
    else:
        found, version = _points(content, name)
        source = source.model_copy(update={"format": version})
    if len(found) > MOST_POINTS:
        raise Refused(
            f"{len(found):,} points; more than {MOST_POINTS:,} are no benchmark, or single requests: split it"
        )
    if not found:
        raise Refused("no points in it")
    return [record_of(point, given, source) for point in found]


def _points(content: Content, name: str) -> tuple[list[Point], str]:
    if name == OWN:
        raise Refused("records of this program: there is nothing to convert, every command reads them as they are")
    if name not in FORMATS:
        raise Refused(f"no format {name!r}; known are {', '.join(NAMES)}")
    known, documents = FORMATS[name], content.documents
    if content.rows and name == "llama-bench":
        documents = (list(content.rows),)
    _believe(len(documents), "lines")
    if name in LISTS and len(documents) > 1:
        documents = (list(documents),)
    found: list[Point] = []
    for i, document in enumerate(documents):
        where = f"lines[{i}]" if len(documents) > 1 else ""
        if not known.matches(document):
            raise Refused(f"{where or 'it'} is no {name} result" + _meant(document, name))
        made = known.points(document)
        found += [replace(p, position=".".join(filter(None, (where, p.position)))) for p in made] if where else made
    if not documents:
        raise Refused(f"no {name} result" + ("; it is a table" if content.rows else ""))
    version = {"guidellm": guidellm.version_of, "llm-d": benchmark_report.version_of}.get(name)
    return found, f"{name}-{version(documents[0])}" if version else name


def _believe(count: int, what: str) -> None:
    if count > MOST_POINTS:
        raise Refused(f"{count:,} {what}; more than {MOST_POINTS:,} are single requests, not points: split it")


def _meant(document: Any, name: str) -> str:
    other = next((n for n, known in FORMATS.items() if n != name and known.matches(document)), None)
    return f"; it looks like {other}" if other else ""


def recognise(content: Content, mapping: ColumnMap | None = None) -> str:
    """The format's name by what a file holds. Raises Refused naming the known ones."""
    if content.rows:
        is_own = set(content.rows[0]) >= columns.OWN_COLUMNS
        return "llama-bench" if llama_bench.matches(content.rows[0]) and not is_own and mapping is None else CSV
    document = content.documents[0] if content.documents else None
    if isinstance(document, Mapping) and ({"record_id", "batch"} <= set(document) or "perplexity" in document
                                          or {"plans", "scenario"} <= set(document)):  # fmt: skip
        return OWN
    for name, known in FORMATS.items():
        if known.matches(document):
            return name
    for tool, (place, instead) in SINGLE_REQUESTS.items():
        if at(document, *place) is not None:
            raise Refused(f"single requests of {tool}; import its {instead}, which has the same figures")
    raise Refused(f"no format of a benchmark that is known: {', '.join((*FORMATS, CSV))}")


def read_content(path: Path) -> Content:
    """A file's documents or rows. Raises Refused for what is no text, too large, damaged or empty."""
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Refused("no text (binary, or not UTF-8)") from None
    if "\0" in text:
        raise Refused("no text (binary)")
    digest = hashlib.sha256(data).hexdigest()
    stripped = text.lstrip()
    if not stripped:
        raise Refused("empty")
    if stripped[0] in "{[":
        return Content(documents=_json(text), sha256=digest)
    rows = llama_bench.rows_of_sql(text)
    if rows is None:
        rows = llama_bench.rows_of_csv(text)
    if rows is not None:
        return Content(documents=(rows,), sha256=digest)
    if path.suffix.lower() in (".yaml", ".yml") or stripped.startswith(("version:", "metadata:", "---")):
        return Content(documents=(_yaml(text),), sha256=digest)
    if "," not in text.partition("\n")[0]:
        raise Refused(f"no format of a benchmark that is known: {', '.join((*FORMATS, CSV))}")
    return Content(rows=tuple(columns.rows_of(text)), sha256=digest)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise Refused("a folder; give the files in it")
        size = path.stat().st_size
        if not path.is_file():
            raise Refused("neither a file nor a link to one")
        if size > MOST_BYTES:
            raise Refused(f"{size:,} bytes; more than {MOST_BYTES:,} are not read")
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot be read ({error.strerror})") from None


def _json(text: str) -> tuple[Any, ...]:
    try:
        return (json.loads(text),)
    except RecursionError:
        raise Refused("JSON nested too deeply") from None
    except ValueError as error:
        whole = " ".join(str(error).split())[:100]
    documents = []
    lines = [line for line in text.splitlines() if line.strip()]
    for i, line in enumerate(lines):
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError):
            if i:
                raise Refused(f"line {i + 1} is no whole JSON: the file is damaged or was cut") from None
            raise Refused(f"no whole JSON ({whole}): the file is damaged or was cut") from None
    return tuple(documents)


def _yaml(text: str) -> Any:
    if len(text) > MOST_YAML_BYTES:
        raise Refused(f"{len(text):,} characters of YAML; more than {MOST_YAML_BYTES:,} are not read: give JSON")
    try:
        documents = yaml_documents(text, what="reading YAML", extra="exchange")
    except InputError as error:
        raise Refused(f"no whole YAML ({str(error)[:100]})") from None
    if len(documents) > 1:
        raise Refused(f"{len(documents)} documents of YAML; give a file for each")
    return documents[0] if documents else None
