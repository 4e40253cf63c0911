"""optimum-benchmark's ``benchmark.json`` (configuration and report together): static batches in seconds.

``prefill`` ends with the first token: TTFT. ``decode`` is the other n − 1 steps together, divided here. Its throughput
of ``generate`` is labelled samples/s and counts tokens; ours is made from the times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsizer.exchange.point import Point, spread_of
from llmsizer.exchange.values import Refused, at, first_at, items_at, number, seconds, text_at, whole
from llmsizer.facts.record_parts import Load, MemoryUse

MEGABYTE = 1e6  # its megabytes are decimal


def matches(document: Any) -> bool:
    """Whether a document holds a configuration and a report, or a report alone."""
    report = at(document, "report") or document
    return at(report, "prefill", "latency") is not None or at(report, "load_model", "latency") is not None


def points(document: Any) -> list[Point]:
    """The one point of a benchmark. Raises Refused."""
    config, report = at(document, "config"), at(document, "report")
    if not isinstance(config, Mapping) or not isinstance(report, Mapping):
        raise Refused("a report without its configuration says no shapes; import benchmark.json, which has both")
    scenario, backend = at(config, "scenario") or {}, at(config, "backend") or {}
    batch = whole(at(scenario, "input_shapes", "batch_size"), "batch_size") or 1
    asked = first_at(
        scenario, ("generate_kwargs", "max_new_tokens"), ("generate_kwargs", "min_new_tokens"), ("new_tokens",)
    )
    output = whole(asked, "generate_kwargs.max_new_tokens")
    ttft = [v for v in _values(report, "prefill") if v]
    steps = (output or 1) - 1
    tpot = [value / steps for value in _values(report, "decode") if value] if steps > 0 else []
    whole_runs = [t + d * steps for t, d in zip(ttft, tpot, strict=False)]
    if not ttft and not tpot:
        raise Refused("neither prefill nor decode was timed: only text generation is imported")
    found = {"ttft": spread_of(ttft, "ttft"), "tpot": spread_of(tpot, "tpot"), "e2e": spread_of(whole_runs, "e2e")}
    environment = at(config, "environment") or {}
    name = text_at(backend, "name")
    gpu = text_at(environment, "gpu", 0) or text_at(environment, "gpu")
    on_gpu = text_at(backend, "device") == "cuda"
    return [
        Point(
            model=text_at(backend, "model"),
            device=(gpu if on_gpu else text_at(environment, "cpu")).strip(),
            device_kind="gpu" if on_gpu else "cpu",
            engine={"pytorch": "transformers", "py-txi": "tgi", "llama_cpp": "llama.cpp"}.get(name, name),
            engine_version=text_at(environment, "transformers_version") if name == "pytorch" else "",
            engine_options={
                k: v for k in ("torch_dtype", "attn_implementation", "device") if (v := text_at(backend, k))
            },
            precision=text_at(backend, "quantization_scheme") or text_at(backend, "torch_dtype"),
            accelerators=len(text_at(backend, "device_ids").split(",")) if on_gpu else None,
            load=Load(pattern="batch", output_forced=True, streaming=False),
            batch=batch,
            prompt_tokens=whole(at(scenario, "input_shapes", "sequence_length"), "sequence_length"),
            output_tokens=output,
            distributions={key: value.model_copy(update={"weighting": "run"}) for key, value in found.items() if value},
            output_tokens_per_second=batch * (output or 0) * len(whole_runs) / sum(whole_runs) if whole_runs else None,
            load_seconds=next(iter(_values(report, "load_model")), None),
            memory=_memory(report),
            repeats=len(ttft),
            tool="optimum-benchmark",
            tool_version=text_at(environment, "optimum_benchmark_version"),
            converted={
                "tpot": f"decode ÷ {steps} steps",
                "output_tokens_per_second": "batch × output tokens ÷ (prefill + decode)",
            },
        )
    ]


def _values(report: Any, target: str) -> list[float]:
    found = [
        seconds(value, f"report.{target}.latency.values") for value in items_at(report, target, "latency", "values")
    ]
    return [value for value in found if value is not None]


def _memory(report: Any) -> MemoryUse | None:
    def most(key: str, *targets: str) -> float | None:
        found = [number(at(report, target, "memory", key), f"{target}.memory.{key}") for target in targets]
        return max((value * MEGABYTE for value in found if value is not None), default=None)

    allocated = {target: value for target in ("prefill", "decode") if (value := most("max_allocated", target))}
    resident = most("max_ram", "load_model", "prefill", "decode")
    if not allocated and resident is None:
        return None
    return MemoryUse(peak_allocated_bytes=allocated, host_resident_peak_bytes=resident)
