"""``llmsizer verify``: what a plan promised, held against what a server does, and how far off promises have been."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import Commands, add_json, existing_path, number, whole_number
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.sources import SOURCE_HELP, complain, is_store, read_source
from llmsizer.errors import InputError, LlmSizerError
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.physics.calibration.store import StoredCalibration
    from llmsizer.profile.load.wire import Endpoint
    from llmsizer.verify.ledger import ErrorOverTime
    from llmsizer.verify.promise import Promise
    from llmsizer.verify.verification import Verification

DEFAULT_RECORDS = "records.jsonl"  # as of profile: one file of a user's measurements
RECORDS_HELP = f"without --url: {SOURCE_HELP}; with it: the file appended to (default: {DEFAULT_RECORDS})"
LONE_REQUESTS = 20


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser(
        "verify",
        help="a plan against reality: promised beside seen, verdict, ledger",
        epilog="Exit code: 0 the SLO holds or cannot be judged, 1 it is missed or nothing could be verified, "
        "130 interrupted (what was measured is kept in the records).",
    )
    parser.add_argument("plan_file", nargs="?", metavar="PLAN.json", help="what llmsizer plan … --json printed")
    parser.add_argument("--plan", metavar="LABEL|N", help="which of its plans (default: the first)")
    parser.add_argument("--url", help="of one replica (or of --replicas): it is measured under the promised load")
    parser.add_argument(
        "--records",
        metavar="FILE|STORE",
        help=RECORDS_HELP,
    )
    parser.add_argument(
        "--replicas", type=whole_number("replicas", most=10_000), default=1, help="that share the load behind the URL"
    )
    parser.add_argument(
        "--ledger",
        type=Path,
        metavar="FILE",
        help="where verifications are kept, a line each (default: one for all plans of this user)",
    )
    parser.add_argument("--history", action="store_true", help="the error of past promises over time; needs no plan")
    parser.add_argument("--plot", type=Path, metavar="OUT.svg", help="the ledger as a picture")
    group = parser.add_argument_group("measuring (--url)")
    group.add_argument("--model", help="as the server names it (default: its only one)")
    group.add_argument(
        "--requests",
        type=whole_number("requests"),
        help="counted (default: 100, or as many as the SLO's percentiles need)",
    )
    group.add_argument("--max-minutes", type=number("max-minutes", least=0.1), default=15.0, metavar="M",
                       help="the longest that is measured")  # fmt: skip
    group.add_argument("--api", choices=("completions", "chat"), help="default: completions where the server has them")
    group.add_argument("--tokenizer", type=existing_path, help="of the served model: exact lengths")
    group.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the key")
    group.add_argument("--ca-file", metavar="PEM", help="who signed the server's certificate")
    group.add_argument(
        "--engine", help="that serves, e.g. vllm: no API tells, and only what is known of it is learned from"
    )
    group.add_argument(
        "--seed", type=whole_number("seed", least=0), default=0, help="of the prompts and arrivals (default: 0)"
    )
    group.add_argument("--allow-remote", action="store_true", help="load a server that is not on this machine")
    add_json(parser)
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> int:
    from llmsizer.verify.ledger import default_ledger, errors_over_time, keep, ledger_chart, read_ledger
    from llmsizer.verify.verification import hold_against

    ledger = arguments.ledger or default_ledger()
    found: Verification | None = None
    learned = ""
    if not arguments.history:
        promise = _promise(arguments)
        record = _record(arguments, promise)
        found = hold_against(promise, record, replicas=arguments.replicas)
        keep(ledger, found)
        learned = _learned(arguments, promise)
    verifications, complaints = read_ledger(ledger)
    if complaints and not verifications:
        raise InputError(f"{ledger}: no ledger of verifications; the first of it: {complaints[0]}")
    complain(complaints)
    series = errors_over_time(verifications)
    if arguments.plot:
        _write(arguments.plot, ledger_chart(series))
    if arguments.json:
        print_json(
            {
                "verification": found,
                "ledger": str(ledger),
                "history": [one.to_dict() for one in series],
                "learned": learned,
            }
        )
        return 0 if found is None or found.is_kept is not False else 1
    if found is not None:
        _print(found)
        console().print(learned, highlight=False)
    if arguments.history or len(verifications) > 1:
        _print_history(series, ledger)
    return 0 if found is None or found.is_kept is not False else 1


def _promise(arguments: argparse.Namespace, calibration: StoredCalibration | None = None) -> Promise:
    """What the file says; with a calibration instead what the plan would promise by it."""
    from llmsizer.decide.candidates.modelled import ModelledPhysics
    from llmsizer.decide.plan_file import ask_again, load_plan_file
    from llmsizer.facts.catalog import default_catalog
    from llmsizer.verify.promise import promise_of

    if arguments.plan_file is None:
        raise InputError("give PLAN.json, which llmsizer plan SCENARIO.toml --json writes, or --history")
    if arguments.url is None and arguments.records is None:
        raise InputError("give --url of the running server, or --records that hold a measurement of it")
    if arguments.url is not None and arguments.records is not None and is_store(arguments.records):
        raise InputError(
            f"--records {arguments.records} is a store; measure into a file, then: llmsizer records import FILE"
        )
    catalog = default_catalog()
    chosen = ask_again(
        load_plan_file(arguments.plan_file), catalog, wanted=arguments.plan, physics=ModelledPhysics(calibration)
    )
    if calibration is None:
        for difference in chosen.differences:
            console(stderr=True).print(f"! {difference}", highlight=False)
    written = chosen.written if calibration is None else None
    return promise_of(chosen.scenario, chosen.plan, catalog, written=written)


def _record(arguments: argparse.Namespace, promise: Promise) -> ProfileRecord:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.verify.verification import comparable_record

    if arguments.url is None:
        return comparable_record(promise, read_source(arguments.records, ProfileRecord), replicas=arguments.replicas)
    return _measured(arguments, promise)


def _endpoint(arguments: argparse.Namespace) -> Endpoint:
    from llmsizer.profile.load.wire import endpoint_of

    found = endpoint_of(arguments.url, key_variable=arguments.api_key_env, ca_file=arguments.ca_file)
    if not found.is_loopback and not arguments.allow_remote:
        raise InputError(
            f"{found.host} is not this machine, and load may disturb others or cost money; "
            "add --allow-remote if it is yours to load"
        )
    return found


def _measured(arguments: argparse.Namespace, promise: Promise) -> ProfileRecord:
    """Single requests first, which calibrate; then the promised load. Both are appended to the records."""
    from llmsizer.cli.measure.measuring import progress_bar
    from llmsizer.facts.records import DeviceRecord
    from llmsizer.profile.engines.openai_http import Session, Settings
    from llmsizer.profile.load.patterns import Closed, Open
    from llmsizer.profile.load.record import Served
    from llmsizer.profile.load.workers import Target

    endpoint = _endpoint(arguments)
    seconds = 60 * arguments.max_minutes
    settings = Settings(
        shape=promise.shape,
        limits=promise.limits,
        requests=arguments.requests,
        point_seconds=seconds,
        total_seconds=seconds,
        seed=arguments.seed,
        fresh=True,  # a promise is verified now, not as it was the last time
        command=" ".join(["llmsizer", *sys.argv[1:]]),
    )
    served = Served(
        # Whoever gives the URL says that the plan runs there: a forwarded port does not show the machine behind it.
        device=None if promise.is_cpu else DeviceRecord(name=promise.gpu, kind="gpu"),
        engine=arguments.engine or "openai-http",
        precision=promise.precision,
        model_config=promise.model_config,
        accelerators=promise.accelerators,
    )
    # Step times are read from requests whose whole prompt is computed.
    alone = replace(
        settings,
        shape=replace(promise.shape, shared_prefix_tokens=0),
        requests=min(LONE_REQUESTS, arguments.requests or LONE_REQUESTS),
    )
    load = Open(requests_per_second=promise.requests_per_second * arguments.replicas, gap_cv=promise.workload.gap_cv)
    with progress_bar("verifying") as progress:

        def session(asked: Settings) -> Session:
            return Session(
                Target(endpoint=endpoint),
                model=arguments.model,
                settings=asked,
                records_path=Path(arguments.records or DEFAULT_RECORDS),
                served=served,
                api=arguments.api,
                tokenizer=arguments.tokenizer,
                progress=progress,
            )

        session(alone).measure(Closed(concurrency=1), 0, 2)
        return session(settings).measure(load, 1, 2).record


def _learned(arguments: argparse.Namespace, promise: Promise) -> str:
    """What the plan would promise now, calibrated on the records' single requests and batches; or why not."""
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.physics.calibration.own_records import calibrate

    records = read_source(arguments.records or DEFAULT_RECORDS, ProfileRecord)
    telling = [record for record in records if record.carries_step_times]
    if not telling:
        return "Nothing was learned: the records hold no single requests or batches, from which step times are read."
    if not any(promise.engine in record.engine.lower() for record in telling):
        engines = " and ".join(sorted({record.engine for record in telling}))
        return f"Nothing was learned: the plan is for {promise.engine}, the records say {engines}; name it by --engine."
    try:
        now = _promise(arguments, calibrate(records)[0])
    except LlmSizerError as error:
        return f"Nothing was learned: {error}"
    pairs = [
        f"{old.name} {format_seconds(new.figure.value)} instead of {format_seconds(old.figure.value)}"
        for old, new in zip(promise.figures, now.figures, strict=True)
        if old.figure.value is not None and new.figure.value is not None and old.figure.value != new.figure.value
    ]
    what = f"Calibrated on {len(telling)} of the records, "
    return f"{what}the plan now promises {', '.join(pairs)}." if pairs else f"{what}the plan promises the same."


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); give another file") from None
    console(stderr=True).print(str(path), highlight=False)


