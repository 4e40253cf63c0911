"""``model``, ``profile``: models of our own, and what variants do here."""

from __future__ import annotations

import argparse
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, add_json, comma_list, existing_path, number, whole_number
from llmsizer.cli.measure import load
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError, LlmSizerError, MeasurementError
from llmsizer.units import format_gb

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.facts.variant import Variant
    from llmsizer.profile.row import Qualities, Stopping
    from llmsizer.progress import Progress


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    _add_model(commands)
    _add_profile(commands)


def _add_model(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("model", help="build a model here: the trained reference one, or random weights")
    parser.add_argument("--config", type=existing_path, help="a config.json: random weights of that architecture")
    parser.add_argument(
        "--out", type=Path, default=Path("models"), metavar="DIR", help="a folder for the model goes here"
    )
    parser.add_argument("--seed", type=whole_number("seed", least=0), default=0, help="of the weights (default: 0)")
    add_json(parser)
    parser.set_defaults(run=_model)


def _add_profile(commands: Commands) -> None:  # type: ignore[type-arg]
    parser = commands.add_parser("profile", help="latency, throughput and memory: of models here, or of a server")
    parser.add_argument(
        "variants", nargs="+", type=load.variant_or_url, metavar="MODEL|URL",
        help="variants that `llmsizer quantize` wrote, a checkpoint, a folder of a config.json alone (random weights), "
        "or one http://host:port of an OpenAI-compatible server",
    )  # fmt: skip
    parser.add_argument(
        "--precisions", metavar="P,…", help="of a checkpoint, e.g. fp16,int8,int4: made where missing, then measured"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where they are made (default: CHECKPOINT-variants)")
    parser.add_argument(
        "--records", type=Path, default=Path("records.jsonl"), help="file to append to; resumes from it"
    )
    parser.add_argument("--points", "--grid", help="batch×prompt×output, comma list, e.g. 1x128x32,8x64x32")
    parser.add_argument(
        "--repeats", type=whole_number("repeats", most=1000), help="timed runs of each point (default: 10)"
    )
    parser.add_argument(
        "--until-width", type=number("until-width", least=0.001, most=1.0), metavar="SHARE",
        help="repeat on until half the 90 %% intervals is this share of TTFT and TPOT, e.g. 0.03",
    )  # fmt: skip
    parser.add_argument(
        "--least-seconds", type=number("least-seconds", least=0.0, most=1e5), metavar="S",
        help="spread the runs of every point over at least as long, for machines speed up and slow down (default: 90)",
    )  # fmt: skip
    parser.add_argument("--most-repeats", type=whole_number("most-repeats", most=1000), default=30,
                        help="where --until-width repeats on")  # fmt: skip
    parser.add_argument(
        "--engine", default=None, help="openvino, transformers, llama.cpp, vllm … (default: what reads the format)"
    )
    parser.add_argument("--quality", metavar="FILE|STORE", help="own quality records: rows name that of their variant")
    parser.add_argument("--cluster", metavar="ADDRESS", help="measure on a Ray cluster: auto, ray://host:10001")
    parser.add_argument(
        "--needs", default="GPU=1", metavar="NAME=AMOUNT", help="what Ray sets aside for a point, e.g. GPU=1 or CPU=64"
    )
    add_json(parser)
    load.add_options(parser)
    parser.set_defaults(run=_profile)


@contextmanager
def progress_bar(title: str) -> Iterator[Progress]:
    """A bar with time left on stderr; a line for each new stage where stderr is no terminal.

    Another process that set ``LLMSIZER_PROGRESS_FILE`` reads there how far it is.
    """
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from llmsizer.progress import asked_listener

    out = console(stderr=True)
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=out, disable=not out.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        stages: list[str] = []
        listener = asked_listener()

        def report(what: str, fraction: float) -> None:
            listener(what, min(1.0, fraction))
            bar.update(task, description=what, completed=min(1.0, fraction))
            name = re.sub(r"\s[\d/.%\s]+$", "", re.split(r"[:,]", what)[0])  # details after it are the same stage
            if not out.is_terminal and name not in stages:
                out.print(f"{fraction:4.0%}  {what}", highlight=False)
            stages.append(name)

        yield report
        bar.update(task, description=title, completed=1.0)


def _model(arguments: argparse.Namespace) -> int:
    from llmsizer import reference_model

    if arguments.config and arguments.mixture:
        raise InputError("--mixture trains a model of its own; leave --config out, or give the mixture's config.json")
    with progress_bar("building the model") as progress:
        if arguments.config:
            path = reference_model.random_checkpoint(
                arguments.config, arguments.out, seed=arguments.seed, progress=progress
            )
        else:
            recipe = reference_model.MixtureRecipe() if arguments.mixture else None
            path = reference_model.build(arguments.out, seed=arguments.seed, recipe=recipe, progress=progress)
    if arguments.json:
        print_json({"checkpoint": str(path)})
        return 0
    console().print(str(path), highlight=False, soft_wrap=True)  # alone, for scripts that read it
    following = f"llmsizer profile {path} --precisions fp16,int8,int4"
    console(stderr=True).print(f"next: {following}", highlight=False, soft_wrap=True)
    return 0


def read_documents(path: Path) -> list[str]:
    """A document a line: plain text, or JSON lines with a "text" key."""
    import json

    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable as text ({error}); give a UTF-8 file, a document a line") from None
    documents = []
    for line in lines:
        try:
            entry: Any = json.loads(line) if line.startswith("{") else {"text": line}
        except json.JSONDecodeError:
            entry = {"text": line}
        documents.append(str(entry.get("text", "")) if isinstance(entry, dict) else line)
    if not any(documents):
        raise InputError(f"{path}: holds no text; give a document a line")
    return documents


def _profile(arguments: argparse.Namespace) -> int:
    with ended_in_order():
        if any(load.is_url(variant) for variant in arguments.variants):
            return load.run(arguments)
        from llmsizer.profile import Interrupted

        try:
            records = _measured(arguments)
        except Interrupted as stopped:
            _show(stopped.records, arguments)
            raise
        _show(records, arguments)
        failures = [record.failure for record in records if record.status != "ok"]
        if failures and len(failures) == len(records):
            raise MeasurementError(f"nothing could be measured; the first point: {failures[0]}")
        return 0


def _interrupt() -> None:
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a script starts in the background
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """SIGTERM and SIGHUP, as schedulers, containers and closed terminals send them, keep what Ctrl-C keeps."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")):
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
                # by way of SIGINT, whose handler an event loop replaces by one of its own while it runs
                before[number] = signal.signal(number, lambda *_: _interrupt())
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _measured(arguments: argparse.Namespace) -> list[ProfileRecord]:
    from llmsizer import profile

    points = _points(arguments.points) if arguments.points else profile.DEFAULT_POINTS
    qualities = _qualities(arguments.quality) if arguments.quality else {}
    variants = _variants(arguments)
    with progress_bar("profiling") as progress:
        measure = _on_cluster(arguments) if arguments.cluster else profile.profile
        return measure(
            variants,
            points,
            records_path=arguments.records,
            repeats=arguments.repeats or profile.DEFAULT_REPEATS,
            engine=arguments.engine,
            stopping=_stopping(arguments),
            least_seconds=(
                profile.DEFAULT_LEAST_SECONDS if arguments.least_seconds is None else arguments.least_seconds
            ),
            qualities=qualities,
            progress=progress,
        )


def _qualities(source: str) -> Qualities:
    """Of each variant its last quality record, by KL to 16 bit where it has one, else by perplexity."""
    from llmsizer.cli.sources import read_source
    from llmsizer.facts.record_parts import QualityReference
    from llmsizer.facts.records import QualityRecord
    from llmsizer.store.content import content_id

    found: dict[tuple[str, str, str], QualityReference] = {}
    for record in read_source(source, QualityRecord):
        shared: Any = {"dataset": record.dataset, "tokens": record.tokens, "content_id": content_id(record)}
        if record.kl_nats_per_token is None:
            reference = QualityReference(metric="perplexity", value=record.perplexity, **shared)
        else:
            kl = record.kl_nats_per_token, record.kl_nats_per_token_low, record.kl_nats_per_token_high
            reference = QualityReference(metric="kl_nats_per_token", value=kl[0], low=kl[1], high=kl[2], **shared)
        found[record.model, record.method, record.variant] = reference
    return found


def _show(records: list[ProfileRecord], arguments: argparse.Namespace) -> None:
    if arguments.json:
        print_json(records)
    elif records:
        print_profiles(records)
        _print_predictions(records)
    elif arguments.cluster:  # it gives back only what it measured
        console().print(f"every point is finished already in {arguments.records}", highlight=False)


def _variants(arguments: argparse.Namespace) -> list[Variant]:
    from llmsizer.profile.engines import known_engine, preferred_engine
    from llmsizer.quantize.at_precisions import variants_of

    engine = arguments.engine or preferred_engine()
    if ":" not in engine:
        known_engine(engine)  # a wrong name stops before variants are made
    with progress_bar("quantizing") as progress:
        return [
            variant
            for path in arguments.variants
            for variant in variants_of(
                path, comma_list(arguments.precisions or ""), engine=engine, out=arguments.out, progress=progress
            )
        ]


def _on_cluster(arguments: argparse.Namespace) -> Callable[..., list[ProfileRecord]]:
    from functools import partial

    from llmsizer.cluster import check_address
    from llmsizer.profile.hosts import profile_on_hosts

    needs: dict[str, float] = {}
    for part in comma_list(arguments.needs):
        name, _, amount = part.partition("=")
        if not name or not amount:
            raise InputError(f"--needs {part!r} is not NAME=AMOUNT; write for example GPU=1,CPU=8")
        needs[name.upper() if name.upper() in ("CPU", "GPU") else name] = number(f"needs {name}")(amount)
    check_address(arguments.cluster)
    return partial(profile_on_hosts, cluster=arguments.cluster, needs=needs)


def _stopping(arguments: argparse.Namespace) -> Stopping | None:
    from llmsizer.profile.row import Stopping

    if arguments.until_width is None:
        return None
    return Stopping(relative_width=arguments.until_width, most_repeats=arguments.most_repeats)


def _print_predictions(records: list[ProfileRecord]) -> None:
    """What was measured beside what the other points predict for it."""
    from llmsizer.cli.measure.evidence import print_calibration
    from llmsizer.deliver.tables.residuals import calibration_summary

    try:
        summary = calibration_summary(records)
    except LlmSizerError as reason:  # an unknown model or device is no reason to hide what was measured
        console().print(f"no prediction to hold beside this: {reason}", highlight=False)
        return
    if summary is not None and summary.checks:
        print_calibration(summary)


def _points(text: str) -> list[Any]:
    from llmsizer.profile import Point

    points = []
    for part in comma_list(text.replace("×", "x")):
        numbers = part.lower().split("x")
        if len(numbers) != 3:
            raise InputError(f"point {part!r} is not batch x prompt x output; write for example 8x128x32")
        batch, prompt, output = (
            whole_number(name, most=10**7)(n) for name, n in zip(("batch", "prompt", "output"), numbers, strict=True)
        )
        points.append(Point(batch=batch, prompt_tokens=prompt, output_tokens=output))
    if not points:
        raise InputError("--points is empty; write for example 1x128x32,8x64x32")
    return points


def print_profiles(records: list[ProfileRecord]) -> None:
    """One row a point: what was measured, with its interval; a failure with its reason; the run in plain words."""
    from llmsizer.profile.flags import warnings
    from llmsizer.profile.sentence import sentences

    def name(record: ProfileRecord) -> str:
        return f"{record.variant} {record.batch}×{record.prompt_tokens}→{record.output_tokens}"

    def band(value: float | None, low: float | None, high: float | None) -> str:
        if value is None:
            return "unknown"
        unit, factor = ("ms", 1e3) if value < 1 else ("s", 1.0)
        around = "" if low is None or high is None else f" [{low * factor:.3g}–{high * factor:.3g}]"
        return f"{value * factor:.3g} {unit}{around}"

    rows = []
    for r in records:
        point = f"{r.batch}×{r.prompt_tokens}→{r.output_tokens}"
        if r.status != "ok":
            rows.append((r.variant, point, f"failed: {r.failure}", "", "", "", ""))
            continue
        rows.append(
            (
                r.variant,
                point,
                band(r.ttft_seconds, r.ttft_seconds_low, r.ttft_seconds_high),
                band(r.tpot_seconds, r.tpot_seconds_low, r.tpot_seconds_high),
                "unknown" if r.output_tokens_per_second is None else f"{r.output_tokens_per_second:.1f}",
                format_gb(r.process_peak_bytes, digits=2),
                _held_back(r),
            )
        )
    headers = ("variant", "point", "TTFT", "TPOT", "output tok/s", "process peak", "held back by")
    level = next((r.interval_level for r in records if r.interval_level), None)
    title = "Measured on this machine" + ("" if level is None else f" (median [{level:.0%} of further runs' means])")
    print_table(
        title, headers, rows, note="point: batch × prompt → output tokens; MBU, MFU: of bandwidth, of arithmetic"
    )
    for sentence in sentences(records):
        console().print(f"→ {sentence}", highlight=False)
    for warning in warnings(records, name):
        console().print(f"· {warning}", highlight=False)


def _held_back(record: ProfileRecord) -> str:
    """The verdict with the larger of its shares: of the memory's bandwidth or of the arithmetic."""
    if record.verdict is None:
        return "unknown"
    phases = record.phases
    shares = [(phases.mbu or 0.0, "MBU"), (phases.mfu or 0.0, "MFU")] if phases else []
    share, name = max(shares, default=(0.0, ""))
    return f"{record.verdict.bound}, {name} {share:.0%}" if share else record.verdict.bound
