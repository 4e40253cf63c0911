"""``records export`` for other tools: llm-d Benchmark Reports, FOCUS cost rows, Prometheus rules."""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord

OF_RECORDS = ("llm-d",)
OF_PLANS = ("focus", "prometheus")
MOST_BYTES = 64_000_000


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """What only the formats of plans ask for."""
    parser.add_argument("--engine", help="prometheus: vllm, sglang or llama.cpp; otherwise records of this engine only")
    parser.add_argument("--engine-version", default="", metavar="VERSION", help="prometheus: default: the newest known")
    parser.add_argument("--selector", default="", metavar="LABELS", help="prometheus: e.g. 'namespace=\"chat\"'")
    parser.add_argument("--month", type=_month, metavar="YYYY-MM", help="focus: the month billed (default: the next)")


def _month(text: str) -> datetime.date:
    try:
        return datetime.datetime.strptime(text, "%Y-%m").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no month; write it as 2027-03") from None


def export_reports(records: Sequence[ProfileRecord], out: Path) -> list[Path]:
    """A Benchmark Report a record: into the file OUT where there is one, else into a new folder OUT."""
    from llmsizer.exchange.benchmark_report_out import report_of
    from llmsizer.files import whole_file, whole_folder

    reports = [(record.record_id, report_of(record)) for record in records if record.status == "ok"]
    if not reports:
        raise InputError("every record that matches failed, and a Benchmark Report needs figures")
    if len(reports) == 1:
        with whole_file(out) as partial:
            partial.write_text(_report_text(reports[0][1]), encoding="utf-8")
        return [out]
    with whole_folder(out) as folder:
        for name, report in reports:
            (folder / f"{name}.json").write_text(_report_text(report), encoding="utf-8")
    return [out / f"{name}.json" for name, _ in reports]


def _report_text(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=1, ensure_ascii=False) + "\n"


def export_plan(arguments: argparse.Namespace) -> int:
    """FOCUS rows or Prometheus rules of what ``plan --json`` (for rows also ``compare --json``) printed; how many."""
    from llmsizer.exchange.focus import focus_csv, focus_rows
    from llmsizer.exchange.prometheus import rules_text
    from llmsizer.exchange.values import Refused
    from llmsizer.files import whole_file

    if len(arguments.sources) != 1:
        raise InputError(f"--format {arguments.format} needs one file that `llmsizer plan SCENARIO --json` wrote")
    source = Path(arguments.sources[0])
    document = _document(source)
    try:
        if arguments.format == "focus":
            rows = focus_rows(document, month=arguments.month or _next_month(datetime.date.today()))
            text, count = focus_csv(rows), len(rows)
        else:
            engine = arguments.engine or "vllm"
            text = rules_text(document, engine=engine, version=arguments.engine_version, selector=arguments.selector)
            count = text.count("\n        expr: ")
    except Refused as error:
        raise InputError(f"{source}: {error}") from None
    with whole_file(arguments.out) as partial:
        partial.write_text(text, encoding="utf-8")
    return count


def _document(source: Path) -> Any:
    try:
        if source.stat().st_size > MOST_BYTES:
            raise InputError(f"{source}: larger than {MOST_BYTES:,} bytes; no plan is")
        return json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{source}: no JSON; make it with: llmsizer plan SCENARIO --json > PLAN.json") from None


def _next_month(today: datetime.date) -> datetime.date:
    return datetime.date(today.year + today.month // 12, today.month % 12 + 1, 1)
