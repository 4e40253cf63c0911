"""Flags of records as sentences, for those who have not read the schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llmsizer.facts.records import ProfileRecord

MEANING = {
    "unsteady": "the times varied or drifted so much that the middle is poorly known: measure longer",
    "drifting": "the times went on rising or falling: warm up or measure longer",
    "beyond_model_context": "longer than the model's positions reach: times are real, text is not",
    "foreign_cpu_load": "other programs used more than a tenth of the processor meanwhile",
    "not_interleaved": "variants were measured one after the other: a machine that slowed down is taken for a variant",
    "throttled": "the device held its clocks back",
    "launch_bound": "the device waited for launches: says nothing about another device or batch",
    "energy_window_short": "the window was too short for the power sensor",
    "energy_sources_disagree": "energy counter and integrated power differ by more than 5 %",
    "errors": "some requests failed: times are of the answered ones alone",
    "client_bound": "this machine could not send or read fast enough: its own delays are in the figures",
    "kv_bound": "sequences waited for room in the KV pool: with more memory the same device serves more",
    "saturated": "requests piled up to the end: the server cannot keep this rate, and a longer run waits longer",
    "token_mismatch": "server and tokenizer count different numbers of output tokens",
    "tokens_not_counted_by_server": "the server counts no tokens: a chunk was taken for a token",
    "several_tokens_per_chunk": "chunks hold several tokens: ITL is between chunks, TPOT per token",
    "prefix_cache_hit": "the server took part of the prompts from a cache: TTFT is too short for new prompts",
    "prompt_length_differs": "the server counts other prompt lengths than were asked for",
    "output_shorter_than_asked": "some answers ended early; the server does not ignore the end token",
    "cut_short": "stopped before all its repeats were taken: the same command takes the rest",
    "too_few_samples": "fewer than 100 answers: no p99",
}


def warnings(records: Sequence[ProfileRecord], name: Callable[[ProfileRecord], str]) -> list[str]:
    """Each flag once, with the points it holds for."""
    measured = [record for record in records if record.status == "ok"]
    alone = len({record.variant for record in measured}) == 1  # with nothing beside it that it could be unfair to
    found: dict[str, list[str]] = {}
    for record in measured:
        for flag in record.flags:
            if flag in MEANING and not (alone and flag == "not_interleaved"):
                found.setdefault(flag, []).append(name(record))
    lines = []
    longer = "--requests" if any(record.load for record in measured) else "--least-seconds, --repeats"
    for flag, points in found.items():
        where = "all points" if len(points) == len(measured) else "; ".join(points)
        lines.append(f"{where}: {MEANING[flag]}" + (f" ({longer})" if flag == "unsteady" else ""))
    return lines + [f"{name(record)}: broke off, {record.failure}" for record in measured if record.failure]
