"""llm-d's Benchmark Report 0.1 and 0.2, YAML or JSON: every statistic states its units.

What wrote the report's load decides what its names mean: under GuideLLM ``time_per_output_token`` contains the TTFT and
``inter_token_latency`` is the TPOT; under AIPerf the latter is the TPOT too; under the others both are what they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, get_args

from llmsizer.exchange.point import DEFINITIONS, Point, spread
from llmsizer.exchange.values import Refused, at, first_at, items_at, number, seconds, text_at, whole, word_at
from llmsizer.facts.record_parts import Counts, Distribution, Load, Pattern, Quantile, Throughput
from llmsizer.units import GIB

VERSIONS = ("0.1", "0.2", "0.2.1")
LATENCIES = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2e": "request_latency",
    "normalized_tpot": "normalized_time_per_output_token",
}
ITL_IS_TPOT = ("guidellm", "aiperf")
OWN = "llmsizer"
PER_SECOND = ("tokens/s", "queries/s", "")


def matches(document: Any) -> bool:
    """Whether a document is a report of either schema."""
    return (
        isinstance(document, Mapping)
        and "version" in document
        and (
            at(document, "results", "request_performance") is not None or at(document, "metrics", "latency") is not None
        )
    )


def version_of(document: Any) -> str:
    """The schema's version as the report states it."""
    return word_at(document, "version")


def points(document: Any) -> list[Point]:
    """The one point of a report. Raises Refused."""
    version = version_of(document)
    if version not in VERSIONS:
        raise Refused(f"a Benchmark Report of version {version!r}; known are {', '.join(VERSIONS)}")
    return [_first(document) if version == "0.1" else _second(document)]


def _first(document: Any) -> Point:
    scenario, metrics = at(document, "scenario") or {}, at(document, "metrics")
    accelerators = items_at(scenario, "host", "accelerator")
    engine = at(scenario, "platform", "engine", 0)
    memory = number(at(accelerators, 0, "memory"), "scenario.host.accelerator.memory")
    rates = at(metrics, "throughput") or {}
    tool = text_at(scenario, "load", "name").lower()
    stage = at(scenario, "load", "args") or {}
    return Point(
        **_figures(metrics, tool, "metrics"),
        model=text_at(scenario, "model", "name"),
        precision=text_at(scenario, "model", "quantization"),
        device=text_at(accelerators, 0, "model"),
        device_kind="gpu" if accelerators else "unknown",
        device_details={"memory_bytes": memory * GIB} if memory else {},
        accelerators=_sum([_count(one, f"accelerator[{i}]") for i, one in enumerate(accelerators)]),
        may_calibrate="several kinds of engine share the load" if len(accelerators) > 1 else "",
        engine=text_at(engine, "name"),
        engine_version=word_at(engine, "version"),
        **_shape(metrics, tool, _asked(stage), None, None),
        output_tokens_per_second=number(at(rates, "output_tokens_per_sec"), "throughput.output_tokens_per_sec"),
        throughput=Throughput(
            requests_per_second=number(at(rates, "requests_per_sec"), "throughput.requests_per_sec"),
            input_tokens_per_second=number(at(rates, "input_tokens_per_sec"), "throughput.input_tokens_per_sec"),
        ),
        tool=tool,
    )


def _asked(arguments: Any) -> tuple[int | None, float | None]:
    concurrency = first_at(arguments, ("max_concurrency",), ("concurrency",), ("num_users",))
    rate = first_at(arguments, ("request_rate",), ("rate",), ("qps_values",))
    plain = isinstance(rate, int | float) and not isinstance(rate, bool)
    return whole(concurrency, "load.args.concurrency") if isinstance(concurrency, int) else None, (
        number(rate, "load.args.rate") if plain else None
    )


def _second(document: Any) -> Point:
    point = _any_tool(document)
    return _as_written(document, point) if point.tool == OWN else point


def _as_written(document: Any, point: Point) -> Point:
    """Our own report: it says which load it was, and has the medians that the schema has no place for."""
    ours, arguments = at(document, "results", "profiling", OWN), at(document, "scenario", "load", "native", "args")
    distributions = dict(point.distributions)
    for name in ("ttft", "tpot"):
        median = seconds(at(ours, f"{name}_seconds"), f"profiling.{OWN}.{name}_seconds")
        if median and name not in distributions:
            quantile = {"p50": Quantile(value=median)}
            distributions[name] = Distribution(definition=DEFINITIONS[name], n=point.repeats, percentiles=quantile)
    pattern = text_at(arguments, "pattern")
    known = pattern if pattern in get_args(Pattern) else point.load.pattern
    fixed = known in ("batch", "burst")
    update = {"pattern": known, **({"concurrency": None} if fixed else {})}
    options = {k: v for k, v in point.engine_options.items() if k not in ("precision", "variant")}
    return replace(
        point,
        distributions=distributions,
        load=point.load.model_copy(update=update),
        batch=whole(at(arguments, "batch"), "load.native.args.batch") or point.batch,
        engine_options=options,
        prefill_tokens_per_second=number(at(ours, "prefill_tokens_per_second"), "profiling.prefill_tokens_per_second"),
        load_seconds=seconds(at(ours, "load_seconds"), "profiling.load_seconds"),
    )