def _print(found: Verification) -> None:
    out = console()
    out.print(found.text, style="bold", highlight=False)
    rows = [
        (
            figure.name,
            f"{_between(figure.promised, figure.promised_low, figure.promised_high)} ({figure.promised_basis})",
            _between(figure.seen, figure.seen_low, figure.seen_high),
            "unknown" if figure.error is None else f"{figure.error:+.0%}",
            figure.why_unknown or figure.outcome,
        )
        for figure in found.figures
    ]
    headers = ("figure", "promised [90 %]", "seen [90 %] (measured)", "seen ÷ promised − 1", "within the promise")
    print_table(f"{found.plan}: one replica, {found.load}, on {found.device}", headers, rows)
    for note in found.notes:
        out.print(f"! {note}", style="yellow", highlight=False)
    for limit in found.limits:
        out.print(f"· {limit.limit}: {limit.judgement}", highlight=False)


def _between(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "unknown"
    if low is None and high is None:
        return format_seconds(value)
    least, most = ("unknown" if end is None else format_seconds(end) for end in (low, high))
    return f"{format_seconds(value)} [{least} – {most}]"


def _print_history(series: tuple[ErrorOverTime, ...], ledger: Path) -> None:
    rows = [
        (
            one.name,
            str(len(one.errors)),
            f"{one.verified_at[0][:10]}: {1 + one.errors[0]:.2f}×",
            f"{one.verified_at[-1][:10]}: {1 + one.errors[-1]:.2f}×",
            f"{1 + one.typical[-1]:.2f}×",
            f"{one.kept_share:.0%}",
        )
        for one in series
    ]
    headers = ("figure", "verifications", "first", "last", "typically off by", "within the promise")
    note = "seen ÷ promised; off by: that or its inverse, whichever is above 1 (the median of all)"
    print_table(f"Promises over time ({ledger})", headers, rows, note=note)
