"""``quality``: what variants lose on text, at long contexts and in tasks; the verdict on them, and a gate for CI."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import Commands, OneLineParser, add_json, comma_list, existing_path, number, whole_number
from llmsizer.cli.measure.measuring import progress_bar, read_documents
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.cli.sources import add_keeping, kept_in
from llmsizer.errors import InputError

if TYPE_CHECKING:
    from llmsizer.facts.quality_parts import TaskScore
    from llmsizer.facts.records import QualityRecord
    from llmsizer.facts.variant import Variant
    from llmsizer.quality.verdict import Limits

NO_TEXT_RECORD = "no text record of this yet: run `llmsizer quality text` first, and verdict and gate see both"
PARTS = ("text", "long-context", "tasks", "verdict", "gate")


def add_commands(commands: Commands) -> None:  # type: ignore[type-arg]
    text = "what variants lose: on text, at long contexts, in tasks; verdict and gate"
    quality = commands.add_parser("quality", help=text, description=f"{text}. Without a PART: text.")
    quality.default_part, quality.parts = "text", PARTS
    parts = quality.add_subparsers(dest="part", metavar="PART", required=True, parser_class=OneLineParser)
    _add_text(parts)
    _add_long_context(parts)
    _add_tasks(parts)
    _add_judging(parts)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("reference", type=existing_path, help="the 16-bit variant to compare with")
    parser.add_argument("variants", nargs="+", type=existing_path, help="folders that `llmsizer quantize` wrote")
    parser.add_argument(
        "--records", type=Path, default=Path("quality.jsonl"), help="file to append to; resumes beside it"
    )


def _add_text(parts: Commands) -> None:  # type: ignore[type-arg]
    parser = parts.add_parser("text", help="perplexity, KL divergence, agreement on held-out text")
    _add_variants(parser)
    parser.add_argument("--text", type=existing_path, required=True, help="held-out text: a file, a document a line")
    parser.add_argument("--calibration", type=existing_path, help="text that calibrated a variant: refused if repeated")
    parser.add_argument("--force", action="store_true", help="examine on text seen in calibration, and record that")
    parser.add_argument("--document-tokens", type=whole_number("document-tokens", least=16), default=256,
                        metavar="TOKENS", help="longest piece of a document that is read at once")  # fmt: skip
    add_keeping(parser, "the records")
    add_json(parser)
    parser.set_defaults(run=_keeping(_text))


def _add_long_context(parts: Commands) -> None:  # type: ignore[type-arg]
    parser = parts.add_parser("long-context", help="what a KV-cache format does at length: needle, else divergence")
    parser.add_argument("variant", type=existing_path, help="a folder that `llmsizer quantize` wrote")
    parser.add_argument("--records", type=Path, default=Path("quality.jsonl"), help="joined to the text record there")
    parser.add_argument(
        "--kv", required=True, metavar="FORMAT,…", help="cache formats to examine, e.g. int8 (OpenVINO) or int8,int4"
    )
    parser.add_argument("--reference-kv", default="fp16", help="the cache to compare with (default: fp16)")
    parser.add_argument("--text", type=existing_path, required=True, help="the haystack: a file, a document a line")
    parser.add_argument(
        "--contexts", default="256,1024", metavar="TOKENS,…", help="lengths to examine (default: 256,1024)"
    )
    parser.add_argument("--trials", type=whole_number("trials", most=1000), default=8, help="needles at each length")
    add_keeping(parser, "the records")
    add_json(parser)
    parser.set_defaults(run=_keeping(_long_context))


def _add_tasks(parts: Commands) -> None:  # type: ignore[type-arg]
    parser = parts.add_parser("tasks", help="lm-eval tasks, or your own, paired item by item; nothing is downloaded")
    _add_variants(parser)
    parser.add_argument(
        "--tasks", required=True, help="comma list: mmlu, mmlu-pro, gsm8k, math, arc, hellaswag, humaneval, or your own"
    )
    parser.add_argument("--task-folder", type=existing_path, help="YAML and JSON lines of tasks on this machine")
    parser.add_argument("--limit", type=whole_number("limit"), help="items of each task")
    parser.add_argument(
        "--allow-code-execution", action="store_true", help="run what the model wrote, with limits and without network"
    )
    add_keeping(parser, "the records")
    add_json(parser)
    parser.set_defaults(run=_keeping(_tasks))


def _add_judging(parts: Commands) -> None:  # type: ignore[type-arg]
    verdict = parts.add_parser("verdict", help="rejected, acceptable or indistinguishable, and why")
    gate = parts.add_parser("gate", help="exit 1 where a variant misses a limit, or a figure is unknown")
    for parser in (verdict, gate):
        parser.add_argument("records", metavar="RECORDS", help="quality records: a file or a store")
        parser.add_argument("--max-kl", type=number("max-kl"), metavar="NATS", help="mean KL divergence, a token")
        parser.add_argument("--max-kl-p99", type=number("max-kl-p99"), metavar="NATS", help="of the worst 1 %% tokens")
        parser.add_argument("--min-recovery", type=number("min-recovery"), metavar="SHARE", help="of the reference")
        share = number("min-agreement", most=1.0)
        parser.add_argument("--min-agreement", type=share, metavar="SHARE", help="the same likeliest token")
        parser.add_argument("--variant", help="only this one (default: every variant but the reference)")
        add_json(parser)
    verdict.set_defaults(run=_verdict)
    gate.set_defaults(run=_gate)


def _keeping(part: Callable[[argparse.Namespace], Sequence[QualityRecord]]) -> Callable[[argparse.Namespace], int]:
    """A part that gives its new records, with a store that keeps them too; a wrong address is said before the work."""

    def run(arguments: argparse.Namespace) -> int:
        with kept_in(arguments.store) as keep:
            keep("quality", part(arguments))
        return 0

    return run


def _text(arguments: argparse.Namespace) -> list[QualityRecord]:
    from llmsizer.profile import append_record
    from llmsizer.quality.evaluate import evaluate
    from llmsizer.quality.pairs import sentences
    from llmsizer.quantize import read_variant

    documents = read_documents(arguments.text)
    if not arguments.force:
        _check_leakage(arguments, documents)
    kept = arguments.records.with_name(f".{arguments.records.name}.unfinished")
    with progress_bar("examining") as progress:
        records = evaluate(
            [read_variant(path) for path in arguments.variants],
            _reference(arguments.reference),
            documents,
            dataset=arguments.text.name + (" (not checked for leaks)" if arguments.force else ""),
            max_document_tokens=arguments.document_tokens,
            kept_in=kept,
            progress=progress,
        )
    for record in records:
        append_record(arguments.records, record)
    kept.unlink(missing_ok=True)
    if arguments.json:
        print_json(records)
        return records
    print_quality(records)
    for sentence in sentences(records):
        console().print(f"→ {sentence}", highlight=False)
    return records


def _check_leakage(arguments: argparse.Namespace, documents: list[str]) -> None:
    """Against the text that calibrated each variant, which lies beside it as a fingerprint, and the text named."""
    from llmsizer.quantize.calibration import check_leakage, fingerprint, read_fingerprint

    for path in arguments.variants:
        check_leakage(read_fingerprint(path), documents, where=f"{arguments.text} against {path.name}")
    if arguments.calibration:
        seen = fingerprint(read_documents(arguments.calibration))
        check_leakage(seen, documents, where=f"{arguments.text} against {arguments.calibration}")


def print_quality(records: Sequence[QualityRecord]) -> None:
    """Perplexity with its standard error, divergence and agreement with their intervals, speed of evaluation."""
    rows = [
        (
            r.variant,
            f"{r.perplexity:.3f} ± {r.perplexity_standard_error:.3f}",
            _span(r.perplexity_ratio, r.perplexity_ratio_low, r.perplexity_ratio_high, ".4f"),
            _span(r.kl_nats_per_token, r.kl_nats_per_token_low, r.kl_nats_per_token_high, ".2g"),
            "unknown" if r.kl_nats_p99 is None else f"{r.kl_nats_p99:.2g}",
            _span(r.top1_agreement, r.top1_agreement_low, r.top1_agreement_high, ".2%"),
            "unknown" if r.evaluation_tokens_per_second is None else f"{r.evaluation_tokens_per_second:,.0f}",
        )
        for r in records
    ]
    headers = ("variant", "perplexity ± s.e.", "ratio", "KL, nats/token", "KL p99", "same top token", "read tok/s")
    first = records[0]
    level = "" if first.interval_level is None else f", {first.interval_level:.0%} intervals by document"
    title = f"Quality on {first.dataset}: {first.documents:,} documents, {first.tokens:,} tokens (measured{level})"
    print_table(title, headers, rows)


def _span(value: float | None, low: float | None, high: float | None, form: str) -> str:
    if value is None:
        return "unknown"
    return f"{value:{form}}" + ("" if low is None or high is None else f" [{low:{form}}–{high:{form}}]")


def _reference(path: Path) -> Variant:
    """What is compared with: a variant, or a checkpoint as it is."""
    from llmsizer.quantize import MANIFEST, original, read_variant

    return read_variant(path) if (path / MANIFEST).is_file() else original(path)


def _long_context(arguments: argparse.Namespace) -> list[QualityRecord]:
    from llmsizer.quality.cached_logits import open_tail_reader
    from llmsizer.quality.long_context import Grid, examine
    from llmsizer.quantize import read_variant

    variant, documents = read_variant(arguments.variant), read_documents(arguments.text)
    lengths = tuple(whole_number("contexts", least=32)(part) for part in comma_list(arguments.contexts))
    longest = int(str(variant.config.get("max_position_embeddings") or max(lengths)))
    if max(lengths) > longest:
        raise InputError(f"--contexts {max(lengths):,}: the model holds {longest:,} tokens; give at most that")
    grid, found = Grid(context_tokens=lengths, trials=arguments.trials), []
    for kv in comma_list(arguments.kv):
        with (
            progress_bar(f"{kv} cache") as progress,
            open_tail_reader(variant, arguments.reference_kv) as reference,
            open_tail_reader(variant, kv) as reader,
        ):
            found.append(
                examine(
                    reader,
                    reference,
                    arguments.variant,
                    documents,
                    grid,
                    kv_format=kv,
                    reference_kv_format=arguments.reference_kv,
                    progress=progress,
                )
            )
    joined = join_records(arguments.records, {(variant.model, variant.method): {"long_context": tuple(found)}})
    print_json(found) if arguments.json else _print_long_context(found, len(joined))
    return joined


def _print_long_context(found: Sequence[Any], joined: int) -> None:
    for one in found:
        title = f"{one.kv_format} cache against {one.reference_kv_format}, by {one.measure}: {one.why}"
        if one.measure == "retrieval":
            rows = [
                (
                    f"{c.context_tokens:,}",
                    f"{c.depth:.0%}",
                    f"{c.retrieved}/{c.trials}",
                    f"{c.reference_retrieved}/{c.trials}",
                )
                for c in one.cells
            ]
            print_table(title, ("context", "depth", "found", f"with {one.reference_kv_format}", "of"), rows)
            continue
        cells = [
            (
                f"{c.context_tokens:,}",
                _span(c.kl_nats_per_token, c.kl_nats_per_token_low, c.kl_nats_per_token_high, ".2g"),
                f"{c.top1_agreement:.1%}",
                f"{c.trials}",
            )
            for c in one.cells
        ]
        print_table(title, ("context", "KL, nats/token", "same top token", "stretches of text"), cells)
    if not joined:
        console().print(NO_TEXT_RECORD, highlight=False)


def _tasks(arguments: argparse.Namespace) -> list[QualityRecord]:
    from llmsizer.quality.evaluate import labels_of
    from llmsizer.quality.tasks import TaskChoice, evaluate_tasks
    from llmsizer.quantize import read_variant

    choice = TaskChoice(
        names=tuple(comma_list(arguments.tasks)),
        folder=arguments.task_folder,
        limit=arguments.limit,
        allow_code=arguments.allow_code_execution,
    )
    if not choice.names:
        raise InputError("--tasks is empty; write for example hellaswag,arc")
    variants = [read_variant(path) for path in arguments.variants]
    kept = arguments.records.with_name(f"{arguments.records.name}.tasks")
    with progress_bar("tasks") as progress:
        scored = evaluate_tasks(variants, _reference(arguments.reference), choice, kept_in=kept, progress=progress)
    by_variant = dict(zip(labels_of(variants), scored, strict=True))
    parts = {(v.model, v.method): {"tasks": by_variant[label]} for v, label in zip(variants, by_variant, strict=True)}
    joined = join_records(arguments.records, parts)
    print_json(by_variant) if arguments.json else _print_tasks(by_variant, len(joined))
    return joined


def join_records(records_file: Path, parts: dict[tuple[str, str], dict[str, Any]]) -> list[QualityRecord]:
    """Give the newest text record of each model and method more parts, as a record of its own; those made."""
    from llmsizer.cli.sources import complain
    from llmsizer.facts.records import QualityRecord
    from llmsizer.profile import append_record, read_records
    from llmsizer.quality.pairs import newest

    if not records_file.is_file():
        return []
    kept, complaints = read_records(records_file, QualityRecord)
    complain(complaints)
    joined = []
    for record in newest(kept):
        found = parts.get((record.model, record.method))
        if found:
            if "tasks" in found:
                found = {**found, "tasks": {**record.tasks, **found["tasks"]}}
            joined.append(record.model_copy(update=found))
            append_record(records_file, joined[-1])
    return joined


def _print_tasks(by_variant: dict[str, dict[str, TaskScore]], joined: int) -> None:
    rows = []
    for variant, scores in by_variant.items():
        for name, s in scores.items():
            word = (
                "unknown"
                if s.is_distinguishable is None
                else "differs"
                if s.is_distinguishable
                else "indistinguishable"
            )
            rows.append(
                (
                    variant,
                    name,
                    f"{s.score:.3f} ± {s.score_standard_error or 0:.3f}",
                    f"{s.reference_score:.3f}",
                    _span(s.difference, s.difference_low, s.difference_high, "+.3f"),
                    "–" if s.mcnemar_p is None else f"{s.mcnemar_p:.2g}",
                    word,
                )
            )
    headers = ("variant", "task", "score ± s.e.", "reference", "difference, paired", "McNemar p", "")
    note = "" if joined else NO_TEXT_RECORD
    print_table("Tasks (measured, 90 % intervals by item)", headers, rows, note=note)


def _asked(arguments: argparse.Namespace, limits: Limits) -> tuple[list[QualityRecord], Limits]:
    from llmsizer.cli.sources import read_source
    from llmsizer.facts.records import QualityRecord
    from llmsizer.quality.pairs import check_comparable, newest
    from llmsizer.quality.verdict import Limits

    records = newest(read_source(arguments.records, QualityRecord))
    check_comparable(records)
    if arguments.variant:
        known = [record.variant for record in records]
        records = [record for record in records if record.variant == arguments.variant]
        if not records:
            raise InputError(f"no record of the variant {arguments.variant!r}; there are {', '.join(known)}")
    own = Limits(
        max_kl_nats=arguments.max_kl,
        max_kl_nats_p99=arguments.max_kl_p99,
        min_recovery=arguments.min_recovery,
        min_agreement=arguments.min_agreement,
    )
    return records, own if own != Limits() else limits


def _verdict(arguments: argparse.Namespace) -> int:
    from llmsizer.quality.pairs import sentences
    from llmsizer.quality.verdict import DEFAULT_LIMITS, judge

    records, limits = _asked(arguments, DEFAULT_LIMITS)
    verdicts = judge(records, limits)
    if arguments.json:
        print_json(verdicts)
        return 0
    for verdict in verdicts:
        console().print(f"{verdict.variant}: {verdict.judgement} – {verdict.why}", highlight=False)
    for sentence in sentences(records):
        console().print(f"→ {sentence}", highlight=False)
    return 0


def _gate(arguments: argparse.Namespace) -> int:
    from llmsizer.quality.verdict import Limits, gate

    records, limits = _asked(arguments, Limits())
    if limits == Limits():
        raise InputError("the gate has no limit; give --max-kl, --max-kl-p99, --min-recovery or --min-agreement")
    lines = gate(records, limits)
    failed = [line for line in lines if not line.passed]
    if arguments.json:
        print_json({"passed": not failed, "lines": lines})
    else:
        for line in lines:
            console().print(f"{'ok  ' if line.passed else 'FAIL'} {line.text}", highlight=False)
    return 1 if failed else 0
