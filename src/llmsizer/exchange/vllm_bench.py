"""vLLM's ``bench serve``, ``bench latency`` and ``bench throughput``; a serve file may hold several runs, one a line.

serve: TPOT is (end − first token)/(n − 1), one value a request; ITL pools all gaps. latency: seconds of whole fixed
batches, whose shape the file does not say. throughput: input and output tokens together, so that output alone is known
only where the user gives the lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread, spread_of
from llmsizer.exchange.values import Refused, at, items_at, number, number_at, seconds, text_at, whole
from llmsizer.facts.record_parts import Counts, Distribution, Load, Pattern, Throughput

METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "itl", "e2e": "e2el"}
ALL_AT_ONCE = "inf"


def matches(document: Any) -> bool:
    """Whether a document is a result of one of the three."""
    return isinstance(document, Mapping) and (_is_serve(document) or _is_latency(document) or _is_throughput(document))


def _is_serve(document: Any) -> bool:
    return "output_throughput" in document and any(f"mean_{name}_ms" in document for name in METRICS.values())


def _is_latency(document: Any) -> bool:
    return "avg_latency" in document and "latencies" in document


def _is_throughput(document: Any) -> bool:
    return {"elapsed_time", "num_requests", "total_num_tokens", "tokens_per_second"} <= set(document)


def points(document: Any) -> list[Point]:
    """The point of one result. Raises Refused."""
    if _is_latency(document):
        return [_latency(document)]
    if _is_throughput(document):
        return [_throughput(document)]
    return [_serve(document)]


def _serve(document: Any) -> Point:
    done = whole(at(document, "completed"), "completed")
    if not done:
        raise Refused("no request was completed")
    total = {side: whole(at(document, f"total_{side}_tokens"), f"total_{side}_tokens", most=10**12)
             for side in ("input", "output")}  # fmt: skip
    load = _load(document, total, done)
    latencies = items_at(document, "latencies")
    peak = whole(at(document, "max_concurrent_requests"), "max_concurrent_requests")
    found = _latencies(document, done)
    return Point(
        model=text_at(document, "model_id"),
        # ``backend`` is the protocol that was spoken: only vllm and sglang's own say what answered
        engine=backend if (backend := text_at(document, "backend")) in ("vllm", "sglang", "tgi") else "",
        load=load,
        batch=load.concurrency or peak or (len(latencies) if load.pattern == "burst" else None) or None,
        prompt_tokens=total["input"] / done if total["input"] else None,
        output_tokens=total["output"] / done if total["output"] else None,
        distributions=found,
        output_tokens_per_second=number_at(document, "output_throughput"),
        throughput=Throughput(
            requests_per_second=number_at(document, "request_throughput"),
            goodput_requests_per_second=number_at(document, "request_goodput"),
        ),
        counts=Counts(
            requests_ok=done,
            requests_failed=whole(at(document, "failed"), "failed"),
            input_tokens=total["input"],
            output_tokens_client=total["output"],
        ),
        repeats=done,
        measured_at=_date(text_at(document, "date")),
        tool="vllm bench serve",
        converted={name: f"{METRICS[name]}, milliseconds → seconds" for name in found},
    )


def _latencies(document: Any, done: int) -> dict[str, Distribution]:
    found: dict[str, Distribution] = {}
    for name, theirs in METRICS.items():
        keys = {"mean": f"mean_{theirs}_ms", "std": f"std_{theirs}_ms", "p50": f"median_{theirs}_ms"}
        keys |= {f"p{p}": f"p{p}_{theirs}_ms" for p in ("1", "5", "10", "25", "75", "90", "95", "99", "99.9")}
        statistics = {ours: document[key] for ours, key in keys.items() if document.get(key) is not None}
        weighting = "token" if name == "itl" else "request"
        made = spread(statistics, name, theirs, unit="ms", n=done, weighting=weighting)
        if made is not None:
            found[name] = made
    return found


def _load(document: Any, total: Mapping[str, int | None], done: int) -> Load:
    concurrency = whole(at(document, "max_concurrency"), "max_concurrency")
    asked = at(document, "request_rate")
    rate = None if asked in (ALL_AT_ONCE, None) else number(asked, "request_rate")
    burstiness = number_at(document, "burstiness")
    pattern: Pattern = "burst"
    if rate:
        pattern = "poisson" if burstiness in (None, 1.0) else "gamma"
    elif concurrency:
        pattern = "single" if concurrency == 1 else "closed"
    return Load(
        pattern=pattern,
        concurrency=concurrency,
        rate_per_second=rate,
        achieved_rate_per_second=number_at(document, "request_throughput"),
        # gaps are gamma with this shape, so their coefficient of variation is one over its root
        burstiness_cv=burstiness**-0.5 if rate and burstiness else None,
        duration_seconds=seconds(at(document, "duration"), "duration"),
        prompt_tokens_mean=total["input"] / done if total["input"] else None,
        output_tokens_mean=total["output"] / done if total["output"] else None,
    )


def _latency(document: Any) -> Point:
    values = [seconds(value, "latencies") for value in items_at(document, "latencies")]
    found = spread_of([value for value in values if value], "e2e")
    if found is None:
        raise Refused("latencies is empty")
    return Point(
        model=text_at(document, "model_id"),
        engine="vllm",
        load=Load(pattern="batch", output_forced=True, streaming=False),
        distributions={"e2e": found.model_copy(update={"definition": "a whole fixed batch, prompt to last token"})},
        repeats=found.n,
        tool="vllm bench latency",
        unknown=dict.fromkeys(("ttft_seconds", "tpot_seconds"), "the tool times whole batches only"),
    )


def _throughput(document: Any) -> Point:
    elapsed, requests = (
        seconds(at(document, "elapsed_time"), "elapsed_time"),
        whole(at(document, "num_requests"), "num_requests"),
    )
    tokens = whole(at(document, "total_num_tokens"), "total_num_tokens", most=10**12)
    if not elapsed or not requests or not tokens:
        raise Refused("elapsed_time, num_requests and total_num_tokens are needed, none of them 0")
    return Point(
        model=text_at(document, "model_id"),
        engine="vllm",
        load=Load(pattern="burst", duration_seconds=elapsed, streaming=False),
        batch=requests,
        throughput=Throughput(requests_per_second=requests / elapsed),
        counts=Counts(requests_ok=requests),
        repeats=requests,
        tool="vllm bench throughput",
        converted={"output_tokens_per_second": "requests/s × output tokens as given: the file counts prompts in"},
        unknown=dict.fromkeys(("ttft_seconds", "tpot_seconds"), "the tool times the whole run only"),
    )


def _date(text: str) -> str:
    """``20261122-015759`` in ISO's way; it has no time zone."""
    if len(text) == 15 and text[8] == "-" and (text[:8] + text[9:]).isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:]}"
    return text
