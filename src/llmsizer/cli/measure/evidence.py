"""``predict``, ``validate``, ``calibrate``: tables of predictions, and how wrong they are."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, existing_path
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.sources import SOURCE_HELP, read_source
from llmsizer.errors import InputError
from llmsizer.files import whole_file
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.deliver.tables.residuals import CalibrationSummary
    from llmsizer.physics.answers.validate import ErrorLine
    from llmsizer.physics.calibration.store import StoredCalibration
    from llmsizer.physics.rows.columns import Header

OWN_HELP = f"own profile records, before public evidence: {SOURCE_HELP}"
ROWS_HELP = (
    "a header with model and gpu and, as far as it is known, weight_dtype, kv_dtype, engine, n_gpus, tp, pp, ep, dp, "
    "input_len, output_len, load_kind (single-stream, single-batch-static, concurrency, request_rate, "
    "offline-max-throughput), load_value, batch_size, n_params_b; usual names of the same (isl, max_concurrency, "
    "tensor_parallel_size, quantization …) are read as these, which is said; what is missing is assumed and named in "
    "the column basis, other columns are copied unread"
)


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    predict = commands.add_parser("predict", help="append predictions with 90 %% limits to a table of configurations")
    predict.add_argument("rows", type=existing_path, metavar="ROWS.csv", help=ROWS_HELP)
    predict.add_argument("--out", "--output", dest="output", type=Path, required=True, metavar="OUT.csv",
                         help="the table with the predictions beside it")  # fmt: skip
    predict.add_argument("--records", metavar="FILE|STORE", help=OWN_HELP)
    add_json(predict)
    predict.set_defaults(run=_predict)
    validate = commands.add_parser("validate", help="hold predictions against a measured table")
    measured = "the columns that predict reads, and tpot_ms_mean or tpot_ms_p50, ttft_ms_…, e2e_ms_mean, output_tok_s"
    validate.add_argument("rows", type=existing_path, metavar="MEASURED.csv", help=measured)
    validate.add_argument("--records", metavar="FILE|STORE", help=OWN_HELP)
    add_json(validate)
    validate.set_defaults(run=_validate)
    calibrate = commands.add_parser("calibrate", help="what own profile records change, and the error that stays")
    calibrate.add_argument("records", nargs="+", help=SOURCE_HELP)
    add_json(calibrate)
    calibrate.set_defaults(run=_calibrate)


def _say_how_columns_are_read(columns: Header, *, measured: bool) -> None:
    """A line on stderr for columns that are called otherwise here, and one for those that could mean two things."""
    found = columns.read_as if measured else columns.inputs_read_as
    read = ", ".join(f"{column} → {here}" for column, here in found.items())
    if read:
        console(stderr=True).print(f"read as: {read}", highlight=False)
    uses = columns.unread.items()
    unread = ", ".join(f"{name} ({use})" for name, use in uses if measured or use.startswith("request_rate"))
    if unread:
        console(stderr=True).print(
            f"! not read, unless called as in brackets: {unread}", style="yellow", highlight=False
        )


def read_table(path: Path, *, measured: bool = False) -> list[dict[str, str]]:
    """A CSV with a header as rows. Raises InputError in one line for anything else.

    ``measured``: whether its measured columns are read too, for what is said of the header.
    """
    from llmsizer.physics.rows.columns import header_of

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = []
            for row in reader:
                if None in row:
                    raise csv.Error(f"line {reader.line_num} has more cells than the header")
                rows.append({key: value or "" for key, value in row.items()})
            header: Sequence[str] = reader.fieldnames or ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as CSV ({error}); give a UTF-8 table with a header line") from None
    columns = header_of(header)
    if not {"model", "gpu"} <= {*columns.same, *columns.meant}:
        other = next((sign for sign in (";", "\t") if sign in "".join(header)), "")
        hint = f"; its cells seem to be separated by {other!r}, separate them by commas" if other else ""
        had = ", ".join(header)[:200] or "none"
        raise InputError(f"{path}: the header has no columns model and gpu; it has {had}{hint}")
    if len(set(header)) != len(header):
        raise InputError(f"{path}: a column stands twice in the header; name each once")
    _say_how_columns_are_read(columns, measured=measured)
    return rows


def write_table(path: Path, rows: Sequence[Mapping[str, str]], header: Sequence[str]) -> None:
    """The whole table or nothing."""
    with whole_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows)


def _own(path: str | None) -> StoredCalibration | None:
    from llmsizer.cli.decide.planning import read_evidence

    return read_evidence(path, None).calibration


def _predict(arguments: argparse.Namespace) -> int:
    from llmsizer.physics.answers.predict import OUTPUT_COLUMNS, predict_rows

    rows = read_table(arguments.rows)
    header = list(dict.fromkeys(key for row in rows for key in row)) or ["row_id", "model", "gpu"]
    predicted = predict_rows(rows, calibration=_own(arguments.records))
    write_table(arguments.output, predicted, [*(h for h in header if h not in OUTPUT_COLUMNS), *OUTPUT_COLUMNS])
    reasons: dict[str, int] = {}
    for row in predicted:
        if row["abstained"]:
            reasons[row["abstained"]] = reasons.get(row["abstained"], 0) + 1
    if arguments.json:
        print_json(
            {"rows": len(rows), "abstained": sum(reasons.values()), "reasons": reasons, "output": arguments.output}
        )
        return 0
    done = len(rows) - sum(reasons.values())
    basis = " (basis: calibrated)" if done else ""
    console().print(f"{done:,} of {len(rows):,} rows predicted{basis} → {arguments.output}", highlight=False)
    for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5]:
        console().print(f"  abstained {count} ×: {reason}", highlight=False)
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from llmsizer.physics.answers.validate import validate

    report = validate(read_table(arguments.rows, measured=True), calibration=_own(arguments.records))
    if report.rows > report.abstained and not report.by_metric:
        raise InputError(f"{arguments.rows}: no row has a measured figure, such as ttft_ms_mean or output_tok_s")
    if arguments.json:
        print_json(report)
        return 0
    console().print(f"{report.rows:,} rows, {report.abstained:,} abstained", highlight=False)
    for reason, count in sorted(report.reasons.items(), key=lambda item: -item[1])[:5]:
        console().print(f"  abstained {count} ×: {reason}", highlight=False)
    _print_errors("By metric", report.by_metric)
    _print_errors("By metric, engine, precision and distance from the evidence", report.by_class)
    _print_errors("Worst groups", report.worst_groups)
    return 0


def _print_errors(title: str, lines: Sequence[ErrorLine]) -> None:
    rows = [
        (
            " · ".join(line.label),
            f"{line.rows:,}",
            f"{line.groups:,}",
            f"{line.median_error:.1%}",
            f"{line.p90_error:.1%}",
            f"{line.bias:+.1%}",
            f"{line.coverage:.0%}",
        )
        for line in lines
    ]
    headers = ("class", "rows", "groups", "median error", "p90 of groups", "bias", "inside the 90 % limits")
    print_table(title, headers, rows)


def _calibrate(arguments: argparse.Namespace) -> int:
    from llmsizer.deliver.tables.residuals import calibration_summary
    from llmsizer.facts.records import ProfileRecord

    records = [record for path in arguments.records for record in read_source(path, ProfileRecord)]
    summary = calibration_summary(records)
    if summary is None:
        raise InputError("no usable record: none has status ok; profile again")
    if arguments.json:
        print_json({"summary": summary, "median_error_held_out": summary.median_error})
    else:
        print_calibration(summary)
    return 0


def print_calibration(summary: CalibrationSummary | None) -> None:
    """What own records moved, and predicted against measured on points the fit has not seen."""
    if summary is None:
        console().print("nothing to calibrate on: no point was measured", highlight=False)
        return
    console().print(summary.text, highlight=False)
    if not summary.checks:
        return
    points: dict[str, dict[str, tuple[str, str]]] = {}
    for check in summary.checks:
        text = f"{format_seconds(check.predicted)} ({check.error:+.0%})"
        points.setdefault(check.what, {})[check.quantity] = (format_seconds(check.measured), text)
    quantities = list(dict.fromkeys(check.quantity for check in summary.checks))
    nothing = ("unknown", "unknown")
    rows = [(what, *(cell for q in quantities for cell in found.get(q, nothing))) for what, found in points.items()]
    headers = ("point", *(f"{quantity} {side}" for quantity in quantities for side in ("measured", "calibrated")))
    print_table("Measured here against predicted from the other points", headers, rows)
    if summary.median_error is not None:
        console().print(f"half of these predictions are within {summary.median_error:.0%}", highlight=False)
