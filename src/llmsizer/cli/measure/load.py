"""``profile URL``: load on a server, its knee, and the most it serves within limits."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsizer.cli.arguments import comma_list, existing_path, number, whole_number
from llmsizer.cli.output import console, print_json, print_table
from llmsizer.errors import InputError
from llmsizer.units import format_seconds

if TYPE_CHECKING:
    from llmsizer.facts.records import ProfileRecord
    from llmsizer.profile.engines.openai_http import ServerProfile, Session, Settings
    from llmsizer.profile.load.patterns import Pattern
    from llmsizer.profile.load.predicted import Beside
    from llmsizer.profile.load.record import Served
    from llmsizer.traffic.demand.lengths import Length

LONGEST_TOKENS = 10**6


def is_url(text: object) -> bool:
    return isinstance(text, str) and text.startswith(("http://", "https://"))


def variant_or_url(text: str) -> Path | str:
    return text if is_url(text) else existing_path(text)


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("load on a server (URL); without a load: users are doubled up to the knee")
    group.add_argument("--model", help="as the server names it (default: its only one)")
    group.add_argument("--model-is", metavar="NAME|CONFIG", help="which model that is: a catalogue name, a config.json "
                       "or its folder; then a prediction stands beside what is measured")  # fmt: skip
    load = group.add_mutually_exclusive_group()
    load.add_argument("--concurrency", metavar="N,…", help="users, each asking again when answered")
    load.add_argument("--rate", metavar="R,…", help="requests (with --turns: conversations) per second")
    load.add_argument("--trace", type=existing_path, metavar="FILE", help="replay a log: Azure, Mooncake, Vidur")
    group.add_argument("--slo", help="limits, e.g. 'p95 ttft <= 1s, p95 tpot <= 50ms': finds the most that keeps them")
    group.add_argument("--search", choices=("rate", "users"), default="rate", help="what --slo finds the most of")
    group.add_argument("--arrivals", choices=("constant", "poisson", "gamma"), default="poisson",
                       help="how open load comes: evenly, at random, or in bursts")  # fmt: skip
    group.add_argument("--cv", type=number("cv", most=20), default=2.0, help="of the gaps, for gamma (default: 2)")
    group.add_argument("--trace-speed", type=number("trace-speed", least=1e-3), default=1.0, metavar="X",
                       help="replay so many times as fast")  # fmt: skip
    group.add_argument("--prompt-tokens", default="512", metavar="N", help="or mean:p95 (default: 512)")
    group.add_argument("--output-tokens", default="128", metavar="N", help="or mean:p95 (default: 128)")
    group.add_argument("--shared-prefix", type=whole_number("shared-prefix", least=0), default=0, metavar="TOKENS",
                       help="beginning that prompts have in common")  # fmt: skip
    group.add_argument("--prefix-groups", type=whole_number("prefix-groups"), default=1, metavar="N",
                       help="different common beginnings")  # fmt: skip
    group.add_argument("--turns", type=whole_number("turns", most=1000), default=1, help="of each conversation")
    group.add_argument("--think", type=number("think"), default=0.0, metavar="SECONDS", help="between two requests")
    group.add_argument("--requests", type=whole_number("requests"), help="counted per point (default: 100 or more)")
    group.add_argument("--point-seconds", type=number("point-seconds", least=1), default=60.0, metavar="S",
                       help="the longest that a point is measured")  # fmt: skip
    group.add_argument("--max-minutes", type=number("max-minutes", least=0.1), default=15.0, metavar="M",
                       help="of all points together; a search says where it ran out of them")  # fmt: skip
    group.add_argument("--most-points", type=whole_number("most-points", most=100), default=10, help="of a search")
    group.add_argument("--api", choices=("completions", "chat"), help="default: completions where the server has them")
    group.add_argument("--tokenizer", type=existing_path, help="of the served model: exact lengths, tokens recounted")
    group.add_argument("--api-key-env", metavar="NAME", help="environment variable that holds the key")
    group.add_argument("--ca-file", metavar="PEM", help="who signed the server's certificate")
    group.add_argument("--stall-timeout", type=number("stall-timeout", least=0.1), default=60.0, metavar="S",
                       help="silence after which a request has failed")  # fmt: skip
    group.add_argument("--workers", type=whole_number("workers", most=256), help="processes at most (default: cores)")
    group.add_argument("--variant", default="as served", help="what the records call it")
    group.add_argument("--precision", default="unknown", help="what is served, e.g. int4; no server tells")
    group.add_argument("--gpu", metavar="NAME", help="of the server, as in the catalogue, e.g. h200-sxm-141")
    group.add_argument("--gpus", type=whole_number("gpus", most=100_000), metavar="N", help="that the server uses")
    group.add_argument(
        "--seed", type=whole_number("seed", least=0), default=0, help="of the prompts and arrivals (default: 0)"
    )
    group.add_argument("--fresh", action="store_true", help="measure again what the records already hold")
    group.add_argument("--allow-remote", action="store_true", help="load a server that is not on this machine")


def run(arguments: argparse.Namespace) -> int:
    """Measure, print. Ctrl-C keeps every finished point in the records."""
    from llmsizer.cli.measure.measuring import progress_bar
    from llmsizer.profile.engines.openai_http import Session
    from llmsizer.profile.load.wire import endpoint_of
    from llmsizer.profile.load.workers import Target

    if len(arguments.variants) != 1:
        raise InputError("give one URL, and no folders with it; each server is profiled by a call of its own")
    if arguments.quality:
        raise InputError("--quality joins variants measured here; nobody can see which one a server holds")
    endpoint = endpoint_of(arguments.variants[0], key_variable=arguments.api_key_env, ca_file=arguments.ca_file)
    if not endpoint.is_loopback and not arguments.allow_remote:
        raise InputError(
            f"{endpoint.host} is not this machine, and load may disturb others or cost money; "
            "add --allow-remote if it is yours to load"
        )
    settings, patterns = _settings(arguments), _patterns(arguments)
    with progress_bar("profiling") as progress:
        session = Session(
            Target(endpoint=endpoint, stall_seconds=arguments.stall_timeout),
            model=arguments.model,
            settings=settings,
            records_path=arguments.records,
            served=_served(arguments),
            api=arguments.api,
            tokenizer=arguments.tokenizer,
            progress=progress,
        )
        profile = _measured(session, arguments, settings, patterns)
    _print(profile, settings, arguments)
    return 0 if any(record.status == "ok" for record in profile.records) else 1


def _served(arguments: argparse.Namespace) -> Served:
    """What the user knows of the server's inside."""
    from llmsizer.facts.aliases import names
    from llmsizer.facts.records import DeviceRecord
    from llmsizer.profile.load.record import Served

    gpu = arguments.gpu and names().gpu(arguments.gpu)  # a name that is not in the catalogue stops before any load
    model, config = _model_is(arguments.model_is) if arguments.model_is else ("", {})
    return Served(
        model=model,
        model_config=config,
        device=DeviceRecord(name=arguments.gpu, kind="gpu", memory_bytes=gpu.memory_bytes) if gpu else None,
        engine=arguments.engine or "openai-http",
        variant=arguments.variant,
        precision=arguments.precision,
        accelerators=arguments.gpus,
    )