def _any_tool(document: Any) -> Point:
    aggregate = at(document, "results", "request_performance", "aggregate")
    if not isinstance(aggregate, Mapping):
        raise Refused("results.request_performance.aggregate is missing: there is nothing but time series")
    load = at(document, "scenario", "load", "standardized") or {}
    engines = [part for part in items_at(document, "scenario", "stack")
               if at(part, "standardized", "kind") == "inference_engine"]  # fmt: skip
    engine = at(engines, 0, "standardized") or {}
    tool = text_at(load, "tool").lower()
    asked = at(load, "concurrency")
    concurrency = None if asked in (float("inf"), ".inf") else whole(asked, "load.concurrency")
    at_once = at(load, "rate_qps") in (float("inf"), ".inf")
    rate = None if at_once else number(at(load, "rate_qps"), "load.rate_qps")
    native = at(engines, 0, "native", "args") or {}
    replicas = whole(at(engine, "replicas"), "replicas") or 1
    count = _sum([_count(at(part, "standardized", "accelerator"), "accelerator") for part in engines])
    several = len(engines) > 1 or replicas > 1
    return Point(
        **_figures(aggregate, tool, "results.request_performance.aggregate"),
        model=text_at(engine, "model", "name"),
        device=text_at(engine, "accelerator", "model"),
        device_kind="cpu" if count == 0 else "gpu" if engine else "unknown",
        accelerators=count or None,
        may_calibrate="several engines share the load" if several else "",
        engine=text_at(engine, "tool"),
        engine_version="" if (version := text_at(engine, "tool_version")) == "unknown" else version,
        engine_options={k[:80]: v for k in native if isinstance(k, str) and (v := text_at(native, k))}
        if isinstance(native, Mapping)
        else {},
        precision=next(
            (p for k in ("--quantization", "quantization", "precision", "--dtype") if (p := text_at(native, k))), ""
        ),
        **_shape(aggregate, tool, (concurrency, rate), at(load, "input_seq_len"), at(load, "output_seq_len")),
        output_tokens_per_second=_rate(aggregate, "output_token_rate"),
        throughput=Throughput(
            requests_per_second=_rate(aggregate, "request_rate"),
            input_tokens_per_second=_rate(aggregate, "input_token_rate"),
        ),
        measured_at=text_at(document, "run", "time", "start"),
        tool=tool,
        tool_version=text_at(load, "tool_version"),
    )


def _figures(metrics: Any, tool: str, where: str) -> dict[str, Any]:
    requests = at(metrics, "requests")
    done = whole(at(requests, "total"), f"{where}.requests.total")
    failed = whole(at(requests, "failures"), f"{where}.requests.failures")
    found: dict[str, Distribution] = {}
    converted: dict[str, str] = {}
    moved = {"inter_token_latency": "tpot", "time_per_output_token": None} if tool in ITL_IS_TPOT else {}
    for ours, theirs in LATENCIES.items():
        document = at(metrics, "latency", theirs)
        name = moved.get(theirs, ours)
        if not isinstance(document, Mapping) or name is None:
            continue
        unit = word_at(document, "units")
        weighting = "token" if name == "itl" else "request"
        made = spread(
            document, name, f"latency.{theirs}", unit=unit, n=(done or 0) - (failed or 0), weighting=weighting
        )
        if made is not None:
            found[name] = made
            converted[name] = f"{theirs}{f' of {tool}, which is the TPOT' if name != ours else ''}, {unit} → seconds"
    return {
        "distributions": found,
        "converted": converted,
        "counts": Counts(
            requests_total=done,
            requests_ok=max(0, done - (failed or 0)) if done is not None else None,
            requests_failed=failed,
            requests_incomplete=whole(at(requests, "incomplete"), f"{where}.requests.incomplete"),
        ),
        "repeats": max(0, (done or 0) - (failed or 0)),
    }


def _shape(
    metrics: Any, tool: str, asked: tuple[int | None, float | None], prompt_asked: Any, output_asked: Any
) -> dict[str, Any]:
    lengths = []
    for side, wanted in (("input", prompt_asked), ("output", output_asked)):
        mean = at(metrics, "requests", f"{side}_length", "mean")
        value = first_at({"mean": mean, "asked": at(wanted, "value")}, ("mean",), ("asked",))
        lengths.append(number(value, f"requests.{side}_length", most=1e9))
    concurrency, rate = asked
    # No more is said of the arrivals: Poisson is taken where a rate stands, a closed loop where none does.
    pattern: Pattern = "poisson" if rate and not concurrency else "single" if concurrency == 1 else "closed"
    duration = seconds(at(metrics, "time", "duration"), "time.duration")
    load = Load(
        pattern=pattern,
        concurrency=concurrency,
        rate_per_second=rate,
        duration_seconds=duration,
        prompt_tokens_mean=lengths[0],
        output_tokens_mean=lengths[1],
    )
    return {
        "load": load,
        "batch": concurrency or _in_flight(metrics),
        "prompt_tokens": lengths[0],
        "output_tokens": lengths[1],
    }


def _in_flight(metrics: Any) -> int | None:
    """Requests at once by Little's law, where the report states no concurrency."""
    document = at(metrics, "latency", "request_latency")
    taken = seconds(at(document, "mean"), "latency.request_latency.mean", word_at(document, "units") or "s")
    rate = first_at(metrics, ("throughput", "requests_per_sec"), ("throughput", "request_rate", "mean"))
    per_second = number(rate, "throughput.request_rate")
    return max(1, round(taken * per_second)) if taken and per_second else None


def _rate(aggregate: Any, name: str) -> float | None:
    document = at(aggregate, "throughput", name)
    unit = word_at(document, "units")
    if unit not in PER_SECOND:
        raise Refused(f"throughput.{name} is in {unit!r}; known are tokens/s and queries/s")
    return number(at(document, "mean"), f"throughput.{name}.mean")


def _count(accelerator: Any, where: str) -> int | None:
    return whole(at(accelerator, "count"), f"{where}.count", most=10**6)


def _sum(counts: list[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known and len(known) == len(counts) else None