def _model_is(name: str) -> tuple[str, dict[str, object]]:
    """A model's name and config by a catalogue name, a config.json or its folder. Raises LlmSizerError."""
    import json

    from llmsizer.facts.catalog import default_catalog
    from llmsizer.facts.hub import model_from_path

    catalog = default_catalog()
    path = Path(name) / "config.json" if Path(name).is_dir() else Path(name)
    if path.is_file():
        return model_from_path(path).name, json.loads(path.read_text(encoding="utf-8"))
    found = catalog.model(name).name
    return found, catalog.model_config(found)


def _measured(
    session: Session, arguments: argparse.Namespace, settings: Settings, patterns: list[Pattern]
) -> ServerProfile:
    if patterns:
        return session.points(patterns)
    if settings.limits:
        gap_cv = {"constant": 0.0, "poisson": 1.0, "gamma": arguments.cv}[arguments.arrivals]
        return session.edge(users=arguments.search == "users", gap_cv=gap_cv, most_points=arguments.most_points)
    return session.knee(most_points=arguments.most_points)


def _settings(arguments: argparse.Namespace) -> Settings:
    from llmsizer.profile.engines.openai_http import Settings
    from llmsizer.profile.load.patterns import Shape
    from llmsizer.profile.load.slo import parse_slo

    return Settings(
        shape=Shape(
            prompt=_length("prompt-tokens", arguments.prompt_tokens),
            output=_length("output-tokens", arguments.output_tokens),
            shared_prefix_tokens=arguments.shared_prefix,
            prefix_groups=arguments.prefix_groups,
            turns=arguments.turns,
            think_seconds=arguments.think,
        ),
        limits=parse_slo(arguments.slo) if arguments.slo else (),
        requests=arguments.requests,
        point_seconds=arguments.point_seconds,
        total_seconds=60 * arguments.max_minutes,
        seed=arguments.seed,
        most_workers=arguments.workers,
        fresh=arguments.fresh,
        command=" ".join(["llmsizer", *sys.argv[1:]]),
    )


def _length(name: str, text: str) -> Length:
    """``512`` is fixed, ``512:2048`` lognormal with that mean and 95th percentile."""
    from llmsizer.traffic.demand.lengths import length

    mean, _, p95 = text.partition(":")
    parse = whole_number(name, most=LONGEST_TOKENS)
    tail = parse(p95) if p95 else None
    return length(parse(mean), tail, 4 * tail if tail else LONGEST_TOKENS)


def _patterns(arguments: argparse.Namespace) -> list[Pattern]:
    from llmsizer.profile.load.patterns import Closed, Open, Replay
    from llmsizer.traffic.demand.traces import read_trace

    if arguments.concurrency:
        users = whole_number("concurrency", most=100_000)
        return [Closed(concurrency=users(text)) for text in comma_list(arguments.concurrency)]
    if arguments.rate:
        gap_cv = {"constant": 0.0, "poisson": 1.0, "gamma": arguments.cv}[arguments.arrivals]
        rate = number("rate", least=1e-3, most=1e6)
        return [Open(requests_per_second=rate(text), gap_cv=gap_cv) for text in comma_list(arguments.rate)]
    if arguments.trace:
        trace = read_trace(arguments.trace)
        return [Replay(requests=trace, name=arguments.trace.name, speed=arguments.trace_speed)]
    return []


def _print(profile: ServerProfile, settings: Settings, arguments: argparse.Namespace) -> None:
    from llmsizer.profile.load.predicted import beside

    sentences = sentences_of(profile, settings)
    predictions, without = beside(profile.records)
    server = profile.server
    if arguments.json:
        print_json(
            {
                "server": {
                    "url": arguments.variants[0],
                    "model": server.asking.model,
                    "api": server.asking.api,
                    "software": server.software,
                    "output_forced": server.asking.force_output,
                    "prompt_lengths_exact": server.asking.prompts.exact,
                },
                "records": profile.records,
                "knee": profile.knee,
                "edge": profile.edge,
                "sentences": sentences,
                "predictions": [_as_document(one) for one in predictions],
                "no_prediction": without or None,
            }
        )
        return
    print_points(profile.records, f"{server.asking.model} at {arguments.variants[0]}, {server.asking.api} (measured)")
    for sentence in sentences:
        console().print(f"· {sentence}", highlight=False)
    if predictions:
        _print_beside(predictions)
    if without:
        console().print(f"no prediction to hold beside this: {without}", highlight=False)


def _as_document(one: Beside) -> dict[str, Any]:
    found = {name: getattr(one, name) for name in ("quantity", "measured", "predicted", "low", "high", "basis")}
    return {"record_id": one.record.record_id, **found}


def _print_beside(predictions: list[Beside]) -> None:
    """What was measured beside what is predicted for it without having seen it."""
    from llmsizer.profile.load.predicted import RATE
    from llmsizer.profile.load.record import point_name

    def text(one: Beside, value: float) -> str:
        return f"{value:,.0f} tok/s" if one.quantity == RATE else format_seconds(value)

    rows = [
        (
            point_name(one.record),
            one.quantity,
            text(one, one.measured),
            f"{text(one, one.predicted)} [{text(one, one.low)} – {text(one, one.high)}]",
            "yes" if one.is_within else "no",
            one.basis,
        )
        for one in predictions
    ]
    headers = ("load", "mean of", "measured", "predicted [90 %]", "within", "basis of the prediction")
    print_table("Measured beside predicted", headers, rows)


def sentences_of(profile: ServerProfile, settings: Settings) -> list[str]:
    """What was found, then what to know before believing it."""
    from llmsizer.profile.flags import warnings
    from llmsizer.profile.load.record import point_name
    from llmsizer.profile.load.summary import edge_sentence, knee_sentence, point_sentence

    records = profile.records
    ok = [record for record in records if record.status == "ok"]
    sentences = [point_sentence(record) for record in ok] if not profile.searched else []
    if profile.knee is not None:
        sentences.append(knee_sentence(profile.knee, records))
    if profile.edge is not None:
        sentences.append(edge_sentence(profile.edge, profile.searched, settings.limits, records))
    if profile.reused:
        sentences.append(f"Taken from the records, not measured now: {profile.reused}; --fresh measures again.")
    asking = profile.server.asking
    if not asking.prompts.exact and asking.prompts.tokens_per_word != 1.0:
        sentences.append("Prompt lengths are approximate; --tokenizer makes them exact.")
    return sentences + warnings(records, point_name)


def print_points(records: list[ProfileRecord], title: str) -> None:
    """One row a point; a failed one with its reason."""
    from llmsizer.profile.load.record import point_name
    from llmsizer.profile.load.summary import value

    rows: list[tuple[Any, ...]] = []
    for record in records:
        if record.status != "ok":
            rows.append((point_name(record), f"failed: {record.failure}", "", "", "", "", ""))
            continue
        pairs = [
            " / ".join("–" if x is None else format_seconds(x) for x in (value(record, m), value(record, m, "p95")))
            for m in ("effective_ttft", "tpot", "effective_e2e")
        ]
        throughput, counts = record.throughput, record.counts
        good = throughput.goodput_share if throughput else None
        rate, failed = record.output_tokens_per_second, _failures(counts)
        rows.append(
            (point_name(record), *pairs, "unknown" if rate is None else f"{rate:,.1f}",
             "–" if good is None else f"{good:.1%}", failed)
        )  # fmt: skip
    headers = ("load", "TTFT p50 / p95", "TPOT p50 / p95", "E2E p50 / p95", "output tok/s", "within limits", "failed")
    note = "TTFT and E2E from when each request was due; percentiles with their intervals are in the records"
    print_table(title, headers, rows, note=note)


def _failures(counts: Any) -> str:
    if counts is None:
        return ""
    kinds = [f"{count} {kind}" for kind, count in counts.errors.items()]
    if counts.requests_incomplete:
        kinds.append(f"{counts.requests_incomplete} cut off")
    return ", ".join(kinds) or "0"
